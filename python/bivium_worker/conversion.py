"""Converts arguments to the types of a method's parameters: a file to its bytes or its path, a list to a tuple or a set.

A value that already has one of the parameter's types is not changed: for example a file, which is a `Blob` and so a `str`, if
`str` is among the types. A value that can be converted to none of the types is passed on unchanged; the method may refuse it.
"""

from __future__ import annotations

import collections.abc
import os
import sys
import typing

from .asking import optional
from .blobs import Blob
from .errors import WorkerError

MADE = (tuple, set, frozenset)
"""The types that a list can be converted to."""
LISTS = (list, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
OBJECTS = (dict, collections.abc.Mapping)


def forms(kind) -> list[tuple]:
    """The types of a union, or the single type, each with its type arguments."""
    kind = optional(kind, "__supertype__", kind)
    origin, given = typing.get_origin(kind), typing.get_args(kind)
    if optional(kind, "__metadata__") is not None:
        return forms(given[0])
    if origin is typing.Union or optional(origin, "__name__") == "UnionType":
        return [form for one in given for form in forms(one)]
    return [(kind if origin is None else origin, given)]


def wants(kind) -> bool:
    """Whether values of this type may need a conversion: the type contains something that is not plain JSON data."""
    return any(
        is_one(form, (bytes, *MADE)) or path_of(form) is not None or is_one(form, LISTS + OBJECTS) and any(map(wants, given))
        for form, given in forms(kind)
    )


def is_one(form, kinds: tuple) -> bool:
    """Whether a type is one of these. Compares by identity, which runs no code of the plugin."""
    return any(form is kind for kind in kinds)


def path_of(form):
    """The class to make a path with, if the type is a path type."""
    pathlib = sys.modules.get("pathlib")
    if form is os.PathLike:
        import pathlib
    elif pathlib is None or not is_one(form, (pathlib.Path, pathlib.PurePath, pathlib.PosixPath, pathlib.PurePosixPath)):
        return None
    return pathlib.Path if form is os.PathLike else form


class Converter:
    """Converts the arguments of one call. At most `most` bytes are read from files, all arguments together."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def argument(self, name: str, kind, value):
        """One argument, converted to the parameter's type if it has one."""
        if kind is None:
            return value
        try:
            return self._converted(kind, value)
        except TypeError as error:  # an item that a set cannot contain
            raise WorkerError("invalid-input", "the argument %r cannot be converted to a set: %s" % (name, error)) from None
        except TooLarge:
            raise WorkerError(
                "resource-exhausted",
                "the argument %r needs the bytes of its files, and the files of the call have more than %d bytes together: raise "
                "`limits.payload_mb`, or give the parameter the type bivium_worker.Blob, which can be read in parts"
                % (name, self._most),
            ) from None

    def _converted(self, kind, value):
        wanted = forms(kind)
        if isinstance(value, str):
            return self._text(value, [form for form, _ in wanted])
        if type(value) is list:
            found = next(((form, given) for form, given in wanted if is_one(form, LISTS)), None)
            found = found or next(((form, given) for form, given in wanted if is_one(form, MADE)), None)
            if found is not None:
                items = self._items(value, *found)
                return found[0](items) if is_one(found[0], MADE) else items
        elif type(value) is dict:
            given = next((given for form, given in wanted if is_one(form, OBJECTS)), ())
            if len(given) == 2 and wants(given[1]):
                return {key: self._converted(given[1], item) for key, item in value.items()}
        return value

    def _text(self, value: str, wanted: list):
        """A text, or a file."""
        is_file = isinstance(value, Blob)
        if any(is_one(form, (str, object, typing.Any)) or is_file and form is Blob for form in wanted):
            return value
        for form in wanted:
            path = path_of(form)
            if path is not None:
                return path(value)
            if is_file and form is bytes:
                return self._contents(value)
        return value

    def _items(self, values: list, form, given: tuple) -> list:
        """The items of a list, each converted to its type."""
        if form is tuple and given[-1:] != (Ellipsis,):
            return [self._converted(*one) for one in zip(given, values)] if len(given) == len(values) else values
        return [self._converted(given[0], item) for item in values] if given and wants(given[0]) else values

    def _contents(self, blob: Blob) -> bytes:
        with blob.open() as file:
            found = file.read(self._left + 1)
        self._left -= len(found)
        if self._left < 0:
            raise TooLarge
        return found


class TooLarge(Exception):
    """The files have more bytes than may be read."""
