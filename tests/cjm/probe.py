"""A plugin of the family's for what the published ones do not show: each method is one thing that its host must do.

It runs on either base, whichever the environment has.
"""

import os
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field

try:
    from cjm_plugin_system.core import errors, wire
    from cjm_plugin_system.core.capability import RELOAD_TRIGGER, ConfigOption, EnvVarSpec, FieldOptions, ToolCapability
    from cjm_plugin_system.utils.validation import config_to_dict, dataclass_to_jsonschema, dict_to_config

    PREFIX = "Plugin"
except ImportError:
    from cjm_substrate.core import errors, wire
    from cjm_substrate.core.capability import RELOAD_TRIGGER, ConfigOption, EnvVarSpec, FieldOptions, ToolCapability
    from cjm_substrate.utils.validation import config_to_dict, dataclass_to_jsonschema, dict_to_config

    PREFIX = "Capability"


@dataclass
class ProbeConfig:
    model: str = field(default="base", metadata={RELOAD_TRIGGER: "model"})
    temperature: float = 0.0
    options: dict = field(default_factory=lambda: {"beam": 5})
    """Their schema calls this a string, and its default is none."""


@wire.wire_type("probe.outcome")
@dataclass
class Outcome:
    text: str
    scores: list


@wire.wire_type("probe.file")
@dataclass
class Filed:
    """A typed result that could be a file, too: the type counts."""

    text: str

    def to_temp_file(self) -> str:
        raise AssertionError("a typed result travels as its type")


class Sound:
    """A result that is a file."""

    media_type = "audio/wav"

    def to_temp_file(self) -> str:
        with tempfile.NamedTemporaryFile(suffix=".wav", delete=False) as file:
            file.write(b"RIFF")
        return file.name


class Probe(ToolCapability):
    config_class = ProbeConfig
    WORKER_ENV = [
        EnvVarSpec(name="PROBE_CACHE", default="${%s_DATA_DIR}/cache" % PREFIX.upper()),
        EnvVarSpec(name="PROBE_KEY", secret=True, required=True),
    ]

    def __init__(self):
        self.config = None
        self.done = []
        """What was done to the object, in order."""

    @property
    def name(self):
        return "probe"

    @property
    def version(self):
        return "1.0.0"

    def _apply_config(self, config):
        self.config = dict_to_config(ProbeConfig, config or {})
        if self.config.temperature < 0:
            raise getattr(errors, PREFIX + "InputError")("too cold", fields_invalid=["temperature"])

    def initialize(self, config=None):
        self._apply_config(config)
        self.done.append("initialize")

    def _release_model(self):
        self.done.append("release model")

    def get_config_schema(self):
        return dataclass_to_jsonschema(ProbeConfig)

    def get_current_config(self):
        return config_to_dict(self.config) if self.config else {}

    def get_config_options(self):
        return {"model": FieldOptions([ConfigOption("base", "Base"), ConfigOption("large", "Large", {"gb": 3})])}

    def prefetch(self):
        with self.heartbeat("loading", interval=0.05, progress=0.25):
            threading.Event().wait(0.3)
        self.report_progress(1.0, "loaded")
        self.done.append("prefetch")

    def on_disable(self):
        self.done.append("on_disable")

    def on_enable(self):
        self.done.append("on_enable")

    def cleanup(self):
        with open(os.path.join(os.environ[PREFIX.upper() + "_DATA_DIR"], "cleaned"), "w") as file:
            file.write("yes")

    def execute(self, *args, **kwargs):
        """Says what it got."""
        return {"args": list(args), "kwargs": kwargs, "config": self.get_current_config(), "done": self.done}

    def environment(self):
        return {name: value for name, value in os.environ.items() if "CJM" in name or "DATA_DIR" in name or "PROBE" in name}

    def steps(self, count, mark=None):
        """Reports by setting the attributes themselves, as older plugins do."""
        for n in range(count):
            self._progress = (n + 1) / count
            self._status_message = "step %d" % (n + 1)
            self.check_cancel()
            time.sleep(0.02)
        return count

    def until_cancelled(self, mark):
        """Looks for its cancellation by itself, and writes down that it found one."""
        self.report_progress(-1.0, "waiting")
        try:
            while True:
                self.check_cancel()
                time.sleep(0.01)
        finally:
            with open(mark, "w") as file:
                file.write("unwound, flag %s" % self._cancel_requested)

    def child(self, mark):
        """Waits for a program that only its cancel callback ends."""
        process = subprocess.Popen(["sleep", "60"])
        with self.cancel_signal_to(process.terminate):
            self.report_progress(0.0, "started")
            status = process.wait()
        with open(mark, "w") as file:
            file.write("%d" % status)
        self.check_cancel()
        return status

    def callbacks(self):
        return len(getattr(self, "_cancel_callbacks", ()))

    def register(self):
        self.register_cancel_callback(lambda: None)
        return self.callbacks()

    def fail(self, kind, **fields):
        """Raises the error of this name, theirs or Python's."""
        kinds = {
            "input": lambda: getattr(errors, PREFIX + "InputError")("bad text", fields_invalid=["text"]),
            "config": lambda: getattr(errors, PREFIX + "ConfigError")("bad key", fields_invalid=["mode"]),
            "transient": lambda: getattr(errors, PREFIX + "TransientError")("busy", retry_after_seconds=2.5),
            "timeout": lambda: getattr(errors, PREFIX + "TimeoutError")("probe", 3.0),
            "resource": lambda: getattr(errors, PREFIX + "ResourceError")(
                "no room", resource_shortfall=errors.ResourceShortfall("gpu_vram_mb", 8000.0, 500.0)
            ),
            "fatal": lambda: getattr(errors, PREFIX + "FatalError")("broken for good"),
            "cancelled": lambda: getattr(errors, PREFIX + "CancelledError")("probe"),
            "missing": lambda: FileNotFoundError("no such thing"),
        }
        raise kinds[kind]()

    def envelope(self):
        found = wire.get_call_envelope()
        wire.record_account("cache_hit", {"key": "k"})
        self.report_usage({"input_tokens": 7})
        return {"job": found.job_id, "run": found.run_id, "control": found.control}

    def typed(self):
        return Outcome("t", [0.5])

    def several(self):
        return [Outcome("a", []), Outcome("b", [])]

    def filed(self):
        return Filed("typed")

    def sound(self):
        return {"sound": Sound()}

    def path_of(self, audio):
        """What a blob is here: a path, of a file that is there."""
        return {"is_str": isinstance(audio, str), "size": os.path.getsize(audio), "suffix": os.path.splitext(audio)[1]}

    def execute_stream(self, count):
        for n in range(count):
            self.report_progress((n + 1) / count, "item %d" % n)
            yield Outcome(str(n), [n])


class ProbeAdapter:
    """What `cjm-ctl` would find: a task and a protocol; and what it would not mind: an object of no base."""

    task_name = "probing"

    def __init__(self, tool):
        self.tool = tool

    def force(self):
        """Whether the caller wants caches passed over."""
        return bool(wire.get_call_envelope().control.get("force"))

    def twice(self, text, n=2):
        return self.tool.execute(text * n)["args"][0]
