"""The listening socket. It keeps spare descriptors, so that the host can connect when the plugin has used up all others."""

from __future__ import annotations

import errno
import os
import select
# Not `socket`, which takes longer to import than half of the worker's own modules, and makes classes in Python on top.
import _socket as socket

from .children import LOCK
from .errors import complain

SPARES = 2
"""How many descriptors are kept for the host's next connections."""

FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

PAUSE_S = 0.05
"""After this time a connection that could not be accepted is tried again."""


class Listener:
    """Used by the control thread; `fill_spares` by any thread."""

    def __init__(self, listener: socket.socket, poller, later) -> None:
        self._socket = listener
        self._poller = poller
        self._later = later
        self._spares: list[int] = []
        self._complained = False
        self.fd = listener.fileno()

    def open(self) -> None:
        """Begins to report connections."""
        self._socket.setblocking(False)
        self.fill_spares()
        self._poller.add(self.fd)

    def take(self, enter, make_room) -> bool:
        """Accepts the next connection and passes its socket to `enter`. False if none is waiting, or none can be accepted now.

        `make_room` closes a connection that matters less, and returns whether there was one.
        """
        try:
            # `accept` and `enter` together, so that no forked process inherits a descriptor that is not recorded yet.
            with LOCK:
                enter(socket.socket(fileno=self._socket._accept()[0]))
            return True
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in FULL:
                return True  # this connection failed; there may be others
            # If all descriptors are used up, the kernel says so even when no connection is waiting.
            if not self._is_awaited():
                return False
            if self._give_spare() or make_room():
                return True
            self._pause(error)
            return False

    def fill_spares(self) -> None:
        """Opens spare descriptors again, as far as the limit allows. To be called when a descriptor was closed."""
        with LOCK:
            try:
                while len(self._spares) < SPARES:
                    self._spares.append(os.dup(self.fd))
            except OSError:
                pass

    def close_in_child(self) -> None:
        """In a process that the plugin forked: closes the spare descriptors. The socket itself is closed elsewhere."""
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
        """Stops polling the socket for a moment: it would report the same connection again and again."""
        self._poller.remove(self.fd)
        self._later(PAUSE_S, lambda: self._poller.add(self.fd))
        if not self._complained:
            self._complained = True
            complain("cannot accept a connection: %s" % error)
