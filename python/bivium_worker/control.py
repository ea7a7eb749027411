"""The control thread: takes connections, and answers beside a running call what needs no code of the plugin's.

`/health`, `/stats`, `/methods`, `/progress` and `/cancel` are answered here. The first request on a connection that
calls the plugin moves the connection to the lane for good, so that later calls on it need no hand-over between
threads. Of such a connection this thread only watches the far end: when it closes, its call is cancelled. So
a client sends calls and controls on connections of their own, or a control waits until the call has ended.
"""

from __future__ import annotations

import heapq
import json
import os
import select
import socket
import sys
import threading
import time
from itertools import count

from . import PROTOCOL
from .calls import Calls
from .cancel import Canceller
from .children import LOCK
from .door import Door
from .errors import STATUS, WorkerError, clip, complain, describe
from .outlet import Abandoned, patience, send
from .poller import Poller
from .wire import Closed, Connection, Gate, Refused, Request, reply

MAX_CONNECTIONS = 256
MAX_STRANGERS = 32
"""So many connections may be open that have not shown the token; for one more the oldest of them is closed. The host sets
its limit of open files with room for them (`OWN_FILES` in its `limits.rs`)."""
ACCEPTS = 64
"""So many connections are taken at once, before others are looked at."""
DRAIN_S = 1.0
"""How long the rest of a refused request is read and thrown away: closing at once would reset the connection, and
the client might never see why."""


class Control:
    """The control thread and the listening socket."""

    def __init__(self, listener: socket.socket, gate: Gate, plugin, settings, calls: Calls) -> None:
        self._gate = gate
        self._plugin = plugin
        self._settings = settings
        self._calls = calls
        self.canceller = Canceller(plugin.hook("cancel"), settings.cancel_grace_s, self.later)
        self.adopt = None
        """Takes a connection and its first request that calls the plugin: the lane's."""
        self._poller = Poller()
        self._door = Door(listener, self._poller, self.later)
        self._own: dict[int, Connection] = {}
        self._watched: dict[int, Connection] = {}
        self._timers: list = []
        self._order = count()
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        self._get = {"/health": self._health, "/stats": self._stats, "/methods": self._methods}
        self._get["/progress"] = self._progress
        self._post = {"/cancel": self._cancel}
        self._lane = {
            "POST": ("/execute", "/execute_stream", "/initialize", "/cleanup"),
            "GET": ("/config", "/config_schema"),
        }

    def start(self) -> None:
        """Begins to serve."""
        self._door.open()
        self._poller.add(self._wake)
        threading.Thread(target=self._run, name="bivium-control", daemon=True).start()

    def later(self, seconds: float, function) -> None:
        """Runs `function` on this thread, `seconds` from now. From any thread."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), function))
        try:
            os.write(self._waker, b"\0")
        except BlockingIOError:
            pass

    def forget(self, connection: Connection) -> None:
        """Closes a connection, unless it is closed already: its number may be another one's by then."""
        with LOCK:
            for held in (self._own, self._watched):
                if held.get(connection.fd) is connection:
                    del held[connection.fd]
            if connection.sock.fileno() >= 0:
                self._poller.remove(connection.fd)
                connection.sock.close()
        self._door.fill_spares()

    def refuse(self, connection: Connection, refused: Refused) -> None:
        """Answers with an error, and closes once the client has had time to read it. From any thread."""
        error = {"error": {"code": refused.code, "message": str(refused)}}
        try:
            send(connection.sock, reply(refused.status, json.dumps(error).encode(), close=True), patience(DRAIN_S))
            connection.sock.shutdown(socket.SHUT_WR)
        except (Abandoned, Closed, OSError):
            self.forget(connection)
            return
        self.later(0, lambda: self._drain(connection))

    def let_go(self) -> None:
        """In a process that the plugin forked: closes all connections, and what wakes the thread that is not there."""
        for connection in (*self._own.values(), *self._watched.values()):
            connection.sock.close()
        self._poller.close()
        self._door.let_go()
        os.close(self._wake)
        os.close(self._waker)
        self._waker = -1

    def _run(self) -> None:
        while True:
            try:
                for fd in self._poller.wait(self._timeout()):
                    self._ready(fd)
                self._expire()
            except BaseException as error:  # the thread that can cancel must never end
                complain("the control thread: %s" % describe(error).get("traceback", error))

    def _timeout(self) -> float | None:
        due = [connection.deadline for connection in self._own.values() if connection.deadline is not None]
        due += [connection.drained for connection in self._own.values() if connection.drained is not None]
        if self._timers:
            due.append(self._timers[0][0])
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _expire(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()
        for connection in list(self._own.values()):
            if connection.drained is not None and connection.drained <= now:
                self.forget(connection)
            elif connection.deadline is not None and connection.deadline <= now:
                self.refuse(connection, Refused(408, "timeout", "the request did not arrive in time"))

    def _ready(self, fd: int) -> None:
        if fd == self._door.fd:
            self._accept()
        elif fd == self._wake:
            os.read(self._wake, 4096)
        elif fd in self._own:
            self._receive(self._own[fd])
        else:
            self._far_end_closed(fd)

    def _accept(self) -> None:
        """Takes the connections that wait."""
        for _ in range(ACCEPTS):
            if not self._door.take(self._enter, self._make_room):
                return
            strangers = self._strangers()
            if strangers and (len(strangers) > MAX_STRANGERS or len(self._own) + len(self._watched) > MAX_CONNECTIONS):
                self._turn_out(strangers[0])

    def _enter(self, sock: socket.socket) -> None:
        connection = Connection(sock, self._gate, self._settings.request_timeout_s)
        self._own[connection.fd] = connection
        self._poller.add(connection.fd)

    def _strangers(self) -> list[Connection]:
        """Those that have not shown the token, oldest first."""
        return [connection for connection in self._own.values() if not connection.known]

    def _turn_out(self, stranger: Connection) -> bool:
        """Closes a connection, unless the token has arrived on it by now."""
        if stranger.drained is None:
            self._receive(stranger)
        if not stranger.known:
            self.forget(stranger)
        return not stranger.known

    def _make_room(self) -> bool:
        """Turns out a stranger; false where there is none."""
        return any(map(self._turn_out, self._strangers()))

    def _receive(self, connection: Connection) -> None:
        if connection.drained is not None:
            try:
                if connection.sock.recv(65536):
                    return
            except BlockingIOError:
                return
            except OSError:
                pass
            self.forget(connection)
            return
        try:
            request = connection.receive()
            if request is not None:
                self._answer(connection, request)
        except Refused as refused:
            self.refuse(connection, refused)
        except (Closed, Abandoned):
            self.forget(connection)

    def _answer(self, connection: Connection, request: Request) -> None:
        if request.path in self._lane.get(request.verb, ()):
            # Removed before it is handed over: from then on the lane alone reads from it.
            self._watched[connection.fd] = connection
            del self._own[connection.fd]
            self._poller.watch(connection.fd)
            self.adopt(connection, request)
            return
        if request.path == "/methods":
            # It runs code of the plugin's and may take its time, while calls are to be cancelled.
            answer = threading.Thread(target=self._reply, args=(connection, request), name="bivium-methods", daemon=True)
            try:
                answer.start()
                return
            except RuntimeError:  # no more threads are to be had
                pass
        self._reply(connection, request)

    def _reply(self, connection: Connection, request: Request) -> None:
        """Answers here and now."""
        try:
            send(connection.sock, self.answer(request), patience(self._settings.request_timeout_s))
        except (Closed, Abandoned):
            self.forget(connection)

    def answer(self, request: Request) -> bytes:
        """The reply to a request that calls no code of the plugin's."""
        table = self._get if request.verb == "GET" else self._post if request.verb == "POST" else {}
        function = table.get(request.path)
        try:
            if function is None:
                known = (*self._get, *self._post, *self._lane["GET"], *self._lane["POST"])
                status, what = (405, "method") if request.path in known else (404, "path")
                error = {"code": "protocol", "message": "a worker does not know this %s" % what}
                return reply(status, json.dumps({"error": error}).encode())
            return reply(200, json.dumps(function(request)).encode())
        except BaseException as error:  # to list its methods runs code of the plugin's
            found = describe(error)
            return reply(STATUS[found["code"]], json.dumps({"error": found}).encode())

    def _far_end_closed(self, fd: int) -> None:
        # Under the lock: the number may be another connection's otherwise.
        with LOCK:
            connection = self._watched.get(fd)
            if connection is None:
                return
            poll = select.poll()
            poll.register(fd, select.POLLRDHUP)
            if not poll.poll(0):
                return
            connection.gone = True
            call = connection.call
        if call is not None:
            self.canceller.cancel(call)

    def _drain(self, connection: Connection) -> None:
        """Reads on from a connection that was answered for the last time, for a while."""
        with LOCK:
            if self._watched.get(connection.fd) is connection:
                self._own[connection.fd] = connection
                del self._watched[connection.fd]
                self._poller.remove(connection.fd)
                self._poller.add(connection.fd)
        connection.deadline, connection.drained = None, time.monotonic() + DRAIN_S

    def _health(self, _request: Request) -> dict:
        return {
            "status": "running",
            "pid": os.getpid(),
            "protocol": PROTOCOL,
            "name": self._plugin.name,
            "version": self._plugin.version,
        }

    def _stats(self, _request: Request) -> dict:
        return {
            "python": "%d.%d.%d" % sys.version_info[:3],
            "implementation": sys.implementation.name,
            "executable": sys.executable,
            "pid": os.getpid(),
            "threads": threading.active_count(),
            "concurrency": self._settings.concurrency,
            "uptime_s": round(time.monotonic() - self._calls.started_at, 3),
            "calls": self._calls.count,
            "current": [{"call": call.id, "state": call.state} for call in self._calls.all()],
        }

    def _methods(self, _request: Request) -> dict:
        # Imported only where it is needed: starting is to be quick.
        from .methods import listed

        return {"methods": listed(self._plugin)}

    def _progress(self, request: Request) -> dict:
        ident = request.parameter("call")
        call = self._calls.find(ident) if ident else None
        if call is None:
            raise WorkerError("not-found", "no call %r is queued or running" % (ident or ""))
        fraction, message = call.progress or (None, "")
        return {"call": call.id, "state": call.state, "fraction": fraction, "message": clip(message)}

    def _cancel(self, request: Request) -> dict:
        ident = request.parameter("call")
        if not ident or len(ident) > 128:
            raise WorkerError("protocol", "name the call to cancel: /cancel?call=ID")
        call = self._calls.find(ident)
        if call is None:
            self._calls.cancel_early(ident)
            return {"call": ident, "state": "unknown"}
        return {"call": ident, "state": self.canceller.cancel(call)}
