"""Windows of whole cells: which cells of a grid a box touches, and where they lie."""

from __future__ import annotations

import math
from typing import NamedTuple

from tiles.rasters.source import Bounds, RasterDescription

_ROUNDING = 1e-3
"""Part of a cell. A box given by its printed edges may miss a cell's edge by a rounding error: so little is none."""


class Window(NamedTuple):
    """Whole cells of a grid: first column from the west, first row from the north, and how many."""

    column: int
    row: int
    width: int
    height: int


def window_of(description: RasterDescription, box: Bounds) -> Window:
    """The cells whose inside a box meets (/req/subsetting/bbox); width or height is 0 where it meets none."""
    x, y = description.resolution
    whole = description.bounds
    columns, rows = description.width, description.height
    left = math.floor(_cut((box.west - whole.west) / x + _ROUNDING, columns))
    right = math.ceil(_cut((box.east - whole.west) / x - _ROUNDING, columns))
    top = math.floor(_cut((whole.north - box.north) / y + _ROUNDING, rows))
    bottom = math.ceil(_cut((whole.north - box.south) / y - _ROUNDING, rows))
    return Window(left, top, max(right - left, 0), max(bottom - top, 0))


def _cut(position: float, count: int) -> float:
    """Cut before it is made whole: a box may be farther away than a cell number can be."""
    return min(max(position, 0.0), float(count))


def cell_of(description: RasterDescription, x: float, y: float) -> tuple[int, int] | None:
    """Column and row of the cell a position of the coverage's own CRS lies in; None outside. The far edges belong to it."""
    whole = description.bounds
    if not (whole.west <= x <= whole.east and whole.south <= y <= whole.north):
        return None
    column = int((x - whole.west) / description.resolution[0])
    row = int((whole.north - y) / description.resolution[1])
    return min(column, description.width - 1), min(row, description.height - 1)


def bounds_of(description: RasterDescription, window: Window) -> Bounds:
    """The outer edges of a window."""
    x, y = description.resolution
    west = description.bounds.west + window.column * x
    north = description.bounds.north - window.row * y
    return Bounds(west, north - window.height * y, west + window.width * x, north)


def meet(first: Bounds, second: Bounds) -> Bounds:
    """What two boxes share; it has no area where they do not meet."""
    return Bounds(
        max(first.west, second.west),
        max(first.south, second.south),
        min(first.east, second.east),
        min(first.north, second.north),
    )
