"""Finds out from an error that a confined plugin raised what the plugin was denied, and which permission would allow it."""

from __future__ import annotations

import errno
import os
import socket
import sys

from . import databases, errors, grants, sockets
from .causes import causes, in_library, is_made
from .error_fields import field, is_a, last_frame, number_of
from .findings import ALL, Finding

SHARED = "locks between processes need a private /dev/shm, which a plugin does not have on a machine without mount namespaces"

NO_LIBRARY = ": cannot open shared object file: "
"""The text between file and reason in the dynamic linker's error about a library that it cannot open."""
SHARING = frozenset(os.path.join("multiprocessing", name) for name in ("heap.py", "shared_memory.py", "synchronize.py"))

_confined = False
_lookups = False
_is_watching = False


def hold(confined: bool, private: list[str], lookups: bool, granted: list[dict]) -> None:
    """Notes how this worker is confined. `private` are the empty directories that replace directories of the host; with `lookups` it
    may look up host names; `granted` are the directories of permissions.filesystem."""
    global _confined, _lookups, _is_watching
    _confined, _lookups = confined, lookups
    grants.hold(private, granted)
    errors.explain_denials(own, behind)
    if confined and not _is_watching:
        _is_watching = True
        sys.addaudithook(databases.watch)


def own(error: BaseException) -> Finding | None:
    """What to do about an error that is itself a denial."""
    try:
        return of(error, True) if _confined else None
    except BaseException:  # code of the error's class that we did not expect to run
        return None


def behind(error: BaseException) -> tuple[Finding, BaseException] | None:
    """The same for the nearest cause of the error that is a denial, and that cause; if none is, for the nearest cause that can be
    explained. An error that was being handled when another one was raised is only a hint, and does not make the call `denied`."""
    hint = None
    try:
        for cause, is_sure in causes(error) if _confined else ():
            found = of(cause, is_sure)
            if found and found.is_denied and is_sure:
                return found, cause
            if found and hint is None:
                hint = Finding(found.help), cause
    except BaseException:  # as above
        pass
    return hint


def of(error: BaseException, is_sure: bool) -> Finding | None:
    """What to do about this error, without its causes. If it is not surely a cause, only refusals of the system count."""
    number, made = number_of(error), is_made(error)
    if made and not is_quoted(error, number):
        return None
    if is_a(error, socket.gaierror):
        return sockets.looked_up(error) if not _lookups and number not in sockets.BAD_QUESTIONS else None
    if number is None:
        return of_text(error)
    if number in grants.REFUSALS:
        return refused(error, number, made)
    if number != errno.ENOENT or not is_sure or is_shared(error):
        return None
    filename = field(error, OSError, "filename")
    if filename is None:
        return sockets.absent()
    return grants.absent(os.fsdecode(filename)) if type(filename) in (str, bytes) else None


def is_quoted(error: BaseException, number: int | None) -> bool:
    """Whether an error that the plugin raised has the system's own message, as code that uses `ctypes` raises it."""
    if number is None or field(error, BaseException, "__traceback__") is None:
        return False
    return field(error, OSError, "strerror") == os.strerror(number)


def of_text(error: BaseException) -> Finding | None:
    """The same for errors that contain the system's error only as text."""
    text = next((text for text in field(error, BaseException, "args")[:1] if type(text) is str), "")
    sqlite3 = sys.modules.get("sqlite3")
    if sqlite3 is not None and is_a(error, sqlite3.OperationalError):
        return databases.of(text)
    if is_a(error, (ImportError, OSError)) and NO_LIBRARY in text:
        library, _, reason = text.partition(NO_LIBRARY)
        if reason.startswith(os.strerror(errno.EACCES)):
            return grants.missing(os.path.realpath(library))
        return grants.absent(library) if os.path.isabs(library) else None
    return None


def refused(error: BaseException, number: int, made: bool) -> Finding | None:
    """What to do about a refusal of the system; for an error that the plugin `made`, only if a file really cannot be reached."""
    if is_shared(error):
        return Finding(SHARED, ALL, "memory or locks that processes share")
    paths = [path for path in (field(error, OSError, name) for name in ("filename", "filename2")) if path is not None]
    if paths and is_running(error):
        found = grants.not_run(os.fsdecode(paths[0])) if type(paths[0]) in (str, bytes) else None
        if found:
            return found
    if paths or number == errno.EROFS and not made:
        return grants.refused([os.fsdecode(path) for path in paths if type(path) in (str, bytes)], number, made)
    return sockets.refused(error, number)


def is_running(error: OSError) -> bool:
    """Whether the error comes from running a program with the standard library."""
    frame = last_frame(error)
    return frame is not None and in_library(frame) == "subprocess.py"


def is_shared(error: OSError) -> bool:
    """Whether the error is about memory or locks that processes share. Their names are not file names."""
    frame = last_frame(error)
    return frame is not None and in_library(frame) in SHARING
