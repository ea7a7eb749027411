"""Works in ways that are hard to stop, with child processes."""

import ctypes
import os
import subprocess
import sys
import time


class Stubborn:
    def begin(self, marks):
        """Starts two children, one in a session of its own, and writes all process ids to a file."""
        sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
        children = [subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)]
        with open(os.path.join(marks, "new"), "w") as file:
            file.write(" ".join(str(pid) for pid in [os.getpid(), *(child.pid for child in children)]))
        # The file is complete when it has this name.
        os.rename(os.path.join(marks, "new"), os.path.join(marks, "pids"))

    def execute(self, marks, how="sleep"):
        print("the last words", file=sys.stderr, flush=True)
        if how == "lock":
            # In C, with the interpreter lock held.
            nap = ctypes.PyDLL(None).sleep
            self.begin(marks)
            nap(600)
        self.begin(marks)
        if how == "sleep":
            time.sleep(600)
        while how == "spin":
            pass
        return {"idle": True}
