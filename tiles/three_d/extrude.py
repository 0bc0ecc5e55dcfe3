"""Footprints raised to blocks: walls and roofs of many buildings in a few array operations."""

from __future__ import annotations

import mapbox_earcut as earcut
import numpy as np
from numpy.typing import NDArray

from tiles.three_d.footprints import RaggedPolygons
from tiles.three_d.mesh import Mesh, join_meshes
from tiles.three_d.placement import LocalFrame, Positions, to_ecef, up_vectors
from tiles.three_d.ragged import following

# Two triangles of a wall whose corners are: start below, end below, end above, start above. Of all orders of their corners
# deflate folds this one best: 6 % less than the next (docs/decisions/0017).
_WALL = np.array([0, 1, 3, 1, 2, 3], dtype=np.int64)
# Most small roofs have a corner that sees all others; larger ones rarely.
_MOST_FANNED = 10
VERTICES_PER_CORNER = 5


def extrude(
    polygons: RaggedPolygons,
    start: int,
    stop: int,
    frame: LocalFrame,
    *,
    bottom: NDArray[np.float64],
    top: NDArray[np.float64],
    lifted: NDArray[np.bool_] | None = None,
) -> Mesh:
    """Walls and roofs of the features start..stop-1 in `frame`; feature ids count from 0 at `start`.

    `bottom` and `top` are ellipsoidal heights (m) over all features. Only those that are `lifted` have a floor: that of the
    others is never seen.
    """
    limits = polygons.feature_vertices()[start : stop + 1]
    first, last = int(limits[0]), int(limits[-1])
    xy = polygons.xy[first:last]
    owner = np.repeat(np.arange(stop - start), np.diff(limits))
    low = frame.to_local(to_ecef(xy[:, 0], xy[:, 1], bottom[start:stop][owner]))
    rise = (top[start:stop] - bottom[start:stop])[owner]
    up = frame.rotate(up_vectors(xy[:, 0], xy[:, 1]))
    high = low + up * rise[:, None]
    walls, normals = _walls(low, high, up, _next_in_ring(polygons, start, stop, first))
    count = len(xy)
    wall_triangles = (np.arange(count)[:, None] * 4 + _WALL).reshape(-1, 3)
    roofs = _roofs(polygons, start, stop, first)
    mesh = Mesh(
        positions=np.concatenate((walls, high)),
        normals=np.concatenate((normals, up)),
        feature_ids=np.concatenate((np.repeat(owner, 4), owner)),
        triangles=np.concatenate((wall_triangles, roofs + 4 * count)),
    )
    if lifted is None or not lifted[start:stop].any():
        return mesh
    floors = roofs[lifted[start:stop][owner[roofs[:, 0]]]][:, ::-1]
    return join_meshes([mesh, Mesh(low, -up, owner, floors)])


def _next_in_ring(polygons: RaggedPolygons, start: int, stop: int, first: int) -> NDArray[np.int64]:
    """For every corner the index of the next one in its ring, counted from `first`."""
    low, high = polygons.polygons[polygons.features[start]], polygons.polygons[polygons.features[stop]]
    return following(polygons.rings[low : high + 1] - first)


def _walls(
    low: Positions, high: Positions, up: Positions, next_corner: NDArray[np.int64]
) -> tuple[Positions, Positions]:
    """Corners (4n, 3) and normals (4n, 3) of the walls from each corner to the next one."""
    corners = np.stack((low, low[next_corner], high[next_corner], high), axis=1)
    outward = np.cross(low[next_corner] - low, up)
    length = np.linalg.norm(outward, axis=1, keepdims=True)
    outward /= np.where(length > 0.0, length, 1.0)
    return corners.reshape(-1, 3), np.repeat(outward, 4, axis=0)


def _roofs(polygons: RaggedPolygons, start: int, stop: int, first: int) -> NDArray[np.int64]:
    """Triangles (t, 3) of all roofs, corners counted from `first`: many at once as fans, the rest by ear cutting."""
    shells = polygons.polygons[polygons.features[start] : polygons.features[stop] + 1]
    begins, ends = polygons.rings[shells[:-1]], polygons.rings[shells[1:]]
    corners = np.where(np.diff(shells) == 1, ends - begins, 0)
    left = np.ones(len(begins), dtype=np.bool_)
    pieces = []
    for count in range(3, _MOST_FANNED + 1):
        rows = np.flatnonzero(corners == count)
        if rows.size:
            fan, is_fan = _fans(polygons.xy, begins[rows], count)
            pieces.append(fan.reshape(-1, 3) - first)
            left[rows[is_fan]] = False
    # Limits of rings as ear cutting wants them; made once, for a small array costs as much as cutting a small roof.
    ring_ends = polygons.rings.astype(np.uint32)
    for polygon in np.flatnonzero(left).tolist():
        begin, end = begins[polygon], ends[polygon]
        limits = ring_ends[shells[polygon] + 1 : shells[polygon + 1] + 1] - np.uint32(begin)
        cut = earcut.triangulate_float64(polygons.xy[begin:end], limits)
        pieces.append(cut.astype(np.int64).reshape(-1, 3) + (begin - first))
    return np.concatenate(pieces) if pieces else np.empty((0, 3), dtype=np.int64)


def _fans(
    xy: Positions, begins: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Roofs of `count` corners from `begins` (n,) as triangles (m, count - 2, 3) around one corner that sees all others.

    Returns those that have such a corner, and which they are (n,). Seen from it the others turn left, all the way.
    """
    steps = np.arange(count)
    corners = xy[begins[:, None] + steps]
    apex = np.full(len(begins), -1)
    for candidate in range(count):
        open_ = np.flatnonzero(apex < 0)
        if not open_.size:
            break
        ring = corners[open_]
        arms = np.roll(ring, -candidate - 1, axis=1)[:, :-1] - ring[:, candidate : candidate + 1]
        turns = arms[:, :-1, 0] * arms[:, 1:, 1] - arms[:, :-1, 1] * arms[:, 1:, 0]
        apex[open_[(turns > 0.0).all(axis=1)]] = candidate
    is_fan = apex >= 0
    around = (apex[is_fan][:, None] + steps) % count + begins[is_fan][:, None]
    middle = np.broadcast_to(around[:, :1], (len(around), count - 2))
    return np.stack((middle, around[:, 1:-1], around[:, 2:]), axis=2), is_fan
