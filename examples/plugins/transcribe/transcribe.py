"""Converts English speech to words with their times, offline, with PocketSphinx and the models in its wheel.

Nothing here depends on Bivium: the class can be used without it. If a host has set `report_progress` and
`cancelled` on the object, they are used.
"""

from __future__ import annotations

import os
import re
import wave
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any, Union

from pocketsphinx import Decoder, set_loglevel

SAMPLE_RATE = 16000
CHUNK_SAMPLES = SAMPLE_RATE // 10
"""The decoder holds the interpreter lock while it works. With chunks of a tenth of a second, cancel and progress requests are
answered in between."""

FRAME_RATE = 100
"""PocketSphinx counts time in hundredths of a second."""

CALIBRATION_PASSES = 3
CALIBRATION_CHUNKS = 200
"""How often the beginning of a recording is decoded beforehand, and how much of it. With more passes the results were worse in
measurements, because the decoder then forgets what it knows about voices in general."""

MAX_SECONDS = 3600
"""The longest recording: the whole of it is in memory, and it is one utterance."""

NOT_SPEECH = ("<", "[", "+")
"""The first characters of the names of silence and noises."""

VARIANT = re.compile(r"\(\d+\)$")
"""How the dictionary marks further pronunciations of a word: `read(2)`."""

MODEL_FILES = {"acoustic_model": "hmm", "language_model": "lm", "dictionary": "dict"}
"""Settings that name a file or directory, with their names in PocketSphinx."""

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Transcribe",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "acoustic_model": {
            "description": "Directory of another acoustic model for 16 kHz. Left out: the wheel's own, US English.",
            "type": ["string", "null"],
            "default": None,
        },
        "language_model": {
            "description": "File of another n-gram language model (.lm, .lm.bin). Left out: the wheel's own.",
            "type": ["string", "null"],
            "default": None,
        },
        "dictionary": {
            "description": "File of another pronouncing dictionary. Left out: the wheel's own.",
            "type": ["string", "null"],
            "default": None,
        },
        "language_weight": {
            "description": "How much the language model counts beside the sound.",
            "type": "number",
            "minimum": 1,
            "maximum": 20,
            "default": 6.5,
        },
        "word_insertion_penalty": {
            "description": "Below 1, fewer and longer words are found; above 1, more and shorter ones.",
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": 10,
            "default": 0.65,
        },
        "beam": {
            "description": "How unlikely a hypothesis may be and still be followed. Smaller is slower and more exact.",
            "type": "number",
            "exclusiveMinimum": 0,
            "exclusiveMaximum": 1,
            "default": 1e-48,
        },
        "second_pass": {
            "description": "Whether to go over a recording again once all of it was heard: slower and more exact.",
            "type": "boolean",
            "default": True,
        },
    },
}
DEFAULTS = {name: setting["default"] for name, setting in SCHEMA["properties"].items()}


class Transcribe:
    """The plugin: takes one recording, and returns its words.

    `audio` is the path of a WAV file: 16 kHz, mono, 16 bits. It is treated as one utterance, so split a long recording at
    its silences first; `offset_s` is where this part begins in the whole recording, and is added to all times. Both ways to call
    it raise `ValueError` for any other file, and `CancelledError` when `cancelled` returns true.
    """

    def __init__(self) -> None:
        self.config: dict[str, Any] = dict(DEFAULTS)
        self._recognizer: Recognizer | None = None

    def get_config_schema(self) -> dict[str, Any]:
        """The schema of the configuration for `initialize`."""
        return SCHEMA

    def get_current_config(self) -> dict[str, Any]:
        """The current settings, with defaults."""
        return dict(self.config)

    def initialize(self, config: dict[str, Any] | None = None) -> None:
        """Loads the models. If that fails it raises, and the old settings and models stay."""
        wanted = {**DEFAULTS, **(config or {})}
        unknown = sorted(wanted.keys() - DEFAULTS.keys())
        if unknown:
            raise ValueError(f"transcribe has no setting {', '.join(unknown)}; it has {', '.join(DEFAULTS)}")
        self._recognizer = Recognizer(wanted)
        self.config = wanted

    def execute(self, audio: Union[str, os.PathLike[str]], offset_s: float = 0.0) -> dict[str, Any]:
        """Returns `text`, `words` (each with `word`, `start` and `end` in seconds) and `duration_s`."""
        chunks = read_speech(audio)
        with self._borrowed() as recognizer:
            for _ in self._watched(recognizer.listen(chunks), len(chunks)):
                pass
            return outcome(recognizer.words(), offset_s, duration_s=duration_of(chunks))

    def execute_stream(self, audio: Union[str, os.PathLike[str]], offset_s: float = 0.0) -> Iterator[dict[str, Any]]:
        """Yields what was understood so far, each time that it changes, with `final` false; at last what `execute`
        returns, with `final` true."""
        chunks = read_speech(audio)
        with self._borrowed() as recognizer:
            before = ""
            for _ in self._watched(recognizer.listen(chunks), len(chunks)):
                heard = outcome(recognizer.words(), offset_s, final=False)
                if heard["text"] != before:
                    before = heard["text"]
                    yield heard
            heard = outcome(recognizer.words(), offset_s, duration_s=duration_of(chunks), final=True)
        yield heard

    def cleanup(self) -> None:
        """Frees the memory of the models; `initialize` loads them again."""
        self._recognizer = None

    @contextmanager
    def _borrowed(self) -> Iterator[Recognizer]:
        """The recognizer, for one call. After an utterance was interrupted it could only be used again after a long
        computation, so it is dropped, and the next call loads another one."""
        recognizer, self._recognizer = self._recognizer or Recognizer(self.config), None
        yield recognizer
        self._recognizer = recognizer

    def _watched(self, steps: Iterator[None], total: int) -> Iterator[None]:
        """Runs the recognition step by step, reports progress, and stops when the call is cancelled."""
        report = getattr(self, "report_progress", None)
        cancelled = getattr(self, "cancelled", None)
        for done, _ in enumerate(steps, 1):
            if cancelled and cancelled():
                raise CancelledError("transcribe was cancelled")
            if report:
                report(done / total, f"{done * CHUNK_SAMPLES / SAMPLE_RATE:.1f} s heard")
            yield


class Recognizer:
    """A PocketSphinx decoder that decodes one recording after another, each as if it were the first."""

    def __init__(self, config: dict[str, Any]) -> None:
        options = {
            "samprate": SAMPLE_RATE,
            "lw": config["language_weight"],
            "wip": config["word_insertion_penalty"],
            "beam": config["beam"],
            "fwdflat": config["second_pass"],
            "bestpath": config["second_pass"],
        }
        for setting, option in MODEL_FILES.items():
            path = config[setting]
            if path is not None:
                if not os.path.exists(path):
                    raise ValueError(f"{setting}: there is no {path!r}")
                options[option] = path
        self._decoder = Decoder(loglevel="ERROR", **options)
        # After the models are loaded, it reports errors that are not errors (for a recording that begins with silence).
        set_loglevel("FATAL")
        self._search = self._decoder.current_search()
        self._first_mean = self._decoder.get_cmn(False)
        # A grammar with only silence: the sound is analysed, with hardly any search.
        silence = self._decoder.create_fsg("calibration", 0, 0, [(0, 0, 1.0, "<sil>")])
        self._decoder.add_fsg("calibration", silence)

    def listen(self, chunks: list[bytes]) -> Iterator[None]:
        """Decodes one recording, and yields to the caller after each chunk. Must be run to its end."""
        self._calibrate(chunks[:CALIBRATION_CHUNKS])
        self._decoder.start_utt()
        for chunk in chunks:
            self._decoder.process_raw(chunk)
            yield
        self._decoder.end_utt()

    def words(self) -> list[tuple[str, float, float]]:
        """The words of the best hypothesis so far, with start and end in seconds from the recording's beginning."""
        return [
            (VARIANT.sub("", found.word), found.start_frame / FRAME_RATE, (found.end_frame + 1) / FRAME_RATE)
            for found in self._decoder.seg() or ()
            if not found.word.startswith(NOT_SPEECH)
        ]

    def _calibrate(self, chunks: list[bytes]) -> None:
        """Sets the mean of the sound's features, which recognition subtracts, to that of this voice and microphone.

        PocketSphinx starts with a mean of its own and adapts it slowly, too slowly for a sentence: in the sample speech
        half of the words are wrong then, instead of one in twenty. Decoding the beginning of the recording a few times first
        takes a fortieth of the time of the recognition.
        """
        self._decoder.activate_search("calibration")
        self._decoder.set_cmn(self._first_mean)
        for _ in range(CALIBRATION_PASSES):
            self._decoder.start_utt()
            for chunk in chunks:
                self._decoder.process_raw(chunk)
            self._decoder.end_utt()
            self._decoder.get_cmn(True)
        self._decoder.activate_search(self._search)


def read_speech(path: Union[str, os.PathLike[str]]) -> list[bytes]:
    """The samples of a WAV file, in chunks of a tenth of a second."""
    path = os.fspath(path)
    name = os.path.basename(path)
    try:
        with wave.open(path) as file:
            got = (file.getframerate(), file.getnchannels(), file.getsampwidth() * 8)
            seconds = file.getnframes() / max(got[0], 1)
            if got != (SAMPLE_RATE, 1, 16):
                raise ValueError(
                    "{!r} is a WAV file of {} Hz, {} channel(s), {} bits; transcribe needs {} Hz, 1 channel, 16 bits "
                    "(audio-prep makes that)".format(name, *got, SAMPLE_RATE)
                )
            if seconds > MAX_SECONDS:
                raise ValueError(f"{name!r} is {seconds:.0f} s long; at most {MAX_SECONDS} s are allowed")
            return list(iter(lambda: file.readframes(CHUNK_SAMPLES), b""))
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{name!r} cannot be read as a WAV file: {str(error) or 'it is truncated'}") from error


def duration_of(chunks: list[bytes]) -> float:
    """Seconds of sound in chunks of 16-bit samples."""
    return sum(map(len, chunks)) / 2 / SAMPLE_RATE


def outcome(words: list[tuple[str, float, float]], offset_s: float, **more: Any) -> dict[str, Any]:
    """The plugin's result: text, words with their absolute times, and `more`."""
    return {
        "text": " ".join(word for word, _, _ in words),
        "words": [
            {"word": word, "start": round(offset_s + start, 3), "end": round(offset_s + end, 3)}
            for word, start, end in words
        ],
        **more,
    }
