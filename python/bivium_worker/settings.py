"""The settings that the host sends a worker at its start: one JSON line on the channel."""

from __future__ import annotations

import json
import os
import _socket as socket
from array import array

from . import PROTOCOL
from .errors import WorkerError

MAX_LINE = 4 << 20
CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class Settings:
    """The settings of one worker, checked.

    Unknown keys are ignored, so that a newer host may send more within the same protocol version.
    """

    def __init__(self, given: dict) -> None:
        self.protocol: int = take(given, "protocol", int)
        if self.protocol != PROTOCOL:
            raise WorkerError(
                "protocol", "the host speaks worker protocol %d, this worker %d" % (self.protocol, PROTOCOL)
            )
        self.token: str = take(given, "token", str)
        self.name: str = take(given, "name", str)
        self.version: str = take(given, "version", str)
        self.module: str = take(given, "module", str)
        self.function: str = take(given, "function", str, "")
        """The function that is the plugin, in place of a class. If both are given, the module decides which it is."""
        self.cls: str = take(given, "class", str, "" if self.function else None)
        self.init_args: dict = take(given, "init_args", dict, {})
        """Keyword arguments of the class's constructor."""
        self.exchange: str = os.path.realpath(take(given, "exchange", str))
        """The worker's own part of the exchange: the only directory from which it may hand back files."""
        self.source: list[str] = take(given, "source", list, [])
        """Directories that come first on the module path."""
        self.concurrency: int = max(1, take(given, "concurrency", int, 1))
        self.max_request_bytes: int = take(given, "max_request_bytes", int, 64 << 20)
        self.max_reply_bytes: int = take(given, "max_reply_bytes", int, 64 << 20)
        self.request_timeout_s: float = float(take(given, "request_timeout_s", (int, float), 30.0))
        """How long a client may take to send one request, and a reader to read a reply."""
        self.cancel_grace_s: float = float(take(given, "cancel_grace_s", (int, float), 0.2))
        """How long a plugin that handles cancellation itself has, before the exception is raised in it."""
        self.listener: int | None = None
        """The descriptor of the socket to listen on, which was sent with the settings; None if the worker makes its own."""
        self.confined: bool = given.get("confined") is True
        """Whether the host confines this worker to the manifest's permissions."""
        self.private: list[str] = take(given, "private", list, [])
        """A confined worker's own empty directories, which replace directories of the host."""
        self.lookups: bool = given.get("lookups") is True
        """Whether a confined worker may look up host names."""
        self.grants: list[dict] = [
            {key: take(grant, key, str) for key in ("path", "guest", "mode")} for grant in take(given, "grants", list, [])
        ]
        """The host's directories that a confined worker may use, each with its name for components and its mode."""
        self.secrets: dict[str, str] = take(given, "secrets", dict, {})
        """Variables to add to the environment before the plugin is imported."""
        self.limits: dict[str, int] = take(given, "limits", dict, {})
        self.log_level: str = take(given, "log_level", str, "info")
        self._given = given
        if len(self.token) < 16:
            raise WorkerError("protocol", "the host's token is too short to be a secret")

    def of(self, key: str) -> dict | None:
        """The setting of a module that runs plugins of one family; None where the host has none for it."""
        return None if self._given.get(key) is None else take(self._given, key, dict)


def take(given: dict, key: str, kind: type | tuple, default: object = None):
    """One setting, of the right type, or its default."""
    value = given.get(key, default)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise WorkerError("protocol", "the worker's setting %r is missing or of the wrong type" % key)
    return value


def read(channel: int) -> Settings:
    """Reads the host's line, and the listening socket that may come with it. The host sends nothing else on the channel."""
    line = b""
    listeners = array("i")
    incoming = socket.socket(fileno=os.dup(channel))
    try:
        while not line.endswith(b"\n"):
            piece, ancillary, _, _ = incoming.recvmsg(65536, socket.CMSG_SPACE(listeners.itemsize), CLOSE_ON_EXEC)
            if not piece or len(line) > MAX_LINE:
                raise WorkerError("protocol", "the host closed the channel before it sent the settings")
            line += piece
            for level, kind, data in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    listeners.frombytes(data[: len(data) - len(data) % listeners.itemsize])
    finally:
        incoming.close()
    try:
        given = json.loads(line)
    except ValueError as error:
        raise WorkerError("protocol", "the host's settings are not JSON: %s" % error) from None
    if not isinstance(given, dict):
        raise WorkerError("protocol", "the host's settings are not a JSON object")
    told = Settings(given)
    told.listener = listeners[0] if listeners else None
    return told
