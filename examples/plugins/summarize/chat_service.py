"""One request to a chat-completions service, with bounds on everything that the service decides.

`http.client` is used and not `urllib.request`, because that follows redirects and takes the key along.
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
"""No reply is longer, streamed or not: a summary is short, and the rest would only fill the memory."""

READ_BYTES = 64 << 10

MAX_COMPLAINT = 300
"""Of the service's own words about an error this much is passed on."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class ServiceError(RuntimeError):
    """The service refused, or answered what cannot be understood."""


def checked_url(base_url: str) -> SplitResult:
    """The parts of a URL that a key may be sent to; `ValueError` for any other."""
    url = urlsplit(base_url)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError(f"base_url must begin with https:// or http:// and name a host, not {base_url!r}")
    if url.username is not None or url.query or url.fragment:
        raise ValueError("base_url takes no user, query or fragment; the key belongs into the environment variable")
    if url.scheme == "http" and url.hostname not in LOOPBACK:
        raise ValueError(f"base_url must be https for {url.hostname}: over http the key could be read on the way")
    if url.port == 0:  # asking raises ValueError where it is no number
        raise ValueError("base_url has the port 0")
    return url


class ChatService:
    """Where the service is and how to ask it. `timeout_s` is for a whole request, from connecting to the last byte."""

    def __init__(self, base_url: str, key: str | None, timeout_s: float) -> None:
        self._url = checked_url(base_url)
        self._key = key
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None

    @contextmanager
    def ask(self, body: dict[str, Any]) -> Iterator[Reply]:
        """Sends a request for a chat completion. The reply can be read for the length of the `with`.

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
        """Breaks off the request that another thread waits for, if there is one."""
        waiting = self._socket
        if waiting is not None:
            with suppress(OSError):  # it may just have ended by itself
                waiting.shutdown(socket.SHUT_RDWR)

    def _refusal(self, reply: Reply) -> str:
        """What to tell a person about a status that is not 200. A service may quote the key: it is blotted out."""
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
            return f"{where} redirects ({reply.status}), which is not followed: set base_url to where the service is"
        return f"{where} answered with status {reply.status}{said}"


class Reply:
    """An HTTP reply that is read within a deadline, and never more of it than `MAX_BODY`."""

    def __init__(self, response: http.client.HTTPResponse, deadline: float) -> None:
        self._response = response
        self._deadline = deadline
        self.status = response.status

    def header(self, name: str) -> str:
        """A header's value, cut to what fits into a message; empty where it is absent."""
        return self._response.getheader(name, "")[:64]

    def json(self) -> dict[str, Any]:
        """The whole body as a JSON object; `ServiceError` where it is none."""
        return parsed(b"".join(self._blocks()))

    def events(self) -> Iterator[dict[str, Any]]:
        """The JSON objects of a stream of server-sent events, up to its `[DONE]`; `ServiceError` where that lacks."""
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
                raise ServiceError("the service broke off with an error in mid-stream")
            yield event
        raise ServiceError("the service's stream ended before it was complete")

    def _lines(self) -> Iterator[bytes]:
        rest = b""
        for block in self._blocks():
            *lines, rest = (rest + block).split(b"\n")
            yield from lines

    def _blocks(self) -> Iterator[bytes]:
        """The body as it comes in. Not by `readline`, which would wait beyond the deadline for the end of a line."""
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
        raise ServiceError(f"the service's answer is no JSON: {data[:60]!r}") from error
    if not isinstance(found, dict):
        raise ServiceError(f"the service's answer is no JSON object: {data[:60]!r}")
    return found
