"""Plugins whose own code disturbs those who inspect them."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
import typing


def wide(levels: int) -> type:
    """A dataclass of six fields, each of which is one again."""
    kind: type = int
    for level in range(levels):
        kind = dataclasses.make_dataclass("Level%d" % level, [("f%d" % n, kind) for n in range(6)])
    return kind


class Model:
    asked = 0

    @classmethod
    def model_json_schema(cls):
        cls.asked += 1
        return {"type": "object", "title": "Model"}


def turning(fixed: bool):
    """Two functions that say of one another that they wrap it."""

    def first(self, x: int = 1):
        return x

    def second(self, x: int = 1):
        return x

    if fixed:
        first.__signature__ = inspect.signature(first)
    first.__wrapped__, second.__wrapped__ = second, first
    return first


class Deeper:
    """Within which there is always another."""

    def __init__(self, function):
        self.function = function
        self.__signature__ = inspect.signature(function)

    @property
    def __wrapped__(self):
        return Deeper(self.function)

    def __call__(self, x: int = 1):
        return x


def shared(levels: int) -> list:
    """A list that is short in memory and endless as a text."""
    return functools.reduce(lambda inner, _: [inner, inner], range(levels), [])


def twice(levels: int):
    """A tuple of the same tuple, twice, and so on."""
    return functools.reduce(lambda inner, _: tuple[inner, inner], range(levels), int)


Twice = twice(40)


@dataclasses.dataclass
class Twofold:
    """Holds it."""

    two: Twice


if sys.version_info >= (3, 12):
    exec("type Itself = tuple[Itself, Itself]")
else:
    Itself = Twice


class Descriptor:
    def __get__(self, instance, owner):
        raise SystemExit("nobody asked")


class Default:
    def __repr__(self):
        raise SystemExit("no repr")


class Long:
    def __repr__(self):
        return "x" * 10_000_000


class Hostile:
    raising = Descriptor()
    fixed, loose, deeper = turning(True), turning(False), Deeper(lambda x=1: x)

    def __dir__(self):
        return [1, "execute", None, "raising", *object.__dir__(self)]

    def execute(self, x: int = 1) -> int:
        """Is told."""
        return x

    def nested(self, x: Nested) -> int:
        """Takes much."""

    def models(self, x: typing.Tuple[MODELS]) -> Nested:
        """Takes many."""

    def twice(self, x: Twice, y: int, z: list[Twice] = Twice) -> Twice:
        """Takes what has no end."""

    def twofold(self, x: Twofold) -> Twofold:
        """Takes what holds that."""

    def itself(self, x: Itself) -> Itself:
        """Takes what is made of itself."""

    def exits(self, x: __import__('sys').exit(3), y: int = 1) -> int:
        """Has a type that ends the program."""

    def defaults(self, x=Default(), y=Long(), *, z=shared(60), last=1):
        """Cannot be written out."""
        return x

    def open(self, **more):
        return more

    def positional(self, a, /, b=Default()):
        return 1


Nested = wide(6)
MODELS = tuple(typing.Annotated[Model, n] for n in range(3))


class Listing(type):
    def __dir__(cls):
        raise RuntimeError("no names of the class")


class Unlisted(metaclass=Listing):
    def __dir__(self):
        raise KeyError("no names")

    def execute(self):
        return 1


class Lookup:
    """Looks up what it has not, and lets the wrong error out."""

    def __init__(self):
        self.settings = {"a": 1}

    def __getattr__(self, name):
        raise KeyError(name)

    def __setattr__(self, name, value):
        if name == "cancelled":
            raise ValueError(name)
        object.__setattr__(self, name, value)

    def execute(self, what=""):
        return self if what else 1

    def read(self):
        return self.settings


class Open:
    def __init__(self, size=1, **more):
        self.size, self.more = size, more

    def execute(self, text="", **more):
        return more


class Unwritten:
    class Default:
        def __repr__(self):
            raise RuntimeError("no repr")

    def __init__(self, size, default=Default()):
        pass
