"""Polygons of buildings made fit for extrusion, and what was wrong with the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from tiles.three_d.placement import (
    HorizontalPath,
    Positions,
    outside_area_of_use,
    to_longitude_latitude,
    unwrap_longitudes,
)
from tiles.three_d.report import Survivors

_POLYGON, _MULTIPOLYGON, _COLLECTION = 3, 6, 7
# In degrees: about a millimetre. Closer points give walls without a direction.
_SAME_PLACE = 1e-8
# In square degrees: about a square centimetre.
_SMALLEST_AREA = 1e-14


class RaggedPolygons(NamedTuple):
    """Polygons as flat arrays.

    `xy` (v, 2) without the closing points; ring r has xy[rings[r]:rings[r + 1]]; polygon p has the rings
    polygons[p] to polygons[p + 1], its shell first; feature f has the polygons features[f] to features[f + 1].
    Shells run counter-clockwise, holes clockwise.
    """

    xy: Positions
    rings: NDArray[np.int64]
    polygons: NDArray[np.int64]
    features: NDArray[np.int64]

    def feature_vertices(self) -> NDArray[np.int64]:
        """Limits in `xy` of every feature, (features + 1,)."""
        return self.rings[self.polygons[self.features]]


class CleanFootprints(NamedTuple):
    """`kept` (k,) rows of the input that can be drawn; `geometries` (k,) their polygons in longitude and latitude."""

    kept: NDArray[np.intp]
    geometries: NDArray[np.object_]
    description: str


def clean_footprints(
    footprints: Sequence[BaseGeometry | None] | NDArray[np.object_],
    crs: CRS,
    survivors: Survivors,
    path: HorizontalPath | None = None,
) -> CleanFootprints:
    """Bring footprints to longitude and latitude; mend what can be mended, drop the rest from `survivors`.

    `path`: the way to WGS 84, None for the one that fits these footprints best.
    """
    source = np.empty(len(footprints), dtype=object)
    source[:] = footprints
    survivors.drop(shapely.is_missing(source) | shapely.is_empty(source), "no geometry")
    kinds = shapely.get_type_id(source)
    survivors.drop(~np.isin(kinds, (_POLYGON, _MULTIPOLYGON, _COLLECTION)), "not a polygon")
    rows = np.flatnonzero(survivors.alive)
    points, local_owner = shapely.get_coordinates(source[rows], return_index=True)
    owner = rows[local_owner]
    survivors.drop_owners(owner, ~np.isfinite(points).all(axis=1), "a coordinate is not a number")
    lonlat, description = _placed(crs, points, path)
    survivors.drop_owners(owner, ~np.isfinite(lonlat).all(axis=1), "outside the area of its CRS")
    longitude = lonlat[:, 0]
    unwrapped = unwrap_longitudes(longitude)
    if unwrapped is not longitude:
        lonlat = np.column_stack((unwrapped, lonlat[:, 1]))
    drawn = np.flatnonzero(survivors.alive)
    flat = source[drawn]
    if shapely.has_z(flat).any():
        flat = shapely.force_2d(flat)
    placed = lonlat[survivors.alive[owner]] if len(drawn) < len(rows) else lonlat
    if lonlat is not points:
        flat = shapely.set_coordinates(flat, placed)
    source[drawn] = flat
    _mend(source, survivors)
    survivors.drop(survivors.alive & ~(shapely.area(source) > _SMALLEST_AREA), "footprint without an area")
    kept = np.flatnonzero(survivors.alive)
    return CleanFootprints(kept, source[kept], description)


def _placed(crs: CRS, points: Positions, path: HorizontalPath | None) -> tuple[Positions, str]:
    if path is None:
        return to_longitude_latitude(crs, points)
    if path.transformer is None and (np.abs(points) <= (360.0, 90.0)).all():
        return points, path.description
    lonlat = path.forward(points)
    lonlat[outside_area_of_use(crs, lonlat)] = np.nan
    return lonlat, path.description


def _mend(geometries: NDArray[Any], survivors: Survivors) -> None:
    """Make invalid polygons valid in place (OGC Simple Features validity); what keeps an area counts as repaired."""
    rows = np.flatnonzero(survivors.alive)
    invalid = rows[~shapely.is_valid(geometries[rows])]
    if invalid.size:
        reasons = shapely.is_valid_reason(geometries[invalid])
        geometries[invalid] = shapely.make_valid(
            geometries[invalid], method="structure", keep_collapsed=False
        )
        for row, reason in zip(invalid.tolist(), reasons, strict=True):
            if shapely.area(geometries[row]) > _SMALLEST_AREA:
                why = f"invalid polygon mended ({reason.split('[')[0]})"
                survivors.log.add(survivors.ids[row], why, "repaired")
    slim = shapely.remove_repeated_points(geometries[rows], _SAME_PLACE)
    # Valid before, so what has kept all its corners is valid still.
    slimmer = np.flatnonzero(
        shapely.get_num_coordinates(slim) < shapely.get_num_coordinates(geometries[rows])
    )
    usable = slimmer[shapely.is_valid(slim[slimmer]) & ~shapely.is_empty(slim[slimmer])]
    geometries[rows[usable]] = slim[usable]


def to_ragged(geometries: NDArray[np.object_]) -> RaggedPolygons:
    """Flat arrays of (multi)polygons, oriented; parts of a collection that are no polygons are left out."""
    singles, owner = shapely.get_parts(geometries, return_index=True)
    if (shapely.get_type_id(singles) != _POLYGON).any():
        singles, again = shapely.get_parts(singles, return_index=True)
        polygonal = shapely.get_type_id(singles) == _POLYGON
        singles, owner = singles[polygonal], owner[again][polygonal]
    solid = shapely.area(singles) > 0.0
    singles, owner = shapely.orient_polygons(singles[solid]), owner[solid]
    _, xy, (ring_limits, polygon_limits) = shapely.to_ragged_array(singles, include_z=False)
    rings = ring_limits.astype(np.int64)
    closing = np.ones(len(xy), dtype=np.bool_)
    closing[rings[1:] - 1] = False
    return RaggedPolygons(
        xy=np.ascontiguousarray(xy[closing]),
        rings=rings - np.arange(len(rings), dtype=np.int64),
        polygons=polygon_limits.astype(np.int64),
        features=np.searchsorted(owner, np.arange(len(geometries) + 1)).astype(np.int64),
    )
