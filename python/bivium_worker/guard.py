"""The guard: a parent process that never runs the plugin's code, and ends all processes of the worker.

It waits for the first of these events: the host's end of the channel closes (the host has died, or wants
the worker to end), the kernel signals that the host's thread that started the guard has ended, or the worker ends. Then it
kills all processes that are left below it and reports how the worker ended. It has an interpreter lock of its own: a
plugin that keeps the worker's lock for ever cannot delay it.

On Linux it is a *child subreaper*: it makes itself one with `ctypes`; without `ctypes` the host does so before exec. So every
process that the plugin starts stays below it, also daemons that fork twice and leave the session, and is found by its parents.
Without a subreaper they are found by a variable in their environment. On other systems than Linux only the process
group is ended. `descendants` describes how they are ended.

Here is its fork; `watch` is what only the guard does, and imports.
"""

from __future__ import annotations

import gc
import os
import _signal as signal


def fork(channel: int) -> int:
    """Forks. Returns in the child, which becomes the worker; the calling process becomes the guard and does not return. The result is
    for `await_guard`."""
    host = os.getppid()
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    until_ready, ready = os.pipe()
    # Set before the fork: if the host dies right after it, SIGTERM must not have its default action.
    terms: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: terms.append(1))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    worker = os.fork()
    if worker == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for fd in (wake, waker, ready):
            os.close(fd)
        return until_ready
    code = 1
    try:
        # At once: when it is needed, the files may have been removed.
        from . import watch

        is_subreaper = watch.set_up_signals()
        gc.enable()
        # This closes `ready` as well.
        watch.close_others(channel, wake, waker)
        code = watch.watch(worker, host, channel, wake, terms, is_subreaper)
    finally:
        os._exit(code)


def await_guard(until_ready: int) -> None:
    """Waits until the guard can do its work. To be called before the plugin's code runs, which may start processes. Meanwhile both
    import what they need."""
    os.read(until_ready, 1)
    os.close(until_ready)


def protect_guard() -> None:
    """Forbids the calling thread, and all processes and threads that it starts, to signal the guard, if the kernel supports it
    (Linux 6.12): a plugin that could kill its guard might outlive it. To be called by a worker that is confined already."""
    try:
        import ctypes

        libc = ctypes.CDLL(None)
    except (ImportError, OSError):
        return
    scope_signal = 2
    # `struct landlock_ruleset_attr`: no rules for files and ports, which the host has set already; only the scope.
    attributes = (ctypes.c_uint64 * 3)(0, 0, scope_signal)
    number = ctypes.c_long
    ruleset = libc.syscall(number(444), attributes, number(ctypes.sizeof(attributes)), number(0))
    if ruleset >= 0:
        libc.syscall(number(446), number(ruleset), number(0))
        os.close(ruleset)
