"""The HTTP interface: which requests are accepted, and what happens to those that break the rules."""

import json
import socket
import time
import unittest

from worker_host import TOKEN, WorkerCase

BODY = b'{"call":"%s","method":"execute"}'


class Http(WorkerCase):
    settings = {"max_request_bytes": 1000, "request_timeout_s": 0.5}

    def head(self, verb="POST", path="/execute", drop=(), **headers):
        found = {"Host": "127.0.0.1:%d" % self.worker.port, "Authorization": "Bearer " + TOKEN}
        found.update((name.replace("_", "-"), str(value)) for name, value in headers.items())
        lines = ["%s: %s" % item for item in found.items() if item[0] not in drop]
        return ("%s %s HTTP/1.1\r\n%s\r\n\r\n" % (verb, path, "\r\n".join(lines))).encode()

    def send(self, data: bytes):
        """Sends bytes; returns the status and the JSON of the reply, and whether the connection was closed."""
        with socket.create_connection(("127.0.0.1", self.worker.port)) as sock:
            sock.settimeout(5)
            sock.sendall(data)
            return self.reply(sock)

    def reply(self, sock):
        text = b""
        while b"\r\n\r\n" not in text:
            piece = sock.recv(65536)
            if not piece:
                return 0, {}, True
            text += piece
        head, _, rest = text.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        while len(rest) < length:
            rest += sock.recv(65536)
        return int(head.split()[1]), json.loads(rest), b"Connection: close" in head

    def refused(self, data: bytes, status: int, code: str):
        found, body, closed = self.send(data)
        self.assertEqual((found, body["error"]["code"], closed), (status, code, True), data[:200])

    def test_only_with_the_token(self):
        body = BODY % b"a"
        length = {"Content_Length": len(body)}
        self.assertEqual(self.send(self.head(**length) + body)[0], 200)
        for wrong in ("Bearer " + "x" * 32, "Bearer " + TOKEN + "x", "bearer " + TOKEN, TOKEN, "", "Bearer \xff"):
            self.refused(self.head(Authorization=wrong, **length) + body, 401, "denied")
        self.refused(self.head(drop=("Authorization",), **length) + body, 401, "denied")
        self.refused(self.head("GET", "/health", drop=("Authorization",)), 401, "denied")

    def test_no_other_name_and_no_web_page(self):
        port = self.worker.port
        for wrong in (
            "evil.example:%d" % port,
            "127.0.0.1",
            "127.0.0.1:%d" % (port + 1),
            "",
            "127.0.0.1:%d@evil" % port,
        ):
            self.refused(self.head("GET", "/health", Host=wrong), 403, "denied")
        self.refused(self.head("GET", "/health", drop=("Host",)), 403, "denied")
        self.assertEqual(self.send(self.head("GET", "/health", Host="localhost:%d" % port))[0], 200)
        for origin in ("null", "http://127.0.0.1:%d" % port):
            self.refused(self.head("GET", "/health", Origin=origin), 403, "denied")

    def test_lengths_are_checked(self):
        self.refused(self.head(), 411, "protocol")
        self.refused(self.head(Content_Length=1001), 413, "resource-exhausted")
        self.refused(self.head(Content_Length=10**12) + b"x" * 500_000, 413, "resource-exhausted")
        for wrong in ("-1", "+5", "0x5", "5 5", "1e3", "", "9" * 30):
            self.refused(self.head(Content_Length=wrong), 400, "protocol")
        self.refused(self.head(Content_Length=5) + b"123456", 400, "protocol")
        self.refused(self.head(Transfer_Encoding="chunked"), 501, "protocol")

    def test_malformed_requests(self):
        good = self.head("GET", "/health")
        for bad in (
            b"\r\n\r\n",
            b"GET /health\r\n\r\n",
            b"GET /health HTTP/1.0\r\n\r\n",
            b"GET  /health HTTP/1.1\r\n\r\n",
            b"GET health HTTP/1.1\r\n\r\n",
            good.replace(b"\r\nAuth", b"\nAuth"),
            good.replace(b"Host:", b"Host :"),
            good.replace(b"Host:", b" Host:"),
            good.replace(b"\r\n\r\n", b"\r\n folded\r\n\r\n"),
            good.replace(b"\r\n\r\n", b"\r\nHost: 127.0.0.1:%d\r\n\r\n" % self.worker.port),
            good.replace(b"\r\n\r\n", b"\r\nno colon\r\n\r\n"),
            good.replace(b"Bearer", b"Bea\x00rer"),
            "GET /hé HTTP/1.1\r\n\r\n".encode(),
        ):
            self.refused(bad, 400, "protocol")
        self.refused(b"GET /" + b"x" * 20_000, 431, "protocol")
        for text in (
            b"",
            b"x",
            b"[]",
            b"3",
            b'{"call":3}',
            b'{"args":{}}',
            b'{"kwargs":[]}',
            b'{"a":NaN}',
            b"{} {}",
            b"\xff",
            b"[" * 900,
        ):
            status, body, _ = self.send(self.head(Content_Length=len(text)) + text)
            expected = (200, None) if text == b"" else (400, "protocol")
            self.assertEqual((status, body.get("error", {}).get("code")), expected, text)

    def test_unknown_paths_and_verbs(self):
        for verb, path, status in (("GET", "/nothing", 404), ("GET", "/execute", 405), ("PUT", "/health", 405)):
            found, body, closed = self.send(self.head(verb, path))
            self.assertEqual((found, body["error"]["code"], closed), (status, "protocol", False))

    def test_code_of_the_plugins_that_a_control_runs_ends_nothing(self):
        worker = self.start("Unlistable")
        for _ in range(2):
            status, body = worker.get("/methods")
            self.assertEqual((status, [method["name"] for method in body["methods"]]), (200, ["execute"]))
        self.assertEqual(worker.error("nothing")["code"], "not-found")
        self.assertEqual(worker.result(), "fine")
        self.assertEqual(worker.get("/health")[0], 200)

    def test_slow_clients_are_cut_off(self):
        for begun in (b"", b"POST /exec", self.head(Content_Length=20) + b"{"):
            with socket.create_connection(("127.0.0.1", self.worker.port)) as sock:
                sock.settimeout(5)
                sock.sendall(begun)
                started = time.monotonic()
                status, body, closed = self.reply(sock)
                self.assertEqual((status, body["error"]["code"]), (408, "timeout"))
                self.assertLess(time.monotonic() - started, 2)

    def test_a_slow_client_does_not_hold_up_others(self):
        with socket.create_connection(("127.0.0.1", self.worker.port)) as slow:
            slow.sendall(self.head(Content_Length=20) + b"{")
            self.assertEqual(self.worker.call("execute")[0], 200)

    def test_a_request_in_pieces(self):
        body = BODY % b"pieces"
        data = self.head(Content_Length=len(body)) + body
        with socket.create_connection(("127.0.0.1", self.worker.port)) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in range(len(data)):
                sock.send(data[byte : byte + 1])
            self.assertEqual(self.reply(sock)[0], 200)

    def test_a_connection_serves_many_requests_of_any_kind(self):
        with socket.create_connection(("127.0.0.1", self.worker.port)) as sock:
            for number in range(20):
                body = BODY % b"n%d" % number
                sock.sendall(self.head(Content_Length=len(body)) + body)
                self.assertEqual(self.reply(sock)[0], 200)
                sock.sendall(self.head("GET", "/health"))
                self.assertEqual(self.reply(sock)[0], 200)

    def test_a_client_that_asks_before_it_sends(self):
        body = BODY % b"expect"
        with socket.create_connection(("127.0.0.1", self.worker.port)) as sock:
            sock.sendall(self.head(Content_Length=len(body), Expect="100-continue"))
            self.assertTrue(sock.recv(100).startswith(b"HTTP/1.1 100 "))
            sock.sendall(body)
            self.assertEqual(self.reply(sock)[0], 200)

    def test_no_delayed_acknowledgement_slows_a_kept_connection(self):
        worker = self.start("Echo")
        client = worker.connect()
        self.addCleanup(client.close)
        times = []
        for _ in range(50):
            started = time.monotonic()
            client.call("execute", "x" * 5000)
            times.append(time.monotonic() - started)
        self.assertLess(sorted(times)[25], 0.02, "a delayed acknowledgement takes 0.04 s")


if __name__ == "__main__":
    unittest.main()
