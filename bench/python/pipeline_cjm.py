"""The case "whole pipeline" with cjm-plugin-system: a host with its manager, which calls one step after the other."""

import json
import os
import pathlib
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
# Before the import below reads it.
os.environ["CJM_DATA_DIR"] = os.path.abspath("cjm")

import driver
from cjm_plugin_system.core.manager import PluginManager

NAMES = ["cut", "words", "captions"]
manager = PluginManager(search_paths=[pathlib.Path("manifests").absolute()])


loading = []
"""How long the plugins took to load, until it is told."""


def load(examples):
    os.makedirs("manifests")
    for name in NAMES:
        manifest = {
            "name": name,
            "version": "1.0.0",
            "description": "A step from speech to subtitles",
            "module": "cjm_steps",
            "class": name.capitalize(),
            "python_path": sys.executable,
            "env_vars": {"PYTHONPATH": os.pathsep.join([HERE, examples])},
        }
        pathlib.Path("manifests", name + ".json").write_text(json.dumps(manifest))
    found = {meta.name: meta for meta in manager.discover_manifests()}
    begun = time.perf_counter()
    for name in NAMES:
        if not manager.load_plugin(found[name]):
            raise RuntimeError("%s does not load; see the log" % name)
    loading.append(time.perf_counter() - begun)


def run(audio, cuts):
    spent = []

    def call(name, **arguments):
        result = manager.execute_plugin(name, **arguments)
        spent.append(result["spent_s"])
        return result

    begun = time.perf_counter()
    segments = call("cut", audio=audio, cuts=cuts)["segments"]
    words = [call("words", audio=segment["audio"], offset_s=segment["start_s"]) for segment in segments]
    srt = call("captions", segments=words)["srt"]
    took = time.perf_counter() - begun
    for segment in segments:
        os.unlink(segment["audio"])
    assert srt.startswith("1\n"), srt
    work = sum(spent)
    return {"run": [took], "outside": [100 * (took - work) / work], "load": [loading.pop()] if loading else []}


try:
    driver.serve(load=load, run=run)
finally:
    manager.unload_all()
