"""Drives cjm-plugin-system or cjm-substrate, whichever the environment has: a host with the peer's manager, which runs
`cjm_echo.py` in the peer's worker."""

import os
import threading
from time import perf_counter, sleep

import driver
import load
from cjm_echo import Echo
from cjm_host import NOUN, Host, part

ECHO = "echo"
host = Host(Echo)


def caller(through, how):
    """A function that calls `execute` with a text."""
    end = "" if how == "sync" else "_async"
    if through == "proxy":
        execute = getattr(host.proxy(ECHO), "execute" + end)
        return lambda text: execute(text=text)
    execute = host.method("execute_NOUN" + end)
    return lambda text: execute(ECHO, text=text)


def execute(through, how, size, calls):
    call = caller(through, how)
    return load.serial(call, size, calls) if how == "sync" else load.serial_async(call, size, calls)


def concurrent(through, how, size, callers, seconds):
    call = caller(through, how)
    return (load.threads if how == "sync" else load.tasks)(call, size, callers, seconds)


def start(through):
    """The time from nothing to a worker that answers: with the proxy's constructor, or with the manager's method that loads."""
    if host.proxy(ECHO) is not None:
        host.method("unload_NOUN")(ECHO)
    begun = perf_counter()
    if through == "manager":
        host.load(ECHO)
        took = perf_counter() - begun
        host.method("unload_NOUN")(ECHO)
    else:
        proxy = getattr(part("proxy"), "Remote%sProxy" % NOUN.capitalize())(host.found[ECHO].manifest)
        took = perf_counter() - begun
        proxy.cleanup()
    return {"time": [took * 1e3]}


async def stream(count):
    """With the manager, which has this only for coroutines."""
    begun = perf_counter()
    first, found = None, 0
    async for chunk in host.method("execute_NOUN_stream")(ECHO, count=count):
        if first is None:
            first = perf_counter() - begun
        if chunk["n"] != found:
            raise ValueError("another chunk came")
        found += 1
    took = perf_counter() - begun
    if found != count:
        raise ValueError("%d chunks came" % found)
    return {"first": [first * 1e6], "chunks": [count / took]}


def cancel(mark, calls):
    """The time from the request until the call has ended, for a loop that checks in each iteration whether it is cancelled."""
    times = [cancelled(mark) for _ in range(calls)]
    return {"time": times, "slowest": [max(times)]}


def cancelled(mark):
    proxy = host.proxy(ECHO)
    failed = []

    def run():
        try:
            proxy.execute(mark=mark)
        except Exception as error:
            failed.append((perf_counter(), type(error).__name__))

    thread = threading.Thread(target=run)
    thread.start()
    while not os.path.exists(mark):
        sleep(0.001)
    begun = perf_counter()
    proxy.cancel()
    thread.join()
    os.unlink(mark)
    ended, error = failed[0]
    if not error.endswith("CancelledError"):
        raise ValueError("the call ended with %s" % error)
    return (ended - begun) * 1e3


def workers(count):
    """Starts this many workers, each of which runs a call, and returns their pids."""
    pids = []
    for n in range(count):
        name = "echo-%d" % n
        host.load(ECHO, name)
        host.method("execute_NOUN")(name, text="x")
        pids.append(host.proxy(name).process.pid)
    return {"pid": pids}


try:
    driver.serve(
        load=lambda: host.load(ECHO), execute=execute, concurrent=concurrent, start=start, stream=stream, cancel=cancel, workers=workers
    )
finally:
    host.end()
