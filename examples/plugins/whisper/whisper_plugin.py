"""Converts speech to words with their times with Whisper: by faster-whisper, or else by openai-whisper.

It has the same calls and results as `transcribe`, so that a pipeline can use either. (The module is not called `whisper`, which is
the name of openai-whisper's module.) Both packages decode the audio themselves, so any format that they know works.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any, Protocol, Union

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Whisper",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "backend": {
            "description": "The package that does the work; auto takes the first of the two that is installed.",
            "enum": ["auto", "faster-whisper", "openai-whisper"],
            "default": "auto",
        },
        "model_size": {
            "description": "A model's name, such as tiny, base, small, medium, large-v3, or the path of its weights.",
            "type": "string",
            "minLength": 1,
            "default": "small",
        },
        "weights_dir": {
            "description": "Where weights are kept. Left out: the package's own cache below the home directory.",
            "type": ["string", "null"],
            "default": None,
        },
        "device": {
            "description": "Where the model runs; auto takes a GPU where there is one.",
            "enum": ["auto", "cuda", "cpu"],
            "default": "auto",
        },
        "compute_type": {
            "description": "Kind of numbers; default lets the package choose by device. openai-whisper has no int8.",
            "enum": ["default", "float16", "float32", "int8", "int8_float16"],
            "default": "default",
        },
        "language": {
            "description": "Language of the speech, as in en or de. Left out: found out from the first 30 seconds.",
            "type": ["string", "null"],
            "default": None,
        },
        "beam_size": {
            "description": "How many hypotheses are followed side by side.",
            "type": "integer",
            "minimum": 1,
            "maximum": 20,
            "default": 5,
        },
    },
}
DEFAULTS = {name: setting["default"] for name, setting in SCHEMA["properties"].items()}
MODEL_SETTINGS = ("backend", "model_size", "weights_dir", "device", "compute_type")
"""A change of one of these settings needs another model; changes of the others apply from the next call on."""


@dataclass
class Piece:
    """A piece of speech, as the model returned it."""

    end: float
    words: list[tuple[str, float, float]]


class Backend(Protocol):
    """A loaded model."""

    def recognize(self, audio: str, config: dict[str, Any]) -> tuple[float, Iterator[Piece]]:
        """The recording's duration, and its pieces as they are recognized."""


class FasterWhisper:
    """The model in faster-whisper (CTranslate2). It returns one piece after another."""

    package, module = "faster-whisper", "faster_whisper"

    def __init__(self, package: Any, config: dict[str, Any]) -> None:
        self._model = package.WhisperModel(
            config["model_size"],
            device=config["device"],
            compute_type=config["compute_type"],
            download_root=config["weights_dir"],
        )

    def recognize(self, audio: str, config: dict[str, Any]) -> tuple[float, Iterator[Piece]]:
        segments, info = self._model.transcribe(
            audio, language=config["language"], beam_size=config["beam_size"], word_timestamps=True
        )
        return info.duration, (
            Piece(segment.end, [(word.word, word.start, word.end) for word in segment.words or ()])
            for segment in segments
        )


class OpenaiWhisper:
    """The model in openai-whisper (PyTorch). It returns all pieces at the end."""

    package, module = "openai-whisper", "whisper"

    def __init__(self, package: Any, config: dict[str, Any]) -> None:
        if config["compute_type"].startswith("int8"):
            raise ValueError(f"openai-whisper has no compute_type {config['compute_type']}; faster-whisper has")
        self._package = package
        self._model = package.load_model(
            config["model_size"],
            device=None if config["device"] == "auto" else config["device"],
            download_root=config["weights_dir"],
        )
        on_cpu = str(self._model.device).startswith("cpu")
        self._fp16 = config["compute_type"] == "float16" or (config["compute_type"] == "default" and not on_cpu)

    def recognize(self, audio: str, config: dict[str, Any]) -> tuple[float, Iterator[Piece]]:
        try:
            samples = self._package.load_audio(audio)
        except FileNotFoundError as error:
            raise RuntimeError("openai-whisper needs the program ffmpeg to read audio, which is not installed") from error
        found = self._model.transcribe(
            samples,
            language=config["language"],
            beam_size=config["beam_size"],
            word_timestamps=True,
            fp16=self._fp16,
        )
        return len(samples) / self._package.audio.SAMPLE_RATE, (
            Piece(segment["end"], [(word["word"], word["start"], word["end"]) for word in segment.get("words", ())])
            for segment in found["segments"]
        )


BACKENDS = (FasterWhisper, OpenaiWhisper)


class Whisper:
    """The plugin: takes one recording, and returns its words. `offset_s` is added to all times.

    `initialize` loads the model, which is kept until `cleanup`. Calls raise `CancelledError` when `cancelled` returns true.
    """

    def __init__(self) -> None:
        self.config: dict[str, Any] = dict(DEFAULTS)
        self._backend: Backend | None = None

    def get_config_schema(self) -> dict[str, Any]:
        """The schema of the configuration for `initialize`."""
        return SCHEMA

    def get_current_config(self) -> dict[str, Any]:
        """The current settings, with defaults."""
        return dict(self.config)

    def initialize(self, config: dict[str, Any] | None = None) -> None:
        """Loads the model, unless the loaded one can be used.

        Two models may not fit on a GPU, so the old one is unloaded first. If the new one cannot be loaded, the old settings
        stay, and the next call loads the old model again.
        """
        wanted = {**DEFAULTS, **(config or {})}
        unknown = sorted(wanted.keys() - DEFAULTS.keys())
        if unknown:
            raise ValueError(f"whisper has no setting {', '.join(unknown)}; it has {', '.join(DEFAULTS)}")
        if self._backend is None or any(wanted[name] != self.config[name] for name in MODEL_SETTINGS):
            self.cleanup()
            self._backend = load(wanted)
        self.config = wanted

    def execute(self, audio: Union[str, os.PathLike[str]], offset_s: float = 0.0) -> dict[str, Any]:
        """Returns `text`, `words` (each with `word`, `start` and `end` in seconds) and `duration_s`."""
        result = deque(self.execute_stream(audio, offset_s), maxlen=1).pop()
        del result["final"]
        return result

    def execute_stream(self, audio: Union[str, os.PathLike[str]], offset_s: float = 0.0) -> Iterator[dict[str, Any]]:
        """Yields what was understood so far after each piece of speech, with `final` false; at last what `execute`
        returns, with `final` true."""
        if not os.path.isfile(audio):
            raise ValueError(f"there is no audio file {os.path.basename(audio)!r}")
        if self._backend is None:
            self._backend = load(self.config)
        report = getattr(self, "report_progress", None)
        cancelled = getattr(self, "cancelled", None)
        words: list[dict[str, Any]] = []
        duration, pieces = self._backend.recognize(os.fspath(audio), self.config)
        for piece in pieces:
            if cancelled and cancelled():
                raise CancelledError("whisper was cancelled")
            words += [
                {"word": word.strip(), "start": round(offset_s + start, 3), "end": round(offset_s + end, 3)}
                for word, start, end in piece.words
            ]
            if report:
                report(min(piece.end / duration, 1.0) if duration else None, f"{piece.end:.1f} s understood")
            yield outcome(words, final=False)
        yield outcome(words, duration_s=duration, final=True)

    def cleanup(self) -> None:
        """Frees the model's memory, also on the GPU."""
        self._backend = None
        gc.collect()
        # PyTorch keeps freed GPU memory in a cache. If it was never imported there is nothing to free.
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()


def load(config: dict[str, Any]) -> Backend:
    """Loads the model with the configured package, or with the first that is installed. `RuntimeError` says what is missing."""
    wanted = [backend for backend in BACKENDS if config["backend"] in ("auto", backend.package)]
    for backend in wanted:
        try:
            package = importlib.import_module(backend.module)
        except ModuleNotFoundError as error:
            if error.name != backend.module:
                raise
            continue
        return load_weights(backend, package, config)
    raise RuntimeError(
        f"whisper needs {' or '.join(backend.package for backend in wanted)}, which this environment does not have: "
        f"run '{sys.executable} -m pip install {wanted[0].package}', or point python_path in the plugin's manifest at "
        "an environment that has it"
    )


def load_weights(backend: type[FasterWhisper] | type[OpenaiWhisper], package: Any, config: dict[str, Any]) -> Backend:
    """Loads the model; a `RuntimeError` says where its weights were searched."""
    try:
        return backend(package, config)
    except ValueError:
        raise
    except Exception as error:
        place = config["weights_dir"] or "the package's own cache below the home directory"
        raise RuntimeError(
            f"{backend.package} could not load the model {config['model_size']!r} on device {config['device']!r}: "
            f"{error}. If its weights are not on this machine, and it cannot download them: put them into {place} "
            "(setting weights_dir), or name their path as model_size"
        ) from error


def outcome(words: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """The plugin's result. The words are copied, so that the caller may keep them."""
    return {"text": " ".join(word["word"] for word in words), "words": list(words), **more}
