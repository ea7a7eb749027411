"""The worker process: reads its settings, loads the plugin, binds the socket, sends the handshake and serves calls."""

from __future__ import annotations

import faulthandler
import gc
import os
import _signal as signal
import _socket as socket
import sys

from . import PROTOCOL, children, errors, guard, late_logging, settings
from .calls import the_calls
from .channel import Channel
from .control import Control
from .errors import describe
from .executor import Executor
from .dispatcher import Dispatcher
from .plugin import load
from .wire import AccessCheck

BACKLOG = 128
LARGE_BLOCK = 1 << 20
SWITCH_S = 0.001
"""How long a thread keeps the interpreter lock when another wants it. A cancel takes the lock three times (wake, read,
signal). While the plugin runs a busy loop, each waits this long: with the default of 5 ms a cancel would take 15 ms."""


def run(fd: int, until_ready: int) -> int:
    """Runs the worker until it ends; returns its exit status."""
    children.install()
    channel = Channel(fd)
    children.undo(channel.close_in_child)
    try:
        dispatcher, control, port = prepare(fd, channel, until_ready)
    except BaseException as error:  # whatever it is, the host has to hear of it
        if children.is_child():
            children.end(error)
        channel.send({"event": "failed", "error": describe(error)})
        children.flush()
        # Not sys.exit, which would wait for threads that a half-imported plugin has started.
        os._exit(1)
    children.handle(signal.SIGTERM, dispatcher.stop)
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
    dispatcher.run()
    children.flush()
    return 0


def prepare(fd: int, channel: Channel, until_ready: int) -> tuple[Dispatcher, Control, int]:
    """Everything before the handshake that may fail."""
    # When the first large block is freed, glibc decides how much free memory to keep: twice the block's size. Otherwise it would
    # return memory to the kernel after each longer call, and ask for it again, page by page.
    bytes(LARGE_BLOCK)
    told = settings.read(fd)
    errors.hold(told.limits)
    if told.confined:
        # Imported only where it is needed: starting is to be quick.
        from . import denials

        denials.hold(True, told.private, told.lookups, told.grants)
        guard.protect_guard()
    # Not passed in the initial environment, which others may read in /proc/PID/environ.
    os.environ.update(told.secrets)
    listener = listening(told.listener)
    children.undo(listener.close)
    # A crash in native code writes its stack to stderr; the host shows the last lines.
    if not faulthandler.is_enabled():
        faulthandler.enable(all_threads=False)
        children.undo(faulthandler.disable)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    late_logging.install(channel, told.log_level)
    # Last, so that it hides no module. A process that the plugin spawns imports the plugin's module, which may import bivium_worker.
    sys.path.append(os.path.dirname(os.path.dirname(errors.HERE)))
    guard.await_guard(until_ready)
    gc.enable()
    plugin = load(told)
    sys.setswitchinterval(SWITCH_S)
    # Only once the plugin is loaded: if loading fails, no request is accepted or queued.
    if told.listener is None:
        listener.listen(BACKLOG)
    port = listener.getsockname()[1]
    calls = the_calls()
    control = Control(listener, AccessCheck(told.token, port, told.max_request_bytes), plugin, told, calls)
    executor = Executor(plugin, told, calls, control.later)
    dispatcher = Dispatcher(control, executor, plugin, told, calls)
    control.adopt = dispatcher.adopt
    for part in (calls, control, dispatcher):
        children.undo(part.close_in_child)
    return dispatcher, control, port


def listening(given: int | None) -> socket.socket:
    """The socket that the host handed over, or a new one, which does not listen yet."""
    if given is not None:
        listener = socket.socket(fileno=given)
        os.set_inheritable(given, False)
        return listener
    # A plain socket: the servers of the standard library look up the host's full name by DNS.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    return listener
