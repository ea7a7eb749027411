"""Asking the plugin's objects what they have. Their own code may answer (`__getattr__`, `__dir__`, descriptors, `__repr__`),
and may raise anything; here that is no answer. A cancelled call's `Cancelled` alone goes on.
"""

from __future__ import annotations

from itertools import islice

from .calls import Cancelled

MOST_NAMES = 100_000
"""So many names of one object are looked at."""

DECORATORS = 100
"""So many functions that wrap one another are looked through."""


def attempt(function, *args, default=None):
    """What the function gives, or the default where it raises."""
    try:
        return function(*args)
    except Cancelled:
        raise
    except BaseException:  # SystemExit among them
        return default


def optional(value, name: str, default=None):
    """The attribute of this name, or the default where there is none to be had."""
    try:
        return getattr(value, name, default)
    except Cancelled:
        raise
    except BaseException:  # a `__getattr__` that raises KeyError, a property
        return default


def names(value) -> list[str]:
    """The names of an object's attributes, in order, without what its own `__dir__` gives that is no name."""
    for ask in (type(value).__dir__, object.__dir__):
        found = attempt(lambda: list(islice(ask(value), MOST_NAMES)))
        if found is not None:
            return sorted({str.__str__(name) for name in found if issubclass(type(name), str)})
    return sorted(attempt(dir, type(value), default=[]))


def unwrapped(function):
    """The function within its decorators, or None where there is no end to them."""
    for _ in range(DECORATORS):
        inner = optional(function, "__wrapped__")
        if inner is None:
            return function
        function = inner
    return None
