"""What Python itself keeps of an error: its number, its parts, where it was raised. Runs no code of the error's class."""

from __future__ import annotations

import builtins
from collections.abc import Iterator


def is_a(error: BaseException, kind: type | tuple) -> bool:
    """As `isinstance`, which would ask the error's own `__class__`."""
    return issubclass(type(error), kind)


def field(error: BaseException, kind: type, name: str):
    """What Python itself keeps of an error under this name, for all classes beneath `kind`. Runs no code of the error's class, which
    may have put a property over it."""
    return kind.__dict__[name].__get__(error)


def number_of(error: BaseException) -> int | None:
    """The system's number of an error, if it has one."""
    number = field(error, OSError, "errno") if is_a(error, OSError) else None
    return number if type(number) is int else None


def parts(error: BaseException) -> tuple:
    """The errors that a group of them is made of; also of what stands for a group before Python 3.11."""
    group = getattr(builtins, "BaseExceptionGroup", None)
    if group is not None and is_a(error, group):
        return field(error, group, "exceptions")
    own = field(error, BaseException, "__dict__")
    kept = own.get("exceptions", own.get("_exceptions"))
    return tuple(part for part in kept if is_a(part, BaseException)) if type(kept) is tuple else ()


def last_step(error: BaseException):
    """The innermost step of its traceback: where it was first raised."""
    step = found = field(error, BaseException, "__traceback__")
    while step is not None:
        found, step = step, step.tb_next
    return found


def last_frame(error: BaseException):
    """The frame in which it was raised."""
    step = last_step(error)
    return step and step.tb_frame


def frames(error: BaseException) -> Iterator:
    """The frames of its traceback, from the outermost on."""
    step = field(error, BaseException, "__traceback__")
    while step is not None:
        yield step.tb_frame
        step = step.tb_next
