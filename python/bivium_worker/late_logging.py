"""Imports `logs` only once the plugin, or a library, imports `logging`: most of a small plugin's start would be spent on it.

`logging` takes longer to import than all of the worker's own modules. So a finder waits for that import; the module is the one of the
standard library, also if the plugin's directory has one with this name, as for all modules that the worker itself imports.
"""

from __future__ import annotations

import sys
from _frozen_importlib_external import PathFinder

from .channel import Channel
from .errors import complain, name_of, text_of

NAME = "logging"


def install(channel: Channel, level: str) -> None:
    """Makes the root logger send its records to the host, now or when there is one."""
    # Found before the plugin's directory is on the path.
    spec = None if NAME in sys.modules else PathFinder.find_spec(NAME)
    if spec is None:
        attach(channel, level)
    else:
        sys.meta_path.insert(0, Finder(spec, channel, level))


class Finder:
    """Finds `logging`, and nothing else; its first import ends in `attach`."""

    def __init__(self, spec, channel: Channel, level: str) -> None:
        self._spec = spec
        self._channel = channel
        self._level = level
        spec.loader.exec_module = self._execute

    def find_spec(self, name: str, _path=None, _target=None):
        return self._spec if name == NAME else None

    def _execute(self, module) -> None:
        loader = self._spec.loader
        # From here on the loader has its own method again.
        del loader.exec_module
        try:
            loader.exec_module(module)
        except BaseException:  # for example if no file can be opened; the plugin may try again
            loader.exec_module = self._execute
            raise
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        attach(self._channel, self._level)


def attach(channel: Channel, level: str) -> None:
    """Imports what sends records. The plugin's own import goes on if that fails: the worker's files may be gone by now."""
    try:
        from . import logs

        logs.install(channel, level)
    except Exception as error:
        complain("records of `logging` are not sent to the host: %s: %s" % (name_of(type(error)), text_of(error)))
