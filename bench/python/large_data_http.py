"""The case "large data" as JSON with base64 over HTTP: FastAPI and uvicorn on one side, one kept httpx client on the other."""

import base64
import os
import socket
import subprocess
import sys
import time

import driver
import httpx
from large_data import Round, ones

HERE = os.path.dirname(os.path.abspath(__file__))


class Service:
    def __init__(self):
        self.process = None
        self.client = None

    def prepare(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "uvicorn", "large_data_service:app", "--port", str(port), "--app-dir", HERE]
        self.process = subprocess.Popen(command + ["--log-level", "warning"], stdout=2)
        self.client = httpx.Client(base_url="http://127.0.0.1:%d" % port, timeout=None)
        for _ in range(300):
            try:
                return self.sum(ones(1)) and None
            except httpx.ConnectError:
                if self.process.poll() is not None:
                    raise
                time.sleep(0.1)
        raise TimeoutError("the service did not start")

    def sum(self, data):
        return self.post({"data": base64.b64encode(data).decode("ascii")})

    def post(self, body):
        answer = self.client.post("/sum", json=body)
        answer.raise_for_status()
        return answer.json()["sum"]

    def made(self, mib):
        answer = self.client.get("/data", params={"count": mib << 20})
        answer.raise_for_status()
        return answer.json()

    def close(self):
        if self.process:
            self.client.close()
            self.process.terminate()
            self.process.wait()


service = Service()


def host_bytes(sizes):
    found = Round()
    for mib in sizes:
        data = ones(mib)
        found.summed(mib, lambda: service.sum(data))
    return found.samples


def component_output(sizes):
    """What the service has made goes on to the service."""
    found = Round()
    for mib in sizes:
        found.summed(mib, lambda: service.post(service.made(mib)))
    return found.samples


def existing_file(files):
    found = Round()

    def read(path):
        with open(path, "rb") as file:
            return file.read()

    for mib, path in files.items():
        found.summed(int(mib), lambda: service.sum(read(path)))
    return found.samples


try:
    driver.serve(
        prepare=service.prepare, host_bytes=host_bytes, component_output=component_output, existing_file=existing_file
    )
finally:
    service.close()
