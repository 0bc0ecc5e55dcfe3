"""Pipe networks -> 3D Tiles 1.1: lines with depth and diameter as tubes below the ground."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from tiles.three_d.attributes import PropertyTable, property_table
from tiles.three_d.buildings import NO_TITLES, check_ids, measure, sizes_of, take_rows
from tiles.three_d.errors import NothingToBuildError, ThreeDError
from tiles.three_d.glb import Appearance
from tiles.three_d.mesh import Mesh
from tiles.three_d.placement import LocalFrame, Positions, as_crs, to_ecef, unwrap_longitudes
from tiles.three_d.ragged import spans
from tiles.three_d.report import ProblemLog, ReportProblem, Survivors, TilesetSummary
from tiles.three_d.tileset import Features, TilesetFiles, cut_into_tiles, write_tileset
from tiles.three_d.tubes import Segments, tubes
from tiles.three_d.vertical import VerticalReference, to_geodetic

PIPE_COLOUR = (0.10, 0.32, 0.62)
_LINESTRING, _MULTILINESTRING = 1, 5
_METRES_PER_DEGREE = 111_320.0
# Metres; a shorter piece has no direction worth drawing.
_SAME_PLACE = 1e-3
GroundHeights = Callable[[NDArray[np.float64]], NDArray[np.float64]]


class _Axes(NamedTuple):
    """Vertices of the pipes' axes, objects one after the other.

    `place` (v, 3) longitude, latitude (degrees), ellipsoidal height (m); `part` (v,) the line, `owner` (v,) the object.
    """

    place: Positions
    part: NDArray[np.intp]
    owner: NDArray[np.intp]


def build_pipes(
    out_dir: Path,
    lines: Sequence[BaseGeometry | None] | NDArray[np.object_],
    crs: CRS | str,
    depth: ArrayLike | None,
    diameter: ArrayLike,
    *,
    ids: Sequence[str],
    columns: Mapping[str, Sequence[object]],
    ground: float | GroundHeights = 0.0,
    sides: int = 10,
    vertical: VerticalReference | None = None,
    titles: Mapping[str, str] = NO_TITLES,
    attribution: str = "",
    colour: tuple[float, float, float] = PIPE_COLOUR,
    report: ReportProblem | None = None,
) -> TilesetSummary:
    """Draw lines as tubes of `sides` corners and write them as a 3D Tiles 1.1 tileset into `out_dir`.

    `lines` (n,) are (multi)linestrings in `crs` (x is easting or longitude); `depth` (n,) or one number, metres from the
    ground down to the axis, or None where the lines carry the height of their axis as z; `diameter` (n,) or one number,
    metres, outer. `ground` is one height or a function from xy (v, 2) in `crs` to heights (v,). Ground and z refer to
    `vertical` (default: the ellipsoid). An object that cannot be drawn is reported and left out.

    Raises AttributeTableError where lengths differ, PlacementError where the CRS or the heights cannot be placed,
    NothingToBuildError where nothing is left, ThreeDError where `sides` is not 3 to 64.
    """
    if not 3 <= sides <= 64:
        raise ThreeDError(f"a tube of {sides} sides was asked; allowed are 3 to 64")
    count = len(lines)
    check_ids(ids, count)
    survivors = Survivors.all_of(ids, ProblemLog(report))
    width = measure(diameter, count, "diameter")
    survivors.drop(~(np.isfinite(width) & (width > 0.0)), "no diameter above 0 is given")
    deep = None if depth is None else measure(depth, count, "depth")
    if deep is not None:
        survivors.drop(~np.isfinite(deep), "no depth is given")
    reference = vertical or VerticalReference.ellipsoidal()
    axes, said = _axes(lines, as_crs(crs), survivors, deep=deep, ground=ground, vertical=reference)
    kept = np.flatnonzero(survivors.alive)
    if kept.size == 0:
        raise NothingToBuildError(
            f"none of the {count} lines can be drawn ({survivors.first_problem()}); "
            "needed are lines with a length, a diameter above 0 and a depth"
        )
    measures = {"diameter": width[kept]} if deep is None else {"diameter": width[kept], "depth": deep[kept]}
    taken = {name: take_rows(values, kept, count, name) for name, values in columns.items()}
    table = property_table("pipe", [ids[row] for row in kept.tolist()], measures, taken, titles)
    radius = width[kept] / 2.0
    features = _features(axes, kept, radius, sides, table)
    tiled = cut_into_tiles(features)
    features = features.take(tiled.order)
    network = _Network(axes, kept[tiled.order], radius[tiled.order], sides)
    return write_tileset(
        TilesetFiles(out_dir, "pipes", Appearance(colour=colour), attribution),
        features,
        tiled,
        network.mesh,
        log=survivors.log,
        height_reference=said,
    )


def _axes(
    lines: Sequence[BaseGeometry | None] | NDArray[np.object_],
    crs: CRS,
    survivors: Survivors,
    *,
    deep: NDArray[np.float64] | None,
    ground: float | GroundHeights,
    vertical: VerticalReference,
) -> tuple[_Axes, str]:
    """The axes of all lines that can be drawn, and how their heights came to the ellipsoid."""
    source = np.empty(len(lines), dtype=object)
    source[:] = lines
    survivors.drop(shapely.is_missing(source) | shapely.is_empty(source), "no geometry")
    survivors.drop(~np.isin(shapely.get_type_id(source), (_LINESTRING, _MULTILINESTRING)), "not a line")
    rows = np.flatnonzero(survivors.alive)
    parts, part_owner = shapely.get_parts(source[rows], return_index=True)
    xyz, part = shapely.get_coordinates(parts, include_z=True, return_index=True)
    owner = rows[part_owner[part]]
    survivors.drop_owners(owner, ~np.isfinite(xyz[:, :2]).all(axis=1), "a coordinate is not a number")
    if deep is None:
        survivors.drop_owners(owner, ~np.isfinite(xyz[:, 2]), "no depth is given and the line has no z")
    else:
        xyz[:, 2] = _ground_at(ground, xyz[:, :2]) - deep[owner]
        survivors.drop_owners(owner, ~np.isfinite(xyz[:, 2]), "height of the ground is unknown here")
    usable = survivors.alive[owner]
    placed = to_geodetic(crs, xyz[usable], vertical)
    place = np.column_stack((unwrap_longitudes(placed.longitude), placed.latitude, placed.height))
    part, owner = part[usable], owner[usable]
    survivors.drop_owners(owner, ~np.isfinite(place).all(axis=1), "outside the area of its CRS")
    return _without_doubles(place, part, owner, survivors), placed.description


def _ground_at(ground: float | GroundHeights, xy: NDArray[np.float64]) -> NDArray[np.float64]:
    if not callable(ground):
        return np.full(len(xy), float(ground))
    heights = np.full(len(xy), np.nan)
    finite = np.isfinite(xy).all(axis=1)
    heights[finite] = ground(xy[finite])
    return heights


def _without_doubles(
    place: Positions, part: NDArray[np.intp], owner: NDArray[np.intp], survivors: Survivors
) -> _Axes:
    """Leave out vertices that lie on the one before, then lines that have no length any more."""
    ecef = to_ecef(place[:, 0], place[:, 1], place[:, 2])
    step = np.linalg.norm(np.diff(ecef, axis=0), axis=1)
    first = np.r_[True, part[1:] != part[:-1]][: len(part)]
    keep = survivors.alive[owner] & (first | np.r_[True, step > _SAME_PLACE][: len(part)])
    alone = keep & (np.bincount(part[keep], minlength=int(part.max(initial=0)) + 1)[part] < 2)
    keep &= ~alone
    drawn = np.zeros(len(survivors.alive), dtype=np.bool_)
    drawn[owner[keep]] = True
    survivors.drop(~drawn, "line without a length")
    return _Axes(place[keep], part[keep], owner[keep])


def _features(
    axes: _Axes, kept: NDArray[np.intp], radius: NDArray[np.float64], sides: int, table: PropertyTable
) -> Features:
    """Boxes, heights, sizes and weights of the kept objects, widened by their radius."""
    starts = np.searchsorted(axes.owner, kept)
    low = np.minimum.reduceat(axes.place, starts, axis=0)
    high = np.maximum.reduceat(axes.place, starts, axis=0)
    # A mitre reaches out of the axis by at most the radius times the tangent of 60 degrees.
    reach = 2.0 * radius
    north = reach / _METRES_PER_DEGREE
    east = north / np.cos(np.radians(np.clip(np.maximum(np.abs(low[:, 1]), np.abs(high[:, 1])), 0.0, 89.0)))
    boxes = np.column_stack((low[:, 0] - east, low[:, 1] - north, high[:, 0] + east, high[:, 1] + north))
    bottom, top = low[:, 2] - reach, high[:, 2] + reach
    corners = np.diff(np.r_[starts, len(axes.owner)])
    weights = (corners * 2 * sides).astype(np.int64)
    return Features(boxes, bottom, top, sizes_of(boxes, top - bottom), weights, table)


class _Network:
    """The axes in the order of the tiles, made into tubes tile by tile."""

    def __init__(self, axes: _Axes, order: NDArray[np.intp], radius: NDArray[np.float64], sides: int) -> None:
        self._axes = axes
        self._sides = sides
        self._radius = radius
        self._begin = np.searchsorted(axes.owner, order)
        self._end = np.searchsorted(axes.owner, order, side="right")

    def mesh(self, start: int, stop: int, frame: LocalFrame) -> Mesh:
        """The tubes of the objects start..stop-1."""
        begin, end = self._begin[start:stop], self._end[start:stop]
        rows = spans(begin, end)
        place, part = self._axes.place[rows], self._axes.part[rows]
        feature = np.repeat(np.arange(stop - start), end - begin)
        local = frame.to_local(to_ecef(place[:, 0], place[:, 1], place[:, 2]))
        goes_on = part[1:] == part[:-1]
        begins = np.flatnonzero(goes_on)
        joined = np.r_[False, begins[1:] == begins[:-1] + 1]
        segments = Segments(
            start=local[begins],
            end=local[begins + 1],
            radius=self._radius[start:stop][feature[begins]],
            feature=feature[begins],
            joined=joined,
        )
        return tubes(segments, self._sides)
