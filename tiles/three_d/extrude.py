"""Footprints raised to blocks: walls and roofs of many buildings in a few array operations."""

from __future__ import annotations

import mapbox_earcut as earcut
import numpy as np
from numpy.typing import NDArray

from tiles.three_d.footprints import RaggedPolygons
from tiles.three_d.mesh import Mesh, join_meshes
from tiles.three_d.placement import LocalFrame, Positions, to_ecef, up_vectors
from tiles.three_d.ragged import following

# Two triangles of a wall whose corners are: start below, end below, end above, start above.
_WALL = np.array([0, 1, 2, 0, 2, 3], dtype=np.int64)
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
    """Triangles (t, 3) of all roofs, corners counted from `first`: four convex corners at once, the rest by ear cutting."""
    shells = polygons.polygons[polygons.features[start] : polygons.features[stop] + 1]
    begins, ends = polygons.rings[shells[:-1]], polygons.rings[shells[1:]]
    single = np.diff(shells) == 1
    quads = begins[single & (ends - begins == 4)]
    quads = quads[_convex(polygons.xy, quads)]
    simple = np.isin(begins, quads)
    fan = (quads[:, None] + np.array([0, 1, 2, 0, 2, 3])).reshape(-1, 3) - first
    pieces = [fan]
    for polygon in np.flatnonzero(~simple).tolist():
        begin, end = int(begins[polygon]), int(ends[polygon])
        ring_ends = (polygons.rings[shells[polygon] + 1 : shells[polygon + 1] + 1] - begin).astype(np.uint32)
        cut = earcut.triangulate_float64(polygons.xy[begin:end], ring_ends)
        pieces.append(cut.astype(np.int64).reshape(-1, 3) + (begin - first))
    return np.concatenate(pieces)


def _convex(xy: Positions, begins: NDArray[np.int64]) -> NDArray[np.bool_]:
    """True where the four corners from `begins` turn left everywhere."""
    corners = xy[begins[:, None] + np.arange(4)]
    edges = np.roll(corners, -1, axis=1) - corners
    nexts = np.roll(edges, -1, axis=1)
    turns = edges[..., 0] * nexts[..., 1] - edges[..., 1] * nexts[..., 0]
    return np.asarray((turns > 0.0).all(axis=1))
