"""The example plugin `transcribe`, which also reports how long its own code has run: the time between two lines of Python here, without
anything that its host does."""

import time

from transcribe import Transcribe


class TimedTranscribe(Transcribe):
    spent_s = 0.0

    def execute(self, audio, offset_s=0.0):
        begun = time.perf_counter()
        try:
            return super().execute(audio, offset_s)
        finally:
            self.spent_s += time.perf_counter() - begun

    def take_spent(self):
        """The seconds that its code has run since the last call of this method."""
        spent, self.spent_s = self.spent_s, 0.0
        return {"spent_s": spent}
