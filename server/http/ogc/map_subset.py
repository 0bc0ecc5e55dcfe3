"""The `subset` parameter: `Lat(22.5:22.6),Lon(113.9:114)`, `time("2024-05-01T00:00:00Z")` (OGC 20-058, 13.4 and 14.3)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from server.http.errors import InvalidParameter

_PART = re.compile(r'([A-Za-z][A-Za-z0-9_.-]{0,62})\(((?:[^()"]|"[^"]*")*)\)', re.ASCII)
_POINT = re.compile(r'"[^"]*"|[^":]+|\*')
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_X_NAMES = frozenset(("lon", "long", "longitude", "x", "e"))
_Y_NAMES = frozenset(("lat", "latitude", "y", "n"))
_FORM = 'axis(low:high) parts divided by commas, such as Lat(22.5:22.6),Lon(113.9:114.0),time("2024-05-01T00:00:00Z")'

type Range = tuple[float | None, float | None]
"""Low and high; None for `*`."""


@dataclass(slots=True)
class Subset:
    """What was asked of each axis. `x` and `y` are in the CRS of `subset-crs`; `time` is as `datetime` has it."""

    x: Range | None = None
    y: Range | None = None
    time: str | None = None
    _seen: set[str] = field(default_factory=set)

    @property
    def spatial(self) -> bool:
        """Whether a part of space was asked for."""
        return self.x is not None or self.y is not None


def parse_subset(text: str) -> Subset:
    """The parts of `subset`. Raises InvalidParameter for another form, an axis that is not there, or one that comes twice."""
    found = Subset()
    position = 0
    while True:
        match = _PART.match(text, position)
        if match is None:
            raise _wrong(text)
        _take(found, match.group(1), match.group(2), text)
        position = match.end()
        if position == len(text):
            return found
        if text[position] != ",":
            raise _wrong(text)
        position += 1


def _take(found: Subset, axis: str, inside: str, text: str) -> None:
    name = axis.lower()
    name = "x" if name in _X_NAMES else "y" if name in _Y_NAMES else name
    if name not in ("x", "y", "time"):
        allowed = "Lon and Lat (or x and y, E and N), time"
        raise InvalidParameter(
            f"subset: there is no axis {axis!r}; allowed: {allowed}", "subset", text, allowed
        )
    if name in found._seen:
        raise InvalidParameter(f"subset names the axis {axis!r} twice", "subset", text, "each axis once")
    found._seen.add(name)
    points = _points(inside, text)
    if name == "x":
        found.x = _numbers(points, text)
    elif name == "y":
        found.y = _numbers(points, text)
    else:
        ends = ["" if point == "*" else point.strip('"') for point in points]
        found.time = "/".join(end or ".." for end in ends)


def _points(inside: str, text: str) -> list[str]:
    """One or two ends of an axis: instants may be unquoted although they hold colons."""
    if '"' in inside:
        points = _POINT.findall(inside)
        rest = _POINT.sub("", inside)
        if rest not in ("", ":") or (rest == ":") != (len(points) == 2):
            raise _wrong(text)
        return points
    if "T" in inside:
        middle = inside.find("Z:") + 1 if "Z:" in inside else inside.rfind(":*")
        if inside.startswith("*:"):
            return ["*", inside[2:]]
        return [inside[:middle], inside[middle + 1 :]] if middle > 0 else [inside]
    points = inside.split(":")
    if not 1 <= len(points) <= 2 or not all(points):
        raise _wrong(text)
    return points


def _numbers(points: list[str], text: str) -> Range:
    if len(points) != 2:
        raise InvalidParameter(
            "subset: a map needs a low and a high end of each axis of space", "subset", text, _FORM
        )
    low, high = (None if point == "*" else _number(point, text) for point in points)
    return low, high


def _number(point: str, text: str) -> float:
    if _NUMBER.fullmatch(point) is None or not math.isfinite(float(point)):
        raise InvalidParameter(
            f"subset: {point[:40]!r} is no number; allowed: numbers, or *", "subset", text, _FORM
        )
    return float(point)


def _wrong(text: str) -> InvalidParameter:
    return InvalidParameter(f"subset={text[:120]!r}; allowed: {_FORM}", "subset", text, _FORM)
