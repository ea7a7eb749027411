"""Bivium's universal worker: one Python process that hosts one plugin object for a host program.

The host starts it by path (`python DIR/__main__.py`), so nothing has to be installed where the plugin lives: the package uses
the standard library alone and runs on Python 3.9 and later. `docs/worker-protocol.md` describes the messages between
the two.

Two processes and two threads make a worker:

* the *guard* (`guard.py`, `watch.py`) is the process the host started. It forks the other one at once, and ends every process
  below it when the host is gone or the worker has ended;
* the *worker* process runs the plugin's code on its main thread (`dispatcher.py`), and answers `/cancel`, `/progress`,
  `/health` and `/stats` on a second one (`control.py`).

A plugin needs no base class from here. It may `from bivium_worker import Blob, cancelled, report_progress`, which works
only inside a worker.
"""

PROTOCOL = 1
"""The version of the protocol between host and worker; both refuse any other."""


def __getattr__(name):
    # Lazy, so that the guard, which lives as long as the worker, keeps none of this in memory.
    if name == "Blob":
        from .blobs import Blob

        return Blob
    if name in ("Cancelled", "cancelled", "report_progress"):
        from . import calls

        return getattr(calls, name)
    raise AttributeError("module 'bivium_worker' has no attribute %r" % name)
