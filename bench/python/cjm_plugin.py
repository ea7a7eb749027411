"""The metadata of every plugin here in the form of cjm-plugin-system or cjm-substrate, whichever the environment has."""

try:
    from cjm_plugin_system.core.capability import ToolCapability
except ImportError:
    from cjm_substrate.core.capability import ToolCapability


class Plain(ToolCapability):
    """A plugin that has the name of its class and no configuration."""

    @property
    def name(self):
        return type(self).__name__.lower()

    @property
    def version(self):
        return "1.0.0"

    def initialize(self, config=None):
        pass

    def get_config_schema(self):
        return {}

    def get_current_config(self):
        return {}
