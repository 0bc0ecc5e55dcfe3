"""A box in CRS84 as a condition on a geometry column: found by the spatial index, exact for envelopes in CRS84.

PostGIS compares boxes (`&&`, `@`) as single-precision floats, rounded outwards: good for finding candidates, and for saying
that a feature lies well inside, not for the edge. So: candidates by the index; those well inside are in; the few between are
measured by their own envelope.
"""

from __future__ import annotations

import numpy as np
import pyproj
from numpy.typing import NDArray

from providers.features.crs import ReferenceSystem, Transform, reference_system, transform_between
from providers.features.postgis.tables import GeometryColumn
from providers.features.query import CRS84, BBox

type Condition = tuple[str, tuple[object, ...]]
type Bounds = tuple[float, float, float, float]

_STEPS = 33  # points along an edge of a box that is bent by a transformation
_NEAR = 3.0  # degrees around the area of use in which a projection still behaves
_FAR = 1e10  # beyond every coordinate on Earth
_SINGLE = 2.0**-22  # twice the relative step of a single-precision float

_BOX = "ST_MakeEnvelope(%s::float8, %s::float8, %s::float8, %s::float8, {srid})"
_EXACT = (
    "(SELECT ST_XMin(b) <= %s::float8 AND ST_XMax(b) >= %s::float8 AND ST_YMin(b) <= %s::float8 AND ST_YMax(b) >= %s::float8"
    " FROM (SELECT Box3D({geometry}) AS b OFFSET 0) t)"
)


def bbox_condition(
    geometry: GeometryColumn, bbox: BBox, slack: tuple[float, float] = (0.0, 0.0)
) -> Condition:
    """SQL that is true where the CRS84 envelope of the feature meets the box, and its arguments; `slack` as `slack_of` gives it."""
    if bbox.west <= bbox.east:
        return _one(geometry, bbox, slack)
    left = _one(geometry, BBox(bbox.west, bbox.south, 180.0, bbox.north), slack)
    right = _one(geometry, BBox(-180.0, bbox.south, bbox.east, bbox.north), slack)
    return f"({left[0]} OR {right[0]})", (*left[1], *right[1])


def _one(geometry: GeometryColumn, bbox: BBox, slack: tuple[float, float]) -> Condition:
    outer, inner = storage_boxes(geometry, bbox, slack)
    parts: list[str] = []
    arguments: list[object] = []
    box = _BOX.format(srid=geometry.srid)
    if outer is not None:
        parts.append(f"{geometry.sql} && {box}")
        arguments += outer
    else:
        parts.append(f"{geometry.sql} IS NOT NULL")
    moved = geometry.sql if geometry.storage.is_wgs84 else f"ST_Transform({geometry.sql}, 4326)"
    exact = _EXACT.format(geometry=moved)
    if inner is not None:
        parts.append(f"({geometry.sql} @ {box} OR {exact})")
        arguments += inner
    else:
        parts.append(exact)
    arguments += (bbox.east, bbox.west, bbox.north, bbox.south)
    return f"({' AND '.join(parts)})", tuple(arguments)


def storage_boxes(
    geometry: GeometryColumn, bbox: BBox, slack: tuple[float, float] = (0.0, 0.0)
) -> tuple[Bounds | None, Bounds | None]:
    """A box in the storage CRS that every feature of `bbox` meets, and one all of whose features lie in it; None: there is none."""
    forward = transform_between(reference_system(CRS84), geometry.storage)
    if forward is None or geometry.storage.is_wgs84:
        west, south, east, north = bbox
        room = 180 * _SINGLE
        return (west, south, east, north), _if_proper((west + room, south + room, east - room, north - room))
    clipped, sides = _clipped(geometry.storage.horizontal, bbox)
    if clipped is None:
        return None, None
    x, y = _grid(forward, clipped)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None, None
    # What an edge bends between two points of the grid is far less than a hundredth of its length.
    pad_x, pad_y = float(np.ptp(x)) / 100 + 1e-6, float(np.ptp(y)) / 100 + 1e-6
    outer = (
        float(x.min()) - pad_x - slack[0],
        float(y.min()) - pad_y - slack[1],
        float(x.max()) + pad_x + slack[0],
        float(y.max()) + pad_y + slack[1],
    )
    inner = _if_proper(
        (
            float(x[:, 0].max()) + pad_x,
            float(y[0].max()) + pad_y,
            float(x[:, -1].min()) - pad_x,
            float(y[-1].min()) - pad_y,
        )
    )
    if inner is not None and not _lies_in(geometry.storage, inner, clipped):
        inner = None
    return _opened(outer, sides), None if inner is None else _opened(inner, sides)


def slack_of(geometry: GeometryColumn, extent: tuple[float, ...]) -> tuple[float, float]:
    """How far, in units of the storage CRS, a feature's CRS84 envelope can reach beyond its envelope in storage.

    Meridians and parallels are not straight lines of a projection: over the extent (CRS84) of all features they drift by this much.
    """
    forward = transform_between(reference_system(CRS84), geometry.storage)
    if forward is None or geometry.storage.is_wgs84 or not extent:
        return 0.0, 0.0
    west, south, east, north = extent if len(extent) == 4 else (extent[0], extent[1], extent[3], extent[4])
    clipped, _ = _clipped(geometry.storage.horizontal, BBox(west, south, east, north))
    if clipped is None:
        return 0.0, 0.0
    x, y = _grid(forward, clipped)
    drift = 1.5 * float(np.ptp(x, axis=0).max()), 1.5 * float(np.ptp(y, axis=1).max())
    return drift if np.isfinite(drift).all() else (0.0, 0.0)


def _grid(forward: Transform, box: BBox) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The box, densely: rows are parallels from the south, columns meridians from the west."""
    along = np.linspace(0.0, 1.0, _STEPS)
    lon, lat = np.meshgrid(
        box.west + (box.east - box.west) * along, box.south + (box.north - box.south) * along
    )
    x, y = forward(lon.ravel(), lat.ravel())
    return x.reshape(lon.shape), y.reshape(lat.shape)


def _lies_in(storage: ReferenceSystem, inner: Bounds, box: BBox) -> bool:
    """Whether the edge of a box of the storage CRS lies in a box in CRS84."""
    back = transform_between(storage, reference_system(CRS84))
    assert back is not None
    along = np.linspace(0.0, 1.0, _STEPS)
    across, upwards = inner[0] + (inner[2] - inner[0]) * along, inner[1] + (inner[3] - inner[1]) * along
    x = np.concatenate([across, across, np.full(_STEPS, inner[0]), np.full(_STEPS, inner[2])])
    y = np.concatenate([np.full(_STEPS, inner[1]), np.full(_STEPS, inner[3]), upwards, upwards])
    lon, lat = back(x, y)
    return bool(
        lon.min() >= box.west and lon.max() <= box.east and lat.min() >= box.south and lat.max() <= box.north
    )


def _clipped(crs: pyproj.CRS, box: BBox) -> tuple[BBox | None, tuple[bool, bool, bool, bool]]:
    """The part of a box in and near the area a projection is made for, and which sides were cut (no feature lies beyond)."""
    area = crs.area_of_use
    if crs.is_geographic:
        return box, (False, False, False, False)
    if area is None or area.west > area.east:
        small = box.east - box.west < 10 and box.north - box.south < 10
        return (box if small else None), (False, False, False, False)
    limit = BBox(
        max(area.west - _NEAR, -180),
        max(area.south - _NEAR, -89),
        min(area.east + _NEAR, 180),
        min(area.north + _NEAR, 89),
    )
    cut = BBox(
        max(box.west, limit.west),
        max(box.south, limit.south),
        min(box.east, limit.east),
        min(box.north, limit.north),
    )
    if cut.west > cut.east or cut.south > cut.north:
        return None, (False, False, False, False)
    return cut, (
        box.west < limit.west,
        box.south < limit.south,
        box.east > limit.east,
        box.north > limit.north,
    )


def _opened(box: Bounds, sides: tuple[bool, bool, bool, bool]) -> Bounds:
    west, south, east, north = box
    return (
        -_FAR if sides[0] else west,
        -_FAR if sides[1] else south,
        _FAR if sides[2] else east,
        _FAR if sides[3] else north,
    )


def _if_proper(box: Bounds) -> Bounds | None:
    return box if box[0] < box[2] and box[1] < box[3] else None
