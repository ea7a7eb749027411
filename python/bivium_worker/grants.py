"""The host's files that a confined plugin is granted, and why it cannot use a file."""

from __future__ import annotations

import errno
import os

from .findings import ALL, FILESYSTEM, CONFINED, Finding

FILES = CONFINED + "add what it needs to permissions.filesystem"
NEVER = CONFINED + "%s is never granted: permissions.filesystem grants nothing in /proc, /sys and /dev"
NOT_GRANTED = CONFINED + "%s is not granted: add its directory to permissions.filesystem"
OUTSIDE = "the plugin sees only what it is granted: if %s exists on the host, add its directory to permissions.filesystem"
READ_ONLY = CONFINED + (
    '%s is granted for reading only: writing needs `"mode": "write"` in permissions.filesystem, and in the host\'s policy if it has one'
)
RENAMED = "a Python plugin sees the host's own paths, so use %s in place of %s: `guest` in permissions.filesystem is for components"
MODE = "permissions.filesystem allows it, but the mode or the owner of %s forbids it: change those on the host"
RUN = CONFINED + (
    "%s cannot be run: a plugin runs only programs of its environment and of the system, not those in directories that it is granted"
)
CALLS = CONFINED + "sockets need permissions.network; no confined plugin can reach other processes or use some of the system calls"

REFUSALS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
GRANT = "grant"
"""What `forbids` returns for a missing grant, in place of the path of a file whose mode or owner forbids something."""
SYSTEM = ("/proc", "/sys", "/dev")
"""Where file modes do not show what is allowed. The exchange, with the workers' own directories, is in `/dev/shm`."""

_private: frozenset[str] = frozenset()
_grants: list[dict] = []
_own: list[str] = []
"""The worker's own directories."""


def hold(private: list[str], grants: list[dict]) -> None:
    """Notes which empty directories replace directories of the host, and what is granted: `path`, `guest` and `mode` of each."""
    global _private, _grants, _own
    _private, _grants = frozenset(private), grants
    _own = [os.path.realpath(os.environ[name]) for name in ("TMPDIR", "HOME") if os.environ.get(name)]


def has_own_root() -> bool:
    """Whether the worker sees only what it is granted."""
    return bool(_private)


def refused(paths: list[str], number: int, made: bool) -> Finding | None:
    """What to do about files that the system refuses; for an error that the plugin `made`, only if one really cannot be reached."""
    # A relative path that does not exist here was relative to another directory, which the error does not name.
    places = [os.path.realpath(path) for path in paths if os.path.isabs(path) or os.path.lexists(path)]
    if paths and not places:
        return None if made else Finding(FILES, FILESYSTEM, "a file")
    if number == errno.EROFS and not made:
        return missing(next(filter(only_read, places), places[0])) if places else Finding(FILES, FILESYSTEM, "a file")
    found = [(place, forbids(place, not made)) for place in places]
    if not made:
        # Making, moving or removing a file writes to its directory.
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
    """What to do about a program that the system refuses to run; None if grants are not the reason."""
    place = os.path.realpath(path)
    if os.path.isfile(place) and not os.access(place, os.X_OK):
        return by_mode(place)
    return Finding(RUN % place, ALL, place) if holder(place, "path") else None


def absent(path: str) -> Finding | None:
    """What to do about a file that does not exist for the plugin: it may exist on the host, or its path is the one for components."""
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
    """What to do about a file whose mode or owner forbids it; None if there is no such file."""
    return Finding(MODE % path) if path else None


def holder(place: str, key: str) -> dict | None:
    """The innermost grant whose `path` or `guest` (`key`) is at or above a path."""
    found = [grant for grant in _grants if is_within(place, grant[key])]
    return max(found, key=lambda grant: len(grant[key]), default=None)


def only_read(place: str) -> str | None:
    """The granted directory of something that may only be read."""
    grant = holder(place, "path")
    return grant["path"] if grant and grant["mode"] == "read" and forbids(place, False) is None else None


def renamed(place: str) -> str | None:
    """The help for a path that begins with the `guest` name of a grant, by which only a component would see it."""
    grant = holder(place, "guest")
    if grant is None or holder(place, "path"):
        return None
    there = os.path.normpath(os.path.join(grant["path"], os.path.relpath(place, grant["guest"])))
    # Every path begins with `/`: in that case only a path that exists can be meant.
    sure = there if grant["guest"] == "/" else os.path.dirname(there)
    return RENAMED % (there, place) if os.path.lexists(sure) else None


def forbids(path: str, write: bool) -> str | None:
    """What forbids the plugin a real path, or the nearest directory above it that exists: `GRANT` for a missing grant, the file or
    directory whose mode or owner forbids it, or None. Tries to open it, and changes nothing."""
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
    # With O_TMPFILE the file has no name, and is gone when it is closed.
    way = getattr(os, "O_TMPFILE", None) if is_dir else 0
    return None if way is None or opens(path, os.O_WRONLY | way) else GRANT


def is_of_system(path: str) -> bool:
    """Whether a path is in one of the system's directories, and not in a directory there that is the worker's own or granted."""
    if not any(is_within(path, directory) for directory in SYSTEM):
        return False
    return not any(is_within(path, own) for own in _own) and holder(path, "path") is None


def is_within(path: str, directory: str) -> bool:
    """Whether a path is a directory or lies below it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def is_readable_above(path: str) -> bool:
    """Whether the nearest directory above that its mode allows to read can be read. For a granted path it can."""
    above = os.path.dirname(path)
    while not os.access(above, os.R_OK | os.X_OK) and above != os.path.dirname(above):
        above = os.path.dirname(above)
    return opens(above, os.O_RDONLY)


def opens(path: str, flags: int) -> bool:
    """Whether the system allows opening a file or directory."""
    try:
        os.close(os.open(path, flags | os.O_NONBLOCK, 0o600))
    except OSError as error:
        return error.errno not in REFUSALS
    return True


def is_outside(filename) -> bool:
    """Whether a path leads into an empty directory of the worker's root, where the host may have files."""
    if not _private or not isinstance(filename, (str, bytes)):
        return False
    try:
        above = os.path.realpath(os.fsdecode(filename))
        while not os.path.lexists(above):
            above = os.path.dirname(above)
        return above in _private
    except (OSError, ValueError):
        return False
