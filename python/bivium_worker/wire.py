"""A strict subset of HTTP/1.1, the one that hosts use: requests are parsed as bytes arrive, replies are one write.

`http.server` needs 7 MiB of memory and 30 ms to import, and a third of the time of a small call to parse; a worker needs only
this small part of HTTP. It accepts one request at a time on a connection, with a Content-Length and without a transfer encoding,
and refuses everything else, so that no request can be parsed in two ways.
"""

from __future__ import annotations

import re
import _socket as socket
import time

# `hmac.compare_digest` is this very function, behind an import of OpenSSL.
from _operator import _compare_digest as compare_digest

MAX_HEAD = 16 * 1024
PIECE = 64 * 1024
SEND_AHEAD = 128 * 1024
"""The size of the kernel's send buffer, and so how much a stream may send before its reader reads. By default it grows to several MiB."""
TOKEN_S = 2.0
"""How long a new connection may take to send the token."""
HEAD = re.compile(rb"([A-Z]+) (/[!-~]*) HTTP/1\.1((?:\r\n[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\r\n\0]*)*)")
REASONS = {
    200: b"200 OK",
    400: b"400 Bad Request",
    401: b"401 Unauthorized",
    403: b"403 Forbidden",
    404: b"404 Not Found",
    405: b"405 Method Not Allowed",
    408: b"408 Request Timeout",
    409: b"409 Conflict",
    411: b"411 Length Required",
    413: b"413 Content Too Large",
    422: b"422 Unprocessable Content",
    431: b"431 Request Header Fields Too Large",
    500: b"500 Internal Server Error",
    501: b"501 Not Implemented",
    503: b"503 Service Unavailable",
    504: b"504 Gateway Timeout",
}
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n"
    b"Cache-Control: no-store\r\n\r\n"
)


class Refused(Exception):
    """A request that is answered with an error; then its connection is closed."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Closed(Exception):
    """The client has closed the connection."""


class Request:
    """One complete request."""

    __slots__ = ("verb", "path", "query", "body")

    def __init__(self, verb: str, target: str) -> None:
        self.verb = verb
        self.path, _, self.query = target.partition("?")
        self.body: bytes | bytearray = b""

    def parameter(self, name: str) -> str | None:
        """A query parameter. They are call ids, which need no percent encoding, so none is decoded."""
        for pair in self.query.split("&"):
            key, equals, value = pair.partition("=")
            if key == name and equals:
                return value
        return None


class AccessCheck:
    """Checks that a request has the token and the worker's own Host, and does not come from a web page."""

    def __init__(self, token: str, port: int, max_body: int) -> None:
        self._bearer = b"Bearer " + token.encode("utf-8")
        # A name that an attacker's DNS resolves to 127.0.0.1 arrives as another Host.
        self._hosts = (b"127.0.0.1:%d" % port, b"localhost:%d" % port)
        self._max_body = max_body

    def admit(self, verb: str, headers: dict[bytes, bytes]) -> int:
        """Refuses the request, or returns the length of its body."""
        if headers.get(b"host") not in self._hosts:
            raise Refused(403, "denied", "the request's Host header does not name this worker")
        if b"origin" in headers:
            raise Refused(403, "denied", "web pages may not call a worker")
        if not compare_digest(headers.get(b"authorization", b""), self._bearer):
            raise Refused(401, "denied", "the request does not carry the worker's token")
        if b"transfer-encoding" in headers:
            raise Refused(501, "protocol", "a request needs a Content-Length, not a Transfer-Encoding")
        length = headers.get(b"content-length")
        if length is None:
            if verb == "POST":
                raise Refused(411, "protocol", "the request has no Content-Length")
            return 0
        if not length.isdigit() or len(length) > 15:
            raise Refused(400, "protocol", "the request's Content-Length is not a number")
        size = int(length)
        if size > self._max_body:
            raise Refused(
                413,
                "resource-exhausted",
                "the request is %d bytes, and the limit is %d: send large data as a blob" % (size, self._max_body),
            )
        return size


def parse_head(head: bytes) -> tuple[str, str, dict[bytes, bytes]]:
    """The request line and the headers, names in lower case."""
    match = HEAD.fullmatch(head)
    if match is None:
        raise Refused(400, "protocol", "the request's head is malformed, or is not HTTP/1.1")
    verb, target, rest = match.groups()
    lines = rest.split(b"\r\n")
    headers: dict[bytes, bytes] = {}
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip(b" \t")
    if len(headers) != len(lines) - 1:
        raise Refused(400, "protocol", "a header of the request is repeated")
    return verb.decode("ascii"), target.decode("ascii"), headers


class Connection:
    """One client's socket, non-blocking, and the part of its next request that has arrived."""

    def __init__(self, sock: socket.socket, access: AccessCheck, timeout_s: float) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_AHEAD)
        self.sock = sock
        self.fd = sock.fileno()
        self.call = None
        """The call whose reply is sent on this connection."""
        self.gone = False
        """Whether the client has closed its end, so that nobody waits for an answer."""
        self.drained: float | None = None
        """Set after the last reply: until this time, what still arrives is read and discarded."""
        self._access = access
        self._timeout_s = timeout_s
        self.authenticated = False
        """Whether the token was sent on it once. Until then the client gets little time."""
        self.deadline: float | None = time.monotonic() + min(timeout_s, TOKEN_S)
        """When the request must be complete, whether it has begun or not; None between requests."""
        self._head = b""
        self._request: Request | None = None
        self._body: bytearray | None = None
        self._filled = 0

    def receive(self) -> Request | None:
        """Reads what has arrived; returns the request when it is complete. Raises `Refused` or `Closed`."""
        try:
            if self._body is not None:
                count = self.sock.recv_into(memoryview(self._body)[self._filled :])
                if count == 0:
                    raise Closed
                self._filled += count
                return self._whole() if self._filled == len(self._body) else None
            data = self.sock.recv(PIECE)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            raise Closed from None
        if not data:
            raise Closed
        if self._head:
            data = self._head + data
        end = data.find(b"\r\n\r\n")
        if end < 0 or end > MAX_HEAD:
            if len(data) > MAX_HEAD:
                raise Refused(431, "protocol", "the request's head is too long")
            self._head = data
            self._begun()
            return None
        self._head = b""
        verb, target, headers = parse_head(data[:end])
        length = self._access.admit(verb, headers)
        if not self.authenticated:
            self.authenticated, self.deadline = True, None
        request = Request(verb, target)
        body = data[end + 4 :]
        if len(body) == length:
            request.body = body
            self.deadline = None
            return request
        if len(body) > length:
            # No client sends a second request before the first is answered, so the length is wrong.
            raise Refused(400, "protocol", "the request is longer than its Content-Length")
        self._request = request
        self._body = bytearray(length)
        self._body[: len(body)] = body
        self._filled = len(body)
        self._begun()
        if headers.get(b"expect", b"").lower() == b"100-continue" and not body:
            self.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return None

    def _begun(self) -> None:
        if self.deadline is None:
            self.deadline = time.monotonic() + self._timeout_s

    def _whole(self) -> Request:
        request, body = self._request, self._body
        assert request is not None and body is not None
        request.body = body
        self._request = self._body = self.deadline = None
        return request


def reply(status: int, body: bytes, close: bool = False) -> bytes:
    """A complete reply as bytes."""
    return (
        b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nCache-Control: no-store\r\n%s\r\n%s"
        % (
            REASONS.get(status, b"500 Internal Server Error"),
            len(body),
            b"Connection: close\r\n" if close else b"",
            body,
        )
    )
