"""The plugin of the case "large data" for cjm-plugin-system."""

import tempfile

import numpy
from cjm_plugin import Plain
from sums import NUMBER, total_of_file


class Sums(Plain):
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

    def cleanup(self):
        pass
