"""The control thread: accepts connections, and answers requests that do not call the plugin, also while a call runs.

`/health`, `/stats`, `/methods`, `/progress` and `/cancel` are answered here. The first request on a connection that
calls the plugin moves the connection to the dispatcher for good, so that later calls on it need no hand-over between
threads. This thread then only watches whether the client closes it; if it does, its call is cancelled. A client should
use separate connections for calls and for control requests: otherwise a control request waits until the call has ended.
"""

from __future__ import annotations

import json
import os
import select
import _socket as socket
import sys
import threading
import time
from itertools import count

from . import PROTOCOL
from .calls import Calls
from .cancel import Canceller
from .children import LOCK
from .listener import Listener
from .errors import STATUS, WorkerError, clip, complain, describe
from .replies import SendTimeout, send, timeout_after
from .poller import Poller
from .wire import Closed, Connection, AccessCheck, Refused, Request, reply

MAX_CONNECTIONS = 256
MAX_UNAUTHENTICATED = 32
"""How many connections may be open on which the token was not sent yet. When there are more, the oldest is closed. The host adds
this number to the worker's limit of open files (`OWN_FILES` in its `limits.rs`)."""
ACCEPTS = 64
"""How many connections are accepted in a row before other descriptors are handled."""
DRAIN_S = 1.0
"""How long the rest of a refused request is read and discarded. Closing at once would reset the connection, and
the client might never read the error."""


class Control:
    """The control thread and the listening socket."""

    def __init__(self, listener: socket.socket, access: AccessCheck, plugin, settings, calls: Calls) -> None:
        self._access = access
        self._plugin = plugin
        self._settings = settings
        self._calls = calls
        self.canceller = Canceller(plugin.hook("cancel"), settings.cancel_grace_s, self.later)
        self.adopt = None
        """Called with a connection and its first request that calls the plugin; set by the dispatcher."""
        self._poller = Poller()
        self._listener = Listener(listener, self._poller, self.later)
        self._own: dict[int, Connection] = {}
        self._watched: dict[int, Connection] = {}
        self._timers: list = []
        self._order = count()
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        self._get = {"/health": self._health, "/stats": self._stats, "/methods": self._methods}
        self._get["/progress"] = self._progress
        self._post = {"/cancel": self._cancel}
        self._call_paths = {
            "POST": ("/execute", "/execute_stream", "/initialize", "/cleanup"),
            "GET": ("/config", "/config_schema"),
        }

    def start(self) -> None:
        """Begins to serve."""
        self._listener.open()
        self._poller.add(self._wake)
        threading.Thread(target=self._run, name="bivium-control", daemon=True).start()

    def later(self, seconds: float, function) -> None:
        """Runs `function` on the control thread, `seconds` from now. May be called from any thread."""
        self._timers.append((time.monotonic() + seconds, next(self._order), function))
        try:
            os.write(self._waker, b"\0")
        except BlockingIOError:
            pass

    def forget(self, connection: Connection) -> None:
        """Closes a connection, unless it is closed already: its descriptor may belong to another one by then."""
        with LOCK:
            for held in (self._own, self._watched):
                if held.get(connection.fd) is connection:
                    del held[connection.fd]
            if connection.sock.fileno() >= 0:
                self._poller.remove(connection.fd)
                connection.sock.close()
        self._listener.fill_spares()

    def refuse(self, connection: Connection, refused: Refused) -> None:
        """Answers with an error, and closes once the client has had time to read it. May be called from any thread."""
        error = {"error": {"code": refused.code, "message": str(refused)}}
        try:
            send(connection.sock, reply(refused.status, json.dumps(error).encode(), close=True), timeout_after(DRAIN_S))
            connection.sock.shutdown(socket.SHUT_WR)
        except (SendTimeout, Closed, OSError):
            self.forget(connection)
            return
        self.later(0, lambda: self._drain(connection))

    def close_in_child(self) -> None:
        """In a process that the plugin forked: closes all connections, and the pipe that wakes the control thread."""
        for connection in (*self._own.values(), *self._watched.values()):
            connection.sock.close()
        self._poller.close()
        self._listener.close_in_child()
        os.close(self._wake)
        os.close(self._waker)
        self._waker = -1

    def _run(self) -> None:
        while True:
            try:
                for fd in self._poller.wait(self._timeout()):
                    self._ready(fd)
                self._expire()
            except BaseException as error:  # without this thread no call could be cancelled
                complain("the control thread: %s" % describe(error).get("traceback", error))

    def _timeout(self) -> float | None:
        due = [connection.deadline for connection in self._own.values() if connection.deadline is not None]
        due += [connection.drained for connection in self._own.values() if connection.drained is not None]
        if self._timers:
            due.append(min(self._timers)[0])
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _expire(self) -> None:
        now = time.monotonic()
        while self._timers:
            # There are a few at most: no heap is needed, nor the module for it.
            first = min(self._timers)
            if first[0] > now:
                break
            self._timers.remove(first)
            first[2]()
        for connection in list(self._own.values()):
            if connection.drained is not None and connection.drained <= now:
                self.forget(connection)
            elif connection.deadline is not None and connection.deadline <= now:
                self.refuse(connection, Refused(408, "timeout", "the request did not arrive in time"))

    def _ready(self, fd: int) -> None:
        if fd == self._listener.fd:
            self._accept()
        elif fd == self._wake:
            os.read(self._wake, 4096)
        elif fd in self._own:
            self._receive(self._own[fd])
        else:
            self._far_end_closed(fd)

    def _accept(self) -> None:
        """Accepts the connections that are waiting."""
        for _ in range(ACCEPTS):
            if not self._listener.take(self._enter, self._make_room):
                return
            unknown = self._unauthenticated()
            if unknown and (len(unknown) > MAX_UNAUTHENTICATED or len(self._own) + len(self._watched) > MAX_CONNECTIONS):
                self._close_unauthenticated(unknown[0])

    def _enter(self, sock: socket.socket) -> None:
        connection = Connection(sock, self._access, self._settings.request_timeout_s)
        self._own[connection.fd] = connection
        self._poller.add(connection.fd)

    def _unauthenticated(self) -> list[Connection]:
        """Those on which the token was not sent yet, oldest first."""
        return [connection for connection in self._own.values() if not connection.authenticated]

    def _close_unauthenticated(self, connection: Connection) -> bool:
        """Closes a connection, unless the token has arrived on it by now. Returns whether it did."""
        if connection.drained is None:
            self._receive(connection)
        if not connection.authenticated:
            self.forget(connection)
        return not connection.authenticated

    def _make_room(self) -> bool:
        """Closes one connection without a token; false if there is none."""
        return any(map(self._close_unauthenticated, self._unauthenticated()))

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
        except (Closed, SendTimeout):
            self.forget(connection)

    def _answer(self, connection: Connection, request: Request) -> None:
        if request.path in self._call_paths.get(request.verb, ()):
            # Removed before it is handed over: from then on only the dispatcher reads from it.
            self._watched[connection.fd] = connection
            del self._own[connection.fd]
            self._poller.watch(connection.fd)
            self.adopt(connection, request)
            return
        if request.path == "/methods":
            # It runs code of the plugin and may take long; meanwhile calls must still be cancellable.
            answer = threading.Thread(target=self._reply, args=(connection, request), name="bivium-methods", daemon=True)
            try:
                answer.start()
                return
            except RuntimeError:  # no more threads can be started
                pass
        self._reply(connection, request)

    def _reply(self, connection: Connection, request: Request) -> None:
        """Answers on the calling thread."""
        try:
            send(connection.sock, self.answer(request), timeout_after(self._settings.request_timeout_s))
        except (Closed, SendTimeout):
            self.forget(connection)

    def answer(self, request: Request) -> bytes:
        """The reply to a request that does not call the plugin."""
        table = self._get if request.verb == "GET" else self._post if request.verb == "POST" else {}
        function = table.get(request.path)
        try:
            if function is None:
                known = (*self._get, *self._post, *self._call_paths["GET"], *self._call_paths["POST"])
                status, what = (405, "method") if request.path in known else (404, "path")
                error = {"code": "protocol", "message": "a worker does not know this %s" % what}
                return reply(status, json.dumps({"error": error}).encode())
            return reply(200, json.dumps(function(request)).encode())
        except BaseException as error:  # listing the methods runs code of the plugin
            found = describe(error)
            return reply(STATUS[found["code"]], json.dumps({"error": found}).encode())

    def _far_end_closed(self, fd: int) -> None:
        # Under the lock: otherwise the descriptor might belong to another connection by now.
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
        """Reads and discards for a while what still arrives on a connection after its last reply."""
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
        # Imported only where it is needed, so that a worker starts quickly.
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
