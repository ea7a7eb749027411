"""The guard: a parent process that never runs the plugin's code, and lets nothing outlive the worker.

It waits for whichever comes first: the host's end of the channel closes (the host died, however it died, or wants
the worker gone), the kernel signals that the thread that started us ended, or the worker ends. Then it kills what is
left below it and reports how the worker ended. It has an interpreter, and so an interpreter lock, of its own: a
plugin that holds the worker's for ever cannot delay it.

On Linux it is a *child subreaper*: by itself where it has `ctypes`, else by the host before exec. So whatever the
plugin starts stays below it, daemons that fork twice and leave the session among them, and is found by walking down
from here. The environment marker finds them where the host did not; elsewhere than on Linux the process group is all
there is.
"""

from __future__ import annotations

import os
import select
import signal
import sys

MARKER = "BIVIUM_WORKER"
SWEEP_SECONDS = 2.0
"""How long killed processes may take to go: one in an uninterruptible system call is left to the kernel."""


def fork(channel: int) -> None:
    """Forks. Returns in the child, which is to be the worker; the caller's process becomes the guard and exits."""
    host = os.getppid()
    tie()
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
        code = watch(worker, host, channel, wake, terms)
    finally:
        os._exit(code)


def tie() -> None:
    """Has the kernel signal us when the thread of the host that started us ends, and leave to us what is orphaned below.
    Until then there is nothing below, and a host that has died shows in its end of the channel."""
    if not sys.platform.startswith("linux"):
        return
    try:
        import ctypes

        libc = ctypes.CDLL(None)
    except (ImportError, OSError):
        return
    number = ctypes.c_ulong
    set_death_signal, set_child_subreaper = 1, 36
    libc.prctl(set_death_signal, number(signal.SIGTERM), number(0), number(0), number(0))
    libc.prctl(set_child_subreaper, number(1), number(0), number(0), number(0))


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


def watch(worker: int, host: int, channel: int, wake: int, terms: list[int]) -> int:
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
        status = reap(worker)
    status = sweep(worker, status)
    report(channel, status)
    if not sys.platform.startswith("linux") and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # us as well
    if status is None:
        return 1
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def sweep(worker: int, status: int | None) -> int | None:
    """Kills all that is left until nothing is; returns the worker's wait status if it is known."""
    import time

    deadline = time.monotonic() + SWEEP_SECONDS
    if status is None and not sys.platform.startswith("linux"):
        signal_quietly(worker, signal.SIGKILL)
    while True:
        # Scanned again until clean: a process that forks while we kill has left the list that we made.
        left = remaining()
        for pid, started in left:
            kill(pid, started)
        found = reap(worker)
        status = found if found is not None else status
        if (not left and status is not None) or time.monotonic() > deadline:
            return status
        time.sleep(0.001)


def reap(worker: int) -> int | None:
    """Takes every child that has ended (a subreaper has more than it forked); the worker's status if it is one."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == worker:
            found = status


def remaining() -> list[tuple[int, bytes]]:
    """All live processes of this worker but the guard, each with its start time."""
    me = os.getpid()
    # A host that gave us no group of our own shares its own with us: that one is not ours to kill.
    group = me if os.getpgrp() == me else None
    mark = os.environ.get(MARKER)
    marker = ("%s=%s" % (MARKER, mark)).encode() if mark else None
    table: dict[int, tuple[int, bytes]] = {}
    found: set[int] = set()
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
    for pid in pids:
        fields = stat(pid)
        if fields is None or fields[0] in (b"Z", b"X"):
            continue
        table[pid] = (int(fields[1]), fields[19])
        if int(fields[2]) == group or (marker and marked(pid, marker)):
            found.add(pid)
    for pid in table:
        above = pid
        while above in table and above != me:
            above = table[above][0]
        if above == me:
            found.add(pid)
    found.discard(me)
    return [(pid, table[pid][1]) for pid in sorted(found)]


def stat(pid: int) -> list[bytes] | None:
    """The fields of the kernel's process table from `state` (0) on: 1 is the parent, 2 the group, 19 the start."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            # The name, in brackets, may hold anything; what follows its last bracket may not.
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return None


def kill(pid: int, started: bytes) -> None:
    """Kills that very process, and never another one that was given its number meanwhile."""
    try:
        handle = os.pidfd_open(pid)
    except (AttributeError, OSError):  # an old kernel; or it is gone
        handle = None
    try:
        fields = stat(pid)
        if fields is None or fields[19] != started:
            return
        if handle is not None:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
    except OSError:
        pass
    finally:
        if handle is not None:
            os.close(handle)


def marked(pid: int, marker: bytes) -> bool:
    """Whether the process was started with this worker's mark in its environment."""
    try:
        with open("/proc/%d/environ" % pid, "rb") as file:
            return marker in file.read().split(b"\0")
    except OSError:
        return False


def signal_quietly(pid: int, number: int) -> None:
    """Signals a process that may be gone already."""
    try:
        os.kill(pid, number)
    except OSError:
        pass


def report(channel: int, status: int | None) -> None:
    """Tells the host, if it still listens, how the worker ended."""
    if status is None:
        what = '"status": null, "signal": null'
    elif os.WIFEXITED(status):
        what = '"status": %d, "signal": null' % os.WEXITSTATUS(status)
    else:
        what = '"status": null, "signal": %d' % os.WTERMSIG(status)
    # The worker may have died in the middle of a line of its own.
    line = '\n{"event": "exit", %s}\n' % what
    os.set_blocking(channel, False)
    try:
        os.write(channel, line.encode())
    except OSError:
        pass
