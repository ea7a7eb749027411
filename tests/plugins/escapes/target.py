"""The targets that a confined worker must not reach: objects that a process of the same user has made."""

import ctypes
import os
import struct

libc = ctypes.CDLL(None, use_errno=True)
CREATE = 0o1600


class Target:
    def make(self):
        """Makes an object of each kind; returns their ids and names."""
        name = "/bivium-test-%d" % os.getpid()
        made = {"shm": libc.shmget(0, 4096, CREATE), "sem": libc.semget(0, 1, CREATE), "msg": libc.msgget(0, CREATE)}
        libc.msgsnd(made["msg"], struct.pack("l7s", 1, b"secret"), 7, 0o4000)
        made["queue"] = name
        self.queue = libc.mq_open(name.encode(), os.O_CREAT | os.O_RDWR, 0o600, None)
        made["memory"] = "/dev/shm" + name
        with open(made["memory"], "w") as file:
            file.write("secret")
        self.made = made
        return made

    def remove(self):
        """Removes them; returns those that did not exist any more."""
        made = self.made
        gone = [what for what, result in (
            ("shm", libc.shmctl(made["shm"], 0, None)),
            ("sem", libc.semctl(made["sem"], 0, 0)),
            ("msg", libc.msgctl(made["msg"], 0, None)),
            ("queue", libc.mq_unlink(made["queue"].encode())),
        ) if result != 0]
        os.unlink(made["memory"])
        return gone

    def inherited(self):
        """The host's files that are open here."""
        found = []
        for fd in os.listdir("/proc/self/fd"):
            try:
                found.append(os.readlink("/proc/self/fd/%s" % fd))
            except OSError:
                pass
        return [path for path in found if path.endswith("/secret")]
