"""Errors as the host reads them: one kebab-case code for each kind, the same as on the other road."""

from __future__ import annotations

import os
import sys

from . import denials
from .error_fields import field, frames, is_a, number_of, parts
from .findings import Finding

STATUS = {
    "not-found": 404,
    "invalid-manifest": 422,
    "invalid-config": 422,
    "invalid-input": 422,
    "denied": 403,
    "resource-exhausted": 413,
    "timeout": 504,
    "cancelled": 409,
    "plugin-failed": 500,
    "unavailable": 503,
    "protocol": 400,
    "internal": 500,
}
"""The HTTP status that goes with a code. Hosts read the code; the status is for `curl` and proxies."""

MAX_TEXT = 64 * 1024
"""No message or traceback is longer: the host keeps them in memory and shows them to people."""

FULL = {
    "ENOMEM": "memory_mb",
    "EMFILE": "files",
    "EFBIG": "blob_mb",
    "ENOSPC": None,
    "EDQUOT": None,
}
"""Errors of the system that mean that something is used up, and the limits that may be behind them."""

GPU_FULL = frozenset({"OutOfMemoryError", "ResourceExhaustedError"})
"""What Torch and CuPy, and what TensorFlow, call their error of a GPU whose memory is used up."""

MAX_NAME = 200
"""So many characters of a class's name are told, and of its module's."""

MAX_CAUSE = 300
"""So many characters are told of an error that is behind another."""

IMPORTS = "<frozen importlib"
"""How the names of the files begin that Python imports with."""

MAX_CHAIN = 1000
"""Of so many errors, each the cause of another, we let go."""

GENERATORS = 0x20 | 0x80 | 0x200
"""The flags of code whose frames can be suspended: generators, coroutines, asynchronous generators."""

HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep


class WorkerError(Exception):
    """A failure that the worker itself found, under the code that says whose it is."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


_limits: dict[str, int] = {}


def hold(limits: dict[str, int]) -> None:
    """Notes the limits that the host holds this worker to, so that errors can name them."""
    global _limits
    _limits = limits


def unfit(what: str) -> WorkerError:
    """The error for a result that holds what cannot travel; `what` begins with the place in it."""
    return WorkerError("plugin-failed", "the result cannot be handed back: %s" % what)


def describe(error: BaseException) -> dict:
    """The error object of a reply: code, message, and for the plugin's own errors its type and traceback. Whatever the error's own code
    does, it raises nothing."""
    try:
        return described(error)
    except BaseException as inner:  # code of the error's class that we did not expect to run
        text = "an error that cannot be described (describing it raised %s)" % name_of(type(inner))
        return {"code": "plugin-failed", "message": text, "type": name_of(type(error))}


def described(error: BaseException) -> dict:
    """What `describe` says."""
    if is_a(error, WorkerError):
        found = {"code": error.code, "message": clip(str(error))}
        cause = field(error, BaseException, "__cause__")
        if cause is not None:
            found["type"] = name_of(type(cause))
            found["traceback"] = trace(cause)
            add_help(found, *kind_of(cause)[1:])
        return found
    code, help, finding = kind_of(error)
    found = {"code": code, "message": text_of(error), "type": name_of(type(error)), "traceback": trace(error)}
    add_help(found, help, finding)
    return found


def add_help(found: dict, help: str | None, finding: Finding | None) -> None:
    """What to do about it, where we know, and what the host is to record of a denial."""
    if help:
        found["help"] = clip(help)
    if finding and finding.is_denied:
        found["denied"] = {"permission": finding.permission, "resource": clip(finding.resource[:MAX_CAUSE])}


def kind_of(error: BaseException) -> tuple[str, str | None, Finding | None]:
    """The code of an error that the plugin raised, what to do about it, and what is known of it where it is a confined plugin's."""
    finding = denials.own(error)
    if finding:
        return "denied" if finding.is_denied else "plugin-failed", finding.help, finding
    if not GPU_FULL.isdisjoint(type.__dict__["__name__"].__get__(base) for base in type.__dict__["__mro__"].__get__(type(error))):
        return "resource-exhausted", "resources.min_gpu_vram_mb lets calls wait until that much GPU memory is free", None
    name = "ENOMEM" if is_a(error, MemoryError) else None
    number = number_of(error)
    if number is not None:
        import errno

        name = errno.errorcode.get(number)
    if name in FULL:
        limit = FULL[name]
        return "resource-exhausted", "limits.%s is %d" % (limit, _limits[limit]) if limit in _limits else None, None
    found = denials.behind(error)
    if found is None:
        return "plugin-failed", None, None
    finding, cause = found
    code, how = ("denied", "behind it is") if finding.is_denied else ("plugin-failed", "before it came")
    return code, "%s %s: %s; %s" % (how, name_of(type(cause)), text_of(cause)[:MAX_CAUSE], finding.help), finding


def text_of(error: BaseException) -> str:
    """What the error says; never empty, and never an error itself."""
    try:
        # Of a class of its own for texts as plain text: its methods are the plugin's code too.
        text = str.join("", [str(error)])
    except BaseException as inner:  # a plugin's own __str__ may do anything
        text = "(its __str__ raised %s)" % name_of(type(inner))
    if is_a(error, SystemExit):
        text = "the plugin asked to exit (%s)" % (text or "no status")
    return clip(text or name_of(type(error)).rpartition(".")[2])


def name_of(kind: type) -> str:
    """`ValueError`, but `pkg.errors.Broken` for what is not built in. Runs no code of the class's or its metaclass's."""
    module, name = (type.__dict__[key].__get__(kind) for key in ("__module__", "__qualname__"))
    name = clip(str.join("", [name])[:MAX_NAME])
    if not issubclass(type(module), str):
        return name
    module = clip(str.join("", [module])[:MAX_NAME])
    return name if module in ("builtins", "__main__") else "%s.%s" % (module, name)


def trace(error: BaseException) -> str:
    """The whole traceback, from the plugin's first frame on, causes included, without the frames of the import machinery."""
    import traceback

    step = field(error, BaseException, "__traceback__")
    while step is not None and step.tb_frame.f_code.co_filename.startswith((HERE, IMPORTS)):
        step = step.tb_next
    try:
        whole = traceback.TracebackException(type(error), error, step)
        left = [whole]
        seen: set[int] = set()
        while left:
            part = left.pop()
            if part is None or id(part) in seen:
                continue
            seen.add(id(part))
            part.stack[:] = [frame for frame in part.stack if not is_import(frame.filename)]
            left += (part.__cause__, part.__context__)
            left += getattr(part, "exceptions", None) or ()
        return clip("".join(whole.format()))
    except BaseException as inner:  # as above
        frames = "".join(traceback.format_tb(step))
        return clip("Traceback (most recent call last):\n%s(formatting the error raised %s)\n" % (frames, name_of(type(inner))))


def is_import(filename: str) -> bool:
    """Whether code of this file is the import machinery's, as Python itself leaves it out where a statement imports."""
    return filename.startswith(IMPORTS) or filename.endswith(os.path.join("importlib", "__init__.py"))


def forget(error: BaseException) -> None:
    """Lets go of what an error keeps alive: the local variables of the frames in its traceback, and in the tracebacks of
    the errors that it came from. A frame that holds its own error would else stay until a garbage collection, with
    all that the call has made; and so would the frames of an error that the plugin keeps."""
    for name in ("last_exc", "last_type", "last_value", "last_traceback"):
        vars(sys).pop(name, None)
    left: list = [error]
    seen: dict[int, BaseException] = {}
    while left and len(seen) < MAX_CHAIN:
        error = left.pop()
        if error is None or id(error) in seen:
            continue
        seen[id(error)] = error
        for frame in frames(error):
            clear(frame)
        left += (field(error, BaseException, "__cause__"), field(error, BaseException, "__context__"), *parts(error))


def clear(frame) -> None:
    """Clears the local variables of a frame that has ended. One that runs or is suspended stays as it is."""
    # Before Python 3.13 clearing a suspended one would end its generator.
    if frame.f_code.co_flags & GENERATORS and sys.version_info < (3, 13) and is_suspended(frame):
        return
    try:
        frame.clear()
    except RuntimeError:
        pass


def is_suspended(frame) -> bool:
    """Whether a generator's frame may wait at a `yield` or `await`: where it was last is one."""
    from opcode import opmap

    yields = (opmap["YIELD_VALUE"], opmap.get("YIELD_FROM"))
    code, last = frame.f_code.co_code, frame.f_lasti
    # Until Python 3.10 a frame that waits at a `yield from` stands on the instruction before.
    return any(code[at] in yields for at in (last, last + 2) if 0 <= at < len(code))


def clip(text: str) -> str:
    """Cuts the middle of what is too long, and replaces what no UTF-8 can hold."""
    if len(text) > MAX_TEXT:
        text = text[: MAX_TEXT // 2] + "\n[…]\n" + text[-MAX_TEXT // 2 :]
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def complain(what: str) -> None:
    """Says on stderr what went wrong in the worker where no reply can carry it."""
    try:
        sys.stderr.write("bivium worker: %s\n" % what)
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass
