"""Geometry literals of filters: from the CRS they were written in to CRS84, checked."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

from providers.errors import UnknownReferenceSystem
from providers.features.cql2.limits import MAXIMUM_VERTICES, Refusal
from providers.features.cql2.raw import BoxLiteral, GeometryLiteral
from providers.features.crossings import FREE_PAIRS, FREE_PAIRS_OF_UNIONS, is_tangled
from providers.features.crs import CRS84H, bbox_to_crs84, reference_system, transform_between
from providers.features.query import CRS84

_ROUNDING: Final = 1e-9  # degrees by which a transformation may step over the edge of the world


def to_crs84(literal: GeometryLiteral | BoxLiteral, crs: str) -> shapely.Geometry:
    """The shape in CRS84 (x = longitude), two-dimensional and valid. Raises Refusal."""
    crs = crs if literal.crs is None else known_crs(literal.crs)
    return _box(literal, crs) if isinstance(literal, BoxLiteral) else _shape(literal, crs)


def _shape(literal: GeometryLiteral, crs: str) -> shapely.Geometry:
    shape = literal.shape
    shown = shapely.to_wkt(shape, rounding_precision=6)[:80]
    count = shapely.get_num_coordinates(shape)
    if count > MAXIMUM_VERTICES:
        raise Refusal(f"a geometry of {count} vertices", f"at most {MAXIMUM_VERTICES} vertices")
    if count == 0:
        raise Refusal(shown, "a geometry that is not empty")
    if not np.isfinite(shapely.get_coordinates(shape)).all():
        raise Refusal(shown, "finite coordinates")
    is_collection = shapely.get_type_id(shape) == shapely.GeometryType.GEOMETRYCOLLECTION
    if is_tangled(shape, FREE_PAIRS_OF_UNIONS if is_collection else FREE_PAIRS):
        raise Refusal(
            shown, "a geometry whose segments cross each other less often, or lie less closely together"
        )
    moved = _unwrapped(_in_crs84(shapely.force_2d(shape), crs, literal.in_gis_order))
    _check_place(moved, shown, crs)
    if not shapely.is_valid(moved):
        raise Refusal(shown, f"a valid geometry ({shapely.is_valid_reason(moved)})")
    return moved


def _in_crs84(shape: shapely.Geometry, crs: str, in_gis_order: bool) -> shapely.Geometry:
    if crs in (CRS84, CRS84H):
        return shape
    system = reference_system(crs)
    swap = system.swap and not in_gis_order
    coordinates = shapely.get_coordinates(shape)
    x, y = (coordinates[:, 1], coordinates[:, 0]) if swap else (coordinates[:, 0], coordinates[:, 1])
    transform = transform_between(system, reference_system(CRS84))
    if transform is not None:
        x, y = transform(x, y)
    return shapely.set_coordinates(shape, np.stack([x, y], axis=1))


def _unwrapped(shape: shapely.Geometry) -> shapely.Geometry:
    """A collection of one kind as the multi-geometry it is: older GEOS relates no collections."""
    parts = np.array([shape], dtype=object)
    while (shapely.get_type_id(parts) == shapely.GeometryType.GEOMETRYCOLLECTION).any():
        parts = shapely.get_parts(parts)
    if len(parts) == 1:
        return _single(parts)
    kinds = set(shapely.get_dimensions(parts).tolist())
    united = shapely.union_all(parts) if len(kinds) == 1 else shapely.geometrycollections(parts)
    return _single(np.array([united], dtype=object))


def _single(parts: NDArray[np.object_]) -> shapely.Geometry:
    found: shapely.Geometry = parts[0]
    return found


def _check_place(shape: shapely.Geometry, shown: str, crs: str) -> None:
    west, south, east, north = shapely.bounds(shape).tolist()
    inside = (
        west >= -180 - _ROUNDING
        and east <= 180 + _ROUNDING
        and south >= -90 - _ROUNDING
        and north <= 90 + _ROUNDING
    )
    if not inside:  # infinite and undefined ones come here too
        raise Refusal(
            shown,
            f"coordinates on Earth in the axis order of filter-crs {crs}: here they reach longitudes "
            f"{west:.6g} to {east:.6g} and latitudes {south:.6g} to {north:.6g}",
        )


def _box(literal: BoxLiteral, crs: str) -> shapely.Geometry:
    numbers = list(literal.numbers)
    shown = f"BBOX({', '.join(f'{number:.10g}' for number in numbers)})"
    if not all(map(math.isfinite, numbers)):
        raise Refusal(shown, "finite numbers")
    if len(numbers) == 6:
        del numbers[5], numbers[2]
    first, second, third, fourth = numbers
    if literal.in_gis_order and reference_system(crs).swap:
        first, second, third, fourth = second, first, fourth, third
    try:
        west, south, east, north = bbox_to_crs84((first, second, third, fourth), reference_system(crs))
    except ValueError as error:
        raise Refusal(shown, f"a box inside the area of {crs} ({error})") from None
    if south > north:
        raise Refusal(shown, "a southern edge that is not north of the northern edge")
    if not (south >= -90 and north <= 90 and -180 <= west <= 180 and -180 <= east <= 180):
        raise Refusal(shown, "longitudes from -180 to 180 and latitudes from -90 to 90")
    if west <= east:
        return _rectangle(west, south, east, north)
    return shapely.union_all([_rectangle(west, south, 180, north), _rectangle(-180, south, east, north)])


def _rectangle(west: float, south: float, east: float, north: float) -> shapely.Geometry:
    """A box; a line or a point where it has no width or height (a polygon without area is not valid)."""
    if west == east and south == north:
        return shapely.Point(west, south)
    if west == east or south == north:
        return shapely.LineString([(west, south), (east, north)])
    return shapely.box(west, south, east, north)


def known_crs(crs: str) -> str:
    """The canonical URI of a CRS. Raises Refusal."""
    try:
        return crs if crs in (CRS84, CRS84H) else reference_system(crs).uri
    except UnknownReferenceSystem as error:
        raise Refusal(crs[:120], f"a CRS URI ({error})") from None
