"""Axes of a coverage by the names that `subset` and the scaling parameters use (Coverages, /rec/subsetting/subset-crs-axis-names).

`Lat` and `Lon` are degrees, `E` and `N` the axes of a projected CRS; x, y, Easting, Northing, Long, Longitude, Latitude mean
the same in any case of letters, and `time` is the axis of instants.
"""

from __future__ import annotations

import re
from typing import Literal

from providers.errors import InvalidParameter

type Axis = Literal["x", "y", "time"]

X_LABELS = frozenset({"e", "x", "easting", "lon", "long", "longitude"})
Y_LABELS = frozenset({"n", "y", "northing", "lat", "latitude"})
DEGREE_LABELS = frozenset({"lon", "long", "longitude", "lat", "latitude"})
TIME_LABELS = frozenset({"time", "t"})
ALL_LABELS = ("E", "N", "x", "y", "Lon", "Lat", "Long", "time")
_MOST_PARTS = 16
_PART = re.compile(r'\s*([A-Za-z]{1,12})\(((?:"[^"]{0,80}"|[^()",]){1,200})\)\s*')


def axis_of(label: str) -> Axis | None:
    """The axis a label names, None where it names none."""
    lowered = label.lower()
    if lowered in X_LABELS:
        return "x"
    if lowered in Y_LABELS:
        return "y"
    return "time" if lowered in TIME_LABELS else None


def axis_parts(name: str, text: str) -> list[tuple[str, str]]:
    """The parts (label, what stands in the brackets) of "E(1:2),N(3:4)". Raises InvalidParameter for anything else."""
    found: list[tuple[str, str]] = []
    position = 0
    while True:
        match = _PART.match(text, position)
        if match is None or len(found) == _MOST_PARTS:
            raise InvalidParameter(
                name,
                text,
                'axis(values),axis(values), for example E(1:2),N(3:4) or time("2024-05-01T00:00:00Z")',
            )
        found.append((match.group(1), match.group(2)))
        position = match.end()
        if position == len(text):
            return found
        if text[position] != ",":
            raise InvalidParameter(name, text, "a comma between the axes, as in E(1:2),N(3:4)")
        position += 1
