"""The points along a line, laid out by their distance along it: a section through a cloud."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import shapely

from pointclouds.cloud.cloud import Cloud
from pointclouds.cloud.query import PointQuery, plan, read_plan
from pointclouds.errors import QueryError
from pointclouds.las.dimensions import Dimension, coordinates
from pointclouds.las.layout import Column
from pointclouds.rasters.ground import CloudGround
from pointclouds.rasters.raster import PointRaster
from providers.points.errors import TooManyPoints

Float = npt.NDArray[np.float64]

GROUND_STEPS: Final = 500
_TURN: Final = 1e-9
_GROUP: Final = 512
_LARGE_GROUP: Final = 65_536
_FEW_SEGMENTS: Final = 16
_MOST_COMPARED: Final = 200_000_000
"""Pairs of a position and a segment, about ten seconds."""


@dataclass(frozen=True)
class PointProfile:
    """Points of a section, in rising distance. Units are those of the CRS.

    `distance` (n,) along the line, `offset` (n,) across it, positive to the left; x, y, z native; `columns` further dimensions in natural
    units. `length` of the line. `complete` is False where the budget left points out.
    """

    distance: Float
    offset: Float
    x: Float
    y: Float
    z: Float
    columns: dict[str, Column]
    length: float
    complete: bool

    def __len__(self) -> int:
        return len(self.z)


@dataclass(frozen=True)
class GroundProfile:
    """Heights of the terrain and of the surface along a line, NaN where unknown; `cell` is how fine they were read."""

    distance: Float
    terrain: Float
    surface: Float
    cell: float


def profile_points(
    cloud: Cloud,
    line: Float,
    width: float,
    query: PointQuery,
    dimensions: tuple[Dimension, ...],
    most_read: int,
) -> PointProfile:
    """The points of `query` at most `width` away from a line (n, 2) of native positions; past its ends none.

    Raises:
        TooManyPoints: more than `most_read` points would have to be decoded.
        QueryError, UnreadablePointCloudError, InvalidCopcError.
    """
    whole = shapely.LineString(line)
    corridor = shapely.buffer(whole, width, cap_style="flat", join_style="round")
    area = corridor if query.area is None else shapely.intersection(corridor, query.area)
    names = tuple(one.name for one in dimensions)
    budget = query.max_points
    parts: list[tuple[Any, ...]] = []
    if not area.is_empty and shapely.get_dimensions(area) == 2:
        asked = replace(query, area=_polygons(area), dimensions=names, max_points=None)
        # One more than the budget tells whether it left anything out.
        if budget is not None:
            asked = replace(asked, max_points=budget + 1)
        planned = plan(cloud, asked)
        if planned.points > most_read:
            raise TooManyPoints(planned.points, most_read)
        for batch in read_plan(planned):
            place = coordinates(batch.records, cloud.scale, cloud.offset)
            parts.append((place, *(one.values(batch.records) for one in dimensions)))
    place = np.concatenate([part[0] for part in parts]) if parts else np.empty((0, 3))
    distance, offset = along(line, place[:, :2])
    order = np.argsort(distance, kind="stable")
    complete = budget is None or len(order) <= budget
    if budget is not None and not complete:
        order = order[np.linspace(0, len(order) - 1, budget).astype(np.int64)]
    columns = {
        one.name: np.concatenate([part[number] for part in parts])[order] if parts else np.empty(0)
        for number, one in enumerate(dimensions, 1)
    }
    x, y, z = place[order].T
    return PointProfile(
        distance[order], offset[order], x, y, z, columns, float(shapely.length(whole)), complete
    )


def _polygons(area: shapely.Geometry) -> shapely.Geometry:
    parts = shapely.get_parts(area)
    return shapely.union_all(parts[shapely.get_dimensions(parts) == 2])


def along(line: Float, positions: Float) -> tuple[Float, Float]:
    """Distance along a line (n, 2) and signed distance from it (left positive) of positions (m, 2), by the nearest segment.

    Raises QueryError where so many segments lie about equally near so many positions that it would take minutes.
    """
    span = np.diff(line, axis=0)
    length = np.hypot(*span.T)
    long = length > _TURN
    first, length = line[:-1][long], length[long]
    unit = span[long] / length[:, None]
    start = np.cumsum(length) - length
    distance, offset, compared = np.zeros(len(positions)), np.zeros(len(positions)), 0
    size = _GROUP if len(first) > _FEW_SEGMENTS else _LARGE_GROUP
    for group in _neighbours(positions, size) if len(first) and len(positions) else ():
        place = positions[group]
        near = _near(first, unit, length, place)
        compared += len(near) * len(group)
        if compared > _MOST_COMPARED:
            raise QueryError(
                f"the line has so many turns near the {len(positions)} points that finding each point's place on it takes too "
                "long; give fewer positions, a smaller width or a smaller max-points"
            )
        forward, away = _from_segments(first[near], unit[near], length[near], place)
        nearest, point = away.argmin(axis=0), np.arange(len(group))
        chosen = near[nearest]
        from_first = place - first[chosen]
        side = unit[chosen, 0] * from_first[:, 1] - unit[chosen, 1] * from_first[:, 0]
        distance[group] = start[chosen] + forward[nearest, point]
        offset[group] = np.copysign(away[nearest, point], side)
    return distance, offset


def _neighbours(positions: Float, size: int) -> Iterator[npt.NDArray[np.intp]]:
    """All positions (m, 2) in groups of at most `size` neighbours, as their numbers: halved along the longer side."""
    left = [np.arange(len(positions))]
    while left:
        group = left.pop()
        if len(group) <= size:
            yield group
            continue
        axis = int(np.argmax(np.ptp(positions[group], axis=0)))
        half = len(group) // 2
        order = np.argpartition(positions[group, axis], half)
        left += [group[order[:half]], group[order[half:]]]


def _near(first: Float, unit: Float, length: Float, place: Float) -> npt.NDArray[np.intp]:
    """The segments, ascending, of which one is the nearest to any of some positions (m, 2)."""
    low, high = place.min(axis=0), place.max(axis=0)
    away = _from_segments(first, unit, length, (low + high)[None] / 2)[1][:, 0]
    # No position is farther from the middle than half the diagonal, so no nearest segment is farther from it than the whole more.
    return np.flatnonzero(away <= away.min() + float(np.hypot(*(high - low))) + _TURN)


def _from_segments(first: Float, unit: Float, length: Float, place: Float) -> tuple[Float, Float]:
    """How far along each of k segments the nearest place to each of m positions is, and how far away it is; (k, m) both."""
    across, up = (place[None, :, axis] - first[:, None, axis] for axis in (0, 1))
    forward = np.clip(across * unit[:, :1] + up * unit[:, 1:], 0.0, length[:, None])
    return forward, np.hypot(across - forward * unit[:, :1], up - forward * unit[:, 1:])


def ground_profile(raster: PointRaster, line: Float, step: float | None = None) -> GroundProfile:
    """Terrain and surface along a line (n, 2) of native positions, at even steps: `step`, or 500 of them, never below a finest cell.

    Raises QueryError, UnreadablePointCloudError, InvalidCopcError.
    """
    whole = shapely.LineString(line)
    length = float(shapely.length(whole))
    apart = max(step or 0.0, length / GROUND_STEPS, raster.resolution)
    count = max(2, math.ceil(length / apart - 1e-9) + 1)
    distance = np.linspace(0.0, length, count)
    at = shapely.get_coordinates(shapely.line_interpolate_point(whole, distance))
    cell = raster.cell(raster.level(apart))
    terrain = CloudGround(raster, "dtm", apart).heights(at[:, 0], at[:, 1])
    surface = CloudGround(raster, "dsm", apart).heights(at[:, 0], at[:, 1])
    return GroundProfile(distance, terrain, surface, cell)
