"""Encodes results that are more than plain data: what each value becomes in JSON or as a file, or why it is refused.

`docs/python-values.md` has the table. No value is changed silently: a value that JSON cannot represent exactly is refused, and
the error names its place, for example `result.items[3].id`.
"""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from collections.abc import Mapping

from . import arrays
from .asking import optional
from .blobs import Blob, handed_back, written
from .cancel import enter
from .codec import KEY, dumps, reserved
from .errors import unfit

MAX_DEPTH = 120
"""How deep a result may nest. The host's parser accepts 127 levels, of which the reply around the result takes a few."""

MAX_WHERE = 200
"""The most characters of a place in a result in a message."""

LEAST, MOST = -(2**63), 2**64 - 1
"""The least and greatest integer that the host reads exactly."""

MISSING = ("NaTType", "NAType")
"""The names of pandas' classes for missing values."""

NANO = ("weeks", "days", "hours", "minutes", "seconds")
LISTS = (list, tuple, set, frozenset, deque, range, type({}.keys()), type({}.values()))
EXACT_TEXT = (("decimal", "Decimal"), ("uuid", "UUID"))


class Encoder:
    """Encodes one result of any kind, and collects the blobs in it."""

    def __init__(self, exchange: str, lent: list[Blob]) -> None:
        self._exchange = exchange
        self._lent = {blob.path: index for index, blob in enumerate(lent)}
        self.blobs: list[dict] = []
        self._placed: dict[str, int] = {}
        self._made: dict[int, tuple[object, str]] = {}
        """Objects that were written to files, and the files, by the object's id. The objects are kept so that no other gets the id."""
        self._path: list = []
        """The place of the current value: keys and indices, outermost first."""
        self._above: dict[int, object] = {}
        """The objects around the current value, by id. They are kept so that no other object gets the id."""

    def encode(self, value) -> bytes:
        """The JSON text of a value."""
        plain = self._plain(value)
        try:
            return dumps(plain).encode("utf-8")
        except UnicodeEncodeError:
            self._find_surrogate(plain)
            raise unfit("it contains text that is not valid Unicode (a lone surrogate)") from None

    @property
    def where(self) -> str:
        """The place of the current value, for a message. The middle of a long one is left out."""
        place = "result" + "".join(map(step, self._path))
        return place if len(place) <= MAX_WHERE else "%s…%s" % (place[: MAX_WHERE // 2], place[-MAX_WHERE // 2 :])

    def _plain(self, value):
        """The same value as plain lists and dicts, with references for blobs and with escaped keys."""
        if isinstance(value, Blob):
            return self._reference(value.path, value.media_type)
        if value is None or isinstance(value, (str, bool)):
            return value
        if isinstance(value, int):
            if not LEAST <= value <= MOST:
                raise unfit(
                    "%s is %s, an integer outside the range of exact JSON integers (-2**63 to 2**64-1): give it as a "
                    "text" % (self.where, digits(value))
                )
            return value
        if isinstance(value, float):
            if value - value != 0:
                raise unfit("%s is %r, which JSON cannot represent: give None, a text, or a numpy array" % (self.where, value))
            return value
        if id(value) in self._above:
            raise unfit("%s contains itself" % self.where)
        if len(self._above) >= MAX_DEPTH:
            raise unfit("%s is nested deeper than %d levels" % (self.where, MAX_DEPTH))
        self._above[id(value)] = value
        try:
            return self._made_plain(value)
        finally:
            del self._above[id(value)]

    def _made_plain(self, value):
        if isinstance(value, dict):
            return self._object(value)
        if isinstance(value, LISTS):
            return self._items(value)
        array, scalar = arrays.of(value, self)
        if scalar is not None:
            return self._plain(scalar)
        reference = self._file(value, array)
        return reference if reference is not None else self._plain(self._convert(value))

    def _items(self, values) -> list:
        path, plain = self._path, self._plain
        path.append(0)
        found = []
        for index, item in enumerate(values):
            path[-1] = index
            found.append(plain(item))
        path.pop()
        return found

    def _object(self, value) -> dict:
        path, found = self._path, {}
        for key, item in value.items():
            text = key if type(key) is str and not key.endswith(KEY) else self._key(key)
            path.append(text)
            if text in found:
                raise unfit(
                    "the key %s occurs twice in JSON: keep one of the two, or give them different names" % self.where
                )
            found[text] = self._plain(item)
            path.pop()
        return found

    def _key(self, key) -> str:
        """A key as a JSON string."""
        if isinstance(key, str):
            return "$" + key if reserved(key) else str.__str__(key)
        if isinstance(key, int) and not isinstance(key, bool):
            # A string can represent any integer, but Python refuses to write one with very many digits.
            try:
                return int.__repr__(key)
            except ValueError:
                raise unfit("%s has a key that is %s: give it as a text" % (self.where, digits(key))) from None
        if key is None or isinstance(key, bool) or (isinstance(key, float) and key - key == 0):
            return next(iter(json.loads(json.dumps({key: None}))))
        generic = arrays.loaded("numpy", "generic")
        if generic is not None and isinstance(key, generic):
            plain = arrays.of(key, self)[1]
            return self._key(plain) if type(plain) is not type(key) else self._no_key(key)
        if is_of("enum", "Enum", key):
            return self._key(key.value)
        text = exact_text(key)
        return text if text is not None else self._no_key(key)

    def _no_key(self, key):
        """Refuses a key."""
        raise unfit("%s has a key of type %s; keys in JSON are strings" % (self.where, type(key).__qualname__))

    def _reference(self, path: str, media_type: str | None) -> dict:
        """The reference to a file in JSON."""
        index = self._placed.get(path)
        if index is None:
            lent = self._lent.get(path)
            entry = {"lent": lent} if lent is not None else handed_back(path, self._exchange, media_type)
            index = self._placed[path] = len(self.blobs)
            self.blobs.append(entry)
        return {KEY: index}

    def _file(self, value, array) -> dict | None:
        """The reference to the file that a value is or becomes; None if the value becomes no file."""
        if isinstance(value, os.PathLike):
            return self._reference(os.fsdecode(value), None)
        media_type = None
        if callable(optional(value, "to_temp_file")) and not isinstance(value, type):
            media_type = optional(value, "media_type")

            def make() -> str:
                path = enter(value.to_temp_file, (), {})
                if not isinstance(path, (str, bytes, os.PathLike)):
                    raise unfit("to_temp_file() of %s returned a %s, not a path" % (self.where, type(path).__qualname__))
                return os.fsdecode(path)

        elif isinstance(value, (bytes, bytearray, memoryview)):

            def make() -> str:
                # The bytes of a memory view that is not contiguous must be copied first.
                whole = not isinstance(value, memoryview) or value.c_contiguous
                return written(lambda file: file.write(value if whole else value.tobytes()), ".bin", self._exchange)

        elif array is not None:

            def make() -> str:
                return written(lambda file: arrays.save(file, array), ".npy", self._exchange)

        else:
            return None
        # Written once for each object, even if the result contains it several times.
        if id(value) not in self._made:
            self._made[id(value)] = (value, make())
        return self._reference(self._made[id(value)][1], media_type)

    def _convert(self, value):
        """The replacement for a value that is not JSON itself."""
        kind = type(value)
        if kind.__name__ in MISSING and package(kind) == "pandas":
            raise unfit("%s is %s, a missing value: give None" % (self.where, value))
        fields = optional(kind, "__dataclass_fields__")
        if fields is not None:
            return {name: getattr(value, name) for name in fields}
        if is_of("enum", "Enum", value):
            return value.value
        # A model of pydantic: version 2, then version 1.
        dump = optional(value, "model_dump") or (optional(kind, "__fields__") is not None and optional(value, "dict"))
        if callable(dump) and not isinstance(value, type):
            return enter(dump, (), {})
        attributes = optional(kind, "__attrs_attrs__")
        if attributes is not None:
            return {attribute.name: getattr(value, attribute.name) for attribute in attributes}
        text = exact_text(value)
        if text is not None:
            return text
        if isinstance(value, Mapping):
            return dict(value)
        name = told(kind)
        raise unfit("%s is %s %s: %s" % (self.where, "an" if name.lstrip("_")[:1].lower() in tuple("aeio") else "a", name, advice(value)))

    def refuse(self, what: str):
        """Refuses the current value."""
        raise unfit("%s %s" % (self.where, what))

    def _find_surrogate(self, value) -> None:
        """Raises an error with the place of a text that is not valid Unicode."""
        if isinstance(value, str):
            if any("\ud800" <= character <= "\udfff" for character in value):
                raise unfit("%s is text that is not valid Unicode (it contains a lone surrogate)" % self.where)
        elif isinstance(value, dict):
            for key, item in value.items():
                self._path.append(key)
                self._find_surrogate(key)
                self._find_surrogate(item)
                self._path.pop()
        elif isinstance(value, list):
            for index, item in enumerate(value):
                self._path.append(index)
                self._find_surrogate(item)
                self._path.pop()


def step(step) -> str:
    """One key or index of a place, as text."""
    if isinstance(step, int):
        return "[%d]" % step
    return "." + step if step.isidentifier() and step.isascii() else "[%s]" % json.dumps(step)


def digits(value: int) -> str:
    """An integer for a message; if it is large, without its digits."""
    if value.bit_length() > 256:
        return "an integer of %d bits" % value.bit_length()
    return int.__repr__(value)


def package(kind: type) -> str:
    """The top-level package that a class comes from."""
    return str(getattr(kind, "__module__", "")).partition(".")[0]


def told(kind: type) -> str:
    """A class's name for a message, with its library."""
    name = package(kind)
    return kind.__qualname__ if name in ("builtins", "__main__", "") else "%s %s" % (name, kind.__qualname__)


def is_of(module: str, name: str, value) -> bool:
    """Whether a value is an instance of a library's class; false if the library is not loaded."""
    kind = arrays.loaded(module, name)
    return kind is not None and isinstance(value, kind)


def exact_text(value) -> str | None:
    """The text that represents a value exactly; None if there is none."""
    if is_of("datetime", "timedelta", value):
        return duration((value.days * 86400 + value.seconds) * 10**6 + value.microseconds, 6, getattr(value, "nanoseconds", 0))
    if type(value).__name__ in MISSING and package(type(value)) == "pandas":
        return None
    if callable(optional(value, "isoformat")) and not isinstance(value, type):
        text = value.isoformat()
        return text if isinstance(text, str) else None
    if is_of("decimal", "Decimal", value):
        return str(value) if value.is_finite() else None
    return str(value) if is_of("uuid", "UUID", value) else None


def duration(count: int, places: int, nanoseconds: int = 0) -> str:
    """A duration in the form of ISO 8601: `count` units of 10**-places seconds."""
    if nanoseconds:
        count, places = count * 10 ** (9 - places) + nanoseconds, 9
    sign = "-" if count < 0 else ""
    seconds, fraction = divmod(abs(count), 10**places)
    days, seconds = divmod(seconds, 86400)
    hours, seconds = divmod(seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    text = "%s.%0*d" % (seconds, places, fraction) if fraction else str(seconds)
    text = text.rstrip("0") if fraction else text
    time = "".join("%s%s" % (n, unit) for n, unit in ((hours, "H"), (minutes, "M")) if n)
    time += "%sS" % text if text != "0" or not (time or days) else ""
    return "%sP%s%s" % (sign, "%dD" % days if days else "", "T" + time if time else "")


def advice(value) -> str:
    """What to return in place of a value that is refused."""
    if package(type(value)) in ("pandas", "polars", "xarray", "geopandas"):
        for name in ("to_dict", "to_dicts", "tolist", "to_list"):
            if callable(optional(value, name)):
                return "give its .%s(), or write it to a file and give its pathlib.Path" % name
    kind = type(value)
    if callable(optional(kind, "__await__")):
        return "await it"
    if callable(optional(value, "read")) and callable(optional(value, "close")) and not isinstance(value, type):
        return "give its pathlib.Path, or its bytes"
    if callable(optional(kind, "__anext__")) or callable(optional(kind, "__next__")):
        return "give a list of its items"
    plain = "give plain data (a dict, a list, a text, a dataclass)"
    if isinstance(value, type) or callable(value):
        return plain
    return plain + ", or its bytes or the pathlib.Path of a file, which become a blob"
