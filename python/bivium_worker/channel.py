"""Events from the worker to the host: one JSON object a line, for the handshake and for structured log records."""

from __future__ import annotations

import json
import os
import threading


class Channel:
    """Writes events to the host. Safe from any thread, also when a cancellation is raised in the thread that writes."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self._rest = b""
        self.detached = False

    def send(self, event: dict) -> None:
        """Writes one event, or drops it if the host is gone (the guard then ends this process)."""
        self.write(json.dumps(event) + "\n")

    def write(self, text: str) -> None:
        """As `send`, for an event that is a line of JSON already."""
        if self.detached:
            return
        line = text.encode("ascii")
        with self._lock:
            # First the rest of a write that was interrupted, so that every line is complete in the end.
            self._rest += line
            try:
                while self._rest:
                    self._rest = self._rest[os.write(self._fd, self._rest) :]
            except OSError:
                self._rest = b""

    def close_in_child(self) -> None:
        """In a process that the plugin forked: closes the channel, which is for the worker alone."""
        self.detached = True
        os.close(self._fd)
