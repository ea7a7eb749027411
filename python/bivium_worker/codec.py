"""Decodes requests and encodes results as JSON, in which `{"$blob": n}` stands for a blob.

Decoding is one pass of the C decoder. Encoding is one pass of the C encoder for nearly every result (`quick`). A
second encoder in Python (`values`) is used where the first may be wrong: for a result with objects that are not JSON,
one that may contain a `Blob` (which is a `str` to the C encoder), or data with the key `$blob`. It tracks its place in
the result, and names it in errors. Two things the first one does not check; the host finds them when it reads the result:
integers that JSON numbers cannot represent exactly, and different keys with the same text.
"""

from __future__ import annotations

import json

from .blobs import Blob
from .errors import WorkerError

KEY = "$blob"

def reserved(key: str) -> bool:
    """Whether a key is `$blob` with any number of further `$` in front: such keys get one more `$` in JSON."""
    return key.endswith(KEY) and key.strip("$") == "blob"


def refuse_constant(name: str):
    """Refuses NaN and the infinities, which are not JSON, though Python's decoder accepts them."""
    raise ValueError("%s is not JSON" % name)


PLAIN = json.JSONDecoder(parse_constant=refuse_constant)


def decode(body: bytes | bytearray, limit: int) -> tuple[dict, list[Blob]]:
    """Decodes a request's object and its blobs; references to blobs in it are replaced by the blobs. A long request is in
    a file, of at most `limit` bytes."""
    given, blobs = parse(body)
    if "spilled" in given:
        from . import spill

        given, blobs = parse(spill.read(given["spilled"], limit))
    return given, blobs


def parse(body: bytes | bytearray) -> tuple[dict, list[Blob]]:
    """Decodes one document of a request."""
    try:
        text = body.decode("utf-8") if body else "{}"
        given = PLAIN.decode(text)
        if not isinstance(given, dict):
            raise ValueError("it is not an object")
        blobs = [lend(entry) for entry in listed(given, "blobs")]
        # Only a text that may contain the key, perhaps written with escapes, is decoded again with the hook. (Searching for a
        # single character is sixty times faster than for two.)
        if ("$" in text and 'blob"' in text) or ("\\" in text and "\\u" in text):
            given = json.JSONDecoder(parse_constant=refuse_constant, object_hook=Restorer(blobs)).decode(text)
        return given, blobs
    except WorkerError:
        raise
    except (ValueError, RecursionError) as error:
        raise WorkerError("protocol", "the request is not valid JSON: %s" % error) from None


def listed(given: dict, key: str) -> list:
    """A list of a request; empty if the key is missing."""
    value = given.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise WorkerError("protocol", "the request's %r is not a list" % key)
    return value


def lend(entry) -> Blob:
    """The blob that the request describes."""
    path = entry.get("path") if isinstance(entry, dict) else None
    if not isinstance(path, str):
        raise WorkerError("protocol", "a blob of the request has no path")
    size = entry.get("size")
    try:
        return Blob(path, entry.get("media_type"), size if isinstance(size, int) else None)
    except OSError as error:
        raise WorkerError("not-found", "the blob %s cannot be read: %s" % (path, error.strerror)) from None


class Restorer:
    """Replaces references by blobs, and removes the extra `$` of escaped keys."""

    def __init__(self, blobs: list[Blob]) -> None:
        self._blobs = blobs

    def __call__(self, found: dict):
        """Called by the decoder for each object, innermost first."""
        if KEY in found:
            index = found[KEY]
            if len(found) != 1 or type(index) is not int or index < 0:
                raise WorkerError("invalid-input", "a `$blob` is not the only key of its object, or its value is not an index")
            if index >= len(self._blobs):
                raise WorkerError(
                    "invalid-input",
                    "the arguments name blob %d, but only %d came with them" % (index, len(self._blobs)),
                )
            return self._blobs[index]
        if any(map(reserved, found)):
            return {key[1:] if reserved(key) else key: value for key, value in found.items()}
        return found


def unknown(value):
    """Called by the C encoder for a value that is not JSON."""
    raise Unknown


class Unknown(Exception):
    """The result needs the encoder in `values`."""


STRICT = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":"), default=unknown
)
try:
    # `STRICT.encode` makes a new encoder for every text, which triples the cost of a small one.
    from json.encoder import c_make_encoder, encode_basestring

    _pieces = c_make_encoder(None, unknown, encode_basestring, None, ":", ",", False, False, False)

    def short(value) -> str:
        return "".join(_pieces(value, 0))

    short({"": [""]})
except (ImportError, TypeError):  # no C encoder, or one with other parameters
    short = STRICT.encode

LONG = 4096
SAMPLE = 1024
ESCAPES = (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"))
RARE = [chr(code) for code in range(32) if chr(code) not in "\n\r\t"]


def dumps(value) -> str:
    """Strict JSON text; raises `Unknown` for a value that is not JSON. A long string that is the result, or a member of it, is
    not escaped character by character if that can be avoided."""
    kind = type(value)
    if kind is dict:
        for item in value.values():
            if type(item) is str and len(item) > LONG:
                return "{%s}" % ",".join([member(key, item) for key, item in value.items()])
    elif kind is str and len(value) > LONG and is_prose(value):
        for found, written in ESCAPES:
            if found in value:
                value = value.replace(found, written)
        return '"%s"' % value
    return short(value)


def is_prose(text: str) -> bool:
    """Whether probably few characters need an escape, and none a rare one: then searching for these characters is
    far faster than looking at each character."""
    return (
        text.isascii()
        and sum([text.count(found, 0, SAMPLE) for found, _ in ESCAPES]) <= SAMPLE // 50
        and not any(rare in text for rare in RARE)
    )


def member(key, item) -> str:
    """A key and its item as JSON."""
    if type(key) is str:
        return "%s:%s" % (dumps(key), dumps(item))
    # Numbers and the like become strings, by the encoder's own rules.
    return short({key: None})[1:-5] + dumps(item)


def quick(value) -> bytes | None:
    """The JSON text of a result that is plain data, or None if the encoder in `values` is needed."""
    try:
        text = dumps(value)
    except (Unknown, TypeError, ValueError, RecursionError):
        return None
    if ("$" in text and KEY + '"' in text) or any(as_json(path) in text for path in Blob.alive()):
        return None
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return None


def as_json(path: str) -> str:
    """A path as it is written in JSON text."""
    return json.dumps(path, ensure_ascii=False)
