"""Why a confined plugin could not use a socket or look up a host, and which host it wanted to reach."""

from __future__ import annotations

import errno
import os
import socket

from . import grants
from .causes import in_library
from .error_fields import frames, last_frame
from .findings import ALL, FILESYSTEM, CONFINED, NETWORK, Finding

CONNECTIONS = CONFINED + "connections need permissions.network, and no confined plugin may listen for them"
NAMES = CONFINED + "to look up host names it needs those names in permissions.network"
UNIX = (
    "a confined plugin cannot use Unix sockets if it has permissions.network, if it is granted a directory at or above /run, /tmp or "
    "a home directory, or if the machine has no mount namespaces"
)
HOSTS_SOCKET = CONFINED + "to use a Unix socket of the host it needs the socket's directory in permissions.filesystem"

BAD_QUESTIONS = frozenset(
    getattr(socket, name, None) for name in ("EAI_BADFLAGS", "EAI_FAMILY", "EAI_MEMORY", "EAI_SERVICE", "EAI_SOCKTYPE")
)
"""Errors of a look-up that come from wrong arguments."""
LOCALS = 1000
"""How many local variables of a frame are looked at at most."""
CONNECTING = frozenset({"http", "socketserver.py", "socket.py", "ssl.py", "asyncio"})


def looked_up(error: BaseException) -> Finding:
    """The denial of a look-up."""
    host = next((host for host, _ in targets(error)), None)
    return Finding(NAMES, NETWORK, "dns://%s" % host if host else "a look-up")


def refused(error: BaseException, number: int) -> Finding:
    """The denial of a system call that names no file."""
    if any(is_unix(frame) for frame in frames(error)):
        return Finding(UNIX, ALL, "a Unix socket")
    frame = last_frame(error)
    if not is_plain_socket(frame) and (frame is None or not is_connecting(frame)):
        return Finding(grants.CALLS, ALL, "a system call")
    target = next((tcp(host, port) for host, port in targets(error) if port is not None), "a connection")
    return Finding(CONNECTIONS, NETWORK, target)


def absent() -> Finding | None:
    """The denial of a Unix socket that does not exist for the plugin, but may exist on the host."""
    return Finding(HOSTS_SOCKET, FILESYSTEM, "a Unix socket") if grants.has_own_root() else None


def tcp(host: str, port: int) -> str:
    """A target as the audit log writes it."""
    return "tcp://%s:%d" % ("[%s]" % host if ":" in host else host, port)


def is_plain_socket(frame) -> bool:
    """Whether a frame has a socket among its local variables, as code has that makes a connection itself."""
    if frame is None:
        return False
    return any(isinstance(value, socket.socket) for value in list(frame.f_locals.values())[:LOCALS])


def is_connecting(frame) -> bool:
    """Whether a frame is in the modules of the standard library that make connections."""
    return in_library(frame).partition(os.sep)[0] in CONNECTING


def is_unix(frame) -> bool:
    """Whether a frame is in the standard library's code that makes a Unix socket."""
    return in_library(frame) == "socket.py" and frame.f_locals.get("family") == getattr(socket, "AF_UNIX", -1)


def targets(error: BaseException) -> list[tuple[str, int | None]]:
    """The hosts and ports that the standard library was connecting to, found in its frames. Runs no code of the plugin."""
    found = []
    for frame in frames(error):
        if not is_connecting(frame):
            continue
        local = frame.f_locals
        address = local.get("address")
        host, port = address[:2] if type(address) is tuple and len(address) >= 2 else (local.get("host"), local.get("port"))
        if type(host) is str:
            # Credentials of a URL must not be recorded.
            found.append((host.rpartition("@")[2], port if type(port) is int else None))
    return found
