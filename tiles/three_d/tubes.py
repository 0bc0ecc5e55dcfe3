"""Lines with a diameter as tubes: one ring of corners at each end of every segment, mitred at the joints.

Everything is arrays over segments; the only loop runs along the longest line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.mesh import Mesh, join_meshes
from tiles.three_d.placement import Positions

# A joint sharper than 120 degrees would stretch its mitre far out of the pipe; there both ends are closed flat instead.
_SHARPEST_MITRE = 0.5
# Sine of the angle to the plumb line below which a piece has no level direction of its own.
_ALMOST_PLUMB = 0.03


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
    mitred = _mitred(along, segments, length)
    side = _sides(along, mitred)
    upper = np.cross(side, along)
    angles = np.arange(sides) * (2.0 * np.pi / sides)
    # (s, k, 3): from the axis to the corners of a ring, unit length.
    outward = np.cos(angles)[None, :, None] * side[:, None] + np.sin(angles)[None, :, None] * upper[:, None]
    start_shift, end_shift = _mitres(along, outward, segments.radius, mitred)
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


def _mitred(along: Positions, segments: Segments, length: NDArray[np.float64]) -> NDArray[np.bool_]:
    """True where a piece starts with a mitre: it goes on from the one before, not too sharply, and both are long enough."""
    mitred = segments.joined.copy()
    after = np.flatnonzero(mitred)
    before = after - 1
    # Half of the turn: the angle between a piece and the normal of the joint's plane.
    cosine = np.sqrt(np.maximum((1.0 + np.sum(along[before] * along[after], axis=1)) / 2.0, 0.0))
    safe = np.maximum(cosine, _SHARPEST_MITRE)
    reach = segments.radius[after] * np.sqrt(np.maximum(1.0 - safe**2, 0.0)) / safe
    good = (cosine > _SHARPEST_MITRE) & (reach < 0.5 * np.minimum(length[before], length[after]))
    mitred[after[~good]] = False
    return mitred


def _sides(along: Positions, mitred: NDArray[np.bool_]) -> Positions:
    """A unit vector across each piece: level where a run of mitred pieces starts, then mirrored from joint to joint.

    The mirror is the joint's plane, in which the rings of both pieces lie: so their corners coincide.
    """
    side = np.cross(along, np.array([0.0, 0.0, 1.0]))
    size = np.linalg.norm(side, axis=1)
    plumb = size < _ALMOST_PLUMB
    side[plumb] = np.cross(along[plumb], np.array([0.0, 1.0, 0.0]))
    side /= np.linalg.norm(side, axis=1)[:, None]
    place = np.arange(len(along))
    rank = place - np.maximum.accumulate(np.where(mitred, 0, place))
    order = np.argsort(rank, kind="stable")
    counts = np.bincount(rank)
    done = int(counts[0]) if len(counts) else 0
    for count in counts[1:].tolist():
        at = order[done : done + count]
        done += count
        plane = along[at - 1] + along[at]
        plane /= np.linalg.norm(plane, axis=1)[:, None]
        side[at] = side[at - 1] - 2.0 * np.sum(side[at - 1] * plane, axis=1)[:, None] * plane
    return side


def _mitres(
    along: Positions, outward: Positions, radius: NDArray[np.float64], mitred: NDArray[np.bool_]
) -> tuple[Positions, Positions]:
    """Shifts (s, k) along each piece that lay its first and its last ring into the planes of its mitred joints."""
    start_shift, end_shift = np.zeros(outward.shape[:2]), np.zeros(outward.shape[:2])
    after = np.flatnonzero(mitred)
    before = after - 1
    plane = along[before] + along[after]
    plane /= np.linalg.norm(plane, axis=1)[:, None]
    scale = (-radius[after] / np.sum(plane * along[after], axis=1))[:, None]
    start_shift[after] = np.einsum("skc,sc->sk", outward[after], plane) * scale
    end_shift[before] = np.einsum("skc,sc->sk", outward[before], plane) * scale
    return start_shift, end_shift


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
