"""The service of the case "large data" over HTTP."""

import base64

import numpy
from fastapi import FastAPI
from pydantic import BaseModel
from sums import NUMBER, total

app = FastAPI()


class Data(BaseModel):
    data: str


@app.post("/sum")
def sum_of(body: Data):
    return {"sum": total(numpy.frombuffer(base64.b64decode(body.data), dtype=NUMBER))}


@app.get("/data")
def data(count: int):
    return {"data": base64.b64encode(b"\1" * count).decode("ascii")}
