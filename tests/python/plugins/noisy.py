"""Prints in every possible way while it is imported, and reads stdin."""

import os
import sys

print("garbage before the handshake")
print('{"event": "ready", "port": 1, "pid": 1, "protocol": 1}')
os.write(1, b"more of it\n")
assert sys.stdin.read() == ""


class Noisy:
    def execute(self):
        return "fine"
