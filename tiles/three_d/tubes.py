"""Lines with a diameter as tubes: one ring of corners at each end of every segment, mitred at the joints.

Everything is arrays over segments; no loop over lines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.mesh import Mesh, join_meshes
from tiles.three_d.placement import Positions

# A joint sharper than 120 degrees would stretch its mitre far out of the pipe; there both ends are closed flat instead.
_SHARPEST_MITRE = 0.5
_ALMOST_VERTICAL = 0.999


@dataclass(frozen=True, slots=True)
class Segments:
    """Straight pieces of lines in a tile's local frame, in the order of their lines.

    `start`, `end` (s, 3) east, north, up (m); `radius` (s,) m; `feature` (s,) ids; `joined` (s,) True where the piece
    goes on from the one before it in the same line.
    """

    start: Positions
    end: Positions
    radius: NDArray[np.float64]
    feature: NDArray[np.int64]
    joined: NDArray[np.bool_]


def tubes(segments: Segments, sides: int) -> Mesh:
    """Tubes of `sides` corners around each segment: smooth along the round, closed at free ends."""
    along = segments.end - segments.start
    length = np.linalg.norm(along, axis=1)
    along = along / length[:, None]
    side, upper = _frames(along)
    angles = np.arange(sides) * (2.0 * np.pi / sides)
    # (s, k, 3): from the axis to the corners of a ring, unit length.
    outward = np.cos(angles)[None, :, None] * side[:, None] + np.sin(angles)[None, :, None] * upper[:, None]
    start_shift, end_shift, mitred = _mitres(along, outward, segments, length)
    around = outward * segments.radius[:, None, None]
    first = segments.start[:, None] + around + along[:, None] * start_shift[..., None]
    last = segments.end[:, None] + around + along[:, None] * end_shift[..., None]
    open_start = ~mitred
    open_end = ~np.r_[mitred[1:], False]
    return join_meshes(
        [
            _shells(first, last, outward, segments.feature),
            _caps(first[open_start], -along[open_start], segments.feature[open_start], forward=True),
            _caps(last[open_end], along[open_end], segments.feature[open_end], forward=False),
        ]
    )


def _frames(along: Positions) -> tuple[Positions, Positions]:
    """Two unit vectors across each direction, the first level; vertical pieces take the level one of the piece before."""
    side = np.cross(along, np.array([0.0, 0.0, 1.0]))
    size = np.linalg.norm(side, axis=1)
    upright = np.abs(along[:, 2]) > _ALMOST_VERTICAL
    side = np.where(
        upright[:, None], np.array([1.0, 0.0, 0.0]), side / np.where(size > 0.0, size, 1.0)[:, None]
    )
    source = np.maximum.accumulate(np.where(upright, -1, np.arange(len(along))))
    taken = side[np.where(source < 0, np.arange(len(along)), source)]
    taken = taken - along * np.sum(taken * along, axis=1)[:, None]
    taken /= np.linalg.norm(taken, axis=1)[:, None]
    return taken, np.cross(taken, along)


def _mitres(
    along: Positions, outward: Positions, segments: Segments, length: NDArray[np.float64]
) -> tuple[Positions, Positions, NDArray[np.bool_]]:
    """Shifts (s, k) along each piece that lay its rings into the planes of its joints, and where the start is such a joint."""
    count = len(along)
    start_shift, end_shift = np.zeros(outward.shape[:2]), np.zeros(outward.shape[:2])
    mitred = segments.joined.copy()
    if count == 0 or not mitred.any():
        return start_shift, end_shift, mitred
    after = np.flatnonzero(mitred)
    before = after - 1
    plane = along[before] + along[after]
    size = np.linalg.norm(plane, axis=1)
    plane /= np.where(size > 0.0, size, 1.0)[:, None]
    cosine = np.sum(plane * along[after], axis=1)
    safe = np.where(cosine > _SHARPEST_MITRE, cosine, 1.0)
    radius = segments.radius[after]
    reach = radius * np.sqrt(1.0 - np.minimum(safe, 1.0) ** 2) / safe
    good = (cosine > _SHARPEST_MITRE) & (reach < 0.5 * np.minimum(length[before], length[after]))
    mitred[after[~good]] = False
    after, before, plane = after[good], before[good], plane[good]
    scale = (-radius[good] / safe[good])[:, None]
    start_shift[after] = np.einsum("skc,sc->sk", outward[after], plane) * scale
    end_shift[before] = np.einsum("skc,sc->sk", outward[before], plane) * scale
    return start_shift, end_shift, mitred


def _shells(first: Positions, last: Positions, outward: Positions, feature: NDArray[np.int64]) -> Mesh:
    count, sides = first.shape[:2]
    ring = np.arange(sides)
    following = (ring + 1) % sides
    pattern = np.stack((ring, ring + sides, following, following, ring + sides, following + sides), axis=1)
    triangles = np.arange(count)[:, None, None] * (2 * sides) + pattern.reshape(-1, 3)
    return Mesh(
        positions=np.concatenate((first, last), axis=1).reshape(-1, 3),
        normals=np.concatenate((outward, outward), axis=1).reshape(-1, 3),
        feature_ids=np.repeat(feature, 2 * sides),
        triangles=triangles.reshape(-1, 3),
    )


def _caps(rings: Positions, normal: Positions, feature: NDArray[np.int64], *, forward: bool) -> Mesh:
    """Flat lids on rings (c, k, 3); `forward` keeps the order of the corners, which faces against the line."""
    count, sides = rings.shape[:2]
    corner = np.arange(1, sides - 1)
    pattern = np.stack((np.zeros_like(corner), corner, corner + 1), axis=1)
    if not forward:
        pattern = pattern[:, ::-1]
    triangles = np.arange(count)[:, None, None] * sides + pattern
    return Mesh(
        positions=rings.reshape(-1, 3),
        normals=np.repeat(normal, sides, axis=0),
        feature_ids=np.repeat(feature, sides),
        triangles=triangles.reshape(-1, 3),
    )
