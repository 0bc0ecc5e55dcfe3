"""How near a straight piece of line comes to triangles."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from providers.analysis.place import Numbers

_TINY = 1e-12


class Nearest(NamedTuple):
    """Per triangle: `distance` (t,) metres, and the points (t, 3) on the line and on the triangle between which it lies."""

    distance: Numbers
    on_line: Numbers
    on_triangle: Numbers


def segment_to_triangles(start: Numbers, end: Numbers, triangles: Numbers) -> Nearest:
    """Distances from the segment `start`-`end` (3,) to each of `triangles` (t, 3, 3); 0 where it passes through.

    The least of: the segment to the three edges, its ends to the face, and 0 where it pierces the face.
    """
    candidates = [
        _segment_to_segments(start, end, triangles[:, corner], triangles[:, (corner + 1) % 3])
        for corner in range(3)
    ]
    candidates += [_point_to_faces(point, triangles) for point in (start, end)]
    candidates.append(_piercing(start, end, triangles))
    distances = np.stack([one.distance for one in candidates])
    best = np.argmin(distances, axis=0)
    rows = np.arange(len(triangles))
    return Nearest(
        distances[best, rows],
        np.stack([one.on_line for one in candidates])[best, rows],
        np.stack([one.on_triangle for one in candidates])[best, rows],
    )


def _segment_to_segments(start: Numbers, end: Numbers, begins: Numbers, ends: Numbers) -> Nearest:
    """One segment to many (t, 3): the nearest points of two lines, each held inside its segment."""
    way, ways = end - start, ends - begins
    between = start - begins
    a, e = float(way @ way), (ways * ways).sum(axis=1)
    f, c = (ways * between).sum(axis=1), between @ way
    b = ways @ way
    denominator = a * e - b * b
    s = np.where(denominator > _TINY, (b * f - c * e) / np.where(denominator > _TINY, denominator, 1.0), 0.0)
    s = np.clip(s, 0.0, 1.0)
    t = np.where(e > _TINY, (b * s + f) / np.where(e > _TINY, e, 1.0), 0.0)
    t = np.clip(t, 0.0, 1.0)
    s = np.clip((b * t - c) / a, 0.0, 1.0) if a > _TINY else np.zeros_like(t)
    on_line, on_other = start + s[:, None] * way, begins + t[:, None] * ways
    return Nearest(np.linalg.norm(on_line - on_other, axis=1), on_line, on_other)


def _point_to_faces(point: Numbers, triangles: Numbers) -> Nearest:
    """A point to the planes of triangles, where its foot lies inside; elsewhere infinite, for an edge is nearer then."""
    normal, inside_of = _faces(triangles)
    height = ((point - triangles[:, 0]) * normal).sum(axis=1)
    foot = point - height[:, None] * normal
    distance = np.where(inside_of(foot), np.abs(height), np.inf)
    return Nearest(distance, np.broadcast_to(point, foot.shape), foot)


def _piercing(start: Numbers, end: Numbers, triangles: Numbers) -> Nearest:
    """0 where the segment goes through a face, else infinite."""
    normal, inside_of = _faces(triangles)
    before = ((start - triangles[:, 0]) * normal).sum(axis=1)
    after = ((end - triangles[:, 0]) * normal).sum(axis=1)
    crosses = (before * after <= 0.0) & (before != after)
    share = np.where(crosses, before / np.where(crosses, before - after, 1.0), 0.0)
    point = start + share[:, None] * (end - start)
    distance = np.where(crosses & inside_of(point), 0.0, np.inf)
    return Nearest(distance, point, point)


class _Inside:
    """Whether points (t, 3) in the planes of triangles lie inside them."""

    def __init__(self, triangles: Numbers, normal: Numbers) -> None:
        self._triangles = triangles
        self._normal = normal

    def __call__(self, points: Numbers) -> NDArray[np.bool_]:
        result: NDArray[np.bool_] = (self._normal != 0.0).any(axis=1)
        for corner in range(3):
            begin, stop = self._triangles[:, corner], self._triangles[:, (corner + 1) % 3]
            side = (np.cross(stop - begin, points - begin) * self._normal).sum(axis=1)
            result &= side >= -_TINY
        return result


def _faces(triangles: Numbers) -> tuple[Numbers, _Inside]:
    """Unit normals (t, 3), zero for triangles without an area, and the test of points in them."""
    whole = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    length = np.linalg.norm(whole, axis=1)
    normal = np.where(length[:, None] > _TINY, whole / np.where(length > _TINY, length, 1.0)[:, None], 0.0)
    return normal, _Inside(triangles, normal)
