"""The case "large data" with cjm-plugin-system: a DTO that writes itself to a file, whose path goes to the worker."""

import os
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
# Before the import below reads it.
os.environ["CJM_DATA_DIR"] = os.path.abspath("cjm")

import driver
from cjm_plugin_system.core.proxy import RemotePluginProxy
from large_data import Round, ones


class Numbers:
    """As `FileBackedDTO` of cjm_plugin_system.core.wire has it. Nobody but us deletes the file."""

    def __init__(self, data):
        self.data = data
        self.took = 0
        self.path = None

    def to_temp_file(self):
        begun = time.perf_counter()
        with tempfile.NamedTemporaryFile(suffix=".bin", delete=False) as file:
            file.write(self.data)
        self.took = time.perf_counter() - begun
        self.path = file.name
        return self.path

    def delete(self):
        os.unlink(self.path)


def proxy():
    manifest = {
        "name": "sums",
        "version": "1.0.0",
        "module": "cjm_sums",
        "class": "Sums",
        "python_path": sys.executable,
        "env_vars": {"PYTHONPATH": HERE},
    }
    return RemotePluginProxy(manifest)


workers = []


def prepare():
    """One worker that makes data and one that sums it; both have been called once."""
    workers.extend([proxy(), proxy()])
    made = workers[0].execute(make=1 << 20)["path"]
    workers[1].execute(made)
    os.unlink(made)


def host_bytes(sizes):
    found = Round()
    for mib in sizes:
        numbers = Numbers(ones(mib))

        def after():
            found.add("written", mib, mib / numbers.took)
            numbers.delete()

        found.summed(mib, lambda: workers[1].execute(numbers)["sum"], after)
    return found.samples


def component_output(sizes):
    """There are no components: one worker's file goes on to another worker."""
    found = Round()
    paths = {}
    for mib in sizes:
        made = []

        def work():
            made.append(workers[0].execute(make=mib << 20)["path"])
            return workers[1].execute(made[-1])["sum"]

        found.summed(mib, work)
        *others, paths[mib] = made
        for path in others:
            os.unlink(path)
    found.passed({mib: passing(path) for mib, path in paths.items()})
    for path in paths.values():
        os.unlink(path)
    return found.samples


def existing_file(files):
    found = Round()
    for mib, path in files.items():
        found.summed(int(mib), lambda: workers[1].execute(path)["sum"])
    found.passed({int(mib): passing(path) for mib, path in files.items()})
    return found.samples


def passing(path):
    return lambda: workers[1].execute(path, take=True)["count"]


try:
    driver.serve(prepare=prepare, host_bytes=host_bytes, component_output=component_output, existing_file=existing_file)
finally:
    for worker in workers:
        worker.cleanup()
