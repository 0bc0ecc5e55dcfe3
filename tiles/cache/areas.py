"""Which tiles a box touches, at any level of any tile matrix set, drawn with a margin around every feature."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from tiles.cache.changes import Box84
from tiles.cache.tile import Tileset
from tiles.errors import TileOutOfRange
from tiles.grids import EARTH_RADIUS, Bounds, Grid, TileRange, grid, transformed


class Reach(NamedTuple):
    """How far beyond a feature's box tiles change with it: `pixels`, and `share` of a tile's edge.

    `block` x `block` tiles are drawn as one picture, in which a label that comes or goes makes room for others: all of them
    change where one does.
    """

    pixels: float = 0.0
    share: float = 0.0
    block: int = 1


WIDEST_MAP = Reach(252.0, 0.0, 2)
"""Of maps whose form does not tell: the widest symbol that a style may have (a line of 100 pixels, 200 beside its feature)."""
VECTOR_REACH = Reach(1.0, 64 / 4096)
"""The buffer of a vector tile, and a pixel for rounding."""
_TOLD = re.compile(r"\.r(\d{1,4})(?:x(\d))?(?:@stale)?$")
_WORLD = (-180.0, -90.0, 180.0, 90.0)
_DEGREES = ("OGC:CRS84", "EPSG:4490")
_MOST_LATITUDE = 89.99  # beyond it the Mercator projection leaves every number


def form_with_reach(form: str, pixels: int, block: int = 1) -> str:
    """The form of a map whose symbols reach so many pixels beyond their features, and that is drawn in blocks of tiles."""
    return f"{form}.r{pixels}" if block == 1 else f"{form}.r{pixels}x{block}"


@lru_cache(maxsize=4096)
def reach_of(tileset: Tileset) -> Reach:
    """How far what is drawn may reach beyond the geometry, for one form of tiles."""
    if tileset.extension == "mvt":
        return VECTOR_REACH
    told = _TOLD.search(tileset.form)
    return WIDEST_MAP if told is None else Reach(float(told[1]), 0.0, int(told[2] or 1))


class TouchedTiles:
    """The tiles of one grid that any of some CRS84 boxes touches. A box with west > east crosses the antimeridian."""

    def __init__(self, grid_id: str, boxes84: Iterable[Box84], reach: Reach) -> None:
        self._pyramid = grid(grid_id)
        self._reach = reach
        widest = max(self._pyramid.matrix(zoom).tile_width for zoom in _levels(self._pyramid))
        margin = reach.pixels + reach.share * widest + (reach.block - 1) * widest
        parts = [part for box in boxes84 for part in _parts(box)]
        self._boxes = [
            found for part in parts if (found := _in_grid(self._pyramid, part, margin)) is not None
        ]

    def ranges(self, zoom: int) -> list[TileRange]:
        """Blocks of tiles of a level that may overlap each other; [] where none is touched, or the grid has no such level."""
        pyramid = self._pyramid
        if not pyramid.min_zoom <= zoom <= pyramid.max_zoom:
            return []
        return list({found for box in self._boxes if (found := _range(pyramid, box, zoom, self._reach))})


def possible(ranges: Sequence[TileRange]) -> int:
    """Tiles in some blocks; those in several are counted several times."""
    return sum((one.max_column - one.min_column + 1) * (one.max_row - one.min_row + 1) for one in ranges)


def in_ranges(ranges: Sequence[TileRange], x: int, y: int) -> bool:
    """Whether a tile lies in one of the blocks."""
    return any(one.min_column <= x <= one.max_column and one.min_row <= y <= one.max_row for one in ranges)


def _parts(box: Box84) -> list[Box84]:
    west, south, east, north = box
    if not all(map(math.isfinite, box)):
        return [_WORLD]
    if west <= east:
        return [box]
    return [(west, south, 180.0, north), (-180.0, south, east, north)]


def _in_grid(pyramid: Grid, box: Box84, margin: float) -> Bounds | None:
    """The box in the CRS of the grid, None where it is far from all tiles; where PROJ cannot say, the whole grid."""
    west, south, east, north = box
    if pyramid.authority_code in _DEGREES:
        return Bounds(*box)
    if pyramid.authority_code == "EPSG:3857":
        return Bounds(
            math.radians(west) * EARTH_RADIUS,
            _northing(south),
            math.radians(east) * EARTH_RADIUS,
            _northing(north),
        )
    world = _extent84(pyramid, margin)
    west, south = max(west, world[0]), max(south, world[1])
    east, north = min(east, world[2]), min(north, world[3])
    if west > east or south > north:
        return None
    try:
        return transformed(pyramid, Bounds(west, south, east, north), "forward")
    except TileOutOfRange:
        return _extent(pyramid, margin)


def _northing(latitude: float) -> float:
    """Of EPSG:3857, beyond the square world too: what lies there may be drawn into it."""
    held = min(max(latitude, -_MOST_LATITUDE), _MOST_LATITUDE)
    return EARTH_RADIUS * math.log(math.tan(math.pi / 4 + math.radians(held) / 2))


@lru_cache(maxsize=256)
def _extent84(pyramid: Grid, margin: float) -> Box84:
    """The CRS84 box around all tiles of a grid and their margins; projections say nothing sound far outside of it."""
    try:
        found = transformed(pyramid, _extent(pyramid, margin), "inverse")
    except TileOutOfRange:
        return _WORLD
    if found.minx > found.maxx:  # it crosses the antimeridian
        return (-180.0, found.miny, 180.0, found.maxy)
    return found


def _extent(pyramid: Grid, margin: float) -> Bounds:
    boxes = []
    for zoom in _levels(pyramid):
        matrix = pyramid.matrix(zoom)
        more = margin * matrix.cell_size
        right = matrix.left + matrix.columns * matrix.tile_width * matrix.cell_size
        bottom = matrix.top - matrix.rows * matrix.tile_height * matrix.cell_size
        boxes.append((matrix.left - more, bottom - more, right + more, matrix.top + more))
    lefts, bottoms, rights, tops = zip(*boxes, strict=True)
    return Bounds(min(lefts), min(bottoms), max(rights), max(tops))


def _levels(pyramid: Grid) -> range:
    return range(pyramid.min_zoom, pyramid.max_zoom + 1)


def _range(pyramid: Grid, box: Bounds, zoom: int, reach: Reach) -> TileRange | None:
    matrix = pyramid.matrix(zoom)
    more = (reach.pixels + reach.share * matrix.tile_width) * matrix.cell_size
    if reach.block > 1:
        return _block_range(pyramid, box, zoom, reach.block, more)
    return _tile_range(pyramid, box, zoom, more)


def _block_range(pyramid: Grid, box: Bounds, zoom: int, block: int, more: float) -> TileRange | None:
    """The tiles of all blocks that are touched; blocks begin at the upper left tile."""
    found = _tile_range(pyramid, box, zoom, more)
    if found is None:
        return None
    columns, rows = pyramid.matrix_size(zoom)
    return TileRange(
        zoom,
        found.min_column - found.min_column % block,
        found.min_row - found.min_row % block,
        min(found.max_column - found.max_column % block + block, columns) - 1,
        min(found.max_row - found.max_row % block + block, rows) - 1,
    )


def _tile_range(pyramid: Grid, box: Bounds, zoom: int, more: float) -> TileRange | None:
    matrix = pyramid.matrix(zoom)
    width, height = matrix.tile_width * matrix.cell_size, matrix.tile_height * matrix.cell_size
    columns = _cells(
        (box.minx - more - matrix.left) / width, (box.maxx + more - matrix.left) / width, matrix.columns
    )
    rows = _cells(
        (matrix.top - box.maxy - more) / height, (matrix.top - box.miny + more) / height, matrix.rows
    )
    if columns is None or rows is None:
        return None
    (first_row, last_row) = rows
    if matrix.from_bottom:
        first_row, last_row = matrix.rows - 1 - last_row, matrix.rows - 1 - first_row
    return TileRange(zoom, columns[0], first_row, columns[1], last_row)


def _cells(low: float, high: float, count: int) -> tuple[int, int] | None:
    """Inclusive indexes of the unit cells within [0, count) that an interval touches; an edge that only meets one does not."""
    tolerance = 1e-9 * max(1.0, abs(high))
    first, last = math.floor(low + tolerance), math.ceil(high - tolerance) - 1
    last = max(last, first)  # a point on a border belongs to the cell after it
    if last < 0 or first >= count:
        return None
    return max(first, 0), min(last, count - 1)
