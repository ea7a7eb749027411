"""The start: the messages to the host, and the environment of the plugin."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

from worker_host import LINUX, PLUGINS, TOKEN, WORKER, Worker, WorkerCase, eventually

OWN_MODULES = 26
"""How many modules of its own a worker has imported when it is ready. Each takes about a quarter of a millisecond."""


class Start(WorkerCase):
    cls = ""

    def failure(self, cls="Echo", module="sample", **settings):
        worker = self.start(cls, module, ready=False, **settings)
        event = worker.next_event()
        self.assertEqual(event["event"], "failed", event)
        self.assertEqual(worker.process.wait(5), 1)
        return event["error"]

    def test_the_handshake_names_port_pid_and_version(self):
        worker = self.start(ready=False)
        event = worker.next_event()
        self.assertEqual(event["event"], "ready")
        self.assertEqual(event["protocol"], 1)
        self.assertEqual(event["python"], "%d.%d.%d" % sys.version_info[:3])
        worker.port = event["port"]
        status, health = worker.get("/health")
        self.assertEqual(
            (status, health["pid"], health["name"], health["version"]), (200, event["pid"], "sample", "1.2.3")
        )

    def test_the_constructor_gets_its_arguments(self):
        worker = self.start("Configured", "constructed", init_args={"size": 3, "names": ["a"]})
        self.assertEqual(worker.result(), {"size": 3, "names": ["a"], "mode": "fast"})
        error = self.failure("Configured", "constructed")
        self.assertEqual(error["code"], "invalid-manifest")
        text = "the constructor Configured(size, names=(), *, mode='fast') needs arguments: give them in the manifest's `init_args`"
        self.assertEqual(error["message"], text + " (missing a required argument: 'size')")
        error = self.failure("Configured", "constructed", init_args={"sise": 1, "mod": 2})
        self.assertEqual(
            error["message"],
            "the manifest's `init_args` do not fit the constructor: missing a required argument: 'size'; there is no parameter "
            "'sise', 'mod'; it is Configured(size, names=(), *, mode='fast')",
        )
        error = self.failure("Configured", "constructed", init_args={"size": 1, "sizes": 2})
        self.assertIn("got an unexpected keyword argument 'sizes'", error["message"])
        for cls, module in (("Configured", "constructed"), ("Open", "hostile")):
            error = self.failure(cls, module, init_args={"size": 1, "self": 2})
            self.assertEqual(error["code"], "invalid-manifest")
            self.assertIn("`init_args` do not fit the constructor: Python itself gives the argument 'self'", error["message"])
        error = self.failure("Unwritten", "hostile", init_args={"sise": 1})
        self.assertEqual(error["code"], "invalid-manifest")
        self.assertIn("missing a required argument: 'size'; there is no parameter 'sise'; it is Unwritten(size, ", error["message"])
        # A TypeError that the constructor itself raises is the plugin's error.
        error = self.failure("Configured", "constructed", init_args={"size": "x"})
        self.assertEqual((error["code"], error["type"]), ("plugin-failed", "TypeError"))

    def test_an_initialize_that_takes_no_configuration_is_told_as_that(self):
        with tempfile.TemporaryDirectory() as directory:
            with open(os.path.join(directory, "bare.py"), "w") as module:
                module.write("class Bare:\n    def initialize(self):\n        pass\n")
            worker = self.start("Bare", "bare", source=[directory])
            status, reply = worker.post("/initialize", {"call": "1", "config": {}})
            self.assertNotEqual(status, 200)
            self.assertEqual(reply["error"]["code"], "invalid-config")
            self.assertIn("write `def initialize(self, config)`", reply["error"]["message"])

    def test_a_function_is_a_plugin(self):
        for name, reply in (("count", {"words": 2}), ("later", {"words": 2}), ("Configured.parsed", ["a", "b"])):
            worker = self.start(function=name, module="constructed", **{"class": ""})
            self.assertEqual(worker.result("execute", text="a b"), reply, name)
        worker = self.start(function="count", module="constructed")
        self.assertEqual(worker.error("execute", 1, 2, 3)["code"], "invalid-input")
        self.assertEqual(worker.error("count", text="a")["code"], "not-found")
        self.assertEqual([method["name"] for method in worker.get("/methods")[1]["methods"]], ["execute"])
        method = worker.get("/methods")[1]["methods"][0]
        self.assertEqual((method["description"], method["signature"]), ("Counts words.", "(text: str, times: int = 1)"))
        client = self.start(function="pieces", module="constructed").connect()
        self.addCleanup(client.close)
        events = list(client.stream("execute", text="a b"))
        self.assertEqual([event.get("payload", {}).get("json") for event in events], ["a", "b", None])

    def test_a_name_that_is_not_a_function_is_reported(self):
        error = self.failure("", function="missing", module="constructed")
        self.assertEqual(error["code"], "invalid-manifest")
        self.assertIn("the module 'constructed' has no function 'missing'; it has: count, doubled, kept, later, pieces, placed", error["message"])
        error = self.failure("", function="Configured", module="constructed")
        self.assertIn("constructed:Configured is a class, not a function: give `module` and `class`", error["message"])

    def test_a_name_that_may_be_of_either_is_what_the_module_has(self):
        worker = self.start("Placed", "constructed", function="Placed")
        self.assertEqual(worker.result("execute", 1), [1, 2])
        self.assertEqual(self.start("count", "constructed", function="count").result("execute", "a b"), {"words": 2})
        error = self.failure("missing", "constructed", function="missing")
        self.assertIn("has no class or function 'missing'; it has: Configured, Placed, count, ", error["message"])
        error = self.failure("count", "constructed")
        self.assertIn("has no class 'count'; 'count' is a function: name it by `function`", error["message"])

    def test_what_python_takes_by_position_alone_is_given_by_name(self):
        worker = self.start(function="placed", module="constructed")
        self.assertEqual(worker.result("execute", a=1), [1, 2, [], 3, {}])
        self.assertEqual(worker.result("execute", b=5, a=1, c=4, d=6), [1, 5, [], 4, {"d": 6}])
        self.assertEqual(worker.result("execute", 1, a=7, c=4), [1, 2, [], 4, {"a": 7}])
        self.assertEqual(worker.result("execute", 1, b=7), [1, 7, [], 3, {}])
        error = worker.error("execute", b=7)
        self.assertEqual(error["code"], "invalid-input")
        self.assertIn("missing a required", error["message"])
        self.assertEqual(self.start("Placed", "constructed").result(b=5, a=1), [1, 5])

    def test_a_function_in_c_is_a_plugin(self):
        self.assertEqual(self.start(function="pow", module="constructed").result(x=2, y=3), 8.0)
        worker = self.start(function="len", module="builtins")
        self.assertEqual(worker.result("execute", obj=[1, 2]), 2)
        self.assertEqual(worker.error("execute", 1, 2)["code"], "invalid-input")
        worker = self.start(function="max", module="builtins")
        self.assertEqual(worker.result("execute", 1, 2), 2)
        error = worker.error("execute", a=1, b=2)
        self.assertEqual(error["code"], "invalid-input")
        self.assertIn("execute has no parameter names, so give its arguments by position: max", error["message"])
        self.assertEqual(worker.get("/methods")[1]["methods"][0]["name"], "execute")
        # An error about its values is not an error about names.
        error = worker.error("execute", 1, 2, key=3)
        self.assertEqual((error["code"], error["message"]), ("plugin-failed", "'int' object is not callable"))
        self.assertEqual(self.start(function="doubled", module="constructed").result("execute", x=4), 8)

    def test_a_class_that_the_module_imports_is_found(self):
        self.assertEqual(self.start("Echo", "reexported").result("add", 1), 2)
        error = self.failure("Missing", "reexported")
        self.assertIn("it has: Echo", error["message"])

    def test_a_configuration_that_nobody_takes_is_refused(self):
        worker = self.start("Configured", "constructed", init_args={"size": 3})
        for config in ({}, None):
            self.assertEqual(worker.post("/initialize", {"config": config})[0], 200)
        status, reply = worker.post("/initialize", {"config": {"mode": "good"}})
        self.assertEqual((status, reply["error"]["code"]), (422, "invalid-config"))
        message = "the class Configured takes no configuration, as it has no `initialize`, and 'mode' is set"
        self.assertIn(message, reply["error"]["message"])
        self.assertIn("`init_args`", reply["error"]["message"])
        worker = self.start(function="count", module="constructed")
        status, reply = worker.post("/initialize", {"config": {"a": 1, "b": 2}})
        self.assertIn("a function takes no configuration, and 2 keys are set", reply["error"]["message"])

    def test_failures_before_the_handshake_say_what_is_wrong(self):
        error = self.failure(module="no_such_module")
        self.assertEqual(error["code"], "invalid-manifest")
        self.assertIn("no_such_module", error["message"])
        self.assertIn(PLUGINS, error["message"])
        self.assertNotIn("did you mean", error["message"])
        self.assertIn("; did you mean 'hostile'?", self.failure(module="hostlie")["message"])
        package = os.path.join(tempfile.mkdtemp(), "package")
        self.addCleanup(shutil.rmtree, os.path.dirname(package))
        os.mkdir(package)
        open(os.path.join(package, "Inner.py"), "w").close()
        error = self.failure(module="package.iner", source=[os.path.dirname(package), "/no/such"])
        self.assertIn("; did you mean 'package.Inner'?", error["message"])
        error = self.failure(cls="NoSuchClass")
        self.assertEqual(error["code"], "invalid-manifest")
        self.assertIn("Echo", error["message"])
        error = self.failure(module="broken_import")
        self.assertEqual((error["code"], error["type"]), ("plugin-failed", "ImportError"))
        self.assertIn("broken on purpose", error["message"])
        self.assertIn("broken_import.py", error["traceback"])
        self.assertNotIn("bivium_worker", error["traceback"])
        self.assertNotIn("importlib", error["traceback"])
        error = self.failure(module="broken_syntax")
        self.assertEqual((error["code"], error["type"]), ("plugin-failed", "SyntaxError"))
        error = self.failure(module="missing_dependency")
        self.assertEqual(error["code"], "plugin-failed")
        self.assertIn("module_that_is_not_there", error["message"])
        self.assertNotIn("importlib", error["traceback"])
        error = self.failure(module="exits")
        self.assertEqual((error["code"], error["type"]), ("plugin-failed", "SystemExit"))
        error = self.failure("Raises")
        self.assertEqual((error["code"], error["type"]), ("plugin-failed", "RuntimeError"))
        self.assertIn("not today", error["message"])
        error = self.failure("NeedsArgument")
        self.assertIn("what", error["message"])
        error = self.failure(protocol=2)
        self.assertEqual(error["code"], "protocol")
        error = self.failure(token="short")
        self.assertEqual(error["code"], "protocol")

    def test_garbage_on_stdout_and_stdin_cannot_disturb_the_handshake(self):
        worker = self.start("Noisy", "noisy")
        self.assertEqual(worker.result(), "fine")
        self.assertEqual(worker.stdout.next(), b"garbage before the handshake\n")

    def test_stray_modules_in_the_working_directory_are_not_imported(self):
        with tempfile.TemporaryDirectory() as stray:
            for name in ("json", "settings", "codec", "logging"):
                with open(os.path.join(stray, name + ".py"), "w") as file:
                    file.write("raise SystemExit('stray')")
            worker = self.start(cwd=stray)
            self.assertEqual(worker.result()["args"], [])

    def test_modules_of_the_worker_do_not_hide_the_plugins(self):
        with tempfile.TemporaryDirectory() as source:
            with open(os.path.join(source, "settings.py"), "w") as file:
                file.write("class Own:\n    def execute(self):\n        return 'own settings'\n")
            worker = self.start("Own", "settings", source=[source])
            self.assertEqual(worker.result(), "own settings")

    def test_the_plugin_finds_nothing_of_the_hosts(self):
        worker = self.start()
        found = worker.result("environment")
        self.assertTrue(found["main"])
        self.assertEqual(found["cwd"], os.getcwd())
        self.assertNotIn(os.path.realpath(WORKER), map(os.path.realpath, found["path"]))
        self.assertEqual(found["path"][0], PLUGINS)
        self.assertFalse([part for part in found["argv"] if TOKEN in part])
        with open("/proc/%d/environ" % worker.pid, "rb") as file:
            self.assertNotIn(TOKEN.encode(), file.read())

    @unittest.skipUnless(LINUX, "reads /proc")
    def test_programs_that_the_plugin_starts_inherit_three_descriptors(self):
        worker = self.start("Families")
        child = worker.result("children")[0]
        self.assertEqual(sorted(os.listdir("/proc/%d/fd" % child)), ["0", "1", "2"])
        self.assertEqual(os.readlink("/proc/%d/fd/0" % child), "/dev/null")

    def test_a_host_that_dies_before_the_settings_leaves_nothing(self):
        ours, theirs = socket.socketpair()
        process = subprocess.Popen(
            [sys.executable, WORKER], stdin=theirs, stderr=subprocess.DEVNULL, start_new_session=True
        )
        theirs.close()
        ours.close()
        self.assertIsNotNone(process.wait(5))

    def test_stdout_stderr_and_logging_are_told_apart(self):
        worker = self.start()
        self.assertEqual(worker.result("say"), "")
        self.assertEqual(worker.stdout.next(), b"to stdout\n")
        self.assertEqual(worker.stdout.next(), b"from C\n")
        self.assertEqual(worker.stderr.next(), b"to stderr\n")
        event = worker.next_event()
        self.assertEqual(
            (event["event"], event["level"], event["logger"], event["message"]),
            ("log", "warning", "sample.words", "logged 7"),
        )
        self.assertTrue(event["call"].startswith("call-"))

    def test_the_log_level_is_the_hosts(self):
        worker = self.start(log_level="debug")
        worker.result("say")
        self.assertEqual([worker.next_event()["level"], worker.next_event()["level"]], ["warning", "debug"])


class Imports(WorkerCase):
    """What a worker imports before it is ready: nearly all of its start is that."""

    cls = ""
    settings: dict = {}

    def run_plugin(self, text, **settings):
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        with open(os.path.join(directory, "small.py"), "w") as file:
            file.write(text)
        return self.start("Small", "small", source=[directory], **settings)

    def test_a_small_plugin_starts_with_few_modules(self):
        worker = self.run_plugin(
            "import sys\nfound = sorted(sys.modules)\nclass Small:\n    def execute(self):\n        return found\n"
        )
        found = set(worker.result())
        # These take long to import, and many plugins need none of them.
        slow = {"asyncio", "contextlib", "ctypes", "importlib.util", "inspect", "logging", "runpy", "signal", "socket"}
        slow |= {"tempfile", "traceback", "typing", "urllib"}
        # Those of the machine's `sitecustomize` and of `.pth` files are there in any case.
        bare = subprocess.run(
            [sys.executable, "-c", "import sys; print(*sys.modules)"], stdout=subprocess.PIPE, check=True, text=True
        )
        self.assertEqual(found & slow - set(bare.stdout.split()), set())
        own = sorted(name for name in found if name.startswith("bivium_worker."))
        self.assertLessEqual(len(own), OWN_MODULES, own)

    def test_records_are_sent_when_logging_is_imported_by_a_call(self):
        worker = self.run_plugin(
            "import sys\n"
            "class Small:\n"
            "    def execute(self):\n"
            "        before = 'logging' in sys.modules\n"
            "        import logging.handlers, importlib.util\n"
            "        logging.basicConfig(level=logging.ERROR)\n"
            "        log = logging.getLogger('late')\n"
            "        log.debug('too low'); log.info('sent')\n"
            "        names = [type(finder).__name__ for finder in sys.meta_path]\n"
            "        return [before, len(logging.root.handlers), 'Finder' in names, logging.__loader__.get_source('logging') != '']\n",
            log_level="info",
        )
        self.assertEqual(worker.result(), [False, 1, False, True])
        event = worker.next_event()
        self.assertEqual((event["event"], event["level"], event["logger"]), ("log", "info", "late"))
        self.assertEqual(event["message"], "sent")
        self.assertTrue(event["call"].startswith("call-"))

    def test_an_import_of_logging_that_fails_is_tried_again(self):
        worker = self.run_plugin(
            "import builtins, importlib.util, sys\n"
            "class Small:\n"
            "    def execute(self):\n"
            "        importlib.util.find_spec('logging')\n"
            "        plain = builtins.__import__\n"
            "        def refuse(name, *rest):\n"
            "            if name == 'weakref':\n"
            "                raise MemoryError\n"
            "            return plain(name, *rest)\n"
            "        builtins.__import__ = refuse\n"
            "        try:\n"
            "            import logging\n"
            "            return 'imported'\n"
            "        except MemoryError:\n"
            "            pass\n"
            "        finally:\n"
            "            builtins.__import__ = plain\n"
            "        import logging\n"
            "        logging.warning('sent')\n"
        )
        self.assertIsNone(worker.result())
        self.assertEqual(worker.next_event()["message"], "sent")

    def test_a_module_of_the_plugin_does_not_replace_logging(self):
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        with open(os.path.join(directory, "logging.py"), "w") as file:
            file.write("raise RuntimeError('not this one')\n")
        worker = self.start("Echo", "sample", source=[PLUGINS, directory][::-1])
        worker.result("say")
        self.assertEqual(worker.next_event()["message"], "logged 7")


class End(WorkerCase):
    cls = "Configured"

    def test_cleanup_runs_the_plugins_and_ends_the_worker(self):
        self.assertEqual(self.worker.post("/cleanup")[0], 200)
        self.assertEqual(self.worker.process.wait(5), 0)
        self.assertEqual(self.worker.stdout.find(b"cleaned"), b"cleaned\n")
        self.assertEqual(self.worker.next_event(), {"event": "exit", "status": 0, "signal": None})
        with self.assertRaises(AssertionError):
            self.worker.stdout.find(b"cleaned")

    def test_sigterm_ends_in_good_order(self):
        os.kill(self.worker.process.pid, 15)  # the guard passes it on
        self.assertEqual(self.worker.process.wait(5), 0)
        self.assertEqual(self.worker.stdout.find(b"cleaned"), b"cleaned\n")

    def test_sigterm_lets_the_running_call_end(self):
        worker = self.start("Progress")
        running = worker.begin("execute", 1, 0.3)
        os.kill(worker.pid, 15)
        self.assertEqual(running.wait()[1]["result"], "done")
        self.assertEqual(worker.process.wait(5), 0)

    def test_sigint_is_left_to_the_host(self):
        os.killpg(self.worker.process.pid, 2)
        self.assertEqual(self.worker.result()["config"], None)


class Embedding(unittest.TestCase):
    def test_the_package_is_standard_library_only_and_small(self):
        here = os.path.dirname(WORKER)
        code = "import sys; sys.path[:0] = [%r]; before = set(sys.modules); import bivium_worker.worker; " % here
        code += "print(sorted(n for n in set(sys.modules) - before if not n.startswith('bivium_worker')))"
        out = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True).stdout
        for heavy in ("http.server", "asyncio", "inspect", "ctypes", "dataclasses", "hashlib", "email", "typing"):
            self.assertNotIn(repr(heavy), out)

    @unittest.skipUnless(LINUX, "reads /proc")
    def test_memory_stays_near_the_interpreters(self):
        worker = Worker()
        try:
            worker.result()
            # The same interpreter with the modules that this plugin imports.
            bare = subprocess.Popen(
                [sys.executable, "-c", "import sys; sys.path[:0] = [%r]; import sample; input()" % PLUGINS],
                stdin=subprocess.PIPE,
            )
            try:
                self.assertTrue(eventually(lambda: "_ctypes" in maps(bare.pid)))
                self.assertTrue(eventually(lambda: own_kib(worker.pid) < own_kib(bare.pid) + 12 * 1024))
            finally:
                bare.communicate(b"\n")
        finally:
            worker.stop()


def maps(pid: int) -> str:
    with open("/proc/%d/maps" % pid) as file:
        return file.read()


def own_kib(pid: int) -> int:
    with open("/proc/%d/status" % pid) as file:
        return int(next(line for line in file if line.startswith("RssAnon")).split()[1])


if __name__ == "__main__":
    unittest.main()
