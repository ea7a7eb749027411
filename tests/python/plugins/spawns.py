"""A plugin that imports the worker's package, which the processes that it spawns must import again."""

import concurrent.futures
import multiprocessing

from bivium_worker import Blob, cancelled, report_progress


def work(number):
    report_progress(0.5, "nobody hears of it")
    return [number * number, cancelled(), issubclass(Blob, str)]


class Spawns:
    def execute(self, way):
        context = multiprocessing.get_context(way)
        with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
            return list(pool.map(work, range(3)))
