"""Errors as the host reads them: one kebab-case code for each kind, the same codes as for components."""

from __future__ import annotations

import os
import sys

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
"""The HTTP status for each code. Hosts read the code; the status is for `curl` and proxies."""

MAX_TEXT = 64 * 1024
"""The most characters of a message or traceback: the host keeps them in memory and shows them to people."""

FULL = {
    "ENOMEM": "memory_mb",
    "EMFILE": "files",
    "EFBIG": "blob_mb",
    "ENOSPC": None,
    "EDQUOT": None,
}
"""Errors of the system that mean that something is used up, and the limits that may have caused them."""

GPU_FULL = frozenset({"OutOfMemoryError", "ResourceExhaustedError"})
"""The names of the errors for GPU memory that is used up, of Torch and CuPy, and of TensorFlow."""

MAX_NAME = 200
"""The most characters of a class's name that are reported, and of its module's name."""

MAX_CAUSE = 300
"""The most characters that are reported of an error that caused another."""

IMPORTS = "<frozen importlib"
"""The prefix of the file names of Python's import system."""

MAX_CHAIN = 1000
"""How many errors that caused one another are cleared at most."""

GENERATORS = 0x20 | 0x80 | 0x200
"""The flags of code whose frames can be suspended: generators, coroutines, asynchronous generators."""

HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep


class WorkerError(Exception):
    """An error that the worker itself found, with the code for the host."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


_limits: dict[str, int] = {}


def _no_denial(_error: BaseException) -> None:
    return None


_own_denial = _denial_behind = _no_denial


def hold(limits: dict[str, int]) -> None:
    """Notes the limits that the host holds this worker to, so that errors can name them."""
    global _limits
    _limits = limits


def explain_denials(own, behind) -> None:
    """Sets what explains errors to a confined plugin: `own` and `behind` of `denials`, which other workers do not import."""
    global _own_denial, _denial_behind
    _own_denial, _denial_behind = own, behind


def unfit(what: str) -> WorkerError:
    """The error for a result that cannot be sent; `what` begins with the place in it."""
    return WorkerError("plugin-failed", "the result cannot be handed back: %s" % what)


def describe(error: BaseException) -> dict:
    """The error object of a reply: code, message, and for the plugin's own errors the type and traceback. It never raises, whatever
    the error's own code does."""
    try:
        return described(error)
    except BaseException as inner:  # code of the error's class that we did not expect to run
        text = "an error that cannot be described (describing it raised %s)" % name_of(type(inner))
        return {"code": "plugin-failed", "message": text, "type": name_of(type(error))}


def described(error: BaseException) -> dict:
    """Does the work of `describe`."""
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
    """Adds what to do about the error, if that is known, and what the host must record of a denial."""
    if help:
        found["help"] = clip(help)
    if finding and finding.is_denied:
        found["denied"] = {"permission": finding.permission, "resource": clip(finding.resource[:MAX_CAUSE])}


def kind_of(error: BaseException) -> tuple[str, str | None, Finding | None]:
    """The code of an error that the plugin raised, what to do about it, and the finding if the plugin is confined."""
    finding = _own_denial(error)
    if finding:
        return "denied" if finding.is_denied else "plugin-failed", finding.help, finding
    if not GPU_FULL.isdisjoint(type.__dict__["__name__"].__get__(base) for base in type.__dict__["__mro__"].__get__(type(error))):
        return "resource-exhausted", "set resources.min_gpu_vram_mb: calls then wait until that much GPU memory is free", None
    name = "ENOMEM" if is_a(error, MemoryError) else None
    number = number_of(error)
    if number is not None:
        import errno

        name = errno.errorcode.get(number)
    if name in FULL:
        limit = FULL[name]
        return "resource-exhausted", "limits.%s is %d" % (limit, _limits[limit]) if limit in _limits else None, None
    found = _denial_behind(error)
    if found is None:
        return "plugin-failed", None, None
    finding, cause = found
    code, how = ("denied", "it was caused by") if finding.is_denied else ("plugin-failed", "an earlier error was")
    return code, "%s %s: %s; %s" % (how, name_of(type(cause)), text_of(cause)[:MAX_CAUSE], finding.help), finding


def text_of(error: BaseException) -> str:
    """The error's message. It is never empty, and this never raises."""
    try:
        # As a plain `str`: the methods of a subclass are the plugin's code too.
        text = str.join("", [str(error)])
    except BaseException as inner:  # a plugin's own __str__ may do anything
        text = "(its __str__ raised %s)" % name_of(type(inner))
    if is_a(error, SystemExit):
        text = "the plugin asked to exit (%s)" % (text or "no status")
    return clip(text or name_of(type(error)).rpartition(".")[2])


def name_of(kind: type) -> str:
    """`ValueError`, but `pkg.errors.Broken` for a class that is not built in. Runs no code of the class or its metaclass."""
    module, name = (type.__dict__[key].__get__(kind) for key in ("__module__", "__qualname__"))
    name = clip(str.join("", [name])[:MAX_NAME])
    if not issubclass(type(module), str):
        return name
    module = clip(str.join("", [module])[:MAX_NAME])
    return name if module in ("builtins", "__main__") else "%s.%s" % (module, name)


def trace(error: BaseException) -> str:
    """The traceback from the plugin's first frame on, with causes, without the frames of the import system."""
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
    """Whether this file belongs to the import system, whose frames Python itself leaves out for `import` statements."""
    return filename.startswith(IMPORTS) or filename.endswith(os.path.join("importlib", "__init__.py"))


def forget(error: BaseException) -> None:
    """Clears what an error keeps alive: the local variables of the frames in its traceback, and in the tracebacks of
    its causes. Otherwise a frame that refers to its own error would stay in memory until a garbage collection, with
    all objects of the call, and so would the frames of an error that the plugin keeps."""
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
    """Clears the local variables of a frame that has ended. A frame that runs or is suspended is not changed."""
    # Before Python 3.13, clearing a suspended frame would close its generator.
    if frame.f_code.co_flags & GENERATORS and sys.version_info < (3, 13) and is_suspended(frame):
        return
    try:
        frame.clear()
    except RuntimeError:
        pass


def is_suspended(frame) -> bool:
    """Whether a generator's frame may be waiting at a `yield` or `await`: its last instruction is one."""
    from opcode import opmap

    yields = (opmap["YIELD_VALUE"], opmap.get("YIELD_FROM"))
    code, last = frame.f_code.co_code, frame.f_lasti
    # Until Python 3.10 the last instruction of a frame that waits at a `yield from` is the one before it.
    return any(code[at] in yields for at in (last, last + 2) if 0 <= at < len(code))


def clip(text: str) -> str:
    """Cuts the middle of a text that is too long, and replaces characters that UTF-8 cannot encode."""
    if len(text) > MAX_TEXT:
        text = text[: MAX_TEXT // 2] + "\n[…]\n" + text[-MAX_TEXT // 2 :]
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def complain(what: str) -> None:
    """Writes an error of the worker to stderr, where no reply can contain it."""
    try:
        sys.stderr.write("bivium worker: %s\n" % what)
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass
