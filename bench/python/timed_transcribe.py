"""The example plugin `transcribe`, which also says how long its own code has run: the time between two lines of Python
here, whatever its host does around them."""

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
        """Seconds since this was last asked."""
        spent, self.spent_s = self.spent_s, 0.0
        return {"spent_s": spent}
