"""Does small work of every kind, and leaves a line for each call that it begins."""

import os
import subprocess
import sys
import time


class Soak:
    def initialize(self, config):
        self.marks = config["marks"]

    def begin(self, number):
        # One write: lines of several workers do not mix.
        line = os.open(self.marks, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(line, b"%d\n" % number)
        os.close(line)

    def execute(self, number):
        self.begin(number)
        return {"number": number}

    def nap(self, number):
        self.begin(number)
        time.sleep(0.02)
        return {"number": number}

    def child(self, number):
        """Leaves a grandchild that outlives the call."""
        self.begin(number)
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        return {"number": number}

    def blob(self, number, data):
        self.begin(number)
        with open(data, "rb") as file:
            assert file.read() == b"%d" % number
        return {"number": number, "data": b"x" * 100_000}

    def stream(self, number):
        self.begin(number)
        for part in range(5):
            time.sleep(0.002)
            yield {"number": number, "part": part}
