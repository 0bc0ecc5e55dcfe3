"""The parameters of a map image: bbox, bbox-crs, crs, width, height, transparent (OGC 20-058, clauses 7-10)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from server.http.errors import InvalidParameter
from server.registry.catalogue import CRS84

_LONGEST_SIDE = 4096  # pixels
_DEFAULT_WIDTH = 1024
_FARTHEST = 1e9  # in units of any CRS: feet on the far side of a projection are less

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class MapQuery:
    """A map to draw. `bbox` is in `crs`, easting or longitude first; `answer_bbox` is in the CRS's own axis order."""

    bbox: Box
    answer_bbox: Box
    crs: str
    crs_uri: str
    width: int
    height: int
    transparent: bool


@lru_cache(maxsize=64)
def known_crs(uri: str) -> CRS:
    """A CRS by URI, CURIE or EPSG code. Raises InvalidParameter where PROJ does not know it."""
    text = uri.strip("[]")
    try:
        if text in (CRS84, "OGC:CRS84", "CRS84"):
            return CRS.from_user_input("OGC:CRS84")
        if text.startswith(("http://www.opengis.net/def/crs/EPSG/", "https://www.opengis.net/def/crs/EPSG/")):
            text = f"EPSG:{text.rsplit('/', 1)[-1]}"
        found = CRS.from_user_input(text) if text.startswith("EPSG:") and text[5:].isdigit() else None
    except ProjError as error:
        raise InvalidParameter(f"CRS {uri[:80]!r} is not known to PROJ") from error
    if found is not None and not (found.is_geographic or found.is_projected):
        raise InvalidParameter(
            f"CRS {uri[:80]!r} is a {found.type_name}; allowed: a geographic or projected one"
        )
    if found is not None:
        return found.to_2d()
    raise InvalidParameter(
        f"CRS {uri[:80]!r}; allowed: {CRS84} or http://www.opengis.net/def/crs/EPSG/0/<code>"
    )


def swaps_axes(crs: CRS) -> bool:
    """True where the authority names northing or latitude first."""
    return bool(crs.axis_info) and crs.axis_info[0].direction in ("north", "south")


def _swap(box: Box) -> Box:
    return box[1], box[0], box[3], box[2]


def _box(text: str) -> Box:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 6:
        numbers = [numbers[0], numbers[1], numbers[3], numbers[4]]
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise InvalidParameter(f"bbox={text[:80]!r}; allowed: four numbers, lower corner first")
    box = (numbers[0], numbers[1], numbers[2], numbers[3])
    if box[0] >= box[2] or box[1] >= box[3]:
        raise InvalidParameter(
            f"bbox={text[:80]!r}: the upper corner must lie above and beside the lower one"
        )
    if max(map(abs, box)) > _FARTHEST:
        raise InvalidParameter(f"bbox={text[:80]!r} reaches beyond anything on Earth")
    return box


def _side(given: Mapping[str, str], name: str) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= _LONGEST_SIDE):
        raise InvalidParameter(f"{name}={text[:20]!r}; allowed: pixels from 1 to {_LONGEST_SIDE}")
    return int(text)


def _size(given: Mapping[str, str], box: Box) -> tuple[int, int]:
    width, height = _side(given, "width"), _side(given, "height")
    # Between the bounds the sides are clamped to anyway, so that no box makes a side of 0 or infinity.
    aspect = (box[2] - box[0]) / (box[3] - box[1])
    aspect = min(max(aspect, 1 / _LONGEST_SIDE), float(_LONGEST_SIDE))
    if width is None and height is None:
        width = _DEFAULT_WIDTH if aspect >= 1 else max(1, round(_DEFAULT_WIDTH * aspect))
    if width is None:
        assert height is not None
        width = min(_LONGEST_SIDE, max(1, round(height * aspect)))
    if height is None:
        height = min(_LONGEST_SIDE, max(1, round(width / aspect)))
    return width, height


def _transparent(given: Mapping[str, str]) -> bool:
    text = given.get("transparent", "true").lower()
    if text not in ("true", "false"):
        raise InvalidParameter(f"transparent={text[:20]!r}; allowed: true, false")
    return text == "true"


def parse_map_query(given: Mapping[str, str], extent: Box, most_pixels: int) -> MapQuery:
    """The map asked for; without a bbox, all of `extent` (CRS84). Raises InvalidParameter."""
    crs_uri = given.get("crs", CRS84)
    crs = known_crs(crs_uri)
    box_crs, box = known_crs(CRS84), extent
    if "bbox" in given:
        box_crs = known_crs(given.get("bbox-crs", CRS84))
        box = _box(given["bbox"])
        if swaps_axes(box_crs):
            box = _swap(box)
    elif "bbox-crs" in given:
        raise InvalidParameter("bbox-crs is given without bbox")
    elif box[0] >= box[2] or box[1] >= box[3]:
        box = (box[0] - 0.001, box[1] - 0.001, box[2] + 0.001, box[3] + 0.001)
    if box_crs != crs:
        box = _transformed(box, box_crs, crs)
    width, height = _size(given, box)
    if width * height > most_pixels:
        raise InvalidParameter(
            f"width {width} x height {height} pixels; allowed: {most_pixels} pixels together"
        )
    answer_box = _swap(box) if swaps_axes(crs) else box
    name = crs.to_authority()
    short = "OGC:CRS84" if crs == known_crs(CRS84) else f"{name[0]}:{name[1]}" if name else crs_uri
    return MapQuery(box, answer_box, short, crs_uri, width, height, _transparent(given))


def _transformed(box: Box, source: CRS, target: CRS) -> Box:
    try:
        result = Transformer.from_crs(source, target, always_xy=True).transform_bounds(*box, densify_pts=21)
    except ProjError as error:
        raise InvalidParameter(f"bbox {box} cannot be shown in the CRS asked for") from error
    if not all(map(math.isfinite, result)) or result[0] >= result[2] or result[1] >= result[3]:
        raise InvalidParameter(f"bbox {box} lies outside the CRS asked for")
    return result
