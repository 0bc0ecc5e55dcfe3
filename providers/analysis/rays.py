"""Lines against triangles: what a plumb line passes through, and where a sight line ends."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from providers.analysis.place import Numbers

_FLAT = 1e-9
_EDGE = 1e-9


class PlumbHits(NamedTuple):
    """Where a plumb line meets triangles: `height` (k,), `triangle` (k,), `upward` (k,) whether the face looks up."""

    height: Numbers
    triangle: NDArray[np.int64]
    upward: NDArray[np.bool_]


def plumb_line(triangles: Numbers, x: float, y: float) -> PlumbHits:
    """What the plumb line through (x, y) meets of `triangles` (t, 3, 3); triangles that stand upright are passed by."""
    corners = triangles[:, :, :2] - (x, y)
    near = (corners.min(axis=1) <= 0.0).all(axis=1) & (corners.max(axis=1) >= 0.0).all(axis=1)
    rows = np.flatnonzero(near)
    a, b, c = (corners[rows, corner] for corner in range(3))
    area = _cross(b - a, c - a)
    standing = np.abs(area) < _FLAT
    safe = np.where(standing, 1.0, area)
    weights = np.stack((_cross(b, c), _cross(c, a), _cross(a, b)), axis=1) / safe[:, None]
    inside = ~standing & (weights >= -_EDGE).all(axis=1)
    height = (weights * triangles[rows, :, 2]).sum(axis=1)
    return PlumbHits(height[inside], rows[inside], area[inside] > 0.0)


def first_hit(triangles: Numbers, start: Numbers, end: Numbers) -> tuple[float, int] | None:
    """The share of the way from `start` to `end` (3,) at which the first of `triangles` (t, 3, 3) is met, and its row.

    None where nothing stands between. Möller and Trumbore's test, both sides of a face.
    """
    low, high = np.minimum(start, end), np.maximum(start, end)
    near = (triangles.min(axis=1) <= high).all(axis=1) & (triangles.max(axis=1) >= low).all(axis=1)
    rows = np.flatnonzero(near)
    if not rows.size:
        return None
    corner = triangles[rows, 0]
    first, second = triangles[rows, 1] - corner, triangles[rows, 2] - corner
    way = end - start
    across = np.cross(way, second)
    determinant = (first * across).sum(axis=1)
    parallel = np.abs(determinant) < _FLAT
    inverse = 1.0 / np.where(parallel, 1.0, determinant)
    from_corner = start - corner
    u = (from_corner * across).sum(axis=1) * inverse
    turned = np.cross(from_corner, first)
    v = (way * turned).sum(axis=1) * inverse
    share = (second * turned).sum(axis=1) * inverse
    met = ~parallel & (u >= -_EDGE) & (v >= -_EDGE) & (u + v <= 1.0 + _EDGE) & (share >= 0.0) & (share <= 1.0)
    if not met.any():
        return None
    best = int(np.argmin(np.where(met, share, np.inf)))
    return float(share[best]), int(rows[best])


def _cross(one: Numbers, other: Numbers) -> Numbers:
    """z of the cross product of vectors (n, 2)."""
    return np.asarray(one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0])
