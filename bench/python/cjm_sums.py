"""The plugin of the case "large data" for cjm-plugin-system."""

import tempfile

import numpy
from cjm_plugin_system.core.capability import ToolCapability
from sums import NUMBER, total_of_file


class Sums(ToolCapability):
    @property
    def name(self):
        return "sums"

    @property
    def version(self):
        return "1.0.0"

    def initialize(self, config=None):
        pass

    def execute(self, path=None, make=None, take=False):
        if make is not None:
            piece = b"\1" * (1 << 20)
            with tempfile.NamedTemporaryFile(suffix=".bin", delete=False) as file:
                for _ in range(make // len(piece)):
                    file.write(piece)
            return {"path": file.name}
        if take:
            return {"count": len(numpy.memmap(path, dtype=NUMBER, mode="r"))}
        return {"sum": total_of_file(path)}

    def get_config_schema(self):
        return {}

    def get_current_config(self):
        return {}

    def cleanup(self):
        pass
