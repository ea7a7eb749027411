"""A small host for tests: starts a real worker, speaks HTTP to it, and watches processes come and go."""

from __future__ import annotations

import ctypes
import http.client
import importlib.util
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell makes its background processes ignore SIGINT, and workers would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

HERE = os.path.dirname(os.path.abspath(__file__))
WORKER = os.path.join(HERE, "..", "..", "python", "bivium_worker")
PLUGINS = os.path.join(HERE, "plugins")
TOKEN = "t" * 32
LINUX = sys.platform.startswith("linux")
_ids = itertools.count(1)


def as_subreaper() -> None:
    """Does what the real host does before exec, on Linux."""
    if LINUX:
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def next_id() -> str:
    return "call-%d" % next(_ids)


def needs(module: str):
    """Skips a test case if this Python does not have a library."""
    return unittest.skipIf(
        importlib.util.find_spec(module) is None, "%s is not installed for %s" % (module, sys.executable)
    )


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def eventually(check, seconds: float = 5.0):
    """Waits until `check()` is true, and returns its result."""
    until = time.monotonic() + seconds
    while True:
        found = check()
        if found or time.monotonic() > until:
            return found
        time.sleep(0.002)


class Worker:
    """One worker process and its channel."""

    def __init__(self, cls: str = "Echo", module: str = "sample", ready: bool = True, env=None, cwd=None, **settings):
        self.exchange = tempfile.mkdtemp(prefix="bivium-test-")
        told = {
            "protocol": 1,
            "token": TOKEN,
            "name": "sample",
            "version": "1.2.3",
            "module": module,
            "class": cls,
            "source": [PLUGINS],
            "exchange": self.exchange,
        }
        told.update(settings)
        self.mark = "test-%d-%d" % (os.getpid(), next(_ids))
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "TMPDIR": self.exchange,
            "BIVIUM_WORKER": self.mark,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        environment.update(env or {})
        ours, theirs = socket.socketpair()
        self.channel = ours
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(WORKER, "__main__.py")],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=as_subreaper,
        )
        theirs.close()
        self.stdout = Lines(self.process.stdout)
        self.stderr = Lines(self.process.stderr)
        ours.sendall(json.dumps(told).encode() + b"\n")
        self.events = Lines(ours.makefile("rb"))
        self.port = self.pid = 0
        if ready:
            event = self.next_event()
            assert event["event"] == "ready", event
            self.port, self.pid = event["port"], event["pid"]

    def next_event(self, seconds: float = 10.0) -> dict:
        """The next JSON object on the channel."""
        while True:
            line = self.events.next(seconds)
            if line.strip():
                return json.loads(line)

    def connect(self) -> Client:
        return Client(self.port)

    def call(self, method: str = "execute", *args, **kwargs):
        """Makes one unary call on a connection of its own; returns the status and the reply."""
        client = self.connect()
        try:
            return client.call(method, *args, **kwargs)
        finally:
            client.close()

    def result(self, method: str = "execute", *args, **kwargs):
        status, reply = self.call(method, *args, **kwargs)
        assert status == 200, reply
        if "spilled" in reply:
            with open(os.path.join(self.exchange, reply["spilled"]["path"])) as file:
                return json.load(file)
        return reply["result"]

    def error(self, method: str = "execute", *args, **kwargs):
        status, reply = self.call(method, *args, **kwargs)
        assert status != 200, reply
        return reply["error"]

    def get(self, path: str):
        client = self.connect()
        try:
            return client.request("GET", path)
        finally:
            client.close()

    def post(self, path: str, body=None):
        client = self.connect()
        try:
            return client.request("POST", path, body)
        finally:
            client.close()

    def begin(self, method: str, *args, path: str = "/execute", **kwargs) -> Running:
        """Starts a call on a thread, and waits until it runs."""
        running = Running(self, method, args, kwargs, path)
        assert eventually(lambda: self.get("/progress?call=" + running.id)[1].get("state") == "running")
        return running

    def cancel(self, ident: str):
        return self.post("/cancel?call=" + ident)

    def stop(self) -> int:
        """Closes the host's end of the channel, as when a host dies; returns the exit status."""
        try:
            self.channel.shutdown(socket.SHUT_RDWR)
        except OSError:  # it has ended already
            pass
        self.channel.close()
        self.events.close()
        status = self.process.wait(10)
        self.stdout.close()
        self.stderr.close()
        shutil.rmtree(self.exchange, ignore_errors=True)
        return status


class Lines:
    """The lines of a pipe, read by a thread as they arrive, so that no worker has to wait."""

    def __init__(self, file) -> None:
        self._file = file
        self._lines: list[bytes] = []
        self._more = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for line in self._file:
                with self._more:
                    self._lines.append(line)
                    self._more.notify_all()
        except (OSError, ValueError):
            pass
        with self._more:
            self._ended = True
            self._more.notify_all()

    def next(self, seconds: float = 5.0) -> bytes:
        with self._more:
            self._more.wait_for(lambda: self._lines or self._ended, seconds)
            if not self._lines:
                raise AssertionError("no further line" if self._ended else "no line in time")
            return self._lines.pop(0)

    def find(self, part: bytes, seconds: float = 5.0) -> bytes:
        """The next line that contains `part`."""
        while True:
            line = self.next(seconds)
            if part in line:
                return line

    def close(self) -> None:
        self._thread.join(5)
        self._file.close()


class Client:
    """One kept connection."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.headers = {"Authorization": "Bearer " + TOKEN}

    def request(self, verb: str, path: str, body=None):
        data = b"" if body is None and verb == "POST" else None if body is None else json.dumps(body).encode()
        self.connection.request(verb, path, data, self.headers)
        reply = self.connection.getresponse()
        return reply.status, json.loads(reply.read())

    def call(self, method: str = "execute", *args, ident: str | None = None, blobs=(), **kwargs):
        return self.request("POST", "/execute", body(method, args, kwargs, ident, blobs))

    def stream(self, method: str = "execute", *args, ident: str | None = None, unary: bool = False, **kwargs):
        """The events of a streaming call, as they arrive."""
        request = dict(body(method, args, kwargs, ident, ()), unary=unary)
        self.connection.request("POST", "/execute_stream", json.dumps(request).encode(), self.headers)
        reply = self.connection.getresponse()
        assert reply.status == 200, reply.read()
        while True:
            line = reply.readline()
            if not line:
                return
            yield json.loads(line)

    def close(self) -> None:
        self.connection.close()


def body(method, args, kwargs, ident, blobs) -> dict:
    return {
        "call": ident or next_id(),
        "method": method,
        "args": list(args),
        "kwargs": kwargs,
        "blobs": list(blobs),
    }


class Running:
    """A call that runs on a thread."""

    def __init__(self, worker: Worker, method: str, args, kwargs, path: str) -> None:
        self.id = next_id()
        self.worker = worker
        self.outcome: tuple | None = None
        self.ended_at = 0.0
        self.request = body(method, args, kwargs, self.id, ())
        self.path = path
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        client = self.worker.connect()
        try:
            self.outcome = client.request("POST", self.path, self.request)
        except (OSError, http.client.HTTPException) as error:
            self.outcome = (0, {"broken": repr(error)})
        finally:
            self.ended_at = time.monotonic()
            client.close()

    def wait(self, seconds: float = 10.0):
        self.thread.join(seconds)
        assert self.outcome is not None, "the call did not end"
        return self.outcome

    def error_code(self) -> str:
        return self.wait()[1].get("error", {}).get("code", "none: %r" % (self.outcome,))


class WorkerCase(unittest.TestCase):
    """A test with workers, which must all be gone at its end."""

    cls = "Echo"
    settings: dict = {}

    def start(self, *args, **kwargs) -> Worker:
        worker = Worker(*args, **kwargs)
        self.addCleanup(worker.stop)
        return worker

    def setUp(self) -> None:
        self.worker = self.start(self.cls, **self.settings) if self.cls else None


__all__ = ["LINUX", "PLUGINS", "TOKEN", "Client", "Worker", "WorkerCase", "alive", "eventually", "needs", "next_id", "signal"]
