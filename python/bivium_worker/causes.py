"""The causes of an error, and who raised it. Libraries wrap errors of the system in their own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import MemberDescriptorType

from .error_fields import field, is_a, last_step, parts

MAX_CHAIN = 100
"""How many causes of an error are looked at at most."""

STANDARD_LIBRARY = os.path.dirname(os.path.realpath(os.__file__)) + os.sep


def causes(error: BaseException) -> Iterator[tuple[BaseException, bool]]:
    """The causes of an error, the nearest first, each with whether it surely is a cause. An error that was only being handled when this
    one was raised (its `__context__`) may have nothing to do with it."""
    left = [(error, True)]
    seen: set[int] = set()
    while left and len(seen) < MAX_CHAIN:
        error, is_sure = left.pop(0)
        if id(error) in seen:
            continue
        if seen:
            yield error, is_sure
        seen.add(id(error))
        cause, context = field(error, BaseException, "__cause__"), field(error, BaseException, "__context__")
        left += [(kept, is_sure) for kept in (cause, *held(error)) if kept is not None]
        if cause is None and context is not None:
            left.append((context, is_sure and is_answer(error, context)))


def held(error: BaseException) -> list[BaseException]:
    """The errors that a library's error contains: in `reason`, `os_error`, `orig`, in a list, or as parts of a group."""
    found = [*field(error, BaseException, "args"), *field(error, BaseException, "__dict__").values(), *parts(error)]
    for base in type.__dict__["__mro__"].__get__(type(error)):
        if base in (BaseException, object):
            continue
        for slot in tuple(type.__dict__["__dict__"].__get__(base).values()):
            if type(slot) is MemberDescriptorType:
                try:
                    found.append(slot.__get__(error))
                except AttributeError:  # the slot is empty
                    pass
    for value in tuple(found):
        if type(value) in (list, tuple):
            found += value[:MAX_CHAIN]
        elif type(value) is dict:
            found += tuple(value.values())[:MAX_CHAIN]
    return [value for value in found if is_a(value, BaseException)]


def is_answer(error: BaseException, handled: BaseException) -> bool:
    """Whether the error was raised by a `raise` in the function that caught the other one."""
    caught, step = field(handled, BaseException, "__traceback__"), last_step(error)
    return caught is not None and step is not None and caught.tb_frame is step.tb_frame and is_raise(step)


def is_raise(step) -> bool:
    """Whether an entry of a traceback is at a `raise` statement."""
    from opcode import opmap

    # Code that was compiled to machine code (Cython) has no bytecode.
    at = step.tb_lasti
    return step.tb_frame.f_code.co_code[at : at + 1] == bytes([opmap["RAISE_VARARGS"]])


def is_made(error: BaseException) -> bool:
    """Whether the plugin made the error: it was never raised, or first raised by a `raise` outside the standard library."""
    step = last_step(error)
    if step is None:
        return True
    frame = step.tb_frame
    in_python = in_library(frame) or frame.f_code.co_filename.startswith("<frozen ")
    return is_raise(step) and (not in_python or in_library(frame).partition(os.sep)[0] in ("site-packages", "dist-packages"))


def in_library(frame) -> str:
    """The file of the standard library that a frame's code is from; empty if it is from elsewhere."""
    filename = frame.f_code.co_filename
    if not filename.startswith(STANDARD_LIBRARY):
        filename = os.path.realpath(filename)
    return filename[len(STANDARD_LIBRARY) :] if filename.startswith(STANDARD_LIBRARY) else ""
