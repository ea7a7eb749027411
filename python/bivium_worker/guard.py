"""The guard: a parent process that never runs the plugin's code, and lets nothing outlive the worker.

It waits for whichever comes first: the host's end of the channel closes (the host died, however it died, or wants
the worker gone), the kernel signals that the thread that started us ended, or the worker ends. Then it kills what is
left below it and reports how the worker ended. It has an interpreter, and so an interpreter lock, of its own: a
plugin that holds the worker's for ever cannot delay it.

On Linux it is a *child subreaper*: by itself where it has `ctypes`, else by the host before exec. So whatever the
plugin starts stays below it, daemons that fork twice and leave the session among them, and is found by walking down
from here. The environment marker finds them where the host did not; elsewhere than on Linux the process group is all
there is. How they are ended is in `sweep`.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
import time

# Now: by the end somebody may have removed the files.
from .sweep import sweep

END_SECONDS = 1.0
"""How long the worker may take to end once it was killed."""
LINGER_SECONDS = 30.0
"""For how long what could not be ended is tried again. The host, if it lives, does the same, and ends us then."""

SWEEP_FILES = 64
"""How many open files are more than a sweep needs."""
AGAIN_SECONDS = 0.01
"""How long it rests in between: where processes cannot be looked at, an attempt takes no time."""


def fork(channel: int) -> None:
    """Forks. Returns in the child, which is to be the worker; the caller's process becomes the guard and exits."""
    host = os.getppid()
    is_subreaper = tie()
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    # Set before the fork: a host that dies right after it must not find the default action of SIGTERM.
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
        os.close(wake)
        os.close(waker)
        return
    code = 1
    try:
        let_go(channel, wake, waker)
        code = watch(worker, host, channel, wake, terms, is_subreaper)
    finally:
        os._exit(code)


def tie() -> bool:
    """Has the kernel signal us when the thread of the host that started us ends, and leave to us what is orphaned below.
    Gives whether it leaves us the orphans. Until then there is nothing below, and a host that has died shows in its end
    of the channel. The first process of a PID namespace has all of that already: the kernel kills it when that thread
    ends, and with it all others in there."""
    if not sys.platform.startswith("linux") or os.getpid() == 1:
        return False
    try:
        import ctypes

        libc = ctypes.CDLL(None)
    except (ImportError, OSError):
        return False
    number = ctypes.c_ulong
    set_death_signal, set_child_subreaper = 1, 36
    libc.prctl(set_death_signal, number(signal.SIGTERM), number(0), number(0), number(0))
    return libc.prctl(set_child_subreaper, number(1), number(0), number(0), number(0)) == 0


def out_of_reach() -> None:
    """Keeps the calling thread and all that it will start from signalling the guard, where the kernel knows how (Linux
    6.12): a plugin that could end its guard might outlive it. To be called by a worker that is confined already."""
    try:
        import ctypes

        libc = ctypes.CDLL(None)
    except (ImportError, OSError):
        return
    scope_signal = 2
    # No file and no port, which the host has seen to: `struct landlock_ruleset_attr` ends with what is scoped.
    attributes = (ctypes.c_uint64 * 3)(0, 0, scope_signal)
    number = ctypes.c_long
    ruleset = libc.syscall(number(444), attributes, number(ctypes.sizeof(attributes)), number(0))
    if ruleset >= 0:
        libc.syscall(number(446), number(ruleset), number(0))
        os.close(ruleset)


def let_go(*keep: int) -> None:
    """Closes all descriptors but `keep`: the plugin's stdout and stderr must end with the plugin."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    low = 3
    for fd in sorted(keep):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, low + 256)


def watch(worker: int, host: int, channel: int, wake: int, terms: list[int], is_subreaper: bool) -> int:
    """Waits for the end, sweeps, reports. Returns the status to exit with."""
    gone = getattr(select, "POLLRDHUP", 0) | select.POLLHUP
    poll = select.poll()
    poll.register(channel, gone)
    poll.register(wake, select.POLLIN)
    status = None
    host_gone = os.getppid() != host
    while status is None and not host_gone:
        for fd, _ in poll.poll():
            if fd == channel:
                host_gone = True
            else:
                os.read(wake, 512)
        if terms:
            terms.clear()
            if os.getppid() != host:
                host_gone = True
            else:
                signal_quietly(worker, signal.SIGTERM)
        _, status = reap(worker)
    left = 0
    if not (is_subreaper and childless()):
        make_room()
        status, left = end_all(worker, status)
    report(channel, status, left)
    until = time.monotonic() + LINGER_SECONDS
    while left and time.monotonic() < until:
        time.sleep(AGAIN_SECONDS)
        _, left = end_all(worker, status)
    if not sys.platform.startswith("linux") and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # us as well
    if status is None:
        return 1
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def childless() -> bool:
    """Whether nothing is below us. To be asked by a subreaper: what it started, and whatever was orphaned below, is its child
    until it is waited for."""
    every_kind = 0x40000000  # __WALL
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT | every_kind)
    except ChildProcessError:
        return True
    except OSError:
        pass
    return False


def make_room() -> None:
    """Makes room for the files that a sweep opens, whatever the plugin has set the guard's limit of open files to."""
    # The limit is one of numbers, and these are the lowest.
    for fd in (0, 1, 2):
        os.close(fd)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for limit in (hard, SWEEP_FILES):
        if limit < SWEEP_FILES and limit != resource.RLIM_INFINITY:
            continue
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            return
        except (OSError, ValueError):  # only an administrator raises what was lowered for good
            pass


def end_all(worker: int, status: int | None) -> tuple[int | None, int]:
    """Ends all that is left; gives the worker's wait status, if it is known, and how many processes are left."""
    known = [status]

    def take_off() -> bool:
        ended, found = reap(worker)
        if found is not None:
            known[0] = found
        return ended > 0

    # They are many where processes hop, and nobody waits for the news.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if status is None and not sys.platform.startswith("linux"):
        signal_quietly(worker, signal.SIGKILL)
    try:
        left = sweep(take_off)
    except OSError:  # one at least is not known to be gone; elsewhere than on Linux there is no way to see any
        left = 1 if sys.platform.startswith("linux") else 0
    # What was killed takes a moment to end.
    deadline = time.monotonic() + END_SECONDS
    while known[0] is None and not left and time.monotonic() < deadline:
        time.sleep(0.001)
        take_off()
    return known[0], left


def reap(worker: int) -> tuple[int, int | None]:
    """Takes every child that has ended (a subreaper has more than it forked); gives their number, and the worker's status
    if it is one."""
    ended, found = 0, None
    # Some at a time: there may be new ones for ever.
    while ended < 1000:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid == 0:
            break
        ended += 1
        if pid == worker:
            found = status
    return ended, found


def signal_quietly(pid: int, number: int) -> None:
    """Signals a process that may be gone already."""
    try:
        os.kill(pid, number)
    except OSError:
        pass


def report(channel: int, status: int | None, left: int) -> None:
    """Tells the host, if it still listens, how the worker ended, and how many processes could not be ended."""
    if status is None:
        what = '"status": null, "signal": null'
    elif os.WIFEXITED(status):
        what = '"status": %d, "signal": null' % os.WEXITSTATUS(status)
    else:
        what = '"status": null, "signal": %d' % os.WTERMSIG(status)
    if left:
        what += ', "left": %d' % left
    # The worker may have died in the middle of a line of its own.
    line = '\n{"event": "exit", %s}\n' % what
    os.set_blocking(channel, False)
    try:
        os.write(channel, line.encode())
    except OSError:
        pass
