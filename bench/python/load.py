"""Calls a peer: one call after another, and by many callers for some time."""

import asyncio
import math
import threading
from time import perf_counter

WARM_UP = 20


def serial(call, size, calls):
    """Times of calls in microseconds."""
    text = "x" * size
    times = []
    for n in range(WARM_UP + calls):
        begun = perf_counter()
        result = call(text)
        note(times, n, perf_counter() - begun, result, text)
    return {"time": times}


async def serial_async(call, size, calls):
    """The same for a coroutine."""
    text = "x" * size
    times = []
    for n in range(WARM_UP + calls):
        begun = perf_counter()
        result = await call(text)
        note(times, n, perf_counter() - begun, result, text)
    return {"time": times}


def note(times, n, took, result, text):
    """Stores the time of the n-th call, unless it belongs to the warm-up."""
    if result["text"] != text:
        raise ValueError("another answer came")
    if n >= WARM_UP:
        times.append(took * 1e6)


def threads(call, size, callers, seconds):
    """Calls per second with this many threads, each with one call at a time."""
    text = "x" * size
    times = []
    failures = []
    begun = perf_counter()
    end = begun + seconds

    def caller():
        try:
            while perf_counter() < end:
                asked = perf_counter()
                call(text)
                times.append(perf_counter() - asked)
        except Exception as error:
            failures.append(error)

    all = [threading.Thread(target=caller) for _ in range(callers)]
    for thread in all:
        thread.start()
    for thread in all:
        thread.join()
    if failures:
        raise failures[0]
    return told(times, perf_counter() - begun)


async def tasks(call, size, callers, seconds):
    """Calls per second with this many tasks."""
    text = "x" * size
    times = []
    begun = perf_counter()
    end = begun + seconds

    async def caller():
        while perf_counter() < end:
            asked = perf_counter()
            await call(text)
            times.append(perf_counter() - asked)

    await asyncio.gather(*(caller() for _ in range(callers)))
    return told(times, perf_counter() - begun)


def told(times, took):
    times.sort()
    # The nearest-rank method, as in the benchmark.
    return {"calls": [len(times) / took], "p99": [times[math.ceil(len(times) * 0.99) - 1] * 1e6]}
