"""Plugins for the worker's tests. Some of them behave badly."""

import asyncio
import ctypes
import dataclasses
import datetime
import enum
import errno
import logging
import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time


@dataclasses.dataclass
class Word:
    text: str
    start: float


@dataclasses.dataclass
class Line:
    words: list
    at: datetime.datetime


class Colour(enum.Enum):
    RED = "red"


class Table:
    """A DTO as cjm-plugin-system has them."""

    media_type = "text/csv"

    def __init__(self, text):
        self.text = text
        self.written = 0

    def to_temp_file(self):
        if not isinstance(self.text, str):
            raise ValueError("cannot be written")
        self.written += 1
        assert self.written == 1
        fd, path = tempfile.mkstemp(suffix=".csv")
        os.write(fd, self.text.encode())
        os.close(fd)
        return path


class NoFile:
    def to_temp_file(self):
        return None


def file_with(text, suffix=".txt", directory=None):
    fd, path = tempfile.mkstemp(suffix=suffix, dir=directory)
    os.write(fd, text.encode())
    os.close(fd)
    return pathlib.Path(path)


class Echo:
    """Gives back what it got."""

    def execute(self, *args, **kwargs):
        """Gives back its arguments."""
        return {"args": list(args), "kwargs": kwargs}

    def same(self, value):
        return value

    def add(self, left: int, right: int = 1):
        return left + right

    def stream(self, count=3):
        for number in range(count):
            yield {"number": number}

    def describe(self, blob):
        with blob.open() as file:
            data = file.read()
        return {
            "type": type(blob).__name__,
            "is_str": isinstance(blob, str),
            "media_type": blob.media_type,
            "size": blob.size,
            "data": data.decode(),
            "again": open(blob, "rb").read().decode(),
            "mapped": bytes(blob.mmap()).decode(),
            "path": blob.path,
        }

    def sizes(self, value, more):
        read = lambda item: open(item).read() if isinstance(item, str) else walk(item)

        def walk(item):
            return {k: read(v) for k, v in item.items()} if isinstance(item, dict) else [read(v) for v in item]

        return {**walk(value), "more": walk(more)}

    def temporary(self):
        made = [tempfile.gettempdir() + "/", tempfile.mkdtemp(), tempfile.mkstemp()[1]]
        made.append(subprocess.check_output(["mktemp"], text=True))
        return made

    def without(self, blob, library):
        sys.modules[library] = None
        return getattr(blob, library)()

    def hand_back(self, blob):
        return {"same": blob, "as_path": pathlib.Path(blob), "as_text": str(blob.path)}

    def bytes(self):
        return b"made"

    def vanished(self):
        return pathlib.Path(os.environ["TMPDIR"], "vanished.txt")

    def make(self, kind):
        from bivium_worker import Blob

        path = file_with("made", ".wav")
        if kind == "path":
            return {"file": path}
        if kind == "str":
            return {"file": str(path)}
        if kind == "blob":
            return [Blob(str(path), "audio/x-own")]
        if kind == "dto":
            table = Table("a,b")
            return {"one": table, "two": table}
        if kind == "bytes":
            return b"\x00\x01"
        if kind == "bytearray":
            return bytearray(b"abc")
        if kind == "memoryview":
            return memoryview(b"abc")[1:]
        if kind == "steps":
            return memoryview(b"abc")[::2]
        if kind == "empty":
            return b""
        if kind == "nested":
            one = file_with("one")
            return {"list": [one, [Table("a")]], "data": {"tuple": (one, {"inner": b"three"})}}
        if kind == "no_utf8":
            os.rename(path, os.fsencode(path) + b"\xff")
            return pathlib.Path(os.fsdecode(os.fsencode(path) + b"\xff"))
        if kind == "no_path":
            return {"file": NoFile()}
        if kind == "raises":
            return Table(7)
        if kind == "type":
            return Table
        if kind == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        if kind == "too_big":
            os.unlink(path)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
            return [b"x" * 1_000_000]
        if kind == "outside":
            return file_with("x", directory="/var/tmp")
        if kind == "link":
            link = path.with_suffix(".link")
            link.symlink_to("/etc/passwd")
            return link
        if kind == "directory":
            return path.parent / "sub"
        if kind == "missing":
            return path.with_name("nothing")
        if kind == "literal":
            return {"$blob": 7, "$$blob": 8, "file": path}
        raise AssertionError(kind)

    def value(self, kind):
        circle = []
        circle.append(circle)
        return {
            "dataclass": Line([Word("hé", 0.5)], datetime.datetime(2026, 1, 2, 3, 4, 5)),
            "enum": Colour.RED,
            "set": {1},
            "tuple": (1, "two", None, True),
            "keys": {1: "a", None: "b", True: "c", 1.5: "d"},
            "long_keys": {1: "a line\n" * 1000, None: "b", 1.5: "d"},
            "literal": {"$blob": 7, "deep": [{"$$blob": 8}], "x$blob": "y$blob"},
            "object": {"inner": [object()]},
            "tuple_key": {("a",): 1},
            "nan": {"scores": [1.0, float("nan")]},
            "infinity": float("inf"),
            "circle": circle,
            "deep": self.nest(100_000),
            "surrogate": "\ud800",
            "function": file_with,
        }[kind]

    def nest(self, depth):
        value = []
        for _ in range(depth):
            value = [value]
        return value

    def big(self, size):
        return "x" * size

    def cramped(self, size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        return "x" * size

    def fail(self, kind="plain"):
        if kind == "plain":
            raise ValueError("no such luck")
        if kind == "chained":
            try:
                raise KeyError("inner")
            except KeyError as error:
                raise RuntimeError("outer") from error
        if kind == "unspeakable":

            class Unspeakable(Exception):
                def __str__(self):
                    raise RuntimeError("not even this")

            raise Unspeakable
        if kind == "type":
            return len(3)
        if kind == "memory":
            raise MemoryError
        if kind == "gpu memory":

            class OutOfMemoryError(RuntimeError):
                """The name of Torch's error."""

            raise OutOfMemoryError("CUDA out of memory")
        if kind == "exit":
            sys.exit(3)
        if kind == "interrupt":
            raise KeyboardInterrupt
        if kind == "huge":
            raise ValueError("x" * 1_000_000)
        raise AssertionError(kind)

    def fail_later(self):
        yield 1
        raise ValueError("after one")

    def say(self):
        print("to stdout")
        print("to stderr", file=sys.stderr)
        os.write(1, b"from C\n")
        logging.getLogger("sample.words").warning("logged %d", 7)
        logging.getLogger("sample").debug("not this")
        return sys.stdin.read()

    def half(self, text):
        """Prints what has no end of a line, by Python and by the system, and nothing flushes it."""
        sys.stdout.write(text)
        os.write(2, text.encode())

    def half_in_stream(self, text):
        yield text
        sys.stdout.write(text)

    def environment(self):
        return {
            "cwd": os.getcwd(),
            "path": sys.path,
            "descriptors": sorted(int(fd) for fd in os.listdir("/proc/self/fd")),
            "names": sorted(os.environ),
            "main": threading.current_thread() is threading.main_thread(),
            "argv": sys.argv,
        }

    _private = execute

    class Inner:
        pass

    field = 3


class Progress:
    """Reports progress, checks for a cancel, sleeps, runs a busy loop."""

    def execute(self, steps=3, pause=0.0):
        for step in range(steps):
            self.report_progress((step + 1) / steps, "step %d" % (step + 1))
            time.sleep(pause)
        return "done"

    def flood(self, count):
        for number in range(count):
            self.report_progress(number / count, str(number))
        self.report_progress(None, "last")
        return count

    def odd(self):
        self.report_progress(-1, 5)
        self.report_progress(float("nan"), "\ud800")
        self.report_progress(7)

    def mixed(self, count):
        for number in range(count):
            self.report_progress(number / count)
            yield number

    def once_then_silent(self, seconds):
        self.report_progress(0.1, "first")
        self.report_progress(0.2, "second")
        time.sleep(seconds)


class Stubborn:
    """Code that does not notice a cancellation."""

    def __init__(self):
        self.caught = []

    def sleep(self):
        time.sleep(60)

    def sleep_though_a_signal_is_lost(self):
        """The worker's first signal interrupts nothing, as if it had come just before the sleep began."""
        first = {signal.SIGRTMAX - 3}
        signal.pthread_sigmask(signal.SIG_BLOCK, first)
        signal.sigwait(first)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, first)
        time.sleep(60)

    def spin(self):
        while True:
            pass

    def wait(self):
        threading.Event().wait()

    def lock(self):
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()

    def swallow_exceptions(self):
        while True:
            try:
                time.sleep(60)
            except Exception:
                self.caught.append("exception")

    def log_forever(self):
        log = logging.getLogger("noise")
        while True:
            log.info("noise")

    def progress_forever(self):
        while True:
            self.report_progress(0.5, "noise")

    def polite(self):
        while not self.cancelled():
            time.sleep(0.001)
        self.caught.append("asked")
        return "a result that comes too late"

    def cleanup_on_cancel(self):
        try:
            time.sleep(60)
        finally:
            self.caught.append("finally")

    def endless(self):
        try:
            number = 0
            while True:
                yield number
                number += 1
        finally:
            self.caught.append("closed")

    def big_chunks(self):
        try:
            while True:
                self.caught.append("made")
                yield "x" * 100_000
        finally:
            self.caught.append("closed")

    def quick(self):
        return "quick"

    def what(self):
        return self.caught

    def hold_the_lock(self, seconds):
        ctypes.PyDLL(None).sleep(seconds)


class WithCancel(Stubborn):
    """Has a `cancel()` of its own."""

    def __init__(self):
        super().__init__()
        self.stop = threading.Event()

    def execute(self):
        self.stop.wait()
        self.caught.append("by cancel()")
        return "too late"

    def cancel(self):
        self.stop.set()


class Async:
    """A plugin with coroutines."""

    def __init__(self):
        self.caught = []
        self.loop = None

    async def initialize(self, config):
        await asyncio.sleep(0)
        self.loop = asyncio.get_running_loop()

    async def execute(self, text="x"):
        await asyncio.sleep(0.001)
        return {"text": text, "same_loop": self.loop in (None, asyncio.get_running_loop())}

    async def execute_stream(self, count=3):
        try:
            for number in range(count):
                await asyncio.sleep(0)
                yield number
        finally:
            self.caught.append("closed")

    async def sleep(self):
        try:
            self.report_progress(0.5, "sleeping")
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.caught.append("cancelled")
            raise

    async def spin(self):
        while True:
            pass

    async def together(self, barrier):
        self.report_progress(0.5, barrier)
        await asyncio.sleep(0.3)
        return barrier

    async def what(self):
        return self.caught

    async def fail(self):
        raise ValueError("async")


class Configured:
    """Has all lifecycle methods."""

    def __init__(self):
        self.config = None
        self.threads = []

    def initialize(self, config=None):
        if config and config.get("refuse"):
            raise ValueError("refused")
        self.config = config
        self.threads.append(threading.current_thread() is threading.main_thread())

    def execute(self):
        return {"config": self.config, "main": [*self.threads, threading.current_thread() is threading.main_thread()]}

    def execute_stream(self):
        yield "from execute_stream"

    def get_config_schema(self):
        return {"type": "object"}

    def get_current_config(self):
        return self.config

    def cleanup(self):
        print("cleaned")


class Several:
    """For a concurrency above 1."""

    def __init__(self):
        self.together = threading.Barrier(2)

    def meet(self):
        self.together.wait(10)
        return threading.current_thread() is threading.main_thread()

    def spin(self):
        while True:
            pass

    def echo(self, value):
        return value

    def who(self, ident):
        self.report_progress(0.5, ident)
        self.together.wait(10)
        return ident


class Families:
    """Starts processes of every kind."""

    def children(self):
        """A child, a grandchild in a session of its own, and a daemon that has left its parent, session and group."""
        child = subprocess.Popen(["sleep", "1000"])
        session = subprocess.Popen(
            ["sh", "-c", "sleep 1001 & echo $!; wait"], start_new_session=True, stdout=subprocess.PIPE
        )
        grandchild = int(session.stdout.readline())
        read, write = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.write(write, b"%d\n" % os.getpid())
                os.execve("/bin/sh", ["sh", "-c", "exec sleep 1002"], {})
            os._exit(0)
        os.wait()
        daemon = int(os.read(read, 100))
        return [child.pid, session.pid, grandchild, daemon]

    def hold_the_lock(self, seconds):
        ctypes.PyDLL(None).sleep(seconds)

    def sleep(self, seconds):
        time.sleep(seconds)

    def spin(self):
        while True:
            pass

    def ignore_sigterm(self):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def limit_files_of_the_guard(self, most):
        resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (most, most))

    def crash(self, kind):
        if kind == "segfault":
            ctypes.string_at(0)
        if kind == "exit":
            os._exit(7)
        if kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)

    def fork_and_return(self):
        """A common mistake: both processes return."""
        pid = os.fork()
        return "child" if pid == 0 else "parent"

    def forked_child_logs(self):
        pid = os.fork()
        if pid == 0:
            logging.getLogger("child").warning("from the child")
            os._exit(0)
        os.waitpid(pid, 0)


class Unlistable:
    """Whose methods cannot be listed."""

    def __dir__(self):
        sys.exit(3)

    def execute(self):
        return "fine"


class Raises:
    def __init__(self):
        raise RuntimeError("not today")


class NeedsArgument:
    def __init__(self, what):
        self.what = what
