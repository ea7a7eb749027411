"""`async` plugins: the worker's event loop, made for the first coroutine and kept as long as the worker lives.

With one call at a time the loop is on the main thread. It runs while a coroutine's call runs, and between calls while
the dispatcher waits for the next one (`turn`): so tasks that the plugin has left behind go on, and a signal can interrupt a
coroutine that blocks. With several calls at a time the loop has a thread of its own, on which all their tasks run, and each
call's thread waits for its task. A plugin without coroutines has no loop.
"""

from __future__ import annotations

import threading

from .calls import DONE, Call, current
from .cancel import enter, enter_task
from .errors import forget

UNSEEN_S = 1.0
"""How long a call has to read the error of a task that it started; after that the error is logged."""

FINISH_S = 1.0
"""How long tasks that still run may take to end when the worker ends."""


class Loops:
    """The event loop of this worker."""

    def __init__(self, shared: bool) -> None:
        self._shared = shared
        self._loop = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    @property
    def is_idle_here(self) -> bool:
        """Whether there is a loop that the main thread must run between calls."""
        return self._loop is not None and not self._shared

    def run(self, awaitable, call: Call, ending: bool = False):
        """Runs an awaitable to its end on behalf of `call`, whose cancellation cancels its task.

        `ending` is for code that must still run after a cancellation, such as closing a generator.
        """
        import asyncio

        loop = self._made()
        outcome: list = []
        ended = threading.Lock()
        ended.acquire()

        async def task():
            call.task = (loop, asyncio.current_task())
            try:
                # The call was cancelled before the task existed.
                if call.cancelled and not ending:
                    raise asyncio.CancelledError
                outcome.append((await enter_task(awaitable), None))
            except BaseException as error:
                # Not passed on by the task: a future would keep it in reference cycles, and `SystemExit` would end the loop.
                outcome.append((None, error))
            finally:
                ended.release()

        try:
            if self._shared:
                # The list keeps the task alive: a loop has only weak references to its tasks.
                tasks: list = []
                loop.call_soon_threadsafe(lambda: tasks.append(loop.create_task(task())))
                enter(ended.acquire, (), {})
            else:
                self._until(loop.create_task(task()))
            value, error = outcome.pop()
            if error is None:
                return value
            try:
                raise error
            finally:
                del error
        finally:
            call.task = None

    def turn(self, fd: int, timeout: float | None) -> None:
        """Runs tasks on the main thread until there is something to read from `fd`, or the time is over."""
        loop = self._loop
        ready = loop.create_future()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        loop.add_reader(fd, wake)
        timer = loop.call_later(timeout, wake) if timeout is not None else None
        try:
            self._until(ready)
        finally:
            loop.remove_reader(fd)
            if timer is not None:
                timer.cancel()

    def _made(self):
        """The loop; made if there is none yet."""
        import asyncio

        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._loop.set_task_factory(watched)
                if self._shared:
                    self._thread = threading.Thread(target=self._turn_forever, name="bivium-loop", daemon=True)
                    self._thread.start()
                else:
                    asyncio.set_event_loop(self._loop)
        return self._loop

    def _until(self, future) -> None:
        """Runs the loop until a future is done."""
        while not future.done():
            try:
                enter(self._loop.run_until_complete, (future,), {})
            except (SystemExit, KeyboardInterrupt) as error:
                # Raised by another task; asyncio passes these on. A background task must not end the worker.
                tell(error)

    def _turn_forever(self) -> None:
        import asyncio

        asyncio.set_event_loop(self._loop)
        while True:
            try:
                self._loop.run_forever()
                return
            except (SystemExit, KeyboardInterrupt) as error:
                tell(error)

    def close(self) -> None:
        """Cancels the tasks that still run, closes asynchronous generators, and closes the loop."""
        if self._loop is None:
            return
        if self._shared:
            self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self._ended(stop=True)))
            self._thread.join(2 * FINISH_S)
            if self._thread.is_alive():  # a task does not end
                return
        else:
            self._until(self._loop.create_task(self._ended(stop=False)))
        self._loop.close()

    async def _ended(self, stop: bool) -> None:
        import asyncio

        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=FINISH_S)
        await self._loop.shutdown_asyncgens()
        if stop:
            self._loop.stop()


def watched(loop, coroutine, **options):
    """Makes the tasks of the loop. If nobody reads the error of a task, it is logged."""
    import asyncio

    task = asyncio.Task(coroutine, loop=loop, **options)
    if not task.done():  # an eager task may be done already
        task.add_done_callback(done)
    return task


def done(task) -> None:
    """Called in the task's context when it has ended."""
    if task.cancelled() or not getattr(task, "_log_traceback", True):
        return
    from weakref import ref

    call, seen = current(), ref(task)
    del task
    if call is not None and call.state != DONE:
        # The call may wait for the task, and read its error soon.
        task = seen()
        if task is not None:
            task.get_loop().call_later(UNSEEN_S, unseen, seen)
        return
    unseen(seen)


def unseen(seen) -> None:
    """Logs the error of a task, unless it was read or the task is gone (then asyncio has logged it)."""
    task = seen()
    if task is None or not getattr(task, "_log_traceback", True):
        return
    tell(task.exception())


def tell(error: BaseException) -> None:
    """Logs the error of a task that no call waits for."""
    import logging

    logging.getLogger("bivium_worker").error("a background task failed", exc_info=error)
    # The plugin may keep the task, and with its error all the task's variables.
    forget(error)
