"""Plugins of cjm-plugin-system: when the module that runs them is used, and the tasks of their adapters."""

import os
import tempfile

from worker_host import Worker, WorkerCase

PLUGIN = """
from cjm_plugin_system.core import Base

class Theirs(Base):
    def initialize(self, config): self.config = config
    def reconfigure(self, old, new): self.config = {"old": old, "new": new}
    def execute(self): return self.config
    def double(self, n): return 2 * n

class Ours:
    def double(self, n): return 2 * n

class Adapter:
    def __init__(self, plugin): self.plugin = plugin
    def twice(self, n): return self.plugin.double(n)

class Broken:
    def __init__(self, plugin): raise ValueError("no model")
"""

ADAPTERS = [
    {"task": "numbers", "module": "theirs", "class": "Adapter"},
    {"task": "broken", "module": "theirs", "class": "Broken"},
]


class Cjm(WorkerCase):
    cls = ""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.source = directory.name
        os.mkdir(os.path.join(self.source, "cjm_plugin_system"))
        self.write("cjm_plugin_system/__init__.py", "")
        self.write("cjm_plugin_system/core.py", "class Base:\n    def of_the_base(self): pass\n")
        self.write("theirs.py", PLUGIN)

    def write(self, name: str, text: str) -> None:
        with open(os.path.join(self.source, *name.split("/")), "w") as file:
            file.write(text)

    def begun(self, cls: str, **settings) -> Worker:
        worker = self.start(cls, "theirs", ready=False, source=[self.source], **settings)
        # It may say before that it is ready what it has not found.
        ready = next(event for event in iter(worker.next_event, None) if event["event"] != "log")
        self.assertEqual(ready["event"], "ready", ready)
        worker.port, worker.pid = ready["port"], ready["pid"]
        return worker

    def test_a_class_of_theirs_is_known_by_its_base(self):
        worker = self.begun("Theirs")
        self.assertEqual(worker.result("double", 4), 8)
        self.assertIn("no method 'of_the_base'", worker.error("of_the_base")["message"])
        for config in ({"a": 1}, {"a": 2}):
            self.assertEqual(worker.post("/initialize", {"call": "c", "config": config})[0], 200)
        self.assertEqual(worker.result(), {"old": {"a": 1}, "new": {"a": 2}})

    def test_the_hosts_setting_names_adapters_for_any_class(self):
        for cls in ("Theirs", "Ours"):
            worker = self.begun(cls, ancestor={"adapters": ADAPTERS})
            self.assertEqual(worker.result("numbers.twice", 4), 8)
            self.assertIn("no adapter here: theirs.Broken: ValueError: no model", worker.error("broken.any")["message"])
        worker = self.begun("Ours")
        self.assertEqual(worker.error("numbers.twice", 4)["code"], "not-found")

    def test_a_setting_of_the_wrong_type_is_refused(self):
        for wrong in ([], {"adapters": 7}, {"adapters": [{"task": "t"}]}):
            worker = self.start("Ours", "theirs", ready=False, source=[self.source], ancestor=wrong)
            self.assertEqual(worker.next_event()["error"]["code"], "protocol")
