"""The fuzz targets of the worker pass for their corpus, and would fail if the code that they check were wrong."""

import importlib.util
import os
import unittest

FUZZ = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "fuzz", "python")
SPEC = importlib.util.spec_from_file_location("fuzz_targets", os.path.join(FUZZ, "targets.py"))
targets = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(targets)


class Corpus(unittest.TestCase):
    def test_every_input_holds(self):
        for name, target in targets.TARGETS.items():
            directory = os.path.join(FUZZ, "corpus", name)
            inputs = sorted(os.listdir(directory))
            self.assertGreater(len(inputs), 10)
            for entry in inputs:
                with open(os.path.join(directory, entry), "rb") as file:
                    with self.subTest(target=name, input=entry):
                        target(file.read())

    def test_the_corpus_has_requests_that_are_accepted(self):
        found = []
        for entry in os.listdir(os.path.join(FUZZ, "corpus", "http")):
            with open(os.path.join(FUZZ, "corpus", "http", entry), "rb") as file:
                found.append((targets.outcome([file.read()[1:]]) or ["incomplete"])[0])
        self.assertEqual({"request", "refused", "incomplete"}, set(found))

    def test_a_check_that_accepts_any_request_is_found(self):
        admit = targets.wire.AccessCheck.admit
        targets.wire.AccessCheck.admit = lambda _access, _verb, _headers: 0
        try:
            with self.assertRaises((AssertionError, KeyError)):
                targets.http(b"\x01GET /health HTTP/1.1\r\nHost: evil\r\n\r\n")
        finally:
            targets.wire.AccessCheck.admit = admit


if __name__ == "__main__":
    unittest.main()
