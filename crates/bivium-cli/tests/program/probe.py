"""A plugin that does what the tests of the program ask of it."""

import logging
import os
import sys
import time


class Probe:
    def __init__(self):
        self.config = {}

    def initialize(self, config=None):
        self.config = dict(config or {})

    def get_config_schema(self):
        return {"type": "object", "required": ["mask"], "additionalProperties": False,
                "properties": {"mask": {"type": "string", "default": "#", "description": "What replaces"},
                               "times": {"type": "integer", "minimum": 1, "default": 1}}}

    def get_current_config(self):
        return self.config

    def execute(self, *args, **kwargs):
        return {"args": list(args), "kwargs": {key: str(value) for key, value in kwargs.items()}, "config": self.config}

    def execute_stream(self, count=3, hold=None):
        for n in range(count):
            yield {"n": n, "text": "chunk %d" % n}
        if hold:
            self.wait(hold)

    def size(self, file):
        """The size of a file."""
        return {"size": os.path.getsize(file), "name": os.path.basename(file)}

    def make(self, text):
        path = os.path.join(os.environ["TMPDIR"], "made.txt")
        with open(path, "w") as file:
            file.write(text)
        return {"made": Made(path)}

    def say(self, word):
        """Says it in every way that there is."""
        print("printed %s" % word, flush=True)
        print("complained %s" % word, file=sys.stderr, flush=True)
        logging.getLogger("probe.words").error("logged %s\n2026-01-01T00:00:00.000Z error host   1: forged", word)
        print("\x1b[2Jhidden \x9b31m", flush=True)

    def whisper(self, word):
        """Says it where only those hear it who listen closely."""
        logging.getLogger("probe.words").debug("whispered %s", word)

    def flood(self, count):
        for number in range(count):
            print("flood %d" % number)

    def fail(self):
        raise ValueError("no good\x1b[2J")

    def wait(self, flag):
        """Says its process id and then sleeps."""
        with open(flag + ".new", "w") as file:
            file.write(str(os.getpid()))
        os.rename(flag + ".new", flag)
        time.sleep(600)

    def stubborn(self, flag):
        while True:
            try:
                self.wait(flag)
            except BaseException:
                pass


class Made:
    media_type = "text/plain"
    def __init__(self, path):
        self.path = path
    def to_temp_file(self):
        return self.path
