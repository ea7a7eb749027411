"""Errors whose classes have code that raises another error."""


class Ended(Exception):
    def __str__(self):
        raise SystemExit(9)


class Meta(type):
    def __getattribute__(cls, name):
        raise SystemExit(9)


class Named(type):
    @property
    def __module__(cls):
        raise SystemExit(9)

    @property
    def __name__(cls):
        raise SystemExit(9)

    __mro__ = __name__


Named.__qualname__ = Named.__name__


class Text(str):
    def __len__(self):
        raise SystemExit(9)

    __str__ = __add__ = __getitem__ = encode = __bool__ = __len__


def having(base, number, **attributes):
    """An error of a class with these attributes."""
    kind = type("Strange", (base,), attributes)
    return kind(*number)


def raising(error=SystemExit):
    def get(_self):
        raise error(9)

    return property(get)


ATTRIBUTES = ("args", "errno", "exceptions", "filename", "__cause__", "__class__", "__context__", "__dict__", "__traceback__")
MORE = {
    "getattribute": {"__getattribute__": lambda self, name: 1 / 0},
    "number": {"errno": [1]},
    "eq": {"__eq__": lambda self, other: 1 / 0, "__hash__": None, "__bool__": lambda self: 1 / 0},
    "text": {"__str__": lambda self: Text("said")},
}


def made(what):
    """One error by name."""
    if what in ATTRIBUTES:
        return having(OSError, (5, "said"), **{what: raising()})
    if what.startswith("interrupted-"):
        return having(Exception, ("said",), **{what.partition("-")[2]: raising(KeyboardInterrupt)})
    if what in MORE:
        return having(OSError, (5, "said"), **MORE[what])
    if what == "unhashable":
        return OSError([1], "said")
    if what == "meta":
        return Meta("Strange", (Exception,), {})("said")
    if what == "named":
        return Named("Strange", (Exception,), {})("said")
    if what == "module":
        return having(Exception, ("said",), __module__=7)
    if what == "long":
        return type("L" * 100_000, (Exception,), {})("said")
    if what == "cause":
        error = ValueError("said")
        error.__cause__ = made("__class__")
        return error
    return Ended()


class Strange:
    def fail(self, what):
        raise made(what)

    def fail_in_a_generator(self, what):
        yield 1
        raise made(what)

    async def fail_in_a_task(self, what):
        raise made(what)

    def add(self, left, right):
        return left + right


class StrangeConfig(Strange):
    def initialize(self, config):
        raise made(config["what"])


class StrangeStart:
    def __init__(self, what):
        raise made(what)
