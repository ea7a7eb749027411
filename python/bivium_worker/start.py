"""From the first instruction to the handshake: who takes which descriptor, who forks, what is told to the host.

The host hands over three descriptors: 0 is a private, two-way socket to it (the *channel*), 1 and 2 are the
plugin's stdout and stderr. Whatever else a host had open without the mark "close on exec" is closed first. The channel leaves
0 at once, so that no `input()` of the plugin reads it, no `print` writes to it, and no program that the plugin starts inherits it.
"""

from __future__ import annotations

import os
import sys

from . import guard

HIGH_FD = 200
"""Out of the way of code that closes or counts on small descriptors."""


def main() -> None:
    """Runs a worker to its end; never returns."""
    close_inherited()
    channel = claim_channel()
    guard.fork(channel)
    # From here on we are the worker proper; the guard has stayed behind in the line above.
    from .worker import run

    sys.exit(run(channel))


def close_inherited() -> None:
    """Closes what the host happened to have open. What this interpreter has opened itself is closed on exec, and stays."""
    for directory in ("/proc/self/fd", "/dev/fd"):
        try:
            found = [int(name) for name in os.listdir(directory)]
            break
        except OSError:
            continue
    else:
        found = range(3, 1024)
    for fd in found:
        try:
            if fd > 2 and os.get_inheritable(fd):
                os.close(fd)
        except OSError:  # the listing's own; nothing there
            pass


def claim_channel() -> int:
    """Moves descriptor 0 away, closed on exec, and leaves /dev/null in its place."""
    from fcntl import F_DUPFD_CLOEXEC, fcntl

    try:
        channel = fcntl(0, F_DUPFD_CLOEXEC, HIGH_FD)
    except OSError:  # a low limit of open files
        channel = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    if null != 0:
        os.close(null)
    return channel
