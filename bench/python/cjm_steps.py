"""Three steps from speech to subtitles as plugins of cjm-plugin-system. `transcribe` is the example's own class; the steps before and
after it do the least that is needed. Each reports how long its own code has run."""

import os
import re
import tempfile
import time
import wave

import numpy
from cjm_plugin import Plain


RATE = 16000


class Step(Plain):
    def execute(self, **arguments):
        begun = time.perf_counter()
        result = self.run(**arguments)
        return {**result, "spent_s": time.perf_counter() - begun}


class Cut(Step):
    """Cuts a WAV file at the given times, and converts it to 16 kHz."""

    def run(self, audio, cuts):
        with wave.open(audio) as speech:
            rate = speech.getframerate()
            sound = numpy.frombuffer(speech.readframes(speech.getnframes()), dtype="<i2")
        segments = []
        for start_s, end_s in cuts:
            times = numpy.arange(start_s, end_s, 1 / RATE)
            handle, path = tempfile.mkstemp(suffix=".wav")
            with os.fdopen(handle, "wb") as file, wave.open(file, "wb") as segment:
                segment.setparams((1, 2, RATE, 0, "NONE", ""))
                segment.writeframes(numpy.interp(times * rate, numpy.arange(len(sound)), sound).astype("<i2").tobytes())
            segments.append({"audio": path, "start_s": start_s})
        return {"segments": segments}


class Words(Step):
    """Recognizes one segment."""

    def __init__(self):
        # The peer calls `initialize` only if there is a configuration.
        from transcribe import Transcribe

        self.transcribe = Transcribe()
        self.transcribe.initialize({})

    def run(self, audio, offset_s):
        return self.transcribe.execute(audio, offset_s)


class Captions(Step):
    """Masks numbers and writes SRT."""

    def run(self, segments):
        lines = []
        for n, segment in enumerate((s for s in segments if s["words"]), 1):
            start, end = (stamp(segment["words"][at][key]) for at, key in ((0, "start"), (-1, "end")))
            lines.append("%d\n%s --> %s\n%s\n" % (n, start, end, re.sub(r"\d{4,}", "[number]", segment["text"])))
        return {"srt": "\n".join(lines)}


def stamp(seconds):
    milliseconds = round(seconds * 1000)
    return "%02d:%02d:%02d,%03d" % (
        milliseconds // 3600000,
        milliseconds // 60000 % 60,
        milliseconds // 1000 % 60,
        milliseconds % 1000,
    )
