"""Waits for many sockets at once: with `epoll` on Linux, with the `selectors` module elsewhere.

One thread may change it while another waits in it.
"""

from __future__ import annotations

import select


class _Epoll:
    def __init__(self) -> None:
        self._epoll = select.epoll()

    def add(self, fd: int) -> None:
        """Reports `fd` while there is something to read, or it was closed by the other side."""
        self._epoll.register(fd, select.EPOLLIN | select.EPOLLRDHUP)

    def watch(self, fd: int) -> None:
        """From now on reports `fd` only once, when the other side closes it, and never for data."""
        self._epoll.modify(fd, select.EPOLLRDHUP | select.EPOLLET)

    def remove(self, fd: int) -> None:
        """No longer reports `fd`. To be called before `fd` is closed, as a forked process may keep it open."""
        try:
            self._epoll.unregister(fd)
        except (OSError, ValueError):
            pass

    def close(self) -> None:
        """Closes the poller itself."""
        self._epoll.close()

    def fileno(self) -> int:
        """A descriptor that is readable while `wait` has something to report."""
        return self._epoll.fileno()

    def wait(self, timeout: float | None) -> list[int]:
        """Waits, and returns the descriptors that are ready."""
        return [fd for fd, _ in self._epoll.poll(timeout)]


class _Selector:
    def __init__(self) -> None:
        import selectors

        self._selector = selectors.DefaultSelector()
        self._read = selectors.EVENT_READ

    def add(self, fd: int) -> None:
        self._selector.register(fd, self._read)

    def watch(self, fd: int) -> None:
        # Not possible here: that a client has gone is noticed at the next write to it.
        self.remove(fd)

    def remove(self, fd: int) -> None:
        try:
            self._selector.unregister(fd)
        except (KeyError, OSError, ValueError):
            pass

    def close(self) -> None:
        self._selector.close()

    def fileno(self) -> int:
        return self._selector.fileno()  # kqueue has one

    def wait(self, timeout: float | None) -> list[int]:
        return [key.fd for key, _ in self._selector.select(timeout)]


Poller = _Epoll if hasattr(select, "epoll") else _Selector
