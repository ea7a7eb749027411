"""The case "whole pipeline" with cjm-plugin-system: a host with its manager, which calls one step after the other."""

import os
import sys
import time

import driver
from cjm_host import Host
from cjm_steps import Captions, Cut, Words

hosts = []
loading = []
"""The time for loading the plugins, until it is reported."""


def load(examples):
    # For the manifests, which are made from the classes.
    sys.path.append(examples)
    host = Host(Cut, Words, Captions, path=[examples])
    hosts.append(host)
    begun = time.perf_counter()
    for name in host.found:
        host.load(name)
    loading.append(time.perf_counter() - begun)


def run(audio, cuts):
    execute = hosts[0].method("execute_NOUN")
    spent = []

    def call(name, **arguments):
        result = execute(name, **arguments)
        spent.append(result["spent_s"])
        return result

    begun = time.perf_counter()
    segments = call("cut", audio=audio, cuts=cuts)["segments"]
    words = [call("words", audio=segment["audio"], offset_s=segment["start_s"]) for segment in segments]
    srt = call("captions", segments=words)["srt"]
    took = time.perf_counter() - begun
    for segment in segments:
        os.unlink(segment["audio"])
    assert srt.startswith("1\n"), srt
    work = sum(spent)
    return {"run": [took], "outside": [100 * (took - work) / work], "load": [loading.pop()] if loading else []}


try:
    driver.serve(load=load, run=run)
finally:
    for host in hosts:
        host.end()
