"""The listening socket, through which connections come in as long as there are descriptors for them."""

from __future__ import annotations

import errno
import os
import select
import socket

from .children import LOCK
from .errors import complain

SPARES = 2
"""Descriptors kept for the host's next connections, where the plugin has used up all."""

FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

PAUSE_S = 0.05
"""After this time a connection is tried again that could not be taken."""


class Door:
    """Used by the control thread; `fill_spares` by any."""

    def __init__(self, listener: socket.socket, poller, later) -> None:
        self._listener = listener
        self._poller = poller
        self._later = later
        self._spares: list[int] = []
        self._complained = False
        self.fd = listener.fileno()

    def open(self) -> None:
        """Begins to report connections."""
        self._listener.setblocking(False)
        self.fill_spares()
        self._poller.add(self.fd)

    def take(self, enter, make_room) -> bool:
        """Hands the next connection's socket to `enter`. False if nobody waits, or nothing can be done about it now.

        `make_room` closes a connection that matters less, and says whether there was one.
        """
        try:
            # Both, so that no forked process gets a descriptor that nobody knows of yet.
            with LOCK:
                enter(self._listener.accept()[0])
            return True
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in FULL:
                return True  # that one connection's fault; there may be others
            # Where all descriptors are used up the kernel says so even if nobody waits.
            if not self._is_awaited():
                return False
            if self._give_spare() or make_room():
                return True
            self._pause(error)
            return False

    def fill_spares(self) -> None:
        """Takes spare descriptors again, as far as there are any. To be called when one was given back."""
        with LOCK:
            try:
                while len(self._spares) < SPARES:
                    self._spares.append(os.dup(self.fd))
            except OSError:
                pass

    def let_go(self) -> None:
        """In a process that the plugin forked: closes what is ours but the listener."""
        for number in self._spares:
            os.close(number)

    def _is_awaited(self) -> bool:
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return bool(poll.poll(0))

    def _give_spare(self) -> bool:
        with LOCK:
            if self._spares:
                os.close(self._spares.pop())
                return True
            return False

    def _pause(self, error: OSError) -> None:
        """Reports no connections for a moment: the same one would be reported all the time."""
        self._poller.remove(self.fd)
        self._later(PAUSE_S, lambda: self._poller.add(self.fd))
        if not self._complained:
            self._complained = True
            complain("cannot take a connection: %s" % error)
