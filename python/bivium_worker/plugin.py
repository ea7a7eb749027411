"""The plugin: the object that this worker hosts, how it is loaded, and which of its methods a call may reach."""

from __future__ import annotations

import os
import sys

from .asking import names, optional
from .calls import Call, cancelled, report_progress
from .errors import WorkerError, describe
from .settings import Settings

LIFECYCLE = frozenset(
    (
        "initialize",
        "cleanup",
        "cancel",
        "cancelled",
        "report_progress",
        "execute_stream",
        "get_config_schema",
        "get_current_config",
    )
)
"""Methods that the host calls itself. A streaming call of `execute` runs `execute_stream`."""

MOST_NAMED = 32
"""How many names a message contains at most."""

MOST_LISTED = 10_000
"""How many files of one directory are read at most."""

MOST_COMPARED = 100
"""How many characters of an unknown name are compared with the known names."""

FAMILIES = {"cjm": ("ancestor", ("cjm_plugin_system", "cjm_substrate"))}
"""Modules of this package that run plugins of another host's: for each the setting by which the host asks for it, and the packages
from whose classes such plugins derive. Each has a function `load(target, settings)`."""


class Plugin:
    """A loaded plugin."""

    def __init__(self, target: object, name: str, version: str) -> None:
        self.target = target
        self.name = name
        self.version = version
        self.config: dict = {}
        """The configuration that was applied last, for a class without `get_current_config`."""
        for name, function in (("report_progress", report_progress), ("cancelled", cancelled)):
            if optional(target, name) is None:
                try:
                    setattr(target, name, function)
                except Exception:  # __slots__, or a `__setattr__` that refuses: the class may import them instead
                    pass

    def hook(self, name: str):
        """An optional lifecycle method of the class, or None."""
        found = optional(self.target, name)
        return found if callable(found) else None

    def method(self, name: str):
        """A method that calls may reach by name."""
        if not self.is_offered(name):
            raise self.unknown(name)
        return getattr(self.target, name)

    def is_offered(self, name: str) -> bool:
        """Whether calls may reach the class's method of this name."""
        return not name.startswith("_") and name not in LIFECYCLE and is_method(self.target, name)

    def unknown(self, name: str) -> WorkerError:
        """The error for an unknown method: it suggests a similar one, and lists all."""
        from difflib import get_close_matches

        known = {}
        for method in sorted(self.methods()):
            # Only the method of `task.method` may have been given.
            known[method.lower()] = known[method.lower().rpartition(".")[2]] = method
        meant = get_close_matches(name[:MOST_COMPARED].lower().replace("-", "_"), known, 1, 0.7)
        hint = "did you mean %r? " % known[meant[0]] if meant else ""
        if name == "execute" and self.hook("execute_stream") is not None:
            return WorkerError("not-found", "the plugin has no method 'execute', but 'execute_stream' for a streaming call")
        return WorkerError("not-found", "the plugin has no method %r; %s%s" % (name, hint, self.known()))

    def known(self) -> str:
        """The list of methods, for a message."""
        return "it has: %s" % (", ".join(sorted(self.methods())) or "none")

    def streaming(self, name: str):
        """The method for a streaming call: for `execute` it is `execute_stream`, if the class has that."""
        if name == "execute":
            return self.hook("execute_stream") or self.method(name)
        return self.method(name)

    def methods(self) -> dict[str, tuple[object, str]]:
        """The methods that calls may reach, each with its object and its name there."""
        return {name: (self.target, name) for name in names(self.target) if self.is_offered(name)}

    def applying(self, config: dict | None):
        """The method that takes a configuration, and its arguments; None in place of the method if there is none."""
        return self.hook("initialize"), [config]

    def takes_no_config(self, config: dict) -> str:
        """The message for a configuration that the plugin has no method for."""
        keys = "%r is" % next(iter(config)) if len(config) == 1 else "%d keys are" % len(config)
        if isinstance(self.target, Function):
            return "a function takes no configuration, and %s set: give the value as an argument of the call" % keys
        return (
            "the class %s takes no configuration, as it has no `initialize`, and %s set: give it a method "
            "`initialize(self, config)`, or put arguments of its constructor into the manifest's `init_args`"
            % (type(self.target).__name__, keys)
        )

    def fits(self, function, arguments: list) -> bool:
        """Whether a function takes these arguments, as far as its signature shows."""
        from . import signatures

        signature = signatures.of(function)
        return signature is None or signatures.misfit(function, signature, arguments, {}) is None

    def applied(self, config: dict) -> None:
        """Stores the configuration that was applied."""
        self.config = config

    def opened(self, call: Call) -> None:
        """Called in the call's context before the plugin's code."""

    def closed(self, call: Call, failure: BaseException | None) -> None:
        """Called in the call's context after the plugin's code."""

    def dress(self, value):
        """The value to encode for a result."""
        return value

    def describe(self, error: BaseException) -> dict:
        """The error object of a reply."""
        return describe(error)


def is_method(target: object, name: str) -> bool:
    """Whether the object has a function with this name. Does not run the code of properties."""
    found = optional(type(target), name)
    if found is None:
        own = optional(target, "__dict__")
        found = own.get(name) if type(own) is dict else None
    return callable(found) and not issubclass(type(found), type)


def root_of(kind: type, packages: tuple) -> str | None:
    """The package of these from which the class derives, if it does."""
    roots = (base.__module__.partition(".")[0] for base in kind.__mro__)
    return next((root for root in roots if root in packages), None)


class Function:
    """Wraps a function that is the plugin: an object with one method."""

    def __init__(self, function) -> None:
        self.execute = function


def load(settings: Settings) -> Plugin:
    """Imports the module and constructs the object."""
    sys.path[:0] = [directory for directory in settings.source if directory not in sys.path]
    try:
        module = imported(settings.module)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if settings.module == missing or settings.module.startswith(missing + "."):
            raise WorkerError(
                "invalid-manifest",
                "there is no module %r in the plugin's environment (%s)%s%s"
                % (missing, sys.executable, below(settings.source), meant(missing, settings.source)),
            ) from None
        raise WorkerError(
            "plugin-failed",
            "importing %r failed: there is no module %r in the plugin's environment (%s): install what provides it"
            % (settings.module, missing, sys.executable),
        ) from error
    except BaseException as error:  # SystemExit among them
        raise failed("importing %r" % settings.module, error) from error
    kind = getattr(module, settings.cls, None) if settings.cls else None
    if settings.function and not isinstance(kind, type):
        return Plugin(Function(function(module, settings)), settings.name, settings.version)
    if not isinstance(kind, type):
        is_function = "; %r is a function: name it by `function`" % settings.cls if callable(kind) else ""
        raise WorkerError(
            "invalid-manifest",
            "the module %r has no class %r%s; it has: %s"
            % (settings.module, settings.cls, is_function, named(classes(module))),
        )
    try:
        target = kind(**settings.init_args)
    except BaseException as error:
        reason = unfit_for(kind, settings) if isinstance(error, TypeError) else None
        if reason is not None:
            raise reason from None
        raise failed("constructing %s.%s()" % (settings.module, settings.cls), error) from error
    for family, (setting, packages) in FAMILIES.items():
        if settings.of(setting) is not None or root_of(kind, packages) is not None:
            # Imported only where it is needed: starting is to be quick.
            return imported(__package__ + "." + family).load(target, settings)
    return Plugin(target, settings.name, settings.version)


def imported(name: str):
    """The module of this full name, as `importlib.import_module` gives it; `importlib` itself takes long to import."""
    __import__(name)
    return sys.modules[name]


def function(module, settings: Settings):
    """The function that the manifest names."""
    found = module
    for name in settings.function.split("."):
        found = getattr(found, name, None)
    if isinstance(found, type):
        raise WorkerError(
            "invalid-manifest",
            "%s:%s is a class, not a function: give `module` and `class` in place of `function`"
            % (settings.module, settings.function),
        )
    if not callable(found):
        what, known = "function", own(module, lambda value: callable(value) and not isinstance(value, type))
        if settings.cls:
            what, known = "class or function", known + classes(module)
        raise WorkerError(
            "invalid-manifest",
            "the module %r has no %s %r; it has: %s" % (settings.module, what, settings.function, named(known)),
        )
    return found


def unfit_for(kind: type, settings: Settings) -> WorkerError | None:
    """The error for `init_args` that do not fit the constructor, if that is what went wrong."""
    from . import signatures

    signature = signatures.of(kind)
    reason = signatures.misfit(kind, signature, (), settings.init_args) if signature is not None else None
    if reason is None:
        return None
    form = settings.cls + signatures.written(signature)
    if not settings.init_args:
        text = "the constructor %s needs arguments: give them in the manifest's `init_args` (%s)" % (form, reason)
    else:
        text = "the manifest's `init_args` do not fit the constructor: %s; it is %s" % (reason, form)
    return WorkerError("invalid-manifest", text)


def failed(doing: str, error: BaseException) -> WorkerError:
    """The error of a plugin that fails before it can be called."""
    from .errors import kind_of, name_of, text_of

    return WorkerError(kind_of(error)[0], "%s failed: %s: %s" % (doing, name_of(type(error)), text_of(error)))


def classes(module) -> list[str]:
    """The names of a module's classes: of those that it defines itself, if there are any."""
    return own(module, lambda value: isinstance(value, type))


def own(module, wanted) -> list[str]:
    """The names of a module's wanted objects: of those that it defines itself, if there are any."""
    found = [(name, value) for name, value in vars(module).items() if wanted(value)]
    defined = [name for name, value in found if getattr(value, "__module__", None) == module.__name__]
    return defined or [name for name, _ in found]


def named(names: list[str]) -> str:
    """Names for a message, without those that begin with `_`."""
    shown = sorted(name for name in names if not name.startswith("_"))
    return (", ".join(shown[:MOST_NAMED]) + (", …" if len(shown) > MOST_NAMED else "")) or "none"


def below(source: list[str]) -> str:
    """For a message: the other directories that were searched."""
    return " or below %s" % ", ".join(source) if source else ""


def meant(module: str, source: list[str]) -> str:
    """For a message: the module with the most similar name in the same directory."""
    from difflib import get_close_matches

    package, _, name = module.rpartition(".")
    found = {}
    for directory in source:
        try:
            entries = os.listdir(os.path.join(directory, *package.split(".")))
        except OSError:
            continue
        found.update({entry.partition(".")[0].lower(): entry.partition(".")[0] for entry in sorted(entries)[:MOST_LISTED]})
    close = get_close_matches(name[:MOST_COMPARED].lower(), found, 1, 0.7)
    return "; did you mean %r?" % ".".join(filter(None, (package, found[close[0]]))) if close else ""
