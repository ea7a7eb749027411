"""Sums a file's numbers with numpy, as every side of the case "large data" does."""

import numpy

NUMBER = numpy.dtype("uint64")


def total(array):
    """Short enough for any JSON."""
    return int(array.sum()) % (1 << 32)


def total_of_file(path):
    """Maps the file, so that nothing is copied."""
    return total(numpy.memmap(path, dtype=NUMBER, mode="r"))


class Sums:
    """The plugin of our side."""

    def execute(self, data):
        return {"sum": total(data.numpy(NUMBER))}

    def take(self, data):
        """Gets the numbers as an array, and reads none of them."""
        return {"count": len(data.numpy(NUMBER))}
