"""Polygons in space, with holes, cut into triangles in their own plane."""

from __future__ import annotations

from dataclasses import dataclass

import mapbox_earcut as earcut
import numpy as np
from numpy.typing import NDArray

from tiles.three_d.placement import Positions
from tiles.three_d.ragged import following, spans
from tiles.three_d.ragged import limits as piece_limits

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
    starts = soup.rings[:-1]
    # Column by column: numpy is several times slower along short rows.
    columns = np.ascontiguousarray(soup.corners.T)
    here = columns - np.repeat(columns[:, starts], np.diff(soup.rings), axis=1)
    there = here[:, following(soup.rings)]
    whole = np.empty((len(soup.surfaces) - 1, 3))
    for axis in range(3):
        second, third = (axis + 1) % 3, (axis + 2) % 3
        across = here[second] * there[third] - here[third] * there[second]
        whole[:, axis] = np.add.reduceat(across, starts)[soup.surfaces[:-1]]
    length = np.sqrt(np.einsum("ij,ij->i", whole, whole))
    flat = ~(length > 2.0 * _SMALLEST_AREA)
    normals = whole / np.where(flat, 1.0, length)[:, None]
    normals[flat] = 0.0
    return normals, np.where(flat, 0.0, length / 2.0)


def triangulate(
    soup: PolygonSoup, normals: Positions, fans: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Triangles (t, 3) of corners, in the order of their surfaces, and the surface (t,) each belongs to.

    Surfaces without a normal give none. `fans` (s,) are known to have one ring, whose first corner sees all others; of the rest convex ones are
    cut at once, as fans; the others by ear cutting.
    """
    usable = np.any(normals != 0.0, axis=1)
    if fans is None:
        return _cut(soup, normals, usable)
    known, owners = _fanned(soup.surface_limits(), np.flatnonzero(usable & fans))
    rest = np.flatnonzero(usable & ~fans)
    if not len(rest):
        return known, owners
    part, corners = _part(soup, rest)
    cut, cut_owners = _cut(part, normals[rest], np.ones(len(rest), dtype=np.bool_))
    owner = np.concatenate((owners, rest[cut_owners]))
    order = np.argsort(owner, kind="stable")
    return np.concatenate((known, corners[cut]))[order], owner[order]


def _part(soup: PolygonSoup, rows: NDArray[np.intp]) -> tuple[PolygonSoup, NDArray[np.int64]]:
    """Some surfaces, and the places (c,) of their corners in `soup`."""
    counts = soup.surfaces[rows + 1] - soup.surfaces[rows]
    rings = spans(soup.surfaces[rows], soup.surfaces[rows + 1])
    corners = spans(soup.rings[rings], soup.rings[rings + 1])
    sizes = soup.rings[rings + 1] - soup.rings[rings]
    return PolygonSoup(soup.corners[corners], piece_limits(sizes), piece_limits(counts)), corners


def _fanned(limits: NDArray[np.int64], rows: NDArray[np.intp]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The surfaces `rows` as triangles (t, 3) from their first corner, and the surface (t,) of each."""
    counts = np.diff(limits)[rows] - 2
    first = np.repeat(limits[rows], counts)
    second = spans(limits[rows] + 1, limits[rows] + 1 + counts)
    return np.column_stack((first, second, second + 1)), np.repeat(rows, counts)


def _cut(
    soup: PolygonSoup, normals: Positions, usable: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    limits = soup.surface_limits()
    flat = in_plane(soup, normals)
    convex = usable & _convex(soup, flat)
    fans, fan_owners = _fanned(limits, np.flatnonzero(convex))
    others = np.flatnonzero(usable & ~convex)
    if not len(others):
        return fans, fan_owners
    cuts = []
    ring_ends = (soup.rings[1:] - np.repeat(limits[:-1], np.diff(soup.surfaces))).astype(np.uint32)
    for begin, end, first_ring, last_ring in zip(
        limits[others].tolist(),
        limits[others + 1].tolist(),
        soup.surfaces[others].tolist(),
        soup.surfaces[others + 1].tolist(),
        strict=True,
    ):
        cuts.append(earcut.triangulate_float64(flat[begin:end], ring_ends[first_ring:last_ring]))
    corners = np.concatenate(cuts).astype(np.int64).reshape(-1, 3)
    cut_owners = np.repeat(others, [len(cut) // 3 for cut in cuts])
    owner = np.concatenate((fan_owners, cut_owners))
    order = np.argsort(owner, kind="stable")
    return np.concatenate((fans, corners + limits[cut_owners][:, None]))[order], owner[order]


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
    owner = np.repeat(np.arange(len(sizes)), sizes)
    result = np.empty((len(here), 2))
    np.einsum("ij,ij->i", here, across[owner], out=result[:, 0])
    np.einsum("ij,ij->i", here, second[owner], out=result[:, 1])
    return result


def _convex(soup: PolygonSoup, flat: Positions) -> NDArray[np.bool_]:
    """True (s,) for surfaces of one ring that nowhere turns right at its corners (c, 2) and goes around once."""
    nexts = following(soup.rings)
    edges = flat[nexts] - flat
    after = edges[nexts]
    across = edges[:, 0] * after[:, 1] - edges[:, 1] * after[:, 0]
    starts = soup.surface_limits()[:-1]
    # Corners on a straight line are common: where a wall meets its neighbour's.
    left = np.logical_and.reduceat(across > -_SMALLEST_AREA, starts) & (np.diff(soup.surfaces) == 1)
    # Four corners or more can turn left (or not at all) everywhere and go around twice, or back and forth.
    many = left & (np.diff(soup.surface_limits()) > 3)
    if many.any():
        turns = np.arctan2(across, np.sum(edges * after, axis=1))
        left &= ~many | (np.abs(np.add.reduceat(turns, starts) - 2.0 * np.pi) < 0.1)
    return np.asarray(left)
