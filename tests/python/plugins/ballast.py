"""A plugin whose calls fail in many ways, each while it holds a large object, for `test_worker_memory`.

Garbage collection is off: objects in a reference cycle stay.
"""

import asyncio
import concurrent.futures
import contextvars
import gc
import logging
import sys
import threading
import time
import weakref

from bivium_worker import cancelled, report_progress

VAR = contextvars.ContextVar("ballast")
FAILS = ValueError("always the same error")
_alive = weakref.WeakSet()


class Ballast(bytearray):
    """An object of 1 MiB that can be found while it is alive."""

    __hash__ = object.__hash__

    def __init__(self):
        super().__init__(1 << 20)
        _alive.add(self)


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("not even this")


class Group(Exception):
    """Like `ExceptionGroup`, which Python 3.10 does not have."""

    def __init__(self, exceptions):
        super().__init__("several")
        self.exceptions = tuple(exceptions)


def caught(function):
    """The error that a function raises."""
    try:
        function()
    except Exception as error:
        return error
    return None


def fall(message="fell"):
    held = Ballast()
    raise ValueError("%s with %d bytes" % (message, len(held)))


def remembering():
    """The usual way to make a reference cycle: a frame that refers to the error that it raises."""
    held = Ballast()
    failure = None
    try:
        fall()
    except ValueError as error:
        failure = error
    raise failure


class Falls:
    def __init__(self):
        gc.disable()
        self.kept = None
        self.generator = None

    def alive(self):
        return len(_alive)

    def resident(self):
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) >> 10 for line in file if line.startswith("VmRSS"))

    def loose(self):
        """Threads that have not ended."""
        return [thread.name for thread in threading.enumerate() if not thread.name.startswith(("bivium", "Main"))]

    def fall(self, way):
        held = Ballast()
        if way == "plain":
            fall()
        if way == "circle":
            remembering()
        if way == "own circle":
            error = KeyError("mine")
            raise error
        if way == "cause":
            try:
                remembering()
            except ValueError as error:
                raise RuntimeError("outer") from error
        if way == "context":
            try:
                remembering()
            except ValueError:
                held.missing
        if way == "hidden context":
            try:
                remembering()
            except ValueError:
                raise RuntimeError("outer") from None
        if way == "group":
            raise Group([caught(remembering), caught(fall), Group([caught(remembering)])])
        if way == "unspeakable":
            raise Unspeakable
        if way == "kept":
            try:
                remembering()
            except ValueError as error:
                self.kept = error
                raise
        if way == "same":
            raise FAILS
        if way == "memory":
            raise MemoryError
        if way == "exit":
            sys.exit(3)
        if way == "signature":
            return self.fall()
        if way == "logged":
            try:
                remembering()
            except ValueError:
                logging.getLogger("ballast").exception("it fell with %s", len(held))
                raise
        if way == "last":
            error = caught(remembering)
            sys.last_type, sys.last_value, sys.last_traceback = type(error), error, error.__traceback__
            raise error
        if way == "unfit":
            return {"inner": [held, object()]}
        if way == "unfit deep":
            value = [held, float("nan")]
            for _ in range(50):
                value = {"in": value}
            return value
        if way == "file fails":
            return Writes(held)
        if way == "context variable":
            VAR.set(held)
            try:
                fall()
            finally:
                VAR.set(None)
        if way == "thread":
            failures = []
            thread = threading.Thread(target=lambda: failures.append(caught(remembering)))
            thread.start()
            thread.join()
            raise failures[0]
        if way == "pool":
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda _: fall(), range(2)))
        if way == "thread dies":
            thread = threading.Thread(target=fall)
            thread.start()
            thread.join()
            raise ValueError("its thread died")
        raise AssertionError(way)

    def signature(self, one, two):
        """Called with too few arguments."""

    def too_long(self):
        return "x" * (1 << 20)

    def generate(self, way):
        held = Ballast()
        for number in range(3):
            item = Ballast()
            yield len(item)
            del item
        if way == "fails":
            remembering()
        if way == "unfit":
            yield {"held": [held, object()]}
        if way == "waits":
            while True:
                time.sleep(0.001)
        if way == "endless":
            while True:
                item = Ballast()
                yield "x" * 50_000

    async def generate_async(self, way):
        held = Ballast()
        for number in range(3):
            await asyncio.sleep(0)
            yield number
        if way == "fails":
            await self.remembering()
        if way == "unfit":
            yield {"held": [held, object()]}
        if way == "waits":
            await asyncio.sleep(60)
        if way == "endless":
            while True:
                await asyncio.sleep(0)
                yield "x" * 50_000

    async def remembering(self):
        held = Ballast()
        failure = None
        try:
            await asyncio.sleep(0)
            fall()
        except ValueError as error:
            failure = error
        raise failure

    async def falling(self):
        held = Ballast()
        await asyncio.sleep(0)
        fall()

    async def coroutine(self, way):
        held = Ballast()
        if way == "fails":
            fall()
        if way == "circle":
            await self.remembering()
        if way == "task":
            await asyncio.create_task(self.remembering())
        if way == "gather":
            await asyncio.gather(self.remembering(), self.falling())
        if way == "left behind":
            asyncio.create_task(asyncio.sleep(0.05))
            fall()
        if way == "exit":
            sys.exit(3)
        if way == "unfit":
            return [held, object()]
        if way == "good":
            return len(held)
        if way == "sleep":
            await asyncio.sleep(60)
        raise AssertionError(way)

    def wait(self, way):
        """Ways to be busy until a cancel comes."""
        held = Ballast()
        if way == "sleep":
            time.sleep(60)
        if way == "spin":
            while True:
                pass
        if way == "circle":
            failure = caught(fall)
            while True:
                try:
                    for _ in range(1000):
                        pass
                except BaseException as error:
                    failure = error
                    raise
        if way == "polite":
            while not cancelled():
                time.sleep(0.001)
        if way == "report":
            while True:
                report_progress(0.5, "busy")
        if way == "thread":
            # A thread of the plugin that ends by itself when the call is cancelled.
            stop = threading.Event()

            def run():
                inner = Ballast()
                stop.wait()
                del inner

            thread = threading.Thread(target=run)
            try:
                thread.start()
                time.sleep(60)
            finally:
                stop.set()
        raise AssertionError(way)

    def heavy(self, argument, fail=True):
        mine = bytearray(len(argument))
        mine[:] = b"x" * len(argument)
        if fail:
            raise ValueError("%d bytes" % len(mine))
        return len(mine)

    async def heavy_async(self, argument):
        # It outlives the call, and has a copy of its context.
        asyncio.get_running_loop().call_later(3600, print)
        self.heavy(argument)

    def hold_generator(self):
        """Fails with an error whose traceback holds the frame of a generator that the plugin goes on to use."""

        def numbers():
            yield from inner()

        def inner():
            try:
                raise ValueError("inside")
            except ValueError as error:
                yield error
            yield "still there"

        self.generator = numbers()
        raise next(self.generator)

    def use_generator(self):
        return next(self.generator)

    def why_kept(self):
        """An error that the plugin keeps still has the place where it was raised."""
        names = []
        step = self.kept.__traceback__
        while step is not None:
            names.append(step.tb_frame.f_code.co_name)
            step = step.tb_next
        return names

    def initialize(self, config):
        held = Ballast()
        if config and config.get("fall"):
            remembering()

    def get_current_config(self):
        held = Ballast()
        remembering()


class Writes:
    def __init__(self, held):
        self.held = held

    def to_temp_file(self):
        remembering()
