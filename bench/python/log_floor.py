"""The floor of the case "a worker's log record": the standard library's handler for files."""

import logging
import os
import tempfile

import driver
from logged import time_of_each

log = logging.getLogger("floor")
log.setLevel(logging.INFO)
log.propagate = False
handler = logging.FileHandler(os.path.join(tempfile.mkdtemp(dir=os.getcwd()), "floor.log"))
handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
log.addHandler(handler)


def timed(count):
    return {"time": [time_of_each(log, count)]}


driver.serve(log=timed)
