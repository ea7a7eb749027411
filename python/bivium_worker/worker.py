"""The worker proper: settings in, plugin loaded, socket bound, handshake out, calls served."""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys

from . import PROTOCOL, children, denials, errors, guard, settings
from .calls import the_calls
from .channel import Channel
from .control import Control
from .errors import describe
from .executor import Executor
from .lane import Lane
from .plugin import load
from .wire import Gate

BACKLOG = 128
LARGE_BLOCK = 1 << 20
SWITCH_S = 0.001
"""How long a thread keeps the interpreter lock when another wants it. A cancel takes it three times (wake, read,
signal) against a loop that never lets go by itself: at the default of 5 ms it would take 15."""


def run(fd: int) -> int:
    """Runs the worker to its end; gives its exit status."""
    children.install()
    channel = Channel(fd)
    children.undo(channel.let_go)
    try:
        lane, control, port = prepare(fd, channel)
    except BaseException as error:  # whatever it is, the host has to hear of it
        if children.is_child():
            children.end(error)
        channel.send({"event": "failed", "error": describe(error)})
        children.flush()
        # Not by sys.exit: a thread that a half-imported plugin left behind would keep us.
        os._exit(1)
    children.handle(signal.SIGTERM, lane.stop)
    control.start()
    channel.send(
        {
            "event": "ready",
            "protocol": PROTOCOL,
            "port": port,
            "pid": os.getpid(),
            "python": "%d.%d.%d" % sys.version_info[:3],
        }
    )
    lane.run()
    children.flush()
    return 0


def prepare(fd: int, channel: Channel) -> tuple[Lane, Control, int]:
    """All that may fail before the handshake."""
    # By the first large block that is given back glibc learns how much free memory to keep, twice its size: else it gives
    # what each call of some length needs back to the kernel, and asks for it again, page by page.
    bytes(LARGE_BLOCK)
    told = settings.read(fd)
    errors.hold(told.limits)
    denials.hold(told.confined, told.private, told.lookups, told.grants)
    if told.confined:
        guard.out_of_reach()
    # Not from the start on: whoever may read /proc/PID/environ sees what a process was started with.
    os.environ.update(told.secrets)
    listener = listening(told.listener)
    children.undo(listener.close)
    # A crash in native code leaves its stack on stderr, where the host finds the last lines.
    if not faulthandler.is_enabled():
        faulthandler.enable(all_threads=False)
        children.undo(faulthandler.disable)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    from . import logs

    logs.install(channel, told.log_level)
    # Last, so that it hides nothing. A process that the plugin spawns imports the plugin's module, which may import us.
    sys.path.append(os.path.dirname(os.path.dirname(errors.HERE)))
    plugin = load(told)
    sys.setswitchinterval(SWITCH_S)
    # Not before the plugin is there: nothing is served, and nothing is queued, for one that fails to load.
    if told.listener is None:
        listener.listen(BACKLOG)
    port = listener.getsockname()[1]
    calls = the_calls()
    control = Control(listener, Gate(told.token, port, told.max_request_bytes), plugin, told, calls)
    executor = Executor(plugin, told, calls, control.later)
    lane = Lane(control, executor, plugin, told, calls)
    control.adopt = lane.adopt
    for part in (calls, control, lane):
        children.undo(part.let_go)
    return lane, control, port


def listening(given: int | None) -> socket.socket:
    """The socket that the host handed over, or one of our own, which does not listen yet."""
    if given is not None:
        listener = socket.socket(fileno=given)
        listener.set_inheritable(False)
        return listener
    # Python's own answer to a socket's full name is a DNS query; a plain socket does not ask.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    return listener
