"""How tangled geometries are: what GEOS needs for a relation or a union grows with the pairs of segments that may cross.

A line of 5,000 random vertices crosses itself millions of times and keeps a thread for minutes, and nothing can interrupt GEOS;
so a geometry from a client is measured before it is worked with.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray

PAIRS_PER_SEGMENT = 10
FREE_PAIRS = 1_000_000
"""A relation to a line that crosses itself so often takes a tenth of a second."""
FREE_PAIRS_OF_UNIONS = 100_000
"""A union of lines that cross so often takes a second."""
MOST_CROSSINGS = 400_000
"""A relation of two geometries that cross so often takes one to two seconds."""
_SAMPLED = (
    16  # of so many segments of a feature one is looked at: to look at all takes longer than most relations
)
_AT_ONCE = 128  # segments looked up at once: 100,000 of them may each meet all others


def is_tangled(geometry: shapely.Geometry, free: int = FREE_PAIRS) -> bool:
    """Whether the envelopes of more pairs of segments meet than `free` and `PAIRS_PER_SEGMENT` for each segment."""
    boxes = _boxes(geometry)
    count = len(boxes)
    most = free + PAIRS_PER_SEGMENT * count
    if count * (count - 1) // 2 <= most:
        return False
    tree, found = shapely.STRtree(boxes), 0
    for start in range(0, count, _AT_ONCE):
        found += tree.query(boxes[start : start + _AT_ONCE]).shape[1]
        if (found - count) // 2 > most:  # each pair is found twice, and each segment meets itself
            return True
    return False


class Crossings:
    """The segments of one geometry, to tell how often another one may cross them."""

    def __init__(self, geometry: shapely.Geometry) -> None:
        self._geometry = geometry
        self._count = int(shapely.get_num_coordinates(geometry))

    @cached_property
    def _tree(self) -> shapely.STRtree:
        return shapely.STRtree(_boxes(self._geometry))

    def may_be_many(self, others: NDArray[np.object_]) -> NDArray[np.bool_]:
        """Which of the others are worth a closer look."""
        return np.asarray(shapely.get_num_coordinates(others) * self._count > MOST_CROSSINGS, np.bool_)

    def are_many(self, other: shapely.Geometry) -> bool:
        """Whether a relation of both may take more than about a second."""
        if self._count * int(shapely.get_num_coordinates(other)) <= MOST_CROSSINGS:
            return False
        west, south, east, north = (side[::_SAMPLED] for side in _envelopes(other))
        boxes, found = shapely.box(west, south, east, north), 0
        for start in range(0, len(boxes), _AT_ONCE):
            found += self._tree.query(boxes[start : start + _AT_ONCE]).shape[1]
            if found * _SAMPLED > MOST_CROSSINGS:
                return True
        return False


def _boxes(geometry: shapely.Geometry) -> NDArray[np.object_]:
    west, south, east, north = _envelopes(geometry)
    boxes: NDArray[np.object_] = shapely.box(west, south, east, north)
    return boxes


def _envelopes(geometry: shapely.Geometry) -> tuple[NDArray[np.float64], ...]:
    """West, south, east and north of every segment."""
    parts = np.array([geometry], dtype=object)
    while (shapely.get_type_id(parts) == shapely.GeometryType.GEOMETRYCOLLECTION).any():
        parts = shapely.get_parts(parts)
    parts = shapely.get_parts(parts)
    areal = shapely.get_dimensions(parts) == 2
    lines = np.concatenate([shapely.get_rings(parts[areal]), parts[~areal]])
    coordinates, owners = shapely.get_coordinates(lines, return_index=True)
    joined = owners[1:] == owners[:-1]
    one, other = coordinates[:-1][joined], coordinates[1:][joined]
    low, high = np.minimum(one, other), np.maximum(one, other)
    return low[:, 0], low[:, 1], high[:, 0], high[:, 1]
