"""The manifests of the Python example plugins are complete, have pinned requirements, and match the classes."""

import re
import unittest

from example_plugins import EXAMPLES, defaults, manifest, plugin_class

PLUGINS = ("transcribe", "whisper", "embed", "summarize")
METHODS = ("initialize", "execute", "get_config_schema", "get_current_config", "cleanup")


class Manifests(unittest.TestCase):
    def test_name_the_module_beside_them_and_pin_what_they_require(self):
        for name in PLUGINS:
            with self.subTest(plugin=name):
                known = manifest(name)
                self.assertEqual(known["name"], name)
                self.assertTrue((EXAMPLES / "plugins" / name / known["source"] / f"{known['module']}.py").is_file())
                for requirement in known.get("requirements", []):
                    self.assertRegex(requirement, re.compile(r"^[a-z-]+==[\d.]+(; python_version .*)?$"))

    def test_summarizes_permissions_fit_its_defaults(self):
        config = plugin_class("summarize")().get_current_config()
        granted = manifest("summarize")["permissions"]
        self.assertEqual(granted["env"], [config["api_key_env"]])
        self.assertTrue(config["base_url"].startswith(granted["network"][0] + "/"))

    def test_the_classes_have_the_methods_and_begin_with_their_schemas_defaults(self):
        for name in PLUGINS:
            with self.subTest(plugin=name):
                plugin = plugin_class(name)()
                self.assertEqual([method for method in METHODS if not callable(getattr(plugin, method, None))], [])
                schema = plugin.get_config_schema()
                self.assertEqual(plugin.get_current_config(), defaults(schema))
                self.assertIs(schema["additionalProperties"], False)
                with self.assertRaisesRegex(ValueError, "no setting colour; it has "):
                    plugin.initialize({"colour": "red"})
                plugin.cleanup()


if __name__ == "__main__":
    unittest.main()
