"""What an error of a confined plugin is explained by: the denial behind it, and the permission that it takes."""

import errno
import os
import socket
import sqlite3
import sys
import unittest
import urllib.error
from multiprocessing import pool, shared_memory, synchronize

from worker_host import WORKER

sys.path.insert(0, os.path.dirname(WORKER))

from bivium_worker import denials, errors  # noqa: E402


class PluginError(Exception):
    """What a plugin or a library makes of other errors."""

    def __init__(self, text, **more):
        super().__init__(text)
        vars(self).update(more)


def refused(number=errno.EACCES, filename="/etc/shadow"):
    return PermissionError(number, os.strerror(number), filename)


def absent(filename="/nowhere/of/the/host"):
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), filename)


def raised(raising):
    """The error that a function ends with, as one that was raised."""
    try:
        raising()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def raised_in(module, error, **variables):
    """The error as one that a function of this module has raised, with these local variables."""
    code = "def function(%s):\n raise error\nfunction(**variables)" % ", ".join(variables)
    code = compile(code, os.path.realpath(module.__file__), "exec")
    return raised(lambda: exec(code, {"error": error, "variables": variables}))


class Denials(unittest.TestCase):
    def setUp(self):
        self.hold()

    def tearDown(self):
        denials.hold(False, [], False)
        errors.hold({})

    def hold(self, confined=True, private=("/",), lookups=False):
        denials.hold(confined, list(private), lookups)

    def denied(self, error, *parts):
        found = errors.describe(error)
        self.assertEqual(found["code"], "denied", found)
        for part in parts:
            self.assertIn(part, found["help"])
        return found

    def failed(self, error):
        found = errors.describe(error)
        self.assertEqual((found["code"], found.get("help")), ("plugin-failed", None))

    def test_a_file(self):
        self.assertNotIn("behind", self.denied(refused(), "permissions.filesystem")["help"])
        self.denied(refused(errno.EROFS), "permissions.filesystem")
        self.denied(absent(), "if the file is there on the host", "permissions.filesystem")
        self.hold(private=("/elsewhere",))
        self.failed(absent())

    def test_one_that_is_not_confined_is_told_nothing(self):
        self.hold(confined=False)
        for error in (refused(), absent(), socket.gaierror(socket.EAI_AGAIN, "try again")):
            self.failed(error)
            self.failed(PluginError("outer", reason=error))

    def test_a_cause(self):
        def raising():
            try:
                raise refused()
            except OSError as error:
                raise PluginError("the model cannot be loaded") from error

        found = self.denied(raised(raising), "behind it is PermissionError: [Errno 13] Permission denied: '/etc/shadow'; the plugin")
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
        """An absent file is normal. What is raised by the code that goes on without it is another matter."""

        def going_on():
            raise ValueError("another matter")

        def raising(error):
            try:
                raise error
            except OSError:
                going_on()

        self.failed(raised(lambda: raising(absent())))
        self.denied(raised(lambda: raising(refused())), "permissions.filesystem")

        def other_cause():
            try:
                raise refused()
            except OSError:
                raise PluginError("outer") from ValueError("the cause")

        self.failed(raised(other_cause))

    def test_what_libraries_keep(self):
        lookup = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        self.denied(urllib.error.URLError(lookup), "behind it is", "gaierror", "names in permissions.network")
        refusal = refused(errno.EPERM, None)
        self.denied(urllib.error.URLError(refusal), "permissions.network")
        # As urllib3 and requests have it.
        connection = PluginError("Failed to establish a new connection")
        connection.__cause__ = refusal
        self.denied(PluginError(PluginError("Max retries exceeded", reason=connection)), "permissions.network")
        self.denied(PluginError("outer", orig=sqlite3.OperationalError("unable to open database file")), "SQLite")
        if sys.version_info >= (3, 11):
            self.denied(ExceptionGroup("all failed", [ValueError("one"), refusal]), "permissions.network")  # noqa: F821

    def test_look_ups(self):
        for number in (socket.EAI_AGAIN, socket.EAI_NONAME, socket.EAI_FAIL):
            self.denied(socket.gaierror(number, "no"), "look up the names of hosts", "permissions.network")
        self.failed(socket.gaierror(socket.EAI_SERVICE, "no such service"))
        self.hold(lookups=True)
        self.failed(socket.gaierror(socket.EAI_NONAME, "no such host"))

    def test_sqlite(self):
        error = raised(lambda: sqlite3.connect("/nowhere/of/the/host/data.db"))
        self.denied(error, "SQLite", "permissions.filesystem, to write")
        self.failed(raised(lambda: sqlite3.connect(":memory:").execute("nonsense")))

    def test_shared_libraries(self):
        text = "%s: cannot open shared object file: %s"
        self.denied(OSError(text % ("/usr/lib/a.so", os.strerror(errno.EACCES))), "permissions.filesystem")
        self.denied(ImportError(text % ("/nowhere/a.so", os.strerror(errno.ENOENT))), "if the file is there on the host")
        self.failed(ImportError(text % ("a.so.1", os.strerror(errno.ENOENT))))

    def test_what_processes_share_is_no_network(self):
        for module in (synchronize, shared_memory):
            error = raised_in(module, refused(filename=None))
            self.assertNotIn("network", self.denied(error, "/dev/shm")["help"])
        # The name of shared memory is no file's.
        self.failed(raised_in(shared_memory, absent("/psm_1")))
        # What a pool hands on was raised elsewhere.
        self.denied(raised_in(pool, refused()), "permissions.filesystem")

    def test_a_unix_socket_is_no_network(self):
        error = raised_in(socket, refused(errno.EPERM, None), family=socket.AF_UNIX)
        self.denied(error, "Unix sockets are kept from a confined plugin that has")
        error = raised_in(socket, refused(errno.EPERM, None), family=socket.AF_INET)
        self.assertNotIn("Unix", self.denied(error, "connections need permissions.network")["help"])
        self.denied(absent(None), "Unix socket", "permissions.filesystem")
        # It may be anything.
        self.denied(refused(errno.EPERM, None), "sockets need permissions.network; other processes")

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

    def test_no_code_of_the_error_is_its_end(self):
        class Hostile(Exception):
            @property
            def args(self):
                raise ValueError("mine")

            def __str__(self):
                raise ValueError("mine")

        self.assertEqual(errors.describe(Hostile())["code"], "plugin-failed")


if __name__ == "__main__":
    unittest.main()
