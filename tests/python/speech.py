"""Replaces audio-prep in tests of `transcribe` alone: the sample speech as 16 kHz segments.

It uses only the standard library, so that the test runs where the plugin runs; audio-prep itself is tested in Rust.
"""

from __future__ import annotations

import math
import operator
import wave
from array import array
from pathlib import Path

RATE = 16000
FRAME = RATE // 100
LOUD = 300
PAUSE_FRAMES = 40
MARGIN_FRAMES = 15


def samples_of(path: Path) -> tuple[array, int]:
    """The samples of a mono 16-bit WAV file and their rate."""
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return array("h", file.readframes(file.getnframes())), file.getframerate()


def write(path: Path, samples: array, rate: int = RATE, channels: int = 1, bits: int = 16) -> Path:
    """Writes a WAV file, and returns its path."""
    with wave.open(str(path), "wb") as file:
        file.setframerate(rate)
        file.setnchannels(channels)
        file.setsampwidth(bits // 8)
        file.writeframes(samples.tobytes())
    return path


def resampled(samples: array, rate: int, zero_crossings: int = 12) -> array:
    """The same sound at 16 kHz: a windowed sinc, with one table of weights for each phase between two samples."""
    if rate == RATE:
        return samples
    shared = math.gcd(rate, RATE)
    step, phases = rate // shared, RATE // shared
    cutoff = min(1.0, RATE / rate)
    reach = math.ceil(zero_crossings / cutoff)

    def weight(distance: float) -> float:
        if abs(distance) >= reach:
            return 0.0
        x = math.pi * distance * cutoff
        return cutoff * (math.sin(x) / x if x else 1.0) * (0.5 + 0.5 * math.cos(math.pi * distance / reach))

    tables = [[weight(tap - phase / phases) for tap in range(-reach, reach + 1)] for phase in range(phases)]
    padded = array("h", bytes(2 * reach)) + samples + array("h", bytes(2 * reach + 2))
    result = array("h")
    for index in range(len(samples) * phases // step):
        whole, phase = divmod(index * step, phases)
        value = sum(map(operator.mul, padded[whole : whole + 2 * reach + 1], tables[phase]))
        result.append(max(-32768, min(32767, round(value))))
    return result


def segments(samples: array) -> list[tuple[float, array]]:
    """Splits 16 kHz sound at its pauses: the start of each part in seconds, and the part."""
    loud = [index for index in range(len(samples) // FRAME) if max(samples[index * FRAME : (index + 1) * FRAME]) > LOUD]
    spans: list[list[int]] = []
    for index in loud:
        if spans and index - spans[-1][1] < PAUSE_FRAMES:
            spans[-1][1] = index
        else:
            spans.append([index, index])
    found = []
    for first, last in spans:
        start = max(0, first - MARGIN_FRAMES)
        found.append((start / 100, samples[start * FRAME : (last + 1 + MARGIN_FRAMES) * FRAME]))
    return found
