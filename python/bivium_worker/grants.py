"""What a confined plugin is granted of the host's files, and what keeps it from one."""

from __future__ import annotations

import errno
import os

from .findings import ALL, FILESYSTEM, HELD, Finding

FILES = HELD + "what it needs goes into permissions.filesystem"
NEVER = HELD + "%s is never granted: permissions.filesystem gives nothing in /proc, /sys and /dev"
NOT_GRANTED = HELD + "%s is not granted: its directory goes into permissions.filesystem"
OUTSIDE = "the plugin sees only what it is granted: if %s is there on the host, its directory goes into permissions.filesystem"
READ_ONLY = HELD + '%s is granted to be read: to write there takes `"mode": "write"` in permissions.filesystem, and in the host\'s policy if it has one'
RENAMED = "a Python plugin sees the host's own paths, so that %s is %s for it: `guest` in permissions.filesystem is for components"
MODE = "permissions.filesystem reaches it, but the mode or the owner of %s forbids it: change those on the host"
RUN = HELD + "%s is not run: programs are those of its environment and of the system, and none of what it is granted"
CALLS = HELD + "sockets need permissions.network; other processes, and some system calls, are kept from every confined plugin"

REFUSALS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
GRANT = "grant"
"""What forbids something where it is no file's mode or owner: no path reads so."""
SYSTEM = ("/proc", "/sys", "/dev")
"""Where no mode tells what is allowed. The exchange, where workers have directories of their own, lies in `/dev/shm`."""

_private: frozenset[str] = frozenset()
_grants: list[dict] = []
_own: list[str] = []
"""Directories of the worker's own."""


def hold(private: list[str], grants: list[dict]) -> None:
    """Notes which directories stand for the host's and hold nothing of it, and what is granted: `path`, `guest` and `mode` of each."""
    global _private, _grants, _own
    _private, _grants = frozenset(private), grants
    _own = [os.path.realpath(os.environ[name]) for name in ("TMPDIR", "HOME") if os.environ.get(name)]


def has_own_root() -> bool:
    """Whether the worker sees only what it is granted."""
    return bool(_private)


def refused(paths: list[str], number: int, made: bool) -> Finding | None:
    """What to do about what the system refuses of files; of an error that the plugin `made`, only where one is out of reach indeed."""
    # A relative name that leads nowhere from here was one in another directory, which the error does not name.
    places = [os.path.realpath(path) for path in paths if os.path.isabs(path) or os.path.lexists(path)]
    if paths and not places:
        return None if made else Finding(FILES, FILESYSTEM, "a file")
    if number == errno.EROFS and not made:
        return missing(next(filter(only_read, places), places[0])) if places else Finding(FILES, FILESYSTEM, "a file")
    found = [(place, forbids(place, not made)) for place in places]
    if not made:
        # To make, move or remove a file is to write to its directory.
        found += [(place, forbids(os.path.dirname(place), True)) for place in places]
    place, why = next((one for one in found if one[1]), ("", None))
    if why == GRANT:
        return missing(place)
    if why or made:
        return by_mode(why)
    if number == errno.EPERM:
        return Finding(CALLS, ALL, "a system call")
    if any(os.path.isfile(place) and not os.access(place, os.X_OK) for place in places):
        return by_mode(places[0])
    return Finding(FILES, FILESYSTEM, places[0] if places else "a file")


def not_run(path: str) -> Finding | None:
    """What to do about a program that the system refuses to run; None where it is not for what the plugin is granted."""
    place = os.path.realpath(path)
    if os.path.isfile(place) and not os.access(place, os.X_OK):
        return by_mode(place)
    return Finding(RUN % place, ALL, place) if holder(place, "path") else None


def absent(path: str) -> Finding | None:
    """What to do about a file that the plugin does not find: the host may have it, or the plugin goes by its name for components."""
    place = os.path.realpath(path)
    if is_outside(place):
        return missing(place)
    help = renamed(place)
    return Finding(help) if help else None


def missing(place: str) -> Finding:
    """The denial of a file at a real path."""
    read_only = only_read(place)
    if read_only:
        help = READ_ONLY % read_only
    elif holder(place, "path"):
        help = FILES
    elif is_of_system(place):
        help = NEVER % place
    else:
        help = renamed(place) or (OUTSIDE if is_outside(place) else NOT_GRANTED) % place
    return Finding(help, FILESYSTEM, place)


def by_mode(path: str | None) -> Finding | None:
    """What to do about a file whose mode or owner forbids it, if there is one."""
    return Finding(MODE % path) if path else None


def holder(place: str, key: str) -> dict | None:
    """The innermost grant whose directory, or whose name for components, is at or above a path."""
    found = [grant for grant in _grants if is_within(place, grant[key])]
    return max(found, key=lambda grant: len(grant[key]), default=None)


def only_read(place: str) -> str | None:
    """The granted directory in which something lies that may be read, and nothing more."""
    grant = holder(place, "path")
    return grant["path"] if grant and grant["mode"] == "read" and forbids(place, False) is None else None


def renamed(place: str) -> str | None:
    """What to say of a path that begins with the name by which a component would see what is granted."""
    grant = holder(place, "guest")
    if grant is None or holder(place, "path"):
        return None
    there = os.path.normpath(os.path.join(grant["path"], os.path.relpath(place, grant["guest"])))
    # Every path begins with `/`: only what is there was meant by that name.
    sure = there if grant["guest"] == "/" else os.path.dirname(there)
    return RENAMED % (place, there) if os.path.lexists(sure) else None


def forbids(path: str, write: bool) -> str | None:
    """What keeps the plugin from what lies at a real path, or from the nearest directory above it that is there: `GRANT` for a
    missing grant, the file or directory whose mode or owner does, or None. Tries to open it, and changes nothing."""
    if is_of_system(path) or is_outside(path):
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


def is_of_system(path: str) -> bool:
    """Whether a path lies in one of the system's directories, and not in what is the worker's own or granted there."""
    if not any(is_within(path, directory) for directory in SYSTEM):
        return False
    return not any(is_within(path, own) for own in _own) and holder(path, "path") is None


def is_within(path: str, directory: str) -> bool:
    """Whether a path is a directory or lies below it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


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
