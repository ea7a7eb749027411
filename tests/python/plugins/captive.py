"""Tries what a plugin may not be allowed to do, and returns the results."""

import ctypes
import mmap
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile


class Captive:
    def __init__(self):
        self.count = 0

    def touch(self):
        self.count += 1

    def touched(self):
        return self.count

    def token(self):
        """The worker's token, which a plugin can find because it is in the worker's own process."""
        import gc

        from bivium_worker.wire import AccessCheck

        access = next(found for found in gc.get_objects() if isinstance(found, AccessCheck))
        return access._bearer.decode().split(" ")[1]

    def area(self):
        return tempfile.gettempdir()

    def claim(self, path):
        return pathlib.Path(path)

    def forge(self, path):
        """Without the worker's own check."""
        import bivium_worker.values as values

        if path == "link":
            os.symlink("/etc/passwd", os.path.join(tempfile.gettempdir(), "link"))
        values.handed_back = lambda *_: {"path": path, "media_type": "text/plain", "size": 1}
        return pathlib.Path(path)

    def read(self, path):
        with open(path) as file:
            return file.read()

    def give_back(self, path):
        return path

    def where(self, path):
        return str(path.path)

    def write(self, path, text="written"):
        with open(path, "w") as file:
            file.write(text)

    def list(self, path):
        return sorted(os.listdir(path))

    def truncate(self, path):
        os.truncate(path, 0)

    def remove(self, path):
        os.remove(path)

    def through_a_link(self, path):
        link = os.path.join(tempfile.gettempdir(), "link")
        os.symlink(path, link)
        return self.read(link)

    def hard_link(self, path):
        os.link(path, os.path.join(tempfile.gettempdir(), "hard"))

    def move_out(self, path):
        with tempfile.NamedTemporaryFile(delete=False) as file:
            shutil.move(file.name, path)

    def by_a_child(self, path):
        done = subprocess.run(["cat", path], capture_output=True, text=True)
        return [done.returncode, done.stdout]

    def at_home(self):
        """Writes to the home directory and to the temporary directory, as libraries do."""
        with open(os.path.expanduser("~/.cache-of-mine"), "w") as file:
            file.write("kept")
        with tempfile.TemporaryFile() as file:
            file.write(b"x")
        return subprocess.run(["echo", "ran"], capture_output=True, text=True).stdout

    def make(self, text, suffix=".txt"):
        fd, path = tempfile.mkstemp(suffix=suffix)
        os.write(fd, text.encode())
        os.close(fd)
        return pathlib.Path(path)

    def imports(self):
        import asyncio
        import sqlite3
        import ssl
        import zoneinfo

        ssl.create_default_context()
        sqlite3.connect(":memory:").execute("select 1")
        asyncio.run(asyncio.sleep(0))
        return [zoneinfo.ZoneInfo("Europe/Berlin").key, len(os.urandom(4))]

    def connect(self, port, host="127.0.0.1"):
        socket.create_connection((host, port), 5).close()
        return "connected"

    def fast_open(self, port):
        with socket.socket() as sock:
            sock.sendto(b"x", socket.MSG_FASTOPEN, ("127.0.0.1", port))

    def multipath(self, port):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as sock:
            sock.connect(("127.0.0.1", port))

    def datagram(self, port):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", ("127.0.0.1", port))

    def serve(self):
        with socket.socket() as sock:
            sock.listen()

    def of_the_machine(self, path):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)

    def machine(self, path):
        """As `of_the_machine`, with the error wrapped as a library does."""
        try:
            self.of_the_machine(path)
        except OSError as error:
            raise LookupError("the daemon does not answer") from error

    def model(self, path):
        """Like a library that raises an error of its own."""
        try:
            return self.read(path)
        except OSError:
            raise LookupError("the model cannot be loaded")

    def fetch(self, url):
        import urllib.request

        return urllib.request.urlopen(url, timeout=5).status

    def database(self, path):
        import sqlite3

        return sqlite3.connect(path).execute("select 1").fetchone()

    def keep(self, name):
        """Like a library that downloads a model."""
        path = os.path.join(os.environ["HF_HOME"], name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "a") as file:
            file.write("kept")
        return path

    def kept(self, name):
        return self.read(os.path.join(os.environ["HF_HOME"], name))

    def lock(self):
        import multiprocessing

        with multiprocessing.Lock():
            return "locked"

    async def by_name(self, name):
        import asyncio

        reader, writer = await asyncio.open_connection(name, 80)
        writer.close()

    def ring(self):
        number = {"x86_64": 425, "aarch64": 425}[os.uname().machine]
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syscall(number, 1, ctypes.create_string_buffer(256)) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def signal(self, pid, number=0):
        os.kill(pid, number)
        if number:
            signal.pause()

    def parent(self):
        return os.getppid()

    def status(self):
        with open("/proc/self/status") as file:
            return dict(line.strip().split(":\t", 1) for line in file if ":\t" in line.strip())

    def limits(self):
        names = ("RLIMIT_DATA", "RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_CORE")
        return {name: resource.getrlimit(getattr(resource, name))[1] for name in names}

    def variable(self, name):
        return os.environ.get(name)

    def bytecode(self, module):
        """Where Python keeps the bytecode of one of the worker's own modules, whether it does, and the module's mark."""
        import importlib

        module = importlib.import_module("bivium_worker." + module)
        return [module.__cached__, os.path.exists(module.__cached__), getattr(module, "MARK", None)]

    def by_pid(self):
        return os.getpid()


class Greedy:
    """Uses up resources."""

    def memory(self, mebibytes):
        return len(bytearray(mebibytes << 20))

    def memory_of_a_child(self, mebibytes):
        code = "x = bytearray(%d << 20)" % mebibytes
        return subprocess.run([sys.executable, "-c", code], capture_output=True).returncode

    def anonymous(self, mebibytes):
        with mmap.mmap(-1, mebibytes << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
            memory[:] = b"x" * len(memory)

    def files(self, count):
        held = [open(os.devnull) for _ in range(count)]
        return len(held)

    def fill(self, mebibytes):
        path = pathlib.Path(tempfile.gettempdir()) / "big"
        with open(path, "wb") as file:
            for _ in range(mebibytes):
                file.write(b"\0" * (1 << 20))
        return path

    def fill_many(self, count):
        paths = [pathlib.Path(tempfile.gettempdir()) / str(number) for number in range(count)]
        for path in paths:
            path.write_bytes(b"\0" * (1 << 20))
        return paths

    def pid(self):
        return os.getpid()

    def abort_without_memory(self):
        """What native code does that has no other answer."""
        libc = ctypes.CDLL(None)
        libc.malloc.restype = ctypes.c_void_p
        while libc.malloc(ctypes.c_size_t(64 << 20)):
            pass
        libc.abort()

    def modules(self):
        import json
        import socket

        return [module.__name__ for module in (json, os, socket) if hasattr(module, "__all__")]

    def read_stdin(self):
        read = sys.stdin.read()
        try:
            input()
        except EOFError:
            return [read, "EOFError"]
