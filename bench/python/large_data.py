"""What the peers' drivers of the case "large data" share: the data, and how samples are named.

The measures of `bench/src/cases/large_data/`, each with a size in MiB behind it: `summed` and `passed` in milliseconds,
`written` in MiB a second; and `growth`, how many times longer the largest takes to be passed on than the smallest.
"""

import statistics
import time

PASSES = 10
"""How often a round passes data on."""

WRITES = 5
"""How often a round only writes data of each size."""

MIB = 1 << 20


def ones(mib):
    return b"\1" * (mib * MIB)


def expected(mib):
    """The sum of this many ones, read as 64-bit numbers."""
    return mib * MIB // 8 * 0x0101010101010101 % (1 << 32)


def repeats(mib):
    """How often a round measures the whole time; short ones more often."""
    return max(1, min(10, 32 // mib))


class Round:
    """The samples of one round."""

    def __init__(self):
        self.samples = {}

    def add(self, measure, mib, value):
        self.samples.setdefault("%s %d" % (measure, mib), []).append(value)

    def summed(self, mib, work, after=None):
        """Measures the time of `work`, which returns the sum. `after` cleans up and is not measured."""
        for _ in range(repeats(mib)):
            begun = time.perf_counter()
            found = work()
            self.add("summed", mib, (time.perf_counter() - begun) * 1e3)
            if after:
                after()
            assert found == expected(mib), found

    def passed(self, works):
        """Measures the time of functions that pass data on, by size, in turn."""
        for _ in range(PASSES):
            for mib, work in works.items():
                begun = time.perf_counter()
                count = work()
                self.add("passed", mib, (time.perf_counter() - begun) * 1e3)
                assert count == mib * MIB // 8, count
        smallest, largest = min(works), max(works)
        if smallest != largest:
            median = lambda mib: statistics.median(self.samples["passed %d" % mib])
            self.samples["growth"] = [median(largest) / median(smallest)]
