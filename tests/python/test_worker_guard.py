"""The guard: whatever happens to the host or to the worker, nothing is left."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import unittest

from worker_host import HERE, LINUX, WorkerCase, alive, eventually

HOLDER = (
    """
import json, sys
sys.path.insert(0, %r)
from worker_host import Worker
worker = Worker("Families")
print(json.dumps([worker.process.pid, worker.pid, worker.port, worker.exchange]), flush=True)
for line in sys.stdin:
    method, *args = json.loads(line)
    if method in ("children", "ignore_sigterm", "limit_files_of_the_guard"):
        print(json.dumps(worker.result(method, *args)), flush=True)
    else:
        worker.begin(method, *args)
        print("{}", flush=True)
"""
    % HERE
)


class Holder:
    """A host in a process of its own, to be killed."""

    def __init__(self, case: unittest.TestCase, wrapper=()) -> None:
        self.process = subprocess.Popen(
            [*wrapper, sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        case.addCleanup(self.end)
        self.guard, self.worker, self.port, self.exchange = json.loads(self.process.stdout.readline())

    def do(self, *what):
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        self.kill()
        self.process.stdin.close()
        self.process.stdout.close()
        if os.path.isdir(self.exchange):
            os.rmdir(self.exchange)


@unittest.skipUnless(LINUX, "reads /proc")
class HostDies(unittest.TestCase):
    def gone_after_kill(self, *what, wrapper=()):
        holder = Holder(self, wrapper)
        family = holder.do("children")
        self.assertTrue(all(alive(pid) for pid in family))
        if what:
            holder.do(*what)
        everyone = [holder.guard, holder.worker, *family]
        at = time.monotonic()
        holder.kill()
        self.assertTrue(
            eventually(lambda: not any(alive(pid) for pid in everyone), 1.0),
            [pid for pid in everyone if alive(pid)],
        )
        return time.monotonic() - at

    def test_while_the_worker_is_idle(self):
        self.gone_after_kill()

    def test_while_it_sleeps(self):
        self.gone_after_kill("sleep", 60)

    def test_while_it_is_busy(self):
        self.gone_after_kill("spin")

    def test_while_it_holds_the_interpreter_lock(self):
        # The lock is held from the beginning of the call, so no control request is answered: `begin` would wait.
        holder = Holder(self)
        family = holder.do("children")
        holder.process.stdin.write('["hold_the_lock", 60]\n')
        holder.process.stdin.flush()
        self.assertTrue(eventually(lambda: waits_in_sleep(holder.worker)))
        everyone = [holder.guard, holder.worker, *family]
        holder.kill()
        self.assertTrue(eventually(lambda: not any(alive(pid) for pid in everyone), 1.0))

    def test_while_it_ignores_sigterm(self):
        self.gone_after_kill("ignore_sigterm")

    def test_after_the_plugin_has_lowered_the_guards_limit_of_open_files(self):
        self.gone_after_kill("limit_files_of_the_guard", 3)

    @unittest.skipUnless(os.geteuid() or shutil.which("setpriv"), "cannot give up what an administrator may")
    def test_after_it_was_lowered_for_good(self):
        # An administrator raises it again.
        wrapper = [] if os.geteuid() else ["setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource"]
        self.gone_after_kill("limit_files_of_the_guard", 3, wrapper=wrapper)


def waits_in_sleep(pid: int) -> bool:
    """Whether the main thread is in the C library's sleep."""
    try:
        with open("/proc/%d/wchan" % pid) as file:
            if "nanosleep" in file.read():
                return True
        with open("/proc/%d/syscall" % pid) as file:
            return file.read().split()[0] in ("35", "230")
    except OSError:
        return False


@unittest.skipUnless(LINUX, "reads /proc")
class WorkerDies(WorkerCase):
    cls = "Families"

    def test_its_processes_end_with_it_and_the_host_is_told_how(self):
        for kind, status, number in (
            ("segfault", None, signal.SIGSEGV),
            ("exit", 7, None),
            ("kill", None, signal.SIGKILL),
        ):
            worker = self.start("Families")
            family = worker.result("children")
            at = time.monotonic()
            with self.assertRaises(OSError):
                worker.call("crash", kind)
            self.assertEqual(worker.next_event(), {"event": "exit", "status": status, "signal": number})
            self.assertLess(time.monotonic() - at, 1.0)
            self.assertEqual(worker.process.wait(5), status if number is None else 128 + number)
            self.assertFalse([pid for pid in [worker.pid, *family] if alive(pid)], kind)
            if kind == "segfault":
                self.assertIn(b"Segmentation fault", worker.stderr.find(b"Segmentation fault"))

    def test_a_daemon_does_not_outlive_a_worker_that_ends_well(self):
        family = self.worker.result("children")
        self.worker.post("/cleanup")
        self.assertEqual(self.worker.process.wait(5), 0)
        self.assertFalse([pid for pid in family if alive(pid)])

    def test_killed_from_outside_in_the_middle_of_a_call(self):
        running = self.worker.begin("sleep", 60)
        os.kill(self.worker.pid, signal.SIGKILL)
        self.assertEqual(running.wait(1)[0], 0)
        self.assertEqual(self.worker.next_event()["signal"], signal.SIGKILL)

    def test_closing_the_channel_ends_a_worker_that_ignores_everything(self):
        self.worker.result("ignore_sigterm")
        family = self.worker.result("children")
        self.worker.begin("spin")
        at = time.monotonic()
        self.worker.stop()
        self.assertLess(time.monotonic() - at, 1.0)
        self.assertFalse([pid for pid in [self.worker.pid, *family] if alive(pid)])

    def test_no_zombie_is_kept_while_the_worker_lives(self):
        for _ in range(3):
            self.worker.result("children")
        guard = self.worker.process.pid
        children = subprocess.run(["ps", "-o", "stat=", "--ppid", str(guard)], capture_output=True, text=True).stdout
        self.assertNotIn("Z", children)

    def test_the_guard_is_small(self):
        with open("/proc/%d/smaps_rollup" % self.worker.process.pid) as file:
            private = sum(int(line.split()[1]) for line in file if line.startswith("Private_"))
        self.assertLess(private, 8 * 1024)


if __name__ == "__main__":
    unittest.main()
