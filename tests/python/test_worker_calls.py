"""Calls: arguments, methods, results, errors, streams, blobs."""

import json
import os
import shutil
import tempfile
import threading
import time
import unittest

from worker_host import Worker, WorkerCase, eventually, next_id


class Calls(WorkerCase):
    def test_arguments_arrive_and_results_come_back(self):
        value = {"text": "häß \u2028 \U0001f600", "list": [1, -1.5, 1e300, None, True], "big": 2**60, "": {"a": []}}
        found = self.worker.result("execute", value, 2, name=value)
        self.assertEqual(found, {"args": [value, 2], "kwargs": {"name": value}})

    def test_methods_by_name(self):
        self.assertEqual(self.worker.result("add", 2, right=5), 7)
        for name in (
            "nothing",
            "_private",
            "__init__",
            "__class__",
            "initialize",
            "cleanup",
            "cancel",
            "Inner",
            "field",
        ):
            error = self.worker.error(name)
            self.assertEqual(error["code"], "not-found", name)
            self.assertIn("add", error["message"])
        for name, meant in (("ad", "add"), ("fail-later", "fail_later"), ("Add", "add")):
            self.assertIn("did you mean %r? it has" % meant, self.worker.error(name)["message"])
        self.assertNotIn("did you mean", self.worker.error("zzz")["message"])
        status, reply = self.worker.get("/methods")
        methods = {method["name"]: method["description"] for method in reply["methods"]}
        self.assertEqual(methods["execute"], "Gives back its arguments.")
        self.assertFalse({"_private", "Inner", "field", "report_progress", "cancelled"} & set(methods))

    def test_arguments_that_do_not_fit(self):
        for arguments in ((), (1, 2, 3)):
            error = self.worker.error("add", *arguments)
            self.assertEqual(error["code"], "invalid-input")
            self.assertIn("(left: int, right: int = 1)", error["message"])
        error = self.worker.error("add", 1, wrong=2)
        self.assertEqual(error["code"], "invalid-input")
        self.assertIn("wrong", error["message"])
        # A TypeError that the plugin itself raises is the plugin's error.
        error = self.worker.error("fail", "type")
        self.assertEqual((error["code"], error["type"]), ("plugin-failed", "TypeError"))

    def test_errors_carry_type_message_and_traceback(self):
        error = self.worker.error("fail")
        self.assertEqual(
            (error["code"], error["type"], error["message"]), ("plugin-failed", "ValueError", "no such luck")
        )
        self.assertTrue(error["traceback"].startswith("Traceback (most recent call last):\n  File "))
        self.assertIn('raise ValueError("no such luck")', error["traceback"])
        self.assertNotIn("bivium_worker", error["traceback"])
        error = self.worker.error("fail", "chained")
        self.assertIn("KeyError: 'inner'", error["traceback"])
        self.assertIn("direct cause", error["traceback"])
        error = self.worker.error("fail", "unspeakable")
        self.assertIn("Unspeakable", error["type"])
        self.assertIn("__str__", error["message"])
        self.assertEqual(self.worker.error("fail", "memory")["code"], "resource-exhausted")
        error = self.worker.error("fail", "gpu memory")
        self.assertEqual(error["code"], "resource-exhausted")
        self.assertIn("min_gpu_vram_mb", error["help"])
        self.assertIn("exit (3)", self.worker.error("fail", "exit")["message"])
        self.assertEqual(self.worker.error("fail", "interrupt")["type"], "KeyboardInterrupt")
        self.assertLess(len(self.worker.error("fail", "huge")["message"]), 100_000)
        self.assertEqual(self.worker.result("add", 1), 2, "the worker lives on")

    def test_values_beyond_json(self):
        value = lambda kind: self.worker.result("value", kind)
        self.assertEqual(value("dataclass"), {"words": [{"text": "hé", "start": 0.5}], "at": "2026-01-02T03:04:05"})
        self.assertEqual(value("enum"), "red")
        self.assertEqual(value("set"), [1])
        self.assertEqual(value("tuple"), [1, "two", None, True])
        self.assertEqual(value("keys"), {"1": "c", "null": "b", "1.5": "d"})

    def test_values_that_json_cannot_hold_are_named(self):
        for kind, part in (
            ("nan", "result.scores[1] is nan"),
            ("infinity", "result is inf"),
            ("object", "result.inner[0] is an object"),
            ("tuple_key", "tuple"),
            ("circle", "contains itself"),
            ("deep", "deeper than 120 levels"),
            ("surrogate", "lone surrogate"),
            ("function", "function"),
        ):
            error = self.worker.error("value", kind)
            self.assertEqual(error["code"], "plugin-failed", kind)
            self.assertIn(part, error["message"])

    def test_literal_keys_are_escaped_both_ways(self):
        client = self.worker.connect()
        self.addCleanup(client.close)
        _, reply = client.call("value", "literal")
        self.assertEqual(reply["result"], {"$$blob": 7, "deep": [{"$$$blob": 8}], "x$blob": "y$blob"})
        escaped = {"a": {"$$blob": 0}, "b": {"$$$blob": [{"$$blob": 1, "c": 2}]}}
        _, reply = client.call("execute", escaped)
        self.assertEqual(reply["result"]["args"], [escaped])

    def test_a_reply_over_the_limit_is_an_error(self):
        worker = self.start(max_reply_bytes=1000)
        self.assertEqual(len(worker.result("big", 900)), 900)
        error = worker.error("big", 2000)
        self.assertEqual(error["code"], "resource-exhausted")
        self.assertIn("1000", error["message"])

    def test_large_texts_pass_both_ways(self):
        text = "x" * 5_000_000
        self.assertEqual(self.worker.result("execute", text)["args"], [text])

    def test_long_texts_are_escaped_as_short_ones_are(self):
        odd = 'say "häß"\\\n\r\t\x00\x1f\x7f\u2028\U0001f600 $'
        prose = "a line of plain words\n" * 300
        for text in (prose, prose + '"\\\r\t', prose + "\x00", odd * 300, '"' * 5000, prose + odd, odd + prose, "$" * 5000):
            for value in (text, {"text": text, text: [text, {"text": text}], "": 0}):
                self.assertEqual(self.worker.result("same", value), value, repr(text[:20]))
        found = self.worker.result("same", {"$$blob": prose, "$": prose})
        self.assertEqual(found, {"$$blob": prose, "$": prose})
        found = self.worker.result("value", "long_keys")
        self.assertEqual(found, {"1": "a line\n" * 1000, "null": "b", "1.5": "d"})

    def test_a_call_id_in_use_is_refused(self):
        worker = self.start("Stubborn")
        running = worker.begin("sleep")
        # On a control connection that is not the dispatcher's; the dispatcher is busy, so the twin waits until the first ends.
        client = worker.connect()
        self.addCleanup(client.close)
        outcome = []
        thread = threading.Thread(target=lambda: outcome.append(client.call("quick", ident=running.id)))
        thread.start()
        worker.cancel(running.id)
        self.assertEqual(running.error_code(), "cancelled")
        thread.join(5)
        self.assertEqual(outcome[0][0], 200, "an id that is free again may be used again")

    def test_a_forked_copy_does_not_answer_its_parents_call(self):
        worker = self.start("Families")
        for _ in range(3):
            self.assertEqual(worker.result("fork_and_return"), "parent")

    def test_log_records_of_a_forked_process_come_by_stderr(self):
        worker = self.start("Families")
        worker.result("forked_child_logs")
        self.assertEqual(worker.stderr.find(b"from the child"), b"child: from the child\n")

    def test_stats_count(self):
        self.worker.result()
        self.worker.error("fail")
        _, stats = self.worker.get("/stats")
        self.assertEqual(stats["calls"], {"started": 2, "succeeded": 1, "failed": 1, "cancelled": 0})
        self.assertEqual(stats["threads"], 2)


class Streams(WorkerCase):
    def test_chunks_then_done(self):
        client = self.worker.connect()
        self.addCleanup(client.close)
        for _ in range(2):  # the connection is kept
            events = list(client.stream("stream", 2))
            self.assertEqual([event["event"] for event in events], ["chunk", "chunk", "done"])
            self.assertEqual(events[1]["payload"], {"json": {"number": 1}, "blobs": []})

    def test_execute_streams_its_one_result_or_by_execute_stream(self):
        client = self.worker.connect()
        self.addCleanup(client.close)
        self.assertEqual(len(list(client.stream("execute", 1))), 2)
        configured = self.start("Configured").connect()
        self.addCleanup(configured.close)
        self.assertEqual(next(configured.stream("execute"))["payload"]["json"], "from execute_stream")

    def test_a_unary_call_of_a_generator_gives_a_list(self):
        self.assertEqual(self.worker.result("stream", 2), [{"number": 0}, {"number": 1}])

    def test_an_error_comes_after_the_chunks_before_it(self):
        client = self.worker.connect()
        self.addCleanup(client.close)
        events = list(client.stream("fail_later"))
        self.assertEqual([event["event"] for event in events], ["chunk", "error"])
        self.assertEqual(events[1]["error"]["type"], "ValueError")
        self.assertEqual(self.error_of(client, "nothing"), "not-found")
        self.assertEqual(self.error_of(client, "add"), "invalid-input")

    def error_of(self, client, method):
        (event,) = client.stream(method)
        return event["error"]["code"]

    def test_the_first_chunk_does_not_wait_for_the_second(self):
        worker = self.start("Progress")
        client = worker.connect()
        self.addCleanup(client.close)
        started = time.monotonic()
        events = client.stream("once_then_silent", 0.5, unary=True)
        self.assertEqual(next(events)["message"], "first")
        self.assertLess(time.monotonic() - started, 0.4)
        rest = list(events)
        self.assertEqual([event["event"] for event in rest], ["progress", "chunk", "done"])
        self.assertEqual(rest[0]["message"], "second")

    def test_a_slow_reader_slows_the_generator(self):
        worker = self.start("Stubborn")
        client = worker.connect()
        events = client.stream("big_chunks")
        next(events)
        made = lambda: len(worker_made(worker))
        # The dispatcher is blocked, so what was made is counted afterwards: far less than a free-running generator makes.
        time.sleep(0.3)
        client.close()
        self.assertTrue(eventually(lambda: "closed" in worker.result("what")))
        self.assertLess(made(), 200)

    def test_a_reader_that_goes_away_ends_the_call(self):
        worker = self.start("Stubborn")
        client = worker.connect()
        events = client.stream("endless")
        next(events)
        client.close()
        self.assertEqual(worker.result("what"), ["closed"])
        # Also one that never writes.
        running = worker.connect()
        running.connection.request(
            "POST", "/execute", json.dumps({"call": "x", "method": "cleanup_on_cancel"}), running.headers
        )
        self.assertTrue(eventually(lambda: worker.get("/progress?call=x")[0] == 200))
        running.close()
        self.assertEqual(worker.result("what"), ["closed", "finally"])


def worker_made(worker: Worker) -> list:
    return [item for item in worker.result("what") if item == "made"]


class Spilled(WorkerCase):
    """Long requests and results are sent as files."""

    settings = {"max_request_bytes": 1 << 20}

    def request(self, text: str, **entry):
        handle = tempfile.NamedTemporaryFile("w", suffix=".json")
        self.addCleanup(handle.close)
        handle.write(text)
        handle.flush()
        return self.worker.post("/execute", {"call": next_id(), "spilled": dict({"path": handle.name}, **entry)})

    def test_a_request_is_read_from_its_file(self):
        whole = {"call": next_id(), "method": "add", "args": [2], "kwargs": {"right": 3}}
        self.assertEqual(self.request(json.dumps(whole)), (200, {"result": 5, "blobs": []}))

    def test_what_is_no_such_file_is_refused(self):
        for text, entry, code in (
            ("{", {}, "protocol"),
            ("[]", {}, "protocol"),
            ("{}", {"path": "/nothing"}, "not-found"),
            ("{}", {"path": "/"}, "protocol"),
            ("{}", {"path": 5}, "protocol"),
            (" " * ((1 << 20) + 1), {}, "resource-exhausted"),
        ):
            self.assertEqual(self.request(text, **entry)[1]["error"]["code"], code, (text[:9], entry))
        self.assertEqual(self.worker.result("add", 1), 2)

    def test_a_result_goes_to_a_file_beneath_the_exchange(self):
        status, reply = self.worker.call("big", 300_000)
        self.assertEqual((status, sorted(reply)), (200, ["blobs", "spilled"]))
        client = self.worker.connect()
        self.addCleanup(client.close)
        chunk = next(iter(client.stream("big", 300_000)))["payload"]
        for found in (reply, chunk):
            with open(os.path.join(self.worker.exchange, found["spilled"]["path"])) as file:
                self.assertEqual(json.load(file), "x" * 300_000)

    def test_where_there_is_no_room_it_stays_in_the_reply(self):
        status, reply = self.worker.call("cramped", 300_000)
        self.assertEqual((status, reply["result"]), (200, "x" * 300_000))
        self.assertEqual(os.listdir(self.worker.exchange), [])

    def test_where_the_directory_was_removed_it_stays_in_the_reply(self):
        shutil.rmtree(self.worker.exchange)
        status, reply = self.worker.call("big", 300_000)
        self.assertEqual((status, reply["result"]), (200, "x" * 300_000))


class Life(WorkerCase):
    cls = "Configured"

    def test_configuration(self):
        self.assertEqual(self.worker.get("/config"), (200, {"result": None, "blobs": []}))
        status, _ = self.worker.post("/initialize", {"config": {"a": 1}})
        self.assertEqual(status, 200)
        self.assertEqual(self.worker.get("/config")[1]["result"], {"a": 1})
        self.assertEqual(self.worker.get("/config_schema")[1]["result"], {"type": "object"})
        self.worker.post("/initialize", {"config": {"a": 2}})
        found = self.worker.result()
        self.assertEqual(found["config"], {"a": 2})
        self.assertTrue(all(found["main"]), "the plugin's code runs on the main thread")
        status, reply = self.worker.post("/initialize", {"config": {"refuse": True}})
        error = reply["error"]
        self.assertEqual((error["code"], error["type"], error["message"]), ("invalid-config", "ValueError", "refused"))
        self.assertEqual(self.worker.get("/config")[1]["result"], {"a": 2})
        self.assertEqual(self.worker.post("/initialize", {"config": 3})[1]["error"]["code"], "invalid-config")

    def test_a_class_without_the_hooks(self):
        worker = self.start("Echo")
        self.assertEqual(worker.post("/initialize", {"config": {}})[0], 200)
        self.assertEqual(worker.get("/config")[1]["result"], {})
        self.assertEqual(worker.get("/config_schema")[1]["result"], {})


class Progress(WorkerCase):
    cls = "Progress"

    def test_progress_can_be_read_while_the_call_runs(self):
        running = self.worker.begin("execute", 1, 0.5)
        found = eventually(lambda: self.worker.get("/progress?call=" + running.id)[1].get("fraction"))
        self.assertEqual(found, 1.0)
        running.wait()
        status, reply = self.worker.get("/progress?call=" + running.id)
        self.assertEqual((status, reply["error"]["code"]), (404, "not-found"))

    def test_of_many_progress_events_few_are_sent_and_the_last_one_arrives(self):
        client = self.worker.connect()
        self.addCleanup(client.close)
        events = list(client.stream("flood", 100_000, unary=True))
        progress = [event for event in events if event["event"] == "progress"]
        self.assertLess(len(progress), 100)
        self.assertEqual((progress[-1]["fraction"], progress[-1]["message"]), (None, "last"))
        self.assertEqual([event["event"] for event in events[-2:]], ["chunk", "done"])

    def test_odd_values_are_brought_in_range(self):
        client = self.worker.connect()
        self.addCleanup(client.close)
        events = list(client.stream("odd", unary=True))
        self.assertEqual((events[0]["fraction"], events[0]["message"]), (None, "5"))
        self.assertEqual(events[-3]["fraction"], 1.0)

    def test_progress_between_chunks(self):
        client = self.worker.connect()
        self.addCleanup(client.close)
        events = list(client.stream("mixed", 1000))
        self.assertEqual(sum(event["event"] == "chunk" for event in events), 1000)
        self.assertEqual(events[-2]["event"], "progress")


class Concurrent(WorkerCase):
    cls = "Several"
    settings = {"concurrency": 2}

    def test_two_calls_run_side_by_side(self):
        first = self.worker.begin("meet")
        self.assertEqual(self.worker.result("meet"), False)
        self.assertEqual(first.wait()[1]["result"], False)

    def test_connections_are_kept_and_answers_not_mixed_up(self):
        failures = []

        def run(number):
            client = self.worker.connect()
            for turn in range(100):
                value = [number, turn]
                if client.call("echo", value)[1].get("result") != value:
                    failures.append(value)
            client.close()

        threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        self.assertEqual(failures, [])

    def test_progress_belongs_to_its_own_call(self):
        first = self.worker.begin("who", "first")
        found = eventually(lambda: self.worker.get("/progress?call=" + first.id)[1].get("message"))
        self.assertEqual(found, "first")
        second = self.worker.call("who", "second")
        self.assertEqual((first.wait()[1]["result"], second[1]["result"]), ("first", "second"))


class AsyncPlugin(WorkerCase):
    cls = "Async"

    def check(self, worker):
        self.assertEqual(worker.post("/initialize", {"config": {}})[0], 200)
        self.assertEqual(worker.result("execute", text="a"), {"text": "a", "same_loop": True})
        error = worker.error("fail")
        self.assertEqual((error["code"], error["type"]), ("plugin-failed", "ValueError"))
        client = worker.connect()
        self.addCleanup(client.close)
        events = list(client.stream("execute", 2))
        self.assertEqual([event["event"] for event in events], ["chunk", "chunk", "done"])
        running = worker.begin("sleep")
        asleep = "/progress?call=" + running.id
        self.assertTrue(eventually(lambda: worker.get(asleep)[1].get("message") == "sleeping"))
        worker.cancel(running.id)
        self.assertEqual(running.error_code(), "cancelled")
        self.assertEqual(worker.result("what"), ["closed", "cancelled"])
        self.assertEqual(worker.result("execute", text="b")["text"], "b")

    def test_one_at_a_time(self):
        self.check(self.worker)
        running = self.worker.begin("spin")
        self.worker.cancel(running.id)
        self.assertEqual(running.error_code(), "cancelled")
        self.assertEqual(self.worker.result("execute", text="c")["text"], "c")

    def test_several_at_once(self):
        worker = self.start("Async", concurrency=3)
        self.check(worker)
        started = time.monotonic()
        runs = [worker.begin("together", str(number)) for number in range(3)]
        for number, run in enumerate(runs):
            self.assertEqual(worker.get("/progress?call=" + run.id)[1].get("message", str(number)), str(number))
        self.assertEqual([run.wait()[1]["result"] for run in runs], ["0", "1", "2"])
        self.assertLess(time.monotonic() - started, 0.85, "they overlap")


if __name__ == "__main__":
    unittest.main()
