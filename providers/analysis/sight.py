"""What is seen from a place: one sight line exactly, and a whole surrounding on a grid."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from providers.analysis.height_grid import MAXIMUM_CELLS, HeightGrid, height_grid
from providers.analysis.place import MEAN_RADIUS, Numbers, Place
from providers.analysis.profile import ground_at
from providers.analysis.rays import first_hit
from providers.analysis.scene import Box3, Scene, SceneObject, triangles_in
from providers.errors import InvalidParameter

REFRACTION = 0.13
"""The share of the Earth's curvature that the bending of light makes up for (survey practice)."""
_GROUND_STEP = 1.0
_MOST_STEPS = 20_000
_OWN_WALL = 0.05
"""Metres at both ends of a sight line in which nothing counts as in the way: whoever stands on a roof sees from it."""


class SightLine(NamedTuple):
    """`visible`; where not: `blocked_at` (longitude, latitude, ellipsoidal height), `by` the object, None for the terrain.

    `length` is metres in space, `clear` metres of it up to what is in the way.
    """

    visible: bool
    length: float
    clear: float
    blocked_at: tuple[float, float, float] | None
    by: SceneObject | None


def line_of_sight(scene: Scene, observer: Numbers, target: Numbers) -> SightLine:
    """Whether the target is seen from the observer; each (3,): longitude, latitude (degrees), ellipsoidal height (m).

    Raises InvalidParameter where both are the same place, AnswerTooLarge, ThreeDError.
    """
    place = Place.at(float(observer[0]), float(observer[1]))
    ends = place.from_geodetic(
        np.array([observer[:2], target[:2]]), np.array([observer[2], target[2]], dtype=np.float64)
    )
    length = float(np.linalg.norm(ends[1] - ends[0]))
    if length < 2.0 * _OWN_WALL:
        raise InvalidParameter("target", "the observer's place", "a place at least 0.1 m from the observer")
    way = (ends[1] - ends[0]) / length
    start, end = ends[0] + way * _OWN_WALL, ends[1] - way * _OWN_WALL
    low, high = np.minimum(observer, target), np.maximum(observer, target)
    triangles = triangles_in(scene.tilesets, place, Box3(low[0], low[1], high[0], high[1], low[2], high[2]))
    hit = first_hit(triangles.corners, start, end)
    ground = _ground_hit(scene, place, start, end)
    if hit is None and ground is None:
        return SightLine(True, length, length, None, None)
    share = min(one for one in (None if hit is None else hit[0], ground) if one is not None)
    point = start + share * (end - start)
    where = place.to_geodetic(point[None])[0]
    by_object = hit is not None and hit[0] == share
    blocker = triangles.object(int(triangles.owner[hit[1]])) if hit is not None and by_object else None
    return SightLine(
        False,
        length,
        float(np.linalg.norm(point - ends[0])),
        (float(where[0]), float(where[1]), float(where[2])),
        blocker,
    )


def _ground_hit(scene: Scene, place: Place, start: Numbers, end: Numbers) -> float | None:
    """The share of the way at which the line goes below the terrain, between samples a metre apart."""
    if scene.ground is None:
        return None
    flat = float(np.hypot(*(end - start)[:2]))
    count = int(np.clip(np.ceil(flat / _GROUND_STEP), 1, _MOST_STEPS)) + 1
    share = np.linspace(0.0, 1.0, count)
    points = start + share[:, None] * (end - start)
    heights = scene.ground.heights(place.to_geodetic(points)[:, :2])
    below = points[:, 2] - heights
    under = np.flatnonzero(below < 0.0)
    if not under.size:
        return None
    first = int(under[0])
    if first == 0 or not np.isfinite(below[first - 1]):
        return float(share[first])
    part = below[first - 1] / (below[first - 1] - below[first])
    return float(share[first - 1] + part * (share[first] - share[first - 1]))


class Viewshed(NamedTuple):
    """`visible` (rows, columns) on `grid`, within `radius` metres of the observer, who looks from `eye` (m, ellipsoidal)."""

    grid: HeightGrid
    visible: NDArray[np.bool_]
    within: NDArray[np.bool_]
    eye: float


def viewshed(
    scene: Scene,
    longitude: float,
    latitude: float,
    *,
    eye_height: float,
    target_height: float,
    radius: float,
    size: float,
    maximum: int = MAXIMUM_CELLS,
) -> Viewshed:
    """What an eye `eye_height` metres above the ground (or the roof it stands on) sees within `radius` metres.

    A cell is seen where a mark `target_height` metres above its surface would be, over cells of `size` metres; the Earth's
    curvature and mean refraction count. Raises AnswerTooLarge, InvalidParameter where the observer stands on nothing, ThreeDError.
    """
    place = Place.at(longitude, latitude)
    grid = height_grid(scene, place, -radius, -radius, radius, radius, size, maximum)
    zero = np.zeros(1)
    stand = float(grid.at(zero, zero, grid.surface)[0])
    if not np.isfinite(stand):
        ground = ground_at(scene, longitude, latitude)
        if ground is None:
            raise InvalidParameter(
                "observer", f"{longitude:g},{latitude:g}", "a place on the terrain or on an object"
            )
        stand = ground
    eye = stand + eye_height
    slope = _highest_slopes(grid, eye, radius)
    x, y = grid.centres()
    across, up = np.meshgrid(x, y)
    distance = np.hypot(across, up)
    mark = grid.surface + target_height - eye - _drop(distance)
    with np.errstate(divide="ignore", invalid="ignore"):
        angle = mark / distance
    rays, steps = slope.shape
    ray = np.rint(np.mod(np.arctan2(up, across), 2.0 * np.pi) / (2.0 * np.pi) * rays).astype(np.int64) % rays
    # What stands before the cell, not the cell itself, hides it.
    step = np.clip(np.floor(distance / size).astype(np.int64) - 1, -1, steps - 1)
    before = np.where(step < 0, -np.inf, slope[ray, np.maximum(step, 0)])
    within = distance <= radius
    visible = within & np.isfinite(grid.surface) & ((angle >= before - 1e-9) | (distance < 1.5 * size))
    return Viewshed(grid, visible, within, eye)


def _drop(distance: Numbers) -> Numbers:
    """How far a surface sinks below the horizontal plane of the observer, less what refraction gives back."""
    return distance**2 * (1.0 - REFRACTION) / (2.0 * MEAN_RADIUS)


def _highest_slopes(grid: HeightGrid, eye: float, radius: float) -> Numbers:
    """Per ray (counter-clockwise from east) and step of a cell's size: the highest slope of the surface up to there."""
    rays = max(int(np.ceil(2.0 * np.pi * radius / grid.size)), 16)
    steps = max(int(np.floor(radius / grid.size)), 1)
    distance = np.linspace(1.0, steps, steps) * grid.size
    result = np.empty((rays, steps), dtype=np.float64)
    for first in range(0, rays, 512):
        angle = np.arange(first, min(first + 512, rays)) / rays * 2.0 * np.pi
        x, y = np.cos(angle)[:, None] * distance, np.sin(angle)[:, None] * distance
        height = grid.at(x, y, grid.surface) - eye - _drop(distance)
        slope = np.where(np.isfinite(height), height / distance, -np.inf)
        result[first : first + 512] = np.maximum.accumulate(slope, axis=1)
    return result
