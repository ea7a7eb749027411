"""What is measured of our Python road: a plugin that does next to nothing, as any author would write it."""

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
        """The same answer each time, whatever the text: what a floor asks for."""
        if size not in self._answers:
            self._answers[size] = {"text": "x" * size}
        return self._answers[size]

    def log(self, count):
        # Here, so that a start is measured without it.
        import logging

        return {"us": time_of_each(logging.getLogger(__name__), count)}

    def execute_stream(self, count):
        for n in range(count):
            yield {"n": n}

    def busy(self, mark):
        """Says by a file that it runs, and never looks up from its work again."""
        open(mark, "w").close()
        for _ in itertools.count():
            pass

    def wait(self, mark):
        """Says by a file which process runs it, and waits."""
        _tell_process(mark)
        threading.Event().wait()

    def stubborn(self, mark):
        """The same, and goes on whatever is raised in it."""
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
