"""Sending replies: whole ones, and replies that are a stream of events."""

from __future__ import annotations

import json
import select
import _socket as socket
import threading
import time

from .calls import Call
from .errors import clip
from .wire import STREAM_HEAD, Closed

PROGRESS_S = 0.05
"""The least time between two progress events: at most twenty a second are sent, and the newest replaces those in between."""

FINISH_S = 1.0
"""How long the last event of a cancelled stream waits for a reader that has stopped reading."""

CHECK_S = 0.05


class SendTimeout(Exception):
    """The reader did not read for too long; `rest` is what was not sent."""

    def __init__(self, rest) -> None:
        super().__init__()
        self.rest = rest


def send(sock: socket.socket, data, give_up) -> None:
    """Sends all of `data`. Waits for the reader until `give_up()` is true. Raises `Closed` or `SendTimeout`."""
    rest = push(sock, data)
    if not rest:
        return
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    while rest:
        poll.poll(CHECK_S * 1000)
        left = push(sock, rest)
        if len(left) == len(rest) and give_up():
            raise SendTimeout(left)
        rest = left


def push(sock: socket.socket, data):
    """Sends what the socket accepts now, and returns the rest."""
    try:
        sent = sock.send(data)
    except (BlockingIOError, InterruptedError):
        return data
    except OSError:
        raise Closed from None
    return b"" if sent == len(data) else memoryview(data)[sent:]


def timeout_after(seconds: float):
    """A `give_up` function for `send` that is true once the time is over."""
    until = time.monotonic() + seconds
    return lambda: time.monotonic() > until


class Events:
    """A reply that is a stream of events, one JSON object a line, each sent when it happens.

    The plugin's thread writes chunks and waits for the reader, so that a slow reader slows the plugin down. Progress
    events never wait: one that cannot be sent now is replaced by the next.
    """

    def __init__(self, sock: socket.socket, call: Call, later) -> None:
        self._sock = sock
        self._call = call
        self._later = later
        self._lock = threading.Lock()
        self._rest: bytes = STREAM_HEAD
        """What is to be sent before anything else."""
        self._told = None
        self._due = 0.0
        self._timer = False
        self._over = False

    def chunk(self, result: bytes, blobs: bytes, only: bool) -> None:
        """Sends one result; `result` includes its key. Before the `only` result of a call the newest progress is sent even if it is not
        due: after the result nobody needs it."""
        event = b'{"event":"chunk","payload":{%s,"blobs":%s}}\n' % (result, blobs)
        with self._lock:
            before = self._progress() if only or time.monotonic() >= self._due else b""
            self._write(before + framed(event), lambda: self._call.cancelled)

    def finish(self, error: dict | None) -> None:
        """Sends the last event: `done` or an error. The newest progress is sent before it."""
        event = {"event": "done"} if error is None else {"event": "error", "error": error}
        with self._lock:
            self._over = True
            data = self._progress() + framed(compact(event) + b"\n") + b"0\r\n\r\n"
            cancelled = self._call.cancelled
            self._write(data, timeout_after(FINISH_S) if cancelled else lambda: self._call.cancelled)

    def progressed(self) -> None:
        """Called when the call's progress has changed: sends it now, or soon."""
        wait = self._due - time.monotonic()
        if wait <= 0:
            self._offer()
        elif not self._timer:
            self._timer = True
            self._later(wait, self._tick)

    def _tick(self) -> None:
        self._timer = False
        self._offer()

    def _offer(self) -> None:
        # A thread that holds the lock writes a chunk, and sends the progress itself.
        if not self._lock.acquire(False):
            return
        try:
            if not self._over and self._flush():
                self._rest = bytes(push(self._sock, self._progress()))
        except Closed:
            self._over = True
        finally:
            self._lock.release()

    def _flush(self) -> bool:
        """Sends what is left over; returns whether all of it was sent. Progress must not pile up while the reader does not read."""
        self._rest = bytes(push(self._sock, self._rest)) if self._rest else b""
        return not self._rest

    def _progress(self) -> bytes:
        """The newest progress as an event; empty if it was sent already."""
        newest = self._call.progress
        if newest is None or newest is self._told:
            return b""
        self._told = newest
        self._due = time.monotonic() + PROGRESS_S
        return framed(compact({"event": "progress", "fraction": newest[0], "message": clip(newest[1])}) + b"\n")

    def _write(self, data: bytes, give_up) -> None:
        data = bytes(self._rest) + data if self._rest else data
        self._rest = b""
        try:
            send(self._sock, data, give_up)
        except SendTimeout as error:
            self._rest = bytes(error.rest)
            raise


def framed(data: bytes) -> bytes:
    """One chunk of the chunked transfer encoding."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def compact(value) -> bytes:
    """Plain JSON as bytes. The value must contain no lone surrogates."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")
