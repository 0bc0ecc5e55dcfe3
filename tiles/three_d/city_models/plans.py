"""The plan of city objects: what they cover of the ground, as polygons."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from tiles.three_d.city_models.checks import flat_polygons
from tiles.three_d.city_models.classes import GROUND_SURFACE
from tiles.three_d.city_models.model import NO_SHELL
from tiles.three_d.city_models.soup import Flags, Numbers, Soup

# Surfaces steeper than this (sine) have no area in plan worth joining.
_LEAST_PLAN_SHARE = 0.05
# From so many surfaces on it is worth trying whether they meet edge by edge.
_SEVERAL = 8
_SAME_SHARE = 1e-9
# A union of more surfaces that do not meet takes minutes.
_MANY = 2_000


def plans_of(
    soup: Soup,
    number: Numbers,
    count: int,
    lods: NDArray[np.float64],
    best: Flags,
    upward: NDArray[np.float64],
    areas: NDArray[np.float64],
) -> NDArray[np.object_]:
    """The plan (count,) of every object as a valid (multi)polygon in the file's CRS, None where it has no area.

    Over the surfaces (s,): `number` their object, `lods` their level of detail, `best` whether that is the object's finest, `upward` the
    vertical part of their unit normal. The plan is the footprint given at level 0, else the ground surfaces, else what faces down of a solid, else
    all surfaces seen from above.
    """
    flat = (np.abs(upward) > _LEAST_PLAN_SHARE) & (areas > 0.0)
    down = flat & best & (upward < 0.0) & (soup.shells != NO_SHELL)
    result = np.full(count, None, dtype=object)
    missing = np.ones(count, dtype=np.bool_)
    for wanted in (flat & (lods < 1.0), flat & best & (soup.classes == GROUND_SURFACE), down, flat & best):
        rows = np.flatnonzero(wanted & missing[number])
        if not len(rows):
            continue
        found, plans = _joined(soup, rows, number[rows])
        result[found] = plans
        missing[found] = False
        if not missing.any():
            break
    return result


def _joined(soup: Soup, rows: Numbers, number: Numbers) -> tuple[Numbers, NDArray[np.object_]]:
    """(objects, their surfaces `rows` seen from above, joined), only those with an area."""
    flat = np.ascontiguousarray(soup.vertices[soup.corners][:, :2])
    polygons = flat_polygons(soup, flat, rows)
    invalid = ~shapely.is_valid(polygons)
    if invalid.any():
        polygons[invalid] = shapely.make_valid(polygons[invalid], method="structure", keep_collapsed=False)
    starts = np.flatnonzero(np.r_[True, number[1:] != number[:-1]])
    sizes = np.diff(np.r_[starts, len(number)])
    objects = number[starts]
    plans = polygons[starts]
    for row in np.flatnonzero(sizes >= _SEVERAL).tolist():
        plans[row] = _coverage(polygons[starts[row] : starts[row] + sizes[row]])
    for size in np.unique(sizes[(sizes > 1) & (sizes < _SEVERAL)]).tolist():
        same = np.flatnonzero(sizes == size)
        plans[same] = shapely.union_all(polygons[starts[same][:, None] + np.arange(size)], axis=1)
    plans = _polygonal(plans)
    usable = shapely.area(plans) > 0.0
    return objects[usable], plans[usable]


def _coverage(polygons: NDArray[np.object_]) -> shapely.Geometry:
    """Many polygons joined: quickly where they meet edge by edge, as triangles do; else slowly; else their convex hull."""
    parts = shapely.get_parts(polygons)[None, :]
    joined: NDArray[np.object_] = np.asarray(shapely.coverage_union_all(parts, axis=1))
    area = float(shapely.area(parts).sum())
    if shapely.is_valid(joined)[0] and abs(float(shapely.area(joined)[0]) - area) <= _SAME_SHARE * area:
        return _only(joined)
    if parts.size <= _MANY:
        joined = np.asarray(shapely.union_all(parts, axis=1))
    else:
        joined = np.asarray(shapely.convex_hull(shapely.geometrycollections(parts)))
    return _only(joined)


def _only(geometries: NDArray[np.object_]) -> shapely.Geometry:
    one: shapely.Geometry = geometries.item()
    return one


def _polygonal(plans: NDArray[np.object_]) -> NDArray[np.object_]:
    """The polygons of each geometry."""
    mixed = np.flatnonzero(shapely.get_type_id(plans) == shapely.GeometryType.GEOMETRYCOLLECTION)
    for row in mixed.tolist():
        parts = [part for part in shapely.get_parts(plans[row]) if shapely.get_dimensions(part) == 2]
        plans[row] = shapely.union_all(parts) if parts else None
    return plans
