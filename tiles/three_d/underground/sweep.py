"""Sections swept along lines: one ring of corners at each end of every straight piece, the rings of a joint being the same.

Everything is arrays over pieces; the only loop runs along the longest line. A round section is carried from joint to joint
without a twist; the other sections stay upright, as ducts, culverts and tunnels are built. Joints too sharp, or pieces too
short, for a mitre end flat, and a round or square body closes the gap between them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.mesh import Mesh, join_meshes
from tiles.three_d.placement import Positions
from tiles.three_d.underground.profiles import FINE_CIRCLE, PROFILES, Profile, Section

# A joint sharper than 120 degrees would stretch its mitre far out of the pipe.
_SHARPEST_MITRE = 0.5
# Sine of the angle to the plumb line below which a piece has no level direction of its own.
_ALMOST_PLUMB = 0.03
# Sine of that angle below which an upright section (a shaft) is held square to its axis instead.
_STEEP = 0.5
_UP = np.array([0.0, 0.0, 1.0])
_BALL_SIDES = 8


@dataclass(frozen=True, slots=True)
class Pieces:
    """Straight pieces of lines in a tile's local frame, in the order of their lines.

    `start`, `end` (s, 3) east, north, up (m), not at one place; `width`, `height` (s,) of the section around the axis, m;
    `feature` (s,) ids; `joined` (s,) True where the piece goes on from the one before it in the same line.
    """

    start: Positions
    end: Positions
    width: NDArray[np.float64]
    height: NDArray[np.float64]
    feature: NDArray[np.int64]
    joined: NDArray[np.bool_]

    def take(self, rows: NDArray[np.bool_]) -> Pieces:
        """The pieces of whole lines: `rows` (s,) must not cut one."""
        return Pieces(
            self.start[rows],
            self.end[rows],
            self.width[rows],
            self.height[rows],
            self.feature[rows],
            self.joined[rows],
        )


class _Rings(NamedTuple):
    """Corners (s, k, 3) of the first and the last ring of each piece, their normals, and which pieces start with a mitre."""

    first: Positions
    last: Positions
    normals: Positions
    along: Positions
    mitred: NDArray[np.bool_]


def sweep(
    pieces: Pieces, section: Section, wall: NDArray[np.float64] | None = None, *, fine: bool = True
) -> Mesh:
    """A closed body around each line. With `wall` (s,) thicknesses it is hollow: outer and inner shell, open at its ends.

    Every body is watertight: each edge has a triangle on either side. A round one that is not `fine` has fewer corners, and its
    lids share their corners with the shell: half the vertices of a short pipe, whose lids are too small to be seen.
    """
    profile = FINE_CIRCLE if fine and section is Section.CIRCLE else PROFILES[section]
    outer = _rings(pieces, profile, section)
    shell = _shell(outer, profile, pieces.feature, inwards=False)
    if wall is not None:
        return join_meshes([shell, *_inside(pieces, section, profile, outer, wall)])
    if fine or section is not Section.CIRCLE:
        parts = [shell, *_lids(outer, profile, pieces.feature)]
    else:
        parts = [replace(shell, triangles=np.concatenate((shell.triangles, _shared_lids(outer))))]
    gap = pieces.joined & ~outer.mitred
    if gap.any():
        parts.append(_fillings(pieces, gap, section))
    return join_meshes(parts)


def _rings(pieces: Pieces, profile: Profile, section: Section) -> _Rings:
    along = pieces.end - pieces.start
    length = np.linalg.norm(along, axis=1)
    along = along / length[:, None]
    upright = section is not Section.CIRCLE
    plumb = np.hypot(along[:, 0], along[:, 1])
    mitred = _mitred(along, pieces, length)
    if upright:
        after = np.flatnonzero(mitred)
        mitred[after] = (plumb[after] >= _STEEP) & (plumb[after - 1] >= _STEEP)
    corners = profile.sized(pieces.width, pieces.height)
    side = _sides(along, mitred, carried=not upright)
    upper = np.cross(side, along)
    if upright:
        upper[plumb >= _STEEP] = _UP
    around = corners[..., :1] * side[:, None] + corners[..., 1:] * upper[:, None]
    shape = profile.sized_normals(pieces.width, pieces.height)
    normals = shape[..., :1] * side[:, None] + shape[..., 1:] * np.cross(side, along)[:, None]
    if upright:
        first, last = _upright_ends(pieces, corners, along, side, upper, mitred)
    else:
        start_shift, end_shift = _mitres(along, around, mitred)
        first = pieces.start[:, None] + around + along[:, None] * start_shift[..., None]
        last = pieces.end[:, None] + around + along[:, None] * end_shift[..., None]
    after = np.flatnonzero(mitred)
    # Equal but for rounding; made the same bits, so that no quantisation can part them.
    first[after] = last[after - 1]
    return _Rings(first, last, normals, along, mitred)


def _mitred(along: Positions, pieces: Pieces, length: NDArray[np.float64]) -> NDArray[np.bool_]:
    """True where a piece starts with a mitre: it goes on from the one before, not too sharply, and both are long enough."""
    mitred = pieces.joined.copy()
    after = np.flatnonzero(mitred)
    before = after - 1
    # Half of the turn: the angle between a piece and the normal of the joint's plane.
    cosine = np.sqrt(np.maximum((1.0 + np.sum(along[before] * along[after], axis=1)) / 2.0, 0.0))
    safe = np.maximum(cosine, _SHARPEST_MITRE)
    half = np.maximum(pieces.width[after], pieces.height[after]) / 2.0
    reach = half * np.sqrt(np.maximum(1.0 - safe**2, 0.0)) / safe
    good = (cosine > _SHARPEST_MITRE) & (reach < 0.5 * np.minimum(length[before], length[after]))
    mitred[after[~good]] = False
    return mitred


def _sides(along: Positions, mitred: NDArray[np.bool_], *, carried: bool) -> Positions:
    """A unit vector across each piece: level; where `carried`, from joint to joint as the mirror image of the one before.

    The mirror is the joint's plane, in which the rings of both pieces lie: so their corners coincide.
    """
    side = np.cross(along, _UP)
    size = np.linalg.norm(side, axis=1)
    plumb = size < _ALMOST_PLUMB
    side[plumb] = np.cross(along[plumb], np.array([0.0, 1.0, 0.0]))
    side /= np.linalg.norm(side, axis=1)[:, None]
    if not carried:
        return side
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
        turned = side[at - 1] - 2.0 * np.sum(side[at - 1] * plane, axis=1)[:, None] * plane
        # Rounding would add up along a line of thousands of vertices.
        turned -= np.sum(turned * along[at], axis=1)[:, None] * along[at]
        side[at] = turned / np.linalg.norm(turned, axis=1)[:, None]
    return side


def _mitres(along: Positions, around: Positions, mitred: NDArray[np.bool_]) -> tuple[Positions, Positions]:
    """Shifts (s, k) along each piece that lay its first and its last ring into the planes of its mitred joints."""
    start_shift, end_shift = np.zeros(around.shape[:2]), np.zeros(around.shape[:2])
    after = np.flatnonzero(mitred)
    before = after - 1
    plane = along[before] + along[after]
    plane /= np.linalg.norm(plane, axis=1)[:, None]
    scale = (-1.0 / np.sum(plane * along[after], axis=1))[:, None]
    start_shift[after] = np.einsum("skc,sc->sk", around[after], plane) * scale
    end_shift[before] = np.einsum("skc,sc->sk", around[before], plane) * scale
    return start_shift, end_shift


def _upright_ends(
    pieces: Pieces,
    corners: Positions,
    along: Positions,
    side: Positions,
    upper: Positions,
    mitred: NDArray[np.bool_],
) -> tuple[Positions, Positions]:
    """Rings in upright planes: at a joint across the middle direction, widened as a mitre is."""
    start_side, end_side = side.copy(), side.copy()
    after = np.flatnonzero(mitred)
    middle = side[after - 1] + side[after]
    size = np.sum(middle * middle, axis=1)
    # Two unit vectors at the angle t: their sum has the length 2 cos(t/2); wanted is its direction over cos(t/2).
    middle *= (2.0 / size)[:, None]
    start_side[after] = middle
    end_side[after - 1] = middle
    across, above = corners[..., :1], corners[..., 1:] * upper[:, None]
    first = pieces.start[:, None] + across * start_side[:, None] + above
    last = pieces.end[:, None] + across * end_side[:, None] + above
    return first, last


def _shell(rings: _Rings, profile: Profile, feature: NDArray[np.int64], *, inwards: bool) -> Mesh:
    count, corners = rings.first.shape[:2]
    near, far = profile.edges[:, 0], profile.edges[:, 1]
    pattern = np.stack((near, near + corners, far + corners, near, far + corners, far), axis=1).reshape(-1, 3)
    if inwards:
        pattern = pattern[:, ::-1]
    triangles = (np.arange(count) * (2 * corners))[:, None, None] + pattern
    normals = -rings.normals if inwards else rings.normals
    return Mesh(
        positions=np.concatenate((rings.first, rings.last), axis=1).reshape(-1, 3),
        normals=np.concatenate((normals, normals), axis=1).reshape(-1, 3),
        feature_ids=np.repeat(feature, 2 * corners),
        triangles=triangles.reshape(-1, 3),
    )


def _open_ends(rings: _Rings) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Pieces whose first, and whose last ring is not shared with a neighbour."""
    return ~rings.mitred, ~np.r_[rings.mitred[1:], False]


def _lids(rings: _Rings, profile: Profile, feature: NDArray[np.int64]) -> list[Mesh]:
    starts, ends = _open_ends(rings)
    first, last = rings.first[:, profile.outline], rings.last[:, profile.outline]
    return [
        _flat(first[starts], -rings.along[starts], feature[starts], forward=True),
        _flat(last[ends], rings.along[ends], feature[ends], forward=False),
    ]


def _shared_lids(rings: _Rings) -> NDArray[np.int64]:
    """Triangles (t, 3) of lids over the corners of the shell's rings, of which a round section has each once."""
    size = rings.first.shape[1]
    starts, ends = _open_ends(rings)
    step = np.arange(1, size - 1)
    fan = np.stack((np.zeros_like(step), step, step + 1), axis=1)
    first = np.flatnonzero(starts)[:, None, None] * (2 * size) + fan
    last = np.flatnonzero(ends)[:, None, None] * (2 * size) + size + fan[:, ::-1]
    return np.concatenate((first.reshape(-1, 3), last.reshape(-1, 3)))


def _flat(corners: Positions, normal: Positions, feature: NDArray[np.int64], *, forward: bool) -> Mesh:
    """Fans over convex rings (c, k, 3); `forward` keeps the order of the corners, which faces against the line."""
    count, size = corners.shape[:2]
    step = np.arange(1, size - 1)
    pattern = np.stack((np.zeros_like(step), step, step + 1), axis=1)
    if not forward:
        pattern = pattern[:, ::-1]
    triangles = np.arange(count)[:, None, None] * size + pattern
    return Mesh(
        corners.reshape(-1, 3),
        np.repeat(normal, size, axis=0),
        np.repeat(feature, size),
        triangles.reshape(-1, 3),
    )


def _inside(
    pieces: Pieces, section: Section, profile: Profile, outer: _Rings, wall: NDArray[np.float64]
) -> list[Mesh]:
    """The inner shell of hollow bodies and the rims that close the wall at open ends."""
    thick = np.minimum(wall, 0.45 * np.minimum(pieces.width, pieces.height))
    hollow = Pieces(
        pieces.start,
        pieces.end,
        pieces.width - 2.0 * thick,
        pieces.height - 2.0 * thick,
        pieces.feature,
        # The inner shell joins where the outer one does.
        outer.mitred,
    )
    inner = _rings(hollow, profile, section)
    starts, ends = _open_ends(outer)
    ring = profile.outline
    return [
        _shell(inner, profile, pieces.feature, inwards=True),
        _rim(
            outer.first[starts][:, ring],
            inner.first[starts][:, ring],
            -outer.along[starts],
            pieces.feature[starts],
            True,
        ),
        _rim(
            outer.last[ends][:, ring],
            inner.last[ends][:, ring],
            outer.along[ends],
            pieces.feature[ends],
            False,
        ),
    ]


def _rim(
    outer: Positions, inner: Positions, normal: Positions, feature: NDArray[np.int64], forward: bool
) -> Mesh:
    """Flat rings between two outlines (c, k, 3) of equal corners."""
    count, size = outer.shape[:2]
    near = np.arange(size)
    far = (near + 1) % size
    pattern = np.stack((near, far, far + size, near, far + size, near + size), axis=1).reshape(-1, 3)
    if not forward:
        pattern = pattern[:, ::-1]
    triangles = (np.arange(count) * (2 * size))[:, None, None] + pattern
    return Mesh(
        np.concatenate((outer, inner), axis=1).reshape(-1, 3),
        np.repeat(normal, 2 * size, axis=0),
        np.repeat(feature, 2 * size),
        triangles.reshape(-1, 3),
    )


def _fillings(pieces: Pieces, gap: NDArray[np.bool_], section: Section) -> Mesh:
    """Bodies around joints without a mitre: balls in round pipes, upright drums in the others."""
    place, width, height = pieces.start[gap], pieces.width[gap], pieces.height[gap]
    feature = pieces.feature[gap]
    if section is Section.CIRCLE:
        return balls(place, width / 2.0, feature)
    half = np.column_stack((np.zeros(len(place)), np.zeros(len(place)), height / 2.0))
    return drums(place - half, place + half, width / 2.0, feature)


def drums(bottom: Positions, top: Positions, radius: NDArray[np.float64], feature: NDArray[np.int64]) -> Mesh:
    """Closed round bodies between two places (n, 3) each, `radius` (n,) m."""
    diameter = 2.0 * radius
    alone = np.zeros(len(feature), dtype=np.bool_)
    return sweep(Pieces(bottom, top, diameter, diameter, feature, alone), Section.CIRCLE)


def balls(centre: Positions, radius: NDArray[np.float64], feature: NDArray[np.int64]) -> Mesh:
    """Closed balls at `centre` (n, 3) of `radius` (n,) m."""
    directions, triangles = _UNIT_BALL
    count, size = len(centre), len(directions)
    positions = centre[:, None] + directions[None] * radius[:, None, None]
    return Mesh(
        positions.reshape(-1, 3),
        np.tile(directions, (count, 1)),
        np.repeat(feature, size),
        (np.arange(count)[:, None, None] * size + triangles).reshape(-1, 3),
    )


def _unit_ball(sides: int) -> tuple[Positions, NDArray[np.int64]]:
    """Directions (v, 3) and triangles of a ball of rings between two poles."""
    rings = sides // 2 - 1
    tilt = np.pi * (np.arange(rings) + 1.0) / (rings + 1.0)
    turn = 2.0 * np.pi * np.arange(sides) / sides
    across, above = np.sin(tilt)[:, None], np.cos(tilt)[:, None] + np.zeros(sides)
    body = np.stack((across * np.cos(turn), across * np.sin(turn), above), axis=2).reshape(-1, 3)
    directions = np.concatenate((body, [[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]))
    near, far = np.arange(sides), (np.arange(sides) + 1) % sides
    north, south = len(body), len(body) + 1
    base = (rings - 1) * sides
    triangles = [np.column_stack((np.full(sides, north), near, far))]
    for ring in range(rings - 1):
        upper, lower = ring * sides, (ring + 1) * sides
        triangles += [
            np.column_stack((upper + near, lower + near, lower + far)),
            np.column_stack((upper + near, lower + far, upper + far)),
        ]
    triangles.append(np.column_stack((np.full(sides, south), base + far, base + near)))
    return directions, np.concatenate(triangles)


_UNIT_BALL = _unit_ball(_BALL_SIDES)
