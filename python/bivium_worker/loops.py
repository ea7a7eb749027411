"""`async` plugins: an event loop of the worker's, made when the first coroutine turns up.

With one call at a time the loop lives on the main thread and turns while a call runs. With several it has a thread
of its own, where their tasks share it, and each call's thread waits for its task.
"""

from __future__ import annotations

import threading

from .calls import Call
from .cancel import enter, enter_task


class Loops:
    """The one event loop of this worker."""

    def __init__(self, shared: bool) -> None:
        self._shared = shared
        self._loop = None
        self._lock = threading.Lock()

    def run(self, awaitable, call: Call, ending: bool = False):
        """Runs an awaitable to its end on behalf of `call`, whose cancellation cancels its task.

        `ending` is for what runs after a cancellation, to end in good order.
        """
        import asyncio

        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                if self._shared:
                    threading.Thread(target=self._turn, name="bivium-loop", daemon=True).start()
                else:
                    asyncio.set_event_loop(self._loop)
        loop = self._loop
        outcome: list = []
        ended = threading.Lock()
        ended.acquire()

        async def task():
            call.task = (loop, asyncio.current_task())
            try:
                # A cancel that came before there was a task to cancel.
                if call.cancelled and not ending:
                    raise asyncio.CancelledError
                outcome.append((await enter_task(awaitable), None))
            except BaseException as error:
                # Handed over by us. asyncio's futures would keep it in circles, and `SystemExit` would end the loop.
                outcome.append((None, error))
            finally:
                ended.release()

        try:
            if self._shared:
                # Kept here: a loop holds its tasks by weak references.
                tasks: list = []
                loop.call_soon_threadsafe(lambda: tasks.append(loop.create_task(task())))
                enter(ended.acquire, (), {})
            else:
                enter(loop.run_until_complete, (loop.create_task(task()),), {})
            value, error = outcome.pop()
            if error is None:
                return value
            try:
                raise error
            finally:
                del error
        finally:
            call.task = None

    def _turn(self) -> None:
        import asyncio

        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def close(self) -> None:
        """Lets asynchronous generators end, and closes the loop."""
        if self._loop is not None and not self._shared:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
