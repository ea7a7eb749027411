"""The annotated types of a function or a class, and how large a type is. A type that contains another twice, which contains a third
twice, and so on, takes exponential time to write out."""

from __future__ import annotations

import sys
import typing

from .asking import attempt, optional, unwrapped

MOST_PARTS = 2000
"""A type that is made of more parts than this is not written out."""


def is_large(kind, names: dict | None = None, items: int = MOST_PARTS) -> bool:
    """Whether a type is made of too many parts. Strings in it are looked up in `names`, if given. At most `items` items of a list count."""
    return attempt(_is_large, kind, names, items, default=True)


def _is_large(kind, names: dict | None, items: int) -> bool:
    left, count = [kind], 0
    while left:
        count += 1
        if count > MOST_PARTS:
            return True
        one = left.pop()
        if type(one) is typing.ForwardRef:
            one = one.__forward_arg__
        if type(one) is str:
            found = attempt(eval, one, names) if names is not None else None
            left += [found] if found is not None else []
        elif type(one) in (list, tuple):
            left += one[:items]
        elif typing.get_origin(one) is not typing.Literal:
            inner = optional(one, "__args__")
            left += inner[:MOST_PARTS] if type(inner) is tuple else ()
    return False


def names_of(module) -> dict:
    """The global names of a module that is loaded; otherwise those of `typing`."""
    found = sys.modules.get(module) if isinstance(module, str) else None
    names = optional(found, "__dict__")
    return names if isinstance(names, dict) else vars(typing)


def are_large(owner, names: dict | None) -> bool:
    """Whether one of the annotated types of a function or a class is too large. `names` are those of the function's module."""
    owners = type.__dict__["__mro__"].__get__(owner) if isinstance(owner, type) else (owner,)
    for one in owners:
        named = optional(one, "__annotations__")
        module = names_of(optional(one, "__module__"))
        if isinstance(named, dict) and any(is_large(kind, names or module) for kind in tuple(named.values())):
            return True
    return False


def hints_of(owner) -> dict:
    """The annotated types of a function or a class; empty if one of them cannot be resolved."""
    options: dict = {}
    if not isinstance(owner, type):
        # `typing` follows decorators without a limit, and a cycle of them has no end.
        names = optional(unwrapped(owner), "__globals__")
        options["globalns"] = names if isinstance(names, dict) else {}
    if are_large(owner, options.get("globalns")):
        return {}
    # It may fail: Python 3.9 does not know `X | Y`, a name may exist for type checkers only, and a string may be any code.
    with_extras = attempt(lambda: typing.get_type_hints(owner, include_extras=True, **options))
    return with_extras if with_extras is not None else attempt(lambda: typing.get_type_hints(owner, **options), default={})
