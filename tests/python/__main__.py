"""Runs every test of this directory (`python tests/python`), and prints at the end which were skipped, and why.

`cargo xtask test` collects the skipped tests of all its parts in the file that `BIVIUM_SKIPPED` names, and prints them at its end.
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
