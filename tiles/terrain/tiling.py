"""The two tilings of quantized-mesh terrain, and which tiles of them a terrain has.

Rows count from the south (TMS), as layer.json and Cesium count them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from tiles.terrain.errors import TerrainError

DEEPEST_LEVEL = 22
METADATA_LEVELS = 10
"""Every tenth level's tiles say in their metadata extension which tiles lie below them, ten levels deep."""
_MOST_BOXES = 256
_MERCATOR_LATITUDE = 85.0511287798066

type Box = tuple[float, float, float, float]
"""West, south, east, north in degrees; west < east, within the world."""


class TileRange(NamedTuple):
    """Columns and rows of tiles of a level, both ends included."""

    west: int
    south: int
    east: int
    north: int

    @property
    def size(self) -> int:
        """How many tiles."""
        return (self.east - self.west + 1) * (self.north - self.south + 1)

    def available(self) -> dict[str, int]:
        """As layer.json and the metadata extension list it."""
        return {"startX": self.west, "startY": self.south, "endX": self.east, "endY": self.north}


@dataclass(frozen=True, slots=True)
class TerrainGrid:
    """A tiling: `columns` x 1 tiles at level 0, each divided in four at every further level."""

    id: Literal["WorldCRS84Quad", "WebMercatorQuad"]
    projection: Literal["EPSG:4326", "EPSG:3857"]
    columns: int

    def size(self, level: int) -> tuple[int, int]:
        """Columns and rows of a level."""
        return self.columns * 2**level, 2**level

    def box(self, level: int, x: int, y: int) -> Box:
        """The tile's rectangle, degrees."""
        columns, rows = self.size(level)
        return (
            -180.0 + 360.0 * x / columns,
            self._latitude(y / rows),
            -180.0 + 360.0 * (x + 1) / columns,
            self._latitude((y + 1) / rows),
        )

    def range_of(self, box: Box, level: int) -> TileRange:
        """The tiles that a box touches."""
        columns, rows = self.size(level)
        west, east = (math.floor((value + 180.0) / 360.0 * columns) for value in (box[0], box[2]))
        south, north = (math.floor(self._share(value) * rows) for value in (box[1], box[3]))
        return TileRange(
            min(max(west, 0), columns - 1),
            min(max(south, 0), rows - 1),
            min(max(east, 0), columns - 1),
            min(max(north, 0), rows - 1),
        )

    def _latitude(self, share: float) -> float:
        if self.columns == 2:
            return -90.0 + 180.0 * share
        return math.degrees(math.atan(math.sinh((2.0 * share - 1.0) * math.pi)))

    def _share(self, latitude: float) -> float:
        """How far north of the tiling's southern edge a latitude lies, 0 to 1."""
        if self.columns == 2:
            return (latitude + 90.0) / 180.0
        held = min(max(latitude, -_MERCATOR_LATITUDE), _MERCATOR_LATITUDE)
        return (math.asinh(math.tan(math.radians(held))) / math.pi + 1.0) / 2.0


GEOGRAPHIC = TerrainGrid("WorldCRS84Quad", "EPSG:4326", 2)
MERCATOR = TerrainGrid("WebMercatorQuad", "EPSG:3857", 1)
GRIDS: dict[str, TerrainGrid] = {grid.id: grid for grid in (GEOGRAPHIC, MERCATOR)}


def grid_by_id(grid_id: str) -> TerrainGrid:
    """A tiling by its id. Raises TerrainError for one that terrain is not made in."""
    found = GRIDS.get(grid_id)
    if found is None:
        raise TerrainError(f"terrain has no tiling {grid_id[:100]!r}; there are: {', '.join(GRIDS)}")
    return found


@dataclass(frozen=True)
class Availability:
    """The tiles of one tiling that a terrain has: all that touch one of `boxes`, down to level `deepest`, and all of level 0.

    Of boxes that overlap each tile is counted once.
    """

    grid: TerrainGrid
    boxes: tuple[Box, ...]
    deepest: int

    @cached_property
    def _levels(self) -> list[list[TileRange] | None]:
        return [None] * (self.deepest + 1)

    def ranges(self, level: int) -> Sequence[TileRange]:
        """Blocks of tiles of a level, no two of which share a tile; () below the deepest level."""
        if not 0 <= level <= self.deepest:
            return ()
        known = self._levels[level]
        if known is None:
            if level == 0:
                known = [TileRange(0, 0, self.grid.columns - 1, 0)]
            else:
                known = _disjoint([self.grid.range_of(box, level) for box in self.boxes])
            self._levels[level] = known
        return known

    def has(self, level: int, x: int, y: int) -> bool:
        """Whether there is such a tile."""
        return any(one.west <= x <= one.east and one.south <= y <= one.north for one in self.ranges(level))

    def count(self, deepest: int | None = None) -> int:
        """Tiles of all levels down to `deepest` (None: all)."""
        last = self.deepest if deepest is None else min(deepest, self.deepest)
        return sum(one.size for level in range(last + 1) for one in self.ranges(level))

    def listed(self, levels: Iterable[int]) -> list[list[dict[str, int]]]:
        """The member `available` of layer.json for these levels."""
        return [[one.available() for one in self.ranges(level)] for level in levels]

    def below(self, level: int, x: int, y: int) -> list[list[dict[str, int]]]:
        """The member `available` of a tile's metadata: the tiles under it, ten levels deep."""
        found: list[list[dict[str, int]]] = []
        for step in range(1, METADATA_LEVELS + 1):
            west, south, wide = x << step, y << step, 1 << step
            parts = [
                TileRange(
                    max(one.west, west),
                    max(one.south, south),
                    min(one.east, west + wide - 1),
                    min(one.north, south + wide - 1),
                )
                for one in self.ranges(level + step)
            ]
            kept = [one.available() for one in parts if one.west <= one.east and one.south <= one.north]
            if not kept:
                break
            found.append(kept)
        return found

    def blocks(self, level: int, edge: int) -> Iterator[TileRange]:
        """The tiles of a level in pieces of at most `edge` x `edge`, cut along multiples of `edge`."""
        for one in self.ranges(level):
            for west in range(one.west - one.west % edge, one.east + 1, edge):
                for south in range(one.south - one.south % edge, one.north + 1, edge):
                    yield TileRange(
                        max(west, one.west),
                        max(south, one.south),
                        min(west + edge - 1, one.east),
                        min(south + edge - 1, one.north),
                    )


def world_boxes(west: float, south: float, east: float, north: float) -> tuple[Box, ...]:
    """A box whose east may lie beyond 180 degrees (west < east) as boxes within the world."""
    low, high = max(south, -90.0), min(north, 90.0)
    if east - west >= 360.0:
        return ((-180.0, low, 180.0, high),)
    shift = 360.0 * math.floor((west + 180.0) / 360.0)
    west, east = west - shift, east - shift
    if east <= 180.0:
        return ((west, low, east, high),)
    return ((west, low, 180.0, high), (-180.0, low, east - 360.0, high))


def few_boxes(boxes: Sequence[Box]) -> tuple[Box, ...]:
    """The same places by at most 256 boxes; where there are more, by the tiles of a level that hold them."""
    unique = tuple(dict.fromkeys(boxes))
    if len(unique) <= _MOST_BOXES:
        return unique
    for level in range(DEEPEST_LEVEL, -1, -1):
        ranges = _disjoint([GEOGRAPHIC.range_of(box, level) for box in unique], most=_MOST_BOXES * 8)
        if len(ranges) <= _MOST_BOXES:
            return tuple(_box_of(level, one) for one in ranges)
    return ((-180.0, -90.0, 180.0, 90.0),)


def _box_of(level: int, one: TileRange) -> Box:
    # A hair inside, so that the tiles beside, which only touch its edges, are not named.
    west, south, _, _ = GEOGRAPHIC.box(level, one.west, one.south)
    _, _, east, north = GEOGRAPHIC.box(level, one.east, one.north)
    hair = 180.0 / 2**level * 1e-6
    return (west + hair, south + hair, east - hair, north - hair)


def _disjoint(ranges: Sequence[TileRange], most: int | None = None) -> list[TileRange]:
    """Blocks without overlap that cover the same tiles. `most`: a bound of the work; where edges are more, one block a range."""
    unique = list(dict.fromkeys(ranges))
    if len(unique) <= 1:
        return unique
    columns = sorted({edge for one in unique for edge in (one.west, one.east + 1)})
    rows = sorted({edge for one in unique for edge in (one.south, one.north + 1)})
    if most is not None and len(columns) * len(rows) > most * most:
        return unique
    covered = np.zeros((len(rows) - 1, len(columns) - 1), dtype=np.bool_)
    for one in unique:
        covered[
            rows.index(one.south) : rows.index(one.north + 1),
            columns.index(one.west) : columns.index(one.east + 1),
        ] = True
    open_runs: dict[tuple[int, int], int] = {}
    found: list[TileRange] = []
    for number in range(len(rows)):
        runs = set(_runs(covered[number])) if number < len(rows) - 1 else set()
        for run in [run for run in open_runs if run not in runs]:
            start = open_runs.pop(run)
            found.append(TileRange(columns[run[0]], rows[start], columns[run[1]] - 1, rows[number] - 1))
        for run in sorted(runs):
            open_runs.setdefault(run, number)
    return sorted(found)


def _runs(row: Any) -> list[tuple[int, int]]:
    """Start and stop of each run of True."""
    steps = np.flatnonzero(np.diff(np.concatenate(([False], row, [False])).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in steps.reshape(-1, 2)]
