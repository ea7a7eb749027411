"""What strangers write is thrown at what reads it in the Python worker. Each target is a plain function of bytes, which
raises where something does not hold.

`http`: bytes that arrive on a worker's connection, in pieces. `json`: the body of a request.
"""

import json
import math
import os
import sys

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../python")]

from bivium_worker import codec, spill, values, wire
from bivium_worker.errors import STATUS, WorkerError

TOKEN = "t" * 32
PORT = 80
MAX_BODY = 1000
HOSTS = (b"127.0.0.1:%d" % PORT, b"localhost:%d" % PORT)


class Socket:
    """A socket on which pieces arrive."""

    def __init__(self, pieces):
        self.pieces = pieces
        self.sent = b""

    def setblocking(self, _blocking):
        pass

    def setsockopt(self, *_option):
        pass

    def fileno(self):
        return 7

    def send(self, data):
        self.sent += data
        return len(data)

    def recv(self, count):
        if not self.pieces:
            raise BlockingIOError
        piece, rest = self.pieces[0][:count], self.pieces[0][count:]
        self.pieces[:1] = [rest] if rest else []
        return piece

    def recv_into(self, view):
        piece = self.recv(len(view))
        view[: len(piece)] = piece
        return len(piece)


def outcome(pieces):
    """What becomes of a request: itself, the error that refuses it, or None while it is not whole."""
    access = wire.AccessCheck(TOKEN, PORT, MAX_BODY)
    connection = wire.Connection(Socket(list(filter(None, pieces))), access, 30.0)
    try:
        while connection.sock.pieces:
            request = connection.receive()
            if request is not None:
                body = bytes(request.body)
                return "request", request.verb, request.path, request.query, body, not connection.sock.pieces
    except wire.Refused as refused:
        assert refused.status in STATUS.values() or refused.status in wire.REASONS, refused.status
        assert refused.code in STATUS and wire.reply(refused.status, b"{}", close=True)
        return "refused", refused.status
    return None


def http(data):
    """However the bytes are cut, the outcome is the same; what is let in shows the token, once and to this worker."""
    cut, text = data[:1], data[1:]
    step = cut[0] % 61 + 1 if cut else 1
    whole = outcome([text])
    pieces = outcome([text[at : at + step] for at in range(0, len(text), step)])
    if whole is not None and whole[0] == "request":
        check(text, whole)
        assert pieces is not None and pieces[:5] == whole[:5], (whole, pieces)
    elif whole is None:
        assert pieces is None, pieces
    elif pieces is not None and pieces[0] == "request":
        # The rest of the bytes, which came with the head in one piece, is what was refused.
        assert whole == ("refused", 400), (whole, pieces)
        assert not pieces[5], "nothing followed the request, and still it was refused as a whole"


def check(text, request):
    """Reads the head once more, in another way."""
    _, verb, path, query, body, _ = request
    head, _, rest = text.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    target = (path + ("?" + query if b"?" in lines[0] else "")).encode()
    assert lines[0] == b"%s %s HTTP/1.1" % (verb.encode(), target), lines[0]
    headers = [(name.lower(), value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines[1:])]
    names = [name for name, _ in headers]
    assert len(set(names)) == len(names), names
    found = dict(headers)
    assert found[b"authorization"] == b"Bearer " + TOKEN.encode()
    assert found[b"host"] in HOSTS
    assert b"origin" not in found and b"transfer-encoding" not in found
    assert int(found.get(b"content-length", 0)) == len(body) <= MAX_BODY and body == rest, (body, rest)


def no_file(_entry, _limit):
    raise WorkerError("protocol", "this target reads no files")


spill.read = no_file


def strict(text):
    """The same text by a reader that knows no blobs; None if it is none."""

    def refuse(name):
        raise ValueError(name)

    try:
        found = json.loads(text.decode("utf-8"), parse_constant=refuse) if text else {}
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def body(data):
    """It is read as JSON is, or refused with an error of ours. What it holds can be written and read again."""
    expected = strict(data)
    try:
        given, blobs = codec.decode(data, 1 << 20)
    except WorkerError as error:
        assert error.code in STATUS, error.code
        special = any(word in data for word in (b"blob", b"spilled", b"\\"))
        assert special or expected is None, "it is JSON, and was refused"
        return
    assert expected is not None, "it was read, and is no JSON"
    if b'blob"' not in data and b"\\" not in data:
        assert same(given, expected)
    if blobs:
        return
    quick = codec.quick(given)
    try:
        written = values.Encoder("/nonexistent", []).encode(given)
    except WorkerError:
        return
    if quick is not None:
        assert same(strict(quick), strict(written)), (quick, written)
    again, _ = codec.decode(written, 1 << 20)
    assert same(again, given), (again, given)


def same(one, other):
    """Equality that tells types apart."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    return one == other


TARGETS = {"http": http, "json": body}
