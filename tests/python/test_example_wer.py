"""wer.py: the measure of the pipeline's quality."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from example_plugins import EXAMPLES

PROGRAM = EXAMPLES / "pipelines" / "transcribe" / "wer.py"


class WordErrorRate(unittest.TestCase):
    def run_on(self, reference: str, hypothesis: str):
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder, "reference"), Path(folder, "hypothesis")]
            for path, text in zip(paths, (reference, hypothesis)):
                path.write_text(text, encoding="utf-8")
            return subprocess.run([sys.executable, PROGRAM, *paths], capture_output=True, text=True, check=False)

    def test_counts_the_words_put_in_taken_out_and_replaced(self):
        for hypothesis, errors in (
            ("It's one, two: THREE four", 0),
            ("it’s one two three\nfour", 0),
            ("it's one two tree four", 1),
            ("it's one two four", 1),
            ("it's one or two three four", 1),
            ("four", 4),
            ("", 5),
            ("a b c d e f", 6),
        ):
            with self.subTest(hypothesis=hypothesis):
                done = self.run_on("It's one two three four.", hypothesis)
                self.assertEqual(json.loads(done.stdout), {"wer": errors / 5, "words": 5, "errors": errors})

    def test_refuses_a_reference_without_words(self):
        done = self.run_on("…", "one")
        self.assertEqual((done.returncode, done.stderr), (2, "wer.py: the reference has no words\n"))

    def test_says_how_it_is_called(self):
        done = subprocess.run([sys.executable, PROGRAM], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (2, "usage: wer.py REFERENCE HYPOTHESIS\n"))


if __name__ == "__main__":
    unittest.main()
