"""Arguments that are converted to the types of a method's parameters."""

import os
import tempfile

from worker_host import WorkerCase


class Arguments(WorkerCase):
    cls = "Taking"
    settings = {"module": "taking", "max_reply_bytes": 1000}

    def lend(self, text="hello"):
        fd, path = tempfile.mkstemp(dir=self.worker.exchange)
        os.write(fd, text.encode())
        os.close(fd)
        return {"path": path, "media_type": "text/plain", "size": len(text)}

    def result(self, method, *args, **kwargs):
        return self.worker.result(method, *args, blobs=[self.lend(), self.lend("more")], **kwargs)

    def test_a_file_is_what_the_type_says(self):
        file = {"$blob": 0}
        self.assertEqual(
            self.result("files", *[file] * 7),
            sorted(["bytes hello", *["PosixPath hello"] * 2, *["Blob hello"] * 4]),
        )

    def test_a_text_is_a_path_where_only_a_path_is_wanted(self):
        path = self.lend("there")["path"]
        told = self.result("unions", b=path, e=path)
        self.assertEqual(told, {"a": None, "b": path, "c": None, "d": ["tuple"], "e": "PosixPath there"})

    def test_a_value_of_a_unions_type_stays_and_others_get_the_first_possible_conversion(self):
        file = {"$blob": 1}
        self.assertEqual(
            self.result("unions", file, file, c=file, d=[1], e=file),
            {"a": "bytes more", "b": "Blob more", "c": "bytes more", "d": ["list", 1], "e": "bytes more"},
        )
        self.assertEqual(self.result("unions", "text", d={"x": 1})["a"], "text", "it cannot be converted to any of the types")

    def test_lists_are_tuples_and_sets_within_others_too(self):
        named = {"many": [{"$blob": 0}, {"$blob": 1}], "named": {"x": {"$blob": 0}}, "pairs": [[1, "a"], [1, "a"]]}
        self.assertEqual(
            self.result("several", **named, names=["a", "b", "a"], fixed=[2], ends=[3, 4]),
            {
                "many": ["bytes hello", "bytes more"],
                "named": {"x": "PosixPath hello"},
                "pairs": ["set", ["tuple", 1, "a"]],
                "names": ["set", "a", "b"],
                "fixed": ["frozenset", 2],
                "ends": ["tuple", 3, 4],
            },
        )
        self.assertEqual(self.result("free", a=[1]), ["tuple", 1])
        self.assertEqual(self.result("free", [1]), ["tuple", 1])
        self.assertEqual(self.result("execute", a=[1, 1]), [["set", 1]])

    def test_an_item_that_a_set_cannot_contain_is_invalid_input(self):
        status, reply = self.worker.call("execute", [{"x": 1}])
        self.assertEqual((status, reply["error"]["code"]), (422, "invalid-input"), reply)
        self.assertIn("the argument 'a' cannot be converted to a set", reply["error"]["message"])

    def test_bytes_are_bounded_by_the_payloads_limit(self):
        half = [self.lend("x" * 600), self.lend("x" * 600), self.lend("x" * 1001)]
        call = lambda *many: self.worker.call("several", list(many), {}, [], [], blobs=half)
        self.assertEqual(call({"$blob": 0})[0], 200)
        for many in (({"$blob": 0}, {"$blob": 1}), ({"$blob": 2},)):
            status, reply = call(*many)
            self.assertEqual((status, reply["error"]["code"]), (413, "resource-exhausted"), reply)
            self.assertIn("limits.payload_mb", reply["error"]["message"])

    def test_types_that_cannot_be_found_change_nothing(self):
        self.assertEqual(self.result("absent", {"$blob": 0}), "Blob hello")


class Functions(WorkerCase):
    cls = ""

    def test_a_function_that_is_the_plugin_has_types_too(self):
        worker = self.start("", module="taking", function="path")
        self.assertEqual(worker.result("execute", "x"), "PosixPath")
