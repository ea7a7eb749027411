"""The start of a worker: its file descriptors, the fork of the guard, then `worker.run`.

The host hands over three descriptors: 0 is a private, two-way socket to the host (the *channel*), 1 and 2 are the
plugin's stdout and stderr. All other descriptors that were inherited are closed first. The channel is moved away from
0 at once, so that no `input()` of the plugin reads it, no `print` writes to it, and no program that the plugin starts inherits it.
"""

from __future__ import annotations

import gc
import os
import sys

from . import guard

HIGH_FD = 200
"""The lowest number for the channel: above the descriptors that other code closes or expects."""


def main() -> None:
    """Runs a worker to its end; never returns."""
    # Until the plugin is imported: what is imported until then is no garbage.
    gc.disable()
    close_inherited()
    channel = claim_channel()
    until_ready = guard.fork(channel)
    # From here on this is the worker process; the guard does not return from the line above.
    from .worker import run

    sys.exit(run(channel, until_ready))


def close_inherited() -> None:
    """Closes the descriptors that were inherited from the host. Those of this interpreter are closed on exec, and stay open here."""
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
        except OSError:  # the descriptor of the listing itself
            pass


def claim_channel() -> int:
    """Moves descriptor 0 to a higher number, with close-on-exec set, and puts /dev/null in its place."""
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
