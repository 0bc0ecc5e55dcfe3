"""Polygons in space, with holes, cut into triangles in their own plane."""

from __future__ import annotations

from dataclasses import dataclass

import mapbox_earcut as earcut
import numpy as np
from numpy.typing import NDArray

from tiles.three_d.placement import Positions
from tiles.three_d.ragged import following

# Square metres; a smaller surface has no direction.
_SMALLEST_AREA = 1e-6


@dataclass(frozen=True, slots=True)
class PolygonSoup:
    """Surfaces as flat arrays.

    `corners` (c, 3) metres in any right-handed axes; ring r has the corners rings[r] to rings[r + 1], without a closing
    one; surface s has the rings surfaces[s] to surfaces[s + 1], the outer one first, counter-clockwise from outside.
    """

    corners: Positions
    rings: NDArray[np.int64]
    surfaces: NDArray[np.int64]

    def surface_limits(self) -> NDArray[np.int64]:
        """Limits in `corners` of every surface, (s + 1,)."""
        return self.rings[self.surfaces]


def surface_normals(soup: PolygonSoup) -> tuple[Positions, NDArray[np.float64]]:
    """Unit normals (s, 3) by Newell's method over the outer ring, and its area (s,); zero where there is no direction."""
    anchor = np.repeat(soup.corners[soup.rings[:-1]], np.diff(soup.rings), axis=0)
    here = soup.corners - anchor
    there = here[following(soup.rings)]
    whole = np.add.reduceat(np.cross(here, there), soup.rings[:-1], axis=0)[soup.surfaces[:-1]]
    length = np.linalg.norm(whole, axis=1)
    flat = ~(length > 2.0 * _SMALLEST_AREA)
    normals = whole / np.where(flat, 1.0, length)[:, None]
    normals[flat] = 0.0
    return normals, np.where(flat, 0.0, length / 2.0)


def triangulate(soup: PolygonSoup, normals: Positions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Triangles (t, 3) of corners, in the order of their surfaces, and the surface (t,) each belongs to.

    Surfaces without a normal give none. Triangles and convex quadrangles are cut at once, the others by ear cutting.
    """
    limits = soup.surface_limits()
    sizes = np.diff(limits)
    usable = np.any(normals != 0.0, axis=1)
    single = usable & (np.diff(soup.surfaces) == 1)
    flat = in_plane(soup, normals)
    three = np.flatnonzero(single & (sizes == 3))
    four = np.flatnonzero(single & (sizes == 4))
    four = four[_convex(flat[limits[four][:, None] + np.arange(4)])]
    done = np.zeros(len(sizes), dtype=np.bool_)
    done[three] = done[four] = True
    pieces = [
        limits[three][:, None] + np.arange(3),
        (limits[four][:, None] + np.array([0, 1, 2, 0, 2, 3])).reshape(-1, 3),
    ]
    owners = [three, np.repeat(four, 2)]
    for surface in np.flatnonzero(usable & ~done).tolist():
        begin, end = int(limits[surface]), int(limits[surface + 1])
        ends = soup.rings[soup.surfaces[surface] + 1 : soup.surfaces[surface + 1] + 1] - begin
        cut = (
            earcut.triangulate_float64(flat[begin:end], ends.astype(np.uint32))
            .astype(np.int64)
            .reshape(-1, 3)
        )
        pieces.append(cut + begin)
        owners.append(np.full(len(cut), surface))
    owner = np.concatenate(owners).astype(np.int64)
    order = np.argsort(owner, kind="stable")
    return np.concatenate(pieces)[order], owner[order]


def in_plane(soup: PolygonSoup, normals: Positions) -> Positions:
    """Corners (c, 2) in right-handed axes of their surface's plane, counted from the surface's first corner."""
    limits = soup.surface_limits()
    sizes = np.diff(limits)
    least = np.eye(3)[np.argmin(np.abs(normals), axis=1)]
    across = np.cross(normals, least)
    length = np.linalg.norm(across, axis=1)
    across /= np.where(length > 0.0, length, 1.0)[:, None]
    second = np.cross(normals, across)
    here = soup.corners - np.repeat(soup.corners[limits[:-1]], sizes, axis=0)
    x = np.sum(here * np.repeat(across, sizes, axis=0), axis=1)
    y = np.sum(here * np.repeat(second, sizes, axis=0), axis=1)
    return np.column_stack((x, y))


def _convex(quadrangles: Positions) -> NDArray[np.bool_]:
    """True where four corners (n, 4, 2) turn left everywhere."""
    edges = np.roll(quadrangles, -1, axis=1) - quadrangles
    nexts = np.roll(edges, -1, axis=1)
    turns = edges[..., 0] * nexts[..., 1] - edges[..., 1] * nexts[..., 0]
    return np.asarray((turns > 0.0).all(axis=1))
