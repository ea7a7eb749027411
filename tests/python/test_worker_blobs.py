"""Blobs: files as arguments and results, and the arrays of numpy and torch."""

import json
import os
import shutil
import unittest

from worker_host import WorkerCase, needs


class Blobs(WorkerCase):
    """Files as arguments and results, of a plugin that needs only Python."""

    def lend(self, text="hello", name="in.wav", **more):
        path = os.path.join(self.worker.exchange, name)
        with open(path, "w") as file:
            file.write(text)
        return dict({"path": path, "media_type": "audio/wav", "size": len(text)}, **more)

    def call(self, method, *args, blobs=(), **kwargs):
        return self.worker.call(method, *args, blobs=blobs, **kwargs)

    def test_a_blob_arrives_as_a_path_with_more(self):
        blob = self.lend()
        status, reply = self.call("describe", {"$blob": 0}, blobs=[blob])
        self.assertEqual(status, 200, reply)
        self.assertEqual(
            reply["result"],
            {
                "type": "Blob",
                "is_str": True,
                "media_type": "audio/wav",
                "size": 5,
                "data": "hello",
                "again": "hello",
                "mapped": "hello",
                "path": blob["path"],
            },
        )
        # Written with escapes, it is the same key.
        client = self.worker.connect()
        self.addCleanup(client.close)
        request = '{"call":"e","method":"describe","args":[{"\\u0024blob":0}],"blobs":%s}' % json.dumps([blob])
        client.connection.request("POST", "/execute", request, client.headers)
        self.assertEqual(json.loads(client.connection.getresponse().read())["result"]["data"], "hello")

    def test_wrong_references_are_refused(self):
        for reference in (
            {"$blob": 1},
            {"$blob": -1},
            {"$blob": "0"},
            {"$blob": True},
            {"$blob": 0, "x": 1},
            {"$blob": 0.5},
        ):
            status, reply = self.call("execute", [reference], blobs=[self.lend()])
            self.assertEqual(reply["error"]["code"], "invalid-input", reference)

    def test_the_lent_blob_handed_back_is_named_by_its_index(self):
        status, reply = self.call("hand_back", {"$blob": 1}, blobs=[self.lend(name="a"), self.lend(name="b")])
        self.assertEqual(reply["result"]["same"], {"$blob": 0})
        self.assertEqual(reply["result"]["as_path"], {"$blob": 0})
        self.assertIsInstance(reply["result"]["as_text"], str)
        self.assertEqual(reply["blobs"], [{"lent": 1}])

    def test_files_in_a_removed_directory_are_not_found(self):
        lent = {"path": self.lend()["path"], "media_type": "audio/wav"}
        shutil.rmtree(self.worker.exchange)
        calls = [self.call("describe", {"$blob": 0}, blobs=[lent]), self.call("bytes"), self.call("vanished")]
        for status, reply in calls:
            self.assertEqual((status, reply["error"]["code"]), (404, "not-found"), reply)
        self.assertIn("the worker's directory %s was removed" % self.worker.exchange, reply["error"]["message"])
        self.assertEqual(self.worker.result("execute", 1), {"args": [1], "kwargs": {}})

    def test_files_become_blobs_relative_to_the_exchange(self):
        for kind, key, media_type, text in (
            ("path", "file", "audio/wav", "made"),
            ("blob", 0, "audio/x-own", "made"),
            ("dto", "one", "text/csv", "a,b"),
            ("bytes", None, "application/octet-stream", "\x00\x01"),
        ):
            status, reply = self.call("make", kind)
            self.assertEqual(status, 200, reply)
            reference = reply["result"] if key is None else reply["result"][key]
            self.assertEqual(reference, {"$blob": 0})
            (blob,) = reply["blobs"]
            self.assertEqual((blob["media_type"], blob["size"]), (media_type, len(text)))
            self.assertFalse(os.path.isabs(blob["path"]))
            with open(os.path.join(self.worker.exchange, blob["path"])) as file:
                self.assertEqual(file.read(), text)

    def test_literal_keys_beside_a_blob(self):
        _, reply = self.call("make", "literal")
        self.assertEqual(reply["result"], {"$$blob": 7, "$$$blob": 8, "file": {"$blob": 0}})

    def test_a_string_is_never_a_path(self):
        _, reply = self.call("make", "str")
        self.assertEqual(reply["blobs"], [])
        self.assertTrue(os.path.isabs(reply["result"]["file"]))

    def test_files_elsewhere_are_refused(self):
        for kind, code in (
            ("outside", "denied"),
            ("link", "denied"),
            ("directory", "plugin-failed"),
            ("missing", "plugin-failed"),
        ):
            _, reply = self.call("make", kind)
            self.assertEqual(reply["error"]["code"], code, kind)
        self.assertIn(self.worker.exchange, self.call("make", "outside")[1]["error"]["message"])

    def test_blobs_in_a_stream(self):
        client = self.worker.connect()
        self.addCleanup(client.close)
        events = list(client.stream("make", "path"))
        self.assertEqual(events[0]["payload"]["json"], {"file": {"$blob": 0}})
        self.assertEqual(events[0]["payload"]["blobs"][0]["size"], 4)

    def test_files_are_found_in_all_that_holds_them(self):
        lent = [self.lend("one", "a.txt"), self.lend("two", "b.txt")]
        nested = {"list": [{"$blob": 1}, [{"$blob": 0}]], "object": {"deep": {"$blob": 1}}}
        _, reply = self.call("sizes", nested, more=[{"$blob": 0}], blobs=lent)
        self.assertEqual(reply["result"], {"list": ["two", ["one"]], "object": {"deep": "two"}, "more": ["one"]})
        _, reply = self.call("make", "nested")
        self.assertEqual(
            reply["result"], {"list": [{"$blob": 0}, [{"$blob": 1}]], "data": {"tuple": [{"$blob": 0}, {"inner": {"$blob": 2}}]}}
        )
        self.assertEqual(len(reply["blobs"]), 3)

    def test_bytes_of_every_kind(self):
        for kind, text in (("bytearray", b"abc"), ("memoryview", b"bc"), ("steps", b"ac"), ("empty", b"")):
            _, reply = self.call("make", kind)
            self.assertEqual(reply["result"], {"$blob": 0}, reply)
            with open(os.path.join(self.worker.exchange, reply["blobs"][0]["path"]), "rb") as file:
                self.assertEqual(file.read(), text, kind)

    def test_the_plugins_own_temporary_files_lie_in_the_exchange(self):
        for place in self.worker.result("temporary"):
            self.assertTrue(place.startswith(self.worker.exchange + os.sep), place)

    def test_an_empty_file_has_an_empty_map(self):
        _, reply = self.call("describe", {"$blob": 0}, blobs=[self.lend("")])
        self.assertEqual((reply["result"]["mapped"], reply["result"]["size"]), ("", 0))

    def test_odd_names_and_wrong_file_makers_are_errors(self):
        for kind, part in (
            ("no_utf8", "not valid UTF-8"),
            ("no_path", "to_temp_file() of result.file returned a NoneType, not a path"),
            ("type", "result is a type"),
        ):
            _, reply = self.call("make", kind)
            self.assertEqual(reply["error"]["code"], "plugin-failed", kind)
            self.assertIn(part, reply["error"]["message"])
        _, reply = self.call("make", "raises")
        self.assertEqual((reply["error"]["type"], reply["error"]["message"]), ("ValueError", "cannot be written"))

    def test_a_full_disk_is_reported_as_such(self):
        _, reply = self.call("make", "full")
        self.assertEqual(reply["error"]["code"], "resource-exhausted")
        self.assertIn("No space left", reply["error"]["message"])

    def test_half_a_file_is_not_left_behind(self):
        before = sorted(os.listdir(self.worker.exchange))
        _, reply = self.call("make", "too_big")
        self.assertEqual(reply["error"]["code"], "resource-exhausted", reply)
        self.assertEqual(sorted(os.listdir(self.worker.exchange)), before)


def contents(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


@needs("numpy")
class Numpy(WorkerCase):
    """Views without a copy as arguments, `.npy` files as results."""

    cls = None

    def setUp(self):
        self.worker = self.start("Numpy", module="arrays")

    def lend(self, data, name, media_type="application/octet-stream"):
        path = os.path.join(self.worker.exchange, name)
        with open(path, "wb") as file:
            file.write(data)
        return {"path": path, "media_type": media_type, "size": len(data)}

    def call(self, method, *args, blobs=(), **kwargs):
        status, reply = self.worker.call(method, *args, blobs=blobs, **kwargs)
        self.assertEqual(status, 200, reply)
        return reply

    def error(self, method, *args, blobs=()):
        status, reply = self.worker.call(method, *args, blobs=blobs)
        self.assertEqual(reply["error"]["code"], "plugin-failed")
        return reply["error"]["message"]

    def made(self, kind):
        reply = self.call("make", kind)
        (blob,) = reply["blobs"]
        self.assertEqual(reply["result"], {"$blob": 0})
        self.assertEqual(blob["media_type"], "application/x-npy")
        return dict(blob, path=os.path.join(self.worker.exchange, blob["path"]))

    def test_a_view_is_the_file_and_no_copy(self):
        blob = self.lend(bytes(range(256)) * 64, "raw.bin")
        found = self.call("view", {"$blob": 0}, blobs=[blob])["result"]
        self.assertEqual(found["inode"], os.stat(blob["path"]).st_ino)
        self.assertEqual((found["shape"], found["dtype"], found["writeable"]), ([16384], "uint8", False))
        found = self.call("view", {"$blob": 0}, dtype="<u4", blobs=[blob])["result"]
        self.assertEqual((found["shape"], found["first"]), ([4096], 0x03020100))

    def test_an_npy_file_brings_its_shape_and_type_also_under_another_name(self):
        made = self.made("table")
        renamed = self.lend(contents(made["path"]), "table.dat", "application/x-npy")
        for blob in (made, renamed):
            found = self.call("view", {"$blob": 0}, blobs=[blob])["result"]
            self.assertEqual((found["shape"], found["dtype"], found["sum"]), ([2, 3], "float32", 15.0))
            self.assertEqual(found["inode"], os.stat(blob["path"]).st_ino)
        self.assertRegex(self.error("view", {"$blob": 0}, "int64", blobs=[made]), "holds an? (array|tensor) of (torch.)?float32")

    def test_arrays_become_files(self):
        for kind, shape, dtype, total in (
            ("fortran", [3, 2], "int64", 15),
            ("slice", [2, 2], "float32", 10.0),
            ("empty", [0, 4], "float64", 0),
            ("nan", [2], "float64", None),
        ):
            found = self.call("view", {"$blob": 0}, blobs=[self.made(kind)])["result"]
            self.assertEqual((found["shape"], found["dtype"], found["sum"]), (shape, dtype, total), kind)

    def test_one_array_in_two_places_is_one_file(self):
        reply = self.call("make", "twice")
        self.assertEqual(reply["result"], {"a": {"$blob": 0}, "b": [{"$blob": 0}]})
        self.assertEqual(len(reply["blobs"]), 1)

    def test_numbers_of_numpy_are_numbers(self):
        self.assertEqual(
            self.call("make", "scalars")["result"],
            {"float": 0.5, "int": 7, "bool": True, "zero_dim": 3, "text": "x", "time": "2026-01-02T03:04:05"},
        )

    def test_values_that_cannot_be_converted_are_named(self):
        for kind, part in (
            ("objects", "result.a[1] is a numpy array of Python objects"),
            ("masked", "masked"),
            ("longdouble", "result[0] is a numpy"),
            ("nan_scalar", "result.score is nan"),
        ):
            self.assertIn(part, self.error("make", kind), kind)

    def test_a_file_that_is_not_an_array_is_refused(self):
        pickle = self.lend(b"\x80\x04N.", "pickle.npy")
        self.assertIn("magic", self.error("view", {"$blob": 0}, blobs=[pickle]))
        odd = self.lend(b"12345", "odd.bin")
        self.assertIn("multiple", self.error("view", {"$blob": 0}, "<u4", blobs=[odd]))
        empty = self.lend(b"", "empty.bin")
        self.assertEqual(self.call("view", {"$blob": 0}, blobs=[empty])["result"]["shape"], [0])


@needs("torch")
class Torch(Numpy):
    """The same with tensors; the parts that only concern numpy are not tested again."""

    test_numbers_of_numpy_are_numbers = test_values_that_cannot_be_converted_are_named = None

    def setUp(self):
        self.worker = self.start("Torch", module="arrays")

    def test_a_view_is_the_file_and_no_copy(self):
        blob = self.lend(bytes(range(256)) * 64, "raw.bin")
        found = self.call("view", {"$blob": 0}, blobs=[blob])["result"]
        self.assertEqual(found["inode"], os.stat(blob["path"]).st_ino)
        self.assertEqual((found["shape"], found["dtype"]), ([16384], "uint8"))
        found = self.call("view", {"$blob": 0}, dtype="int32", blobs=[blob])["result"]
        self.assertEqual((found["shape"], found["first"]), ([4096], 0x03020100))

    def test_what_is_written_to_a_tensor_stays_out_of_the_file(self):
        made = self.made("table")
        before = contents(made["path"])
        self.assertEqual(self.call("scribble", {"$blob": 0}, blobs=[made])["result"], [[9.0] * 3] * 2)
        self.assertEqual(contents(made["path"]), before)

    def test_numbers_of_torch_are_numbers_and_the_rest_is_named(self):
        self.assertEqual(self.call("make", "scalars")["result"], {"float": 0.5, "int": 7, "bool": True})
        self.assertIn("result.a is a tensor that cannot be converted to a numpy array", self.error("make", "bfloat"))


class WithoutLibraries(WorkerCase):
    cls = None

    def test_a_library_that_is_missing_is_named_with_the_cure(self):
        worker = self.start("Echo")
        path = os.path.join(worker.exchange, "x.bin")
        with open(path, "w") as file:
            file.write("x")
        for library in ("numpy", "torch"):
            _, reply = worker.call("without", {"$blob": 0}, library, blobs=[{"path": path, "size": 1}])
            self.assertEqual((reply["error"]["code"], reply["error"]["type"]), ("plugin-failed", "ModuleNotFoundError"))
            self.assertIn("add it to the manifest's `requirements`", reply["error"]["message"])


if __name__ == "__main__":
    unittest.main()
