"""Log records as they are sent to the host: one line of JSON each, whatever the record contains."""

import json
import logging
import os
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir, "python"))

from bivium_worker.channel import Channel
from bivium_worker.errors import MAX_TEXT
from bivium_worker.logs import ChannelHandler


class Records(unittest.TestCase):
    def setUp(self):
        self.file = tempfile.TemporaryFile(buffering=0)
        self.addCleanup(self.file.close)
        self.read = 0
        self.handler = ChannelHandler(Channel(self.file.fileno()))

    def sent(self, **fields):
        self.handler.emit(logging.makeLogRecord({"msg": "text", "levelname": "INFO", "created": 1.5, **fields}))
        self.file.seek(self.read)
        line = self.file.read()
        self.read += len(line)
        self.assertEqual((line[-1:], line.count(b"\n")), (b"\n", 1))
        event = json.loads(line)
        self.assertEqual(sorted(event), ["call", "event", "level", "logger", "message", "time"])
        self.assertEqual((event["event"], event["call"]), ("log", None))
        return event

    def test_a_record_has_its_time_level_logger_and_text(self):
        event = self.sent(name="a.b", levelname="WARNING", msg="%s and %d", args=("one", 2))
        self.assertEqual((event["time"], event["level"], event["logger"]), (1.5, "warning", "a.b"))
        self.assertEqual(event["message"], "one and 2")

    def test_any_text_is_one_line_of_json(self):
        for text in ['"quoted" \\ and\nlines\r\x00\x7f', "\u00e9 \u4e2d \U0001f600", "x" * 1000]:
            self.assertEqual(self.sent(msg=text, name=text)["message"], text)
        self.assertEqual(self.sent(msg="\ud800")["message"], "?")
        self.assertEqual(self.sent(name="\ud800")["logger"], "?")
        self.assertEqual(self.sent(name=None, levelname=None)["logger"], "None")

    def test_an_exception_follows_the_text(self):
        try:
            raise ValueError("lost")
        except ValueError:
            message = self.sent(exc_info=sys.exc_info())["message"]
        self.assertTrue(message.startswith("text\nTraceback"), message)
        self.assertTrue(message.endswith("ValueError: lost"), message)
        self.assertEqual(self.sent(stack_info="a stack")["message"], "text\na stack")

    def test_a_text_that_cannot_be_made_says_so(self):
        message = self.sent(msg="%d", args=("one",))["message"]
        self.assertIn("not formatted: TypeError", message)

        class Odd(logging.LogRecord):
            def getMessage(self):
                return 12345

        odd = Odd("odd", logging.INFO, "", 0, "", (), None)
        self.handler.emit(odd)
        self.file.seek(self.read)
        self.assertEqual(json.loads(self.file.read())["message"], "12345")
        self.read = self.file.tell()

    def test_a_time_that_is_none_is_now(self):
        for at in (None, "now", float("nan"), float("inf"), 10**400):
            self.assertAlmostEqual(self.sent(created=at)["time"], time.time(), delta=60)

    def test_a_long_text_is_cut(self):
        self.assertIn("[…]", self.sent(msg="x" * (MAX_TEXT + 1))["message"])


if __name__ == "__main__":
    unittest.main()
