"""What a confined plugin was kept from, found behind an error that it raised, and which permission it takes.

Libraries wrap the errors of the system in their own, so an error's causes are looked at as well.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterator
from types import MemberDescriptorType

from .error_fields import field, frames, is_a, last_frame, last_step, number_of, parts

MAX_CHAIN = 100
"""Of so many errors, each the cause of another, the denial is looked for."""

HELD = "the plugin is held to its permissions: "
FILES = HELD + "what it needs goes into permissions.filesystem"
NETWORK = HELD + "connections need permissions.network, and no confined plugin may listen for them"
NAMES = HELD + "to look up the names of hosts it needs those names in permissions.network"
OUTSIDE = "the plugin sees only what it is granted: if the file is there on the host, it goes into permissions.filesystem"
SQLITE = HELD + "SQLite writes its database and files beside it, so their directory goes into permissions.filesystem, to write"
SQLITE_WRITE = HELD + "to write to an SQLite database its directory needs mode `write` in permissions.filesystem"
MODE = "permissions.filesystem reaches it, but the mode or the owner of %s forbids it: change those on the host"
SHARED = "locks between processes need a /dev/shm of the plugin's own, which a machine without mount namespaces does not give"
UNIX = (
    "Unix sockets are kept from a confined plugin that has permissions.network, that is granted a directory at or above /run, /tmp or "
    "a home, or that runs on a machine without mount namespaces"
)
HOSTS_SOCKET = HELD + "a Unix socket of the host's is there for it if the socket's directory is in permissions.filesystem"
CALLS = (
    HELD + "sockets need permissions.network; other processes, and some system calls, are kept from every confined plugin"
)

UNABLE = "unable to open database file"
READ_ONLY = "attempt to write a readonly database"
"""What SQLite says. The database is not in it."""
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

GRANT = "grant"
"""What forbids something where it is no file's mode or owner: no path reads so."""
SYSTEM = ("/proc", "/sys", "/dev")
"""Where no mode tells what is allowed."""

_confined = False
_private: frozenset[str] = frozenset()
_lookups = False
_database: object = None
"""The database that was opened last."""
_is_watching = False


class Finding:
    """What is behind an error. `is_denied`: whether the call was denied something, or failed for another reason that `help` tells."""

    def __init__(self, help: str, is_denied: bool) -> None:
        self.help = help
        self.is_denied = is_denied


def hold(confined: bool, private: list[str], lookups: bool) -> None:
    """Notes how this worker is held. `private` are the directories that stand for the host's and hold nothing of it; with `lookups` it
    may look up the names of hosts."""
    global _confined, _private, _lookups, _is_watching
    _confined, _private, _lookups = confined, frozenset(private), lookups
    if confined and not _is_watching:
        _is_watching = True
        sys.addaudithook(watch)


def watch(event: str, args: tuple) -> None:
    """Notes which database is opened: SQLite's errors do not tell."""
    global _database
    if event == "sqlite3.connect":
        _database = args[0]


def own(error: BaseException) -> Finding | None:
    """What to do about an error that is itself the answer to something that the plugin may not do."""
    try:
        return of(error, True) if _confined else None
    except BaseException:  # code of the error's class that we did not expect to run
        return None


def behind(error: BaseException) -> tuple[Finding, BaseException] | None:
    """The same about the nearest of the error's causes that was denied, and that cause; if none was, about the nearest that is
    known. An error that was handled before another one came is a hint, and does not make the call `denied`."""
    hint = None
    try:
        for cause, is_sure in causes(error) if _confined else ():
            found = of(cause, is_sure)
            if found and found.is_denied and is_sure:
                return found, cause
            if found and hint is None:
                hint = Finding(found.help, False), cause
    except BaseException:  # as above
        pass
    return hint


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
    """Whether a `raise` made the error right where the other one was caught."""
    caught, step = field(handled, BaseException, "__traceback__"), last_step(error)
    return caught is not None and step is not None and caught.tb_frame is step.tb_frame and is_raise(step)


def is_raise(step) -> bool:
    """Whether a step of a traceback stands at a `raise` statement."""
    from opcode import opmap

    # Code that was compiled to machine code (Cython) has no bytecode to stand in.
    at = step.tb_lasti
    return step.tb_frame.f_code.co_code[at : at + 1] == bytes([opmap["RAISE_VARARGS"]])


def is_made(error: BaseException) -> bool:
    """Whether the plugin made the error: it was never raised, or first by a `raise` outside the standard library."""
    step = last_step(error)
    if step is None:
        return True
    frame = step.tb_frame
    in_python = in_library(frame) or frame.f_code.co_filename.startswith("<frozen ")
    return is_raise(step) and (not in_python or in_library(frame).partition(os.sep)[0] in ("site-packages", "dist-packages"))


def of(error: BaseException, is_sure: bool) -> Finding | None:
    """What to do about this error, not looking at its causes. Of one that is not surely a cause only what the system refuses counts."""
    number, made = number_of(error), is_made(error)
    if made and not is_quoted(error, number):
        return None
    if is_a(error, socket.gaierror):
        return denied(NAMES) if not _lookups and number not in BAD_QUESTIONS else None
    if number is None:
        return of_text(error)
    if number in REFUSALS:
        return refused(error, number, made)
    if number != errno.ENOENT or not is_sure or is_shared(error):
        return None
    filename = field(error, OSError, "filename")
    if filename is None:
        return denied(HOSTS_SOCKET) if _private else None
    return denied(OUTSIDE) if is_outside(filename) else None


def denied(help: str) -> Finding:
    """A denial."""
    return Finding(help, True)


def is_quoted(error: BaseException, number: int | None) -> bool:
    """Whether an error that the plugin raised repeats the system's own words, as those do that call it by `ctypes`."""
    if number is None or field(error, BaseException, "__traceback__") is None:
        return False
    return field(error, OSError, "strerror") == os.strerror(number)


def of_text(error: BaseException) -> Finding | None:
    """The same of errors that say in words alone what the system said."""
    text = next((text for text in field(error, BaseException, "args")[:1] if type(text) is str), "")
    sqlite3 = sys.modules.get("sqlite3")
    if sqlite3 is not None and is_a(error, sqlite3.OperationalError):
        return of_database(text)
    if is_a(error, (ImportError, OSError)) and NO_LIBRARY in text:
        library, _, reason = text.partition(NO_LIBRARY)
        if reason.startswith(os.strerror(errno.EACCES)):
            return denied(FILES)
        return denied(OUTSIDE) if os.path.isabs(library) and is_outside(library) else None
    return None


def of_database(text: str) -> Finding | None:
    """What to do about what SQLite says of the database that was opened last."""
    if text not in (UNABLE, READ_ONLY):
        return None
    path, mode = database()
    if not path:
        return None
    directory = os.path.dirname(path)
    if text == READ_ONLY:
        return found_by(None if mode == "ro" else forbids(path, True) or forbids(directory, True), SQLITE_WRITE)
    if is_outside(path):
        return denied(SQLITE)
    if os.path.isdir(path) or not os.path.lexists(directory):
        return None
    if os.path.lexists(path):
        why = forbids(path, False)
    else:
        why = forbids(directory, False) if mode else None
    return found_by(why or (None if mode else forbids(directory, True)), SQLITE)


def database() -> tuple[str, str]:
    """The path of the database that was opened last, empty if it has none, and the `mode` that its URI gives."""
    try:
        path = os.fsdecode(_database)
    except TypeError:
        return "", ""
    mode = ""
    if path.startswith("file:"):
        from urllib.parse import parse_qs, unquote, urlsplit

        parts = urlsplit(path)
        path, mode = unquote(parts.path), parse_qs(parts.query).get("mode", [""])[-1]
    if path in ("", ":memory:") or mode == "memory":
        return "", ""
    return os.path.realpath(path), "" if mode == "rwc" else mode


def refused(error: BaseException, number: int, made: bool) -> Finding | None:
    """What to do about what the system refuses; of an error that the plugin `made`, only where a file is out of reach indeed."""
    if is_shared(error):
        return denied(SHARED)
    paths = [path for path in (field(error, OSError, name) for name in ("filename", "filename2")) if path is not None]
    if number == errno.EROFS and not made:
        return denied(FILES)
    if paths:
        return refused_file([os.fsdecode(path) for path in paths if type(path) in (str, bytes)], number, made)
    if any(is_unix_socket(frame) for frame in frames(error)):
        return denied(UNIX)
    frame = last_frame(error)
    is_connecting = frame is not None and in_library(frame).partition(os.sep)[0] in CONNECTING
    return denied(NETWORK if number == errno.EACCES or is_connecting else CALLS)


def refused_file(paths: list[str], number: int, made: bool) -> Finding | None:
    """The same about files."""
    places = [os.path.realpath(path) for path in paths]
    found = [forbids(place, not made) for place in places]
    if not made:
        # To make, move or remove a file is to write to its directory.
        found += [forbids(os.path.dirname(place), True) for place in places]
    why = next(filter(None, found), None)
    if why or made:
        return found_by(why, FILES)
    if number == errno.EPERM:
        return denied(CALLS)
    if any(os.path.isfile(place) and not os.access(place, os.X_OK) for place in places):
        return Finding(MODE % places[0], False)
    return denied(FILES)


def found_by(why: str | None, help: str) -> Finding | None:
    """What `forbids` found: a missing grant, or the file whose mode or owner forbids it."""
    if not why:
        return None
    return denied(help) if why == GRANT else Finding(MODE % why, False)


def forbids(path: str, write: bool) -> str | None:
    """What keeps the plugin from what lies at a real path, or from the nearest directory above it that is there: `GRANT` for a
    missing grant, the file or directory whose mode or owner does, or None. Tries to open it, and changes nothing."""
    if path.startswith(SYSTEM) or is_outside(path):
        return GRANT
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    is_dir = os.path.isdir(path)
    if not is_dir and not os.path.isfile(path):
        return None
    if not os.access(path, os.R_OK | os.X_OK if is_dir else os.R_OK):
        return path if _private or is_readable_above(path) else GRANT
    if not opens(path, os.O_RDONLY):
        return GRANT
    if not write:
        return None
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return GRANT
    if not os.access(path, os.W_OK):
        return path
    # A file without a name is never seen, and gone when it is closed.
    way = getattr(os, "O_TMPFILE", None) if is_dir else 0
    return None if way is None or opens(path, os.O_WRONLY | way) else GRANT


def is_readable_above(path: str) -> bool:
    """Whether the nearest directory above whose mode allows to read it can be read: what is granted lies in one."""
    above = os.path.dirname(path)
    while not os.access(above, os.R_OK | os.X_OK) and above != os.path.dirname(above):
        above = os.path.dirname(above)
    return opens(above, os.O_RDONLY)


def opens(path: str, flags: int) -> bool:
    """Whether the system does not refuse to open a file or directory."""
    try:
        os.close(os.open(path, flags | os.O_NONBLOCK, 0o600))
    except OSError as error:
        return error.errno not in REFUSALS
    return True


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
