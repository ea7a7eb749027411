"""The plugin that is measured in the Python runtime. It does almost nothing, and is written as any author would write it."""

import itertools
import os
import threading

from logged import time_of_each


class Echo:
    def __init__(self):
        self._answers = {}

    def execute(self, text):
        return {"text": text}

    def constant(self, size, text):
        """Returns the same answer for every text, for a floor."""
        if size not in self._answers:
            self._answers[size] = {"text": "x" * size}
        return self._answers[size]

    def log(self, count):
        # Imported here, so that it is not part of a measured start.
        import logging

        return {"us": time_of_each(logging.getLogger(__name__), count)}

    def execute_stream(self, count):
        for n in range(count):
            yield {"n": n}

    def busy(self, mark):
        """Creates a file to show that it runs, and then never leaves its loop."""
        open(mark, "w").close()
        for _ in itertools.count():
            pass

    def wait(self, mark):
        """Writes its process id to a file, and waits."""
        _tell_process(mark)
        threading.Event().wait()

    def stubborn(self, mark):
        """The same, but goes on after any exception."""
        _tell_process(mark)
        while True:
            try:
                for _ in itertools.count():
                    pass
            except BaseException:
                pass


def _tell_process(mark):
    with open(mark + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(mark + ".new", mark)
