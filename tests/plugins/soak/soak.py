"""Does small work of every kind, and writes a line for each call that begins."""

import ctypes
import os
import subprocess
import sys
import time


class Soak:
    def initialize(self, config):
        self.marks = config["marks"]

    def begin(self, number):
        # One write, so that lines of several workers do not mix.
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
            lent = file.read()
        return {"number": number, "data": lent + lent}

    def echo(self, number, text):
        self.begin(number)
        return {"number": number, "text": text}

    def stream(self, number):
        self.begin(number)
        for part in range(5):
            time.sleep(0.002)
            yield {"number": number, "part": part}

    def for_ever(self, number):
        self.begin(number)
        while True:
            yield number

    def hop(self, number):
        """Leaves a chain of processes, each of which lives only until it has started the next."""
        self.begin(number)
        if os.fork() == 0:
            while True:
                if os.fork():
                    os._exit(0)
                os.setsid()
                time.sleep(0.001)
        return {"number": number}

    def hang(self, number):
        """Cannot be interrupted: it holds the interpreter lock in native code."""
        self.begin(number)
        ctypes.PyDLL(None).sleep(600)
