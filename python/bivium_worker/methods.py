"""Describes the plugin's methods, for `/methods`. They are inspected when a client asks; no call needs this.

Types become JSON Schema (draft 2020-12). A type that JSON Schema cannot describe becomes `{"$comment": TEXT}`. Classes that have
a schema of their own give it.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import typing
from functools import partial

from . import docstrings, signatures
from .asking import attempt, optional, unwrapped
from .blobs import Blob
from .calls import Cancelled
from .errors import clip, text_of
from .signatures import MAX_SIGNATURE
from .types_within import hints_of, is_large

DRAFT = "https://json-schema.org/draft/2020-12/schema"
DEEPEST = 8
"""How deep nested types are described."""
MOST = 1000
"""How many methods are described at most."""
MAX_DOC = 8 * 1024
MAX_SCHEMA = 32 * 1024
MAX_DEFAULT = 1024
MAX_ALL = 512 * 1024
"""The most characters of JSON for all methods together; further methods are only named."""
MAX_NAMES = 256 * 1024
"""The most characters for the methods that are only named. The host reads a reply of up to 1 MiB."""
DEEPEST_VALUE = 64
"""How deep values in a schema may nest: defaults, and the schemas that classes give."""
INTEGERS = (-(1 << 63), (1 << 64) - 1)
"""The least and the greatest integer that the host reads exactly."""

PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
FORMATS = {
    ("datetime", "datetime"): "date-time",
    ("datetime", "date"): "date",
    ("datetime", "time"): "time",
    ("datetime", "timedelta"): "duration",
    ("uuid", "UUID"): "uuid",
    ("decimal", "Decimal"): None,
}
"""Types that are strings in JSON, by module and name, with the format."""
SETS = ("set", "frozenset", "Set", "MutableSet")
A_FILE = "a file"
BLOB = {
    "type": "object",
    "properties": {"$blob": {"type": "integer", "minimum": 0}},
    "required": ["$blob"],
    "description": A_FILE,
}
FILE = {"anyOf": [BLOB, {"type": "string"}]}
"""The schema of a parameter that is a file: a blob, or a path as a string."""
FILE_SIZE = 128
"""About how many characters of JSON that schema has."""
LISTS = ("list", "deque", "Sequence", "MutableSequence", "Iterable", "Collection")
OBJECTS = ("dict", "defaultdict", "OrderedDict", "Mapping", "MutableMapping")
STREAMS = ("Iterator", "Generator", "AsyncIterator", "AsyncGenerator", "AsyncIterable")


def listed(plugin) -> list[dict]:
    """All methods of a plugin, sorted by name."""
    left, names_left, found = MAX_ALL, MAX_NAMES, []
    names = {name: place for name, place in plugin.methods().items() if len(name) <= MAX_SIGNATURE and clip(name) == name}
    has_stream, runs = plugin.hook("execute_stream") is not None, "execute" in names
    if has_stream and not runs:
        # A streaming call of `execute` runs it.
        names["execute"] = (plugin.target, "execute_stream")
    for name, (target, attribute) in sorted(names.items())[:MOST]:
        told = attempt(described, name, target, attribute) or {"name": name, "description": ""}
        if name == "execute" and has_stream:
            told["also_runs"] = runs and not told.get("streams")
            told["streams"] = True
        size = len(json.dumps(told))
        if size > left:
            told = {"name": name, "description": ""}
            names_left -= len(json.dumps(told))
            if names_left < 0:
                break
        left -= min(size, left)
        found.append(told)
    return found


def described(name: str, target: object, attribute: str) -> dict:
    """The description of one method."""
    told: dict = {"name": name, "description": ""}
    function = optional(type(target), attribute)
    if function is None:
        function = optional(target, attribute)
    doc = optional(function.func if isinstance(function, partial) else function, "__doc__")
    doc = clip(inspect.cleandoc(doc[:MAX_DOC])) if isinstance(doc, str) else ""
    told["description"] = doc.partition("\n")[0]
    if doc != told["description"]:
        told["doc"] = doc
    function = optional(target, attribute)
    signature = signatures.of(function)
    if signature is None:  # a built-in function, or the plugin's code prevents it
        return told
    told["signature"] = signatures.written(signature)
    hints = hints_of(function)
    plain = unwrapped(function)
    told["streams"] = inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain)
    kind, streams = attempt(result, hints.get("return", signature.return_annotation)) or (typing.Any, False)
    told["streams"] = told["streams"] or streams
    docs = docstrings.parameters(doc)
    for key, make in (("parameters", lambda: parameters(signature, hints, docs)), ("returns", lambda: returns(kind))):
        try:
            schema = checked(make())
        except Cancelled:
            raise
        except BaseException as error:  # the code of a class that gives its schema may raise anything, also SystemExit
            told["note"] = "%s: %s: %s" % (key, type(error).__name__, text_of(error)[:MAX_SIGNATURE])
            continue
        if schema:
            told[key] = schema
    return told


class TooLong(Exception):
    """The description is longer than allowed."""


class Budget:
    """How many characters of JSON may still be made. Making a schema stops when none are left."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def spend(self, count: int) -> None:
        """Notes that at least `count` characters were made."""
        self._left -= count
        self.check(0 if self._left >= 0 else self._most + 1)

    def check(self, whole: int) -> None:
        """Raises TooLong if `whole` characters are more than allowed."""
        if whole > self._most:
            raise TooLong("the schema has more than %d bytes" % self._most)


def checked(schema: dict) -> dict:
    """The schema as plain JSON; raises if it is too long or not JSON."""
    budget = Budget(MAX_SCHEMA)
    text = json.dumps(held(schema, budget), allow_nan=False)
    budget.check(len(text))
    return json.loads(text)


def held(value, budget: Budget, depth: int = 0):
    """A value as the host will read it. Keys whose value cannot be represented in JSON are left out.
    Raises ValueError if the value itself cannot be represented, and TooLong."""
    budget.spend(1)
    if depth > DEEPEST_VALUE:
        raise ValueError("it nests deeper than %d levels" % DEEPEST_VALUE)
    if isinstance(value, dict):
        kept: dict = {}
        for key, one in value.items():
            name = key if isinstance(key, str) else json.dumps(key)
            if name in kept:
                raise ValueError("two keys are both %r in JSON" % name)
            try:
                kept[held(name, budget)] = held(one, budget, depth + 1)
            except (TypeError, ValueError):
                continue
        return kept
    if isinstance(value, (list, tuple)):
        return [held(one, budget, depth + 1) for one in value]
    if isinstance(value, int) and not isinstance(value, bool) and not INTEGERS[0] <= value <= INTEGERS[1]:
        raise ValueError("an integer beyond 64 bits")
    text = json.dumps(value, allow_nan=False)
    budget.spend(len(text) - 1)
    if isinstance(value, str):
        value.encode()
        return value
    return json.loads(text)


def parameters(signature: inspect.Signature, hints: dict, docs: dict) -> dict:
    """The schema of the arguments as an object."""
    schemas = Schemas()
    properties: dict = {}
    required = []
    more: object = False
    for name, parameter in signature.parameters.items():
        kind = hints.get(name, parameter.annotation)
        if parameter.kind is parameter.VAR_POSITIONAL:
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            more = schemas.of(kind, 0) or True
            continue
        found = dict(schemas.of(kind, 0))
        if parameter.default is parameter.empty:
            required.append(name)
        else:
            add_default(found, parameter.default)
        properties[name] = with_doc(found, docs.get(name))
    schema: dict = {"$schema": DRAFT, "type": "object", "properties": properties}
    if required:
        schema["required"] = required
    schema["additionalProperties"] = more
    return schemas.finish(schema)


def returns(kind) -> dict:
    """The schema of a result."""
    schemas = Schemas(file=BLOB)
    return schemas.finish(dict(schemas.of(kind, 0)))


def result(kind) -> tuple[object, bool]:
    """The type of a result, or of each item of a stream, and whether it is a stream."""
    name = getattr(typing.get_origin(kind) or kind, "__name__", "")
    given = typing.get_args(kind)
    if name in STREAMS:
        return given[0] if given else typing.Any, True
    if name in ("Awaitable", "Coroutine") and given:
        kind = given[-1]
    return kind, False


def with_doc(schema: dict, doc: str | None) -> dict:
    """The schema with the description from a docstring, unless the type has one of its own."""
    return dict(schema, description=doc) if doc and schema.get("description", A_FILE) == A_FILE else schema


def add_default(schema: dict, default) -> None:
    """Adds a default value, if all of it is plain data."""
    enum = sys.modules.get("enum")
    if enum is not None and isinstance(default, enum.Enum):
        default = default.value

    def is_plain() -> bool:
        kept = json.dumps(held(default, Budget(MAX_DEFAULT)), allow_nan=False)
        return len(kept) <= MAX_DEFAULT and json.dumps(default, allow_nan=False) == kept

    if attempt(is_plain):
        schema["default"] = default


class Schemas:
    """Makes schemas of types, and collects the definitions that they refer to. `file` is the schema of a file."""

    def __init__(self, file: dict = FILE) -> None:
        self._file = file
        self._defs: dict = {}
        self._budget = Budget(MAX_SCHEMA)
        self._within: list = []
        self._texts: dict[int, tuple[object, str]] = {}

    def finish(self, schema: dict) -> dict:
        """The schema with its definitions."""
        if self._defs:
            schema["$defs"] = self._defs
        return schema

    def _told(self, kind) -> str:
        """A type as text. A type that occurs many times is converted to text only once."""
        if id(kind) not in self._texts:
            self._texts[id(kind)] = kind, told(kind)
        text = self._texts[id(kind)][1]
        self._budget.spend(len(text))
        return text

    def of(self, kind, depth: int) -> dict:
        """The schema of one type."""
        self._budget.spend(2)
        if kind in (inspect.Parameter.empty, typing.Any, object) or isinstance(kind, typing.TypeVar):
            return {}
        if kind is None:
            return {"type": "null"}
        if isinstance(kind, str):
            return {"$comment": clip(kind)[:MAX_SIGNATURE]}
        if depth > DEEPEST:
            return {"$comment": self._told(kind)}
        found = PLAIN.get(kind) if isinstance(kind, type) else None
        if found is not None:
            self._budget.spend(len(found))
            return {"type": found}
        origin = typing.get_origin(kind)
        if origin is not None:
            return self._generic(kind, origin, typing.get_args(kind), depth)
        supertype = getattr(kind, "__supertype__", None)
        if supertype is not None:
            return self.of(supertype, depth + 1)
        if isinstance(kind, type):
            return self._class(kind, depth)
        return {"$comment": self._told(kind)}

    def _generic(self, kind, origin, given: tuple, depth: int) -> dict:
        """The schema of a type with arguments."""
        name = getattr(origin, "__name__", "") or getattr(origin, "_name", "") or ""
        if hasattr(kind, "__metadata__"):
            return self._annotated(kind, given[0], depth)
        if origin is typing.Union or name == "UnionType":
            found: list = []
            for one in given:
                schema = self.of(one, depth + 1)
                # A union in this union is merged into it.
                forms = schema["anyOf"] if schema.keys() == {"anyOf"} else [schema]
                found += [form for form in forms if form not in found]
            return found[0] if len(found) == 1 else {"anyOf": found}
        if origin is typing.Literal:
            self._budget.spend(len(given))
            return {"enum": [getattr(value, "value", value) for value in given]}
        if name in ("Required", "NotRequired", "ReadOnly", "Final", "ClassVar") and given:
            return self.of(given[0], depth + 1)
        if name == "tuple":
            return self._tuple(given, depth)
        if name in LISTS or name in SETS:
            return self._array(name in SETS, given, depth)
        if name in OBJECTS:
            item = self.of(given[1], depth + 1) if len(given) > 1 else {}
            return {"type": "object", "additionalProperties": item} if item else {"type": "object"}
        if isinstance(origin, type):
            return self._class(origin, depth)
        return {"$comment": self._told(kind)}

    def _annotated(self, kind, inner, depth: int) -> dict:
        """The schema of an `Annotated` type; a text, or a field of pydantic, gives its description."""
        schema = dict(self.of(inner, depth + 1))
        for said in kind.__metadata__:
            text = said if isinstance(said, str) else getattr(said, "description", None)
            text = text or getattr(said, "documentation", None)
            if isinstance(text, str):
                schema["description"] = clip(text)[:MAX_DEFAULT]
        return schema

    def _array(self, is_set: bool, given: tuple, depth: int) -> dict:
        schema: dict = {"type": "array"}
        if is_set:
            schema["uniqueItems"] = True
        item = self.of(given[0], depth + 1) if given else {}
        if item:
            schema["items"] = item
        return schema

    def _tuple(self, given: tuple, depth: int) -> dict:
        if not given:
            return {"type": "array"}
        if given[-1] is Ellipsis:
            return self._array(False, given, depth)
        items = [self.of(one, depth + 1) for one in given if one != ()]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}

    def _class(self, kind: type, depth: int) -> dict:
        """The schema of a class."""
        name = kind.__name__
        form = (kind.__module__, name)
        if form in FORMATS:
            return {"type": "string", "format": FORMATS[form]} if FORMATS[form] else {"type": "string"}
        if kind is bytes:
            self._budget.spend(FILE_SIZE)
            return BLOB
        if is_file(kind):
            self._budget.spend(FILE_SIZE)
            return self._file
        own = getattr(kind, "model_json_schema", None) or (
            getattr(kind, "schema", None) if hasattr(kind, "__fields__") else None
        )
        if callable(own):
            return self._own(kind, own())
        enum = sys.modules.get("enum")
        if enum is not None and issubclass(kind, enum.Enum):
            self._budget.spend(len(kind))
            return {"enum": [member.value for member in kind]}
        if kind is tuple or name in LISTS and kind.__module__ in ("builtins", "collections", "collections.abc", "typing"):
            return {"type": "array"}
        if kind in (set, frozenset):
            return {"type": "array", "uniqueItems": True}
        if kind is dict or name in OBJECTS:
            return {"type": "object"}
        if kind in self._within:
            return {"$comment": self._told(kind)}
        self._within.append(kind)
        try:
            return self._record(kind, depth)
        finally:
            self._within.pop()

    def _record(self, kind: type, depth: int) -> dict:
        """The schema of a dataclass, a TypedDict or a named tuple; for other classes a comment."""
        self._budget.spend(len(kind.__name__))
        hints = hints_of(kind)
        if hasattr(kind, "__dataclass_fields__"):
            from dataclasses import MISSING, fields

            properties, required = {}, []
            for field in fields(kind):
                if not field.init:
                    continue
                self._budget.spend(len(field.name))
                properties[field.name] = dict(self.of(hints.get(field.name, field.type), depth + 1))
                if field.default is not MISSING:
                    add_default(properties[field.name], field.default)
                elif field.default_factory is MISSING:
                    required.append(field.name)
            return record(kind, properties, required)
        if hasattr(kind, "__required_keys__"):
            properties = {name: self.of(one, depth + 1) for name, one in hints.items()}
            return record(kind, properties, sorted(kind.__required_keys__))
        if issubclass(kind, tuple) and hasattr(kind, "_fields"):
            items = [dict(self.of(hints.get(name), depth + 1), title=name) for name in kind._fields]
            return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
        return {"$comment": self._told(kind)}

    def _own(self, kind: type, schema: dict) -> dict:
        """The schema that a class gives. Its definitions are moved to the top level, where its references expect them."""
        schema = dict(schema)
        self._budget.spend(len(schema))
        for name, one in {**schema.pop("definitions", {}), **schema.pop("$defs", {})}.items():
            if self._defs.setdefault(name, one) != one:
                return {"$comment": self._told(kind)}
        return schema


def is_file(kind: type) -> bool:
    """Whether a class represents a file: `pathlib.Path` and similar classes, `os.PathLike`, `Blob`."""
    pathlib = sys.modules.get("pathlib")
    return kind in (os.PathLike, Blob) or pathlib is not None and issubclass(kind, pathlib.PurePath)


def record(kind: type, properties: dict, required: list) -> dict:
    """The schema of an object with these properties."""
    docs = docstrings.parameters(clip(inspect.cleandoc((kind.__doc__ or "")[:MAX_DOC])))
    properties = {name: with_doc(schema, docs.get(name)) for name, schema in properties.items()}
    schema = {"type": "object", "title": kind.__name__, "properties": properties}
    if required:
        schema["required"] = required
    return schema


def told(kind) -> str:
    """A type as text."""
    name = getattr(kind, "__qualname__", None) if isinstance(kind, type) else None
    module = getattr(kind, "__module__", "builtins")
    if name is None:
        return "..." if is_large(kind) else clip(str(kind))[:MAX_SIGNATURE]
    return name if module == "builtins" else "%s.%s" % (module, name)
