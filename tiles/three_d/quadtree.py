"""Which tile of an implicit quadtree holds which feature.

The root's region is split in halves of longitude and latitude (3D Tiles 1.1, implicit tiling, subdivision of regions).
Refinement adds: a tile keeps the largest features of its area, and those that cross a border of its children, so that
every feature lies wholly inside its tile; the rest goes down. So a far view shows the large buildings, and the
geometric error of a tile is the size of the largest feature that is still missing when its children are not drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Below this level tiles are narrower than any city feature is long (root of 100 km: 1.5 m).
MAX_LEVEL = 16
# One draw call's worth of geometry: indices stay 16 bits wide below 65,536 vertices.
VERTICES_PER_TILE = 60_000
_ROOT_MARGIN = 1.001


class Region(NamedTuple):
    """A box of longitude and latitude in degrees; east may exceed 180 where the data cross the antimeridian."""

    west: float
    south: float
    east: float
    north: float


@dataclass(frozen=True, slots=True)
class Tiling:
    """The result. Arrays over features: `level`, `x`, `y` (int64) of the tile each one is in.

    `geometric_error` (m) of the root; a tile of level n has that divided by 2**n. `levels` is the number of levels.
    """

    region: Region
    level: NDArray[np.int64]
    x: NDArray[np.int64]
    y: NDArray[np.int64]
    geometric_error: float
    levels: int

    def keys(self) -> NDArray[np.int64]:
        """One sortable number per feature: level first, then the Morton index inside the level."""
        return (self.level << 48) | morton(self.x, self.y)


def root_region(boxes: NDArray[np.float64], margin: float = _ROOT_MARGIN) -> Region:
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


def assign(
    boxes: NDArray[np.float64],
    sizes: NDArray[np.float64],
    weights: NDArray[np.int64],
    capacity: int = VERTICES_PER_TILE,
) -> Tiling:
    """Put every feature into a tile.

    `boxes` (n, 4) west, south, east, north in degrees; `sizes` (n,) the diagonal of each feature (m); `weights` (n,) its
    vertices; `capacity` the vertices a tile holds before the rest goes to its children.
    """
    region = root_region(boxes)
    count = len(boxes)
    level, x, y = (np.zeros(count, dtype=np.int64) for _ in range(3))
    rest = np.arange(count)
    root_error = 0.0
    for depth in range(MAX_LEVEL + 1):
        level[rest], here_x, here_y = depth, x[rest], y[rest]
        low_x, low_y = cells(region, depth + 1, boxes[rest, 0], boxes[rest, 1])
        high_x, high_y = cells(region, depth + 1, boxes[rest, 2], boxes[rest, 3])
        # Rounding may put a corner a cell away from its parent; such a feature counts as crossing.
        fits = (low_x == high_x) & (low_y == high_y) & (low_x >> 1 == here_x) & (low_y >> 1 == here_y)
        stays = ~fits | _largest(morton(here_x, here_y), sizes[rest], weights[rest], fits, capacity)
        if depth == MAX_LEVEL or stays.all():
            return Tiling(region, level, x, y, root_error, depth + 1)
        goes = ~stays
        rest = rest[goes]
        x[rest], y[rest] = low_x[goes], low_y[goes]
        root_error = max(root_error, float(sizes[rest].max()) * 2**depth)
    raise AssertionError("the last level keeps everything")  # pragma: no cover


def _largest(
    cell: NDArray[np.int64],
    sizes: NDArray[np.float64],
    weights: NDArray[np.int64],
    fits: NDArray[np.bool_],
    capacity: int,
) -> NDArray[np.bool_]:
    """True for the features that fill their cell up to `capacity`, those that must stay first, then by falling size."""
    order = np.lexsort((-sizes, fits, cell))
    sorted_cell = cell[order]
    running = np.cumsum(weights[order])
    starts = np.flatnonzero(np.r_[True, sorted_cell[1:] != sorted_cell[:-1]])
    before = np.repeat(running[starts] - weights[order][starts], np.diff(np.r_[starts, len(order)]))
    result = np.empty(len(order), dtype=np.bool_)
    result[order] = running - before <= capacity
    return result


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
