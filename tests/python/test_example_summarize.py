"""summarize: with a service of the test on the loopback address."""

import json
import os
import threading
import time
import unittest
from unittest import mock

import chat_server
from example_plugins import plugin_class

Summarize = plugin_class("summarize")
KEY = "sk-very-secret"


class WithService(unittest.TestCase):
    def setUp(self):
        self.service = chat_server.ChatServer()
        self.addCleanup(self.service.close)
        environment = mock.patch.dict(os.environ, {"SUMMARIZE_API_KEY": KEY})
        environment.start()
        self.addCleanup(environment.stop)
        self.plugin = Summarize()
        self.plugin.initialize({"base_url": self.service.url, "timeout_s": 10, "model": "small"})

    def failure(self, text="A text.", kind=RuntimeError, stream=False) -> str:
        """The message of a call's error; checks that the key is not in it."""
        with self.assertRaises(kind) as caught:
            list(self.plugin.execute_stream(text)) if stream else self.plugin.execute(text)
        error, said = caught.exception, ""
        while error is not None:
            said += f"{error!r}"
            error = error.__cause__
        self.assertNotIn(KEY, said)
        return str(caught.exception)


class Summaries(WithService):
    def test_come_whole(self):
        self.assertEqual(
            self.plugin.execute("A long text über zwei Wege."),
            {"summary": "Two roads meet.", "model": "small-1", "usage": {"total_tokens": 42}},
        )
        ((path, headers, body),) = self.service.requests
        self.assertEqual(path, "/v1/chat/completions")
        self.assertEqual(headers["Authorization"], f"Bearer {KEY}")
        self.assertEqual((body["model"], body["max_tokens"]), ("small", 300))
        self.assertEqual(body["messages"][1], {"role": "user", "content": "A long text über zwei Wege."})
        self.assertNotIn("stream", body)

    def test_come_in_parts(self):
        usage = {"model": "small-1", "choices": [], "usage": {"total_tokens": 7}}
        empty = {"choices": [{"delta": {"role": "assistant"}}]}
        self.service.answer = chat_server.event_stream(
            empty, chat_server.delta("Zwei "), chat_server.delta("Wege – über"), usage
        )
        self.assertEqual(
            list(self.plugin.execute_stream("A text.")),
            [
                {"delta": "Zwei ", "final": False},
                {"delta": "Wege – über", "final": False},
                {"summary": "Zwei Wege – über", "model": "small-1", "usage": {"total_tokens": 7}, "final": True},
            ],
        )
        self.assertIs(self.service.requests[0][2]["stream"], True)

    def test_need_a_text(self):
        for text in ("", " \n", None, ["x"]):
            self.assertEqual(self.failure(text, ValueError), "there is no text to summarize")
        self.assertEqual(self.service.requests, [])

    def test_end_when_the_call_is_cancelled(self):
        self.service.answer = chat_server.never
        canceller = threading.Timer(0.3, self.plugin.cancel)
        canceller.start()
        self.addCleanup(canceller.join)
        began = time.monotonic()
        self.assertIn("no proper answer from 127.0.0.1", self.failure())
        self.assertLess(time.monotonic() - began, 5)
        self.plugin.cancel()
        self.service.answer = chat_server.json_reply(chat_server.COMPLETION)
        self.assertEqual(self.plugin.execute("A text.")["summary"], "Two roads meet.")


class TheKey(WithService):
    def test_is_in_no_configuration(self):
        self.plugin.execute("A text.")
        self.assertEqual(self.plugin.get_current_config()["api_key_env"], "SUMMARIZE_API_KEY")
        self.assertNotIn(KEY, json.dumps(self.plugin.get_current_config()) + repr(vars(self.plugin)))

    def test_is_refused_in_place_of_its_variables_name_and_not_repeated(self):
        with self.assertRaises(ValueError) as caught:
            self.plugin.initialize({"base_url": self.service.url, "api_key_env": "sk-" + KEY})
        self.assertNotIn(KEY, str(caught.exception) + json.dumps(self.plugin.get_current_config()))

    def test_is_missed_by_the_variables_name(self):
        for value in (None, "", "  "):
            os.environ.pop("SUMMARIZE_API_KEY", None)
            if value is not None:
                os.environ["SUMMARIZE_API_KEY"] = value
            self.assertIn("set the environment variable SUMMARIZE_API_KEY", self.failure(kind=ValueError))
        self.assertEqual(self.service.requests, [])

    def test_is_not_quoted_where_no_header_can_carry_it(self):
        os.environ["SUMMARIZE_API_KEY"] = f"{KEY}\nX-Other: 1"
        self.assertIn("characters that are not allowed in a header", self.failure(kind=ValueError))

    def test_is_not_sent_where_the_service_wants_none(self):
        self.plugin.initialize({"base_url": self.service.url, "api_key_env": None})
        self.plugin.execute("A text.")
        self.assertNotIn("Authorization", self.service.requests[0][1])

    def test_does_not_follow_a_redirect(self):
        other = chat_server.ChatServer()
        self.addCleanup(other.close)
        self.service.answer = chat_server.reply(307, b"", Location=other.url + "/chat/completions")
        self.assertIn("redirects (307)", self.failure())
        self.assertEqual(other.requests, [])

    def test_is_replaced_where_the_service_quotes_it(self):
        complaint = {"error": {"message": f"Incorrect API key provided: {KEY}"}}
        self.service.answer = chat_server.json_reply(complaint, status=401)
        self.assertIn("does not accept the key (401): Incorrect API key provided: ***", self.failure())

    def test_is_not_sent_over_a_network_in_clear_text(self):
        before = self.plugin.get_current_config()
        for url, said in (
            ("ftp://127.0.0.1/v1", "must begin with https:// or http://"),
            ("file:///etc/passwd", "must begin with"),
            ("127.0.0.1:8080/v1", "must begin with"),
            ("http://api.example.com/v1", "must be https for api.example.com"),
            ("https://user:pw@api.example.com/v1", "takes no user"),
            ("https://api.example.com/v1?key=1", "takes no user, query"),
            ("https://api.example.com:x/v1", "[Pp]ort"),
        ):
            with self.assertRaisesRegex(ValueError, said):
                self.plugin.initialize({"base_url": url})
        self.assertEqual(self.plugin.get_current_config(), before)
        self.plugin.initialize({"base_url": "https://api.example.com/v1"})


class AService(WithService):
    def test_that_is_busy_says_when_to_come_again(self):
        self.service.answer = chat_server.json_reply({"error": {"message": "slow\ndown"}}, 429, Retry_After="7")
        self.assertRegex(self.failure(), r"too many requests \(429\); try again in 7 s: slow down$")
        self.service.answer = chat_server.reply(429, b"")
        self.assertRegex(self.failure(), r"\(429\); try again later$")

    def test_that_fails_is_quoted_in_short(self):
        self.service.answer = chat_server.json_reply({"error": {"message": "x" * 9999}}, 500)
        said = self.failure()
        self.assertIn("answered with status 500: xxx", said)
        self.assertLess(len(said), 400)
        self.service.answer = chat_server.reply(502, b"<html>Bad gateway</html>")
        self.assertRegex(self.failure(), "answered with status 502$")

    def test_that_does_not_answer_in_time_is_left(self):
        self.plugin.initialize({"base_url": self.service.url, "timeout_s": 0.3})
        for answer in (chat_server.never, chat_server.dripping):
            self.service.answer = answer
            began = time.monotonic()
            self.assertIn("took longer than 0.3 s (timeout_s)", self.failure(kind=TimeoutError))
            self.assertLess(time.monotonic() - began, 5)

    def test_that_answers_without_end_is_left(self):
        self.service.answer = chat_server.endless
        self.assertEqual(self.failure(), "the service's answer is longer than 4 MiB")

    def test_that_answers_something_else_is_said_to(self):
        for body, said in (
            (b"<html>Hello</html>", "is not JSON: b'<html>Hello</html>'"),
            (b"", "is not JSON: b''"),
            (b"[" * 100_000, "is not JSON"),
            (b"[]", "is not a JSON object"),
            (b"{}", "has no choices[0].message.content"),
            (b'{"choices": [{"message": {"content": 5}}]}', "has no choices[0].message.content"),
            (b'{"choices": {"0": 1}}', "has no choices[0].message.content"),
        ):
            with self.subTest(body=body[:30]):
                self.service.answer = chat_server.reply(200, body)
                self.assertIn(said, self.failure())

    def test_that_is_not_there_is_named(self):
        self.service.close()
        self.assertRegex(self.failure(), r"no proper answer from 127\.0\.0\.1:\d+: .*[Rr]efused")

    def test_whose_stream_is_none_or_breaks_off_is_said_to(self):
        for answer, said in (
            (chat_server.json_reply(chat_server.COMPLETION), "application/json instead of a stream of events"),
            (chat_server.event_stream(chat_server.delta("Two "), done=False), "ended before it was complete"),
            (chat_server.event_stream({"error": {"message": "overloaded"}}), "ended the stream with an error"),
        ):
            self.service.answer = answer
            self.assertIn(said, self.failure(stream=True))


if __name__ == "__main__":
    unittest.main()
