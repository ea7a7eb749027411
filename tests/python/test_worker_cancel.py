"""Cancellation: that it works, how soon, and that it never affects anything else."""

import random
import statistics
import threading
import time
import unittest

from worker_host import LINUX, WorkerCase, eventually, next_id


class Cancel(WorkerCase):
    cls = "Stubborn"

    def cancelled(self, method):
        running = self.worker.begin(method)
        at = time.monotonic()
        status, reply = self.worker.cancel(running.id)
        self.assertEqual((status, reply["state"]), (200, "running"))
        self.assertEqual(running.error_code(), "cancelled", method)
        return running.ended_at - at

    def test_whatever_a_plugin_does_it_stops(self):
        for method in ("sleep", "spin", "wait", "lock", "swallow_exceptions", "cleanup_on_cancel"):
            self.assertLess(self.cancelled(method), 1.0, method)
        self.assertEqual(self.worker.result("what"), ["finally"])
        self.assertEqual(self.worker.result("quick"), "quick")

    @unittest.skipUnless(LINUX, "other systems have no real-time signals")
    def test_a_signal_that_interrupts_nothing_is_sent_again(self):
        self.assertLess(self.cancelled("sleep_though_a_signal_is_lost"), 5.0)

    def test_inside_the_workers_own_code_it_waits_for_the_plugins(self):
        for method in ("log_forever", "progress_forever") * 5:
            self.assertLess(self.cancelled(method), 2.0, method)
        self.assertEqual(self.worker.result("quick"), "quick")

    def test_a_pure_python_loop_stops_within_milliseconds(self):
        times = [self.cancelled("spin") for _ in range(15)]
        self.assertLess(statistics.median(times), 0.010, times)

    def test_a_plugin_that_asks_is_left_to_end_by_itself(self):
        worker = self.start("Stubborn", cancel_grace_s=30)
        running = worker.begin("polite")
        self.assertTrue(eventually(lambda: worker.cancel(running.id)[1]["state"] in ("running", "unknown")))
        self.assertEqual(running.error_code(), "cancelled")
        self.assertIn("ended", running.outcome[1]["error"]["message"])
        self.assertEqual(worker.result("what"), ["asked"])

    def test_a_cancel_method_is_run_and_the_exception_follows(self):
        worker = self.start("WithCancel", cancel_grace_s=30)
        running = worker.begin("execute")
        worker.cancel(running.id)
        self.assertEqual(running.error_code(), "cancelled")
        self.assertEqual(worker.result("what"), ["by cancel()"])
        impatient = self.start("WithCancel", cancel_grace_s=0.05)
        running = impatient.begin("sleep")  # which its cancel() does not end
        impatient.cancel(running.id)
        self.assertEqual(running.error_code(), "cancelled")

    def test_a_stream_is_closed(self):
        client = self.worker.connect()
        self.addCleanup(client.close)
        ident = next_id()
        events = client.stream("endless", ident=ident)
        next(events)
        self.worker.cancel(ident)
        last = list(events)[-1]
        self.assertEqual((last["event"], last["error"]["code"]), ("error", "cancelled"))
        self.assertEqual(self.worker.result("what"), ["closed"])

    def test_a_stream_that_nobody_reads_is_closed(self):
        client = self.worker.connect()
        ident = next_id()
        next(client.stream("big_chunks", ident=ident))
        time.sleep(0.1)  # until the socket is full
        self.worker.cancel(ident)
        self.assertEqual(self.worker.result("what")[-1], "closed")
        client.close()

    def test_a_call_that_waits_never_starts(self):
        blocker = self.worker.begin("sleep")
        ident = next_id()
        outcome = []

        def wait():
            client = self.worker.connect()
            outcome.append(client.call("quick", ident=ident))
            client.close()

        thread = threading.Thread(target=wait)
        thread.start()
        self.worker.cancel(ident)
        self.worker.cancel(blocker.id)
        thread.join(5)
        self.assertEqual(outcome[0][1]["error"]["code"], "cancelled")
        self.assertEqual(self.worker.get("/stats")[1]["calls"]["started"], 1)

    def test_an_unknown_call_is_no_error_but_a_missing_name_is(self):
        self.assertEqual(self.worker.cancel("nobody")[1]["state"], "unknown")
        self.assertEqual(self.worker.post("/cancel")[1]["error"]["code"], "protocol")

    def test_a_cancel_never_affects_another_call(self):
        """Cancels race with the ends of short calls; calls that are not cancelled must return their result."""
        spinner_hits = 0
        client = self.worker.connect()
        control = self.worker.connect()
        self.addCleanup(client.close)
        self.addCleanup(control.close)
        idents: list[str] = []
        done = threading.Event()

        def canceller():
            while not done.is_set():
                if idents:
                    control.request("POST", "/cancel?call=" + random.choice(idents[-3:]))

        thread = threading.Thread(target=canceller)
        thread.start()
        try:
            for number in range(600):
                victim, bystander = "victim-%d" % number, next_id()
                idents.append(victim)
                _, reply = client.call("quick", ident=victim)
                spinner_hits += "error" in reply
                if "error" in reply:
                    self.assertEqual(reply["error"]["code"], "cancelled")
                self.assertEqual(client.call("quick", ident=bystander)[1].get("result"), "quick")
        finally:
            done.set()
            thread.join()
        self.assertGreater(spinner_hits, 0)


class CancelOfThreads(WorkerCase):
    cls = "Several"
    settings = {"concurrency": 2}

    def test_a_loop_on_a_call_thread_stops_and_its_sibling_does_not(self):
        sibling = self.worker.begin("spin")
        for _ in range(3):
            running = self.worker.begin("spin")
            self.worker.cancel(running.id)
            self.assertEqual(running.error_code(), "cancelled")
        self.assertEqual(self.worker.get("/progress?call=" + sibling.id)[1]["state"], "running")
        self.assertEqual(self.worker.result("echo", 5), 5)
        self.worker.cancel(sibling.id)
        self.assertEqual(sibling.error_code(), "cancelled")

    def test_a_cancel_never_affects_another_call_on_the_thread(self):
        client = self.worker.connect()
        control = self.worker.connect()
        self.addCleanup(client.close)
        self.addCleanup(control.close)
        idents: list[str] = []
        done = threading.Event()

        def canceller():
            while not done.is_set():
                if idents:
                    control.request("POST", "/cancel?call=" + idents[-1])

        thread = threading.Thread(target=canceller)
        thread.start()
        try:
            for number in range(300):
                idents.append("victim-%d" % number)
                client.call("echo", 1, ident=idents[-1])
                self.assertEqual(client.call("echo", 2)[1].get("result"), 2)
        finally:
            done.set()
            thread.join()


if __name__ == "__main__":
    unittest.main()
