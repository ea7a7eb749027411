"""The case "large data" as JSON with base64 over HTTP: FastAPI and uvicorn on one side, one kept httpx client on the other."""

import base64

import driver
from large_data import Round, ones
from service import Service

# The default, 5 s, is too short for large data on a slow machine.
service = Service("large_data_service", timeout=60)


def prepare():
    service.ready()
    total(ones(1))


def total(data):
    return posted({"data": base64.b64encode(data).decode("ascii")})


def posted(body):
    return service.client.post("/sum", json=body).raise_for_status().json()["sum"]


def made(mib):
    return service.client.get("/data", params={"count": mib << 20}).raise_for_status().json()


def host_bytes(sizes):
    found = Round()
    for mib in sizes:
        data = ones(mib)
        found.summed(mib, lambda: total(data))
    return found.samples


def component_output(sizes):
    """Data that the service has made is sent back to the service."""
    found = Round()
    for mib in sizes:
        found.summed(mib, lambda: posted(made(mib)))
    return found.samples


def existing_file(files):
    found = Round()

    def read(path):
        with open(path, "rb") as file:
            return file.read()

    for mib, path in files.items():
        found.summed(int(mib), lambda: total(read(path)))
    return found.samples


try:
    driver.serve(
        prepare=prepare, host_bytes=host_bytes, component_output=component_output, existing_file=existing_file
    )
finally:
    service.end()
