"""transcribe: real recognition of the sample speech, and its errors for other input."""

import json
import runpy
import tempfile
import time
import unittest
from array import array
from concurrent.futures import CancelledError
from pathlib import Path

import speech
from example_plugins import EXAMPLES, plugin_class

Transcribe = plugin_class("transcribe")
PIPELINE = EXAMPLES / "pipelines" / "transcribe"
REFERENCE = (PIPELINE / "speech.txt").read_text(encoding="utf-8").splitlines()
MAX_ERRORS = 0.3
compare = runpy.run_path(str(PIPELINE / "wer.py"))["compare"]
SILENCE = array("h", bytes(2 * speech.RATE))


def setUpModule():
    global PLUGIN, SEGMENTS
    PLUGIN = Transcribe()
    PLUGIN.initialize()
    SEGMENTS = speech.segments(speech.resampled(*speech.samples_of(PIPELINE / "speech.wav")))


class InFolder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def written(self, samples, **form) -> str:
        return str(speech.write(self.folder / "speech.wav", samples, **form))


class TheSample(InFolder):
    def test_is_understood(self):
        self.assertEqual(len(SEGMENTS), len(REFERENCE))
        heard, began = [], time.perf_counter()
        for start, samples in SEGMENTS:
            result = PLUGIN.execute(self.written(samples), start)
            json.dumps(result, allow_nan=False)
            self.assertEqual(" ".join(word["word"] for word in result["words"]), result["text"])
            times = [time for word in result["words"] for time in (word["start"], word["end"])]
            self.assertEqual(times, sorted(times))
            self.assertTrue(start <= times[0] and times[-1] <= start + result["duration_s"] + 0.05, result)
            heard.append(result["text"])
        took = time.perf_counter() - began
        total = compare(" ".join(REFERENCE), " ".join(heard))
        print(f"transcribe: {total} in {took:.1f} s")
        self.assertLessEqual(total["wer"], MAX_ERRORS)
        self.assertIn("susan baker", heard[8])
        self.assertIn("five five five zero one two three", heard[10])

    def test_gives_the_same_words_as_a_stream_and_in_any_order(self):
        start, samples = SEGMENTS[-1]
        path = self.written(samples)
        before = PLUGIN.execute(path, start)
        *partial, last = PLUGIN.execute_stream(path, start)
        self.assertEqual({**before, "final": True}, last)
        self.assertGreater(len(partial), 1)
        self.assertEqual([heard["final"] for heard in partial], [False] * len(partial))
        texts = [heard["text"] for heard in partial]
        self.assertTrue(all(one != other for one, other in zip(texts, texts[1:])), texts)


class TheHost(InFolder):
    def setUp(self):
        super().setUp()
        self.addCleanup(vars(PLUGIN).pop, "report_progress", None)
        self.addCleanup(vars(PLUGIN).pop, "cancelled", None)

    def test_sees_progress_with_every_tenth_of_a_second(self):
        seen = []
        PLUGIN.report_progress = lambda fraction, message: seen.append((fraction, message))
        PLUGIN.execute(self.written(SILENCE))
        self.assertEqual([fraction for fraction, _ in seen], [tenth / 10 for tenth in range(1, 11)])
        self.assertEqual(seen[2][1], "0.3 s heard")

    def test_can_cancel_and_go_on_with_another_call(self):
        path = self.written(SEGMENTS[-1][1])
        expected = PLUGIN.execute(path)
        asked = []
        PLUGIN.cancelled = lambda: asked.append(True) or len(asked) == 5
        with self.assertRaises(CancelledError):
            PLUGIN.execute(path)
        self.assertEqual(len(asked), 5)
        del PLUGIN.cancelled
        stream = PLUGIN.execute_stream(path)
        next(stream)
        stream.close()
        self.assertEqual(PLUGIN.execute(path), expected)

    def test_can_clean_up_and_call_again(self):
        PLUGIN.cleanup()
        self.assertEqual(PLUGIN.execute(self.written(SILENCE))["duration_s"], 1.0)


class WhatIsRefused(InFolder):
    def test_other_formats_by_name(self):
        for form, got in (
            ({"rate": 22050}, "22050 Hz, 1 channel(s), 16 bits"),
            ({"channels": 2}, "16000 Hz, 2 channel(s), 16 bits"),
            ({"bits": 8}, "16000 Hz, 1 channel(s), 8 bits"),
        ):
            with self.assertRaises(ValueError) as caught:
                PLUGIN.execute(self.written(SILENCE, **form))
            self.assertIn(f"'speech.wav' is a WAV file of {got}; transcribe needs 16000 Hz", str(caught.exception))

    def test_files_that_are_none(self):
        for content in (b"", b"RIFF", b"no sound at all, just some text that goes on for a while" * 9):
            path = self.folder / "speech.wav"
            path.write_bytes(content)
            with self.assertRaisesRegex(ValueError, "'speech.wav' cannot be read as a WAV file: ."):
                PLUGIN.execute(str(path))
        with self.assertRaises(FileNotFoundError):
            PLUGIN.execute(str(self.folder / "absent.wav"))

    def test_recordings_without_a_word(self):
        for samples in (array("h"), array("h", [1] * 50), SILENCE):
            result = PLUGIN.execute(self.written(samples))
            self.assertEqual((result["text"], result["words"]), ("", []))
            self.assertEqual(result["duration_s"], len(samples) / speech.RATE)

    def test_models_that_are_not_there(self):
        before = PLUGIN.get_current_config()
        for setting in ("acoustic_model", "language_model", "dictionary"):
            with self.assertRaisesRegex(ValueError, f"{setting}: there is no '/nowhere'"):
                PLUGIN.initialize({setting: "/nowhere"})
        self.assertEqual(PLUGIN.get_current_config(), before)


if __name__ == "__main__":
    unittest.main()
