"""Why a confined plugin could not use an SQLite database. SQLite's errors do not say which database it was."""

from __future__ import annotations

import os

from . import grants
from .findings import FILESYSTEM, CONFINED, Finding

FILES = CONFINED + "SQLite writes its database and files beside it, so add their directory %s to permissions.filesystem, with write access"
WRITE = CONFINED + (
    'to write to an SQLite database its directory needs `"mode": "write"` in permissions.filesystem, and %s is granted for reading only'
)

UNABLE = "unable to open database file"
READ_ONLY = "attempt to write a readonly database"
"""SQLite's messages. They do not name the database."""

_database: object = None
"""The database that was opened last, as it was given to `sqlite3.connect`."""


def watch(event: str, args: tuple) -> None:
    """Notes which database is opened."""
    global _database
    if event == "sqlite3.connect":
        _database = args[0]


def of(text: str) -> Finding | None:
    """What to do about an error of SQLite, which is about the database that was opened last."""
    if text not in (UNABLE, READ_ONLY):
        return None
    path, mode = last()
    if not path:
        return None
    directory = os.path.dirname(path)
    if text == READ_ONLY:
        return found_by(path, None if mode == "ro" else grants.forbids(path, True) or grants.forbids(directory, True))
    if grants.is_outside(path):
        return denied(path)
    if os.path.isdir(path) or not os.path.lexists(directory):
        return None
    if os.path.lexists(path):
        why = grants.forbids(path, False)
    else:
        why = grants.forbids(directory, False) if mode else None
    return found_by(path, why or (None if mode else grants.forbids(directory, True)))


def last() -> tuple[str, str]:
    """The path of the database that was opened last, empty if it has none, and the `mode` in its URI."""
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


def found_by(path: str, why: str | None) -> Finding | None:
    """The finding for a result of `grants.forbids`: a missing grant, or the file whose mode or owner forbids it."""
    return denied(path) if why == grants.GRANT else grants.by_mode(why)


def denied(path: str) -> Finding:
    """The denial of a database."""
    directory = os.path.dirname(path)
    read_only = grants.only_read(path)
    help = WRITE % read_only if read_only else grants.renamed(path) or FILES % directory
    return Finding(help, FILESYSTEM, path)
