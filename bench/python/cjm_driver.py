"""Drives cjm-plugin-system or cjm-substrate, whichever the environment has: a host with their manager in it, which runs
`cjm_echo.py` in a worker of theirs.

All settings are their defaults but where data is kept: in the working directory, by a `cjm.yaml` there. The manifest is
written by their own library, with what their `cjm-ctl` finds out about an installed package.
"""

import importlib
import importlib.util
import logging
import os
import pathlib
import sys
import threading
from datetime import datetime, timezone
from time import perf_counter, sleep

import driver
import load

ROOT = next(name for name in ("cjm_plugin_system", "cjm_substrate") if importlib.util.find_spec(name))
NOUN = "plugin" if ROOT == "cjm_plugin_system" else "capability"
HERE = os.path.dirname(os.path.abspath(__file__))


def part(name):
    return importlib.import_module("%s.core.%s" % (ROOT, name))


def write_manifest(folder):
    made, surface = part("manifest_format"), part("capability").derive_structural_surface
    from cjm_echo import Echo

    echo = Echo()
    now = datetime.now(timezone.utc).isoformat()
    schema, found = echo.get_config_schema(), surface(Echo)
    made.write_manifest(
        folder / "echo.json",
        made.ManifestV2(
            install=made.InstallSection(
                python_path=sys.executable, conda_env="echo", env_vars={"PYTHONPATH": HERE}, installed_at=now
            ),
            code=made.CodeSection(
                name=echo.name,
                version=echo.version,
                description="Gives back what it is given",
                module="cjm_echo",
                class_name="Echo",
                config_schema=schema,
                regenerated_at=now,
                structural_surface=found,
            ),
            drift_tracking=made.DriftTracking(
                config_schema_hash=made.compute_config_schema_hash(schema),
                structural_surface_hash=made.compute_structural_surface_hash(found),
            ),
        ),
    )


class Host:
    """A host program of theirs."""

    def __init__(self):
        folder = pathlib.Path.cwd()
        manifests = folder / ".cjm" / "manifests"
        manifests.mkdir(parents=True, exist_ok=True)
        (folder / "cjm.yaml").write_text("runtime:\n  mode: local\ndata_dir: .cjm\n")
        write_manifest(manifests)
        logging.basicConfig(level=logging.WARNING)
        self.manager = getattr(part("manager"), NOUN.capitalize() + "Manager")()
        self.meta = next(meta for meta in self.manager.discover_manifests() if meta.name == "echo")

    def method(self, name):
        return getattr(self.manager, name.replace("NOUN", NOUN))

    def load(self, name="echo"):
        if not self.method("load_NOUN")(self.meta, instance_id=name):
            raise RuntimeError("it does not load; see the log")

    def proxy(self, name="echo"):
        return self.method("get_NOUN")(name)

    def caller(self, through, how):
        """What calls `execute` with a text."""
        end = "" if how == "sync" else "_async"
        if through == "proxy":
            execute = getattr(self.proxy(), "execute" + end)
            return lambda text: execute(text=text)
        execute = self.method("execute_NOUN" + end)
        return lambda text: execute("echo", text=text)

    def unload(self):
        self.method("unload_NOUN")("echo")


host = Host()


def execute(through, how, size, calls):
    call = host.caller(through, how)
    return load.serial(call, size, calls) if how == "sync" else load.serial_async(call, size, calls)


def concurrent(through, how, size, callers, seconds):
    call = host.caller(through, how)
    return (load.threads if how == "sync" else load.tasks)(call, size, callers, seconds)


def start(through):
    """From nothing to a worker that answers: by the proxy's constructor, or by the manager's loading."""
    if host.proxy() is not None:
        host.unload()
    begun = perf_counter()
    if through == "manager":
        host.load()
        took = perf_counter() - begun
        host.unload()
    else:
        proxy = getattr(part("proxy"), "Remote%sProxy" % NOUN.capitalize())(host.meta.manifest)
        took = perf_counter() - begun
        proxy.cleanup()
    return {"time": [took * 1e3]}


async def stream(count):
    """By the manager, which has it for coroutines only."""
    begun = perf_counter()
    first, found = None, 0
    async for chunk in host.method("execute_NOUN_stream")("echo", count=count):
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
    """From the request until the call has ended, of a loop that asks whether it is cancelled each time round."""
    times = [cancelled(mark) for _ in range(calls)]
    return {"time": times, "slowest": [max(times)]}


def cancelled(mark):
    proxy = host.proxy()
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
    """So many workers that have done a call: their pids."""
    pids = []
    for n in range(count):
        name = "echo-%d" % n
        host.load(name)
        host.method("execute_NOUN")(name, text="x")
        pids.append(host.proxy(name).process.pid)
    return {"pid": pids}


try:
    driver.serve(
        load=host.load, execute=execute, concurrent=concurrent, start=start, stream=stream, cancel=cancel, workers=workers
    )
finally:
    host.manager.unload_all()
