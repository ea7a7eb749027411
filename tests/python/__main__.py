"""Runs every test of this directory (`python tests/python`), and says at the end which were left out, and why.

`cargo xtask test` gathers what all of its tests leave out in the file that `BIVIUM_SKIPPED` names, and tells it at its own end.
"""

import os
import sys
import unittest


def main() -> int:
    tests = unittest.defaultTestLoader.discover(os.path.dirname(os.path.abspath(__file__)))
    result = unittest.TextTestRunner().run(tests)
    lines = ["%s: %s\n" % (test.id(), reason) for test, reason in result.skipped]
    gathered = os.environ.get("BIVIUM_SKIPPED")
    if gathered is None:
        sys.stderr.writelines("skipped: " + line for line in lines)
    else:
        with open(gathered, "a", encoding="utf-8") as file:
            file.writelines(lines)
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
