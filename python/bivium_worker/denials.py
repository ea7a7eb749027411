"""What a confined plugin was kept from, found behind an error that it raised, and which permission it takes.

Libraries wrap the errors of the system in their own, so an error's causes are looked at as well.
"""

from __future__ import annotations

import builtins
import errno
import os
import socket
import sys
from collections.abc import Iterator
from types import MemberDescriptorType

MAX_CHAIN = 100
"""Of so many errors, each the cause of another, the denial is looked for."""

HELD = "the plugin is held to its permissions: "
FILES = HELD + "what it needs goes into permissions.filesystem"
NETWORK = HELD + "connections need permissions.network, and no confined plugin may listen for them"
NAMES = HELD + "to look up the names of hosts it needs those names in permissions.network"
OUTSIDE = "the plugin sees only what it is granted: if the file is there on the host, it goes into permissions.filesystem"
SQLITE = HELD + "SQLite writes its database and files beside it, so their directory goes into permissions.filesystem, to write"
SHARED = "locks between processes need a /dev/shm of the plugin's own, which a machine without mount namespaces does not give"
UNIX = (
    "Unix sockets are kept from a confined plugin that has permissions.network, that is granted a directory at or above /run, /tmp or "
    "a home, or that runs on a machine without mount namespaces"
)
HOSTS_SOCKET = HELD + "a Unix socket of the host's is there for it if the socket's directory is in permissions.filesystem"
CALLS = (
    HELD + "sockets need permissions.network; other processes, and some system calls, are kept from every confined plugin"
)

REFUSALS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
NO_LIBRARY = ": cannot open shared object file: "
"""What stands between the file and the reason where the dynamic linker cannot have a library."""
BAD_QUESTIONS = frozenset(
    getattr(socket, name, None) for name in ("EAI_BADFLAGS", "EAI_FAMILY", "EAI_MEMORY", "EAI_SERVICE", "EAI_SOCKTYPE")
)
"""Failures of a look-up that come from how it was asked for."""
STANDARD_LIBRARY = os.path.dirname(os.path.realpath(os.__file__)) + os.sep
SHARING = frozenset(os.path.join("multiprocessing", name) for name in ("heap.py", "shared_memory.py", "synchronize.py"))
CONNECTING = frozenset({"http", "socketserver.py", "socket.py", "ssl.py", "asyncio"})

_confined = False
_private: frozenset[str] = frozenset()
_lookups = False


def hold(confined: bool, private: list[str], lookups: bool) -> None:
    """Notes how this worker is held. `private` are the directories that stand for the host's and hold nothing of it; with `lookups` it
    may look up the names of hosts."""
    global _confined, _private, _lookups
    _confined, _private, _lookups = confined, frozenset(private), lookups


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
    """The errors that a group of them is made of."""
    group = getattr(builtins, "BaseExceptionGroup", None)
    return field(error, group, "exceptions") if group is not None and is_a(error, group) else ()


def own(error: BaseException) -> str | None:
    """What to do about an error that is itself the answer to something that the plugin may not do."""
    try:
        return of(error, True) if _confined else None
    except BaseException:  # code of the error's class that we did not expect to run
        return None


def behind(error: BaseException) -> tuple[str, BaseException] | None:
    """The same about the nearest of the error's causes, and that cause."""
    if not _confined:
        return None
    try:
        for cause, is_sure in causes(error):
            help = of(cause, is_sure)
            if help:
                return help, cause
    except BaseException:  # as above
        pass
    return None


def causes(error: BaseException) -> Iterator[tuple[BaseException, bool]]:
    """What an error came from, the nearest first, each with whether it surely is a cause: one that was being handled may be over and
    done with."""
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
    """The errors that libraries keep in one of their own: `reason`, `os_error`, `orig`, a list of them, the parts of a group."""
    found = [*field(error, BaseException, "args"), *field(error, BaseException, "__dict__").values(), *parts(error)]
    for base in type.__dict__["__mro__"].__get__(type(error)):
        if base in (BaseException, object):
            continue
        for slot in tuple(type.__dict__["__dict__"].__get__(base).values()):
            if type(slot) is MemberDescriptorType:
                try:
                    found.append(slot.__get__(error))
                except AttributeError:  # nothing is in it
                    pass
    for value in tuple(found):
        if type(value) in (list, tuple):
            found += value[:MAX_CHAIN]
        elif type(value) is dict:
            found += tuple(value.values())[:MAX_CHAIN]
    return [value for value in found if is_a(value, BaseException)]


def is_answer(error: BaseException, handled: BaseException) -> bool:
    """Whether the error was raised right where the other one was caught."""
    caught = field(handled, BaseException, "__traceback__")
    return caught is not None and caught.tb_frame is last_frame(error)


def last_frame(error: BaseException):
    """The frame in which it was raised."""
    frame = None
    for frame in frames(error):
        pass
    return frame


def frames(error: BaseException) -> Iterator:
    """The frames of its traceback, from the outermost on."""
    step = field(error, BaseException, "__traceback__")
    while step is not None:
        yield step.tb_frame
        step = step.tb_next


def of(error: BaseException, is_sure: bool) -> str | None:
    """What to do about this error, not looking at its causes. Of one that is not surely a cause only what the system refuses counts."""
    number = number_of(error)
    if is_a(error, socket.gaierror):
        return NAMES if not _lookups and number not in BAD_QUESTIONS else None
    if number is None:
        return of_text(error)
    if number in REFUSALS:
        return refused(error)
    if number != errno.ENOENT or not is_sure or is_shared(error):
        return None
    filename = field(error, OSError, "filename")
    if filename is None:
        return HOSTS_SOCKET if _private else None
    return OUTSIDE if is_outside(filename) else None


def of_text(error: BaseException) -> str | None:
    """The same of errors that say in words alone what the system said."""
    text = next((text for text in field(error, BaseException, "args")[:1] if type(text) is str), "")
    sqlite3 = sys.modules.get("sqlite3")
    if sqlite3 is not None and is_a(error, sqlite3.OperationalError):
        return SQLITE if text == "unable to open database file" else None
    if is_a(error, (ImportError, OSError)) and NO_LIBRARY in text:
        library, _, reason = text.partition(NO_LIBRARY)
        if reason.startswith(os.strerror(errno.EACCES)):
            return FILES
        return OUTSIDE if os.path.isabs(library) and is_outside(library) else None
    return None


def refused(error: OSError) -> str:
    """What to do about what the system refuses."""
    if is_shared(error):
        return SHARED
    number = number_of(error)
    if field(error, OSError, "filename") is not None or number == errno.EROFS:
        return FILES
    if any(is_unix_socket(frame) for frame in frames(error)):
        return UNIX
    frame = last_frame(error)
    is_connecting = frame is not None and in_library(frame).partition(os.sep)[0] in CONNECTING
    return NETWORK if number == errno.EACCES or is_connecting else CALLS


def is_shared(error: OSError) -> bool:
    """Whether it is about memory or locks that processes share. Their names are no files."""
    frame = last_frame(error)
    return frame is not None and in_library(frame) in SHARING


def is_unix_socket(frame) -> bool:
    """Whether a frame is that of the standard library's code which makes a Unix socket."""
    return in_library(frame) == "socket.py" and frame.f_locals.get("family") == getattr(socket, "AF_UNIX", -1)


def in_library(frame) -> str:
    """Which file of the standard library a frame's code is from; empty if none."""
    filename = frame.f_code.co_filename
    if not filename.startswith(STANDARD_LIBRARY):
        filename = os.path.realpath(filename)
    return filename[len(STANDARD_LIBRARY) :] if filename.startswith(STANDARD_LIBRARY) else ""


def is_outside(filename) -> bool:
    """Whether a path leads to where the host may have something and the worker's own root has nothing."""
    if not _private or not isinstance(filename, (str, bytes)):
        return False
    try:
        above = os.path.realpath(os.fsdecode(filename))
        while not os.path.lexists(above):
            above = os.path.dirname(above)
        return above in _private
    except (OSError, ValueError):
        return False
