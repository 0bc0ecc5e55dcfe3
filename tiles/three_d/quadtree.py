"""The implicit quadtree: regions, cells and codes of its tiles.

The root's region is split in halves of longitude and latitude (3D Tiles 1.1, implicit tiling, subdivision of regions).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Below this level tiles are narrower than any city feature is long (root of 100 km: 1.5 m).
MAX_LEVEL = 16
# One draw call's worth of geometry: indices stay 16 bits wide below 65,536 vertices.
VERTICES_PER_TILE = 60_000


class Region(NamedTuple):
    """A box of longitude and latitude in degrees; east may exceed 180 where the data cross the antimeridian."""

    west: float
    south: float
    east: float
    north: float


def root_region(boxes: NDArray[np.float64], margin: float) -> Region:
    """A region around `boxes` (n, 4; west, south, east, north) that is about square on the ground.

    `margin` is its width by that of what it holds: room for what is added later.
    """
    west, south = boxes[:, 0].min(), boxes[:, 1].min()
    east, north = boxes[:, 2].max(), boxes[:, 3].max()
    middle_x, middle_y = float(west + east) / 2.0, float(south + north) / 2.0
    shrink = max(float(np.cos(np.radians(middle_y))), 0.01)
    half = max(float(east - west) * shrink, float(north - south), 1e-5) / 2.0 * margin
    half_x = half / shrink
    if half_x >= 180.0:
        middle_x, half_x = 0.0, 180.0
    return Region(
        middle_x - half_x, max(middle_y - half, -90.0), middle_x + half_x, min(middle_y + half, 90.0)
    )


def tile_region(root: Region, level: int, x: int, y: int) -> Region:
    """The region of one tile, as a client derives it from the root's."""
    width, height = (root.east - root.west) / 2**level, (root.north - root.south) / 2**level
    west, south = root.west + x * width, root.south + y * height
    return Region(west, south, west + width, south + height)


def cells(
    region: Region, level: int, longitude: NDArray[np.float64], latitude: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Column and row (from the south) of places at `level`; those outside the region get the nearest."""
    count = 2**level
    column = np.floor((longitude - region.west) / (region.east - region.west) * count).astype(np.int64)
    row = np.floor((latitude - region.south) / (region.north - region.south) * count).astype(np.int64)
    return np.clip(column, 0, count - 1), np.clip(row, 0, count - 1)


def tile_code(level: NDArray[np.int64], x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.int64]:
    """One sortable number per tile: level first, then the Morton index inside the level."""
    return np.asarray((level << 48) | morton(x, y))


def tile_codes_to_index(
    codes: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Level, x and y (n,) of tile codes (n,)."""
    index = codes & ((1 << 48) - 1)
    return codes >> 48, _gather(index), _gather(index >> 1)


def _gather(value: NDArray[np.int64]) -> NDArray[np.int64]:
    """Every second bit of values below 2**48, from the lowest."""
    value = value & 0x5555555555555555
    value = (value | (value >> 1)) & 0x3333333333333333
    value = (value | (value >> 2)) & 0x0F0F0F0F0F0F0F0F
    value = (value | (value >> 4)) & 0x00FF00FF00FF00FF
    value = (value | (value >> 8)) & 0x0000FFFF0000FFFF
    return np.asarray((value | (value >> 16)) & 0xFFFFFF)


def morton(x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.int64]:
    """Interleaved bits of x (lowest) and y, for values below 2**24."""
    return _spread(x) | (_spread(y) << 1)


def _spread(value: NDArray[np.int64]) -> NDArray[np.int64]:
    value = value & 0xFFFFFF
    value = (value | (value << 16)) & 0x0000FFFF0000FFFF
    value = (value | (value << 8)) & 0x00FF00FF00FF00FF
    value = (value | (value << 4)) & 0x0F0F0F0F0F0F0F0F
    value = (value | (value << 2)) & 0x3333333333333333
    return (value | (value << 1)) & 0x5555555555555555
