"""Connections that send nothing: they cost little, and disturb neither the plugin nor the host."""

import http.client
import os
import socket
import subprocess
import sys
import time
import unittest

from worker_host import LINUX, WorkerCase, eventually

FLOOD = """
import os, socket, sys
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
port, keep = int(sys.argv[1]), []
print(flush=True)
while True:
    keep.append(socket.socket())
    try:
        keep[-1].connect(("127.0.0.1", port))
    except OSError:
        pass
    if len(keep) > 500:
        keep.pop(0).close()
"""


@unittest.skipUnless(LINUX, "reads /proc")
class Flood(WorkerCase):
    def setUp(self):
        self.worker = self.start("Files", "files", request_timeout_s=20)
        self.worker.result("limit", 16)

    def strangers(self, count, first=b""):
        found = []
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", self.worker.port), 5)
            self.addCleanup(sock.close)
            found.append(sock)
            if first:
                try:
                    sock.sendall(first)
                except OSError:  # the worker has closed it already
                    pass
        return found

    def descriptors(self):
        return len(os.listdir("/proc/%d/fd" % self.worker.pid))

    def test_silent_connections_take_no_files_from_the_plugin(self):
        before = self.descriptors()
        for first in (b"", b"GET /hea", b"GET /health HTTP/1.1\r\n\r\n"):
            self.strangers(500, first)
            self.assertLess(self.descriptors(), before + 40, first)
            self.assertEqual(self.worker.result("open", 16), 16)
            running = self.worker.begin("wait")
            self.assertEqual(self.worker.cancel(running.id)[1]["state"], "running")
            self.assertEqual(running.error_code(), "cancelled")
            self.worker.result("close")

    def test_the_host_can_connect_while_others_connect_all_the_time(self):
        floods = [
            subprocess.Popen([sys.executable, "-c", FLOOD, str(self.worker.port)], stdout=subprocess.PIPE)
            for _ in range(2)
        ]
        try:
            for flood in floods:
                flood.stdout.readline()
            kept = self.worker.connect()
            self.addCleanup(kept.close)
            broken = 0
            for _ in range(200):
                try:
                    self.worker.result("open", 0)
                except (OSError, http.client.HTTPException):
                    broken += 1
            # A new connection may be closed; hosts try again (`Client::connect`). One that has sent the token never is.
            self.assertLess(broken, 5)
            self.assertEqual(kept.call("open", 16)[1]["result"], 16)
            self.assertTrue(all(flood.poll() is None for flood in floods))
        finally:
            for flood in floods:
                flood.kill()
                flood.wait()
                flood.stdout.close()

    def test_the_oldest_goes_first_and_known_ones_stay(self):
        kept = self.worker.connect()
        self.addCleanup(kept.close)
        self.assertEqual(kept.call("open", 0)[0], 200)
        control = self.worker.connect()
        self.addCleanup(control.close)
        control.request("GET", "/health")
        found = self.strangers(40)
        self.assertTrue(eventually(lambda: closed(found[0])))
        self.assertTrue(eventually(lambda: sum(map(closed, found)) == 8))
        self.assertEqual([closed(sock) for sock in found], [True] * 8 + [False] * 32)
        self.assertEqual(kept.call("open", 0)[0], 200)
        self.assertEqual(control.request("GET", "/health")[0], 200)

    def test_the_token_must_come_soon(self):
        started = time.monotonic()
        for sock in self.strangers(2) + self.strangers(2, b"POST /execute HTTP/1.1\r\nHost: x"):
            sock.settimeout(10)
            self.assertIn(b" 408 ", sock.recv(100))
        self.assertLess(time.monotonic() - started, 6)
        # After the token the request may take the whole time.
        sock = self.strangers(1)[0]
        head = "POST /execute HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer %s\r\nContent-Length: 50\r\n\r\n"
        sock.sendall((head % (self.worker.port, "t" * 32)).encode())
        sock.settimeout(3)
        with self.assertRaises(socket.timeout):
            sock.recv(100)

    def test_a_plugin_that_uses_up_all_files_can_be_cancelled_and_seen(self):
        self.assertGreater(self.worker.result("exhaust"), 16)
        running = self.worker.begin("wait")
        self.assertEqual(self.worker.get("/health")[0], 200)
        self.strangers(10)
        self.assertEqual(self.worker.cancel(running.id)[1]["state"], "running")
        self.assertEqual(running.error_code(), "cancelled")
        self.worker.result("close")
        self.assertEqual(self.worker.result("open", 16), 16)

    def test_connections_that_cannot_be_accepted_delay_nothing_else(self):
        kept = [self.worker.connect() for _ in range(2)]
        for client in kept:
            self.addCleanup(client.close)
            client.request("GET", "/health")
        self.worker.result("exhaust")
        # These wait in the kernel until others are closed, or replace one another.
        held = [self.worker.connect() for _ in range(6)]
        for client in held:
            self.addCleanup(client.close)
            client.connection.timeout = 0.3
            try:
                client.request("GET", "/health")
            except OSError:
                pass
        times = []
        for _ in range(50):
            started = time.monotonic()
            self.assertEqual(kept[0].request("GET", "/health")[0], 200)
            times.append(time.monotonic() - started)
        self.assertLess(sorted(times)[45], 0.03)
        self.assertEqual(kept[1].call("close")[0], 200)
        self.assertEqual(self.worker.result("open", 16), 16)


def closed(sock) -> bool:
    """Whether the worker has closed its end."""
    try:
        return sock.recv(1, socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


if __name__ == "__main__":
    unittest.main()
