"""The floor of the case "large data": the process that needs the sum maps the file and sums it."""

import time

import driver
from sums import total_of_file


def sum_of_file(path, expected):
    begun = time.perf_counter()
    found = total_of_file(path)
    took = time.perf_counter() - begun
    assert found == expected, found
    return {"sum": [took * 1e3]}


driver.serve(sum=sum_of_file)
