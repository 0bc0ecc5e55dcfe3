"""Which tiles a box touches, at any level of any tile matrix set, drawn with a margin around every feature."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache

from tiles.cache.changes import Box84
from tiles.cache.tile import Tileset
from tiles.errors import TileOutOfRange
from tiles.grids import EARTH_RADIUS, Bounds, Grid, TileRange, grid, transformed

MAP_MARGIN = 130.0
"""Pixels around a feature within which its symbol and label are drawn (labels reach 128; a symbol wider than that is not foreseen)."""
VECTOR_MARGIN = 5.0
"""Pixels of a vector tile's buffer (64 of 4,096 units are 4), and one for rounding."""
_WORLD = (-180.0, -90.0, 180.0, 90.0)
_DEGREES = ("OGC:CRS84", "EPSG:4490")
_MOST_LATITUDE = 89.99  # beyond it the Mercator projection leaves every number


def drawing_margin(tileset: Tileset) -> float:
    """Pixels by which what is drawn may reach beyond the geometry, for one form of tiles."""
    return VECTOR_MARGIN if tileset.extension == "mvt" else MAP_MARGIN


class TouchedTiles:
    """The tiles of one grid that any of some CRS84 boxes touches. A box with west > east crosses the antimeridian."""

    def __init__(self, grid_id: str, boxes84: Iterable[Box84], margin: float) -> None:
        self._pyramid = grid(grid_id)
        self._margin = margin
        parts = [part for box in boxes84 for part in _parts(box)]
        self._boxes = [
            found for part in parts if (found := _in_grid(self._pyramid, part, margin)) is not None
        ]

    def ranges(self, zoom: int) -> list[TileRange]:
        """Blocks of tiles of a level that may overlap each other; [] where none is touched, or the grid has no such level."""
        pyramid = self._pyramid
        if not pyramid.min_zoom <= zoom <= pyramid.max_zoom:
            return []
        return list({found for box in self._boxes if (found := _range(pyramid, box, zoom, self._margin))})


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
    for zoom in range(pyramid.min_zoom, pyramid.max_zoom + 1):
        matrix = pyramid.matrix(zoom)
        more = margin * matrix.cell_size
        right = matrix.left + matrix.columns * matrix.tile_width * matrix.cell_size
        bottom = matrix.top - matrix.rows * matrix.tile_height * matrix.cell_size
        boxes.append((matrix.left - more, bottom - more, right + more, matrix.top + more))
    lefts, bottoms, rights, tops = zip(*boxes, strict=True)
    return Bounds(min(lefts), min(bottoms), max(rights), max(tops))


def _range(pyramid: Grid, box: Bounds, zoom: int, margin: float) -> TileRange | None:
    matrix = pyramid.matrix(zoom)
    more = margin * matrix.cell_size
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
