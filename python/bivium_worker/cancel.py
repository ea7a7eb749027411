"""Cancels calls: first by a flag, then by an exception in the plugin's thread, and never in the wrong call.

First the call's flag is set and the plugin's own `cancel()` is run. A plugin that has `cancel()`, or that has called
`cancelled()`, gets a short time to end. Then `Cancelled` is raised in its code: on the main thread by a signal, which also
interrupts `time.sleep` and waiting for a lock; on other threads by the interpreter's asynchronous exception, which is raised at
the next bytecode. Code that neither can interrupt (a long call into C) is killed by the host, with the worker.

The exception must not be raised in the worker's own code: half a reply would be sent, or a lock kept. So it is
raised only while a frame of `enter` is on the thread's stack and no frame of the worker or of `logging` is above
it; otherwise it is tried again a moment later, until the call has ended. (Code that does little but
log or report progress is ended there: `Call.checkpoint`.)
"""

from __future__ import annotations

import os
import _signal as signal
import sys
import threading
import time

from . import children
from .calls import CURRENT, DONE, QUEUED, Call, Cancelled
from .errors import HERE, complain, forget, name_of, text_of

NUMBER = signal.SIGRTMAX - 3 if hasattr(signal, "SIGRTMAX") else signal.SIGUSR2
"""The signal that interrupts the main thread: if the system has real-time signals, one that no known library uses."""

RETRY_S = 0.002
MAX_RETRY_S = 0.05
SIGNAL_AGAIN_S = 0.25
"""After this time the signal is sent again if its handler has not run. A signal that arrives just before a system call begins
does not interrupt it, and a long call into C should not be interrupted all the time."""
SHIELDED = (HERE, os.path.join(os.path.dirname(threading.__file__), "logging", "__init__.py"))
LOOPS = ("asyncio", "selectors.py")


def enter(function, args, kwargs):
    """Calls the plugin's code. A cancellation may be raised only in frames above this one."""
    return function(*args, **kwargs)


async def enter_task(awaitable):
    """The same for a coroutine: the frames above it on the stack are the plugin's."""
    return await awaitable


PLUGIN_BELOW = (enter.__code__, enter_task.__code__)


def interruptible(frame, inside_loop: bool) -> bool:
    """Whether an exception that is raised now at `frame` is raised in the plugin's own code."""
    # An event loop between two steps of a task is not the plugin's code either; its task is cancelled by `task.cancel`.
    if inside_loop and frame is not None and any(part in frame.f_code.co_filename for part in LOOPS):
        return False
    while frame is not None:
        code = frame.f_code
        if code in PLUGIN_BELOW:
            return True
        if code.co_filename.startswith(SHIELDED):
            return False
        frame = frame.f_back
    return False


class Canceller:
    """Cancels calls. `later(seconds, function)` runs a function on the control thread."""

    def __init__(self, plugin_cancel, grace_s: float, later) -> None:
        self._plugin_cancel = plugin_cancel
        self._grace_s = grace_s
        self._later = later
        self._target: Call | None = None
        self._declined = False
        """Whether the last signal came while the plugin's code could not be interrupted, so that another is needed."""
        self._sent_at = 0.0
        self._main = threading.main_thread().ident
        children.handle(NUMBER, self._on_signal)

    def cancel(self, call: Call) -> str:
        """Begins to cancel a call, and returns the state it was in. On the control thread; does not wait."""
        with call.lock:
            state, again = call.state, call.cancelled
            call.cancelled = True
        if state in (QUEUED, DONE) or again:
            return state
        patient = self._plugin_cancel is not None or call.looked
        if self._plugin_cancel is not None:
            # On a thread of its own: it is the plugin's code, and may take long.
            threading.Thread(target=self._ask, args=(call,), name="bivium-cancel", daemon=True).start()
        if call.task is not None:
            loop, task = call.task
            loop.call_soon_threadsafe(task.cancel)
            patient = True
        if patient:
            self._later(self._grace_s, lambda: self._raise(call, RETRY_S))
        else:
            self._raise(call, RETRY_S)
        return state

    def _ask(self, call: Call) -> None:
        # The code runs for this call: what it sets and reads must be this call's values.
        CURRENT.set(call)
        try:
            self._plugin_cancel()
        except BaseException as error:  # the plugin's error
            complain("the plugin's cancel() raised %s: %s" % (name_of(type(error)), text_of(error)))
            forget(error)

    def _raise(self, call: Call, again_s: float) -> None:
        """Raises the exception in the call's thread, or tries again soon. On the control thread."""
        if call.state == DONE or call.raised:
            if self._target is call:
                self._target = None
            return
        call.due = True
        if call.thread == self._main:
            now = time.monotonic()
            if self._target is not call or self._declined or now - self._sent_at >= SIGNAL_AGAIN_S:
                self._target, self._declined, self._sent_at = call, False, now
                signal.pthread_kill(self._main, NUMBER)
        elif call.task is None:
            with call.lock:
                if call.state != DONE and interruptible(sys._current_frames().get(call.thread), False):
                    call.raised = raise_in_thread(call.thread, Cancelled)
        self._later(again_s, lambda: self._raise(call, min(2 * again_s, MAX_RETRY_S)))

    def _on_signal(self, _number, frame) -> None:
        """The signal's handler. Runs on the main thread between two bytecodes."""
        call = self._target
        if call is None or call.state == DONE or call.raised or call.thread != self._main:
            return
        # On the event loop code of another call may be running: a task that it left behind.
        is_its_own = call.task is None or CURRENT.get() is call
        if is_its_own and interruptible(frame, call.task is not None):
            call.raised = True
            raise Cancelled("the call was cancelled")
        self._declined = True


def raise_in_thread(thread: int, kind: type | None) -> bool:
    """Raises `kind` in another thread at its next bytecode; None takes back an exception that was not raised yet."""
    try:
        from ctypes import c_ulong, py_object, pythonapi
    except ImportError:  # an interpreter built without libffi
        return False
    argument = py_object(kind) if kind is not None else py_object()
    return pythonapi.PyThreadState_SetAsyncExc(c_ulong(thread), argument) == 1


def leave(call: Call) -> None:
    """Marks `call` as done, so that no cancellation is raised in it any more; takes back one that was not raised yet."""
    with call.lock:
        raised = call.raised and call.thread != threading.main_thread().ident
        call.state = DONE
    if raised:
        raise_in_thread(threading.get_ident(), None)
