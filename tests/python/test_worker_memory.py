"""After a call has failed or was cancelled, none of its objects is alive, without a garbage collection."""

import unittest

from worker_host import LINUX, WorkerCase, eventually

PLAIN = (
    *("plain", "circle", "own circle", "cause", "context", "hidden context", "group", "unspeakable", "kept", "same"),
    *("memory", "exit", "signature", "logged", "last", "unfit", "unfit deep", "file fails", "context variable"),
    *("thread", "pool", "thread dies"),
)


class Memory(WorkerCase):
    settings: dict = {}

    def setUp(self):
        self.worker = self.start("Falls", "ballast", cancel_grace_s=0.05, **self.settings)

    def nothing_is_left(self, what):
        # A thread that has answered may still have to run a few instructions.
        self.assertTrue(
            eventually(lambda: self.worker.result("alive") == 0, 2.0), "%s: %d" % (what, self.worker.result("alive"))
        )

    def test_plain_calls(self):
        for way in PLAIN:
            for _ in range(2):
                self.assertNotIn(self.worker.error("fall", way)["code"], ("internal", "protocol"), way)
                self.nothing_is_left(way)
        self.assertEqual(self.worker.error("signature", 1)["code"], "invalid-input")
        self.assertEqual(self.worker.result("loose"), [])

    def test_an_error_that_the_plugin_keeps_still_says_where_it_was_raised(self):
        self.worker.error("fall", "kept")
        self.assertEqual(self.worker.result("why_kept")[-4:], ["fall", "remembering", "remembering", "fall"])

    def test_coroutines(self):
        for way in ("fails", "circle", "task", "gather", "left behind", "exit", "unfit"):
            for _ in range(2):
                self.assertEqual(self.worker.error("coroutine", way)["code"], "plugin-failed", way)
                self.nothing_is_left(way)
        self.assertEqual(self.worker.result("coroutine", "good"), 1 << 20)
        self.nothing_is_left("a good one")

    def test_generators_that_fail(self):
        for method in ("generate", "generate_async"):
            for way in ("fails", "unfit"):
                self.assertEqual(self.worker.error(method, way)["code"], "plugin-failed")
                self.nothing_is_left(method)
                client = self.worker.connect()
                events = list(client.stream(method, way))
                client.close()
                self.assertEqual([event["event"] for event in events], ["chunk"] * 3 + ["error"])
                self.nothing_is_left("a stream of %s" % method)
            self.assertEqual(len(self.worker.result(method, "ends")), 3)
            self.nothing_is_left("a good %s" % method)

    def test_generators_that_are_cancelled(self):
        for method in ("generate", "generate_async"):
            for way in ("waits", "endless"):
                if way == "waits":
                    running = self.worker.begin(method, way)
                    self.worker.cancel(running.id)
                    self.assertEqual(running.error_code(), "cancelled", method)
                    self.nothing_is_left(method)
                ident = "%s-%s" % (method, way)
                client = self.worker.connect()
                events = client.stream(method, way, ident=ident)
                self.assertEqual([next(events)["event"] for _ in range(3)], ["chunk"] * 3)
                self.worker.cancel(ident)
                self.assertEqual(list(events)[-1]["error"]["code"], "cancelled")
                client.close()
                self.nothing_is_left("a stream of %s" % method)

    def test_generators_whose_reader_goes(self):
        for method in ("generate", "generate_async"):
            for way in ("waits", "endless"):
                client = self.worker.connect()
                next(client.stream(method, way))
                client.close()
                self.nothing_is_left("%s %s" % (method, way))

    def test_cancelled_calls(self):
        for way in ("sleep", "spin", "circle", "polite", "report", "thread"):
            if way in ("sleep", "thread") and self.settings:
                continue  # code that is not on the main thread is not interrupted there
            for _ in range(2):
                running = self.worker.begin("wait", way)
                self.worker.cancel(running.id)
                self.assertEqual(running.error_code(), "cancelled", way)
                self.nothing_is_left(way)
        running = self.worker.begin("coroutine", "sleep")
        self.worker.cancel(running.id)
        self.assertEqual(running.error_code(), "cancelled")
        self.nothing_is_left("a coroutine that sleeps")

    def test_events_of_calls_with_a_single_result(self):
        for method, way in (("fall", "circle"), ("coroutine", "circle"), ("coroutine", "good"), ("alive", None)):
            client = self.worker.connect()
            events = list(client.stream(method, *([way] if way else []), unary=True))
            client.close()
            self.assertIn(events[-1]["event"], ("error", "done"))
            self.nothing_is_left(method)

    def test_hooks(self):
        self.assertEqual(self.worker.post("/initialize", {"config": {"fall": 1}})[1]["error"]["code"], "invalid-config")
        self.nothing_is_left("initialize")
        self.assertEqual(self.worker.get("/config")[1]["error"]["code"], "plugin-failed")
        self.nothing_is_left("get_current_config")

    def test_a_suspended_generator_in_a_traceback_goes_on(self):
        self.assertEqual(self.worker.error("hold_generator")["type"], "ValueError")
        self.assertEqual(self.worker.result("use_generator"), "still there")


class MemoryOfThreads(Memory):
    settings = {"concurrency": 2}


@unittest.skipUnless(LINUX, "reads /proc")
class Heavy(WorkerCase):
    def test_arguments_and_results_of_failed_calls_are_given_back(self):
        for settings in ({}, {"concurrency": 2}):
            worker = self.start("Falls", "ballast", max_request_bytes=400 << 20, **settings)
            before = worker.result("resident")
            argument = "x" * (50 << 20)
            for method, arguments in (
                ("heavy", [argument]),
                ("heavy_async", [argument]),
                ("heavy", [argument, "and", "too", "many"]),
                ("no_such_method", [argument]),
                ("heavy", [argument, False]),
            ):
                for _ in range(2):
                    worker.call(method, *arguments)
                    grown = worker.result("resident") - before
                    self.assertLess(grown, 40, method)


if __name__ == "__main__":
    unittest.main()
