"""How far a planned line stays from what is there already."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from providers.analysis.distances import segment_to_triangles
from providers.analysis.place import Numbers, Place
from providers.analysis.scene import Box3, Scene, SceneObject, triangles_in

_METRES_PER_DEGREE = 111_000.0


class Clearance(NamedTuple):
    """An object near the line. Distances in metres from the line's outside to the object's: `distance` in space, `horizontal` and
    `vertical` between the two nearest points (vertical above 0: the line passes over the object); below 0: they overlap.

    `place` is longitude, latitude, ellipsoidal height of the line's axis there, `along` metres from its start.
    """

    object: SceneObject
    distance: float
    horizontal: float
    vertical: float
    place: tuple[float, float, float]
    along: float


def clearances(
    scene: Scene, line: Numbers, radius: float, within: float, tilesets: tuple[str, ...] = ()
) -> list[Clearance]:
    """All objects nearer than `within` metres to a line with a round section of `radius` metres, the nearest first.

    `line` (n, 3) is longitude, latitude (degrees) and ellipsoidal height (m) of its axis. `tilesets` are ids of collections,
    () for all. Raises AnswerTooLarge, ThreeDError.
    """
    place = Place.at(float(line[:, 0].mean()), float(line[:, 1].mean()))
    axis = place.from_geodetic(line[:, :2], line[:, 2])
    chosen = tuple(one for one in scene.tilesets if not tilesets or one.id in tilesets)
    triangles = triangles_in(chosen, place, _box(line, within + radius))
    if not len(triangles):
        return []
    best = _Best(int(triangles.owner.max()) + 1)
    low, high = triangles.corners.min(axis=1), triangles.corners.max(axis=1)
    travelled = 0.0
    for start, end in itertools.pairwise(axis):
        reach = within + radius
        near = (low <= np.maximum(start, end) + reach).all(axis=1)
        near &= (high >= np.minimum(start, end) - reach).all(axis=1)
        rows = np.flatnonzero(near)
        if rows.size:
            found = segment_to_triangles(start, end, triangles.corners[rows])
            along = travelled + np.linalg.norm(found.on_line - start, axis=1)
            best.take(triangles.owner[rows], found.distance, found.on_line, found.on_triangle, along)
        travelled += float(np.linalg.norm(end - start))
    result = []
    for owner in best.nearer_than(within + radius):
        on_line, on_object = best.on_line[owner], best.on_object[owner]
        between = on_line - on_object
        where = place.to_geodetic(on_line[None])[0]
        distance = float(best.distance[owner])
        result.append(
            Clearance(
                triangles.object(owner),
                distance - radius,
                float(np.hypot(between[0], between[1])),
                float(between[2]),
                (float(where[0]), float(where[1]), float(where[2])),
                float(best.along[owner]),
            )
        )
    return sorted(result, key=lambda one: one.distance)


def _box(line: Numbers, reach: float) -> Box3:
    low, high = line.min(axis=0), line.max(axis=0)
    north = reach / _METRES_PER_DEGREE
    east = north / max(float(np.cos(np.radians(np.abs(line[:, 1]).max()))), 0.01)
    return Box3(
        low[0] - east,
        low[1] - north,
        high[0] + east,
        high[1] + north,
        low[2] - reach - 1.0,
        high[2] + reach + 1.0,
    )


class _Best:
    """The nearest points of each object so far."""

    def __init__(self, count: int) -> None:
        self.distance = np.full(count, np.inf)
        self.on_line = np.zeros((count, 3))
        self.on_object = np.zeros((count, 3))
        self.along = np.zeros(count)

    def take(
        self,
        owner: NDArray[np.int64],
        distance: Numbers,
        on_line: Numbers,
        on_object: Numbers,
        along: Numbers,
    ) -> None:
        order = np.lexsort((distance, owner))
        first = order[np.flatnonzero(np.r_[True, np.diff(owner[order]) != 0])]
        first = first[distance[first] < self.distance[owner[first]]]
        rows = owner[first]
        self.distance[rows] = distance[first]
        self.on_line[rows] = on_line[first]
        self.on_object[rows] = on_object[first]
        self.along[rows] = along[first]

    def nearer_than(self, reach: float) -> list[int]:
        """The numbers of objects that are nearer than `reach`."""
        return [int(one) for one in np.flatnonzero(self.distance <= reach)]
