"""Drives `fastapi_app.py`, served by uvicorn with its defaults but the line that it prints for each request, and called by
an httpx client that is kept open."""

import os
import socket
import subprocess
import sys
import time

import driver
import httpx
import load


class Service:
    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.process = None
        self.url = "http://127.0.0.1:%d" % port
        command = [sys.executable, "-m", "uvicorn", "fastapi_app:app", "--port", str(port), "--no-access-log"]
        self.client = httpx.Client(base_url=self.url)
        self.asynchronous = httpx.AsyncClient(base_url=self.url)
        self.process = subprocess.Popen(command, cwd=os.path.dirname(os.path.abspath(__file__)))

    def load(self):
        until = time.monotonic() + 30
        while True:
            try:
                return self.client.get("/openapi.json").raise_for_status() and None
            except httpx.ConnectError:
                if self.process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def call(self, text):
        return self.client.post("/execute", json={"text": text}).raise_for_status().json()

    async def call_async(self, text):
        return (await self.asynchronous.post("/execute", json={"text": text})).raise_for_status().json()

    def execute(self, how, size, calls):
        if how == "sync":
            return load.serial(self.call, size, calls)
        return load.serial_async(self.call_async, size, calls)

    def concurrent(self, how, size, callers, seconds):
        if how == "sync":
            return load.threads(self.call, size, callers, seconds)
        return load.tasks(self.call_async, size, callers, seconds)

    def end(self):
        self.client.close()
        self.process.terminate()
        self.process.wait()


service = Service()
try:
    driver.serve(load=service.load, execute=service.execute, concurrent=service.concurrent)
finally:
    service.end()
