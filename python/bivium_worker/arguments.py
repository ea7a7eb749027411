"""Finds out whether a method has parameters whose arguments need a conversion, which most methods do not have. `conversion` does
the conversion.
"""

from __future__ import annotations

from types import FunctionType, MethodType
from weakref import WeakKeyDictionary

from .asking import optional, unwrapped

PLAIN = frozenset((str, int, float, bool, dict, list, object, type(None)))
PLAIN_NAMES = frozenset(("str", "int", "float", "bool", "dict", "list", "object", "None", "Any", "typing.Any"))
"""Types that need no conversion."""

_plans: WeakKeyDictionary[FunctionType, tuple] = WeakKeyDictionary()
"""For each function the names of its parameters, and the types of those that need a conversion."""


def convert(function, call, most: int) -> None:
    """Converts the arguments of a call to the types of the function's parameters. At most `most` bytes are read from files."""
    is_bound = type(function) is MethodType
    inner = function.__func__ if is_bound else function
    if type(inner) is not FunctionType:
        return
    plan = _plans.get(inner)
    if plan is None:
        plan = _plans[inner] = planned(inner)
    names, kinds = plan
    if not kinds:
        return
    from .conversion import Converter

    converter = Converter(most)
    given = [converter.argument(name, kinds.get(name), value) for name, value in zip(names[is_bound:], call.args)]
    call.args = [*given, *call.args[len(given) :]]
    call.kwargs = {name: converter.argument(name, kinds.get(name), value) for name, value in call.kwargs.items()}


def planned(function: FunctionType) -> tuple:
    """The entry of a function in `_plans`."""
    inner = unwrapped(function)
    annotations = optional(inner, "__annotations__")
    if type(annotations) is not dict or all(map(is_plain, annotations.values())):
        return (), {}
    from .conversion import wants
    from .types_within import hints_of

    kinds = {name: kind for name, kind in hints_of(function).items() if name != "return" and wants(kind)}
    code = inner.__code__ if type(inner) is FunctionType else None
    return (code.co_varnames[: code.co_argcount] if code else ()), kinds


def is_plain(kind) -> bool:
    """Whether a type obviously needs no conversion."""
    return kind in PLAIN_NAMES if type(kind) is str else type(kind) is type and kind in PLAIN
