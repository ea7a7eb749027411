"""One request to a chat-completions service, with limits for everything that the service decides.

It uses `http.client` and not `urllib.request`, which follows redirects and sends the key there as well.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any
from urllib.parse import SplitResult, urlsplit

MAX_BODY = 4 << 20
"""The longest reply, streamed or not: a summary is short, and more would only use memory."""

READ_BYTES = 64 << 10

MAX_COMPLAINT = 300
"""How much of the service's own text about an error is passed on."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class ServiceError(RuntimeError):
    """The service refused the request, or its answer cannot be understood."""


def checked_url(base_url: str) -> SplitResult:
    """The parts of a URL to which a key may be sent; `ValueError` for any other."""
    url = urlsplit(base_url)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError(f"base_url must begin with https:// or http:// and name a host, not {base_url!r}")
    if url.username is not None or url.query or url.fragment:
        raise ValueError("base_url takes no user, query or fragment; the key belongs in the environment variable")
    if url.scheme == "http" and url.hostname not in LOOPBACK:
        raise ValueError(f"base_url must be https for {url.hostname}: with http others could read the key")
    if url.port == 0:  # reading `port` raises ValueError if it is not a number
        raise ValueError("base_url has the port 0")
    return url


class ChatService:
    """A service, and how to use it. `timeout_s` is for a whole request, from connecting to the last byte."""

    def __init__(self, base_url: str, key: str | None, timeout_s: float) -> None:
        self._url = checked_url(base_url)
        self._key = key
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None

    @contextmanager
    def ask(self, body: dict[str, Any]) -> Iterator[Reply]:
        """Sends a request for a chat completion. The reply can be read inside the `with` statement.

        Raises `ServiceError` for any status but 200 and for a broken connection, `TimeoutError` after `timeout_s`.
        """
        headers = {"Content-Type": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        url = self._url
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = kind(url.netloc, timeout=self._timeout_s)
        deadline = time.monotonic() + self._timeout_s
        try:
            connection.connect()
            self._socket = connection.sock
            path = url.path.rstrip("/") + "/chat/completions"
            connection.request("POST", path, json.dumps(body).encode(), headers)
            with closing(connection.getresponse()) as response:
                reply = Reply(response, deadline)
                if reply.status != 200:
                    raise ServiceError(self._refusal(reply))
                yield reply
        except (TimeoutError, socket.timeout) as error:
            raise TimeoutError(f"{url.netloc} took longer than {self._timeout_s} s (timeout_s)") from error
        except (http.client.HTTPException, OSError) as error:
            raise ServiceError(f"no proper answer from {url.netloc}: {error or type(error).__name__}") from error
        finally:
            self._socket = None
            connection.close()

    def interrupt(self) -> None:
        """Aborts the request that another thread waits for, if there is one."""
        waiting = self._socket
        if waiting is not None:
            with suppress(OSError):  # it may just have ended by itself
                waiting.shutdown(socket.SHUT_RDWR)

    def _refusal(self, reply: Reply) -> str:
        """The message for a status that is not 200. If the service quotes the key, it is replaced."""
        try:
            complaint = reply.json()["error"]["message"]
        except (ServiceError, KeyError, TypeError):
            complaint = ""
        said = " ".join(str(complaint).split())
        if self._key:
            said = said.replace(self._key, "***")
        said = f": {said[:MAX_COMPLAINT]}" if said else ""
        where = self._url.netloc
        if reply.status in (401, 403):
            return f"{where} does not accept the key ({reply.status}){said}"
        if reply.status == 429:
            wait = reply.header("Retry-After")
            return f"{where} has had too many requests (429); try again {f'in {wait} s' if wait else 'later'}{said}"
        if 300 <= reply.status < 400:
            return f"{where} redirects ({reply.status}), which is not followed: set base_url to the address of the service"
        return f"{where} answered with status {reply.status}{said}"


class Reply:
    """An HTTP reply that is read within a deadline, and at most `MAX_BODY` of it."""

    def __init__(self, response: http.client.HTTPResponse, deadline: float) -> None:
        self._response = response
        self._deadline = deadline
        self.status = response.status

    def header(self, name: str) -> str:
        """A header's value, cut for a message; empty if there is none."""
        return self._response.getheader(name, "")[:64]

    def json(self) -> dict[str, Any]:
        """The whole body as a JSON object; `ServiceError` if it is not one."""
        return parsed(b"".join(self._blocks()))

    def events(self) -> Iterator[dict[str, Any]]:
        """The JSON objects of a stream of server-sent events, up to its `[DONE]`; `ServiceError` if that is missing."""
        kind = self._response.headers.get_content_type()
        if kind != "text/event-stream":
            raise ServiceError(f"the service answered with {kind} instead of a stream of events")
        for line in self._lines():
            if not line.startswith(b"data:"):
                continue  # an empty line, a comment, or a field that this API does not use
            data = line[len(b"data:") :].strip()
            if data == b"[DONE]":
                return
            event = parsed(data)
            if event.get("error"):
                raise ServiceError("the service ended the stream with an error")
            yield event
        raise ServiceError("the service's stream ended before it was complete")

    def _lines(self) -> Iterator[bytes]:
        rest = b""
        for block in self._blocks():
            *lines, rest = (rest + block).split(b"\n")
            yield from lines

    def _blocks(self) -> Iterator[bytes]:
        """The body as it arrives. Not by `readline`, which would wait beyond the deadline for the end of a line."""
        room = MAX_BODY
        while True:
            block = self._response.read1(READ_BYTES)
            if not block:
                return
            room -= len(block)
            if room < 0:
                raise ServiceError(f"the service's answer is longer than {MAX_BODY >> 20} MiB")
            if time.monotonic() > self._deadline:
                raise TimeoutError
            yield block


def parsed(data: bytes) -> dict[str, Any]:
    """A JSON object; `ServiceError` for anything else."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ServiceError(f"the service's answer is not JSON: {data[:60]!r}") from error
    if not isinstance(found, dict):
        raise ServiceError(f"the service's answer is not a JSON object: {data[:60]!r}")
    return found
