"""The description of a plugin's methods: signatures, parameters as JSON Schema, results, streams."""

import sys
import unittest

from worker_host import WorkerCase, needs


def methods(worker) -> dict:
    status, reply = worker.get("/methods")
    assert status == 200, reply
    return {method["name"]: method for method in reply["methods"]}


SEGMENT = {
    "type": "object",
    "title": "Segment",
    "properties": {
        "start": {"type": "number"},
        "text": {"type": "string", "default": ""},
        "tags": {"type": "array", "items": {"type": "string"}},
        "inner": {"anyOf": [{"$comment": "described.Segment"}, {"type": "null"}], "default": None},
    },
    "required": ["start"],
}


class Methods(WorkerCase):
    cls = "Described"
    settings = {"module": "described"}

    def test_parameters_are_told_with_types_and_defaults(self):
        execute = methods(self.worker)["execute"]
        self.assertEqual(execute["description"], "Counts the words")
        self.assertIn("\n\nArgs:\n    text: The text.", execute["doc"])
        self.assertTrue(execute["signature"].startswith("(text: "), execute["signature"])
        self.assertEqual(
            execute["parameters"],
            {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "properties": {
                    "text": {"type": "string", "description": "The text."},
                    "times": {"type": "integer", "default": 1},
                    "mode": {"enum": ["fast", "good"], "default": "fast"},
                    "when": {},
                },
                "required": ["text"],
                "additionalProperties": {"type": "number"},
            },
        )
        self.assertEqual(execute["returns"], {"type": "object"})

    def test_what_gives_results_one_after_another_streams(self):
        found = methods(self.worker)
        self.assertEqual(
            {name: method.get("streams") for name, method in found.items()},
            {
                "execute": True,
                "pieces": True,
                "ticks": True,
                "lazy": True,
                "segments": False,
                "later": False,
                "free": False,
                "of": False,
            },
        )
        self.assertEqual(found["pieces"]["returns"], {"type": "string"})
        self.assertEqual(found["ticks"]["returns"], {"type": "integer"})
        self.assertEqual(found["lazy"]["returns"], SEGMENT)
        self.assertEqual(list(found["pieces"]["parameters"]["properties"]), ["path", "size"])
        self.assertEqual(found["of"]["parameters"]["required"], ["x"])
        self.assertEqual(found["free"]["parameters"]["required"], ["x"])

    def test_classes_become_what_stands_for_them(self):
        found = methods(self.worker)["segments"]
        properties = found["parameters"]["properties"]
        self.assertEqual(properties["segments"], {"type": "array", "items": SEGMENT})
        self.assertEqual(properties["options"]["properties"], {"size": {"type": "integer"}})
        self.assertEqual(
            properties["pair"],
            {
                "type": "array",
                "prefixItems": [{"type": "integer", "title": "left"}, {"type": "string", "title": "right"}],
                "minItems": 2,
                "maxItems": 2,
            },
        )
        self.assertEqual(properties["day"], {"type": "string", "format": "date"})
        self.assertEqual(properties["exact"], {"enum": ["a", "b"], "default": "a"})
        self.assertEqual(properties["said"], {"type": "integer", "description": "How many.", "default": 3})
        self.assertEqual(found["returns"], {"type": "object", "additionalProperties": SEGMENT})

    def test_a_type_that_is_not_there_is_told_as_it_is_written(self):
        properties = methods(self.worker)["later"]["parameters"]["properties"]
        self.assertEqual(properties, {"absent": {"$comment": "Absent"}, "size": {"$comment": "int"}})


class FileMethods(WorkerCase):
    cls = "Both"
    settings = {"module": "described"}

    def test_a_file_is_a_blob_or_a_path_and_as_a_result_a_blob(self):
        blob = {
            "type": "object",
            "properties": {"$blob": {"type": "integer", "minimum": 0}},
            "required": ["$blob"],
            "description": "a file",
        }
        text, none = {"type": "string"}, {"type": "null"}
        files = methods(self.worker)["files"]
        self.assertEqual(
            files["parameters"]["properties"],
            {
                "audio": {"anyOf": [blob, text], "description": "What is heard."},
                "notes": {"anyOf": [text, blob, none], "default": None},
                "cover": {"anyOf": [blob, text, none], "default": None},
                "parts": {"type": "array", "items": {"anyOf": [blob, text]}, "default": []},
                "raw": {"anyOf": [blob, none], "default": None},
            },
        )
        self.assertEqual(files["returns"], blob)


class AwkwardMethods(WorkerCase):
    cls = "Awkward"
    settings = {"module": "described"}

    def test_a_method_that_cannot_be_described_hides_no_other(self):
        status, reply = self.worker.get("/methods")
        self.assertEqual(status, 200)
        found = {method["name"]: method for method in reply["methods"]}
        self.assertEqual(len(found), 1000)
        self.assertNotIn("signature", found["odd"])
        self.assertNotIn("parameters", found["large"])
        self.assertIn("bytes", found["large"]["note"])
        self.assertIn("SystemExit", found["own"]["note"])
        self.assertEqual(
            found["fine"]["parameters"]["properties"], {"x": {"type": "number"}, "y": {}, "z": {"default": {"1": 2}}}
        )
        self.assertEqual(self.worker.result("fine"), None)

    def test_what_json_does_not_hold_is_left_out(self):
        _, reply = self.worker.get("/methods")
        found = {method["name"]: method for method in reply["methods"]}
        self.assertEqual(
            found["beyond"]["parameters"]["properties"],
            {
                "a": {"type": "integer"},
                "b": {"type": "integer"},
                "c": {"type": "integer", "default": 2**64 - 1},
                "d": {"type": "array"},
                "e": {"type": "string"},
                "f": {"type": "array"},
                "g": {"type": "object"},
                "h": {"type": "integer"},
                "i": {"default": 1},
                "j": {"type": "number"},
            },
        )
        self.assertNotIn("required", found["beyond"]["parameters"])
        self.assertEqual(found["own_numbers"]["parameters"]["properties"], {"x": {"type": "integer", "minimum": 0}})
        self.assertNotIn("n" * 600, found)
        self.assertTrue(all(name.isascii() for name in found))


class HostileMethods(WorkerCase):
    cls = "Hostile"
    settings = {"module": "hostile"}

    def test_what_one_method_does_hides_no_other(self):
        found = methods(self.worker)
        told = ["deeper", "defaults", "execute", "exits", "fixed", "itself", "loose", "models", "nested", "open", "positional"]
        told += ["twice", "twofold"]
        self.assertEqual(sorted(found), told)
        one = {"x": {"type": "integer", "default": 1}}
        self.assertEqual(found["execute"]["parameters"]["properties"], one)
        self.assertEqual(found["exits"]["description"], "Has a type that ends the program.")
        self.assertEqual(found["exits"]["parameters"]["required"], ["x"])
        error = self.worker.error("nosuch")
        self.assertEqual(error["code"], "not-found")
        self.assertIn("it has: " + ", ".join(told), error["message"])

    def test_endless_types_are_described_in_part(self):
        found = methods(self.worker)
        nested = found["nested"]
        self.assertEqual((nested["description"], nested["returns"]), ("Takes much.", {"type": "integer"}))
        self.assertTrue(nested["signature"].startswith("(x: "), nested["signature"])
        self.assertNotIn("parameters", nested)
        self.assertIn("the schema has more than 32768 bytes", nested["note"])
        self.assertIn("properties", found["models"]["parameters"])
        self.assertNotIn("returns", found["models"])
        for name in ("fixed", "loose", "deeper"):
            self.assertEqual(list(found[name]["parameters"]["properties"]), ["x"])
            self.assertTrue(found[name]["signature"].startswith("(x"), name)
            self.assertEqual(self.worker.result(name, x=3), 3)
        self.assertEqual(found["defaults"]["parameters"]["properties"], {"x": {}, "y": {}, "z": {}, "last": {"default": 1}})

    def test_a_type_that_holds_itself_twice_is_not_written_out(self):
        found = methods(self.worker)
        for name, description in (
            ("twice", "Takes what has no end."),
            ("twofold", "Takes what holds that."),
            ("itself", "Takes what is made of itself."),
        ):
            self.assertEqual(found[name]["description"], description)
            self.assertTrue(found[name]["signature"].startswith("(x: "), found[name])
        self.assertIn("z: 'list[Twice]' = ...", found["twice"]["signature"])
        self.assertEqual(found["twice"]["parameters"]["properties"]["y"], {"$comment": "int"})

    def test_wrong_arguments_are_reported_whatever_the_defaults_are(self):
        error = self.worker.error("defaults", nosuch=1)
        self.assertEqual(error["code"], "invalid-input")
        reason = "the arguments do not fit: got an unexpected keyword argument 'nosuch'; the method is defaults(x=..., y=xx"
        self.assertTrue(error["message"].startswith(reason), error["message"])
        self.assertLess(len(error["message"]), 1000)
        for method in ("execute", "open"):
            call = {"id": "self-" + method, "method": method, "args": [], "kwargs": {"self": 1}}
            error = self.worker.post("/execute", call)[1]["error"]
            self.assertEqual(error["code"], "invalid-input")
            self.assertIn("do not fit: Python itself gives the argument 'self'", error["message"])
        error = self.worker.error("positional", c=1)
        self.assertIn("missing a required", error["message"])
        self.assertIn("there is no parameter 'c'; the method is positional(a, /, b=...)", error["message"])

    def test_an_object_that_names_nothing_has_its_classes_names(self):
        worker = self.start("Unlisted", "hostile")
        self.assertEqual(list(methods(worker)), ["execute"])

    def test_an_attribute_that_raises_is_absent(self):
        worker = self.start("Lookup", "hostile")
        self.assertEqual(worker.result(), 1)
        self.assertEqual(sorted(methods(worker)), ["execute", "read"])
        self.assertEqual(worker.result("read"), {"a": 1})
        self.assertIn("result is a hostile Lookup: give plain data", worker.error("execute", "itself")["message"])
        self.assertEqual(worker.post("/initialize", {"config": {}})[0], 200)
        self.assertEqual(worker.post("/cleanup")[0], 200)
        self.assertEqual(worker.process.wait(5), 0)


class Docstrings(WorkerCase):
    cls = "Documenting"
    settings = {"module": "described"}

    def said(self, method: str) -> dict:
        properties = methods(self.worker)[method]["parameters"]["properties"]
        return {name: schema.get("description") for name, schema in properties.items()}

    def test_each_form_tells_of_parameters(self):
        text, often = "The text that is counted.", "How often: once or twice."
        self.assertEqual(self.said("indented"), {"text": text, "times": often, "place": None})
        both = "Both of them."
        self.assertEqual(self.said("underlined"), {"a": both, "b": both, "c": "The third.", "d": None})
        self.assertEqual(self.said("fields"), {"text": "The text of it.", "size": "How large.", "other": None})
        size = methods(self.worker)["underlined"]["parameters"]["properties"]["d"]["properties"]["size"]
        self.assertEqual(size, {"type": "number", "default": 1.5, "description": "How large, in metres."})


@needs("pydantic")
class OnlyStreams(WorkerCase):
    cls = "OnlyStreams"
    settings = {"module": "described"}

    def test_what_only_streams_is_the_method_execute_and_an_error_says_so(self):
        found = methods(self.worker)
        self.assertEqual((list(found), found["execute"]["streams"]), (["execute"], True))
        self.assertEqual(list(found["execute"]["parameters"]["properties"]), ["text"])
        message = self.worker.error("execute")["message"]
        self.assertEqual(message, "the plugin has no method 'execute', but 'execute_stream' for a streaming call")


class Pydantic(WorkerCase):
    cls = "Models"
    settings = {"module": "models"}

    def test_a_model_tells_its_own_schema(self):
        found = methods(self.worker)
        execute = found["execute"]["parameters"]
        line = execute["properties"]["line"]
        self.assertEqual(line["properties"]["points"]["items"], {"$ref": "#/$defs/Point"})
        self.assertEqual(execute["$defs"]["Point"]["properties"]["y"]["description"], "How high.")
        self.assertEqual(
            execute["properties"]["scale"], {"type": "number", "description": "How large.", "default": 1.0}
        )
        self.assertEqual(found["several"]["returns"]["$defs"]["Point"]["required"], ["x"])


if __name__ == "__main__":
    sys.exit(unittest.main())
