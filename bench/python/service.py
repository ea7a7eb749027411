"""A service with FastAPI, served by uvicorn with its defaults, except that it prints no line for each request. It is called by an
httpx client that is kept open."""

import os
import socket
import subprocess
import sys
import time

import httpx


class Service:
    def __init__(self, app, **options):
        """`options` are options of the client."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = "http://127.0.0.1:%d" % port
        self.client = httpx.Client(base_url=self.url, **options)
        command = [sys.executable, "-m", "uvicorn", "%s:app" % app, "--port", str(port), "--no-access-log"]
        self.process = subprocess.Popen(command, cwd=os.path.dirname(os.path.abspath(__file__)))

    def ready(self):
        """Waits until the service answers."""
        until = time.monotonic() + 30
        while True:
            try:
                self.client.get("/openapi.json").raise_for_status()
                return
            except httpx.ConnectError:
                if self.process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def end(self):
        self.client.close()
        self.process.terminate()
        self.process.wait()
