"""The parameters of a coverage request (OGC API - Coverages, 19-087), read but not yet fitted to a coverage.

Requirement classes: subsetting (bbox, bbox-crs, datetime, subset, subset-crs), scaling (scale-factor, scale-axes, scale-size),
field selection (properties), coordinate reference system (crs).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from providers.coverages.axes import DEGREE_LABELS, Axis, axis_of, axis_parts
from providers.errors import InvalidParameter
from providers.features.crs import ReferenceSystem
from providers.features.query import CRS84
from providers.sensors.store import Span
from providers.sensors.times import parse_span
from tiles.rasters.source import Bounds

MAXIMUM_SIDE = 16_384
KNOWN = (
    "bbox",
    "bbox-crs",
    "subset",
    "subset-crs",
    "datetime",
    "properties",
    "scale-factor",
    "scale-axes",
    "scale-size",
    "crs",
)
"""The parameters of a coverage, `f` and `lang` aside; `subset` may be given more than once."""


class AxisRange(NamedTuple):
    """Part of one axis as `subset` gives it: low and high, None where open ("*"); `slice` where one point was given."""

    low: float | None
    high: float | None
    slice: bool


class TimeRange(NamedTuple):
    """Part of the axis of instants, in seconds since the epoch; `slice` where one instant was given, `text` as it was asked."""

    span: Span
    slice: bool
    name: str
    text: str


_NO_AXES: Mapping[Axis, AxisRange] = MappingProxyType({})
_NO_SCALES: Mapping[Axis, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class CoverageRequest:
    """What was asked.

    `bbox` is in the authority's axis order of `bbox_crs`. `subset` holds the spatial axes; `subset_in_degrees` says whether
    their labels were Lon and Lat. `box` is a box for callers inside, easting first in `box_reference` (None: the coverage's own CRS),
    on whatever turn of the globe; it goes before `bbox`. `scale_factor` divides both sides, `scale_axes` each by its own, `scale_size` names cells.
    """

    bbox: tuple[float, float, float, float] | None = None
    bbox_crs: str = CRS84
    subset: Mapping[Axis, AxisRange] = field(default=_NO_AXES)
    subset_in_degrees: bool = False
    subset_crs: str | None = None
    time: TimeRange | None = None
    properties: tuple[str, ...] = ()
    scale_factor: float | None = None
    scale_axes: Mapping[Axis, float] = field(default=_NO_SCALES)
    scale_size: Mapping[Axis, float] = field(default=_NO_SCALES)
    crs: str | None = None
    box: Bounds | None = None
    box_reference: ReferenceSystem | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is selected, scaled or transformed."""
        return self == CoverageRequest()


def parse_coverage_request(parameters: Sequence[tuple[str, str]]) -> CoverageRequest:
    """Read the pairs of a query string.

    Raises InvalidParameter, also for a parameter that is not one of a coverage, and for one but `subset` that comes twice.
    """
    given = _single(parameters)
    axes = [part for name, text in parameters if name == "subset" for part in axis_parts("subset", text)]
    subset, in_degrees, time = _subset(axes)
    if time is not None and "datetime" in given:
        raise InvalidParameter("subset", time.text, "the time axis in subset or datetime, not both")
    if subset and "bbox" in given:
        raise InvalidParameter("subset", ",".join(subset), "bbox or the spatial axes in subset, not both")
    if "datetime" in given:
        text = given["datetime"]
        time = TimeRange(parse_span(text), _is_instant(text), "datetime", text)
    request = CoverageRequest(
        bbox=_bbox(given.get("bbox")),
        bbox_crs=given.get("bbox-crs", CRS84),
        subset=subset,
        subset_in_degrees=in_degrees,
        subset_crs=given.get("subset-crs"),
        time=time,
        properties=_names(given.get("properties")),
        scale_factor=None if "scale-factor" not in given else _factor("scale-factor", given["scale-factor"]),
        scale_axes={axis: _factor("scale-axes", text) for axis, text in _scales("scale-axes", given).items()},
        scale_size={axis: _size(text) for axis, text in _scales("scale-size", given).items()},
        crs=given.get("crs"),
    )
    _check_one_scale(request, given)
    return request


def _single(parameters: Sequence[tuple[str, str]]) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, text in parameters:
        if name not in KNOWN:
            raise InvalidParameter(name, text, "the parameters " + ", ".join(KNOWN))
        if name in given and name != "subset":
            raise InvalidParameter(name, text, "each parameter once; subset alone may be repeated")
        given[name] = text
    return given


def _check_one_scale(request: CoverageRequest, given: Mapping[str, str]) -> None:
    scales = [name for name in ("scale-factor", "scale-axes", "scale-size") if name in given]
    if len(scales) > 1:
        raise InvalidParameter(scales[1], given[scales[1]], f"one way of scaling; {scales[0]} is given too")


def number(name: str, text: str) -> float:
    """A finite number written plainly. Raises InvalidParameter."""
    try:
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidParameter(name, text, "a finite number")
    return value


def _bbox(text: str | None) -> tuple[float, float, float, float] | None:
    """Four numbers, or six of which the third and sixth (heights) do not matter here."""
    if text is None:
        return None
    parts = [number("bbox", part) for part in text.split(",")]
    if len(parts) == 6:
        parts = [parts[0], parts[1], parts[3], parts[4]]
    if len(parts) != 4:
        raise InvalidParameter("bbox", text, "four or six numbers separated by commas")
    return parts[0], parts[1], parts[2], parts[3]


def _subset(
    parts: Sequence[tuple[str, str]],
) -> tuple[dict[Axis, AxisRange], bool, TimeRange | None]:
    """The spatial axes, whether they were named Lon and Lat, and the time axis."""
    spatial: dict[Axis, AxisRange] = {}
    degrees: set[bool] = set()
    time: TimeRange | None = None
    for label, text in parts:
        axis = axis_of(label)
        if axis is None:
            raise InvalidParameter("subset", label, "the axes Lon and Lat, E and N (or x and y), and time")
        if axis in spatial or (axis == "time" and time is not None):
            raise InvalidParameter("subset", label, "each axis once")
        if axis == "time":
            time = _time_range(text)
        else:
            spatial[axis] = _axis_range(label, text)
            degrees.add(label.lower() in DEGREE_LABELS)
    if len(degrees) > 1:
        labels = ",".join(label for label, _ in parts)
        raise InvalidParameter("subset", labels, "labels of one CRS: Lon and Lat, or those of the coverage")
    return spatial, degrees == {True}, time


def _axis_range(label: str, text: str) -> AxisRange:
    low, separator, high = text.partition(":")
    if not separator:
        point = number("subset", text.strip().strip('"'))
        return AxisRange(point, point, True)
    ends = [None if end.strip() == "*" else number("subset", end.strip()) for end in (low, high)]
    return AxisRange(ends[0], ends[1], False)


def _time_range(text: str) -> TimeRange:
    """time("2024-05-01T00:00:00Z"), time("2024-05-01":"2024-05-31"), "*" for an open end; quotes may be missing."""
    if text.count('"') % 2:
        raise InvalidParameter("subset", text, 'times in double quotes, as in time("2024-05-01T00:00:00Z")')
    plain = text.strip()
    # Without quotes the colons of a time of day are not the one between two times.
    ends = _quoted_ends(plain) if '"' in plain else ([".."] * 2 if plain in ("*", "*:*") else [plain])
    shown = "/".join(ends)
    return TimeRange(parse_span(shown), len(ends) == 1 and _is_instant(shown), "subset", text)


def _quoted_ends(text: str) -> list[str]:
    ends, inside, current = [], False, ""
    for letter in text:
        if letter == '"':
            inside = not inside
        elif letter == ":" and not inside:
            ends.append(current)
            current = ""
        else:
            current += letter
    ends.append(current)
    if len(ends) > 2:
        raise InvalidParameter("subset", text, 'one time or two, as in time("2024-05-01":"2024-05-31")')
    return [".." if end.strip() == "*" else end.strip() for end in ends]


def _is_instant(text: str) -> bool:
    """Whether one moment was named; a date is the span of its day."""
    return "/" not in text and len(text) > len("2024-05-01")


def _names(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    names = tuple(part.strip() for part in text.split(","))
    if not all(names):
        raise InvalidParameter("properties", text, "names or numbers of bands between commas")
    return names


def _scales(name: str, given: Mapping[str, str]) -> dict[Axis, str]:
    """The parts of scale-axes or scale-size by axis."""
    text = given.get(name)
    if text is None:
        return {}
    found: dict[Axis, str] = {}
    for label, value in axis_parts(name, text):
        axis = axis_of(label)
        if axis is None or axis == "time":
            raise InvalidParameter(
                name, label, "the axes Lon and Lat, E and N, or x and y; time is not scaled"
            )
        if axis in found:
            raise InvalidParameter(name, label, "each axis once")
        found[axis] = value
    return found


def _factor(name: str, text: str) -> float:
    value = number(name, text.strip())
    if not 0.01 <= value <= 1_000_000:
        raise InvalidParameter(name, text, "a number from 0.01 to 1000000; 2 halves rows and columns")
    return value


def _size(text: str) -> float:
    plain = text.strip()
    if not (plain.isascii() and plain.isdigit() and len(plain) <= 6 and 1 <= int(plain) <= MAXIMUM_SIDE):
        raise InvalidParameter("scale-size", text, f"whole numbers from 1 to {MAXIMUM_SIDE}")
    return int(plain)
