"""Runs one target: `python fuzz.py TARGET [--seconds N | FILE…]`, guided by which code an input reaches (atheris).

Inputs begin with those in `corpus/TARGET`. One that fails is kept below `fuzz/artifacts`.
"""

import argparse
import os
import pathlib
import sys

import atheris

with atheris.instrument_imports(include=["bivium_worker", "json"]):
    import targets

HERE = pathlib.Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=sorted(targets.TARGETS))
    parser.add_argument("files", nargs="*", help="only these inputs")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--found", help="a directory for inputs of interest, to go on from the next time")
    given = parser.parse_args()
    artifacts = HERE.parent / "artifacts" / ("python-" + given.target)
    artifacts.mkdir(parents=True, exist_ok=True)
    options = [sys.argv[0], "-artifact_prefix=%s/" % artifacts, "-timeout=20", "-rss_limit_mb=2048", "-max_len=8192"]
    if given.files:
        options += given.files
    else:
        options.append("-max_total_time=%d" % given.seconds)
        if given.found:
            os.makedirs(given.found, exist_ok=True)
            options.append(given.found)
        options.append(str(HERE / "corpus" / given.target))
        words = HERE / ("%s.dict" % given.target)
        options.append("-dict=%s" % words)
    atheris.Setup(options, targets.TARGETS[given.target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
