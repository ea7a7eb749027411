"""Shared by the tests of the example plugins: their manifests, and their classes as a host finds them."""

from __future__ import annotations

import importlib
import json
import sys
import unittest
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def manifest(name: str) -> dict:
    """The manifest of an example plugin."""
    return json.loads((EXAMPLES / "plugins" / name / f"{name}.json").read_text(encoding="utf-8"))


def plugin_class(name: str) -> type:
    """The class that the plugin's manifest names. Skips the calling test if a requirement is missing."""
    known = manifest(name)
    source = EXAMPLES / "plugins" / name / known["source"]
    sys.path.insert(0, str(source))
    try:
        module = importlib.import_module(known["module"])
    except ModuleNotFoundError as error:
        needed = " ".join(map(repr, known.get("requirements", [])))
        raise unittest.SkipTest(f"{name} needs {error.name}: pip install {needed}") from error
    finally:
        sys.path.remove(str(source))
    return getattr(module, known["class"])


def defaults(schema: dict) -> dict:
    """The configuration that a host makes from a schema alone."""
    return {name: setting["default"] for name, setting in schema["properties"].items()}
