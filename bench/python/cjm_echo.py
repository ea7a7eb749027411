"""The plugin of `echo.py` for cjm-plugin-system and cjm-substrate, whichever the environment has: their base class, their
one method, their way to be cancelled."""

try:
    from cjm_plugin_system.core.capability import ToolCapability
except ImportError:
    from cjm_substrate.core.capability import ToolCapability


class Echo(ToolCapability):
    @property
    def name(self):
        return "echo"

    @property
    def version(self):
        return "1.0.0"

    def initialize(self, config=None):
        pass

    def get_config_schema(self):
        return {}

    def get_current_config(self):
        return {}

    def execute(self, text=None, mark=None):
        if mark is None:
            return {"text": text}
        open(mark, "w").close()
        while True:
            # Without this, nothing but the end of its process stops it.
            self.check_cancel()

    def execute_stream(self, count):
        for n in range(count):
            yield {"n": n}
