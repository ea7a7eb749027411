"""Long JSON travels as a file, so that what a connection carries stays small: the request's from the host's part of
the exchange, the result's from ours."""

from __future__ import annotations

import os
import time
from collections import deque

from .blobs import written
from .errors import WorkerError

LEFT_S = 60.0
"""After this time a file that the host has not taken is one that it will not take: nobody waited for its call."""

_given: deque = deque()


def read(entry, limit: int) -> bytes:
    """The request that a short one stands for."""
    path = entry.get("path") if isinstance(entry, dict) else None
    if not isinstance(path, str):
        raise WorkerError("protocol", "the request's 'spilled' names no file")
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise WorkerError(
            "not-found",
            "somebody has removed the file of the arguments, %s: keep cleaners of temporary files from it" % path,
        ) from None
    except (OSError, ValueError) as error:
        raise WorkerError("protocol", "the request's file cannot be read: %s" % error) from None
    if len(data) > limit:
        raise WorkerError("resource-exhausted", "the request's file is over the limit of %d bytes" % limit)
    return data


def write(text: bytes, exchange: str) -> bytes | None:
    """Writes a result to a file, and gives what names it in the reply; None where there is no room for it, or no directory."""
    tidy()
    try:
        path = written(lambda file: file.write(text), ".json", exchange)
    except (OSError, WorkerError):
        return None
    _given.append((time.monotonic(), path))
    # The name is `mkstemp`'s: no character of it needs an escape.
    return b'{"path":"%s"}' % os.path.basename(path).encode("ascii")


def tidy() -> None:
    """Deletes what the host has left. What it has taken is no longer there."""
    try:
        while _given and time.monotonic() - _given[0][0] > LEFT_S:
            os.unlink(_given.popleft()[1])
    except (OSError, IndexError):  # taken; or another thread was faster
        pass
