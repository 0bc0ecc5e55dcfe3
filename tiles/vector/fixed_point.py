"""Vector tile layers from stored fixed-point coordinates: no geometry object is made for what lies inside the tile.

The square world of spherical Mercator (EPSG:3857) is 2^31 units wide, its centre at 0,0, y to the north. A 32-bit number so
reaches one world further on every side, and a unit is 18.7 mm on the equator: a tile of zoom 19 with 4096 cells has cells of one
unit, those of lower zooms cells of a power of two.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from tiles.vector.geometry import TileFrame, encode_geometries
from tiles.vector.layer import MOST_BYTES, bounded_layer
from tiles.vector.message import Commands, Tags
from tiles.vector.paths import (
    LINESTRING,
    MARK_AREA,
    POINT,
    POLYGON,
    Detail,
    joined,
    line_commands,
    point_commands,
    ring_commands,
)

WORLD_BITS = 31
EXTENT_BITS = 12
EXTENT = 1 << EXTENT_BITS
LAST_ZOOM = WORLD_BITS - EXTENT_BITS
"""The last zoom whose cells are as large as a unit; finer ones have to be made of the geometries themselves."""
_EARTH_RADIUS = 6378137.0
_UNITS_PER_METRE = (1 << WORLD_BITS) / (2 * math.pi * _EARTH_RADIUS)
_FARTHEST = (1 << WORLD_BITS) - 1
_MANY_VERTICES = 64  # of one feature: from here on an outline is simplified before it is encoded
_OVERHANG = EXTENT // 16  # cells beyond the margin that a whole feature may reach
_LATITUDE = 89.0

type Flags = NDArray[np.bool_]


def to_units(longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> NDArray[np.int32]:
    """CRS84 degrees as (n, 2) units; latitudes beyond 89 degrees are held there, far outside of the square world."""
    held = np.clip(latitude, -_LATITUDE, _LATITUDE)
    metres = np.column_stack([np.radians(longitude), np.arctanh(np.sin(np.radians(held)))]) * _EARTH_RADIUS
    return np.clip(np.rint(metres * _UNITS_PER_METRE), -_FARTHEST, _FARTHEST).astype(np.int32)


@dataclass(frozen=True, slots=True)
class FixedFeatures:
    """Features as flat arrays. Each has one tile geometry type; closing vertices of rings are left out.

    `bounds` is (n, 4): minx, miny, maxx, maxy in units. `paths[i]` lines or rings (one for points) belong to feature i,
    `sizes[p]` vertices to path p, where `holes[p]` tells interior rings, which follow their exterior one.
    """

    ids: NDArray[np.uint64]
    known: Flags
    kinds: NDArray[np.uint8]
    bounds: NDArray[np.int32]
    paths: NDArray[np.int64]
    sizes: NDArray[np.int64]
    holes: Flags
    vertices: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.kinds)

    def vertex_counts(self) -> NDArray[np.int64]:
        """Vertices of each feature."""
        totals = np.concatenate([[0], np.cumsum(self.sizes)])
        ends = np.cumsum(self.paths)
        counts: NDArray[np.int64] = totals[ends] - totals[ends - self.paths]
        return counts

    def select(self, chosen: Flags) -> FixedFeatures:
        """The features flagged."""
        if chosen.all():
            return self
        of_paths = np.repeat(chosen, self.paths)
        of_vertices = np.flatnonzero(np.repeat(of_paths, self.sizes))
        return FixedFeatures(
            self.ids[chosen],
            self.known[chosen],
            self.kinds[chosen],
            self.bounds[chosen],
            self.paths[chosen],
            self.sizes[of_paths],
            self.holes[of_paths],
            self.vertices[of_vertices],
        )


class TileFraming(NamedTuple):
    """A tile of WebMercatorQuad, up to LAST_ZOOM; `row` counts from the top, `buffer` is in cells."""

    zoom: int
    column: int
    row: int
    buffer: int = 64

    @property
    def shift(self) -> int:
        """A cell is two to this power units wide."""
        return LAST_ZOOM - self.zoom

    @property
    def left_top(self) -> tuple[int, int]:
        """The tile's upper left corner in units."""
        span, half = 1 << (WORLD_BITS - self.zoom), 1 << (WORLD_BITS - 1)
        return self.column * span - half, half - self.row * span

    def box(self, margin: int | None = None) -> tuple[int, int, int, int]:
        """The tile with a margin in cells (None: its own): minx, miny, maxx, maxy in units."""
        left, top = self.left_top
        span = 1 << (WORLD_BITS - self.zoom)
        margin = (self.buffer if margin is None else margin) << self.shift
        return left - margin, top - span - margin, left + span + margin, top + margin

    def cells(self, vertices: NDArray[np.int32]) -> NDArray[np.int32]:
        """Tile coordinates of vertices within one world of the tile, rounded to the nearest cell."""
        left, top = self.left_top
        half = (1 << self.shift) >> 1
        cells = np.empty_like(vertices)
        np.subtract(vertices[:, 0], np.int64(left - half), out=cells[:, 0], casting="unsafe")
        np.subtract(np.int64(top + half), vertices[:, 1], out=cells[:, 1], casting="unsafe")
        cells >>= self.shift
        return cells


class LayerDetail(NamedTuple):
    """How much of a layer is kept: `tolerance` in cells for outlines of many vertices, `detail` for small rings, and the
    bytes that the layer may take."""

    tolerance: float
    detail: Detail
    most_bytes: int


FULL_DETAIL = LayerDetail(1.0, Detail(marks=True), MOST_BYTES)
"""Of tiles that show every feature: a polygon smaller than a cell is a small square."""
OVERVIEW_DETAIL = LayerDetail(2.0, Detail(MARK_AREA, marks=True), MOST_BYTES)
"""Of tiles that are not to show every feature."""


def encode_fixed_layer(
    name: str,
    features: FixedFeatures,
    tags: Callable[[NDArray[np.intp]], Tags],
    framing: TileFraming,
    detail: LayerDetail = FULL_DETAIL,
) -> bytes:
    """One vector tile layer; b"" where nothing is left.

    `features` should be those that `touching` keeps. `tags` gives the attributes of features by their (rising) positions: it
    is asked about those that have something to draw. Where the layer would grow beyond its bytes, the features of the smallest
    boxes are left out.
    """
    commands = _commands(features, framing, detail)
    return bounded_layer(name, commands, tags, features, EXTENT, detail.most_bytes)


def touching(bounds: NDArray[np.int32], framing: TileFraming) -> Flags:
    """Which boxes meet the tile with its margin."""
    minx, miny, maxx, maxy = framing.box()
    flags: Flags = (
        (bounds[:, 0] <= maxx) & (bounds[:, 2] >= minx) & (bounds[:, 1] <= maxy) & (bounds[:, 3] >= miny)
    )
    return flags


def _commands(features: FixedFeatures, framing: TileFraming, detail: LayerDetail) -> Commands:
    bounds = features.bounds
    # What reaches only a little over the margin is left whole: to cut it would cost more than its few bytes, and a client
    # that draws it needs no cut.
    minx, miny, maxx, maxy = framing.box(framing.buffer + _OVERHANG)
    by_hand = (
        (bounds[:, 0] >= minx) & (bounds[:, 2] <= maxx) & (bounds[:, 1] >= miny) & (bounds[:, 3] <= maxy)
    )
    by_hand &= features.vertex_counts() <= _MANY_VERTICES
    whole = features.select(by_hand)
    numbers = np.flatnonzero(by_hand)
    commands = []
    for kind in (POINT, LINESTRING, POLYGON):
        chosen = whole.kinds == kind
        if chosen.any():
            commands.append(_plain(whole.select(chosen), numbers[chosen], kind, framing, detail.detail))
    if len(numbers) < len(features):
        commands.append(_clipped(features.select(~by_hand), np.flatnonzero(~by_hand), framing, detail))
    return joined(commands)


def _plain(
    features: FixedFeatures, numbers: NDArray[np.intp], kind: int, framing: TileFraming, detail: Detail
) -> Commands:
    """Commands of features of one kind that lie in the tile; `numbers` are their positions among all."""
    cells = framing.cells(features.vertices)
    owners = np.repeat(numbers, features.paths)
    if kind == POINT:
        return point_commands(cells, np.repeat(owners, features.sizes))
    path = np.repeat(np.arange(len(owners)), features.sizes)
    if kind == LINESTRING:
        return line_commands(cells, path, owners)
    return ring_commands(cells, path, features.holes, owners, detail)


def _clipped(
    features: FixedFeatures, numbers: NDArray[np.intp], framing: TileFraming, detail: LayerDetail
) -> Commands:
    """Commands of features that have to be cut or simplified."""
    left, top = framing.left_top
    span = 1 << (WORLD_BITS - framing.zoom)
    frame = TileFrame((left, top - span, left + span, top), EXTENT, framing.buffer)
    commands = encode_geometries(shapes_of(features), frame, detail.tolerance, detail.detail)
    return Commands(numbers[commands.features], commands.types, commands.numbers, commands.counts)


def shapes_of(features: FixedFeatures) -> NDArray[np.object_]:
    """Multi-part shapely geometries in units."""
    shapes = np.empty(len(features), dtype=object)
    coordinates = features.vertices.astype(np.float64)
    owners = np.repeat(np.arange(len(features)), features.paths)
    of_path = np.repeat(np.arange(len(features.sizes)), features.sizes)
    kinds = features.kinds[owners]
    for kind in np.unique(features.kinds).tolist():
        paths = np.flatnonzero(kinds == kind)
        mine = np.flatnonzero(kinds[of_path] == kind)
        if kind == POINT:
            parts = np.asarray(shapely.points(coordinates[mine]), dtype=object)
            shapely.multipoints(parts, indices=owners[of_path[mine]], out=shapes)
            continue
        local = np.repeat(np.arange(len(paths)), features.sizes[paths])
        if kind == LINESTRING:
            parts = np.asarray(shapely.linestrings(coordinates[mine], indices=local), dtype=object)
            shapely.multilinestrings(parts, indices=owners[paths], out=shapes)
            continue
        rings = np.asarray(shapely.linearrings(coordinates[mine], indices=local), dtype=object)
        exterior = ~features.holes[paths]
        polygon = np.cumsum(exterior) - 1
        parts = np.asarray(shapely.polygons(rings, indices=polygon), dtype=object)
        shapely.multipolygons(parts, indices=owners[paths[exterior]], out=shapes)
    return shapes
