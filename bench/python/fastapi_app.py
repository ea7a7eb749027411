"""The service that an author would write in place of a plugin, after the first pages of FastAPI's tutorial."""

from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Echo(BaseModel):
    text: str


@app.post("/execute")
async def execute(given: Echo) -> Echo:
    return Echo(text=given.text)
