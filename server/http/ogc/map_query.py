"""Which map is asked for: its box, CRS, size and time, from the parameters of OGC API - Maps (OGC 20-058, clauses 11-16).

A box is given by `bbox`, by `subset`, by `center` with a size and a scale, or it is the whole extent. What is missing of size and
scale is worked out with lengths on the ground, so that a map in degrees is not stretched.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyproj import CRS
from pyproj.exceptions import ProjError

from providers.features.parser import parse_datetime
from providers.features.query import TimeInterval
from server.http.errors import InvalidParameter
from server.http.ogc.map_crs import (
    FARTHEST,
    Box,
    full_turn,
    ground_metres,
    known_crs,
    short_name,
    swapped,
    swaps_axes,
    transformed_box,
    transformer,
    uri_of,
)
from server.http.ogc.map_subset import Subset, parse_subset
from server.registry.catalogue import CRS84

LONGEST_SIDE = 4096
"""Pixels of an edge of a map."""
MM_PER_PIXEL = 0.28
"""The size of a pixel where nothing else is said (OGC 20-058, 12.3)."""
MAP_PARAMETERS = (
    *("bbox", "bbox-crs", "subset", "subset-crs", "center", "center-crs", "crs", "width", "height"),
    *(
        "scale-denominator",
        "mm-per-pixel",
        "datetime",
        "bgcolor",
        "transparent",
        "void-color",
        "void-transparent",
    ),
)
_DEFAULT_SIDE = 1024
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


class NothingThere(Exception):
    """A subset lies outside what its axis can have: there is no map of it, and the answer is 204 (OGC 20-058, 13.4)."""


@dataclass(frozen=True, slots=True)
class MapQuery:
    """A map to draw.

    `bbox` is in `crs`, easting or longitude first, and reaches beyond the antimeridian where the map does; `answer_bbox` is in the
    CRS's own axis order. `turn` is how far the CRS goes round, None where it does not. `interval` is the time asked for, None
    for no time.
    """

    bbox: Box
    answer_bbox: Box
    system: CRS
    crs: str
    crs_uri: str
    width: int
    height: int
    scale_denominator: float
    mm_per_pixel: float
    interval: TimeInterval | None
    turn: float | None

    @property
    def resolution(self) -> float:
        """Units of the CRS a pixel, the larger of both directions."""
        minx, miny, maxx, maxy = self.bbox
        return max((maxx - minx) / self.width, (maxy - miny) / self.height)


def merged_parameters(parameters: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The parameters, with several `subset` as if they were one (OGC 20-058, requirement subset-definition)."""
    subsets = [value for name, value in parameters if name == "subset"]
    if len(subsets) < 2:
        return list(parameters)
    rest = [(name, value) for name, value in parameters if name != "subset"]
    return [*rest, ("subset", ",".join(subsets))]


def parse_map_query(
    given: Mapping[str, str], extent: Box, most_pixels: int, storage_crs: str = CRS84
) -> MapQuery:
    """The map asked for; without a box, all of `extent` (CRS84). Without `crs` it is in `storage_crs`.

    Raises InvalidParameter, and NothingThere where a subset lies outside its axes.
    """
    crs = known_crs(given.get("crs", storage_crs))
    subset = parse_subset(given["subset"]) if "subset" in given else Subset()
    _check_together(given, subset)
    mm_per_pixel = _positive(given, "mm-per-pixel", 100.0) or MM_PER_PIXEL
    scale = _positive(given, "scale-denominator", 1e12)
    asked = (_side(given, "width"), _side(given, "height"))
    box = _asked_box(given, subset, extent, crs)
    pixel = None if scale is None else scale * mm_per_pixel / 1000
    if box is None and ("center" in given or scale is not None):
        box, size = _box_around(given, extent, crs, asked, pixel)
    else:
        box = box or _whole(extent, crs)
        size = _size(asked, box, crs, pixel)
    _check_size(size, most_pixels)
    if max(map(abs, box)) > FARTHEST:
        raise InvalidParameter("the map reaches beyond anything on Earth; ask for a smaller one", "bbox")
    metres = ground_metres(crs, (box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    return MapQuery(
        box,
        _answer_box(box, crs),
        crs,
        short_name(crs),
        uri_of(crs),
        *size,
        max((box[2] - box[0]) / size[0] * metres[0], (box[3] - box[1]) / size[1] * metres[1])
        / (mm_per_pixel / 1000),
        mm_per_pixel,
        _interval(given, subset),
        full_turn(crs),
    )


# --- what goes together --------------------------------------------------------------------------------------------------------


def _check_together(given: Mapping[str, str], subset: Subset) -> None:
    places = [name for name in ("bbox", "center") if name in given]
    if subset.spatial:
        places.append("subset")
    if len(places) > 1:
        raise InvalidParameter(
            f"{' and '.join(places)} are given together; allowed: one of bbox, subset and center", places[1]
        )
    for name in ("bbox", "subset", "center"):
        if f"{name}-crs" in given and name not in given:
            raise InvalidParameter(f"{name}-crs is given without {name}", f"{name}-crs", given[f"{name}-crs"])
    if "datetime" in given and subset.time is not None:
        raise InvalidParameter(
            "datetime and subset=time(...) are given together; allowed: one of them", "datetime"
        )
    if "scale-denominator" in given and places not in ([], ["center"]) and {"width", "height"} & set(given):
        raise InvalidParameter(
            f"{places[0]}, scale-denominator and width or height contradict each other; leave one out",
            "scale-denominator",
            given["scale-denominator"],
        )


def _check_size(size: tuple[int, int], most_pixels: int) -> None:
    width, height = size
    if max(size) > LONGEST_SIDE:
        raise InvalidParameter(
            f"the map would have {width} x {height} pixels; allowed: {LONGEST_SIDE} an edge; ask for a larger"
            " scale-denominator, a smaller box or width and height",
            "scale-denominator",
        )
    if width * height > most_pixels:
        raise InvalidParameter(
            f"width {width} x height {height} pixels; allowed: {most_pixels} pixels together", "width"
        )


# --- numbers -------------------------------------------------------------------------------------------------------------------


def _numbers(given: Mapping[str, str], name: str, counts: tuple[int, ...], allowed: str) -> list[float]:
    text = given[name]
    parts = text.split(",")
    if len(parts) not in counts or not all(len(part) <= 40 and _NUMBER.fullmatch(part) for part in parts):
        raise InvalidParameter(f"{name}={text[:80]!r}; allowed: {allowed}", name, text, allowed)
    numbers = [float(part) for part in parts]
    if not all(math.isfinite(number) and abs(number) <= FARTHEST for number in numbers):
        raise InvalidParameter(f"{name}={text[:80]!r} reaches beyond anything on Earth", name, text, allowed)
    return numbers


def _positive(given: Mapping[str, str], name: str, highest: float) -> float | None:
    text = given.get(name)
    if text is None:
        return None
    allowed = f"a number above 0, at most {highest:g}"
    if len(text) > 40 or _NUMBER.fullmatch(text) is None or not 1e-9 <= float(text) <= highest:
        raise InvalidParameter(f"{name}={text[:40]!r}; allowed: {allowed}", name, text, allowed)
    return float(text)


def _side(given: Mapping[str, str], name: str) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= LONGEST_SIDE):
        allowed = f"pixels from 1 to {LONGEST_SIDE}"
        raise InvalidParameter(f"{name}={text[:20]!r}; allowed: {allowed}", name, text, allowed)
    return int(text)


# --- the box -------------------------------------------------------------------------------------------------------------------


def _asked_box(given: Mapping[str, str], subset: Subset, extent: Box, crs: CRS) -> Box | None:
    """The box of `bbox` or `subset` in the CRS of the map; None where neither says one."""
    if "bbox" in given:
        source = known_crs(given.get("bbox-crs", CRS84), "bbox-crs")
        return transformed_box(_bbox(given, source), source, crs)
    if subset.spatial:
        source = known_crs(given.get("subset-crs", CRS84), "subset-crs")
        return transformed_box(_subset_box(subset, source, extent), source, crs)
    return None


def _bbox(given: Mapping[str, str], source: CRS) -> Box:
    allowed = "four numbers (six with heights), lower corner first, in the axis order of bbox-crs"
    numbers = _numbers(given, "bbox", (4, 6), allowed)
    if len(numbers) == 6:
        numbers = [numbers[0], numbers[1], numbers[3], numbers[4]]
    box: Box = (numbers[0], numbers[1], numbers[2], numbers[3])
    box = swapped(box) if swaps_axes(source) else box
    wraps = source.is_geographic and 180.0 >= box[0] > box[2] >= -180.0
    if (box[0] >= box[2] and not wraps) or box[1] >= box[3]:
        raise InvalidParameter(
            f"bbox={given['bbox'][:80]!r}: the upper corner must lie above and beside the lower one",
            "bbox",
            given["bbox"],
            allowed,
        )
    return box


def _subset_box(subset: Subset, source: CRS, extent: Box) -> Box:
    """The box of a subset; `*`, or an axis that is not named, is the extent's."""
    whole = transformed_box(_with_area(extent), known_crs(CRS84), source)
    west, east = (
        low if low is not None else high
        for low, high in zip(subset.x or (None, None), whole[::2], strict=True)
    )
    south, north = (
        low if low is not None else high
        for low, high in zip(subset.y or (None, None), whole[1::2], strict=True)
    )
    if source.is_geographic:
        turn = full_turn(source) or 360.0
        if south > turn / 4 or north < -turn / 4 or min(west, east) > turn / 2 or max(west, east) < -turn / 2:
            raise NothingThere
    if max(map(abs, (west, south, east, north))) > FARTHEST:
        raise NothingThere
    if south >= north or (west >= east and not (source.is_geographic and west > east)):
        raise InvalidParameter(
            "subset: the low end of an axis must be below the high one; only longitudes may go round",
            "subset",
            f"{west}:{east}, {south}:{north}",
        )
    return west, south, east, north


def _with_area(extent: Box) -> Box:
    """The extent; that of a single place, or a line, with a little room around it."""
    west, south, east, north = extent
    if west == east:
        west, east = west - 0.001, east + 0.001
    if south == north:
        south, north = max(south - 0.001, -90.0), min(north + 0.001, 90.0)
    return west, south, east, north


def _whole(extent: Box, crs: CRS) -> Box:
    return transformed_box(_with_area(extent), known_crs(CRS84), crs)


def _box_around(
    given: Mapping[str, str],
    extent: Box,
    crs: CRS,
    asked: tuple[int | None, int | None],
    pixel: float | None,
) -> tuple[Box, tuple[int, int]]:
    """The box and size of a map around a centre; `pixel` in metres on the ground, None: so that the extent would fit."""
    whole = _whole(extent, crs)
    x, y = (
        _center(given, crs) if "center" in given else ((whole[0] + whole[2]) / 2, (whole[1] + whole[3]) / 2)
    )
    width, height = asked
    size = (width or height or _DEFAULT_SIDE, height or width or _DEFAULT_SIDE)
    metres = ground_metres(crs, x, y)
    if pixel is None:
        pixel = max((whole[2] - whole[0]) * metres[0], (whole[3] - whole[1]) * metres[1]) / _DEFAULT_SIDE
    half = (size[0] * pixel / metres[0] / 2, size[1] * pixel / metres[1] / 2)
    box = (x - half[0], y - half[1], x + half[0], y + half[1])
    if not (box[0] < box[2] and box[1] < box[3] and all(map(math.isfinite, box))):
        raise InvalidParameter("the map around this center has no area", "scale-denominator")
    return box, size


def _center(given: Mapping[str, str], crs: CRS) -> tuple[float, float]:
    allowed = "two numbers in the axis order of center-crs"
    first, second = _numbers(given, "center", (2,), allowed)
    source = known_crs(given.get("center-crs", CRS84), "center-crs")
    x, y = (second, first) if swaps_axes(source) else (first, second)
    if source.is_geographic and not (abs(y) <= 90.0 and abs(x) <= 360.0):
        raise InvalidParameter(
            f"center={given['center'][:80]!r} is no longitude and latitude; allowed: {allowed}",
            "center",
            given["center"],
            allowed,
        )
    if source == crs:
        return x, y
    try:
        there = transformer(source, crs).transform(x, y, errcheck=True)
    except ProjError as error:
        raise InvalidParameter(
            "center cannot be shown in the CRS asked for", "center", given["center"]
        ) from error
    if not all(map(math.isfinite, there)):
        raise InvalidParameter("center lies outside the CRS asked for", "center", given["center"])
    return float(there[0]), float(there[1])


# --- the size ------------------------------------------------------------------------------------------------------------------


def _size(asked: tuple[int | None, int | None], box: Box, crs: CRS, pixel: float | None) -> tuple[int, int]:
    """Width and height of a map of a box: as asked, from the scale, or so that lengths on the ground look alike both ways."""
    width, height = asked
    if width is not None and height is not None:
        return width, height
    metres = ground_metres(crs, (box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    across, up = (box[2] - box[0]) * metres[0], (box[3] - box[1]) * metres[1]
    if pixel is not None:
        return _pixels(across / pixel), _pixels(up / pixel)
    # Between the bounds the sides are clamped to anyway, so that no box makes a side of 0 or infinity.
    aspect = min(max(across / up, 1 / LONGEST_SIDE), float(LONGEST_SIDE))
    if width is None and height is None:
        width = _DEFAULT_SIDE if aspect >= 1 else max(1, round(_DEFAULT_SIDE * aspect))
    if width is not None:
        return width, min(LONGEST_SIDE, max(1, round(width / aspect)))
    assert height is not None
    return min(LONGEST_SIDE, max(1, round(height * aspect))), height


def _pixels(count: float) -> int:
    return max(1, round(min(count, 1e9)))


# --- the answer ----------------------------------------------------------------------------------------------------------------


def _answer_box(box: Box, crs: CRS) -> Box:
    """The box as `Content-Bbox` says it: in the authority's axis order, longitudes between -180 and 180."""
    turn = full_turn(crs)
    if crs.is_geographic and turn is not None and box[2] > turn / 2 > box[0] and box[2] - box[0] < turn:
        box = (box[0], box[1], box[2] - turn, box[3])
    return swapped(box) if swaps_axes(crs) else box


def _interval(given: Mapping[str, str], subset: Subset) -> TimeInterval | None:
    text = given.get("datetime", subset.time)
    return None if text is None else parse_datetime(text)
