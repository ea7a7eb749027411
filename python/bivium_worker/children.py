"""Processes that the plugin forks. They get Python's default signal handlers and none of the worker's descriptors.

The worker handles SIGTERM, SIGINT and the signal that interrupts a call. A forked process inherits handlers, so the
hooks here restore the defaults, unless the plugin has set a handler of its own. Programs that are started by
exec need no hook: the kernel resets handlers, and the worker ignores no signal by `SIG_IGN`, which exec would keep.

The hooks act only in children of the worker. In children of these there is nothing left to undo.
"""

from __future__ import annotations

import os
import _signal as signal
import sys
import threading

LOCK = threading.RLock()
"""Held during a fork, and while a descriptor that children must close is opened, recorded or closed. So no child inherits one
that is not recorded."""

LOCK_TIMEOUT_S = 1.0
"""How long a fork waits for the lock. The thread that holds it may be waiting for the forking thread, in a finalizer."""

FRESH = {signal.SIGINT: signal.default_int_handler}
"""Signals for which Python has a handler of its own, in place of the default action."""

_handlers: dict[int, object] = {}
_undo: list = []
_forks: dict[int, list] = {}
"""By thread, for each fork in progress: the signals blocked before, and whether the lock is held."""
_child = False


def install() -> None:
    """Registers the hooks. To be called before the plugin's code runs."""
    # A Ctrl-C on a terminal reaches the host as well, which decides whether the worker ends.
    handle(signal.SIGINT, ignore)
    signal.siginterrupt(signal.SIGINT, False)
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
    if sys.version_info < (3, 10):
        _run_hooks_before_exec()


def _run_hooks_before_exec() -> None:
    """In these versions `multiprocessing` forks without the hooks and does not wait for the exec: a SIGTERM that arrives before
    the exec would only run the worker's handler. Python runs the hooks if there is a function to call before the exec."""
    import _posixsubprocess

    plain = _posixsubprocess.fork_exec

    def fork_exec(*args):
        # `subprocess` restores signals (args[14]) and waits for the exec. The last argument is called before the exec.
        if len(args) == 21 and not args[14] and args[20] is None:
            args = (*args[:20], int)
        return plain(*args)

    _posixsubprocess.fork_exec = fork_exec


def ignore(*_signal) -> None:
    """A handler that does nothing."""


def handle(number: int, handler) -> None:
    """Sets a handler that children do not inherit."""
    _handlers[number] = handler
    signal.signal(number, handler)


def undo(function) -> None:
    """Calls `function` in each child of the worker. It must not raise."""
    _undo.append(function)


def is_child() -> bool:
    """Whether this process was forked by the plugin."""
    return _child


def end(failure: BaseException | None) -> None:
    """Ends a child that has returned to the worker's code, as a Python program ends. Only the parent answers the
    call."""
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
    """Flushes what the plugin has printed."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # the plugin may have replaced them by anything
            pass


def _before() -> None:
    if _child:
        return
    # A signal between the fork and `_in_child` waits until the right handler is set. (A handler of the plugin may run
    # at any point here and fork as well: hence a stack, and a lock that can be taken twice.)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, list(_handlers))
    locked = LOCK.acquire(timeout=LOCK_TIMEOUT_S)
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
    for number, handler in _handlers.items():
        if signal.getsignal(number) == handler:
            signal.signal(number, FRESH.get(number, signal.SIG_DFL))
    # An event loop in the parent would take a number that the child writes for a signal of its own.
    signal.set_wakeup_fd(-1)
    for function in _undo:
        function()
    _undo.clear()
    _after()
