"""whisper: its errors, and how it uses either package, with replacements for both.

Real recognition needs one of the packages and weights, which these tests do not download.
"""

import sys
import tempfile
import types
import unittest
from concurrent.futures import CancelledError
from types import SimpleNamespace as Made
from unittest import mock

from example_plugins import plugin_class

Whisper = plugin_class("whisper")

WORDS = [[(" Two", 0.0, 0.4), (" roads", 0.4, 1.0)], [(" meet.", 2.5, 3.25)]]
EXPECTED = {
    "text": "Two roads meet.",
    "words": [
        {"word": "Two", "start": 10.0, "end": 10.4},
        {"word": "roads", "start": 10.4, "end": 11.0},
        {"word": "meet.", "start": 12.5, "end": 13.25},
    ],
    "duration_s": 4.0,
}


def faster_whisper(loaded: list, failing: tuple = ()) -> types.ModuleType:
    """Replaces the package faster_whisper; the settings of each model that is loaded are added to `loaded`."""

    class WhisperModel:
        def __init__(self, size, **options):
            if size in failing:
                raise OSError(f"no weights for {size}")
            loaded.append((size, options))

        def transcribe(self, audio, language, beam_size, word_timestamps):
            assert audio and beam_size and word_timestamps
            segments = (
                Made(end=words[-1][2], words=[Made(word=word, start=start, end=end) for word, start, end in words])
                for words in WORDS
            )
            return segments, Made(duration=4.0, language=language or "en")

    module = types.ModuleType("faster_whisper")
    module.WhisperModel = WhisperModel
    return module


def openai_whisper(loaded: list, device: str = "cuda:0", ffmpeg: bool = True) -> types.ModuleType:
    """Replaces openai-whisper's package whisper; the settings of models and calls are added to `loaded`."""

    class Model:
        def __init__(self):
            self.device = device

        def transcribe(self, samples, word_timestamps, **options):
            assert len(samples) == 64000 and word_timestamps
            loaded.append(options)
            segments = [
                {
                    "end": words[-1][2],
                    "words": [{"word": word, "start": start, "end": end} for word, start, end in words],
                }
                for words in WORDS
            ]
            return {"text": "", "segments": segments}

    def load_model(name, **options):
        loaded.append((name, options))
        return Model()

    def load_audio(_path):
        if not ffmpeg:
            raise FileNotFoundError("ffmpeg")
        return [0.0] * 64000

    module = types.ModuleType("whisper")
    module.load_model, module.load_audio, module.audio = load_model, load_audio, Made(SAMPLE_RATE=16000)
    return module


class WithPackages(unittest.TestCase):
    def setUp(self):
        recording = tempfile.NamedTemporaryFile(suffix=".wav")
        self.addCleanup(recording.close)
        self.audio = recording.name
        self.loaded: list = []
        self.plugin = Whisper()

    def install(self, faster=None, openai=None):
        """Replaces the packages by these; None means that one is not installed."""
        patch = mock.patch.dict(sys.modules, {"faster_whisper": faster, "whisper": openai})
        patch.start()
        self.addCleanup(patch.stop)


class EitherPackage(WithPackages):
    def test_gives_words_with_absolute_times(self):
        for packages in ({"faster": faster_whisper(self.loaded)}, {"openai": openai_whisper(self.loaded)}):
            with self.subTest(packages=packages):
                self.install(**packages)
                plugin = Whisper()
                plugin.initialize()
                self.assertEqual(plugin.execute(self.audio, 10.0), EXPECTED)
                first, second, last = plugin.execute_stream(self.audio, offset_s=10.0)
                self.assertEqual(first, {"text": "Two roads", "words": EXPECTED["words"][:2], "final": False})
                self.assertEqual(second["text"], "Two roads meet.")
                self.assertEqual(last, {**EXPECTED, "final": True})

    def test_is_faster_whisper_where_both_are_installed(self):
        self.install(faster_whisper(self.loaded), openai_whisper(self.loaded))
        self.plugin.initialize({"device": "cuda", "weights_dir": "/weights"})
        self.assertEqual(
            self.loaded, [("small", {"device": "cuda", "compute_type": "default", "download_root": "/weights"})]
        )

    def test_is_openai_whisper_where_that_is_wanted(self):
        self.install(faster_whisper(self.loaded), openai_whisper(self.loaded))
        self.plugin.initialize({"backend": "openai-whisper", "language": "de"})
        self.plugin.execute(self.audio)
        model, call = self.loaded
        self.assertEqual(model, ("small", {"device": None, "download_root": None}))
        self.assertEqual(call, {"language": "de", "beam_size": 5, "fp16": True})

    def test_computes_in_float32_on_a_cpu(self):
        self.install(openai=openai_whisper(self.loaded, device="cpu"))
        self.plugin.initialize()
        self.plugin.execute(self.audio)
        self.assertIs(self.loaded[1]["fp16"], False)

    def test_reports_progress_and_can_be_cancelled(self):
        self.install(faster_whisper(self.loaded))
        seen = []
        self.plugin.report_progress = lambda fraction, message: seen.append((fraction, message))
        self.plugin.execute(self.audio)
        self.assertEqual(seen, [(0.25, "1.0 s understood"), (3.25 / 4, "3.2 s understood")])
        self.plugin.cancelled = lambda: len(seen) == 3
        with self.assertRaises(CancelledError):
            self.plugin.execute(self.audio)


class TheModel(WithPackages):
    def sizes(self):
        return [size for size, _ in self.loaded]

    def test_is_loaded_again_for_settings_that_concern_it_alone(self):
        self.install(faster_whisper(self.loaded))
        for config in ({}, {"beam_size": 1}, {"language": "en"}, {"model_size": "base"}, {"model_size": "base"}):
            self.plugin.initialize(config)
        self.assertEqual(self.sizes(), ["small", "base"])

    def test_is_gone_after_cleanup_and_gpu_memory_given_back(self):
        emptied = []
        torch = Made(cuda=Made(is_available=lambda: True, empty_cache=lambda: emptied.append(True)))
        with mock.patch.dict(sys.modules, {"torch": torch}):
            self.install(faster_whisper(self.loaded))
            self.plugin.initialize()
            emptied.clear()
            self.plugin.cleanup()
            self.assertEqual(emptied, [True])
            self.plugin.execute(self.audio)
        self.assertEqual(self.sizes(), ["small", "small"])

    def test_stays_the_old_one_in_name_where_the_new_one_fails(self):
        self.install(faster_whisper(self.loaded, failing=("large-v3",)))
        self.plugin.initialize()
        with self.assertRaisesRegex(
            RuntimeError, r"could not load the model 'large-v3' on device 'auto': no weights for large-v3\. .*/weights"
        ):
            self.plugin.initialize({"model_size": "large-v3", "weights_dir": "/weights"})
        self.assertEqual(self.plugin.get_current_config()["model_size"], "small")
        self.plugin.execute(self.audio)
        self.assertEqual(self.sizes(), ["small", "small"])


class WhatIsMissing(WithPackages):
    def test_is_named_when_it_is_a_package(self):
        self.install()
        for backend, named in (
            ("auto", "whisper needs faster-whisper or openai-whisper, .* -m pip install faster-whisper'"),
            ("openai-whisper", "whisper needs openai-whisper, .* -m pip install openai-whisper'"),
        ):
            with self.assertRaisesRegex(RuntimeError, named):
                self.plugin.initialize({"backend": backend})

    def test_is_named_when_it_is_a_package_of_the_package(self):
        self.install(openai=openai_whisper(self.loaded))
        missing = ModuleNotFoundError("No module named 'av'", name="av")
        with mock.patch("importlib.import_module", side_effect=missing):
            with self.assertRaisesRegex(ModuleNotFoundError, "'av'"):
                self.plugin.initialize()

    def test_is_named_when_it_is_ffmpeg(self):
        self.install(openai=openai_whisper(self.loaded, ffmpeg=False))
        with self.assertRaisesRegex(RuntimeError, "needs the program ffmpeg to read audio, which is not installed"):
            self.plugin.execute(self.audio)

    def test_is_named_when_it_is_the_recording(self):
        self.install(faster_whisper(self.loaded))
        with self.assertRaisesRegex(ValueError, "there is no audio file 'absent.wav'"):
            self.plugin.execute("/nowhere/absent.wav")

    def test_is_named_when_it_is_a_kind_of_numbers(self):
        self.install(openai=openai_whisper(self.loaded))
        with self.assertRaisesRegex(ValueError, "openai-whisper has no compute_type int8; faster-whisper has"):
            self.plugin.initialize({"compute_type": "int8"})


if __name__ == "__main__":
    unittest.main()
