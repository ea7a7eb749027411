"""Reads the fields of an error that Python itself keeps: its number, its parts, its traceback. Runs no code of the error's class."""

from __future__ import annotations

import builtins
from collections.abc import Iterator


def is_a(error: BaseException, kind: type | tuple) -> bool:
    """As `isinstance`, which would run the class's code for `__class__`."""
    return issubclass(type(error), kind)


def field(error: BaseException, kind: type, name: str):
    """The field that `kind`, a class of Python's own, has under this name. Runs no code of the error's class, which may have a
    property of the same name."""
    return kind.__dict__[name].__get__(error)


def number_of(error: BaseException) -> int | None:
    """The `errno` of an error, if it has one."""
    number = field(error, OSError, "errno") if is_a(error, OSError) else None
    return number if type(number) is int else None


def parts(error: BaseException) -> tuple:
    """The errors in an exception group; also in the classes that libraries use for groups before Python 3.11."""
    group = getattr(builtins, "BaseExceptionGroup", None)
    if group is not None and is_a(error, group):
        return field(error, group, "exceptions")
    own = field(error, BaseException, "__dict__")
    kept = own.get("exceptions", own.get("_exceptions"))
    return tuple(part for part in kept if is_a(part, BaseException)) if type(kept) is tuple else ()


def last_step(error: BaseException):
    """The innermost entry of its traceback: where it was first raised."""
    step = found = field(error, BaseException, "__traceback__")
    while step is not None:
        found, step = step, step.tb_next
    return found


def last_frame(error: BaseException):
    """The frame in which it was raised."""
    step = last_step(error)
    return step and step.tb_frame


def frames(error: BaseException) -> Iterator:
    """The frames of its traceback, the outermost first."""
    step = field(error, BaseException, "__traceback__")
    while step is not None:
        yield step.tb_frame
        step = step.tb_next
