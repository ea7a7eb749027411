"""What the values of a result become, and which are refused, with their place in the result."""

import unittest

from worker_host import WorkerCase, needs


class ValueCase(WorkerCase):
    cls = "Giving"
    settings = {"module": "giving"}

    def becomes(self, *cases):
        for what, expected in cases:
            with self.subTest(what):
                self.assertEqual(self.worker.result("execute", what), {"of": [expected]})

    def refused(self, *cases):
        """Each is refused with these words, at its place, or at the place with which the words begin."""
        for what, *words in cases:
            with self.subTest(what):
                error = self.worker.error("execute", what)
                self.assertEqual(error["code"], "plugin-failed", error)
                begin = "the result cannot be handed back: "
                if not words[0].startswith(("result", "the key")):
                    begin += "result.of[0]"
                self.assertTrue(error["message"].startswith(begin), error["message"])
                for word in words:
                    self.assertIn(word, error["message"])
        self.assertEqual(self.worker.result("alive"), "alive")


class Values(ValueCase):
    def test_values_of_the_standard_library(self):
        self.becomes(
            ("datetime.datetime(2020, 1, 2, 3, 4, 5, 6)", "2020-01-02T03:04:05.000006"),
            ("datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc)", "2020-01-02T00:00:00+00:00"),
            ("datetime.date(2020, 1, 2)", "2020-01-02"),
            ("datetime.time(1, 2)", "01:02:00"),
            ("timedelta(0)", "PT0S"),
            ("timedelta(days=1, hours=2, minutes=3, seconds=4, microseconds=500000)", "P1DT2H3M4.5S"),
            ("timedelta(days=7)", "P7D"),
            ("timedelta(seconds=-90)", "-PT1M30S"),
            ("timedelta(microseconds=1)", "PT0.000001S"),
            ("decimal.Decimal('1.10')", "1.10"),
            ("decimal.Decimal(2**70)", str(2**70)),
            ("uuid.UUID(int=1)", "00000000-0000-0000-0000-000000000001"),
            ("range(3)", [0, 1, 2]),
            ("{1}", [1]),
            ("frozenset(['a'])", ["a"]),
            ("collections.deque([1, 2])", [1, 2]),
            ("{'a': 1}.keys()", ["a"]),
            ("{'a': 1}.values()", [1]),
            ("collections.OrderedDict(a=1)", {"a": 1}),
            ("collections.Counter('aa')", {"a": 2}),
            ("types.MappingProxyType({'a': {1}})", {"a": [1]}),
            ("collections.ChainMap({'a': 1})", {"a": 1}),
            ("Color.RED", "red"),
            ("Color.ODD", [1, 2]),
            ("Level.HIGH", 3),
            ("Named.A", "a"),
            ("Text('text')", "text"),
            ("[Text('text'), {1}]", ["text", [1]]),
            ("Point(1, 2)", [1, 2]),
            ("Attrs()", {"x": 1, "y": [2]}),
            ("First()", {"x": 1, "when": "2020-01-02"}),
            ("Word('a', inner=Word('b'))",
             {"text": "a", "at": "PT1S", "inner": {"text": "b", "at": "PT1S", "inner": None}}),
            ("[-2**63, 2**64 - 1, {2}]", [-(2**63), 2**64 - 1, [2]]),
        )  # fmt: skip

    def test_bytes_and_paths_become_files(self):
        for what, media_type in (
            ("b'x'", "application/octet-stream"),
            ("bytearray(b'x')", "application/octet-stream"),
            ("memoryview(b'x')", "application/octet-stream"),
            ("file()", "text/plain"),
        ):
            with self.subTest(what):
                status, reply = self.worker.call("execute", what)
                self.assertEqual((status, reply["result"]), (200, {"of": [{"$blob": 0}]}), reply)
                self.assertEqual(reply["blobs"][0]["media_type"], media_type)

    def test_keys_that_are_not_strings_become_strings(self):
        self.becomes(
            ("{1: 'a', True and 2: 'b', 1.5: 'c', None: 'd'}", {"1": "a", "2": "b", "1.5": "c", "null": "d"}),
            ("{2**70: 1}", {str(2**70): 1}),
            ("{2**70: {1}, -2**70: [2], Huge.KEY: 3}", {str(2**70): [1], str(-(2**70)): [2], str(2**80): 3}),
            ("{1: {2}, 1.5: 'c', None: 'd', False: 'e'}", {"1": [2], "1.5": "c", "null": "d", "false": "e"}),
            ("{Color.RED: 1, Level.HIGH: 2, Named.A: 3}", {"red": 1, "3": 2, "a": 3}),
            ("{uuid.UUID(int=1): 1, datetime.date(2020, 1, 2): 2, decimal.Decimal('1.10'): 3}",
             {"00000000-0000-0000-0000-000000000001": 1, "2020-01-02": 2, "1.10": 3}),
        )  # fmt: skip
        self.refused(
            ("{1: {1}, '1': 2}", "the key result.of[0][\"1\"] occurs twice in JSON"),
            ("{True: {1}, 'true': 2}", "the key result.of[0].true occurs twice in JSON"),
            ("{(1, 2): 3}", " has a key of type tuple"),
            ("{b'a': 3}", " has a key of type bytes"),
            ("{10**5000: 3, 'a': {1}}", " has a key that is an integer of 16610 bits: give it as a text"),
            ("{float('nan'): {1}}", " has a key of type float"),
            ("{decimal.Decimal('nan'): 1}", " has a key of type Decimal"),
        )

    def test_integers_are_exact_or_refused(self):
        self.refused(
            ("[{'id': 2**64 + 1}, {1}]", "result.of[0][0].id is 18446744073709551617, an integer", "give it as a text"),
            ("[-2**63 - 1, {1}]", "result.of[0][0] is -9223372036854775809, an integer"),
            ("[10**400, {1}]", "result.of[0][0] is an integer of 1329 bits, an integer"),
            ("10**5000", " is an integer of 16610 bits, an integer", "give it as a text"),
        )

    def test_floats_are_finite(self):
        self.refused(
            ("float('nan')", " is nan, which JSON cannot represent: give None"),
            ("float('inf')", " is inf, which JSON cannot represent"),
            ("[1.0, {-1e400}]", "result.of[0][1][0] is -inf, which JSON cannot represent"),
        )

    def test_values_that_are_not_plain_data_are_refused_with_a_suggestion(self):
        self.refused(
            ("object()", " is an object: give plain data"),
            ("Own()", " is a giving Own: give plain data (a dict, a list, a text, a dataclass), or its bytes or the pathlib.Path of a file"),
            ("generator()", " is a generator: give a list of its items"),
            ("map(str, [1])", " is a map: give a list of its items"),
            ("{'a b': coroutine()}", "result.of[0][\"a b\"] is a coroutine: await it"),
            ("io.StringIO('a')", " is an _io StringIO: give its pathlib.Path, or its bytes"),
            ("open('/dev/null')", ": give its pathlib.Path, or its bytes"),
            ("open('/dev/null', 'rb')", ": give its pathlib.Path, or its bytes"),
            ("tempfile.NamedTemporaryFile()", ": give its pathlib.Path, or its bytes"),
            ("Lookup()", " is a giving Lookup: give plain data"),
            ("Own", " is a type: give plain data"),
            ("Word", " is a type: give plain data"),
            ("len", " is a builtin_function_or_method: give plain data"),
            ("1j", " is a complex: give plain data"),
            ("fractions.Fraction(1, 3)", " is a fractions Fraction"),
            ("decimal.Decimal('Infinity')", " is a decimal Decimal"),
            ("types.SimpleNamespace(a=1)", " is a types SimpleNamespace"),
        )

    def test_endless_values_are_refused(self):
        self.refused(
            ("circle()", "result.of[0].a[0].b contains itself"),
            ("[{1}, deep(200)]", "result.of[0][1][0][0]", "is nested deeper than 120 levels"),
            ("deep(100_000)", "is nested deeper than 120 levels", "result.of"),
            ("Endless()", "again is nested deeper than 120 levels", "result.of"),
            ("Same()", " contains itself"),
        )
        self.becomes(("[[1]] * 3", [[1]] * 3), ("(lambda x: [x, x, {1}])([1])", [[1], [1], [1]]))

    def test_text_that_is_not_unicode_is_refused_with_its_place(self):
        self.refused(
            ("'a\\ud800'", " is text that is not valid Unicode"),
            ("{'a': {'\\udfff': 1}}", "result.of[0].a", "is text that is not valid Unicode"),
            ("[1, ('x', '\\ud800')]", "result.of[0][1][1] is text that is not valid Unicode"),
        )


@needs("numpy")
class NumpyValues(ValueCase):
    def test_scalars(self):
        self.becomes(
            ("np.float64(1.5)", 1.5),
            ("np.float32(1.5)", 1.5),
            ("np.int64(-3)", -3),
            ("np.uint64(2**64 - 1)", 2**64 - 1),
            ("np.bool_(True)", True),
            ("np.str_('a')", "a"),
            ("np.array(3)", 3),
            ("np.array('2020-01-02', 'datetime64[D]')", "2020-01-02"),
            ("np.datetime64('2020-01-02T03:04:05.123456789')", "2020-01-02T03:04:05.123456789"),
            ("np.datetime64('2020-01-02')", "2020-01-02"),
            ("np.datetime64('2020-01-02T03')", "2020-01-02T03"),
            ("np.timedelta64(1500, 'ms')", "PT1.5S"),
            ("np.timedelta64(-1, 'ns')", "-PT0.000000001S"),
            ("np.timedelta64(2, 'W')", "P14D"),
            ("np.timedelta64(3, 'M')", "P3M"),
            ("np.zeros(1, [('a', 'i4'), ('b', 'M8[D]')])[0]", {"a": 0, "b": "1970-01-01"}),
            ("{np.int64(1): 2, np.float32(0.5): 3, np.bool_(False): 4}", {"1": 2, "0.5": 3, "false": 4}),
        )
        self.refused(
            ("np.datetime64('NaT')", " is NaT, a missing value: give None"),
            ("np.timedelta64('NaT')", " is NaT, a missing value: give None"),
            ("np.timedelta64(1)", " is a numpy.timedelta64 without a unit"),
            ("np.float32('nan')", " is nan"),
            ("np.complex64(1)", " is a complex"),
            ("np.longdouble(1)", " is a numpy"),
            ("{np.int64(1): 2, 1.0: 3, '1': 4}", "the key"),
            ("{np.datetime64('NaT'): 1}", " is NaT, a missing value"),
        )

    def test_arrays_of_any_length_are_files_and_a_single_number_is_one(self):
        for what in ("np.zeros(1)", "np.zeros((1, 1))", "np.zeros(0)", "np.zeros(3)"):
            with self.subTest(what):
                status, reply = self.worker.call("execute", what)
                self.assertEqual((status, reply["result"]), (200, {"of": [{"$blob": 0}]}), reply)
                self.assertEqual(reply["blobs"][0]["media_type"], "application/x-npy")
        self.becomes(("np.zeros(1).item()", 0.0), ("np.zeros(1).tolist()", [0.0]), ("np.zeros(1)[0]", 0.0))


@needs("pandas")
class PandasValues(ValueCase):
    def test_values_of_pandas(self):
        self.becomes(
            ("pd.Timestamp('2020-01-02T03:04:05')", "2020-01-02T03:04:05"),
            ("pd.Timestamp('2020-01-02T03:04:05.000000001')", "2020-01-02T03:04:05.000000001"),
            ("pd.Timedelta('1 days 1.000000001 s')", "P1DT1.000000001S"),
            ("pd.Series([1, 2]).to_dict()", {"0": 1, "1": 2}),
            ("pd.DataFrame({'a': [1]}).to_dict('records')", [{"a": 1}]),
            ("pd.DataFrame({'a': [1]}).to_dict()", {"a": {"0": 1}}),
        )
        self.refused(
            ("pd.NaT", " is NaT, a missing value: give None"),
            ("pd.NA", " is <NA>, a missing value: give None"),
            ("{pd.NaT: 1}", " has a key of type NaTType"),
            ("pd.DataFrame({'a': [1]})", " is a pandas DataFrame: give its .to_dict()"),
            ("pd.Series([1])", " is a pandas Series: give its .to_dict()"),
            ("pd.Index([1])", " is a pandas", "give its .tolist()"),
        )


@needs("pydantic")
class PydanticValues(ValueCase):
    def test_models_are_objects_and_what_they_hold_has_a_place(self):
        self.becomes(
            ("Model()", {"point": [1, 2], "when": "2020-01-02", "data": None}),
            ("[Model(data=Model())]", [
                {"point": [1, 2], "when": "2020-01-02",
                 "data": {"point": [1, 2], "when": "2020-01-02", "data": None}}]),
            ("Model(data=b'x').model_dump()['point']", [1, 2]),
        )  # fmt: skip
        self.refused(("Model(data=object())", "result.of[0].data is an object"))
        status, reply = self.worker.call("execute", "Model(data=file())")
        self.assertEqual((status, reply["result"]["of"][0]["data"]), (200, {"$blob": 0}), reply)


if __name__ == "__main__":
    unittest.main()
