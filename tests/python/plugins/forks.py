"""A plugin that starts processes in every way that Python has, for `test_worker_children`."""

import concurrent.futures
import faulthandler
import json
import multiprocessing
import os
import pty
import signal
import subprocess
import sys
import threading
import time

OF_THE_C_LIBRARY = 1 << 32 - 1 | 1 << 33 - 1
"""Signals that it handles for itself once a program has threads."""


def signals():
    """The signal handlers of this process."""
    words = ("SigIgn:", "SigCgt:", "SigBlk:")
    with open("/proc/self/status") as file:
        found = dict(line.split() for line in file if line.startswith(words))
    found = {name: int(bits, 16) & ~OF_THE_C_LIBRARY for name, bits in found.items()}
    int_handler = signal.getsignal(signal.SIGINT)
    found["SIGINT"] = "fresh" if int_handler is signal.default_int_handler else repr(int_handler)
    found["wakeup"] = signal.set_wakeup_fd(-1)
    found["faulthandler"] = faulthandler.is_enabled()
    return found


def signals_of_a_grandchild():
    return through_fork(signals)


def through_fork(function, fork=os.fork):
    """The result of `function` in a forked process."""
    read, write = os.pipe()
    forked = fork()
    pid, terminal = forked if isinstance(forked, tuple) else (forked, None)
    if pid == 0:
        try:
            os.write(write, json.dumps(function()).encode())
        except BaseException as error:
            os.write(write, json.dumps(repr(error)).encode())
        os._exit(0)
    os.close(write)
    with open(read, "rb") as file:
        text = file.read()
    os.waitpid(pid, 0)
    if terminal is not None:
        os.close(terminal)
    return json.loads(text)


def descriptors():
    """The open descriptors of this process, each with its target."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink("/proc/self/fd/" + name)
        except OSError:  # the descriptor of the listing itself
            pass
    return found


def square(number):
    return number * number


def sleep_for(seconds):
    time.sleep(seconds)


def nested(number):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return sum(pool.map(square, range(number)))


def nested_executor(number):
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
        return sum(pool.map(square, range(number)))


def die(_number):
    os.kill(os.getpid(), signal.SIGKILL)


def put(queue, lock, value):
    with lock, value.get_lock():
        value.value += 1
    queue.put(os.getpid())


class Forks:
    def __init__(self):
        self.early = through_fork(descriptors)
        self.early_signals = through_fork(signals)

    def early_child(self):
        return [self.early, self.early_signals]

    def look(self, way):
        """The signals of a process that was started in this way."""
        if way == "os.fork":
            return through_fork(signals)
        if way == "grandchild":
            return through_fork(signals_of_a_grandchild)
        if way == "os.forkpty":
            return through_fork(signals, os.forkpty)
        if way == "pty.fork":
            return through_fork(signals, pty.fork)
        if way == "thread":
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                return pool.submit(through_fork, signals).result()
        if way in ("fork", "spawn", "forkserver"):
            with multiprocessing.get_context(way).Pool(1) as pool:
                return pool.apply(signals)
        command = [sys.executable, "-c", "import forks, json; print(json.dumps(forks.signals()))"]
        env = dict(os.environ, PYTHONPATH=os.path.dirname(os.path.abspath(__file__)))
        if way == "subprocess":
            return json.loads(subprocess.check_output(command, env=env))
        if way == "preexec_fn":
            return json.loads(subprocess.check_output(command, env=env, preexec_fn=os.getpid))
        if way == "no restore":
            return json.loads(subprocess.check_output(command, env=env, restore_signals=False))
        if way in ("posix_spawn", "exec"):
            read, write = os.pipe()
            os.set_inheritable(write, True)
            if way == "posix_spawn":
                actions = [(os.POSIX_SPAWN_DUP2, write, 1)]
                pid = os.posix_spawn(command[0], command, env, file_actions=actions)
            else:
                pid = os.fork()
                if pid == 0:
                    os.dup2(write, 1)
                    os.execve(command[0], command, env)
            os.close(write)
            with open(read, "rb") as file:
                text = file.read()
            os.waitpid(pid, 0)
            return json.loads(text)
        raise AssertionError(way)

    def status_of_program(self):
        """The ignored and blocked signals of a program that is not Python."""
        text = subprocess.check_output(["grep", "-E", "^Sig(Ign|Blk|Cgt)", "/proc/self/status"], text=True)
        return dict(line.split() for line in text.splitlines())

    def own_handlers(self):
        """A handler that the plugin itself has set is inherited, as in any Python program."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        return through_fork(signals)

    def descriptors(self, deep):
        return through_fork((lambda: through_fork(descriptors)) if deep else descriptors)

    def child_keeps_its_files(self):
        """Files that a child opens stay open in it and in its children, though the worker has used the same numbers."""

        def inner():
            files = [os.open("/dev/zero", os.O_RDONLY) for _ in range(40)]

            def deeper():
                return [os.read(file, 1) == b"\0" for file in files]

            return through_fork(deeper) + through_fork(deeper) + [os.read(file, 1) == b"\0" for file in files]

        return through_fork(inner)

    def pool(self, rounds, way="fork"):
        found = []
        for _ in range(rounds):
            with multiprocessing.get_context(way).Pool(4) as pool:
                found.append(sum(pool.map(square, range(10))))
        return found

    def nested(self, rounds):
        context = multiprocessing.get_context("fork")
        with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
            return [list(pool.map(nested, [5] * 2)) + list(pool.map(nested_executor, [5] * 2)) for _ in range(rounds)]

    def terminate(self, way):
        """The exit codes of processes that are told to end, at once and later."""
        codes = []
        for pause in (0, 0.001, 0.01, 0.1):
            process = multiprocessing.get_context(way).Process(target=sleep_for, args=(60,))
            process.start()
            time.sleep(pause)
            process.terminate()
            process.join(20)
            codes.append(process.exitcode)
        return codes

    def interrupt_child(self):
        """A child that gets SIGINT sees a KeyboardInterrupt."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.write(write, b"-")
                time.sleep(60)
            except KeyboardInterrupt:
                os._exit(42)
            os._exit(0)
        os.read(read, 1)
        os.kill(pid, signal.SIGINT)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def broken_executor(self, way):
        """A process of the pool dies while others have work."""
        context = multiprocessing.get_context(way)
        pool = concurrent.futures.ProcessPoolExecutor(3, context)
        # All of them are started before one dies: with these start methods Python starts them when they are needed, and may not
        # notice the end of one that it has just started.
        list(pool.map(sleep_for, [0.1] * 3))
        others = [pool.submit(sleep_for, 60) for _ in range(2)]
        try:
            pool.submit(die, 1).result()
        except concurrent.futures.process.BrokenProcessPool:
            outcome = "broken"
        for future in others:
            try:
                future.result(30)
            except concurrent.futures.process.BrokenProcessPool:
                outcome += ", broken"
        pool.shutdown()
        return outcome

    def shared(self, way):
        context = multiprocessing.get_context(way)
        queue, lock, value = context.Queue(), context.Lock(), context.Value("i", 0)
        processes = [context.Process(target=put, args=(queue, lock, value)) for _ in range(3)]
        for process in processes:
            process.start()
        found = {queue.get(timeout=30) for _ in processes}
        for process in processes:
            process.join()
        return [value.value, found == {process.pid for process in processes}]

    def manager(self, way):
        with multiprocessing.get_context(way).Manager() as manager:
            shared = manager.dict(a=1)
            shared["b"] = 2
            return dict(shared)

    def report_from_child(self):
        """The child calls report_progress, logs, and calls cancelled, like the worker."""

        def child():
            files = [os.open("/tmp", os.O_RDONLY) for _ in range(40)]
            before = [os.fstat(file).st_ino for file in files]
            self.report_progress(0.9, "from the child")
            asked = self.cancelled()
            return [asked, before == [os.fstat(file).st_ino for file in files]]

        self.report_progress(0.1, "from the parent")
        return through_fork(child)

    def comes_back(self, how):
        """A child returns to the worker. How it ended is written to a file by the parent, which waits for it."""
        pid = os.fork()
        if pid == 0:
            print("printed in the child", end="")
            if how == "exit":
                sys.exit(7)
            if how == "exit with words":
                sys.exit("these words")
            if how == "raise":
                raise ValueError("in the child")
            return "x" * 1_000_000
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def stream_comes_back(self):
        pid = os.fork()
        yield pid
        if pid:
            yield os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def storm(self, seconds):
        """Forks from several threads at once, while connections are opened and closed; returns what leaked into a child."""
        until, leaks = time.monotonic() + seconds, []

        def run():
            while time.monotonic() < until:
                found = through_fork(descriptors)
                leaks.extend(what for what in found.values() if what.startswith("socket:") or "eventpoll" in what)

        threads = [threading.Thread(target=run) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return leaks
