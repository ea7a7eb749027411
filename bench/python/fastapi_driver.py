"""Drives `fastapi_app.py`."""

import driver
import httpx
import load
from service import Service

service = Service("fastapi_app")
asynchronous = httpx.AsyncClient(base_url=service.url)


def call(text):
    return service.client.post("/execute", json={"text": text}).raise_for_status().json()


async def call_async(text):
    return (await asynchronous.post("/execute", json={"text": text})).raise_for_status().json()


def execute(how, size, calls):
    return load.serial(call, size, calls) if how == "sync" else load.serial_async(call_async, size, calls)


def concurrent(how, size, callers, seconds):
    if how == "sync":
        return load.threads(call, size, callers, seconds)
    return load.tasks(call_async, size, callers, seconds)


try:
    driver.serve(load=service.ready, execute=execute, concurrent=concurrent)
finally:
    service.end()
