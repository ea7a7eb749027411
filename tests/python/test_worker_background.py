"""Tasks that a plugin's coroutines leave behind: they go on between calls, and their errors are logged."""

import unittest

from worker_host import WorkerCase, eventually


class Background(WorkerCase):
    cls = "Background"
    settings = {"module": "background"}

    def failure(self, worker) -> dict:
        """The record of a failed task."""
        while True:
            event = worker.next_event()
            if event["event"] == "log" and "a background task failed" in event["message"]:
                return event

    def test_a_task_goes_on_between_calls(self):
        self.assertIsNone(self.worker.result("tick"))
        self.worker.stdout.find(b"tick 5")
        # Also after the loop was blocked by a call that does not use it.
        self.worker.result("plain")
        ticks = self.worker.result("what")["ticks"]
        self.worker.stdout.find(b"tick %d" % (ticks + 5))

    def test_the_error_of_a_task_is_told_and_nothing_of_it_stays(self):
        self.worker.result("fail")
        record = self.failure(self.worker)
        self.assertEqual((record["level"], record["logger"]), ("error", "bivium_worker"))
        self.assertIn("ValueError: no such luck", record["message"])
        self.assertIn("in _failing", record["message"])
        self.assertEqual(self.worker.result("alive"), [False])

    def test_a_task_that_wants_to_exit_ends_alone(self):
        self.worker.result("tick")
        self.worker.result("fail", "SystemExit")
        self.assertIn("SystemExit: no such luck", self.failure(self.worker)["message"])
        ticks = self.worker.result("what")["ticks"]
        self.worker.stdout.find(b"tick %d" % (ticks + 5))

    def test_the_error_of_a_task_that_its_call_looks_at_is_not_told(self):
        self.assertEqual(self.worker.result("handled"), "handled")
        running = self.worker.begin("unseen")
        # This one is logged while its call runs; the one before would have been logged by now.
        record = self.failure(self.worker)
        self.assertEqual(record["call"], running.id)
        self.worker.cancel(running.id)
        self.assertEqual(running.error_code(), "cancelled")
        self.assertEqual(self.worker.result("alive")[1:], [False])

    def test_a_cancel_affects_its_own_call_and_no_task_of_another(self):
        self.worker.result("work")
        for _ in range(5):
            running = self.worker.begin("defiant")
            message = "/progress?call=" + running.id
            self.assertTrue(eventually(lambda: self.worker.get(message)[1].get("message") == "defiant"))
            self.worker.cancel(running.id)
            self.assertEqual(running.error_code(), "cancelled")
        found = self.worker.result("what")
        self.assertEqual(found["struck"], [])
        self.assertGreater(self.worker.result("what")["ticks"], found["ticks"])

    def test_at_the_end_tasks_are_cancelled(self):
        self.worker.result("tick")
        self.assertEqual(self.worker.post("/cleanup")[0], 200)
        self.worker.stdout.find(b"ticking ends")
        self.assertEqual(self.worker.process.wait(10), 0)

    def test_a_plugin_without_coroutines_has_no_loop(self):
        before = self.worker.result("plain")
        self.worker.result("alive")
        self.assertEqual(self.worker.result("plain"), before)
        self.assertEqual(before["threads"], 2 + self.settings.get("concurrency", 0))


class SharedBackground(Background):
    """The same with several calls at a time, where the loop has a thread of its own."""

    settings = {"module": "background", "concurrency": 2}

    def test_a_cancel_affects_its_own_call_and_no_task_of_another(self):
        # A coroutine on the shared loop is only cancelled through its task: if it ignores that, the host must end it.
        self.worker.result("work")
        running = self.worker.begin("unseen")
        self.worker.cancel(running.id)
        self.assertEqual(running.error_code(), "cancelled")
        self.assertEqual(self.worker.result("what")["struck"], [])


if __name__ == "__main__":
    unittest.main()
