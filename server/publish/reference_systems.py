"""Which CRS a dataset is in, and whether its coordinates can be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pyproj
from pyproj.enums import TransformDirection
from pyproj.exceptions import CRSError, ProjError

from providers.features.crs import describe_crs
from server.publish.errors import CrsError

_EXAMPLES = "EPSG:4326, EPSG:4547 (CGCS2000), EPSG:28992"
_LONGITUDE_MARGIN = 3.0
_LATITUDE_MARGIN = 1.0
"""How far outside a CRS's area of use coordinates may lie, degrees: areas are drawn for land, and one zone of a grid is
often used for a whole province. Degrees taken for metres land further off than that."""


def parse_crs(text: str) -> pyproj.CRS:
    """The CRS someone named: an authority code, a URI or URN, WKT or PROJJSON. Raises CrsError."""
    try:
        crs = pyproj.CRS.from_user_input(text)
    except CRSError as error:
        raise CrsError(
            f"PROJ knows no CRS {_shortened(text)!r}. Allowed is what it knows, such as {_EXAMPLES}."
        ) from error
    return usable_crs(crs, _shortened(text))


def usable_crs(crs: pyproj.CRS, name: str) -> pyproj.CRS:
    """The CRS, if coordinates in it can be brought to WGS 84. Raises CrsError."""
    if not (crs.is_geographic or crs.is_projected or crs.is_compound or crs.is_bound):
        raise CrsError(
            f"The CRS {name!r} is {crs.type_name or 'not on the Earth'}; a geographic or projected one is needed. "
            f"Name the right one with --crs, such as {_EXAMPLES}."
        )
    return crs


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


def required_crs(found: pyproj.CRS | None, asked: str | None, source: str) -> pyproj.CRS:
    """The CRS that was asked for, else the one found in the file. Raises CrsError where there is neither."""
    if asked:
        return parse_crs(asked)
    if found is None:
        raise CrsError(f"{source} does not say which CRS it is in. Name it with --crs, such as {_EXAMPLES}.")
    return usable_crs(found, found.name)


def stated_crs(wkt: str) -> pyproj.CRS | None:
    """The CRS of a file's WKT; None where it only says that nobody knows. Raises pyproj's CRSError."""
    crs = pyproj.CRS.from_wkt(wkt)
    if crs.is_engineering or crs.name.startswith("Undefined"):
        return None  # GDAL's way to write "no CRS" into a GeoPackage
    return identified_crs(crs)


def identified_crs(crs: pyproj.CRS) -> pyproj.CRS:
    """The same CRS from PROJ's own database, where it can be told for sure: a .prj file has no authority code."""
    if crs.to_authority() is not None:
        return crs
    authority = crs.to_authority(min_confidence=90)
    if authority is None or authority[0] not in ("EPSG", "OGC"):
        return crs
    return pyproj.CRS.from_authority(*authority)


def stored_crs(crs: pyproj.CRS) -> pyproj.CRS:
    """The CRS to store in: CRS84 for EPSG:4326, because in files x is longitude, whatever order EPSG gives its axes."""
    return pyproj.CRS.from_authority("OGC", "CRS84") if crs.to_epsg() == 4326 else crs


def crs_identifier(crs: pyproj.CRS) -> str:
    """The OGC URI of a CRS, or its WKT where no authority has it."""
    return describe_crs(crs).uri or crs.to_wkt()


def bounds_in_crs84(
    bounds: Sequence[float], crs: pyproj.CRS, source: str
) -> tuple[float, float, float, float]:
    """(west, south, east, north) of `bounds` (minx, miny, maxx, maxy, x is easting or longitude), after the checks.

    Raises CrsError where the coordinates cannot be in `crs`: not finite, beyond the Earth, or far from its area of use.
    """
    minx, miny, maxx, maxy = bounds
    shown = f"x {_number(minx)} to {_number(maxx)}, y {_number(miny)} to {_number(maxy)}"
    advice = f"Name the right CRS with --crs, such as {_EXAMPLES}."
    if crs.is_geographic:
        _check_degrees(bounds, crs, source, shown, advice)
    try:
        west, south, east, north = _from_crs84(crs).transform_bounds(
            minx, miny, maxx, maxy, direction=TransformDirection.INVERSE
        )
    except ProjError as error:
        raise CrsError(f"The coordinates of {source} ({shown}) cannot be in {crs.name}. {advice}") from error
    if (
        not all(math.isfinite(value) for value in (west, south, east, north))
        or abs(south) > 90
        or abs(north) > 90
    ):
        raise CrsError(f"The coordinates of {source} ({shown}) cannot be in {crs.name}. {advice}")
    area = crs.area_of_use
    if area is not None and not _meets(area, (west, south, east, north)):
        raise CrsError(
            f"The coordinates of {source} ({shown}) would lie at longitude {west:.3f} to {east:.3f}, latitude "
            f"{south:.3f} to {north:.3f}, outside the area of {crs.name}: longitude {area.west:g} to {area.east:g}, "
            f"latitude {area.south:g} to {area.north:g}. {advice}"
        )
    return west, south, east, north


@lru_cache(maxsize=8)
def _from_crs84(crs: pyproj.CRS) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs("OGC:CRS84", crs.to_2d(), always_xy=True)


def _number(value: float) -> str:
    return f"{value:.10g}"


def _check_degrees(bounds: Sequence[float], crs: pyproj.CRS, source: str, shown: str, advice: str) -> None:
    minx, miny, maxx, maxy = bounds
    if minx >= -180.0 and maxx <= 180.0 and miny >= -90.0 and maxy <= 90.0:
        return
    swapped = minx >= -90 and maxx <= 90 and miny >= -180 and maxy <= 180
    hint = " Latitude and longitude may be exchanged." if swapped else ""
    raise CrsError(
        f"{source} has {shown}; in {crs.name} x is longitude from -180 to 180 and y latitude from -90 to 90 degrees."
        f"{hint} {advice}"
    )


def _meets(area: Any, box: tuple[float, float, float, float]) -> bool:
    """Whether the middle of the box lies in the area, with a margin."""
    west, south, east, north = box
    middle_latitude = (south + north) / 2
    middle_longitude = (west + east) / 2 if west <= east else ((west + east + 360) / 2 + 180) % 360 - 180
    south_limit, north_limit = area.south - _LATITUDE_MARGIN, area.north + _LATITUDE_MARGIN
    left, right = area.west - _LONGITUDE_MARGIN, area.east + _LONGITUDE_MARGIN
    if not south_limit <= middle_latitude <= north_limit:
        return False
    if area.west <= area.east:
        return bool(left <= middle_longitude <= right)
    return bool(middle_longitude >= left or middle_longitude <= right)
