"""What stands for a city object from afar: its plan, to be raised, and a turned box; made once, when the object is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from tiles.three_d.city_models.soup import Numbers
from tiles.three_d.footprints import RaggedPolygons, to_ragged
from tiles.three_d.placement import Positions, to_longitude_latitude
from tiles.three_d.ragged import following, limits

_METRES_PER_DEGREE = 111_320.0
# Of a plan with more edges only so many are tried as the side of its box.
_MOST_DIRECTIONS = 24
_ONE = (1).to_bytes(4, "little")


@dataclass(frozen=True, slots=True)
class StandIns:
    """The plans of n objects in longitude and latitude: `polygons.features` counts all n, those without a plan have no polygon.

    `boxes` (n, 4, 2) the corners of their turned boxes, counter-clockwise; `beyond` (n,) the side (m) of the square by which the box is larger
    than the plan; both NaN without a plan.
    """

    polygons: RaggedPolygons
    boxes: NDArray[np.float64]
    beyond: NDArray[np.float64]

    @classmethod
    def of(cls, plans: NDArray[np.object_], crs: CRS, wanted: NDArray[np.bool_]) -> StandIns:
        """Of those plans (n,) of `crs`, polygons or None, that are `wanted` (n,)."""
        usable = wanted & (shapely.area(plans) > 0.0)
        chosen = np.flatnonzero(usable)
        counts = np.zeros(len(plans), dtype=np.int64)
        boxes = np.full((len(plans), 4, 2), np.nan)
        beyond = np.full(len(plans), np.nan)
        if not len(chosen):
            none = np.zeros(1, dtype=np.int64)
            return cls(RaggedPolygons(np.empty((0, 2)), none, none, limits(counts)), boxes, beyond)
        flat = to_ragged(plans[chosen])
        lonlat, _ = to_longitude_latitude(crs, flat.xy)
        counts[chosen] = np.diff(flat.features)
        boxes[chosen], beyond[chosen] = turned_boxes(flat._replace(xy=lonlat))
        return cls(flat._replace(xy=lonlat, features=limits(counts)), boxes, beyond)


def turned_boxes(plans: RaggedPolygons) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The smallest box (n, 4, 2) along an edge of each plan, right-angled on the ground, and how much larger it is (side of a square, m, (n,)).

    Plans and boxes are in longitude and latitude; every feature has a polygon. A box along a wall looks like the building; one turned any other way
    is at best a little smaller.
    """
    starts = plans.feature_vertices()
    counts = np.diff(starts)
    anchors = plans.xy[starts[:-1]]
    scales = np.column_stack((np.cos(np.radians(anchors[:, 1])), np.ones(len(anchors)))) * _METRES_PER_DEGREE
    owner = np.repeat(np.arange(len(counts)), counts)
    # Across the antimeridian the next corner is 360 degrees away.
    away = plans.xy - anchors[owner]
    away[:, 0] = (away[:, 0] + 180.0) % 360.0 - 180.0
    metres = away * scales[owner]
    edges = metres[following(plans.rings)] - metres
    doubled = metres[:, 0] * edges[:, 1] - metres[:, 1] * edges[:, 0]
    areas = np.add.reduceat(doubled, starts[:-1]) / 2.0
    boxes = np.empty((len(counts), 4, 2))
    box_areas = np.empty(len(counts))
    for count in np.unique(counts).tolist():
        rows = np.flatnonzero(counts == count)
        index = starts[rows][:, None] + np.arange(count)
        tried = index[:, :: -(-count // _MOST_DIRECTIONS)]
        boxes[rows], box_areas[rows] = _boxes_along(metres[index], edges[tried])
    boxes = boxes / scales[:, None] + anchors[:, None]
    return boxes, np.sqrt(np.maximum(box_areas - areas, 0.0))


def _boxes_along(
    corners: NDArray[np.float64], edges: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The smallest boxes (m, 4, 2) around corners (m, c, 2) with a side along one of the edges (m, e, 2), and their areas (m,)."""
    lengths = np.linalg.norm(edges, axis=2, keepdims=True)
    along = np.where(lengths > 0.0, edges / np.where(lengths > 0.0, lengths, 1.0), [1.0, 0.0])
    across = np.stack((-along[..., 1], along[..., 0]), axis=2)
    turned = np.ascontiguousarray(corners.transpose(0, 2, 1))
    first, second = along @ turned, across @ turned
    low, high = first.min(axis=2), first.max(axis=2)
    near, far = second.min(axis=2), second.max(axis=2)
    areas = (high - low) * (far - near)
    rows = np.arange(len(corners))
    best = np.argmin(areas, axis=1)
    x, y = along[rows, best][:, None], across[rows, best][:, None]
    u = np.stack((low, high, high, low), axis=2)[rows, best][..., None]
    v = np.stack((near, near, far, far), axis=2)[rows, best][..., None]
    return u * x + v * y, areas[rows, best]


@dataclass(frozen=True, slots=True)
class PlanBlobs:
    """Plans as they are stored, one after the other: `corners` float32 from the south-west of the object's box (degrees), rings and polygons by
    their sizes (int32)."""

    corners: bytes
    rings: bytes
    polygons: bytes
    corner_limits: Numbers
    ring_limits: Numbers
    polygon_limits: Numbers

    @classmethod
    def of(cls, plans: RaggedPolygons, origins: Positions) -> PlanBlobs:
        """Of plans (n,) with corners counted from `origins` (n, 2)."""
        corners_at = plans.feature_vertices()
        away = offsets(plans.xy, np.repeat(origins, np.diff(corners_at), axis=0))
        return cls(
            away.tobytes(),
            np.diff(plans.rings).astype("<i4").tobytes(),
            np.diff(plans.polygons).astype("<i4").tobytes(),
            corners_at,
            plans.polygons[plans.features],
            plans.features,
        )

    def row(self, number: int) -> tuple[bytes, bytes | None, bytes | None]:
        """Corners, sizes of rings and rings a polygon of one plan; None for the sizes of one ring."""
        corner, ring, polygon = (
            (int(part[number]), int(part[number + 1]))
            for part in (self.corner_limits, self.ring_limits, self.polygon_limits)
        )
        corners = self.corners[8 * corner[0] : 8 * corner[1]]
        if ring[1] - ring[0] == 1:
            return corners, None, None
        return (
            corners,
            self.rings[4 * ring[0] : 4 * ring[1]],
            self.polygons[4 * polygon[0] : 4 * polygon[1]],
        )


@dataclass(frozen=True, slots=True)
class StoredPlans:
    """Plans as they were stored: `owner` (n,) the row asked for of each; `polygons.xy` counts from the south-west of the object's box."""

    owner: Numbers
    polygons: RaggedPolygons

    @classmethod
    def joined(
        cls, rows: Sequence[tuple[int, bytes, bytes | None, bytes | None]], owner: Numbers
    ) -> StoredPlans:
        """Of rows of (object, corners, rings, polygons)."""
        corners = b"".join([row[1] for row in rows])
        xy = np.frombuffer(corners, dtype="<f4").reshape(-1, 2).astype(np.float64)
        rings = b"".join(
            [(len(row[1]) // 8).to_bytes(4, "little") if row[2] is None else row[2] for row in rows]
        )
        polygons = b"".join([_ONE if row[3] is None else row[3] for row in rows])
        counts = [1 if row[3] is None else len(row[3]) // 4 for row in rows]
        return cls(
            owner,
            RaggedPolygons(
                xy,
                limits(np.frombuffer(rings, dtype="<i4")),
                limits(np.frombuffer(polygons, dtype="<i4")),
                limits(counts),
            ),
        )

    def placed(self, origins: Positions) -> RaggedPolygons:
        """In longitude and latitude; `origins` (n, 2) are the south-wests of the boxes."""
        sizes = np.diff(self.polygons.feature_vertices())
        return self.polygons._replace(xy=self.polygons.xy + np.repeat(origins, sizes, axis=0))


def offsets(lonlat: Positions, origins: Positions) -> NDArray[np.float32]:
    """Degrees (n, 2) from `origins` (n, 2), the shorter way around the globe."""
    away = lonlat - origins
    away[:, 0] = (away[:, 0] + 180.0) % 360.0 - 180.0
    return away.astype("<f4")


def boxes_as_polygons(corners: NDArray[np.float64]) -> RaggedPolygons:
    """Boxes (n, 4, 2), one a feature."""
    count = np.arange(len(corners) + 1, dtype=np.int64)
    return RaggedPolygons(np.ascontiguousarray(corners.reshape(-1, 2)), 4 * count, count, count)
