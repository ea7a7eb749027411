"""Reading attributes of the plugin's objects. This may run the plugin's code (`__getattr__`, `__dir__`, descriptors, `__repr__`),
which may raise anything: here an error means that there is no such attribute. Only `Cancelled`, of a cancelled call, is passed on.
"""

from __future__ import annotations

from itertools import islice

from .calls import Cancelled

MOST_NAMES = 100_000
"""How many names of one object are read at most."""

DECORATORS = 100
"""How many nested decorators are followed at most."""


def attempt(function, *args, default=None):
    """What the function returns, or the default if it raises."""
    try:
        return function(*args)
    except Cancelled:
        raise
    except BaseException:  # SystemExit among them
        return default


def optional(value, name: str, default=None):
    """The attribute of this name, or the default if it cannot be read."""
    try:
        return getattr(value, name, default)
    except Cancelled:
        raise
    except BaseException:  # a `__getattr__` that raises KeyError, a property
        return default


def names(value) -> list[str]:
    """The names of an object's attributes, sorted, without what its own `__dir__` returns that is not a string."""
    for ask in (type(value).__dir__, object.__dir__):
        found = attempt(lambda: list(islice(ask(value), MOST_NAMES)))
        if found is not None:
            return sorted({str.__str__(name) for name in found if issubclass(type(name), str)})
    return sorted(attempt(dir, type(value), default=[]))


def unwrapped(function):
    """The function inside its decorators, or None if there are more than `DECORATORS`."""
    for _ in range(DECORATORS):
        inner = optional(function, "__wrapped__")
        if inner is None:
            return function
        function = inner
    return None
