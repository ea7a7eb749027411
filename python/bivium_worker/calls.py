"""Calls: one object for each call, found by its id, and the call that the running code belongs to."""

from __future__ import annotations

import threading
import time
from _contextvars import ContextVar

from .errors import WorkerError

QUEUED, RUNNING, DONE = "queued", "running", "done"
EARLY_CANCELS = 256
"""How many ids are kept of calls that were cancelled before they arrived."""


class Cancelled(BaseException):
    """Raised in a plugin's code when its call is cancelled. Not an `Exception`, so that `except Exception` does not catch it."""


class Call:
    """One execution. The host chooses its id, which cancel and progress requests name."""

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
        """The blobs among the arguments, in the request's order."""
        self.envelope: dict = envelope or {}
        """What the caller says about the call beside its arguments."""
        self.kept: dict | None = None
        """What a plugin of cjm-plugin-system keeps in attributes of its object and means for this call (`cjm`)."""
        self.state = QUEUED
        self.cancelled = False
        self.looked = False
        """Whether the plugin has called `cancelled()`: then it may end by itself, and gets time to do so."""
        self.due = False
        """Whether the time to end by itself is over."""
        self.raised = False
        """Whether `Cancelled` was raised in the plugin's thread."""
        self.thread: int | None = None
        self.task = None
        """The asyncio task that runs it, if one does: `(loop, task)`."""
        self.lock = threading.Lock()
        """Held while an exception is raised in the thread, and while the call leaves the plugin's code: so no exception comes too late."""
        self.progress: tuple[float | None, str] | None = None
        self.listener = None
        """Called after each change of `progress`, if the reply is a stream of events."""

    def begin(self) -> None:
        """Changes the state from queued to running on the calling thread, unless the call was cancelled before."""
        with self.lock:
            if self.cancelled:
                raise WorkerError("cancelled", "the call was cancelled before it started")
            self.state = RUNNING
            self.thread = threading.get_ident()

    def report(self, fraction: float | None, message: str) -> None:
        """Stores the newest progress."""
        if fraction is not None:
            fraction = float(fraction)
            # Some libraries use a negative number for "unknown"; NaN is not valid JSON.
            fraction = min(fraction, 1.0) if fraction >= 0 else None
        self.progress = (fraction, message if isinstance(message, str) else str(message))
        if self.listener is not None:
            self.listener()
        self.checkpoint()

    def drop(self) -> None:
        """Drops the arguments and everything else of an ended call. The object itself may live longer, for example in the
        context of a task that the plugin left behind."""
        self.args, self.kwargs, self.blobs, self.envelope = [], {}, [], {}
        self.listener = None
        if self.kept is not None:
            self.kept = {}

    def checkpoint(self) -> None:
        """Raises `Cancelled` in a cancelled call. For calls that are in the worker's code so often that the exception can hardly
        be raised in their own. Called at the end of the worker's functions that plugins call."""
        if self.due and not self.raised and self.thread == threading.get_ident():
            self.raised = True
            raise Cancelled("the call was cancelled")


class Calls:
    """All calls that are queued or running. Only dictionaries, so that a call takes no lock."""

    def __init__(self) -> None:
        self._known: dict[str, Call] = {}
        self._early: dict[str, bool] = {}
        self.started_at = time.monotonic()
        self.count = {"started": 0, "succeeded": 0, "failed": 0, "cancelled": 0}

    def admit(self, call: Call) -> None:
        """Adds a queued call. An id that is in use is refused: cancel and progress requests could not tell the two apart."""
        if self._known.setdefault(call.id, call) is not call:
            raise WorkerError("protocol", "a call with the id %r is queued or running already" % call.id)
        if self._early and self._early.pop(call.id, False):
            call.cancelled = True

    def leave(self, call: Call, outcome: str) -> None:
        """Removes an ended call."""
        self._known.pop(call.id, None)
        self.count["started"] += call.thread is not None
        self.count[outcome] += 1
        call.state = DONE

    def find(self, ident: str) -> Call | None:
        """The call with this id, if it is queued or running."""
        return self._known.get(ident)

    def cancel_early(self, ident: str) -> None:
        """Remembers a cancel that arrived before its call: the two come on different connections."""
        self._early[ident] = True
        while len(self._early) > EARLY_CANCELS:
            self._early.pop(next(iter(self._early)), None)

    def all(self) -> list[Call]:
        """The calls that are queued or running, oldest first."""
        return list(self._known.values())

    def close_in_child(self) -> None:
        """In a process that the plugin forked: its code may report progress, which goes nowhere."""
        for call in self.all():
            call.listener = call.thread = None
        self._known.clear()

    def running(self) -> list[Call]:
        """The calls whose code is running."""
        return [call for call in self.all() if call.state == RUNNING]


CURRENT: ContextVar[Call | None] = ContextVar("bivium_call", default=None)
"""The call that this thread or task runs for."""

_calls = Calls()


def the_calls() -> Calls:
    """The worker's calls."""
    return _calls


def current() -> Call | None:
    """The call that the calling code belongs to, or None.

    A thread that the plugin started has no `CURRENT`. If exactly one call runs, it belongs to that one.
    """
    call = CURRENT.get()
    if call is None:
        running = _calls.running()
        call = running[0] if len(running) == 1 else None
    return call


def report_progress(fraction: float | None = None, message: str = "") -> None:
    """Reports the progress of the current call: a fraction from 0 to 1, or None if it is unknown."""
    call = current()
    if call is not None:
        call.report(fraction, message)


def cancelled() -> bool:
    """Whether the caller wants the current call to end. A plugin that calls this gets time to end by itself."""
    call = current()
    if call is None:
        return False
    call.looked = True
    return call.cancelled
