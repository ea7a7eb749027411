"""A small chat-completions service on the loopback address, for tests: the test decides its answers."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMPLETION = {
    "model": "small-1",
    "choices": [{"message": {"role": "assistant", "content": " Two roads meet. \n"}}],
    "usage": {"total_tokens": 42},
}


class ChatServer:
    """`answers` is called with the request's handler, and writes the reply; `requests` are (path, headers, body)."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict, dict]] = []
        self.answer = json_reply(COMPLETION)
        self.released = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            released = outer.released

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append((self.path, dict(self.headers), body))
                self.close_connection = True
                with suppress(ConnectionError):  # the plugin has stopped reading
                    outer.answer(self)

            def log_message(self, *_args) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def close(self) -> None:
        """Ends the server and all answers that it delays."""
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def reply(status: int, body: bytes, **headers: str):
    """An answer: status, body and headers (with underscores in place of dashes)."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def json_reply(body: object, status: int = 200, **headers: str):
    """An answer whose body is JSON."""
    return reply(status, json.dumps(body).encode(), Content_Type="application/json", **headers)


def event_stream(*events: object, done: bool = True):
    """An answer that is a stream of server-sent events, in chunks that split events and characters anywhere."""
    lines = [": begin\n\n"] + [f"event: part\ndata: {json.dumps(event, ensure_ascii=False)}\n\n" for event in events]
    lines += ["data: [DONE]\n\n"] if done else []
    body = "".join(lines).encode()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream; charset=utf-8")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for chunk in [body[start : start + 7] for start in range(0, len(body), 7)] + [b""]:
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))

    return answer


def delta(text: str) -> dict:
    """One event of a stream, in the form of such services."""
    return {"model": "small-1", "choices": [{"delta": {"content": text}}]}


def never(handler: BaseHTTPRequestHandler) -> None:
    """No answer until the test is over."""
    handler.released.wait(30)


def dripping(handler: BaseHTTPRequestHandler) -> None:
    """An answer that never ends, a little at a time: each read succeeds."""
    reply(200, b"", Content_Length="1000000")(handler)
    while not handler.released.wait(0.05):
        handler.wfile.write(b" ")


def endless(handler: BaseHTTPRequestHandler) -> None:
    """An answer with far too many bytes."""
    reply(200, b"", Content_Length=str(1 << 40))(handler)
    while not handler.released.is_set():
        handler.wfile.write(b" " * 65536)
