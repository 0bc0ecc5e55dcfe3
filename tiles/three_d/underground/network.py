"""Lines and points of a network -> tubes, ducts and wells with the colours of their kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from tiles.three_d.mesh import Mesh, join_meshes
from tiles.three_d.objects import Keys, Material, MeshPart, Outlines
from tiles.three_d.placement import LocalFrame, Positions, to_ecef
from tiles.three_d.report import Survivors
from tiles.three_d.underground.axes import (
    FARTHEST_HEIGHT,
    Axes,
    LineHeights,
    Numbers,
    Placing,
    is_line,
    line_axes,
    outlines_around,
    outlines_of,
    pieces_of,
)
from tiles.three_d.underground.kinds import Colour
from tiles.three_d.underground.profiles import FINE_SIDES, PROFILES, Section
from tiles.three_d.underground.sweep import Pieces, drums, sweep

_POINT = 0
# A mitre at a joint of 120 degrees, the sharpest there is, lies twice as far from the axis as the section.
_MITRE_REACH = 2.0
# Pipes from this width (m) on are drawn with more corners and flat lids.
_FINE_FROM = 0.8
# The iron of a manhole's cover: m, and linear grey.
_COVER_HEIGHT = 0.06
_COVER_COLOUR: Colour = (0.08, 0.08, 0.08)
_COVER_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class LineSizes:
    """Sections of n objects: `section` (n,) of `Section`, `width` and `height` (n,) m (equal where round), `kind` (n,) rows of
    the palette, `wall` thickness of hollow ones (m), 0 where the body is full."""

    section: NDArray[np.int64]
    width: Numbers
    height: Numbers
    kind: NDArray[np.int64]
    wall: float = 0.0


@dataclass(frozen=True, slots=True)
class WellHeights:
    """What n points know of their wells, NaN where nothing: heights of cover and bottom, and the depth, metres."""

    top: Numbers
    bottom: Numbers
    depth: Numbers


@dataclass(frozen=True, slots=True)
class Network:
    """Placed lines and wells. `axes` of the lines; wells have their middle's `place` (w, 2), `bottoms`, `tops` (w,).

    `rows` (m,) are the objects that can be drawn, ascending; `well_rows` (w,) those of them that are wells.
    """

    rows: NDArray[np.intp]
    axes: Axes
    well_rows: NDArray[np.intp]
    well_place: Positions
    well_bottoms: Numbers
    well_tops: Numbers
    sizes: LineSizes
    colours: tuple[Colour, ...]
    said: str

    def outlines(self, keys: Keys) -> Outlines:
        """Outlines of `rows`; `keys` (m,) theirs."""
        wells = np.isin(self.rows, self.well_rows)
        lines = self._line_outlines(self.rows[~wells], keys[~wells])
        if not wells.any():
            return lines
        low = np.column_stack((self.well_place, self.well_bottoms))
        high = np.column_stack((self.well_place, self.well_tops + _COVER_HEIGHT))
        weight = np.full(len(low), 8 * FINE_SIDES)
        points = outlines_around(low, high, keys[wells], self.sizes.width[self.well_rows] / 2.0, weight)
        return _merged(lines, points, wells)

    def _line_outlines(self, rows: NDArray[np.intp], keys: Keys) -> Outlines:
        width, height = self.sizes.width[rows], self.sizes.height[rows]
        is_round = self.sizes.section[rows] == Section.CIRCLE
        half = np.maximum(width, height) / 2.0
        diagonal = np.hypot(width, height) / 2.0
        # Upright sections are mitred to the sides only; a steep one is square to its axis, and has no mitre.
        reach = np.where(is_round, half * _MITRE_REACH, np.maximum(width / 2.0 * _MITRE_REACH, diagonal))
        rise = np.where(is_round, half * _MITRE_REACH, diagonal)
        corners = np.array([len(PROFILES[section].points) for section in Section])[self.sizes.section[rows]]
        weight = corners * (2 if self.sizes.wall > 0.0 else 1)
        return outlines_of(self.axes, rows, keys, reach, rise, weight.astype(np.int64))

    def parts(self, frame: LocalFrame) -> list[MeshPart]:
        """All of it in a tile's frame; feature ids count along `rows`. One part for each colour."""
        made: dict[Colour, list[Mesh]] = {}
        self._draw_lines(frame, made)
        self._draw_wells(frame, made)
        # A hollow body is looked at from inside, where its own inner shell faces the eye.
        return [
            MeshPart(join_meshes(meshes), Material(colour=(*colour, 1.0), roughness=0.7))
            for colour, meshes in made.items()
            if meshes
        ]

    def _draw_lines(self, frame: LocalFrame, made: dict[Colour, list[Mesh]]) -> None:
        found = pieces_of(self.axes, self.rows, frame)
        owner = self.rows[found.feature]
        sizes = self.sizes
        section, kind = sizes.section[owner], sizes.kind[owner]
        pieces = Pieces(
            found.start, found.end, sizes.width[owner], sizes.height[owner], found.feature, found.joined
        )
        fine = (np.maximum(pieces.width, pieces.height) >= _FINE_FROM) | (sizes.wall > 0.0)
        groups = (section * len(self.colours) + kind) * 2 + fine
        for group in np.unique(groups).tolist():
            some = pieces.take(groups == group)
            wall = np.full(len(some.width), sizes.wall) if sizes.wall > 0.0 else None
            shape, colour = divmod(group // 2, len(self.colours))
            mesh = sweep(some, Section(shape), wall, fine=bool(group % 2))
            made.setdefault(self.colours[colour], []).append(mesh)

    def _draw_wells(self, frame: LocalFrame, made: dict[Colour, list[Mesh]]) -> None:
        if len(self.well_rows) == 0:
            return
        ends = [
            frame.to_local(to_ecef(self.well_place[:, 0], self.well_place[:, 1], height))
            for height in (self.well_bottoms, self.well_tops, self.well_tops + _COVER_HEIGHT)
        ]
        radius = self.sizes.width[self.well_rows] / 2.0
        feature = np.searchsorted(self.rows, self.well_rows)
        kinds = self.sizes.kind[self.well_rows]
        for kind in np.unique(kinds).tolist():
            one = kinds == kind
            shaft = drums(ends[0][one], ends[1][one], radius[one], feature[one])
            made.setdefault(self.colours[kind], []).append(shaft)
        cover = drums(ends[1], ends[2], radius * _COVER_SHARE, feature)
        made.setdefault(_COVER_COLOUR, []).append(cover)


def _merged(lines: Outlines, points: Outlines, wells: NDArray[np.bool_]) -> Outlines:
    """One list of both, in the order in which `wells` (m,) marks them."""
    order = np.empty(len(wells), dtype=np.intp)
    order[~wells] = np.arange(len(lines))
    order[wells] = len(lines) + np.arange(len(points))
    return Outlines(
        np.concatenate((lines.keys, points.keys))[order],
        np.concatenate((lines.boxes, points.boxes))[order],
        np.concatenate((lines.bottoms, points.bottoms))[order],
        np.concatenate((lines.tops, points.tops))[order],
        np.concatenate((lines.sizes, points.sizes))[order],
        np.concatenate((lines.weights, points.weights))[order],
    )


WIDEST = 200.0
"""Metres; a pipe with a wider section is a mistake in its unit."""


def place_network(
    geometries: NDArray[np.object_],
    heights: LineHeights,
    wells: WellHeights,
    sizes: LineSizes,
    survivors: Survivors,
    placing: Placing,
    colours: Sequence[Colour],
) -> Network:
    """Place lines and points (n,) of a network; what cannot be drawn drops out of `survivors` with its reason.

    Raises PlacementError where the CRS or its heights have no way to WGS 84.
    """
    survivors.drop(shapely.is_missing(geometries) | shapely.is_empty(geometries), "no geometry")
    lines = is_line(geometries)
    points = shapely.get_type_id(geometries) == _POINT
    survivors.drop(~(lines | points), "neither a line nor a point")
    positive = (sizes.width > 0.0) & (sizes.height > 0.0)
    survivors.drop(~positive & (sizes.width < 0.0), "the diameter is negative")
    survivors.drop(~positive, "no diameter above 0 is given")
    survivors.drop(~(np.maximum(sizes.width, sizes.height) <= WIDEST), f"a section wider than {WIDEST:g} m")
    axes, said = line_axes(geometries, heights, survivors, placing)
    placed, rows = _place_wells(geometries, points, wells, survivors, placing)
    kept = np.flatnonzero(survivors.alive)
    return Network(kept, axes, rows, placed[:, :2], placed[:, 2], placed[:, 3], sizes, tuple(colours), said)


def _place_wells(
    geometries: NDArray[np.object_],
    points: NDArray[np.bool_],
    wells: WellHeights,
    survivors: Survivors,
    placing: Placing,
) -> tuple[Positions, NDArray[np.intp]]:
    """Longitude, latitude, bottom and top (w, 4) of the wells that survive, and their rows (w,)."""
    rows = np.flatnonzero(points & survivors.alive)
    if len(rows) == 0:
        return np.empty((0, 4)), rows
    xyz = shapely.get_coordinates(geometries[rows], include_z=True)
    top = wells.top[rows]
    top = np.where(np.isnan(top), placing.ground_at(xyz), top)
    bottom, depth = wells.bottom[rows], wells.depth[rows]
    # Its own z is the cover, but where only that and nothing of ground or cover is known.
    top = np.where(np.isnan(top), xyz[:, 2], top)
    if placing.ground is None:
        top = np.where(np.isnan(top) & np.isnan(bottom), 0.0, top)
    bottom = np.where(np.isnan(bottom), top - depth, bottom)
    top = np.where(np.isnan(top), bottom + depth, top)
    _drop(survivors, rows, ~np.isfinite(xyz[:, :2]).all(axis=1), "a coordinate is not a number")
    _drop(survivors, rows, np.isnan(top), "height of the ground is unknown here")
    _drop(survivors, rows, np.isnan(bottom), "no depth is given")
    _drop(survivors, rows, bottom >= top, "the bottom is not below the top")
    absurd = np.maximum(np.abs(top), np.abs(bottom)) > FARTHEST_HEIGHT
    _drop(survivors, rows, absurd, f"a height or depth of more than {FARTHEST_HEIGHT:,.0f} m")
    alive = survivors.alive[rows]
    rows, xyz, bottom, top = rows[alive], xyz[alive], bottom[alive], top[alive]
    xyz[:, 2] = bottom
    placed, _ = placing.on_globe(xyz)
    result = np.column_stack((placed, placed[:, 2] + (top - bottom)))
    stray = ~np.isfinite(result).all(axis=1)
    _drop(survivors, rows, stray, "outside the area of its CRS, or its height has no way")
    return result[~stray], rows[~stray]


def _drop(survivors: Survivors, rows: NDArray[np.intp], which: NDArray[np.bool_], why: str) -> None:
    survivors.drop_owners(rows, which, why)
