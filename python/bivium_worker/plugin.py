"""The plugin: the one object that this worker hosts, how it is found, and which of its methods a call may reach."""

from __future__ import annotations

import importlib
import sys

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
"""Methods that belong to the host. `execute_stream` is what a streaming call of `execute` runs."""

ROOTS = ("cjm_plugin_system", "cjm_substrate")
"""Packages from whose classes a plugin of the ancestor's derives."""


class Plugin:
    """A loaded plugin."""

    def __init__(self, target: object, name: str, version: str) -> None:
        self.target = target
        self.name = name
        self.version = version
        self.config: dict = {}
        """The configuration last applied, for a class that cannot tell."""
        for name, function in (("report_progress", report_progress), ("cancelled", cancelled)):
            if getattr(target, name, None) is None:
                try:
                    setattr(target, name, function)
                except AttributeError:  # __slots__: it may import them instead
                    pass

    def hook(self, name: str):
        """An optional lifecycle method of the class, or None."""
        found = getattr(self.target, name, None)
        return found if callable(found) else None

    def method(self, name: str):
        """A method that calls may reach by name."""
        if not self.is_offered(name):
            raise WorkerError("not-found", "the plugin has no method %r; %s" % (name, self.known()))
        return getattr(self.target, name)

    def is_offered(self, name: str) -> bool:
        """Whether calls may reach the class's method of this name."""
        return not name.startswith("_") and name not in LIFECYCLE and is_method(self.target, name)

    def known(self) -> str:
        """For a message: what there is instead."""
        return "it has: %s" % (", ".join(sorted(self.methods())) or "none")

    def streaming(self, name: str):
        """The method for a streaming call: `execute` has a streaming form of its own where the class gives one."""
        if name == "execute":
            return self.hook("execute_stream") or self.method(name)
        return self.method(name)

    def methods(self) -> dict[str, str]:
        """The methods that calls may reach, each with the first line of its docstring."""
        return {name: summary(self.target, name) for name in dir(self.target) if self.is_offered(name)}

    def applying(self, config: dict | None):
        """The class's function that takes a configuration, and its arguments; no function where it has none."""
        return self.hook("initialize"), [config]

    def applied(self, config: dict) -> None:
        """Notes the configuration in force."""
        self.config = config

    def opened(self, call: Call) -> None:
        """Called in the call's context before the plugin's code."""

    def closed(self, call: Call, failure: BaseException | None) -> None:
        """Called in the call's context after the plugin's code."""

    def dress(self, value):
        """What stands for a result, before it is encoded."""
        return value

    def describe(self, error: BaseException) -> dict:
        """The error object of a reply."""
        return describe(error)


def is_method(target: object, name: str) -> bool:
    """Whether the name is a function of the object's, asked without running a property's code."""
    found = getattr(type(target), name, None)
    if found is None:
        found = getattr(target, "__dict__", {}).get(name)
    return callable(found) and not isinstance(found, type)


def summary(target: object, name: str) -> str:
    """The first line of a method's docstring."""
    text = getattr(getattr(type(target), name, None), "__doc__", None) or ""
    return text.strip().partition("\n")[0]


def root_of(kind: type) -> str | None:
    """The package of the ancestor's from which the class derives, if it does."""
    roots = (base.__module__.partition(".")[0] for base in kind.__mro__)
    return next((root for root in roots if root in ROOTS), None)


def load(settings: Settings) -> Plugin:
    """Imports the module and constructs the object, with no arguments."""
    sys.path[:0] = [directory for directory in settings.source if directory not in sys.path]
    try:
        module = importlib.import_module(settings.module)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if settings.module == missing or settings.module.startswith(missing + "."):
            raise WorkerError(
                "invalid-manifest",
                "there is no module %r in the plugin's environment (%s)%s"
                % (missing, sys.executable, below(settings.source)),
            ) from None
        raise WorkerError(
            "plugin-failed",
            "importing %r failed: there is no module %r in the plugin's environment (%s): install what provides it"
            % (settings.module, missing, sys.executable),
        ) from error
    except BaseException as error:  # SystemExit among them
        raise failed("importing %r" % settings.module, error) from error
    kind = getattr(module, settings.cls, None)
    if not isinstance(kind, type):
        raise WorkerError(
            "invalid-manifest",
            "the module %r has no class %r; it has: %s"
            % (settings.module, settings.cls, ", ".join(classes(module)) or "none"),
        )
    try:
        target = kind()
    except BaseException as error:
        raise failed("constructing %s.%s()" % (settings.module, settings.cls), error) from error
    if settings.ancestor is not None or root_of(kind) is not None:
        # Imported only where it is needed: starting is to be quick.
        from .ancestor import AncestorPlugin

        return AncestorPlugin(target, settings.name, settings.version, settings.adapters())
    return Plugin(target, settings.name, settings.version)


def failed(doing: str, error: BaseException) -> WorkerError:
    """The plugin's own failure before it could be called."""
    from .errors import kind_of, name_of, text_of

    return WorkerError(kind_of(error)[0], "%s failed: %s: %s" % (doing, name_of(type(error)), text_of(error)))


def classes(module) -> list[str]:
    """Names of the classes that a module defines itself."""
    return sorted(
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__ and not name.startswith("_")
    )


def below(source: list[str]) -> str:
    """For a message: where else was looked."""
    return " or below %s" % ", ".join(source) if source else ""
