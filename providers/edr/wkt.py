"""The `coords` parameter of EDR: Well Known Text (OGC 06-103r4, clause 7) read strictly and within limits.

Read here and not by GEOS: what may come is points, lines and polygons with finite coordinates, and a wrong text should be told
where it is wrong.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from providers.errors import InvalidParameter

MAXIMUM_CHARACTERS = 65_536
MAXIMUM_VERTICES = 5_000
_TOKEN = re.compile(r"\s*([A-Za-z]+|[(),]|[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?)")
_DEPTHS = {
    "POINT": 0,
    "MULTIPOINT": 1,
    "LINESTRING": 1,
    "MULTILINESTRING": 2,
    "POLYGON": 2,
    "MULTIPOLYGON": 3,
}
"""How many brackets stand around a position, those of the whole not counted."""
_SPARSE = "MULTIPOINT"

type Part = NDArray[np.float64]
"""Positions (n, 2 to 4): x, y, and z and m where the text has them."""


@dataclass(frozen=True)
class Shape:
    """A geometry as it was written. `parts` are points, lines or rings; `polygons` says how many rings each polygon has."""

    kind: str
    has_z: bool
    has_m: bool
    parts: tuple[Part, ...]
    polygons: tuple[int, ...] = ()

    @property
    def vertices(self) -> int:
        """How many positions there are."""
        return sum(len(part) for part in self.parts)


class _Reader:
    """Tokens of one text, from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self.vertices = 0

    def peek(self) -> str:
        match = _TOKEN.match(self._text, self._place)
        return match.group(1) if match else ""

    def take(self, wanted: str = "") -> str:
        match = _TOKEN.match(self._text, self._place)
        if match is None or (wanted and match.group(1) != wanted):
            raise self.wrong(f"{wanted or 'more'} was expected")
        self._place = match.end()
        return match.group(1)

    def at_end(self) -> bool:
        return not self._text[self._place :].strip()

    def wrong(self, what: str) -> InvalidParameter:
        return InvalidParameter(
            "coords",
            self._text,
            f"Well Known Text like POINT(24.94 60.17); at character {self._place + 1} {what}",
        )


def parse_coords(text: str | None, *kinds: str) -> Shape:
    """A geometry of one of `kinds` ("POINT", "POLYGON"...). Raises InvalidParameter."""
    allowed = " or ".join(kinds)
    if text is None:
        raise InvalidParameter("coords", "", f"Well Known Text of a {allowed}, which this query needs")
    if len(text) > MAXIMUM_CHARACTERS:
        raise InvalidParameter("coords", text, f"at most {MAXIMUM_CHARACTERS} characters")
    reader = _Reader(text)
    kind, has_z, has_m = _head(reader)
    if kind not in kinds:
        raise InvalidParameter("coords", text, f"a {allowed}; {kind or 'this'} cannot be asked here")
    width = 2 + has_z + has_m
    parts, polygons = _body(reader, kind, width)
    if not reader.at_end():
        raise reader.wrong("the geometry has ended")
    _check_lengths(kind, parts, text)
    return Shape(kind, has_z, has_m, tuple(parts), tuple(polygons))


def _head(reader: _Reader) -> tuple[str, bool, bool]:
    """The type in capitals, and whether it has z and m; written together or apart: LINESTRINGZM, LINESTRING ZM."""
    word = reader.take().upper()
    dimensions = ""
    if word not in _DEPTHS:
        for ending in ("ZM", "Z", "M"):
            if word.endswith(ending) and word.removesuffix(ending) in _DEPTHS:
                word, dimensions = word.removesuffix(ending), ending
                break
    elif reader.peek().upper() in ("Z", "M", "ZM"):
        dimensions = reader.take().upper()
    if word not in _DEPTHS:
        raise reader.wrong("stands no type such as POINT, LINESTRING or POLYGON")
    if reader.peek().upper() == "EMPTY":
        raise reader.wrong("a geometry that is not EMPTY was expected")
    return word, "Z" in dimensions, "M" in dimensions


def _body(reader: _Reader, kind: str, width: int) -> tuple[list[Part], list[int]]:
    depth = _DEPTHS[kind]
    if depth == 0:
        reader.take("(")
        point = [_position(reader, width)]
        reader.take(")")
        return [_array(point, reader)], []
    if kind == _SPARSE:
        return [_array([one], reader) for one in _points(reader, width)], []
    if depth == 1:
        return [_array(list(_positions(reader, width)), reader)], []
    if depth == 2:
        parts = [_array(list(_positions(reader, width)), reader) for _ in _listed(reader)]
        return parts, [len(parts)] if kind == "POLYGON" else []
    parts, polygons = [], []
    for _ in _listed(reader):
        rings = [_array(list(_positions(reader, width)), reader) for _ in _listed(reader)]
        parts += rings
        polygons.append(len(rings))
    return parts, polygons


def _listed(reader: _Reader) -> Iterator[None]:
    """Once for each of "(one, two, ...)": who iterates takes it from the reader."""
    reader.take("(")
    while True:
        yield
        if reader.peek() != ",":
            reader.take(")")
            return
        reader.take(",")


def _positions(reader: _Reader, width: int) -> Iterator[list[float]]:
    for _ in _listed(reader):
        yield _position(reader, width)


def _points(reader: _Reader, width: int) -> Iterator[list[float]]:
    """Points of a MULTIPOINT, with brackets of their own or without."""
    for _ in _listed(reader):
        bracketed = reader.peek() == "("
        if bracketed:
            reader.take("(")
        yield _position(reader, width)
        if bracketed:
            reader.take(")")


def _position(reader: _Reader, width: int) -> list[float]:
    reader.vertices += 1
    if reader.vertices > MAXIMUM_VERTICES:
        raise reader.wrong(f"there are more than {MAXIMUM_VERTICES} positions")
    numbers = []
    while reader.peek() not in (",", ")", "(", ""):
        token = reader.take()
        if token[0].isalpha():
            raise reader.wrong(f"{token[:20]!r} is no number")
        numbers.append(float(token))
        if len(numbers) > 4:
            break
    # POINT(1 2 3) without the Z is what many write: a height.
    if len(numbers) not in (width, 3 if width == 2 else width):
        raise reader.wrong(f"a position of {width} numbers was expected")
    if not all(map(math.isfinite, numbers)):
        raise reader.wrong("a number is not finite")
    return numbers[:width] if len(numbers) > width else numbers


def _array(positions: list[list[float]], reader: _Reader) -> Part:
    if len({len(one) for one in positions}) != 1:
        raise reader.wrong("all positions need the same number of coordinates")
    return np.array(positions, np.float64)


def _check_lengths(kind: str, parts: list[Part], text: str) -> None:
    if kind.endswith("LINESTRING"):
        if any(len(part) < 2 or not (part[1:, :2] != part[:1, :2]).any() for part in parts):
            raise InvalidParameter("coords", text, "lines of two different positions at least")
    elif kind.endswith("POLYGON") and any(
        len(part) < 4 or not np.array_equal(part[0, :2], part[-1, :2]) for part in parts
    ):
        raise InvalidParameter(
            "coords", text, "rings of four positions at least, the last equal to the first"
        )
