"""A plugin whose methods say what they take."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
import os
import pathlib
import typing
from collections.abc import AsyncIterator, Iterator

from bivium_worker import Blob

if typing.TYPE_CHECKING:
    from nowhere import Absent


class Mode(enum.Enum):
    FAST = "fast"
    GOOD = "good"


@dataclasses.dataclass
class Segment:
    start: float
    text: str = ""
    tags: list[str] = dataclasses.field(default_factory=list)
    inner: typing.Optional[Segment] = None
    made: int = dataclasses.field(init=False, default=1)
    shared: typing.ClassVar[int] = 3


class Options(typing.TypedDict, total=False):
    size: int


class Pair(typing.NamedTuple):
    left: int
    right: str


def kept(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        return function(*args, **kwargs)

    return inner


class Described:
    def execute(self, text: str, *, times: int = 1, mode: Mode = Mode.FAST, when=object(), **more: float) -> dict:
        """Counts the words
        of a text.

        Args:
            text: The text.
        """

    def execute_stream(self, text: str):
        yield text

    def pieces(self, path, *rest: str, size: typing.Optional[int] = None) -> Iterator[str]:
        """Gives pieces."""
        yield path

    async def ticks(self) -> AsyncIterator[int]:
        yield 1

    def lazy(self) -> Iterator[Segment]:
        return iter(())

    @kept
    def segments(
        self,
        segments: typing.List[Segment],
        options: Options,
        pair: Pair,
        day: datetime.date,
        exact: typing.Literal["a", "b"] = "a",
        said: typing.Annotated[int, "How many."] = 3,
    ) -> typing.Dict[str, Segment]:
        pass

    def later(self, absent: Absent, size: int) -> str:
        pass

    @staticmethod
    def free(x: int): ...

    @classmethod
    def of(cls, x: int): ...

    @property
    def loud(self):
        raise RuntimeError("nobody asked")


@dataclasses.dataclass
class Documented:
    """Something with a size.

    Attributes:
        size: How large,
            in metres.
    """

    size: float = 1.5


class Documenting:
    """Whose docstrings are of each form."""

    def indented(self, text, times=2, *, place=None, **more):
        """Counts.

        Args:
            text (str, optional): The text
                that is counted.
            times: How often: once or twice.
            *rest: What else.

            **more: Whatever.
        place: not in the section

        Returns:
            text: no parameter
        """

    def underlined(self, a, b, c=None, *, d: Documented = None):
        """Adds.

        Parameters
        ----------
        a, b : int
            Both of
            them.
        c
            The third.
        **d: Documented

        Returns
        -------
        c : int
            The sum.
        """

    def fields(self, text, size=None, other=0):
        """Takes.

        :param text: The text
            of it.
        :param typing.Optional[int] size: How large.

            not of it
        :type other: int
        :returns: text: nothing
        """


class Both:
    """Told alike by its source and by inspection."""

    def execute(
        self,
        text: str,
        times: int = 2,
        *,
        mode: Mode = Mode.FAST,
        sizes: list[int] = [1, -2],
        maybe: typing.Optional[float] = None,
        either: typing.Union[int, str, None] = None,
        more: typing.Dict[str, typing.Any] = {},
        pair: Pair,
        options: Options = {},
        documented: typing.Optional[Documented] = None,
        exact: typing.Literal["a", 1] = "a",
        said: typing.Annotated[int, "How many."] = 3,
        days: typing.Tuple[datetime.date, ...] = (),
        two: typing.Tuple[int, str] = (1, "x"),
        names: set[str] = None,
        large=10**400,
        **rest: float,
    ) -> list[Documented]:
        """Does much.

        Args:
            text: What is read.
            said: Not told, for the type says it.
        """

    def pieces(self, path, *rest: str, size: "int" = 1) -> Iterator[str]:
        """Gives pieces."""
        yield path

    async def ticks(self) -> AsyncIterator[int]:
        yield 1

    def lazy(self) -> Iterator[Documented]:
        return iter(())

    def quiet(self, a, /, b=b""): ...

    def files(
        self,
        audio: pathlib.Path,
        notes: typing.Union[str, os.PathLike[str], None] = None,
        cover: typing.Optional[Blob] = None,
        parts: list[pathlib.PurePath] = [],
        raw: typing.Optional[bytes] = None,
    ) -> pathlib.Path:
        """Mixes.

        Args:
            audio: What is heard.
        """

    @staticmethod
    def free(x: int): ...

    @classmethod
    def of(cls, x: Mode): ...


class Own:
    @classmethod
    def model_json_schema(cls):
        raise SystemExit("no schema")


class OwnNumbers:
    @classmethod
    def model_json_schema(cls):
        return {"type": "integer", "maximum": 10**400, "minimum": 0, "examples": [1, float("nan")], "title": "\ud800"}


class Awkward:
    """Whose methods make it hard to tell of them."""

    class Broken:
        @property
        def __signature__(self):
            raise RuntimeError("no signature")

        def __call__(self):
            return 1

    odd = Broken()
    built = len

    def large(self, x: typing.Literal[tuple("x%d" % n for n in range(10_000))] = "x1"):  # type: ignore
        pass

    def own(self, x: Own):
        pass

    def fine(self, x: float = float("nan"), y=b"", z={1: 2}):
        pass

    def beyond(
        self,
        a: int = 10**400,
        b: int = -(2**63) - 1,
        c: int = 2**64 - 1,
        d: list = [1, {"x": 2**64}],
        e: str = "\ud800",
        f: list = functools.reduce(lambda inner, _: [inner], range(400), []),
        g: dict = {1: "a", "1": "b"},
        h: int = 10**5000,
        i: typing.Literal[1, 10**30] = 1,
        j: float = float("inf"),
    ):
        pass

    def own_numbers(self, x: OwnNumbers):
        pass


setattr(Awkward, "lone\ud800", lambda self: None)
setattr(Awkward, "n" * 600, lambda self: None)


for _n in range(2000):
    setattr(Awkward, "z%04d" % _n, lambda self, a, b, c: None)


class OnlyStreams:
    def execute_stream(self, text: str):
        """Gives the words."""
        yield from text.split()
