"""Processes that a plugin starts: their signal handlers and descriptors, and that they end when they are told to."""

import json
import os
import signal
import subprocess
import sys
import threading
import unittest

from worker_host import LINUX, PLUGINS, WorkerCase

FRESH = "import sys, json; sys.path[:0] = [%r]; import forks; print(json.dumps(forks.signals()))" % PLUGINS


@unittest.skipUnless(LINUX, "reads /proc")
class Signals(WorkerCase):
    def setUp(self):
        self.fresh = json.loads(subprocess.check_output([sys.executable, "-c", FRESH], start_new_session=True))
        self.worker = self.start("Forks", "forks")

    def test_children_have_pythons_default_signal_handlers(self):
        self.assertEqual(self.fresh["SIGINT"], "fresh")
        ways = ("os.fork", "grandchild", "os.forkpty", "pty.fork", "thread", "fork", "spawn", "forkserver")
        for way in (*ways, "subprocess", "preexec_fn", "posix_spawn"):
            self.assertEqual(self.worker.result("look", way), self.fresh, way)
        # These pass on the signals that Python itself ignores, also in any other Python program.
        for way in ("exec", "no restore"):
            self.assertEqual(self.worker.result("look", way), self.fresh, way)
        self.assertEqual(self.worker.result("early_child")[1], self.fresh)

    def test_with_several_calls_at_once_too(self):
        worker = self.start("Forks", "forks", concurrency=3)
        for way in ("os.fork", "grandchild", "fork", "subprocess"):
            self.assertEqual(worker.result("look", way), self.fresh, way)

    def test_programs_ignore_and_block_nothing(self):
        script = "import json, sys; sys.path[:0] = [%r]; import forks; " % PLUGINS
        script += "print(json.dumps(forks.Forks().status_of_program()))"
        plain = json.loads(subprocess.check_output([sys.executable, "-c", script], start_new_session=True))
        found = self.worker.result("status_of_program")
        self.assertEqual(found, plain)
        self.assertEqual(int(found["SigIgn:"], 16) & (1 << signal.SIGINT - 1 | 1 << signal.SIGPIPE - 1), 0)

    def test_what_the_plugin_has_set_is_inherited(self):
        found = self.worker.result("own_handlers")
        self.assertTrue(found["SigIgn:"] & 1 << signal.SIGTERM - 1)
        self.assertEqual(found["SIGINT"], repr(signal.SIG_DFL))

    def test_a_child_can_be_interrupted(self):
        self.assertEqual(self.worker.result("interrupt_child"), 42)

    def test_a_worker_whose_host_ignores_sigint_has_the_same_children(self):
        old = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            worker = self.start("Forks", "forks")
        finally:
            signal.signal(signal.SIGINT, old)
        for way in ("os.fork", "subprocess"):
            self.assertEqual(worker.result("look", way), self.fresh, way)


@unittest.skipUnless(LINUX, "reads /proc")
class Descriptors(WorkerCase):
    def setUp(self):
        self.worker = self.start("Forks", "forks")

    def foreign(self, found):
        """Descriptors of a child that are neither the standard ones nor the pipes of the test."""
        return {fd: what for fd, what in found.items() if int(fd) > 2 and not what.startswith("pipe:")}

    def test_children_have_no_descriptors_of_the_worker(self):
        for deep in (False, True):
            self.assertEqual(self.foreign(self.worker.result("descriptors", deep)), {})
        self.assertEqual(self.foreign(self.worker.result("early_child")[0]), {})
        # The worker's own pipes: a child has as many as the plugin made.
        found = self.worker.result("descriptors", False)
        self.assertEqual(sum(what.startswith("pipe:") for fd, what in found.items() if int(fd) > 2), 2)

    def test_each_is_closed_once(self):
        found = self.worker.result("child_keeps_its_files")
        self.assertEqual(len(found), 120)
        self.assertTrue(all(found))
        self.worker.stop()
        with self.assertRaises(AssertionError):
            print(self.worker.stderr.next())

    def test_no_connection_leaks_into_a_child_however_threads_race(self):
        worker = self.start("Forks", "forks", concurrency=2)
        running = worker.begin("storm", 2.0)
        asked = 0
        while running.outcome is None:
            worker.get("/health")
            worker.call("look", "nothing") if asked % 5 == 0 else None
            asked += 1
        self.assertGreater(asked, 10)
        self.assertEqual(running.outcome[1]["result"], [])

    def test_a_child_that_reports_progress_disturbs_nothing(self):
        client = self.worker.connect()
        self.addCleanup(client.close)
        events = list(client.stream("report_from_child", unary=True))
        self.assertEqual(events[-1], {"event": "done"})
        self.assertEqual([e["payload"]["json"] for e in events if e["event"] == "chunk"], [[False, True]])
        self.assertEqual([e["message"] for e in events if e["event"] == "progress"], ["from the parent"])


@unittest.skipUnless(LINUX, "processes of this kind")
class Families(WorkerCase):
    def setUp(self):
        self.worker = self.start("Forks", "forks")

    def test_pools_end(self):
        self.assertEqual(self.worker.result("pool", 30), [285] * 30)
        for way in ("spawn", "forkserver"):
            self.assertEqual(self.worker.result("pool", 2, way), [285] * 2)

    def test_pools_in_pools_end(self):
        self.assertEqual(self.worker.result("nested", 5), [[30] * 4] * 5)

    def test_terminate_ends_a_process(self):
        for way in ("fork", "spawn", "forkserver"):
            self.assertEqual(self.worker.result("terminate", way), [-signal.SIGTERM] * 4, way)

    def test_an_executor_whose_process_died_says_so(self):
        for way in ("fork", "spawn"):
            self.assertEqual(self.worker.result("broken_executor", way), "broken, broken, broken", way)

    def test_a_module_that_imports_the_workers_package_works_in_spawned_processes(self):
        worker = self.start("Spawns", "spawns")
        for way in ("fork", "spawn", "forkserver"):
            self.assertEqual(worker.result("execute", way), [[n * n, False, True] for n in range(3)], way)

    def test_queues_locks_values_and_managers(self):
        for way in ("fork", "spawn", "forkserver"):
            self.assertEqual(self.worker.result("shared", way), [3, True], way)
            self.assertEqual(self.worker.result("manager", way), {"a": 1, "b": 2}, way)

    def test_a_child_that_comes_back_ends_as_a_program_does(self):
        for how, status in (("exit", 7), ("exit with words", 1), ("raise", 1), ("return", 0)):
            self.assertEqual(self.worker.result("comes_back", how), status, how)
            self.assertEqual(os.listdir(self.worker.exchange), [], how)
        self.worker.stderr.find(b"these words")
        self.worker.stderr.find(b"ValueError: in the child")
        self.worker.stop()
        self.assertEqual(self.worker.stdout.next(), b"printed in the child" * 4)

    def test_a_stream_that_forks_goes_on_in_the_parent_alone(self):
        client = self.worker.connect()
        self.addCleanup(client.close)
        events = list(client.stream("stream_comes_back"))
        self.assertEqual([event["event"] for event in events], ["chunk", "chunk", "done"])
        self.assertEqual(events[1]["payload"]["json"], 0)

    def test_cancelling_a_call_with_children_ends_the_call_alone(self):
        running = self.worker.begin("pool", 1000)
        self.worker.cancel(running.id)
        self.assertEqual(running.error_code(), "cancelled")
        self.assertEqual(self.worker.result("pool", 1), [285])

    def test_pools_on_several_threads(self):
        worker = self.start("Forks", "forks", concurrency=3)
        found = []
        threads = [threading.Thread(target=lambda: found.append(worker.result("pool", 5))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(found, [[285] * 5] * 3)


if __name__ == "__main__":
    unittest.main()
