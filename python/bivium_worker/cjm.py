"""Plugins of cjm-plugin-system and of its successor cjm-substrate, run as they are.

Their classes derive from a base that keeps what belongs to a call in attributes of the *object*: one flag for
cancelling, one list of callbacks, one progress. Here each call has these for itself. Descriptors on the plugin's class
(`PerCall`) keep the values with the call that the running code belongs to, so that a cancel reaches its own call and
no other, a new call takes back no cancel, and progress is told as it happens, also where code sets the attributes or
a `heartbeat` thread does.

Adapters are classes of the plugin's environment that make a task's methods out of a plugin. They are built with the
plugin object, and their methods are reached as `TASK.METHOD`.
"""

from __future__ import annotations

import importlib
import json
import logging
import time

from . import errors
from .asking import names, optional
from .calls import Call, current
from .errors import WorkerError
from .plugin import FAMILIES, Plugin, is_method, root_of
from .settings import Settings, take

SETTING, ROOTS = FAMILIES["cjm"]

OFFERED = frozenset(("prefetch", "get_config_options", "on_disable", "on_enable"))
"""Methods of the base class that a host may call by name; its others serve the plugin's own code."""

CODES = {
    "ConfigError": "invalid-config",
    "InputError": "invalid-input",
    "DisabledError": "unavailable",
    "NotLoadedError": "unavailable",
    "TimeoutError": "timeout",
    "CancelledError": "cancelled",
    "TransientError": "unavailable",
    "WorkerOOMError": "resource-exhausted",
    "ResourceError": "resource-exhausted",
    "FatalError": "plugin-failed",
}
"""Our code for each of the family's errors, by its name without `Plugin` or `Capability` in front."""

DETAILS = ("category", "retriable", "fields_invalid", "resource_shortfall", "retry_after_seconds")
"""What the family's errors say beside their message."""

MAX_DETAILS = 16 * 1024

MISSING = object()

log = logging.getLogger("bivium_worker")


class PerCall:
    """An attribute of the object that every call has for itself. Outside of calls it is the object's own."""

    def __init__(self, kind: type, name: str) -> None:
        self.name = name
        self._default = getattr(kind, name, MISSING)

    def __get__(self, target, kind=None):
        call = current() if target is not None else None
        if call is not None and call.kept is not None:
            return self.of_call(call, target)
        return self.of_object(target)

    def __set__(self, target, value) -> None:
        call = current()
        if call is not None and call.kept is not None:
            call.kept[self.name] = value
            self.changed(call)
        else:
            target.__dict__[self.name] = value

    def __delete__(self, target) -> None:
        call = current()
        kept = call.kept if call is not None and call.kept is not None else target.__dict__
        kept.pop(self.name, None)

    def of_object(self, target):
        """The value outside of calls."""
        value = getattr(target, "__dict__", {}).get(self.name, self._default)
        if value is MISSING:
            raise AttributeError(self.name)
        return value

    def of_call(self, call: Call, target):
        """The value for a call; the class's default where the call has none, never that of a call before."""
        value = call.kept.get(self.name, self._default)
        if value is MISSING:
            raise AttributeError(self.name)
        return value

    def changed(self, call: Call) -> None:
        """Called when a call has a new value."""


class CancelFlag(PerCall):
    """`_cancel_requested`: true for a cancelled call whatever the plugin writes."""

    def of_call(self, call: Call, target):
        call.looked = True
        return call.cancelled or bool(call.kept.get(self.name, False))


class Callbacks(PerCall):
    """`_cancel_callbacks`: what a call registers, behind what was registered outside of calls."""

    def of_call(self, call: Call, target):
        if self.name not in call.kept:
            call.kept[self.name] = list(self.of_object(target))
        return call.kept[self.name]


class Reported(PerCall):
    """`_progress` and `_status_message`: told when they are set."""

    def changed(self, call: Call) -> None:
        if not call.kept.get("quiet"):
            tell(call)


CALLBACKS = "_cancel_callbacks"

ATTRIBUTES = {
    "_cancel_requested": CancelFlag,
    CALLBACKS: Callbacks,
    "_progress": Reported,
    "_status_message": Reported,
    "_status_message_base": PerCall,
    "_last_api_usage": PerCall,
}


def tell(call: Call) -> None:
    """Reports what the attributes say."""
    fraction, message = call.kept.get("_progress"), call.kept.get("_status_message", "")
    if not isinstance(fraction, (int, float)):
        fraction = None
    call.report(fraction, "" if message is None else message)


def whole(report_progress):
    """The object's `report_progress`, which sets several attributes, told as the one step that it is."""

    def reporting(*args, **kwargs):
        call = current()
        if call is None or call.kept is None:
            return report_progress(*args, **kwargs)
        call.kept["quiet"] = True
        try:
            return report_progress(*args, **kwargs)
        finally:
            call.kept["quiet"] = False
            tell(call)

    return reporting


class CjmPlugin(Plugin):
    """A loaded plugin of the family, with the adapters bound to it."""

    def __init__(self, target: object, name: str, version: str, adapters: list) -> None:
        super().__init__(target, name, version)
        kind = type(target)
        self._root = root_of(kind, ROOTS)
        wire, failures = self._part("wire"), self._part("errors")
        self._encode = getattr(wire, "wire_encode", None)
        self._envelope = getattr(wire, "CallEnvelope", None)
        self._set_envelope = getattr(wire, "set_call_envelope", None)
        self._begin_accounts = getattr(wire, "begin_account_capture", None)
        self._drain_accounts = getattr(wire, "drain_accounts", None)
        self._account_of = getattr(failures, "map_bare_exception_to_job_error", None)
        for attribute, descriptor in ATTRIBUTES.items():
            try:
                setattr(kind, attribute, descriptor(kind, attribute))
            except (AttributeError, TypeError):  # a class that cannot be changed keeps its calls apart by itself
                break
        own = self.hook("report_progress")
        if own is not None:
            target.report_progress = whole(own)
        self._machinery = {
            name
            for base in kind.__mro__
            if base.__module__.partition(".")[0] in ROOTS
            for name in vars(base)
            if name not in OFFERED
        }
        self._machinery -= {"execute"}
        self._applied = False
        self._adapters: dict[str, object] = {}
        self._unbound: dict[str, str] = {}
        for adapter in adapters:
            self._bind(adapter)

    def _part(self, name: str):
        """A module of the family's own package in this environment; None where its version has none."""
        if self._root is None:
            return None
        try:
            return importlib.import_module("%s.core.%s" % (self._root, name))
        except Exception as error:  # an import may run anything
            log.warning("%s.core.%s cannot be imported: %s", self._root, name, errors.text_of(error))
            return None

    def _bind(self, adapter: dict) -> None:
        """Builds one adapter. One that fails leaves its task out, and says why when it is called."""
        task, module, cls = adapter["task"], adapter["module"], adapter["class"]
        if task in self._adapters:
            log.warning("the task %r is bound already; %s.%s is left out", task, module, cls)
            return
        try:
            self._adapters[task] = getattr(importlib.import_module(module), cls)(self.target)
            self._unbound.pop(task, None)
        except BaseException as error:  # SystemExit among them: an adapter must not end the worker
            reason = "%s.%s: %s: %s" % (module, cls, errors.name_of(type(error)), errors.text_of(error))
            self._unbound[task] = reason
            log.warning("the adapter for the task %r cannot be built: %s", task, reason)

    def method(self, name: str):
        task, dot, method = name.rpartition(".")
        if dot and task in self._adapters:
            adapter = self._adapters[task]
            if not method.startswith("_") and is_method(adapter, method):
                return getattr(adapter, method)
        elif dot and task in self._unbound:
            raise WorkerError("not-found", "the task %r has no adapter here: %s" % (task, self._unbound[task]))
        elif not dot:
            return super().method(name)
        raise self.unknown(name)

    def is_offered(self, name: str) -> bool:
        return name not in self._machinery and super().is_offered(name)

    def streaming(self, name: str):
        # The base's own `execute_stream` calls `execute`, which not every class has.
        if name == "execute" and not is_method(self.target, "execute"):
            own = getattr(type(self.target), "execute_stream", None)
            if own is None or own.__module__.partition(".")[0] in ROOTS:
                return self.method(name)
        return super().streaming(name)

    def methods(self) -> dict[str, tuple[object, str]]:
        found = super().methods()
        for task, adapter in self._adapters.items():
            for name in names(adapter):
                if not name.startswith("_") and is_method(adapter, name):
                    found["%s.%s" % (task, name)] = (adapter, name)
        return found

    def applying(self, config: dict | None):
        """The first configuration goes to `initialize`; a later one to `reconfigure` with the one before."""
        reconfigure = self.hook("reconfigure") if self._applied else None
        if reconfigure is not None:
            return reconfigure, [self.config, config or {}]
        return self.hook("initialize"), [config]

    def applied(self, config: dict) -> None:
        super().applied(config)
        self._applied = True

    def opened(self, call: Call) -> None:
        call.kept = {"since": time.monotonic(), "callbacks": list(optional(self.target, CALLBACKS, ()))}
        if self._envelope is not None and self._set_envelope is not None:
            envelope = {"job_id": call.id}
            envelope.update(call.envelope)
            self._set_envelope(self._envelope.from_wire(envelope))
        if self._begin_accounts is not None:
            self._begin_accounts()

    def closed(self, call: Call, failure: BaseException | None) -> None:
        if call.kept is None:
            return
        self._keep_callbacks(call)
        accounts = list(self._drain_accounts()) if self._drain_accounts is not None else []
        if self._set_envelope is not None:
            self._set_envelope(None)
        task, dot, method = call.method.rpartition(".")
        if dot and task in self._adapters:
            took = round(time.monotonic() - call.kept["since"], 3)
            account = {"task": task, "method": method, "ok": failure is None, "duration_s": took}
            accounts.append({"event_type": "task_account", "payload": account})
        usage = call.kept.get("_last_api_usage")
        if usage:
            accounts.append({"event_type": "usage", "payload": usage})
        for account in accounts:
            log.info("%s %s", account["event_type"], json.dumps(account["payload"], default=str))

    def _keep_callbacks(self, call: Call) -> None:
        """What the call registered and did not take back stays with the object, for the calls to come."""
        before, now = call.kept["callbacks"], call.kept.get(CALLBACKS)
        if now is None or now == before:
            return
        own = [callback for callback in self.target.__dict__.get(CALLBACKS, ()) if callback not in before or callback in now]
        own += [callback for callback in now if callback not in before and callback not in own]
        self.target.__dict__[CALLBACKS] = own

    def dress(self, value):
        """A result's outermost value goes with its kind, where its class is registered under one."""
        return value if self._encode is None else self._encode(value)

    def describe(self, error: BaseException) -> dict:
        found = errors.describe(error)
        told = error.__cause__ if isinstance(error, WorkerError) else error
        if told is None:
            return found
        if not isinstance(error, WorkerError):
            found["code"] = code_of(told) or found["code"]
        details = self._details(told)
        if details:
            found["details"] = details
            found.setdefault("help", advice(details))
        return found

    def _details(self, error: BaseException) -> dict:
        """What the family's own account of the error says, as plain JSON."""
        if self._account_of is None:
            return {}
        try:
            account = self._account_of(error)
            found = {name: getattr(account, name, None) for name in DETAILS}
            text = json.dumps(
                {name: value for name, value in found.items() if value not in (None, [])},
                default=lambda value: vars(value) if hasattr(value, "__dict__") else str(value),
                allow_nan=False,
            )
        except Exception:  # the error's own code, or infinity
            return {}
        return json.loads(text) if len(text) <= MAX_DETAILS else {}


def load(target: object, settings: Settings) -> CjmPlugin:
    """The plugin whose object is `target`, with the adapters that the host names."""
    adapters = take(settings.of(SETTING) or {}, "adapters", list, [])
    adapters = [{key: take(adapter, key, str) for key in ("task", "module", "class")} for adapter in adapters]
    return CjmPlugin(target, settings.name, settings.version, adapters)


def advice(details: dict) -> str | None:
    """What to do, as far as the details tell."""
    shortfall, fields = details.get("resource_shortfall"), details.get("fields_invalid")
    if isinstance(shortfall, dict):
        told = tuple(shortfall.get(key) for key in ("needed", "resource", "available"))
        return "it needs %s of %s, and %s are there" % told
    if "retry_after_seconds" in details:
        return "try again in %s s" % details["retry_after_seconds"]
    return "check %s" % ", ".join(map(str, fields)) if isinstance(fields, list) else None


def code_of(error: BaseException) -> str | None:
    """Our code for one of the family's errors."""
    for base in type(error).__mro__:
        if base.__module__.partition(".")[0] in ROOTS:
            name = base.__name__
            for prefix in ("Plugin", "Capability"):
                name = name[len(prefix) :] if name.startswith(prefix) else name
            if name in CODES:
                return CODES[name]
    return None
