"""Arguments that a method's types want as more than plain data. Here it is found out whether a method has such types, which most have
not; `fitting` gives the arguments their forms.
"""

from __future__ import annotations

from types import FunctionType, MethodType
from weakref import WeakKeyDictionary

from .asking import optional, unwrapped

PLAIN = frozenset((str, int, float, bool, dict, list, object, type(None)))
PLAIN_NAMES = frozenset(("str", "int", "float", "bool", "dict", "list", "object", "None", "Any", "typing.Any"))
"""Types that want nothing."""

_plans: WeakKeyDictionary[FunctionType, tuple] = WeakKeyDictionary()
"""Of each function the names of its parameters, and the types of those that want something."""


def fit(function, call, most: int) -> None:
    """Gives the arguments of a call the forms that the function wants. Of files so many bytes are read, at most."""
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
    from .fitting import Fitting

    fitting = Fitting(most)
    given = [fitting.argument(name, kinds.get(name), value) for name, value in zip(names[is_bound:], call.args)]
    call.args = [*given, *call.args[len(given) :]]
    call.kwargs = {name: fitting.argument(name, kinds.get(name), value) for name, value in call.kwargs.items()}


def planned(function: FunctionType) -> tuple:
    """What is to be known of a function."""
    inner = unwrapped(function)
    annotations = optional(inner, "__annotations__")
    if type(annotations) is not dict or all(map(is_plain, annotations.values())):
        return (), {}
    from .fitting import wants
    from .types_within import hints_of

    kinds = {name: kind for name, kind in hints_of(function).items() if name != "return" and wants(kind)}
    code = inner.__code__ if type(inner) is FunctionType else None
    return (code.co_varnames[: code.co_argcount] if code else ()), kinds


def is_plain(kind) -> bool:
    """Whether a type wants nothing, by a look."""
    return kind in PLAIN_NAMES if type(kind) is str else type(kind) is type and kind in PLAIN
