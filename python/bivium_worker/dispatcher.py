"""The dispatcher: the main thread's loop, which reads calls and, with a `concurrency` of 1, runs them.

It reads calls from the connections that the control thread has handed over, and answers them itself, so that a call
needs no switch of threads. Two calls that arrive together run one after the other; the second waits in
its socket. With a `concurrency` above 1 the dispatcher only reads, and a fixed set of threads runs the calls.
"""

from __future__ import annotations

import os
import threading
import time
from _queue import SimpleQueue

from .calls import Call, Calls
from .codec import decode, listed
from .control import Control
from .errors import STATUS, WorkerError, complain, describe, text_of
from .executor import Executor
from .replies import SendTimeout, compact, send, timeout_after
from .poller import Poller
from .wire import Closed, Connection, Refused, Request, reply

FINISH_S = 5.0
"""How long running calls may take to end when the worker is told to stop."""


class Dispatcher:
    """The main thread's loop."""

    def __init__(self, control: Control, executor: Executor, plugin, settings, calls: Calls) -> None:
        self._control = control
        self._executor = executor
        self._plugin = plugin
        self._settings = settings
        self._calls = calls
        self._poller = Poller()
        self._connections: dict[int, Connection] = {}
        self._inbox: SimpleQueue = SimpleQueue()
        self._jobs: SimpleQueue = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        self._stopping = False
        self._cleaned = False
        self._hooks = {
            "/initialize": self._initialize,
            "/cleanup": self._cleanup,
            "/config": self._config,
            "/config_schema": self._config_schema,
        }

    def adopt(self, connection: Connection, request: Request) -> None:
        """Takes over a connection, with a request that has arrived on it. Called on the control thread."""
        self._inbox.put((connection, request))
        self._wake_up()

    def stop(self, *_signal) -> None:
        """Ends the loop after the running call. Also a signal handler."""
        self._stopping = True
        self._wake_up()

    def close_in_child(self) -> None:
        """In a process that the plugin forked: closes the poller and the pipe. `Control` closes the connections."""
        self._poller.close()
        os.close(self._wake)
        os.close(self._waker)
        self._waker = -1

    def run(self) -> None:
        """Serves until told to stop, then runs the plugin's `cleanup` unless it ran already."""
        if self._settings.concurrency > 1:
            for number in range(self._settings.concurrency):
                name = "bivium-call-%d" % number
                self._threads.append(threading.Thread(target=self._work, name=name, daemon=True))
            for thread in self._threads:
                thread.start()
        self._poller.add(self._wake)
        while not self._stopping:
            for fd in self._ready():
                if self._stopping:
                    break
                if fd == self._wake:
                    os.read(self._wake, 4096)
                    while not self._inbox.empty():
                        connection, request = self._inbox.get()
                        self._connections[connection.fd] = connection
                        self._poller.add(connection.fd)
                        self._serve(connection, request)
                        # Otherwise the last request, which may be large, would stay in memory until the next.
                        del connection, request
                elif fd in self._connections:
                    self._receive(self._connections[fd])
            self._expire()
        self._end()

    def _ready(self) -> list[int]:
        """Waits for something to read. Meanwhile the plugin's asyncio tasks run, if its event loop is on this thread."""
        timeout = self._timeout()
        if self._executor.loops.is_idle_here:
            self._executor.loops.turn(self._poller.fileno(), timeout)
            timeout = 0
        return self._poller.wait(timeout)

    def _wake_up(self) -> None:
        try:
            os.write(self._waker, b"\0")
        except (BlockingIOError, OSError):
            pass

    def _timeout(self) -> float | None:
        due = [c.deadline for c in self._connections.values() if c.deadline is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _expire(self) -> None:
        for connection in list(self._connections.values()):
            if connection.deadline is not None and connection.deadline <= time.monotonic():
                self._refuse(connection, Refused(408, "timeout", "the request did not arrive in time"))

    def _receive(self, connection: Connection) -> None:
        try:
            request = connection.receive()
        except Refused as refused:
            self._refuse(connection, refused)
        except Closed:
            self._close(connection)
        else:
            if request is not None:
                self._serve(connection, request)

    def _serve(self, connection: Connection, request: Request) -> None:
        """Answers a whole request."""
        if connection.gone:
            self._close(connection)
            return
        try:
            if request.verb == "POST" and request.path in ("/execute", "/execute_stream"):
                given, blobs = decode(request.body, self._settings.max_request_bytes)
                call = self._call(given, blobs, str(given.get("method") or "execute"))
                if self._threads:
                    # Not read from while a call thread uses it.
                    self._poller.remove(connection.fd)
                    self._jobs.put((connection, call, request.path, given.get("unary") is True))
                else:
                    self._execute(connection, call, request.path, given.get("unary") is True)
            elif request.path in self._hooks:
                given, blobs = decode(request.body, self._settings.max_request_bytes)
                given.setdefault("call", request.parameter("call"))
                call = self._call(given, blobs, request.path[1:])
                hook = self._hooks[request.path]
                self._executor.hook(connection, call, lambda call: hook(call, given))
            else:
                send(connection.sock, self._control.answer(request), timeout_after(self._settings.request_timeout_s))
        except WorkerError as error:
            self._fail(connection, error)
        except (Closed, SendTimeout):
            self._close(connection)

    def _execute(self, connection: Connection, call: Call, path: str, unary: bool) -> None:
        if path == "/execute":
            self._executor.unary(connection, call)
        else:
            self._executor.stream(connection, call, unary)

    def _work(self) -> None:
        """The loop of a call thread: runs one call after another."""
        while True:
            job = self._jobs.get()
            if job is None:
                return
            connection, call, path, unary = job
            try:
                self._execute(connection, call, path, unary)
                self._poller.add(connection.fd)
            except (Closed, SendTimeout):
                self._close(connection)
            except BaseException as error:  # the thread must not end: its place for a call would be lost
                complain("a call thread: %s" % describe(error).get("traceback", error))
                self._close(connection)
            del job, connection, call

    def _call(self, given: dict, blobs: list, method: str) -> Call:
        ident, kwargs = given.get("call"), given.get("kwargs")
        if ident is None:
            ident = "%s-%d" % (method, time.monotonic_ns())
        if not isinstance(ident, str) or not 0 < len(ident) <= 128:
            raise WorkerError("protocol", "the request's 'call' is not a string of 1 to 128 characters")
        if kwargs is not None and not isinstance(kwargs, dict):
            raise WorkerError("protocol", "the request's 'kwargs' is not an object")
        envelope = given.get("envelope")
        if envelope is not None and not isinstance(envelope, dict):
            raise WorkerError("protocol", "the request's 'envelope' is not an object")
        call = Call(ident, method, listed(given, "args"), kwargs or {}, blobs, envelope)
        self._calls.admit(call)
        return call

    def _fail(self, connection: Connection, error: WorkerError) -> None:
        """Answers a request that could not become a call."""
        body = compact({"error": describe(error)})
        try:
            send(connection.sock, reply(STATUS[error.code], body), timeout_after(self._settings.request_timeout_s))
        except (Closed, SendTimeout):
            self._close(connection)

    def _refuse(self, connection: Connection, refused: Refused) -> None:
        self._connections.pop(connection.fd, None)
        self._poller.remove(connection.fd)
        self._control.refuse(connection, refused)

    def _close(self, connection: Connection) -> None:
        self._connections.pop(connection.fd, None)
        self._poller.remove(connection.fd)
        self._control.forget(connection)

    def _initialize(self, call: Call, given: dict) -> None:
        config = given.get("config")
        if config is not None and not isinstance(config, dict):
            raise WorkerError("invalid-config", "a configuration is a JSON object")
        hook, call.args = self._plugin.applying(config)
        if hook is None and config:
            raise WorkerError("invalid-config", self._plugin.takes_no_config(config))
        if hook is not None:
            try:
                self._executor.run(hook, call)
            except WorkerError as error:
                if self._plugin.fits(hook, call.args):
                    raise
                text = "`initialize` of the class does not take the configuration: write `def initialize(self, config)`"
                raise WorkerError("invalid-config", text) from error
            except Exception as error:
                # These errors mean a wrong value, and here the value is the configuration.
                wrong = isinstance(error, (KeyError, TypeError, ValueError))
                if not wrong and self._plugin.describe(error)["code"] not in ("invalid-config", "invalid-input"):
                    raise
                text = text_of(error)
                raise WorkerError("invalid-config", "no key " + text if isinstance(error, KeyError) else text) from error
        self._plugin.applied(config or {})

    def _cleanup(self, call: Call, _given: dict) -> None:
        self._stopping = True
        self._cleaned = True
        self._finish()
        hook = self._plugin.hook("cleanup")
        if hook is not None:
            self._executor.run(hook, call)

    def _config(self, call: Call, _given: dict):
        hook = self._plugin.hook("get_current_config")
        return self._executor.run(hook, call) if hook is not None else self._plugin.config

    def _config_schema(self, call: Call, _given: dict):
        hook = self._plugin.hook("get_config_schema")
        return (self._executor.run(hook, call) if hook is not None else None) or {}

    def _finish(self) -> None:
        """Waits for the call threads to end their calls."""
        for _ in self._threads:
            self._jobs.put(None)
        until = time.monotonic() + FINISH_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _end(self) -> None:
        if not self._cleaned:
            try:
                self._cleanup(Call("cleanup", "cleanup", [], {}, []), {})
            except BaseException as error:  # the plugin's error; the worker ends anyway
                complain("the plugin's cleanup() failed: %s" % describe(error).get("traceback", error))
        self._executor.loops.close()
