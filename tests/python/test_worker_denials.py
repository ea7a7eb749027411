"""How errors of a confined plugin are explained: by the denial that caused them, and the permission that is needed."""

import errno
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import unittest
import urllib.error
from multiprocessing import pool, shared_memory, synchronize
from unittest import mock

from worker_host import WORKER

sys.path.insert(0, os.path.dirname(WORKER))

from bivium_worker import causes, databases, denials, errors, grants  # noqa: E402


class PluginError(Exception):
    """An error into which a plugin or a library wraps other errors."""

    def __init__(self, text, **more):
        super().__init__(text)
        vars(self).update(more)


def of_system(error):
    """An error as code of the system or of Python raises it."""
    return raised_in(os, error)


def refused(number=errno.EACCES, filename="/sys/secret"):
    return of_system(PermissionError(number, os.strerror(number), filename))


def absent(filename="/nowhere/of/the/host"):
    return of_system(FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), filename))


def raised(raising):
    """The error that a function raises."""
    try:
        raising()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def raised_in(module, error, **variables):
    """The error as if a function of this module had raised it, with these local variables."""
    code = "def function(%s):\n raise error\nfunction(**variables)" % ", ".join(variables)
    code = compile(code, os.path.realpath(module.__file__), "exec")
    return raised(lambda: exec(code, {"error": error, "variables": variables}))


def without_access(forbidden):
    """As if the mode of this file forbade this user everything, also if the user is root."""
    access = os.access
    return mock.patch("os.access", lambda path, *args: path != forbidden and access(path, *args))


def read_only():
    """As in a read-only file system."""
    return mock.patch("os.statvfs", lambda path: mock.Mock(f_flag=os.ST_RDONLY))


def refusing(forbidden):
    """As if a file could not be opened although its mode allows it."""
    opens = grants.opens
    return mock.patch.object(grants, "opens", lambda path, flags: path != forbidden and opens(path, flags))


def grant(path, guest, mode="read"):
    return {"path": path, "guest": guest, "mode": mode}


class Denials(unittest.TestCase):
    def setUp(self):
        self.hold()

    def tearDown(self):
        denials.hold(False, [], False, [])
        errors.hold({})

    def hold(self, confined=True, private=("/",), lookups=False, granted=()):
        denials.hold(confined, list(private), lookups, list(granted))

    def denied(self, error, *parts):
        found = errors.describe(error)
        self.assertEqual(found["code"], "denied", found)
        for part in parts:
            self.assertIn(part, found["help"])
        return found

    def failed(self, error):
        found = errors.describe(error)
        self.assertEqual((found["code"], found.get("help")), ("plugin-failed", None))

    def hinted(self, error, *parts):
        found = errors.describe(error)
        self.assertEqual(found["code"], "plugin-failed", found)
        for part in parts:
            self.assertIn(part, found["help"])

    def test_a_file(self):
        self.assertNotIn("behind", self.denied(refused(), "permissions.filesystem")["help"])
        self.denied(refused(errno.EROFS), "permissions.filesystem")
        self.denied(absent(), "if /nowhere/of/the/host exists on the host", "permissions.filesystem")
        self.hold(private=("/elsewhere",))
        self.failed(absent())

    def test_errors_of_a_plugin_that_is_not_confined_are_not_explained(self):
        self.hold(confined=False)
        for error in (refused(), absent(), of_system(socket.gaierror(socket.EAI_AGAIN, "try again"))):
            self.failed(error)
            self.failed(PluginError("outer", reason=error))

    def test_a_cause(self):
        def raising():
            try:
                raise refused()
            except OSError as error:
                raise PluginError("the model cannot be loaded") from error

        found = self.denied(raised(raising), "it was caused by PermissionError: [Errno 13] Permission denied: '/sys/secret'; the plugin")
        self.assertEqual((found["message"], found["type"].rpartition(".")[2]), ("the model cannot be loaded", "PluginError"))

    def test_what_was_being_handled(self):
        for error in (refused(), absent()):
            for suppress in (False, True):

                def raising():
                    try:
                        raise error
                    except OSError:
                        if suppress:
                            raise PluginError("outer") from None
                        raise PluginError("outer")

                self.denied(raised(raising), "permissions.filesystem")

    def test_what_was_handled_and_is_over(self):
        """That a file does not exist is normal. An error of the code that continues without it has another cause."""

        def going_on():
            raise ValueError("another matter")

        def raising(error):
            try:
                raise error
            except OSError:
                going_on()

        self.failed(raised(lambda: raising(absent())))
        self.hinted(raised(lambda: raising(refused())), "an earlier error was PermissionError", "permissions.filesystem")

        def by_python(error, going_on):
            try:
                raise error
            except OSError:
                going_on()

        for going_on in (lambda: int("zz"), lambda: {}["a"], lambda: [][1]):
            self.hinted(raised(lambda: by_python(refused(), going_on)), "an earlier error was")

        def in_the_same_function():
            try:
                raise refused()
            except OSError:
                int("zz")

        self.hinted(raised(in_the_same_function), "an earlier error was")

        def other_cause():
            try:
                raise refused()
            except OSError:
                raise PluginError("outer") from ValueError("the cause")

        self.failed(raised(other_cause))

    def test_what_libraries_keep(self):
        lookup = of_system(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"))
        self.denied(urllib.error.URLError(lookup), "it was caused by", "gaierror", "names in permissions.network")
        refusal = refused(errno.EPERM, None)
        self.denied(urllib.error.URLError(refusal), "permissions.network")
        # As in urllib3 and requests.
        connection = PluginError("Failed to establish a new connection")
        connection.__cause__ = refusal
        self.denied(PluginError(PluginError("Max retries exceeded", reason=connection)), "permissions.network")
        self.denied(PluginError("outer", orig=raised(lambda: sqlite3.connect("/nowhere/of/the/host/data.db"))), "SQLite")
        if sys.version_info >= (3, 11):
            self.denied(ExceptionGroup("all failed", [ValueError("one"), refusal]), "permissions.network")  # noqa: F821

    def test_in_lists_and_slots(self):
        class Slotted(Exception):
            __slots__ = ("inner", "none")

        slotted = Slotted()
        slotted.inner = refused()
        for error in (PluginError("outer", errors=[refused()]), PluginError("outer", by_name={"a": refused()}), slotted):
            self.denied(error, "it was caused by PermissionError", "permissions.filesystem")

    def test_what_the_plugin_made_itself(self):
        def making(*args):
            def make():
                raise PermissionError(*args)

            return raised(make)

        with tempfile.NamedTemporaryFile() as file:
            for args in ((13, "user bob may not edit"), (13, "user bob may not edit", "/sys/secret"), (13, os.strerror(13), file.name)):
                self.failed(making(*args))
                self.failed(PluginError("outer", inner=making(*args)))
        self.failed(PluginError(PermissionError(13, os.strerror(13), "/sys/secret")))
        # The error of a plugin that makes system calls itself.
        self.denied(making(errno.EPERM, os.strerror(errno.EPERM)), "system calls")
        self.denied(making(errno.EACCES, os.strerror(errno.EACCES), "/sys/secret"), "permissions.filesystem")

    def test_code_without_bytecode_made_nothing(self):
        for at in (-1, 0, 8):
            step = mock.Mock(tb_lasti=at)
            step.tb_frame.f_code.co_code = b""
            self.assertFalse(causes.is_raise(step))

    def test_what_a_mode_forbids(self):
        with tempfile.TemporaryDirectory() as place:
            self.hold(private=("/elsewhere",))
            path = os.path.join(place, "file")
            with open(path, "w"):
                pass
            for forbidden in (path, place):
                with without_access(forbidden):
                    self.hinted(refused(filename=path), "the mode or the owner of %s forbids it" % forbidden)
            self.hinted(refused(filename=path), "mode")
            os.chmod(path, 0o700)
            self.denied(refused(filename=path), "permissions.filesystem")
            with read_only():
                self.denied(refused(filename=path), "permissions.filesystem")
            with refusing(path):
                self.denied(refused(filename=path), "permissions.filesystem")

    @unittest.skipUnless(os.path.isdir("/dev/shm"), "has no /dev/shm")
    def test_what_a_mode_forbids_in_the_workers_own_directory(self):
        with tempfile.TemporaryDirectory(dir="/dev/shm") as place, mock.patch.dict(os.environ, TMPDIR=place):
            self.hold()
            path = os.path.join(place, "file")
            with open(path, "w"):
                pass
            with without_access(path):
                self.hinted(refused(filename=path), "the mode or the owner of %s forbids it" % path)
            self.denied(refused(filename=place + "-other"), "is never granted")
        self.assertFalse(grants.is_of_system("/development/file"))

    def test_what_to_write_into_permissions_filesystem(self):
        mode = '"mode": "write"'
        with tempfile.TemporaryDirectory() as place:
            place = os.path.realpath(place)
            path, new = os.path.join(place, "file"), os.path.join(place, "new")
            with open(path, "w"):
                pass
            os.chmod(path, 0o700)
            # Not granted, or only a directory beside it is granted: changing the mode does not help.
            for granted in ([], [grant(place + "-other", "/data")]):
                self.hold(private=("/elsewhere",), granted=granted)
                with refusing(path):
                    found = self.denied(refused(filename=path), "%s is not granted" % path)
                self.assertNotIn("mode", found["help"])
            # Granted for reading.
            self.hold(private=("/elsewhere",), granted=[grant(place, "/data")])
            with read_only():
                for number, filename in ((errno.EACCES, path), (errno.EROFS, path), (errno.EACCES, new)):
                    found = self.denied(refused(number, filename), "%s is granted for reading only" % place, mode)
                    self.assertNotIn("/data", found["help"])
            with refusing(path):
                self.assertNotIn("mode", self.denied(refused(filename=path), "permissions.filesystem")["help"], "it may not even be read")
            # Granted for writing.
            self.hold(private=("/elsewhere",), granted=[grant(place, "/data", "write")])
            self.assertNotIn("mode", self.denied(refused(errno.EROFS, path), "permissions.filesystem")["help"])

    def test_a_program_in_what_is_granted(self):
        with tempfile.TemporaryDirectory() as place:
            place = os.path.realpath(place)
            path = os.path.join(place, "program")
            with open(path, "w"):
                pass
            self.hold(private=("/elsewhere",), granted=[grant(place, "/data")])
            refusal = PermissionError(errno.EACCES, "no", path)
            with without_access(path):
                self.hinted(raised_in(subprocess, refusal), "the mode or the owner of %s forbids it" % path)
            os.chmod(path, 0o755)
            self.denied(raised_in(subprocess, refusal), "%s cannot be run" % path)

    def test_a_relative_name_of_a_directory_that_is_not_named(self):
        self.hold()
        found = self.denied(refused(filename="no-such-file-here"), "permissions.filesystem")
        self.assertEqual(found["denied"]["resource"], "a file")

    def test_a_name_for_components(self):
        with tempfile.TemporaryDirectory() as place:
            place = os.path.realpath(place)
            granted = [grant(place, "/no-such-data")]
            there = "use %s in place of /no-such-data/file" % os.path.join(place, "file")
            self.hold(granted=granted)
            self.assertNotIn("mode", self.denied(absent("/no-such-data/file"), there)["help"])
            self.denied(refused(errno.EACCES, "/no-such-data/file"), there)
            # Without a root of its own the host's files are not hidden, so a missing file is not a denial.
            self.hold(private=(), granted=granted)
            self.hinted(absent("/no-such-data/file"), there)
            self.failed(absent("/no-such-data-either/file"))
            self.failed(absent(os.path.join(place, "file")))

    def test_the_root_as_a_name_for_components_says_nothing_of_other_paths(self):
        with tempfile.TemporaryDirectory() as place:
            place = os.path.realpath(place)
            with open(os.path.join(place, "model"), "w"):
                pass
            self.hold(granted=[grant(place, "/")])
            self.denied(absent("/model"), "use %s in place of /model" % os.path.join(place, "model"))
            self.assertNotIn("in place of", self.denied(absent("/no-such-file"), "/no-such-file")["help"])

    def test_what_the_host_records(self):
        def recorded(error):
            return tuple(errors.describe(error).get("denied", {}).values())

        self.assertEqual(recorded(refused()), ("permissions.filesystem", "/sys/secret"))
        self.assertEqual(recorded(PluginError("outer", reason=absent())), ("permissions.filesystem", "/nowhere/of/the/host"))
        error = raised_in(socket, PermissionError(errno.EPERM, "no"), host="example.com", port=443, family=socket.AF_INET)
        self.assertEqual(recorded(error), ("permissions.network", "tcp://example.com:443"))
        for number in (errno.EPERM, errno.EACCES):
            self.assertEqual(recorded(refused(number, None)), ("permissions", "a system call"))
        with socket.socket() as own:
            error = raised_in(os, PermissionError(errno.EACCES, "no"), own=own)
        self.assertEqual(recorded(error), ("permissions.network", "a connection"))
        for host, told in (("::1", "[::1]"), ("user:secret@example.com", "example.com")):
            error = raised_in(socket, PermissionError(errno.EACCES, "no"), host=host, port=9)
            self.assertEqual(recorded(error), ("permissions.network", "tcp://%s:9" % told))
        error = raised_in(socket, socket.gaierror(socket.EAI_AGAIN, "no"), host="example.com")
        self.assertEqual(recorded(error), ("permissions.network", "dns://example.com"))
        self.assertEqual(recorded(PluginError("mine")), ())
        failed = errors.WorkerError("plugin-failed", "importing it failed")
        failed.__cause__ = refused(filename="/sys/%s\udcff" % ("x" * 5000))
        self.assertLessEqual(len(recorded(failed)[1]), 300)

        class Address(str):
            def __str__(self):
                raise ValueError("mine")

        error = raised_in(socket, PermissionError(errno.EACCES, "no"), address=(Address("x"), 1))
        self.assertEqual(recorded(error), ("permissions.network", "a connection"))

    def test_look_ups(self):
        for number in (socket.EAI_AGAIN, socket.EAI_NONAME, socket.EAI_FAIL):
            self.denied(of_system(socket.gaierror(number, "no")), "look up host names", "permissions.network")
        self.failed(of_system(socket.gaierror(socket.EAI_SERVICE, "no such service")))
        self.hold(lookups=True)
        self.failed(of_system(socket.gaierror(socket.EAI_NONAME, "no such host")))

    def test_sqlite(self):
        error = raised(lambda: sqlite3.connect("/nowhere/of/the/host/data.db"))
        self.denied(error, "SQLite", "permissions.filesystem, with write access")
        self.failed(raised(lambda: sqlite3.connect(":memory:").execute("nonsense")))

    def test_sqlite_where_it_may_write(self):
        with tempfile.TemporaryDirectory() as place:
            self.hold(private=("/elsewhere",))
            absent = os.path.join(place, "absent")
            for path, uri in ((absent + "/data.db", False), (place, False), ("file:%s?mode=ro" % absent, True)):
                self.failed(raised(lambda: sqlite3.connect(path, uri=uri)))
            sqlite3.connect(absent).close()
            reading = sqlite3.connect("file:%s?mode=ro" % absent, uri=True)
            self.failed(raised(lambda: reading.execute("create table a (b)")))
            reading.close()

    def test_sqlite_where_it_may_only_read(self):
        with tempfile.TemporaryDirectory() as place, read_only():
            self.hold(private=("/elsewhere",), granted=[grant(place, "/data", "read")])
            path = os.path.join(place, "data.db")
            with open(path, "w"):
                pass
            sqlite3.connect(path).close()
            for text, part in ((databases.READ_ONLY, "%s is granted for reading only" % place), (databases.UNABLE, '"mode": "write"')):
                self.denied(of_system(sqlite3.OperationalError(text)), part)
            self.hold(private=("/elsewhere",))
            error = of_system(sqlite3.OperationalError(databases.READ_ONLY))
            found = self.denied(error, "add their directory %s to permissions.filesystem" % place)
            self.assertNotIn("mode", found["help"])
            self.assertEqual(found["denied"]["resource"], path)
            with without_access(path):
                self.hinted(of_system(sqlite3.OperationalError(databases.READ_ONLY)), "the mode or the owner")

    def test_shared_libraries(self):
        text = "%s: cannot open shared object file: %s"
        self.denied(of_system(OSError(text % ("/usr/lib/a.so", os.strerror(errno.EACCES)))), "permissions.filesystem")
        self.denied(of_system(ImportError(text % ("/nowhere/a.so", os.strerror(errno.ENOENT)))), "if /nowhere/a.so exists on the host")
        self.failed(of_system(ImportError(text % ("a.so.1", os.strerror(errno.ENOENT)))))

    def test_what_processes_share_is_no_network(self):
        for module in (synchronize, shared_memory):
            error = raised_in(module, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
            self.assertNotIn("network", self.denied(error, "/dev/shm")["help"])
        # The name of shared memory is not the name of a file.
        self.failed(raised_in(shared_memory, FileNotFoundError(errno.ENOENT, "absent", "/psm_1")))
        # An error that a pool passes on was raised elsewhere.
        self.denied(raised_in(pool, refused()), "permissions.filesystem")

    def test_a_unix_socket_is_no_network(self):
        error = raised_in(socket, PermissionError(errno.EPERM, "no"), family=socket.AF_UNIX)
        self.denied(error, "a confined plugin cannot use Unix sockets if it has")
        error = raised_in(socket, PermissionError(errno.EPERM, "no"), family=socket.AF_INET)
        self.assertNotIn("Unix", self.denied(error, "connections need permissions.network")["help"])
        self.denied(absent(None), "Unix socket", "permissions.filesystem")
        # The cause may be anything.
        self.denied(refused(errno.EPERM, None), "sockets need permissions.network; no confined plugin can reach other processes")

    def test_what_is_used_up_goes_first_and_chains_end(self):
        errors.hold({"memory_mb": 64})
        error = MemoryError()
        error.__cause__ = refused()
        self.assertEqual(errors.describe(error)["code"], "resource-exhausted")
        one, other = PluginError("one"), PluginError("other")
        one.__cause__, other.__cause__ = other, one
        self.failed(one)
        one.reason = refused()
        self.denied(other, "permissions.filesystem")

    def test_code_of_the_error_cannot_break_the_explanation(self):
        class Hostile(Exception):
            @property
            def args(self):
                raise ValueError("mine")

            def __str__(self):
                raise ValueError("mine")

        self.assertEqual(errors.describe(Hostile())["code"], "plugin-failed")


if __name__ == "__main__":
    unittest.main()
