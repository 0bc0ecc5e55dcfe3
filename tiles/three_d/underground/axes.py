"""Lines with what is known of their heights -> axes on the globe, vertex by vertex."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from tiles.three_d.objects import Keys, Outlines
from tiles.three_d.placement import (
    HorizontalPath,
    LocalFrame,
    Positions,
    outside_area_of_use,
    to_ecef,
    unwrap_longitudes,
)
from tiles.three_d.ragged import spans
from tiles.three_d.report import Survivors
from tiles.three_d.vertical import VerticalReference, to_ellipsoid, to_geodetic

Numbers = NDArray[np.float64]
GroundHeights = Callable[[Positions], Numbers]
"""Heights (n,) of the ground at places (n, 2) in the CRS of the data, NaN where unknown."""

METRES_PER_DEGREE = 111_320.0
LINESTRING, MULTILINESTRING = 1, 5
# Metres; a shorter piece has no direction worth drawing.
_SAME_PLACE = 1e-3
# A pipe that follows the ground gets a vertex where the ground leaves the straight line by more than this (m) ...
_GROUND_TOLERANCE = 0.2
# ... by halving a piece at most so many times (64 parts), and not below this length (m).
_HALVINGS = 6
_SHORTEST_PART = 1.0
_LARGEST_DENSIFIED = 4_000_000
# Metres; the Earth curves away by 2 cm from the middle of a straight piece so long, but by 800 m from one of 200 km.
_LONGEST_PART = 1_000.0


@dataclass(frozen=True, slots=True)
class Placing:
    """What places data on the globe: their CRS, what their heights refer to, and the ground, None where it is not known."""

    crs: CRS
    vertical: VerticalReference
    ground: GroundHeights | None = None
    path: HorizontalPath | None = None
    """The way to WGS 84 that all parts of the data go; None: the best for each part by itself."""

    def on_globe(self, xyz: Positions) -> tuple[Positions, str]:
        """Longitude, latitude (degrees) and ellipsoidal height (m), (n, 3), NaN where impossible; and what was done.

        Raises PlacementError where the CRS or its heights have no way to WGS 84.
        """
        automatic = self.vertical.kind == "automatic" and self.crs.is_compound
        if self.path is None or automatic:
            placed = to_geodetic(self.crs, xyz, self.vertical, metres=True)
            found = np.column_stack((placed.longitude, placed.latitude, placed.height))
            said = placed.description
        else:
            lonlat = self.path.forward(xyz)
            lonlat[outside_area_of_use(self.crs, lonlat)] = np.nan
            height, words = to_ellipsoid(self.crs, lonlat, xyz[:, 2], self.vertical)
            found = np.column_stack((lonlat, height))
            said = f"{words}; {self.path.description}"
        found[:, 0] = unwrap_longitudes(found[:, 0])
        return found, said

    def ground_at(self, xy: Positions) -> Numbers:
        """Heights (n,) of the ground, NaN where it is unknown or a coordinate is no number."""
        heights = np.full(len(xy), np.nan)
        if self.ground is not None:
            finite = np.isfinite(xy[:, :2]).all(axis=1)
            heights[finite] = self.ground(xy[finite, :2])
        return heights


@dataclass(frozen=True, slots=True)
class LineHeights:
    """What n lines know of the height of their axes; NaN where nothing. All arrays (n,), metres.

    `start_level`, `end_level`: heights at the first and the last vertex; `start_depth`, `end_depth`: below the ground there.
    An end that is not known is as its start. `lift`: from where these are measured up to the axis. A line with levels, or with
    two depths that differ, is straight between its ends; one with a single depth follows the ground; one with nothing has
    heights of its own.
    """

    start_level: Numbers
    end_level: Numbers
    start_depth: Numbers
    end_depth: Numbers
    lift: Numbers

    @classmethod
    def unknown(cls, count: int) -> LineHeights:
        """Nothing is known of n lines but their own heights."""
        nothing = np.full(count, np.nan)
        return cls(nothing, nothing, nothing, nothing, np.zeros(count))


class Axes(NamedTuple):
    """Vertices of axes, objects one after the other.

    `place` (v, 3) longitude, latitude (degrees), ellipsoidal height (m); `part` (v,) the line, `owner` (v,) the object's row.
    """

    place: Positions
    part: NDArray[np.intp]
    owner: NDArray[np.intp]


class _Vertices(NamedTuple):
    """Vertices (v, 3) in the CRS of the data with the line (v,) and the object (v,) of each."""

    xyz: Positions
    part: NDArray[np.intp]
    owner: NDArray[np.intp]

    def take(self, rows: NDArray[Any]) -> _Vertices:
        return _Vertices(self.xyz[rows], self.part[rows], self.owner[rows])


def is_line(geometries: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Which (n,) are lines."""
    return np.isin(shapely.get_type_id(geometries), (LINESTRING, MULTILINESTRING))


FARTHEST_HEIGHT = 20_000.0
"""Metres from the zero of the heights; farther is a mistake, and would carry the whole tileset away."""
MOST_CORNERS = 100_000
"""Corners of one line: an object cannot be split over tiles."""


def line_axes(
    geometries: NDArray[np.object_], heights: LineHeights, survivors: Survivors, placing: Placing
) -> tuple[Axes, str]:
    """The axes of the lines among `geometries` (n,) that survive, and how their heights came to the ellipsoid.

    Broken ones drop out of `survivors` (n,). Raises PlacementError where the CRS or its heights have no way to WGS 84.
    """
    endless = is_line(geometries) & (shapely.get_num_coordinates(geometries) > MOST_CORNERS)
    survivors.drop(endless, f"a line of more than {MOST_CORNERS:,} corners; split it")
    rows = np.flatnonzero(survivors.alive & is_line(geometries))
    parts, part_owner = shapely.get_parts(geometries[rows], return_index=True)
    xyz, part = shapely.get_coordinates(parts, include_z=True, return_index=True)
    vertices = _Vertices(xyz, part, rows[part_owner[part]])
    survivors.drop_owners(
        vertices.owner, ~np.isfinite(xyz[:, :2]).all(axis=1), "a coordinate is not a number"
    )
    vertices = vertices.take(survivors.alive[vertices.owner])
    vertices = _with_heights(vertices, heights, survivors, placing)
    vertices = _curved(vertices, placing.crs)
    place, said = placing.on_globe(vertices.xyz)
    survivors.drop_owners(
        vertices.owner,
        ~np.isfinite(place).all(axis=1),
        "outside the area of its CRS, or its height has no way",
    )
    wanted = np.zeros(len(geometries), dtype=np.bool_)
    wanted[rows] = True
    return _without_doubles(place, vertices.part, vertices.owner, survivors, wanted), said


def _curved(vertices: _Vertices, crs: CRS) -> _Vertices:
    """With more vertices on long pieces, so that they follow the Earth instead of cutting through it."""
    xyz, part, owner = vertices.xyz, vertices.part, vertices.owner
    if len(xyz) < 2:
        return vertices
    metres = METRES_PER_DEGREE if crs.is_geographic else crs.axis_info[0].unit_conversion_factor
    length = np.hypot(*np.diff(xyz[:, :2], axis=0).T) * metres * (part[1:] == part[:-1])
    pieces = np.r_[np.ceil(length / _LONGEST_PART), 1.0]
    if not (pieces > 1.0).any() or pieces.sum() > _LARGEST_DENSIFIED:
        return vertices
    counts = np.maximum(pieces, 1.0).astype(np.int64)
    at = np.repeat(np.arange(len(xyz)), counts)
    share = (np.arange(len(at)) - np.repeat(np.cumsum(counts) - counts, counts)) / counts[at]
    following = np.minimum(at + 1, len(xyz) - 1)
    between = xyz[at] + (xyz[following] - xyz[at]) * share[:, None]
    return _Vertices(np.where(share[:, None] > 0.0, between, xyz[at]), part[at], owner[at])


def _with_heights(
    vertices: _Vertices, heights: LineHeights, survivors: Survivors, placing: Placing
) -> _Vertices:
    """The vertices with the heights of their axes, more of them where a line follows the ground."""
    ends = _common_ends(heights)
    by_level = np.isfinite(ends.start_level)
    by_depth = ~by_level & np.isfinite(ends.start_depth)
    sloping = by_depth & (ends.start_depth != ends.end_depth)
    following = by_depth & ~sloping
    if following.any() and placing.ground is not None:
        vertices = _densified(vertices, following[vertices.owner], placing)
    xyz, owner = vertices.xyz.copy(), vertices.owner
    if by_depth.any():
        under = by_depth[owner]
        surface = np.zeros(len(xyz)) if placing.ground is None else np.full(len(xyz), np.nan)
        if placing.ground is not None:
            surface[under] = placing.ground_at(xyz[under])
        survivors.drop_owners(owner, under & np.isnan(surface), "height of the ground is unknown here")
        level = following[owner]
        xyz[level, 2] = surface[level] - ends.start_depth[owner[level]]
        _straighten(xyz, vertices, sloping, surface, -ends.start_depth, -ends.end_depth)
    _straighten(xyz, vertices, by_level, np.zeros(len(xyz)), ends.start_level, ends.end_level)
    xyz[:, 2] += ends.lift[owner]
    survivors.drop_owners(owner, np.isnan(xyz[:, 2]), "no depth is given and the line has no z")
    absurd = np.abs(xyz[:, 2]) > FARTHEST_HEIGHT
    survivors.drop_owners(owner, absurd, f"a height or depth of more than {FARTHEST_HEIGHT:,.0f} m")
    vertices = _Vertices(xyz, vertices.part, owner)
    return vertices.take(survivors.alive[owner])


def _common_ends(heights: LineHeights) -> LineHeights:
    """Where one end is known the other takes its value."""

    def both(start: Numbers, end: Numbers) -> tuple[Numbers, Numbers]:
        return np.where(np.isnan(start), end, start), np.where(np.isnan(end), start, end)

    return LineHeights(
        *both(heights.start_level, heights.end_level),
        *both(heights.start_depth, heights.end_depth),
        heights.lift,
    )


def _straighten(
    xyz: Positions,
    vertices: _Vertices,
    which: NDArray[np.bool_],
    surface: Numbers,
    start: Numbers,
    end: Numbers,
) -> None:
    """Lay the lines of the objects in `which` (n,) straight from `start` to `end` (n,) above `surface` (v,) at their ends.

    A multiline is one run: its height falls along all of its parts.
    """
    rows = np.flatnonzero(which[vertices.owner])
    if len(rows) == 0:
        return
    owner, part = vertices.owner[rows], vertices.part[rows]
    goes_on = np.r_[False, part[1:] == part[:-1]]
    step = np.r_[0.0, np.hypot(*np.diff(xyz[rows, :2], axis=0).T)] * goes_on
    along = np.cumsum(step)
    first = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    last = np.r_[first[1:] - 1, len(rows) - 1]
    counts = last - first + 1
    length = along[last] - along[first]
    share = (along - np.repeat(along[first], counts)) / np.repeat(np.maximum(length, _SAME_PLACE), counts)
    low = (surface[rows[first]] + start[owner[first]]).repeat(counts)
    high = (surface[rows[last]] + end[owner[last]]).repeat(counts)
    xyz[rows, 2] = low + (high - low) * share


def _densified(vertices: _Vertices, following: NDArray[np.bool_], placing: Placing) -> _Vertices:
    """With more vertices where the ground leaves the straight line between two of them: halved as often as that helps.

    Bounded: a piece into 64, all vertices together below four million.
    """
    metres = METRES_PER_DEGREE if placing.crs.is_geographic else 1.0
    surface = placing.ground_at(vertices.xyz)
    look = np.ones(len(vertices.xyz), dtype=np.bool_)
    for _ in range(_HALVINGS):
        xyz, part = vertices.xyz, vertices.part
        begins = np.flatnonzero((part[1:] == part[:-1]) & following[:-1] & look[:-1])
        length = np.hypot(*(xyz[begins + 1, :2] - xyz[begins, :2]).T) * metres
        begins = begins[length > 2.0 * _SHORTEST_PART]
        if len(begins) == 0 or len(xyz) + len(begins) > _LARGEST_DENSIFIED:
            return vertices
        bent, middle = _bends(xyz, surface, begins, placing)
        look = np.zeros(len(xyz), dtype=np.bool_)
        at = begins[bent]
        look[at] = True
        order = np.insert(np.arange(len(xyz)), at + 1, at)
        new = at + 1 + np.arange(len(at))
        vertices = _Vertices(xyz[order], part[order], vertices.owner[order])
        vertices.xyz[new] = (xyz[at] + xyz[at + 1]) / 2.0
        surface = surface[order]
        surface[new] = middle[bent]
        following, look = following[order], look[order]
    return vertices


def _bends(
    xyz: Positions, surface: Numbers, begins: NDArray[np.intp], placing: Placing
) -> tuple[NDArray[np.bool_], Numbers]:
    """Which pieces (b,) leave the ground between their ends, and the ground (b,) at their middles."""
    worst, middle = np.zeros(len(begins)), np.empty(0)
    for share in (0.25, 0.5, 0.75):
        between = xyz[begins, :2] * (1.0 - share) + xyz[begins + 1, :2] * share
        there = placing.ground_at(between)
        straight = surface[begins] * (1.0 - share) + surface[begins + 1] * share
        worst = np.fmax(worst, np.abs(there - straight))
        middle = there if share == 0.5 else middle
    return (worst > _GROUND_TOLERANCE) & np.isfinite(middle), middle


def _without_doubles(
    place: Positions,
    part: NDArray[np.intp],
    owner: NDArray[np.intp],
    survivors: Survivors,
    wanted: NDArray[np.bool_],
) -> Axes:
    """Leave out vertices that lie on the one before, then lines that have no length any more."""
    ecef = to_ecef(place[:, 0], place[:, 1], place[:, 2])
    step = np.linalg.norm(np.diff(ecef, axis=0), axis=1)
    first = np.r_[True, part[1:] != part[:-1]][: len(part)]
    keep = survivors.alive[owner] & (first | np.r_[True, step > _SAME_PLACE][: len(part)])
    alone = keep & (np.bincount(part[keep], minlength=int(part.max(initial=0)) + 1)[part] < 2)
    keep &= ~alone
    drawn = ~wanted
    drawn[owner[keep]] = True
    survivors.drop(~drawn, "line without a length")
    return Axes(place[keep], part[keep], owner[keep])


class AxisPieces(NamedTuple):
    """Straight pieces of some objects in a tile's frame: ends (s, 3), the object's place (s,) in the list asked, `joined` (s,)."""

    start: Positions
    end: Positions
    feature: NDArray[np.int64]
    joined: NDArray[np.bool_]


def pieces_of(axes: Axes, rows: NDArray[np.intp], frame: LocalFrame) -> AxisPieces:
    """The pieces of the objects `rows` (m,), numbered 0 to m - 1 in that order."""
    begin = np.searchsorted(axes.owner, rows)
    end = np.searchsorted(axes.owner, rows, side="right")
    at = spans(begin, end)
    place, part = axes.place[at], axes.part[at]
    feature = np.repeat(np.arange(len(rows)), end - begin)
    local = frame.to_local(to_ecef(place[:, 0], place[:, 1], place[:, 2]))
    goes_on = (part[1:] == part[:-1]) & (feature[1:] == feature[:-1])
    begins = np.flatnonzero(goes_on)
    joined = np.r_[False, begins[1:] == begins[:-1] + 1][: len(begins)]
    return AxisPieces(local[begins], local[begins + 1], feature[begins], joined)


def outlines_of(
    axes: Axes,
    rows: NDArray[np.intp],
    keys: Keys,
    reach: Numbers,
    rise: Numbers,
    ring_vertices: NDArray[np.int64],
) -> Outlines:
    """Outlines of the line objects `rows` (m,), widened by `reach` (m,) metres to the sides and `rise` (m,) up and down;
    `ring_vertices` (m,) for the weight."""
    starts = np.searchsorted(axes.owner, rows)
    if len(rows) == 0:
        return outlines_around(np.empty((0, 3)), np.empty((0, 3)), keys, reach, ring_vertices, rise)
    # An owner of a line is in `rows`, so that neighbouring starts limit an object.
    low = np.minimum.reduceat(axes.place, starts, axis=0)
    high = np.maximum.reduceat(axes.place, starts, axis=0)
    corners = np.searchsorted(axes.owner, rows, side="right") - starts
    return outlines_around(low, high, keys, reach, (corners * 2 * ring_vertices).astype(np.int64), rise)


def outlines_around(
    low: Positions,
    high: Positions,
    keys: Keys,
    reach: Numbers,
    weights: NDArray[np.int64],
    rise: Numbers | float = 0.0,
) -> Outlines:
    """Outlines of boxes from `low` to `high` (m, 3; degrees and metres), widened by `reach` (m,) metres to the sides and by
    `rise` up and down."""
    north = reach / METRES_PER_DEGREE
    latitude = np.clip(np.maximum(np.abs(low[:, 1]), np.abs(high[:, 1])), 0.0, 89.0)
    east = north / np.cos(np.radians(latitude))
    boxes = np.column_stack((low[:, 0] - east, low[:, 1] - north, high[:, 0] + east, high[:, 1] + north))
    bottoms, tops = low[:, 2] - rise, high[:, 2] + rise
    shrink = np.cos(np.radians((boxes[:, 1] + boxes[:, 3]) / 2.0)) * METRES_PER_DEGREE
    sizes = np.sqrt(
        ((boxes[:, 2] - boxes[:, 0]) * shrink) ** 2
        + ((boxes[:, 3] - boxes[:, 1]) * METRES_PER_DEGREE) ** 2
        + (tops - bottoms) ** 2
    )
    return Outlines(keys, boxes, bottoms, tops, sizes, weights)
