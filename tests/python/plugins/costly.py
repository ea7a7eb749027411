"""A plugin whose answers are short but need much memory in the host. They bypass the worker's own checks."""

from bivium_worker import calls, executor, replies


def listed(item, mib):
    """A JSON array of this item with a size of this many MiB."""
    count = (mib << 20) // (len(item) + 1)
    return b"[" + b",".join([item.encode()] * count) + b"]"


class Costly:
    """Each method answers with many times the same item."""

    def _answer(self, encoded):
        executor.Executor._encoded = lambda *_: encoded

    def ready(self):
        return "ready"

    def result(self, item, mib):
        self._answer((b'"result":' + listed(item, mib), b"[]"))

    def spilled(self, item, mib):
        from bivium_worker import spill

        def encoded(running, *_):
            return b'"spilled":' + spill.write(listed(item, mib), running._settings.exchange), b"[]"

        executor.Executor._encoded = encoded

    def blobs(self, item, mib):
        self._answer((b'"result":null', listed(item, mib)))

    def stream(self, item, mib):
        self._answer((b'"json":' + listed(item, mib), b"[]"))
        yield 1
        yield 2

    def error(self, item, mib):
        self._fail(b'{"code":"plugin-failed","message":"m","type":"E","details":{"d":%s}}' % listed(item, mib))

    def nonsense(self, item, mib):
        self._fail(b'{"code":"denied","message":"m"},"more":%s' % listed(item, mib))

    def _fail(self, error):
        executor.compact = lambda _: b'{"error":%s}' % error
        replies.compact = lambda _: b'{"event":"error","error":%s}' % error
        raise RuntimeError("m")

    def progress(self, item, mib):
        plain = replies.compact

        def compact(event):
            if event.get("event") == "progress":
                return b'{"event":"progress","fraction":0.5,"message":"m","more":%s}' % listed(item, mib)
            return plain(event)

        replies.compact = compact
        calls.report_progress(0.5, "m")
        return 1

    def length(self, value):
        return len(value)
