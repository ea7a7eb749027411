"""Processes that the plugin forks. They get the signals of a fresh Python and none of the worker's descriptors.

The worker handles SIGTERM, SIGINT and the signal that interrupts a call. A forked process inherits handlers, so the
hooks here put the defaults back, unless the plugin has set its own handler meanwhile. A program that is started by
exec needs nothing: the kernel resets handlers, and the worker ignores no signal by `SIG_IGN`, which exec would keep.

The hooks work in the children of the worker only. Their own children have nothing left to undo.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

LOCK = threading.RLock()
"""Held to fork, and to open, list or close a descriptor that a child must let go of: so no child gets one unlisted."""

PATIENCE_S = 1.0
"""How long a fork waits for the lock: whoever holds it has to wait for the forking thread, if a finalizer wants it so."""

FRESH = {signal.SIGINT: signal.default_int_handler}
"""What a fresh Python does with a signal, where that is not the default action."""

_ours: dict[int, object] = {}
_undo: list = []
_forks: dict[int, list] = {}
"""By thread, for each fork that is under way: the signals blocked before, and whether the lock is held."""
_child = False


def install() -> None:
    """Registers the hooks. To be called before the plugin's code runs."""
    # A Ctrl-C on a terminal reaches the host as well, which decides what becomes of us.
    handle(signal.SIGINT, ignore)
    signal.siginterrupt(signal.SIGINT, False)
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
    if sys.version_info < (3, 10):
        _run_hooks_before_exec()


def _run_hooks_before_exec() -> None:
    """What `multiprocessing` spawns with such a Python is forked without the hooks, and nobody waits for the exec: a SIGTERM that
    came before it was lost in the worker's handler. The hooks run where there is something to call before the exec."""
    import _posixsubprocess

    plain = _posixsubprocess.fork_exec

    def fork_exec(*args):
        # Signals are restored by `subprocess`, which waits for the exec; the last one is what is called before it.
        if len(args) == 21 and not args[14] and args[20] is None:
            args = (*args[:20], int)
        return plain(*args)

    _posixsubprocess.fork_exec = fork_exec


def ignore(*_signal) -> None:
    """A handler that does nothing."""


def handle(number: int, handler) -> None:
    """Sets a handler that children do not inherit."""
    _ours[number] = handler
    signal.signal(number, handler)


def undo(function) -> None:
    """Has `function` called in each child of the worker. It must not raise."""
    _undo.append(function)


def is_child() -> bool:
    """Whether this process was forked by the plugin."""
    return _child


def end(failure: BaseException | None) -> None:
    """Ends a child that has come back to the worker's code, as the end of a Python program would. The call is its
    parent's to answer."""
    status = 0
    if isinstance(failure, SystemExit):
        status = failure.code
        if status is not None and not isinstance(status, int):
            print(status, file=sys.stderr)
            status = 1
    elif failure is not None:
        status = 1
        sys.excepthook(type(failure), failure, failure.__traceback__)
    flush()
    os._exit((status or 0) & 0xFF)


def flush() -> None:
    """Writes out what the plugin has printed."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # the plugin may have put anything in their places
            pass


def _before() -> None:
    if _child:
        return
    # A signal that comes between the fork and `_in_child` waits for the right handler. (A plugin's handler may run
    # at any point here and fork as well: hence a stack, and a lock that can be taken twice.)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, list(_ours))
    locked = LOCK.acquire(timeout=PATIENCE_S)
    _forks.setdefault(threading.get_ident(), []).append((mask, locked))


def _in_parent() -> None:
    if not _child:
        _after()


def _after() -> None:
    mine = _forks[threading.get_ident()]
    mask, locked = mine.pop()
    if not mine:
        del _forks[threading.get_ident()]
    if locked:
        LOCK.release()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _in_child() -> None:
    global _child
    if _child:
        return
    _child = True
    for number, handler in _ours.items():
        if signal.getsignal(number) == handler:
            signal.signal(number, FRESH.get(number, signal.SIG_DFL))
    # Of an event loop in the parent, where a number written by a child would be taken for a signal of its own.
    signal.set_wakeup_fd(-1)
    for function in _undo:
        function()
    _undo.clear()
    _after()
