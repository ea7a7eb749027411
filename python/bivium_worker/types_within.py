"""The types that a function or a class names, and how large one is: a type that holds another twice, and so on, has no end for
whoever writes it out or looks into it."""

from __future__ import annotations

import sys
import typing

from .asking import attempt, optional, unwrapped

MOST_PARTS = 2000
"""A type that is made of more is not written out."""


def is_large(kind, names: dict | None = None, items: int = MOST_PARTS) -> bool:
    """Whether a type is made of too many. Texts in it are types of these names, if there are any. Of lists so many items count."""
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
    """The names of a module that is loaded; those of `typing` where there is none."""
    found = sys.modules.get(module) if isinstance(module, str) else None
    names = optional(found, "__dict__")
    return names if isinstance(names, dict) else vars(typing)


def are_large(owner, names: dict | None) -> bool:
    """Whether one of the types is that a function or a class names. `names` are those of the function's module."""
    owners = type.__dict__["__mro__"].__get__(owner) if isinstance(owner, type) else (owner,)
    for one in owners:
        named = optional(one, "__annotations__")
        module = names_of(optional(one, "__module__"))
        if isinstance(named, dict) and any(is_large(kind, names or module) for kind in tuple(named.values())):
            return True
    return False


def hints_of(owner) -> dict:
    """The types that a function or a class names; none where one of them cannot be found."""
    options: dict = {}
    if not isinstance(owner, type):
        # Python's own search for the function within its decorators may have no end.
        names = optional(unwrapped(owner), "__globals__")
        options["globalns"] = names if isinstance(names, dict) else {}
    if are_large(owner, options.get("globalns")):
        return {}
    # Without: Python 3.9 with `X | Y`. A name may be there for type checkers alone, and a text may be any code.
    with_extras = attempt(lambda: typing.get_type_hints(owner, include_extras=True, **options))
    return with_extras if with_extras is not None else attempt(lambda: typing.get_type_hints(owner, **options), default={})
