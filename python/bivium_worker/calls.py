"""Calls: one record for each, found by its id, and the call that the running code belongs to."""

from __future__ import annotations

import threading
import time
from contextvars import ContextVar

from .errors import WorkerError

QUEUED, RUNNING, DONE = "queued", "running", "done"
EARLY_CANCELS = 256
"""How many ids of calls that have not arrived yet are kept as cancelled."""


class Cancelled(BaseException):
    """Raised in a plugin's code when its call is cancelled. No `Exception`, so that `except Exception` lets it by."""


class Call:
    """One execution. Its id is the host's; cancel and progress name it."""

    __slots__ = (
        *("id", "method", "args", "kwargs", "blobs", "state", "cancelled", "looked", "due", "raised"),
        *("thread", "task", "lock", "progress", "listener", "envelope", "kept"),
    )

    def __init__(self, ident: str, method: str, args: list, kwargs: dict, blobs: list, envelope=None) -> None:
        self.id = ident
        self.method = method
        self.args = args
        self.kwargs = kwargs
        self.blobs = blobs
        """The blobs lent to the plugin for this call, in the request's order."""
        self.envelope: dict = envelope or {}
        """What the caller says of the call beside its arguments."""
        self.kept: dict | None = None
        """What a plugin of the ancestor's keeps in attributes of its object and means for this call (`ancestor`)."""
        self.state = QUEUED
        self.cancelled = False
        self.looked = False
        """Whether the plugin asked `cancelled()`: then it may end by itself, and is given time to."""
        self.due = False
        """Whether the time to end by itself is over."""
        self.raised = False
        """Whether the exception was raised into the plugin's thread."""
        self.thread: int | None = None
        self.task = None
        """The asyncio task that runs it, where one does: `(loop, task)`."""
        self.lock = threading.Lock()
        """Held to raise into the thread, and to leave the plugin's code: so a raise never comes too late."""
        self.progress: tuple[float | None, str] | None = None
        self.listener = None
        """Called after each change of `progress`, where the reply carries events."""

    def begin(self) -> None:
        """Moves from queued to running on the calling thread, unless it was cancelled before."""
        with self.lock:
            if self.cancelled:
                raise WorkerError("cancelled", "the call was cancelled before it started")
            self.state = RUNNING
            self.thread = threading.get_ident()

    def report(self, fraction: float | None, message: str) -> None:
        """Notes progress; the newest is the one that counts."""
        if fraction is not None:
            fraction = float(fraction)
            # Below zero is how some libraries say "unknown"; NaN is no JSON.
            fraction = min(fraction, 1.0) if fraction >= 0 else None
        self.progress = (fraction, message if isinstance(message, str) else str(message))
        if self.listener is not None:
            self.listener()
        self.checkpoint()

    def drop(self) -> None:
        """Lets go of all that the ended call was given and has made. The record itself may live on: in the context of a
        task that the plugin left behind, for one."""
        self.args, self.kwargs, self.blobs, self.envelope = [], {}, [], {}
        self.listener = None
        if self.kept is not None:
            self.kept = {}

    def checkpoint(self) -> None:
        """Ends a cancelled call that is in the worker's code so often that no exception from outside could meet it
        in its own. Called by that code where it has nothing left to do."""
        if self.due and not self.raised and self.thread == threading.get_ident():
            self.raised = True
            raise Cancelled("the call was cancelled")


class Calls:
    """All calls that the worker knows of. Dictionaries alone, so that no lock lies on the way of a call."""

    def __init__(self) -> None:
        self._known: dict[str, Call] = {}
        self._early: dict[str, bool] = {}
        self.started_at = time.monotonic()
        self.count = {"started": 0, "succeeded": 0, "failed": 0, "cancelled": 0}

    def admit(self, call: Call) -> None:
        """Makes the call known, queued. An id in use is refused: cancel and progress could not tell the two apart."""
        if self._known.setdefault(call.id, call) is not call:
            raise WorkerError("protocol", "a call with the id %r is under way already" % call.id)
        if self._early and self._early.pop(call.id, False):
            call.cancelled = True

    def leave(self, call: Call, outcome: str) -> None:
        """Forgets an ended call."""
        self._known.pop(call.id, None)
        self.count["started"] += call.thread is not None
        self.count[outcome] += 1
        call.state = DONE

    def find(self, ident: str) -> Call | None:
        """The call of that id, if it is queued or running."""
        return self._known.get(ident)

    def cancel_early(self, ident: str) -> None:
        """Remembers a cancel that came before its call: the two travel on different connections."""
        self._early[ident] = True
        while len(self._early) > EARLY_CANCELS:
            self._early.pop(next(iter(self._early)), None)

    def all(self) -> list[Call]:
        """Those queued and running, oldest first."""
        return list(self._known.values())

    def let_go(self) -> None:
        """In a process that the plugin forked: its code may go on to report progress, and nobody hears of it."""
        for call in self.all():
            call.listener = call.thread = None
        self._known.clear()

    def running(self) -> list[Call]:
        """Those whose code is on a thread now."""
        return [call for call in self.all() if call.state == RUNNING]


CURRENT: ContextVar[Call | None] = ContextVar("bivium_call", default=None)
"""The call that this thread or task works for."""

_calls = Calls()


def the_calls() -> Calls:
    """The worker's one table of calls."""
    return _calls


def current() -> Call | None:
    """The call that the calling code belongs to, or None.

    A thread of the plugin's own has no mark of its call. Where just one call runs it can only be that one.
    """
    call = CURRENT.get()
    if call is None:
        running = _calls.running()
        call = running[0] if len(running) == 1 else None
    return call


def report_progress(fraction: float | None = None, message: str = "") -> None:
    """Reports how far the current call is: a fraction from 0 to 1, or None where that is unknown."""
    call = current()
    if call is not None:
        call.report(fraction, message)


def cancelled() -> bool:
    """Whether the caller wants the current call to end. A plugin that asks is given time to end in good order."""
    call = current()
    if call is None:
        return False
    call.looked = True
    return call.cancelled
