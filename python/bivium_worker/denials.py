"""What a confined plugin was kept from, found behind an error that it raised, and which permission it takes.

Libraries wrap the errors of the system in their own, so an error's causes are looked at as well.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

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


def own(error: BaseException) -> str | None:
    """What to do about an error that is itself the answer to something that the plugin may not do."""
    try:
        return of(error, True) if _confined else None
    except Exception:  # attributes that a class has put over Python's own
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
    except Exception:  # as above
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
        # What libraries keep: `reason`, `os_error`, `orig`, the parts of a group.
        kept = [error.__cause__, *error.args, *vars(error).values(), *(getattr(error, "exceptions", None) or ())]
        left += [(cause, is_sure) for cause in kept if isinstance(cause, BaseException)]
        if error.__cause__ is None and error.__context__ is not None:
            left.append((error.__context__, is_sure and is_answer(error, error.__context__)))


def is_answer(error: BaseException, handled: BaseException) -> bool:
    """Whether the error was raised right where the other one was caught."""
    caught = handled.__traceback__
    return caught is not None and caught.tb_frame is last_frame(error)


def last_frame(error: BaseException):
    """The frame in which it was raised."""
    frame = None
    for frame in frames(error):
        pass
    return frame


def frames(error: BaseException) -> Iterator:
    """The frames of its traceback, from the outermost on."""
    step = error.__traceback__
    while step is not None:
        yield step.tb_frame
        step = step.tb_next


def of(error: BaseException, is_sure: bool) -> str | None:
    """What to do about this error, not looking at its causes. Of one that is not surely a cause only what the system refuses counts."""
    if isinstance(error, socket.gaierror):
        return NAMES if not _lookups and error.errno not in BAD_QUESTIONS else None
    if not isinstance(error, OSError) or error.errno is None:
        return of_text(error)
    if error.errno in REFUSALS:
        return refused(error)
    if error.errno != errno.ENOENT or not is_sure or is_shared(error):
        return None
    if error.filename is None:
        return HOSTS_SOCKET if _private else None
    return OUTSIDE if is_outside(error.filename) else None


def of_text(error: BaseException) -> str | None:
    """The same of errors that say in words alone what the system said."""
    kind = type(error)
    if kind.__module__ == "sqlite3" and kind.__name__ == "OperationalError":
        return SQLITE if str(error) == "unable to open database file" else None
    if isinstance(error, (ImportError, OSError)) and NO_LIBRARY in str(error):
        library, _, reason = str(error).partition(NO_LIBRARY)
        if reason.startswith(os.strerror(errno.EACCES)):
            return FILES
        return OUTSIDE if os.path.isabs(library) and is_outside(library) else None
    return None


def refused(error: OSError) -> str:
    """What to do about what the system refuses."""
    if is_shared(error):
        return SHARED
    if error.filename is not None or error.errno == errno.EROFS:
        return FILES
    if any(is_unix_socket(frame) for frame in frames(error)):
        return UNIX
    frame = last_frame(error)
    is_connecting = frame is not None and in_library(frame).partition(os.sep)[0] in CONNECTING
    return NETWORK if error.errno == errno.EACCES or is_connecting else CALLS


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
