"""A plugin that opens files up to its limit, for `test_worker_flood`."""

import os
import resource
import time

OWN_FILES = 96
"""What the host adds to `limits.files` for the worker."""


class Files:
    def __init__(self):
        self.files = []

    def limit(self, files):
        resource.setrlimit(resource.RLIMIT_NOFILE, (files + OWN_FILES, files + OWN_FILES))

    def open(self, count):
        self.files += [os.open(os.devnull, os.O_RDONLY) for _ in range(count)]
        return len(self.files)

    def exhaust(self):
        try:
            while True:
                self.open(1)
        except OSError:
            return len(self.files)

    def close(self):
        while self.files:
            os.close(self.files.pop())

    def wait(self):
        time.sleep(60)
