"""The sum of a file's numbers, by numpy: what every side of the case "large data" works out."""

import numpy

NUMBER = numpy.dtype("uint64")


def total(array):
    """Short enough for any JSON."""
    return int(array.sum()) % (1 << 32)


def total_of_file(path):
    """With the file mapped: nothing is copied."""
    return total(numpy.memmap(path, dtype=NUMBER, mode="r"))


class Sums:
    """Our plugin."""

    def execute(self, data):
        return {"sum": total(data.numpy(NUMBER))}

    def take(self, data):
        """Has the numbers as an array, and looks at none of them."""
        return {"count": len(data.numpy(NUMBER))}
