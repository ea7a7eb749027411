"""The plugin: the one object that this worker hosts, how it is found, and which of its methods a call may reach."""

from __future__ import annotations

import importlib
import sys

from .calls import cancelled, report_progress
from .errors import WorkerError
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
        if name.startswith("_") or name in LIFECYCLE or not is_method(self.target, name):
            known = ", ".join(sorted(self.methods()))
            raise WorkerError("not-found", "the plugin has no method %r; it has: %s" % (name, known or "none"))
        return getattr(self.target, name)

    def streaming(self, name: str):
        """The method for a streaming call: `execute` has a streaming form of its own where the class gives one."""
        if name == "execute":
            return self.hook("execute_stream") or self.method(name)
        return self.method(name)

    def methods(self) -> dict[str, str]:
        """The methods that calls may reach, each with the first line of its docstring."""
        found = {}
        for name in dir(self.target):
            if name.startswith("_") or name in LIFECYCLE or not is_method(self.target, name):
                continue
            text = getattr(getattr(type(self.target), name, None), "__doc__", None) or ""
            found[name] = text.strip().partition("\n")[0]
        return found


def is_method(target: object, name: str) -> bool:
    """Whether the name is a function of the object's, asked without running a property's code."""
    found = getattr(type(target), name, None)
    if found is None:
        found = getattr(target, "__dict__", {}).get(name)
    return callable(found) and not isinstance(found, type)


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
