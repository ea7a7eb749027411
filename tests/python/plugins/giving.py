"""A plugin that returns the value of the Python expression that it is given."""

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import io  # noqa: F401
import pathlib
import tempfile
import types
import typing
import uuid
from datetime import timedelta

try:
    import numpy as np
except ImportError:
    np = None
try:
    import pandas as pd
except ImportError:
    pd = None
try:
    import pydantic
except ImportError:
    pydantic = None


class Color(enum.Enum):
    RED = "red"
    ODD = (1, 2)


class Level(enum.IntEnum):
    HIGH = 3


class Huge(enum.IntEnum):
    KEY = 2**80


class Named(str, enum.Enum):
    A = "a"


@dataclasses.dataclass
class Word:
    text: str
    at: timedelta = timedelta(seconds=1)
    inner: typing.Any = None


class Point(typing.NamedTuple):
    x: int
    y: int


class Own:
    def to_dict(self):
        return {}


class Lookup:
    """Its attributes are keys, so that a missing attribute raises KeyError and not AttributeError."""

    def __getattr__(self, name):
        raise KeyError(name)


class Endless:
    def model_dump(self):
        return {"again": Endless()}


class Same:
    def model_dump(self):
        return self


class Attrs:
    """Like a class that the package attrs makes."""

    __attrs_attrs__ = (types.SimpleNamespace(name="x"), types.SimpleNamespace(name="y"))
    x, y = 1, {2}


class First:
    """Like a model of pydantic, version 1."""

    __fields__ = {"x": None}

    def dict(self):
        return {"x": 1, "when": datetime.date(2020, 1, 2)}


class Text(str):
    def __str__(self):
        return "something else"


if pydantic is not None:

    class Model(pydantic.BaseModel):
        point: Point = Point(1, 2)
        when: datetime.date = datetime.date(2020, 1, 2)
        data: typing.Any = None


def circle():
    found = {"a": []}
    found["a"].append({"b": found})
    return found


def deep(levels):
    found = 1
    for _ in range(levels):
        found = [found]
    return found


def generator():
    yield 1


async def coroutine():
    return 1


def file():
    path = pathlib.Path(tempfile.mkdtemp()) / "file.txt"
    path.write_text("text")
    return path


class Giving:
    def execute(self, what):
        return {"of": [eval(what)]}

    def alive(self):
        return "alive"
