"""Places that a request names, in the coordinates of a point cloud.

Boxes and shapes in another reference system become polygons of many short edges: an edge that is straight there is not straight here.
They are cut to the surroundings of the cloud first, outside of which its reference system may have no meaning.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
import shapely

from pointclouds.cloud.cloud import Box3, Cloud
from pointclouds.crs import vertical_unit
from providers.errors import InvalidParameter
from providers.features.crs import CRS84H, ReferenceSystem, describe_crs, reference_system, transform_between
from providers.features.query import CRS84

_REAL: Final = r" *-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})? *"
_NUMBERS: Final = re.compile(rf"{_REAL}(?:,{_REAL}){{3}}(?:(?:,{_REAL}){{2}})?")
_ALLOWED: Final = (
    "4 or 6 numbers separated by commas: west,south,east,north (or with heights after each pair)"
)
_EDGE_DEGREES: Final = 0.001
_EDGE_LENGTH: Final = 100.0
_MOST_EDGES: Final = 4096
_SURROUNDINGS: Final = 0.02
"""Degrees around a cloud within which shapes are looked at."""


@lru_cache(maxsize=256)
def native_system(cloud: Cloud) -> ReferenceSystem:
    """The reference system of a cloud's coordinates. Raises as Cloud.crs does, and UnknownReferenceSystem."""
    return describe_crs(cloud.crs)


@lru_cache(maxsize=256)
def height_unit(cloud: Cloud) -> float:
    """Metres of one unit of z."""
    return vertical_unit(cloud.crs)


@lru_cache(maxsize=256)
def length_unit(cloud: Cloud) -> float:
    """Metres of one unit of x and y."""
    return float(native_system(cloud).horizontal.axis_info[0].unit_conversion_factor)


@lru_cache(maxsize=1024)
def is_native(cloud: Cloud, uri: str) -> bool:
    """Whether the x and y of a reference system are the cloud's own."""
    system, native = reference_system(uri), native_system(cloud)
    if system.border:
        return False
    same = system.horizontal is native.horizontal or (system.uri and system.uri == native.uri)
    return bool(same) or bool(system.horizontal.equals(native.horizontal, ignore_axis_order=True))


@lru_cache(maxsize=256)
def _surroundings(cloud: Cloud) -> shapely.Geometry:
    """A box in CRS84 around the cloud."""
    from pointclouds.cloud.summary import box84

    west, south, _, east, north, _ = box84(cloud.box, cloud.crs)
    margin = _SURROUNDINGS + 0.1 * max(east - west, north - south)
    return shapely.box(west - margin, south - margin, east + margin, north + margin)


def near_cloud(shape: shapely.Geometry, cloud: Cloud) -> shapely.Geometry:
    """The part of a CRS84 shape in the surroundings of a cloud, in the cloud's coordinates; may be empty."""
    near = shapely.intersection(shape, _surroundings(cloud))
    if near.is_empty:
        return near
    edge = max(_EDGE_DEGREES, shapely.length(near) / _MOST_EDGES)
    return moved(shapely.segmentize(near, edge), reference_system(CRS84), cloud)


def moved(shape: shapely.Geometry, system: ReferenceSystem, cloud: Cloud) -> shapely.Geometry:
    """A shape in GIS order of `system`, in the cloud's coordinates.

    Raises:
        ValueError: it lies where one of the systems has no meaning.
    """
    transform = transform_between(system, native_system(cloud))
    if transform is None:
        return shape
    coordinates = shapely.get_coordinates(shape)
    x, y = transform(coordinates[:, 0], coordinates[:, 1])
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("it lies outside the area of the point cloud's reference system")
    return shapely.set_coordinates(shape, np.stack([x, y], axis=1))


def polygons(shape: shapely.Geometry) -> shapely.Geometry:
    """The parts of a shape that have an area, as one valid (multi)polygon; may be empty."""
    parts = shapely.get_parts(shape if shapely.is_valid(shape) else shapely.make_valid(shape))
    while (shapely.get_type_id(parts) == shapely.GeometryType.GEOMETRYCOLLECTION).any():
        parts = shapely.get_parts(parts)
    areas = parts[shapely.get_dimensions(parts) == 2]
    if not len(areas):
        return shapely.MultiPolygon()
    return areas[0] if len(areas) == 1 else shapely.union_all(areas)


@dataclass(frozen=True)
class Place:
    """Where points shall lie: a native box, and polygons where the box of the request is none here."""

    box: Box3 | None = None
    area: shapely.Geometry | None = None


def parse_place(value: str, crs: str, cloud: Cloud) -> Place:
    """`bbox` in the axis order of `crs` (a URI). Heights are metres, in the cloud's own system its units.

    Raises:
        InvalidParameter: it is no box.
    """
    numbers = [float(part) for part in value.split(",")] if _NUMBERS.fullmatch(value) else []
    if not numbers or not math.isfinite(sum(map(abs, numbers))):
        raise InvalidParameter("bbox", value, _ALLOWED)
    low, high = -math.inf, math.inf
    if len(numbers) == 6:
        low, high = numbers[2], numbers[5]
        if low > high:
            raise InvalidParameter("bbox", value, "a lower height that is not above the upper one")
        del numbers[5], numbers[2]
    native = is_native(cloud, crs)
    if not native and len(value) and math.isfinite(low):
        low, high = low / height_unit(cloud), high / height_unit(cloud)
    system = reference_system(crs)
    if system.swap:
        numbers = [numbers[1], numbers[0], numbers[3], numbers[2]]
    west, south, east, north = numbers
    if native:
        if west > east or south > north:
            raise InvalidParameter(
                "bbox", value, "lower corner first, then upper corner, in the axis order of bbox-crs"
            )
        return Place((west, south, low, east, north, high))
    unbounded = (-math.inf, -math.inf, low, math.inf, math.inf, high)
    box = None if math.isinf(low) else unbounded
    return Place(box, _area(value, (west, south, east, north), system, cloud))


def _area(
    value: str, edges: tuple[float, float, float, float], system: ReferenceSystem, cloud: Cloud
) -> shapely.Geometry:
    west, south, east, north = edges
    if south > north:
        raise InvalidParameter("bbox", value, "a southern edge that is not north of the northern edge")
    if system.uri in (CRS84, CRS84H) or system.is_wgs84:
        if not (south >= -90 and north <= 90 and -180 <= west <= 180 and -180 <= east <= 180):
            raise InvalidParameter("bbox", value, "longitudes from -180 to 180 and latitudes from -90 to 90")
        halves = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
        boxes = [_thick(first, south, last, north) for first, last in halves]
        return polygons(near_cloud(shapely.union_all(boxes), cloud))
    if west > east:
        raise InvalidParameter(
            "bbox", value, "lower corner first, then upper corner, in the axis order of bbox-crs"
        )
    try:
        back = transform_between(native_system(cloud), system)
        surroundings = shapely.get_coordinates(moved_surroundings(cloud))
        if back is not None:
            x, y = back(surroundings[:, 0], surroundings[:, 1])
            surroundings = np.stack([x, y], axis=1)[np.isfinite(x) & np.isfinite(y)]
        near = _cut(_thick(west, south, east, north), surroundings)
        if shapely.is_empty(near):
            return near
        edge = max(
            _EDGE_LENGTH if not system.horizontal.is_geographic else _EDGE_DEGREES,
            shapely.length(near) / _MOST_EDGES,
        )
        return polygons(moved(shapely.segmentize(near, edge), system, cloud))
    except ValueError as error:
        raise InvalidParameter("bbox", value, f"a box inside the area of {system.uri} ({error})") from None


def moved_surroundings(cloud: Cloud) -> shapely.Geometry:
    """A box in the cloud's coordinates around it."""
    low, high = np.array(cloud.box[:2]), np.array(cloud.box[3:5])
    margin = float(2000 / length_unit(cloud) + 0.1 * (high - low).max())
    return shapely.segmentize(
        shapely.box(*(low - margin), *(high + margin)), margin / 4 + float((high - low).max()) / 16
    )


def _cut(shape: shapely.Geometry, around: npt.NDArray[np.float64]) -> shapely.Geometry:
    if not len(around):
        return shapely.MultiPolygon()
    (west, south), (east, north) = around.min(axis=0), around.max(axis=0)
    return polygons(shapely.intersection(shape, shapely.box(west, south, east, north)))


def _thick(west: float, south: float, east: float, north: float) -> shapely.Geometry:
    """A box; one without width or height gets the least there is: a line has no inside, and its points are asked for."""
    if west == east:
        west, east = np.nextafter(west, -math.inf), np.nextafter(east, math.inf)
    if south == north:
        south, north = np.nextafter(south, -math.inf), np.nextafter(north, math.inf)
    return shapely.box(west, south, east, north)


def area_of_rights(wkt: str, cloud: Cloud) -> shapely.Geometry:
    """The polygons of a Decision (WKT, CRS84) in the cloud's coordinates; may be empty."""
    return polygons(near_cloud(shapely.from_wkt(wkt), cloud))
