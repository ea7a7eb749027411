"""Does what no plugin should do: when it is imported, by the variable NAUGHTY; in calls, by method.

A plugin runs in the worker's own process and can change all of it. So a hostile plugin can do everything that is done to the worker here.
"""

import ctypes
import os
import signal
import socket
import sys
import threading
import time

import bivium_worker.executor as executor
import bivium_worker.wire as wire
import bivium_worker.worker as worker


def segfault():
    ctypes.string_at(0)


def at_import(what):
    if what == "import-error":
        raise RuntimeError("no model here")
    if what == "missing-module":
        import nowhere_to_be_found  # noqa: F401
    if what == "slow":
        time.sleep(20)
    if what == "garbage":
        sys.stdout.write("\x00\xff{\"event\": \"ready\", \"port\": 1}\n" * 1000)
        os.write(1, b"\xff\xfe\x00 not for you\n")
    if what == "wrong-protocol":
        worker.PROTOCOL = 99
    if what == "exit":
        os._exit(0)
    if what == "system-exit":
        sys.exit(0)
    if what == "segfault":
        segfault()
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)


at_import(os.environ.get("NAUGHTY", ""))


class Unwritable(Exception):
    def __str__(self):
        raise RuntimeError("not even this")

    __repr__ = __str__

    def __reduce__(self):
        raise RuntimeError("nor this")


def answer_with(head, pieces):
    """Makes this the next reply, byte for byte."""
    send = executor.send

    def hostile(sock, _data, _give_up):
        executor.send = send
        sock.setblocking(True)
        sock.sendall(head)
        for piece in pieces:
            sock.sendall(piece)

    executor.send = hostile


def slowly(text):
    for byte in text:
        time.sleep(0.05)
        yield bytes([byte])


class Naughty:
    def execute(self, **arguments):
        return arguments

    def segfault(self):
        segfault()

    def kill(self):
        print("the last words", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    def exit_in_stream(self):
        yield 1
        yield 2
        os._exit(3)

    def deadlock(self):
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()

    def deadlock_for_ever(self):
        while True:
            try:
                self.deadlock()
            except BaseException:  # noqa: B036 - that is the point
                pass

    def hold_the_lock(self, seconds):
        # In C, with the interpreter lock held.
        ctypes.PyDLL(None).sleep(seconds)
        return "held"

    def hold_the_lock_for_ever(self):
        ctypes.PyDLL(None).sleep(600)

    def close_every_socket(self):
        for number in range(3, 1024):
            try:
                if socket.socket(fileno=os.dup(number)):
                    os.close(number)
            except OSError:
                pass
        return "closed"

    def shut_its_connection(self):
        answer_with(b"", [])
        send = executor.send

        def hostile(sock, data, give_up):
            send(sock, data, give_up)
            sock.shutdown(socket.SHUT_RDWR)

        executor.send = hostile

    def malformed_json(self):
        answer_with(wire.reply(200, b'{"result": [1, 2'), [])

    def not_http(self):
        answer_with(b"EHLO localhost\r\n\r\n", [])

    def short_content_length(self):
        answer_with(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", [b'{"result":1,"blobs":[]}'])

    def long_content_length(self):
        answer_with(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", [b'{"result":1,"blobs":[]}'])

    def gigabyte(self):
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n"
        answer_with(head, (b" " * (1 << 20) for _ in range(1024)))

    def endless_body(self):
        def chunks():
            while True:
                yield b"10000\r\n" + b" " * 65536 + b"\r\n"

        answer_with(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunks())

    def endless_head(self):
        def headers():
            number = 0
            while True:
                number += 1
                yield b"X-%d: %s\r\n" % (number, b"y" * 1000)

        answer_with(b"HTTP/1.1 200 OK\r\n", headers())

    def slow_loris(self):
        answer_with(b"", slowly(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b" " * 1000000))

    def forged_blob(self):
        answer_with(wire.reply(200, b'{"result":{"$blob":0},"blobs":[{"path":"/etc/passwd","media_type":"a/b","size":1}]}'), [])

    def unwritable_exception(self):
        raise Unwritable

    def unwritable_value(self):
        return {"here": [1, {"it is": threading.Lock()}]}

    def not_finite(self):
        return [float("nan"), float("inf"), float("-inf")]

    def endless_value(self):
        value = []
        value.append(value)
        return value

    def progress_flood(self):
        from bivium_worker import report_progress as report

        until = time.monotonic() + 1
        count = 0
        while time.monotonic() < until:
            count += 1
            report(count % 1000 / 1000, "step %d" % count)
        return count

    def log_flood(self):
        for number in range(100000):
            print("line", number)
        return "printed"

    def ignore_sigterm(self):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            try:
                time.sleep(600)
            except BaseException:  # noqa: B036 - that is the point
                pass
