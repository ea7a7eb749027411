"""The worker's voice on the channel: one JSON object a line, for the handshake and for structured log records."""

from __future__ import annotations

import json
import os
import threading


class Channel:
    """Writes events to the host. Safe from any thread, and across an exception raised into the writing one."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self._rest = b""
        self.detached = False

    def send(self, event: dict) -> None:
        """Writes one event, or drops it if the host has gone (the guard is about to end us then)."""
        self.write(json.dumps(event) + "\n")

    def write(self, text: str) -> None:
        """As `send`, for an event that is a line of JSON already."""
        if self.detached:
            return
        line = text.encode("ascii")
        with self._lock:
            # What an interrupted write left behind goes first, so that no line is ever cut short for good.
            self._rest += line
            try:
                while self._rest:
                    self._rest = self._rest[os.write(self._fd, self._rest) :]
            except OSError:
                self._rest = b""

    def let_go(self) -> None:
        """In a process that the plugin forked: closes the channel, on which the host hears of the worker alone."""
        self.detached = True
        os.close(self._fd)
