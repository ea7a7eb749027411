"""A plugin whose methods have parameters that are more than plain data."""

from __future__ import annotations

import functools
import os
import typing
from pathlib import Path, PurePath

from bivium_worker import Blob

Parts = typing.NewType("Parts", typing.Set[str])


def told(value):
    """The value with the names of its classes; for a file its text."""
    if isinstance(value, (Blob, PurePath)):
        return "%s %s" % (type(value).__name__, open(value).read())
    if isinstance(value, bytes):
        return "bytes %s" % value.decode()
    if isinstance(value, (list, tuple, set, frozenset)):
        return [type(value).__name__, *sorted(map(told, value), key=str)]
    if isinstance(value, dict):
        return {key: told(item) for key, item in value.items()}
    return value


def kept(function):
    @functools.wraps(function)
    def inner(self, *args, **kwargs):
        return function(self, *args, **kwargs)

    return inner


class Taking:
    def files(self, a: bytes, b: Path, c: os.PathLike[str], d: Blob, e: str, f: typing.Any, g=None):
        return told([a, b, c, d, e, f, g])[1:]

    def unions(
        self,
        a: typing.Union[bytes, None] = None,
        b: typing.Union[str, Path, None] = None,
        c: typing.Annotated[typing.Optional[bytes], "what"] = None,
        d: typing.Union[list, tuple] = (),
        e: typing.Union[bytes, Path, None] = None,
    ):
        return {"a": told(a), "b": told(b), "c": told(c), "d": told(d), "e": told(e)}

    @kept
    def several(
        self,
        many: list[bytes],
        named: dict[str, Path],
        pairs: set[tuple[int, str]],
        names: Parts,
        fixed: frozenset = frozenset(),
        ends: typing.Tuple[int, ...] = (),
    ):
        return {
            "many": [told(one) for one in many],
            "named": told(named),
            "pairs": told(pairs),
            "names": told(names),
            "fixed": told(fixed),
            "ends": told(ends),
        }

    @staticmethod
    def free(a: tuple, /, b: int = 1):
        return told(a)

    def execute(self, a: set):
        yield told(a)

    def absent(self, a: bytes, b: Absent = None):
        return told(a)


def path(where: Path):
    return type(where).__name__
