"""Runs calls of the plugin's code, each with exactly one outcome.

The outcome is the plugin's result, its error, or `cancelled`. Whatever the code does after its call was cancelled,
the answer is `cancelled`, so that a caller who has cancelled the call knows that it has ended.
"""

from __future__ import annotations

import os
from types import CodeType

from . import arguments, children
from .asking import optional, unwrapped
from .calls import CURRENT, Call, Cancelled
from .cancel import enter, leave
from .codec import quick
from .error_fields import is_a, last_frame
from .errors import HERE, STATUS, WorkerError, describe, forget, text_of
from .loops import Loops
from .replies import Events, SendTimeout, compact, send, timeout_after
from .plugin import Plugin
from .settings import Settings
from .wire import Closed, Connection, reply

END = object()

INLINE = 256 * 1024
"""A result with more bytes of JSON than this is written to a file."""


class Executor:
    """Runs calls of one plugin, each on the thread that asks for it."""

    def __init__(self, plugin: Plugin, settings: Settings, calls, later) -> None:
        self._plugin = plugin
        self._settings = settings
        self._calls = calls
        self._later = later
        self._pid = os.getpid()
        self.loops = Loops(shared=settings.concurrency > 1)

    def unary(self, connection: Connection, call: Call) -> None:
        """Runs one call and sends one reply. Raises `Closed` if the reply could not be sent."""

        def work() -> tuple[bytes, bytes]:
            value = self.run(self._plugin.method(call.method), call)
            if is_stream(value):
                value = self._all(value, call)
            return self._encoded(value, call, b"result")

        encoded, error = self._settle(work, call, connection)
        if error is None:
            status, body = 200, b'{%s,"blobs":%s}' % encoded
        else:
            status, body = STATUS[error["code"]], compact({"error": error})
        try:
            send(connection.sock, reply(status, body), timeout_after(self._settings.request_timeout_s))
        except SendTimeout:
            raise Closed from None

    def stream(self, connection: Connection, call: Call, unary: bool) -> None:
        """Runs one call whose reply is a stream of events. A `unary` one has a single result; the stream is for its progress."""
        events = Events(connection.sock, call, self._later)
        call.listener = events.progressed

        def chunk(value, only: bool) -> None:
            events.chunk(*self._encoded(value, call, b"json"), only)

        def work() -> None:
            method = self._plugin.method if unary else self._plugin.streaming
            value = self.run(method(call.method), call)
            if not is_stream(value):
                chunk(value, True)
            elif unary:
                chunk(self._all(value, call), True)
            else:
                items = self.items(value, call)
                try:
                    for item in items:
                        chunk(item, False)
                        del item
                finally:
                    # Here, and not when the error's traceback is dropped: closing runs the plugin's code.
                    items.close()

        _, error = self._settle(work, call, connection)
        try:
            events.finish(error)
        except SendTimeout:
            raise Closed from None

    def hook(self, connection: Connection, call: Call, work) -> None:
        """Runs one of the plugin's lifecycle methods, by the rules of a call."""
        encoded, error = self._settle(lambda: self._encoded(work(call), call, b"result"), call, connection)
        if error is None:
            status, body = 200, b'{%s,"blobs":%s}' % encoded
        else:
            status, body = STATUS[error["code"]], compact({"error": error})
        try:
            send(connection.sock, reply(status, body), timeout_after(self._settings.request_timeout_s))
        except SendTimeout:
            raise Closed from None

    def run(self, function, call: Call):
        """Calls a function of the plugin; awaits its result if that is awaitable."""
        if call.kwargs:
            positioned(function, call)
        arguments.convert(function, call, self._settings.max_reply_bytes)
        try:
            value = enter(function, call.args, call.kwargs)
        except TypeError as error:
            reason = misfit(function, call, error)
            if reason is not None:
                raise reason from None
            raise
        if optional(type(value), "__await__") is not None:
            value = self.loops.run(value, call)
        return value

    def items(self, value, call: Call):
        """The items of a generator or an asynchronous generator. Closes it if the call ends before it does."""
        asynchronous = optional(type(value), "__next__") is None
        try:
            while True:
                if call.cancelled:
                    raise Cancelled("the call was cancelled")
                if asynchronous:
                    try:
                        item = self.loops.run(value.__anext__(), call)
                    except StopAsyncIteration:
                        return
                else:
                    item = enter(next, (value, END), {})
                    if item is END:
                        return
                yield item
                # Before the next item is made, as both may be large.
                del item
        finally:
            close = optional(value, "aclose" if asynchronous else "close")
            if close is not None and asynchronous:
                self.loops.run(close(), call, ending=True)
            elif close is not None:
                enter(close, (), {})

    def _all(self, value, call: Call) -> list:
        """The result of a unary call of a generator: all of its items."""
        items = self.items(value, call)
        try:
            return list(items)
        finally:
            items.close()

    def _encoded(self, value, call: Call, key: bytes) -> tuple[bytes, bytes]:
        """A result and its blobs as JSON texts: the result under `key`, or the file that contains a long result."""
        if os.getpid() != self._pid:
            children.end(None)
        value = self._plugin.dress(value)
        text, blobs = quick(value), b"[]"
        if text is None:
            from .values import Encoder

            encoder = Encoder(self._settings.exchange, call.blobs)
            text = encoder.encode(value)
            blobs = compact(encoder.blobs)
        limit = self._settings.max_reply_bytes
        if len(text) > limit:
            raise WorkerError(
                "resource-exhausted",
                "the result is %d bytes of JSON, and the limit is %d: hand large data back as a file"
                % (len(text), limit),
            )
        if len(text) > INLINE:
            from . import spill

            place = spill.write(text, self._settings.exchange)
            if place is not None:
                return b'"spilled":' + place, blobs
        return b'"%s":%s' % (key, text), blobs

    def _settle(self, work, call: Call, connection: Connection) -> tuple:
        """Runs `work` as the call; returns its value, or the error object of the reply. After a call that failed, the worker
        keeps no reference to any of its objects."""
        connection.call = call
        mark = CURRENT.set(call)
        value = failure = None
        try:
            try:
                call.begin()
                self._plugin.opened(call)
                value = work()
            except BaseException as error:  # any exception is the call's outcome
                failure = error
            if os.getpid() != self._pid:
                children.end(failure)
            self._plugin.closed(call, failure)
            leave(call)
        except BaseException as error:
            # A cancellation from another thread, which cannot see exactly when the plugin's code has ended. Or `closed` ran code
            # of the plugin's base class, which failed.
            leave(call)
            if failure is None or is_a(error, Cancelled):
                failure, error = error, failure
            if error is not None:
                forget(error)
        # Before the reply, so that what the call has printed arrives first.
        children.flush()
        CURRENT.reset(mark)
        connection.call = None
        error = self._error(call, failure)
        outcome = "succeeded" if error is None else "cancelled" if error["code"] == "cancelled" else "failed"
        self._calls.leave(call, outcome)
        call.drop()
        if failure is not None:
            forget(failure)
            # A reference cycle: its traceback refers to this frame, which refers to it.
            del failure
        return value, error

    def _error(self, call: Call, failure: BaseException | None) -> dict | None:
        if call.cancelled:
            if is_a(failure, WorkerError) and failure.code == "cancelled":
                return self._told(failure)
            how = "interrupted" if is_a(failure, Cancelled) and call.raised else "ended"
            return {"code": "cancelled", "message": "the call was cancelled, and its code %s" % how}
        if failure is None:
            return None
        if is_a(failure, Closed):
            return {"code": "cancelled", "message": "the reader of the stream has closed the connection"}
        return self._told(failure)

    def _told(self, failure: BaseException) -> dict:
        """The error object of a reply. It never raises, though `describe` may run code of the error's class."""
        try:
            return self._plugin.describe(failure)
        except BaseException:  # the call's outcome stays the failure itself
            return describe(failure)


def is_stream(value) -> bool:
    """Whether a result is an iterator, which gives its items one by one."""
    kind = type(value)
    return optional(kind, "__next__") is not None or optional(kind, "__anext__") is not None


def positioned(function, call: Call) -> None:
    """Passes named arguments by position if the parameter is positional-only. A caller need not know which parameters are."""
    names = positional(function)
    if not names:
        return
    args, kwargs = list(call.args), dict(call.kwargs)
    for name in names[len(args) :]:
        if name not in kwargs:
            break
        args.append(kwargs.pop(name))
    call.args, call.kwargs = args, kwargs


def positional(function) -> tuple:
    """The names of a function's positional-only parameters, in order."""
    inner = unwrapped(function)
    code = optional(inner, "__code__")
    if isinstance(code, CodeType):
        first = 1 if optional(function, "__self__") is not None else 0
        return code.co_varnames[first : code.co_posonlyargcount] if code.co_posonlyargcount else ()
    # Functions of NumPy have no text signature, but a signature.
    if "/" not in (optional(inner, "__text_signature__") or "") and optional(inner, "__signature__") is None:
        return ()
    from . import signatures

    signature = signatures.of(function)
    parameters = signature.parameters.values() if signature is not None else ()
    return tuple(one.name for one in parameters if one.kind is one.POSITIONAL_ONLY)


def misfit(function, call: Call, error: TypeError) -> WorkerError | None:
    """The error for arguments that do not fit the method's signature, if that is what went wrong."""
    from . import signatures

    signature = signatures.of(function)
    if signature is not None:
        reason = signatures.misfit(function, signature, call.args, call.kwargs)
        if reason is not None:
            form = call.method + signatures.written(signature)
            return WorkerError("invalid-input", "the arguments do not fit: %s; the method is %s" % (reason, form))
    else:  # a built-in function
        if call.kwargs and is_its_own(error) and "argument" in text_of(error):
            return WorkerError(
                "invalid-input", "%s has no parameter names, so give its arguments by position: %s" % (call.method, error)
            )
    return None


def is_its_own(error: TypeError) -> bool:
    """Whether the error was raised by a function that is not written in Python, and not by code that it called."""
    frame = last_frame(error)
    return frame is None or frame.f_code.co_filename.startswith(HERE)
