"""What the guard does after its fork: it waits for the end, ends every process below it, and reports. See `guard`."""

from __future__ import annotations

import os
import resource
import select
import _signal as signal
import sys
import time

from .descendants import kill_descendants

END_SECONDS = 1.0
"""How long the worker may take to end after it was killed."""
LINGER_SECONDS = 30.0
"""For how long ending the remaining processes is tried again. The host, if it lives, does the same, and then ends the guard."""

KILL_FILES = 64
"""A number of open files that is enough for `kill_descendants`."""
AGAIN_SECONDS = 0.01
"""The pause between two attempts: an attempt takes no time if processes cannot be listed."""


def set_up_signals() -> bool:
    """Asks the kernel to signal this process when the host's thread that started it ends, and to make it the parent of orphaned
    descendants (a subreaper). Returns whether it is a subreaper. Until then there is only the worker, and if the host dies the
    channel closes. The first process of a PID namespace needs neither: the kernel kills it when that thread ends, and
    with it all others in the namespace."""
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


def close_others(*keep: int) -> None:
    """Closes all descriptors except `keep`: the plugin's stdout and stderr must be closed when the plugin ends."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    low = 3
    for fd in sorted(keep):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, low + 256)


def watch(worker: int, host: int, channel: int, wake: int, terms: list[int], is_subreaper: bool) -> int:
    """Waits for the end, ends what is left, and reports. Returns the exit status of the guard."""
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
        raise_file_limit()
        status, left = end_all(worker, status)
    report(channel, status, left)
    until = time.monotonic() + LINGER_SECONDS
    while left and time.monotonic() < until:
        time.sleep(AGAIN_SECONDS)
        _, left = end_all(worker, status)
    if not sys.platform.startswith("linux") and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # this process as well
    if status is None:
        return 1
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def childless() -> bool:
    """Whether there are no processes below this one. Only valid for a subreaper: the processes that it started, and all orphans
    below, are its children until it waits for them."""
    every_kind = 0x40000000  # __WALL
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT | every_kind)
    except ChildProcessError:
        return True
    except OSError:
        pass
    return False


def raise_file_limit() -> None:
    """Makes sure that `kill_descendants` can open files, even if the plugin has lowered the guard's limit of open files."""
    # The limit is the highest descriptor number; these three are the lowest.
    for fd in (0, 1, 2):
        os.close(fd)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for limit in (hard, KILL_FILES):
        if limit < KILL_FILES and limit != resource.RLIM_INFINITY:
            continue
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            return
        except (OSError, ValueError):  # only an administrator can raise a hard limit
            pass


def end_all(worker: int, status: int | None) -> tuple[int | None, int]:
    """Ends all processes that are left; returns the worker's wait status, if it is known, and how many processes are left."""
    known = [status]

    def reap_ended() -> bool:
        ended, found = reap(worker)
        if found is not None:
            known[0] = found
        return ended > 0

    # Nobody needs this signal now, and there are very many if processes fork all the time.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if status is None and not sys.platform.startswith("linux"):
        signal_quietly(worker, signal.SIGKILL)
    try:
        left = kill_descendants(reap_ended)
    except OSError:  # at least one may be left; on other systems than Linux none can be seen
        left = 1 if sys.platform.startswith("linux") else 0
    # A killed process takes a moment to end.
    deadline = time.monotonic() + END_SECONDS
    while known[0] is None and not left and time.monotonic() < deadline:
        time.sleep(0.001)
        reap_ended()
    return known[0], left


def reap(worker: int) -> tuple[int, int | None]:
    """Waits for every child that has ended (a subreaper has also orphans as children); returns their number, and the worker's
    status if it is among them."""
    ended, found = 0, None
    # A limited number: new ones may end all the time.
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
    """Signals a process; no error if it is gone already."""
    try:
        os.kill(pid, number)
    except OSError:
        pass


def report(channel: int, status: int | None, left: int) -> None:
    """Tells the host, if it still reads the channel, how the worker ended, and how many processes could not be ended."""
    if status is None:
        what = '"status": null, "signal": null'
    elif os.WIFEXITED(status):
        what = '"status": %d, "signal": null' % os.WEXITSTATUS(status)
    else:
        what = '"status": null, "signal": %d' % os.WTERMSIG(status)
    if left:
        what += ', "left": %d' % left
    # The worker may have died while it wrote a line.
    line = '\n{"event": "exit", %s}\n' % what
    os.set_blocking(channel, False)
    try:
        os.write(channel, line.encode())
    except OSError:
        pass
