"""Plugins that use pydantic."""

import typing

import pydantic


class Point(pydantic.BaseModel):
    x: int
    y: int = pydantic.Field(default=0, description="How high.")


class Line(pydantic.BaseModel):
    points: typing.List[Point]
    name: typing.Optional[str] = None


class Models:
    def execute(self, line: Line, scale: typing.Annotated[float, pydantic.Field(description="How large.")] = 1.0) -> Point:
        return Point(x=1, y=int(scale))

    def several(self) -> typing.List[Line]:
        return [Line(points=[Point(x=1)])]
