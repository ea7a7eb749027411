"""Arguments in the forms that a method's types want: a file as its bytes or its path, a list as a tuple or a set.

What is of one of a parameter's types stays as it is: a file, which is a `Blob` and so a `str`, where `str` is among them. What no
type of a parameter has a form for stays as well: whether the method takes it is the method's to say.
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
"""What a list becomes."""
LISTS = (list, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
OBJECTS = (dict, collections.abc.Mapping)


def forms(kind) -> list[tuple]:
    """The types of a union, or the one type, each with its arguments."""
    kind = optional(kind, "__supertype__", kind)
    origin, given = typing.get_origin(kind), typing.get_args(kind)
    if optional(kind, "__metadata__") is not None:
        return forms(given[0])
    if origin is typing.Union or optional(origin, "__name__") == "UnionType":
        return [form for one in given for form in forms(one)]
    return [(kind if origin is None else origin, given)]


def wants(kind) -> bool:
    """Whether a type has something in it that is no plain data."""
    return any(
        is_one(form, (bytes, *MADE)) or path_of(form) is not None or is_one(form, LISTS + OBJECTS) and any(map(wants, given))
        for form, given in forms(kind)
    )


def is_one(form, kinds: tuple) -> bool:
    """Whether a type is one of these. No code of the plugin's compares them."""
    return any(form is kind for kind in kinds)


def path_of(form):
    """The class of paths that a type names, if it names one."""
    pathlib = sys.modules.get("pathlib")
    if form is os.PathLike:
        import pathlib
    elif pathlib is None or not is_one(form, (pathlib.Path, pathlib.PurePath, pathlib.PosixPath, pathlib.PurePosixPath)):
        return None
    return pathlib.Path if form is os.PathLike else form


class Fitting:
    """Makes the arguments of one call. The files in them have `most` bytes together, where they are read."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def argument(self, name: str, kind, value):
        """One argument in the form that is wanted, if any is."""
        if kind is None:
            return value
        try:
            return self._fitted(kind, value)
        except TypeError as error:  # what cannot be in a set
            raise WorkerError("invalid-input", "the argument %r becomes no set: %s" % (name, error)) from None
        except TooLarge:
            raise WorkerError(
                "resource-exhausted",
                "the argument %r wants the bytes of its files, and those of the call are more than %d together: raise "
                "`limits.payload_mb`, or give the parameter the type bivium_worker.Blob, which can be read in parts"
                % (name, self._most),
            ) from None

    def _fitted(self, kind, value):
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
                return {key: self._fitted(given[1], item) for key, item in value.items()}
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
        """The items of a list, each in the form that is wanted."""
        if form is tuple and given[-1:] != (Ellipsis,):
            return [self._fitted(*one) for one in zip(given, values)] if len(given) == len(values) else values
        return [self._fitted(given[0], item) for item in values] if given and wants(given[0]) else values

    def _contents(self, blob: Blob) -> bytes:
        with blob.open() as file:
            found = file.read(self._left + 1)
        self._left -= len(found)
        if self._left < 0:
            raise TooLarge
        return found


class TooLarge(Exception):
    """The files have more bytes than may be read."""
