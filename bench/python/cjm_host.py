"""A host program on cjm-plugin-system or cjm-substrate, whichever the environment has.

All settings are their defaults but where data is kept: in the working directory, by a `cjm.yaml` there. Manifests are
written by their own library, with what their `cjm-ctl` finds out about an installed package.
"""

import importlib
import importlib.util
import logging
import os
import pathlib
import sys
from datetime import datetime, timezone

ROOT = next(name for name in ("cjm_plugin_system", "cjm_substrate") if importlib.util.find_spec(name))
NOUN = "plugin" if ROOT == "cjm_plugin_system" else "capability"
# Files left in the temp directory are deleted with the benchmark's own directory.
os.environ["TMPDIR"] = os.getcwd()
HERE = os.path.dirname(os.path.abspath(__file__))


def part(name):
    return importlib.import_module("%s.core.%s" % (ROOT, name))


def write_manifest(folder, plugin, path):
    """Makes the manifest of a plugin class, which is found on these further paths."""
    made, surface = part("manifest_format"), part("capability").derive_structural_surface
    now = datetime.now(timezone.utc).isoformat()
    example = plugin()
    schema, found = example.get_config_schema(), surface(plugin)
    made.write_manifest(
        folder / ("%s.json" % example.name),
        made.ManifestV2(
            install=made.InstallSection(
                python_path=sys.executable,
                conda_env=example.name,
                env_vars={"PYTHONPATH": os.pathsep.join([HERE, *path])},
                installed_at=now,
            ),
            code=made.CodeSection(
                name=example.name,
                version=example.version,
                description="Is measured",
                module=plugin.__module__,
                class_name=plugin.__name__,
                config_schema=schema,
                regenerated_at=now,
                structural_surface=found,
            ),
            drift_tracking=made.DriftTracking(
                config_schema_hash=made.compute_config_schema_hash(schema),
                structural_surface_hash=made.compute_structural_surface_hash(found),
            ),
        ),
    )


class Host:
    """The peer's manager, which has found these classes as plugins."""

    def __init__(self, *plugins, path=()):
        folder = pathlib.Path.cwd()
        manifests = folder / ".cjm" / "manifests"
        manifests.mkdir(parents=True, exist_ok=True)
        (folder / "cjm.yaml").write_text("runtime:\n  mode: local\ndata_dir: .cjm\n")
        for plugin in plugins:
            write_manifest(manifests, plugin, path)
        logging.basicConfig(level=logging.WARNING)
        self.manager = getattr(part("manager"), NOUN.capitalize() + "Manager")()
        self.found = {meta.name: meta for meta in self.manager.discover_manifests()}

    def method(self, name):
        """A method of the manager; `NOUN` in its name stands for the peer's word for a plugin."""
        return getattr(self.manager, name.replace("NOUN", NOUN))

    def load(self, name, instance=None):
        if not self.method("load_NOUN")(self.found[name], instance_id=instance or name):
            raise RuntimeError("it does not load; see the log")

    def proxy(self, instance):
        return self.method("get_NOUN")(instance)

    def end(self):
        self.manager.unload_all()
