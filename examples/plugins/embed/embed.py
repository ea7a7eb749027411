"""Converts sentences to vectors, without a model: hashed words and character n-grams.

Each word gives features (the word itself, and the n-grams of its letters, so that "meets" is near "meeting"). A hash assigns each
feature to one of `dimensions` places and a sign, so that collisions cancel out instead of adding up. The same sentence
gives the same vector on every machine and in every release of this version: `model` in the result names everything that the
vectors depend on, and vectors of different models must not be compared.
"""

from __future__ import annotations

import re
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Any

import numpy as np

MAX_NUMBERS = 1 << 26
"""The most numbers of a result: 256 MiB of float32."""

WORD = re.compile(r"\w+(?:['’]\w+)*")

FUNCTION_WORDS = frozenset(
    "a an and are as at be been but by can could did do does for from had has have he her his i if in is it its me my "
    "not of on or our shall she should so that the their them then there these they this to was we were what when "
    "which who will with would you your".split()
)
"""Words that are in most sentences and say little about their topic."""

FUNCTION_WORD_WEIGHT = 0.2

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Embed",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "dimensions": {
            "description": "Length of a vector. Longer has fewer collisions.",
            "type": "integer",
            "minimum": 16,
            "maximum": 65536,
            "default": 1024,
        },
        "ngram_min": {
            "description": "Shortest run of letters that is a feature.",
            "type": "integer",
            "minimum": 1,
            "maximum": 8,
            "default": 3,
        },
        "ngram_max": {
            "description": "Longest run of letters that is a feature; not below ngram_min.",
            "type": "integer",
            "minimum": 1,
            "maximum": 8,
            "default": 5,
        },
    },
}
DEFAULTS = {name: setting["default"] for name, setting in SCHEMA["properties"].items()}


class NpyFile:
    """An array that is passed as an .npy file and not inside the JSON."""

    media_type = "application/x-npy"

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def to_temp_file(self) -> str:
        """Writes the array to a new file, which then belongs to the caller, and returns its absolute path."""
        with tempfile.NamedTemporaryFile(suffix=".npy", delete=False) as file:
            np.save(file, self.array, allow_pickle=False)
        return file.name


class Embed:
    """The plugin. `execute(["a sentence", …])` gives one vector of length 1 for each sentence, in order."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = dict(DEFAULTS)

    def get_config_schema(self) -> dict[str, Any]:
        """The schema of the configuration for `initialize`."""
        return SCHEMA

    def get_current_config(self) -> dict[str, Any]:
        """The current settings, with defaults."""
        return dict(self.config)

    def initialize(self, config: dict[str, Any] | None = None) -> None:
        """Applies new settings; if they cannot be used it raises `ValueError` and the old ones stay."""
        wanted = {**DEFAULTS, **(config or {})}
        unknown = sorted(wanted.keys() - DEFAULTS.keys())
        if unknown:
            raise ValueError(f"embed has no setting {', '.join(unknown)}; it has {', '.join(DEFAULTS)}")
        if wanted["ngram_min"] > wanted["ngram_max"]:
            raise ValueError(f"ngram_min ({wanted['ngram_min']}) is above ngram_max ({wanted['ngram_max']})")
        self.config = wanted

    def execute(self, sentences: list[str]) -> dict[str, Any]:
        """Returns `vectors` (float32, one row a sentence, as a blob), their `shape`, and the `model` that made them.

        A sentence without a word gives a row of zeros.
        """
        if not isinstance(sentences, list) or not all(isinstance(sentence, str) for sentence in sentences):
            raise TypeError("sentences must be a list of strings")
        dimensions = self.config["dimensions"]
        if len(sentences) * dimensions > MAX_NUMBERS:
            raise ValueError(
                f"{len(sentences)} sentences of {dimensions} numbers are too many for one call: "
                f"send at most {MAX_NUMBERS // dimensions} at once"
            )
        vectors = np.zeros((len(sentences), dimensions), dtype=np.float32)
        report = getattr(self, "report_progress", None)
        cancelled = getattr(self, "cancelled", None)
        for row, sentence in enumerate(sentences):
            if row % 256 == 0:
                if cancelled and cancelled():
                    raise CancelledError("embed was cancelled")
                if report:
                    report(row / len(sentences), f"{row} of {len(sentences)} sentences")
            self._embed(sentence, vectors[row])
        return {"vectors": NpyFile(vectors), "shape": list(vectors.shape), "model": self._model()}

    def cleanup(self) -> None:
        """Does nothing: no resources are kept between calls."""

    def _model(self) -> str:
        return "hashed-ngrams-1-{ngram_min}-{ngram_max}-{dimensions}".format(**self.config)

    def _embed(self, sentence: str, vector: np.ndarray) -> None:
        """Fills `vector`, which is all zeros."""
        for word, count in Counter(WORD.findall(sentence.lower())).items():
            # A word that occurs ten times is not ten times as important.
            weight = 1 + np.log(count)
            if word in FUNCTION_WORDS:
                weight *= FUNCTION_WORD_WEIGHT
            for feature, share in self._features(word):
                place = zlib.crc32(feature.encode("utf-8", "replace"))
                sign = 1 if place & 1 else -1
                vector[(place >> 1) % vector.size] += sign * weight * share
        length = np.linalg.norm(vector)
        if length > 0:
            vector /= length

    def _features(self, word: str) -> Iterator[tuple[str, float]]:
        """The word itself, and its n-grams, which together have the same weight as the word."""
        yield word, 1.0
        framed = f"<{word}>"
        grams = [
            framed[start : start + size]
            for size in range(self.config["ngram_min"], self.config["ngram_max"] + 1)
            for start in range(len(framed) - size + 1)
        ]
        for gram in grams:
            yield "#" + gram, len(grams) ** -0.5
