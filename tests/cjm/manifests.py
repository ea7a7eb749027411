"""Writes the manifests of an environment with the environment's own `cjm-ctl`, as an installation would.

    python manifests.py OUT ENVIRONMENT PACKAGE [MODULE:ADAPTER …]
    python manifests.py OUT ENVIRONMENT --probe NAME

The only thing that is not theirs is `conda`, by which `cjm-ctl` reaches environments: here that is a script which runs
this interpreter. The probe (`probe.py`, beside this file) is no installed package; its manifest has the older, flat form.
"""

import dataclasses
import importlib
import importlib.util
import json
import os
import pathlib
import stat
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = next(name for name in ("cjm_plugin_system", "cjm_substrate") if importlib.util.find_spec(name))


def installed(folder: pathlib.Path, environment: str, package: str, *adapters: str) -> None:
    cli = importlib.import_module(ROOT + ".cli")
    with tempfile.TemporaryDirectory() as place:
        conda = os.path.join(place, "conda")
        with open(conda, "w") as file:
            # conda run -n NAME python SCRIPT
            file.write('#!/bin/sh\nshift 4\nexec "%s" "$@"\n' % sys.executable)
        os.chmod(conda, stat.S_IRWXU)
        cli._get_conda_cmd_str = lambda: conda
        if cli._generate_manifest(environment, package, folder) is None:
            sys.exit("%s: no manifest was written" % package)
        for adapter in adapters:
            cli._generate_adapter_manifest(environment, adapter, folder)


def probe(folder: pathlib.Path, environment: str, name: str) -> None:
    sys.path.insert(0, HERE)
    from probe import Probe, ProbeAdapter

    derive = importlib.import_module(ROOT + ".core.capability").derive_structural_surface
    manifest = {
        "name": name,
        "version": "1.0.0",
        "interface": ROOT + ".core.capability.ToolCapability",
        "module": "probe",
        "class": "Probe",
        "python_path": sys.executable,
        "conda_env": environment,
        "source": HERE,
        "env_vars": {"PYTHONDONTWRITEBYTECODE": "1"},
        "config_schema": Probe().get_config_schema(),
        "worker_env": [dataclasses.asdict(wanted) for wanted in Probe.WORKER_ENV],
        "structural_surface": derive(Probe),
    }
    adapter = {
        "unit": "adapter",
        "name": "probe.ProbeAdapter",
        "task_name": ProbeAdapter.task_name,
        "module": "probe",
        "class": "ProbeAdapter",
        "protocol_members": {"methods": [{"name": "until_cancelled", "params": ["mark"]}], "properties": ["name"]},
    }
    for file, content in (("%s.json" % name, manifest), ("adapter-probing-ProbeAdapter.json", adapter)):
        (folder / file).write_text(json.dumps(content, indent=2))


def main(out: str, environment: str, *what: str) -> None:
    folder = pathlib.Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    if what[0] == "--probe":
        probe(folder, environment, what[1])
    else:
        installed(folder, environment, *what)


if __name__ == "__main__":
    main(*sys.argv[1:])
