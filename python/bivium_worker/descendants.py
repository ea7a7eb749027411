"""Ends every process below the guard, also those that fork as fast as they can.

Usually the first scan of the process table finds all of them, they are killed, and the next scan finds none. If it finds more, all
that are found are stopped first, until a scan finds none that runs: a stopped process starts no other, and does not notice that
another ends. Then all are killed. A process that forks and exits at once is gone before a scan of the whole table reaches it, so
between two scans only the newest processes are looked up, again and again.
"""

from __future__ import annotations

import errno
import os
import signal
import time

MARKER = "BIVIUM_WORKER"
STOP_SECONDS = 0.3
"""How much processor time may be spent on stopping them all; after that they are killed while they run."""
KILL_SECONDS = 1.0
"""How much processor time everything together may take. A process in an uninterruptible system call is left to the kernel."""
WALL_SECONDS = 3.0
"""How much wall-clock time everything may take, where other programs use the processors."""
NEWEST_SECONDS = 0.002
"""For how long the newest processes are looked up between two scans, in processor time; at least as long as the last scan took,
as there may be very many processes."""
NEWEST = 64
"""How many of the newest processes are looked up."""

STOPPED = (b"T", b"t")


class Process:
    """A process, as it was when it was looked up."""

    def __init__(self, pid: int, fields: list[bytes]) -> None:
        self.pid = pid
        self.state = fields[0]
        self.parent = int(fields[1])
        self.group = int(fields[2])
        self.started = fields[19]
        # The kernel reports a zombie also when only the first thread has ended and others run.
        self.has_ended = self.state == b"X" or (self.state == b"Z" and int(fields[17]) < 2)


def look(pid: int) -> Process | None:
    """The process with this id, if it lives."""
    try:
        with open("/proc/%d/stat" % pid, "rb", 0) as file:
            # The process chooses its name, in parentheses; the fields after the last parenthesis are the kernel's.
            found = Process(pid, file.read().rpartition(b")")[2].split())
    except OSError:
        return None
    return None if found.has_ended else found


class Descendants:
    """The live processes of this worker except the guard, which is the calling process."""

    def __init__(self, reap) -> None:
        self.me = os.getpid()
        # Without a process group of its own the guard is in the host's, which must not be ended.
        self.group = self.me if os.getpgrp() == self.me else None
        mark = os.environ.get(MARKER)
        self.marker = ("%s=%s" % (MARKER, mark)).encode() if mark else None
        self.unmarked: dict[int, bytes] = {}
        self.newest = 0
        self.newest_seconds = NEWEST_SECONDS
        self.reap = reap
        self.quiet = False
        """Whether since the last scan no descendant was found, and none has ended."""

    def all(self) -> list[Process]:
        """All of them, by a scan of the process table.

        Raises `OSError` if the table cannot be read, for example if there is no free file descriptor."""
        begun = time.process_time()
        table: dict[int, Process] = {}
        for number, name in enumerate(os.listdir("/proc")):
            found = look(int(name)) if name.isdigit() else None
            if found is not None:
                table[found.pid] = found
            if number % NEWEST == 0 and self.reap():
                # A process that has ended meanwhile may have started others.
                self.quiet = False
        if self.me not in table:
            raise OSError("/proc cannot be read")
        found = [found for found in table.values() if self.is_descendant(found, table.get)]
        self.newest_seconds = max(NEWEST_SECONDS, time.process_time() - begun)
        return found

    def is_descendant(self, found: Process, find) -> bool:
        """Whether the process is below the guard, in its group, or has the worker's mark. `find` looks up parents."""
        if found.pid == self.me:
            return False
        if found.parent == self.me or found.group == self.group:
            return True
        above = found
        while above is not None and above.parent != self.me:
            above = find(above.parent)
        return above is not None or self.is_marked(found)

    def is_marked(self, found: Process) -> bool:
        """Whether the process was started with this worker's mark in its environment."""
        if self.marker is None or self.unmarked.get(found.pid) == found.started:
            return False
        directory = "/proc/%d" % found.pid
        threads = [directory]
        if found.state == b"Z":
            # A thread that has ended has no environment any more; the other threads of its process have.
            try:
                threads = ["%s/task/%s" % (directory, name) for name in os.listdir(directory + "/task")]
            except OSError:
                return False
        if any(self.marker in environment(thread) for thread in threads):
            return True
        self.unmarked[found.pid] = found.started
        return False

    def signal_newest(self, number: int) -> None:
        """Signals the processes that were started last, and new ones as they appear, for a short time."""
        self.quiet = True
        until = time.process_time() + self.newest_seconds
        while time.process_time() < until:
            newest = last_pid()
            # Process ids start again at the end of their range.
            first = self.newest + 1 if self.newest < newest else newest
            # The newest first: the others may be gone by now.
            for pid in range(newest, max(first, newest - NEWEST) - 1, -1):
                if send(pid, number, lambda found: self.is_descendant(found, look)):
                    self.quiet = False
            self.newest = newest
            # Scans are slow while the table is full of processes that have ended.
            if self.reap():
                self.quiet = False


def environment(directory: str) -> list[bytes]:
    """The environment variables that a process or thread was started with; empty if they may not be read."""
    try:
        with open(directory + "/environ", "rb", 0) as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def last_pid() -> int:
    """The id of the process that was started last; 0 if it is not known."""
    try:
        with open("/proc/loadavg", "rb", 0) as file:
            return int(file.read().split()[-1])
    except (OSError, ValueError):
        return 0


def send(pid: int, number: int, is_meant) -> bool:
    """Signals a process if `is_meant` accepts it, and never another process that gets the same id meanwhile.
    Returns whether it was there."""
    try:
        handle = os.pidfd_open(pid)
    except AttributeError:  # another system
        handle = None
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EMFILE):  # it is gone
            return False
        handle = None
    try:
        found = look(pid)
        if found is None or not is_meant(found):
            return False
        if handle is not None:
            signal.pidfd_send_signal(handle, number)
        else:
            os.kill(pid, number)
    except OSError:
        pass
    finally:
        if handle is not None:
            os.close(handle)
    return True


def send_all(processes: list[Process], number: int) -> None:
    """Signals these processes, if they are still the same ones."""
    for process in processes:
        send(process.pid, number, lambda now, then=process: now.started == then.started)


class Clock:
    """Measures the processor time and the wall-clock time that were used."""

    def __init__(self) -> None:
        self.begun = time.process_time()
        self.deadline = time.monotonic() + WALL_SECONDS

    def over(self, seconds: float) -> bool:
        return time.process_time() - self.begun > seconds or time.monotonic() > self.deadline


def stop_all(descendants: Descendants, clock: Clock) -> list[Process]:
    """Stops all of them, until a scan finds none that runs; returns those that the last scan found."""
    signalled: dict[int, bytes] = {}
    while True:
        descendants.signal_newest(signal.SIGSTOP)
        everyone = descendants.all()
        # A process that waits in the kernel (state D) stops before it returns from there.
        running = [found for found in everyone if found.state not in STOPPED]
        moving = [found for found in running if found.state != b"D" or signalled.get(found.pid) != found.started]
        if (not moving and descendants.quiet) or clock.over(STOP_SECONDS):
            return everyone
        send_all(moving, signal.SIGSTOP)
        signalled.update((found.pid, found.started) for found in moving)


def kill_descendants(reap) -> int:
    """Ends all of them; returns how many are left, or 1 if they cannot be counted. `reap` waits for those that have ended, and
    returns whether there were any. Raises `OSError` if /proc cannot be read."""
    clock = Clock()
    if os.getpid() == 1:
        return end_namespace(reap, clock)
    descendants = Descendants(reap)
    send_all(descendants.all(), signal.SIGKILL)
    descendants.signal_newest(signal.SIGKILL)
    left = descendants.all()
    if left or not descendants.quiet:
        left = stop_all(descendants, clock)
    while True:
        send_all(left, signal.SIGKILL)
        if not left and descendants.quiet:
            return 0
        if clock.over(KILL_SECONDS):
            return max(1, len(left))
        descendants.signal_newest(signal.SIGKILL)
        left = descendants.all()


def end_namespace(reap, clock: Clock) -> int:
    """The same for the first process of a PID namespace, which contains only the worker's processes: one call signals them all,
    and no fork can escape it."""
    while True:
        try:
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:
            return 0
        reap()
        if clock.over(KILL_SECONDS):
            # When this process ends, the kernel kills all others of the namespace.
            return 0
        time.sleep(0.0005)
