"""Ending every process below the guard, also those that fork as fast as they can.

Most are killed at the first look, and the next finds nobody. Where it finds more, whatever is found is stopped first, until a
look finds nothing that runs: a process that is stopped starts no other, and sees no other end. Then all are killed. A process that
forks and exits at once is gone before a look at the whole table comes to it, so between two such looks only the newest processes are
looked at, again and again.
"""

from __future__ import annotations

import errno
import os
import signal
import time

MARKER = "BIVIUM_WORKER"
FREEZE_SECONDS = 0.3
"""How much processor time is spent on stopping them all; after that they are killed as they run."""
SWEEP_SECONDS = 1.0
"""How much of it all may take. A process in an uninterruptible system call is left to the kernel."""
WALL_SECONDS = 3.0
"""How long all may take where others have the processors."""
CHASE_SECONDS = 0.002
"""How long the newest processes are looked at between two looks at all, or as long as such a look took: there may be very
many processes. Processor time, too."""
NEWEST = 64
"""How many of the newest are looked at."""

STOPPED = (b"T", b"t")


class Process:
    """A process as a look found it."""

    def __init__(self, pid: int, fields: list[bytes]) -> None:
        self.pid = pid
        self.state = fields[0]
        self.parent = int(fields[1])
        self.group = int(fields[2])
        self.started = fields[19]
        # Where the first thread has ended and others run, the kernel calls the process a zombie all the same.
        self.has_ended = self.state == b"X" or (self.state == b"Z" and int(fields[17]) < 2)


def look(pid: int) -> Process | None:
    """The process with this number, if it lives."""
    try:
        with open("/proc/%d/stat" % pid, "rb", 0) as file:
            # The name, in brackets, may hold anything; what follows its last bracket may not.
            found = Process(pid, file.read().rpartition(b")")[2].split())
    except OSError:
        return None
    return None if found.has_ended else found


class Family:
    """The live processes of this worker but the guard, which the caller is."""

    def __init__(self, reap) -> None:
        self.me = os.getpid()
        # A host that gave us no group of our own shares its own with us: that one is not ours to end.
        self.group = self.me if os.getpgrp() == self.me else None
        mark = os.environ.get(MARKER)
        self.marker = ("%s=%s" % (MARKER, mark)).encode() if mark else None
        self.foreign: dict[int, bytes] = {}
        self.newest = 0
        self.chase_seconds = CHASE_SECONDS
        self.reap = reap
        self.quiet = False
        """Whether since the last look at all nothing of theirs was seen, and none of them has ended."""

    def all(self) -> list[Process]:
        """All of them, by a look at every process there is.

        Raises `OSError` where that cannot be done, for example for want of a file descriptor."""
        begun = time.process_time()
        table: dict[int, Process] = {}
        for number, name in enumerate(os.listdir("/proc")):
            found = look(int(name)) if name.isdigit() else None
            if found is not None:
                table[found.pid] = found
            if number % NEWEST == 0 and self.reap():
                # Those that end meanwhile may have started others.
                self.quiet = False
        if self.me not in table:
            raise OSError("processes cannot be looked at")
        ours = [found for found in table.values() if self.is_ours(found, table.get)]
        self.chase_seconds = max(CHASE_SECONDS, time.process_time() - begun)
        return ours

    def is_ours(self, found: Process, find) -> bool:
        """Whether it is below us, in our group, or carries our mark. `find` looks up its parents."""
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
        if self.marker is None or self.foreign.get(found.pid) == found.started:
            return False
        directory = "/proc/%d" % found.pid
        threads = [directory]
        if found.state == b"Z":
            # A thread that has ended has no environment any more; the others of its process have.
            try:
                threads = ["%s/task/%s" % (directory, name) for name in os.listdir(directory + "/task")]
            except OSError:
                return False
        if any(self.marker in environment(thread) for thread in threads):
            return True
        self.foreign[found.pid] = found.started
        return False

    def chase(self, number: int) -> None:
        """Signals those that were started last, as they come, for a moment."""
        self.quiet = True
        until = time.process_time() + self.chase_seconds
        while time.process_time() < until:
            newest = last_pid()
            # Numbers begin anew at the end of their range.
            first = self.newest + 1 if self.newest < newest else newest
            # The last one first: the others may have gone by now.
            for pid in range(newest, max(first, newest - NEWEST) - 1, -1):
                if send(pid, number, lambda found: self.is_ours(found, look)):
                    self.quiet = False
            self.newest = newest
            # A table full of those that have ended is slow to look at.
            if self.reap():
                self.quiet = False


def environment(directory: str) -> list[bytes]:
    """The variables that a process or thread was started with; none where they may not be read."""
    try:
        with open(directory + "/environ", "rb", 0) as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def last_pid() -> int:
    """The number that was given to a process last; 0 where that is not known."""
    try:
        with open("/proc/loadavg", "rb", 0) as file:
            return int(file.read().split()[-1])
    except (OSError, ValueError):
        return 0


def send(pid: int, number: int, is_meant) -> bool:
    """Signals a process if it is the one that is meant, and never another one that is given its number meanwhile.
    Says whether it was there."""
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
    """Signals these, as they were found."""
    for process in processes:
        send(process.pid, number, lambda now, then=process: now.started == then.started)


class Clock:
    """Says when so much processor time is used up, or the time is over."""

    def __init__(self) -> None:
        self.begun = time.process_time()
        self.deadline = time.monotonic() + WALL_SECONDS

    def over(self, seconds: float) -> bool:
        return time.process_time() - self.begun > seconds or time.monotonic() > self.deadline


def freeze(family: Family, clock: Clock) -> list[Process]:
    """Stops all of them, for as long as there are any that run; gives all that were found last."""
    told: dict[int, bytes] = {}
    while True:
        family.chase(signal.SIGSTOP)
        everyone = family.all()
        # One that waits in the kernel stops before it comes back from there.
        running = [found for found in everyone if found.state not in STOPPED]
        moving = [found for found in running if found.state != b"D" or told.get(found.pid) != found.started]
        if (not moving and family.quiet) or clock.over(FREEZE_SECONDS):
            return everyone
        send_all(moving, signal.SIGSTOP)
        told.update((found.pid, found.started) for found in moving)


def sweep(reap) -> int:
    """Ends all of them; gives how many are left, or 1 where they cannot be counted. `reap` takes off what has ended, and says
    whether anything had. Raises `OSError` where processes cannot be looked at."""
    clock = Clock()
    if os.getpid() == 1:
        return end_namespace(reap, clock)
    family = Family(reap)
    send_all(family.all(), signal.SIGKILL)
    family.chase(signal.SIGKILL)
    left = family.all()
    if left or not family.quiet:
        left = freeze(family, clock)
    while True:
        send_all(left, signal.SIGKILL)
        if not left and family.quiet:
            return 0
        if clock.over(SWEEP_SECONDS):
            return max(1, len(left))
        family.chase(signal.SIGKILL)
        left = family.all()


def end_namespace(reap, clock: Clock) -> int:
    """The same for the first process of a PID namespace, in which nobody else's are: one call reaches them all, and no fork
    gets past it."""
    while True:
        try:
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:
            return 0
        reap()
        if clock.over(SWEEP_SECONDS):
            # The kernel ends with us what is left.
            return 0
        time.sleep(0.0005)
