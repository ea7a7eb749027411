"""Long JSON is sent as a file, so that messages on a connection stay small. A request's file lies in the host's part of
the exchange, a result's file in the worker's part."""

from __future__ import annotations

import os
import time
from collections import deque

from .blobs import written
from .errors import WorkerError

LEFT_S = 60.0
"""A file that the host has not taken after this time is deleted: nobody waits for that call's result any more."""

_given: deque = deque()


def read(entry, limit: int) -> bytes:
    """Reads the request that is in a file."""
    path = entry.get("path") if isinstance(entry, dict) else None
    if not isinstance(path, str):
        raise WorkerError("protocol", "the request's 'spilled' does not name a file")
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise WorkerError(
            "not-found",
            "the file of the call's arguments, %s, was removed: exclude it from cleaners of temporary files" % path,
        ) from None
    except (OSError, ValueError) as error:
        raise WorkerError("protocol", "the request's file cannot be read: %s" % error) from None
    if len(data) > limit:
        raise WorkerError("resource-exhausted", "the request's file is over the limit of %d bytes" % limit)
    return data


def write(text: bytes, exchange: str) -> bytes | None:
    """Writes a result to a file, and returns the JSON that names it in the reply; None if the file cannot be written."""
    tidy()
    try:
        path = written(lambda file: file.write(text), ".json", exchange)
    except (OSError, WorkerError):
        return None
    _given.append((time.monotonic(), path))
    # The name comes from `mkstemp`: no character of it needs an escape.
    return b'{"path":"%s"}' % os.path.basename(path).encode("ascii")


def tidy() -> None:
    """Deletes files that the host has not taken in time. Those that it has taken are gone already."""
    try:
        while _given and time.monotonic() - _given[0][0] > LEFT_S:
            os.unlink(_given.popleft()[1])
    except (OSError, IndexError):  # the host has taken it, or another thread was faster
        pass
