"""From which zoom a feature is drawn: what keeps the tiles of a whole city small.

A feature appears at the zoom where its envelope is as long as three screen pixels, or earlier as the representative of its
neighbours: at every zoom a tile has 32 x 32 cells, and in each cell one feature is shown, the largest. From
`full_zoom` on all are shown. Zooms are those of WebMercatorQuad with 256 pixels a tile.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from providers.features.store.zorder import spread_bits

_FULL_TILE = 4000  # features in the densest tile of the zoom from which all are shown
_LAST_ZOOM = 16
_PIXELS = 256
_CELL_BITS = 5  # a tile has two to this power cells along its side
_SHOWN = 3  # pixels


def full_zoom(x: NDArray[np.float64], y: NDArray[np.float64]) -> int:
    """The lowest zoom whose densest tile holds few enough features, 16 at most. `x`, `y`: CRS84 centres, without NaN."""
    tiles = np.sort(_cells(x, y, _LAST_ZOOM))
    for zoom in range(_LAST_ZOOM):
        starts = _run_starts(tiles >> 2 * (_LAST_ZOOM - zoom))
        if int(np.diff(np.append(starts, len(tiles))).max(initial=0)) <= _FULL_TILE:
            return zoom
    return _LAST_ZOOM


def first_zooms(
    x: NDArray[np.float64], y: NDArray[np.float64], size: NDArray[np.float64], full: int
) -> NDArray[np.int64]:
    """Per feature (CRS84 centre; longer side of the envelope, degrees) the zoom it first appears at, `full` at most."""
    with np.errstate(divide="ignore"):
        by_size = np.ceil(np.log2(_SHOWN * 360.0 / _PIXELS / size))
    result = np.clip(by_size, 0, full).astype(np.int64)
    if full == 0 or len(x) == 0:
        return result
    # Sorted by the Z-order number of the finest cells, the features of any coarser cell stand in one run.
    finest = full - 1 + _CELL_BITS
    cells = _cells(x, y, finest)
    order = np.argsort(cells, kind="stable")
    cells, zooms = cells[order], result[order]
    by_rank = np.argsort(-size[order], kind="stable")  # the largest has rank 0
    rank = np.empty(len(x), dtype=np.int64)
    rank[by_rank] = np.arange(len(x))
    for zoom in range(full):
        # Features that are shown anyway come before all others, so a cell that holds one gets no other.
        standing = np.where(zooms <= zoom, rank - len(x), rank)
        first = np.minimum.reduceat(standing, _run_starts(cells >> 2 * (finest - zoom - _CELL_BITS)))
        zooms[by_rank[first[first >= 0]]] = zoom
    result[order] = zooms
    return result


def zoom_of(width: float, height: float, full: int) -> int:
    """The zoom at which a feature first appears by its size alone: envelope in degrees, `full` at most."""
    size = max(width, height)
    if size <= 0:
        return full
    return min(max(math.ceil(math.log2(_SHOWN * 360.0 / _PIXELS / size)), 0), full)


def cell_of(x: float, y: float, zoom: int) -> tuple[int, int]:
    """Column and row of the cell of a tile at this zoom that holds a CRS84 point, counted over the whole world."""
    count = 1 << (zoom + _CELL_BITS)
    latitude = math.radians(min(max(y, -85.05), 85.05))
    row = (1.0 - math.asinh(math.tan(latitude)) / math.pi) / 2.0 * count
    return min(max(int((x + 180.0) / 360.0 * count), 0), count - 1), min(max(int(row), 0), count - 1)


def cell_box(column: int, row: int, zoom: int) -> tuple[float, float, float, float]:
    """West, south, east, north of such a cell, degrees; those at the upper and lower edge reach to the poles."""
    count = 1 << (zoom + _CELL_BITS)
    west, east = column / count * 360.0 - 180.0, (column + 1) / count * 360.0 - 180.0
    north, south = (
        math.degrees(math.atan(math.sinh(math.pi * (1.0 - 2.0 * line / count)))) for line in (row, row + 1)
    )
    return west, -90.0 if row == count - 1 else south, east, 90.0 if row == 0 else north


def _cells(x: NDArray[np.float64], y: NDArray[np.float64], bits: int) -> NDArray[np.int64]:
    """Z-order number of the cell that holds each point, in the square of spherical Mercator cut 2**bits times a side."""
    count = 1 << bits
    latitude = np.radians(np.clip(y, -85.05, 85.05))
    column = np.floor((x + 180.0) / 360.0 * count).astype(np.int64)
    row = np.floor((1.0 - np.arcsinh(np.tan(latitude)) / np.pi) / 2.0 * count).astype(np.int64)
    return spread_bits(np.clip(column, 0, count - 1)) | spread_bits(np.clip(row, 0, count - 1)) << 1


def _run_starts(numbers: NDArray[np.int64]) -> NDArray[np.intp]:
    """Where a new value begins in a sorted array."""
    return np.flatnonzero(np.append(True, numbers[1:] != numbers[:-1])[: len(numbers)])
