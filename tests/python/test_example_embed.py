"""embed: the form of its vectors, and that similar sentences have similar vectors."""

import tempfile
import unittest
from concurrent.futures import CancelledError
from pathlib import Path
from unittest import mock

from example_plugins import plugin_class

Embed = plugin_class("embed")
import numpy as np  # noqa: E402 - only once it is known to be there


class Vectors(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        inside = mock.patch("tempfile.tempdir", folder.name)
        inside.start()
        self.addCleanup(inside.stop)
        self.plugin = Embed()
        self.plugin.initialize()

    def embed(self, *sentences):
        return np.load(self.plugin.execute(list(sentences))["vectors"].to_temp_file())

    def test_are_one_npy_file_in_the_directory_for_temporary_files(self):
        result = self.plugin.execute(["One.", "Two words.", ""])
        self.assertEqual(result["shape"], [3, 1024])
        self.assertEqual(result["model"], "hashed-ngrams-1-3-5-1024")
        self.assertEqual(result["vectors"].media_type, "application/x-npy")
        path = Path(result["vectors"].to_temp_file())
        self.assertEqual((path.parent, path.suffix, path.is_absolute()), (self.folder, ".npy", True))
        vectors = np.load(path)
        self.assertEqual((vectors.shape, vectors.dtype), ((3, 1024), np.float32))
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 0], rtol=1e-6)

    def test_are_the_same_on_every_machine(self):
        vector = self.embed("Two roads meet.")[0]
        strongest = np.argsort(-np.abs(vector))[:3]
        self.assertEqual({int(place): float(np.sign(vector[place])) for place in strongest}, {618: 1, 487: -1, 307: -1})

    def test_are_nearer_the_more_alike_the_sentences(self):
        pairs = [
            ("The doctor saw the patient.", "A patient was seen by two doctors.", "The train leaves at seven."),
            ("Two roads lead to the city.", "The city can be reached by both roads.", "My cat sleeps all day."),
            ("We build plugins in Rust.", "A plugin built with Rust", "He bought some bread and butter."),
        ]
        for sentence, like, unlike in pairs:
            vectors = self.embed(sentence, like, unlike)
            near, far = vectors[1] @ vectors[0], vectors[2] @ vectors[0]
            self.assertGreater(near, far + 0.2, sentence)

    def test_do_not_care_for_case_and_punctuation(self):
        one, other = self.embed("Good morning, world!", "good MORNING world")
        np.testing.assert_array_equal(one, other)

    def test_follow_the_configuration(self):
        self.plugin.initialize({"dimensions": 64, "ngram_min": 2, "ngram_max": 3})
        self.assertEqual(self.plugin.execute(["x"])["model"], "hashed-ngrams-1-2-3-64")
        self.assertEqual(self.embed("Good morning").shape, (1, 64))
        with self.assertRaisesRegex(ValueError, r"ngram_min \(6\) is above ngram_max \(5\)"):
            self.plugin.initialize({"ngram_min": 6})
        self.assertEqual(self.plugin.get_current_config()["dimensions"], 64)

    def test_of_what_is_no_list_of_sentences_are_refused(self):
        for wrong in ("a sentence", [1], None):
            with self.assertRaisesRegex(TypeError, "list of strings"):
                self.plugin.execute(wrong)
        with self.assertRaisesRegex(ValueError, "send at most 65536 at once"):
            self.plugin.execute(["x"] * 65537)

    def test_of_no_sentence_are_an_empty_array(self):
        self.assertEqual(self.embed().shape, (0, 1024))

    def test_are_not_made_any_further_once_the_call_is_cancelled(self):
        seen = []
        self.plugin.report_progress = lambda fraction, message: seen.append((fraction, message))
        self.plugin.cancelled = lambda: len(seen) == 2
        with self.assertRaises(CancelledError):
            self.plugin.execute(["x"] * 1024)
        self.assertEqual(seen, [(0.0, "0 of 1024 sentences"), (0.25, "256 of 1024 sentences")])


if __name__ == "__main__":
    unittest.main()
