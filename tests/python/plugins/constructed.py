"""Plugins with a constructor that takes arguments, and functions that are plugins."""

import asyncio
import functools
import inspect
from math import gcd, hypot, pow  # noqa: F401


class Configured:
    def __init__(self, size, names=(), *, mode="fast"):
        self.size, self.names, self.mode = size + 0, names, mode

    def execute(self):
        return {"size": self.size, "names": self.names, "mode": self.mode}

    @staticmethod
    def parsed(text):
        return text.split()


def count(text: str, times: int = 1):
    """Counts words."""
    return {"words": len(text.split()) * times}


async def later(text):
    await asyncio.sleep(0)
    return count(text)


def pieces(text):
    yield from text.split()


def kept(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        return function(*args, **kwargs)

    return inner


@kept
def placed(a, b=2, /, *rest, c=3, **more):
    return [a, b, list(rest), c, more]


class Placed:
    def execute(self, a, b=2, /):
        return [a, b]


class _Doubled:
    """Has a signature like NumPy's functions, and no Python code object."""

    __signature__ = inspect.Signature([inspect.Parameter("x", inspect.Parameter.POSITIONAL_ONLY)])

    def __call__(self, x, /):
        return 2 * x


doubled = _Doubled()
