"""Produces an example of every message between a host and its worker, for the snapshots of the protocol."""

import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

from bivium_worker import cancelled, report_progress, wire

LOG = logging.getLogger("told")


class Told:
    """Says, streams, hands back files, fails."""

    def __init__(self) -> None:
        self.config = {}

    def initialize(self, config):
        if "colour" in config:
            raise ValueError("no setting colour")
        self.config = config

    def get_config_schema(self):
        return {"type": "object", "properties": {"depth": {"type": "integer", "default": 1}}}

    def get_current_config(self):
        return self.config

    def execute(self, text: str = "", times: int = 1) -> str:
        """Says a text.

        As often as it is asked to.
        """
        LOG.warning("says %r", text)
        return text * times

    def execute_stream(self, text: str = "") -> Iterator[str]:
        """Says it word by word."""
        words = text.split()
        for number, word in enumerate(words, 1):
            report_progress(number / len(words), word)
            yield word

    def half(self):
        report_progress(0.5, "half")
        return "whole"

    def files(self, blob, more=None):
        return {"lent": blob, "made": b"made", "literal": {"$blob": 0}}

    def long(self, size):
        return "x" * size

    def outside(self):
        return Path(__file__)

    def nowhere(self):
        open("/nowhere/of/the/host")

    def fail(self):
        raise ValueError("no such luck")

    def fail_later(self):
        yield 1
        raise ValueError("after one")

    def exhausted(self):
        raise MemoryError("too much")

    def no_json(self):
        return {"scores": [1.0, float("nan")]}

    def wait(self):
        report_progress(0.5, "waits")
        while not cancelled():
            time.sleep(0.001)

    def kill(self):
        os.kill(os.getpid(), 9)


class Small:
    """Has methods of each kind, and few."""

    def execute(self, text: str, times: int = 1) -> list[str]:
        """Says a text.

        As often as it is asked to.
        """

    def words(self, text: str) -> Iterator[str]:
        """Says it word by word."""
        yield text

    def odd(self, value: "no type"):  # noqa: F722
        pass


def record() -> None:
    """Makes the worker record its host's requests, one a line, in the file that `TOLD` names."""
    receive = wire.Connection.receive

    def recorded(self):
        request = receive(self)
        if request is not None:
            path = "?".join(filter(None, (request.path, request.query)))
            body = bytes(request.body).decode()
            with open(os.environ["TOLD"], "a") as file:
                file.write(json.dumps([request.verb, path, body]) + "\n")
        return request

    wire.Connection.receive = recorded


if "TOLD" in os.environ:
    record()
