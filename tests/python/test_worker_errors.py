"""Errors whose own code raises: the call reports the error with which it ended, and the worker continues."""

import unittest

from plugins.own_code import ATTRIBUTES, MORE
from worker_host import WorkerCase

WHATS = [*ATTRIBUTES, *MORE, "unhashable", "meta", "named", "module", "long", "cause", "ended", "interrupted-args", "interrupted-exceptions"]


class OwnCode(WorkerCase):
    cls = "Strange"
    settings = {"module": "own_code"}

    def tried(self, worker):
        for what in WHATS:
            with self.subTest(what=what):
                error = worker.error("fail", what)
                self.assertEqual(error["code"], "plugin-failed", error)
                if what not in ("ended", "cause", "long", "unhashable"):
                    self.assertEqual(error["type"].rpartition(".")[2], "Strange")
                self.assertEqual(error["message"], "(its __str__ raised SystemExit)" if what == "ended" else error["message"])
                if what not in ("args", "ended", "getattribute"):
                    self.assertIn("said", error["message"])
                self.assertLess(len(error["type"]), 500)
                self.assertIn("in fail", error["traceback"])
                self.assertEqual(worker.error("fail_in_a_task", what)["code"], "plugin-failed")
                client = worker.connect()
                last = list(client.stream("fail_in_a_generator", what))[-1]
                client.close()
                self.assertEqual(last["error"]["code"], "plugin-failed", last)
        self.assertEqual(worker.result("add", 1, 2), 3)

    def test_of_any_plugin(self):
        self.tried(self.worker)

    def test_of_a_confined_one(self):
        self.tried(self.start("Strange", confined=True, private=["/"], **self.settings))

    def test_on_call_threads(self):
        self.tried(self.start("Strange", concurrency=2, **self.settings))

    def test_while_it_is_configured_and_started(self):
        worker = self.start("StrangeConfig", **self.settings)
        for what in WHATS:
            status, reply = worker.post("/initialize", {"config": {"what": what}})
            self.assertIn(reply["error"]["code"], ("plugin-failed", "invalid-config"), reply)
        for what in ("__class__", "__traceback__", "meta", "ended"):
            starting = self.start("StrangeStart", ready=False, init_args={"what": what}, **self.settings)
            event = starting.next_event()
            self.assertEqual((event["event"], event["error"]["code"]), ("failed", "plugin-failed"), event)


if __name__ == "__main__":
    unittest.main()
