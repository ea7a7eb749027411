"""A plugin whose tasks outlive the calls that started them."""

import asyncio
import sys
import threading
import weakref


def compute():
    """Computes long enough for other threads to run meanwhile."""
    for _ in range(1_000_000):
        pass


class Ballast:
    pass


class Background:
    def __init__(self):
        self.tasks = []
        self.kept = []
        self.struck = []
        self.ticks = 0

    async def tick(self):
        """Ticks for ever, one line each."""
        self.tasks.append(asyncio.create_task(self._ticking()))

    async def _ticking(self):
        try:
            while True:
                self.ticks += 1
                print("tick", self.ticks)
                await asyncio.sleep(0.01)
        finally:
            print("ticking ends")

    async def fail(self, kind="ValueError"):
        """Leaves behind a task that fails."""
        self.go = asyncio.Event()
        self.tasks.append(asyncio.create_task(self._failing(kind)))

    async def _failing(self, kind):
        ballast = Ballast()
        self.kept.append(weakref.ref(ballast))
        await asyncio.sleep(0.05)
        raise {"ValueError": ValueError, "SystemExit": SystemExit}[kind]("no such luck")

    def alive(self):
        return [seen() is not None for seen in self.kept]

    async def handled(self):
        """Waits for a task that fails."""
        task = asyncio.create_task(self._failing("ValueError"))
        self.tasks.append(task)
        try:
            await task
        except ValueError:
            return "handled"

    async def unseen(self):
        """Never looks at a task that has failed, for as long as the call runs."""
        self.tasks.append(asyncio.create_task(self._failing("ValueError")))
        self.report_progress(0.5, "waiting")
        await asyncio.sleep(60)

    async def work(self):
        """Leaves a task behind that computes nearly all the time."""
        self.tasks.append(asyncio.create_task(self._working()))

    async def _working(self):
        try:
            while True:
                self.ticks += 1
                compute()
                await asyncio.sleep(0)
        except BaseException as error:
            self.struck.append(repr(error))
            raise

    async def defiant(self):
        """Ends by no cancellation of its task."""
        self.report_progress(0.5, "defiant")
        while True:
            try:
                compute()
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                pass

    async def what(self):
        return {"struck": self.struck, "ticks": self.ticks}

    def plain(self):
        return {"asyncio": "asyncio" in sys.modules, "threads": threading.active_count()}
