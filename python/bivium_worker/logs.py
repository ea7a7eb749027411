"""Sends log records of the `logging` module as structured events on the channel.

stdout and stderr are not handled here: the host reads those two pipes itself, line by line.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from json.encoder import encode_basestring_ascii as quoted

from .calls import current
from .channel import Channel
from .errors import clip


class ChannelHandler(logging.Handler):
    """Sends each record with its level, logger, text and the id of the call that it belongs to."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel
        self._formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        """Raises nothing but a cancellation. If a record cannot be formatted, the text that is sent says so."""
        try:
            plain = not (record.exc_info or record.exc_text or record.stack_info)
            text = str(record.getMessage() if plain else self._formatter.format(record))
        except Exception as error:
            text = "%r (not formatted: %s: %s)" % (record.msg, type(error).__name__, error)
        if self._channel.detached:  # in a process that the plugin forked: the host reads its stderr as well
            sys.stderr.write("%s: %s\n" % (record.name, text))
            return
        call = current()
        # Not by `json.dumps`, which would take as long as all the rest.
        self._channel.write(
            '{"event":"log","time":%r,"level":%s,"logger":%s,"message":%s,"call":%s}\n'
            % (
                created(record),
                quoted(clip(str(record.levelname).lower())),
                quoted(clip(str(record.name))),
                quoted(clip(text)),
                quoted(call.id) if call is not None else "null",
            )
        )
        if call is not None:
            call.checkpoint()


def created(record: logging.LogRecord) -> float:
    """The time of a record, or now if it has none."""
    at = record.created
    return at if type(at) is float and math.isfinite(at) else time.time()


def install(channel: Channel, level: str) -> None:
    """Makes the root logger send its records to the host.

    As the root logger then has a handler, a plugin's `logging.basicConfig()` does not print the records a second time.
    """
    root = logging.getLogger()
    number = logging.getLevelName(level.upper())
    root.setLevel(number if isinstance(number, int) else logging.INFO)
    root.addHandler(ChannelHandler(channel))
