"""The case "large data" with cjm-plugin-system: a DTO that writes itself to a file, whose path goes to the worker."""

import os
import tempfile
import time

import driver
from cjm_host import Host
from cjm_sums import Sums
from large_data import WRITES, Round, ones

host = Host(Sums)


class Numbers:
    """As in `FileBackedDTO` of cjm_plugin_system.core.wire. The peer does not delete the file, so this program does."""

    def __init__(self, data):
        self.data = data
        self.path = None

    def to_temp_file(self):
        with tempfile.NamedTemporaryFile(suffix=".bin", delete=False) as file:
            file.write(self.data)
        self.path = file.name
        return self.path

    def delete(self):
        os.unlink(self.path)


workers = []


def prepare():
    """One worker that makes data and one that sums it; both have been called once."""
    for name in ("making", "summing"):
        host.load("sums", name)
        workers.append(host.proxy(name))
    made = workers[0].execute(make=1 << 20)["path"]
    workers[1].execute(made)
    os.unlink(made)


def host_bytes(sizes):
    found = Round()
    for mib in sizes:
        numbers = Numbers(ones(mib))
        found.summed(mib, lambda: workers[1].execute(numbers)["sum"], numbers.delete)
        for _ in range(WRITES):
            begun = time.perf_counter()
            numbers.to_temp_file()
            found.add("written", mib, mib / (time.perf_counter() - begun))
            numbers.delete()
    return found.samples


def component_output(sizes):
    """The peer has no components: one worker's file is passed on to another worker."""
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
    host.end()
