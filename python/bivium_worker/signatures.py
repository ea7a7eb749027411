"""Signatures of the plugin's functions: their text, and why arguments do not fit one."""

from __future__ import annotations

import inspect
import reprlib

from .asking import attempt, optional
from .errors import clip
from .types_within import is_large

MAX_SIGNATURE = 500
"""The most characters of a signature's text."""
MAX_PART = 200
"""The most characters of each default and each type in it."""
MOST_NAMED = 8
"""How many unknown parameters an error names."""


CONTAINERS = reprlib.Repr()
"""Writes lists and the like in part: nested ones may be far too long as a text."""
CONTAINERS.maxlevel = 4
CONTAINERS.maxlist = CONTAINERS.maxtuple = CONTAINERS.maxdict = CONTAINERS.maxset = CONTAINERS.maxfrozenset = 10
CONTAINERS.maxstring = CONTAINERS.maxother = CONTAINERS.maxlong = MAX_PART


def value_text(value) -> str:
    """A default as Python writes it."""
    if is_large(value, items=CONTAINERS.maxlist):
        raise ValueError("it is a type with too many parts")
    return CONTAINERS.repr(value) if type(value) in (list, tuple, dict, set, frozenset) else repr(value)


def type_text(kind) -> str:
    """A type as Python writes it."""
    if is_large(kind):
        raise ValueError("it has too many parts")
    return inspect.formatannotation(kind)


class Written:
    """Replaces a default or a type in a signature. Its `repr` is the text of the original, or `...` if that cannot be written."""

    def __init__(self, write, value) -> None:
        text = attempt(lambda: str.__str__(write(value)))
        self._text = "..." if text is None else shortened(text, MAX_PART)

    def __repr__(self) -> str:
        return self._text


def shortened(text: str, most: int) -> str:
    """A text, cut if it is too long."""
    return clip(text if len(text) <= most else text[: most - 1] + "…")


def of(function) -> inspect.Signature | None:
    """The signature of a function, or None if it has none that Python can find."""
    return attempt(inspect.signature, function) or attempt(lambda: inspect.signature(function, follow_wrapped=False))


def written(signature: inspect.Signature | None) -> str:
    """The signature as text; `(...)` if it is not known."""
    return shortened(attempt(_written, signature, default="(...)"), MAX_SIGNATURE)


def _written(signature: inspect.Signature) -> str:
    empty = inspect.Parameter.empty

    def part(write, value):
        return value if value is empty else Written(write, value)

    parameters = [
        one.replace(default=part(value_text, one.default), annotation=part(type_text, one.annotation))
        for one in signature.parameters.values()
    ]
    returns = part(type_text, signature.return_annotation)
    return str(inspect.Signature(parameters, return_annotation=returns))


def misfit(function, signature: inspect.Signature, args, kwargs: dict) -> str | None:
    """Why the arguments do not fit the function, or None if they do."""
    own = own_name(function)
    if own in kwargs:
        return "Python itself gives the argument %r: leave it out" % own
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        reason = str(error)
    else:
        return None
    kinds = [one.kind for one in signature.parameters.values()]
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        unknown = [repr(name) for name in kwargs if name not in signature.parameters]
        unknown = [name for name in unknown if name not in reason][:MOST_NAMED]
        if unknown:
            reason += "; there is no parameter %s" % ", ".join(unknown)
    return reason


def own_name(function) -> str | None:
    """The name of the first parameter of a method or constructor (usually `self`), which Python fills, if a caller could
    give it by name."""
    if isinstance(function, type):
        inner = optional(function, "__init__")
    else:
        inner = optional(function, "__func__") if optional(function, "__self__") is not None else None
    code = optional(inner, "__code__")
    if not inspect.iscode(code) or not code.co_argcount or code.co_posonlyargcount:
        return None
    return code.co_varnames[0]
