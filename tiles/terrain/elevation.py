"""Heights from an elevation model, at any place and any coarseness, the same from whichever side they are asked.

Neighbouring tiles must find equal heights on their common edge. So every coarseness is one fixed raster (the model read
with a whole-number factor from its own corner), and a height is a bilinear mean of that raster's pixel centres.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from tiles.cache.changes import Box84
from tiles.terrain.rasters import HeightRaster, open_heights
from tiles.three_d.placement import HorizontalPath, horizontal_part, horizontal_path

# Pixels along the edge of one block that is read and kept at a time, and the bytes of all that are kept.
BLOCK = 1024
SMALL_BLOCK = 256
_KEPT_BYTES = 96 << 20
_METRES_PER_DEGREE = 111_320.0

Heights = NDArray[np.float64]


class _Block(NamedTuple):
    """Heights (rows, columns) with one more row and column than a block has, so that it is enough for its own cells."""

    values: NDArray[np.float32]
    whole: bool


class ElevationModel:
    """An open elevation model: band 1 of a raster with a CRS and a north-up or turned grid, or a mosaic. A context manager.

    `block` is the edge of what is read at once: large where all of a model is used, small for a tile now and then. Safe in
    threads. Raises TerrainError where the file is no such raster.
    """

    def __init__(self, path: Path, block: int = BLOCK) -> None:
        self._raster: HeightRaster = open_heights(path)
        self._block = block
        self._most_blocks = max(4, _KEPT_BYTES // (4 * (block + 1) ** 2))
        self.crs = self._raster.crs
        self.horizontal = horizontal_part(self.crs)
        self.width, self.height = self._raster.width, self._raster.height
        self._transform = self._raster.transform
        self._inverse = ~self._raster.transform
        self._wraps = self._is_around_the_world()
        self._blocks: OrderedDict[tuple[int, int, int], _Block] = OrderedDict()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and forget what was read."""
        with self._lock:
            self._blocks.clear()
            self._raster.close()

    def parts84(self) -> list[Box84]:
        """The boxes of what the model is made of in longitude and latitude; [] where it is one file."""
        return self._raster.parts84()

    def _is_around_the_world(self) -> bool:
        """Whether the model's last column lies beside its first, so that the ground goes on between them."""
        if not self.horizontal.is_geographic or self._transform.b or self._transform.d:
            return False
        degrees = float(np.degrees(self.horizontal.axis_info[0].unit_conversion_factor))
        step = abs(self._transform.a) * degrees
        return bool(abs(step * self.width - 360.0) < step / 100.0)

    def pixel_size(self) -> float:
        """The shorter side of a pixel in metres (a degree counts as 111,320 m)."""
        a, b, _, d, e, _ = tuple(self._transform)[:6]
        size = min(float(np.hypot(a, d)), float(np.hypot(b, e)))
        unit = self.horizontal.axis_info[0].unit_conversion_factor
        return size * (_METRES_PER_DEGREE if self.horizontal.is_geographic else float(unit))

    def outline(self, steps: int = 32) -> NDArray[np.float64]:
        """Places (n, 2) along the border of the model, in its CRS: once around, from its first corner back to it."""
        along = np.linspace(0.0, 1.0, steps + 1)
        zeros, ones = np.zeros_like(along), np.ones_like(along)
        columns = np.concatenate((along, ones, along[::-1], zeros)) * self.width
        rows = np.concatenate((zeros, along, ones, along[::-1])) * self.height
        x, y = self._transform @ (columns, rows)
        return np.column_stack((x, y))

    def path(self) -> HorizontalPath:
        """The way between the model's CRS and WGS 84: the one its own border takes, so that all its uses agree."""
        return horizontal_path(self.horizontal, self.outline())[0]

    def unwrapped(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Longitudes of a geographic model within half a turn of its middle, as its grid counts them (0 to 360, say)."""
        if not self.horizontal.is_geographic:
            return xy
        middle, _ = self._transform @ (self.width / 2.0, self.height / 2.0)
        turn = 360.0 / np.degrees(self.horizontal.axis_info[0].unit_conversion_factor)
        result = xy.copy()
        result[:, 0] -= turn * np.round((xy[:, 0] - middle) / turn)
        return result

    def nearest(self, xy: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The nearest places (n, 2) inside the model, and how far (n,) away they are, in pixels; 0 where inside."""
        column, row = (np.asarray(part, dtype=np.float64) for part in self._inverse @ (xy[:, 0], xy[:, 1]))
        near_column, near_row = np.clip(column, 0.0, self.width), np.clip(row, 0.0, self.height)
        x, y = self._transform @ (near_column, near_row)
        return np.column_stack((x, y)), np.hypot(column - near_column, row - near_row)

    def heights(self, xy: NDArray[np.float64], coarseness: int = 1) -> Heights:
        """Heights (n,) at `xy` (n, 2) in the model's CRS, in metres; NaN outside, in gaps and where `xy` is NaN.

        `coarseness` is the factor (a power of two) by which the model is reduced before: pixel means, so that far views
        do not flicker.
        """
        column, row = self._inverse @ (xy[:, 0], xy[:, 1])
        column = np.asarray(column, dtype=np.float64) / coarseness - 0.5
        row = np.asarray(row, dtype=np.float64) / coarseness - 0.5
        wide, high = -(-self.width // coarseness), -(-self.height // coarseness)
        with np.errstate(invalid="ignore"):
            inside = (column >= -0.5) & (row >= -0.5)
            inside &= (column <= self.width / coarseness - 0.5) & (row <= self.height / coarseness - 0.5)
        if not inside.all():
            result = np.full(len(xy), np.nan)
            chosen = np.flatnonzero(inside)
            if chosen.size:
                result[chosen] = self._bilinear(column[chosen], row[chosen], coarseness, (high, wide))
            return result
        return self._bilinear(column, row, coarseness, (high, wide)) if len(xy) else np.empty(0)

    def _bilinear(self, column: Heights, row: Heights, coarseness: int, shape: tuple[int, int]) -> Heights:
        """Between pixel centres; the outer half of the border's pixels is as high as they are."""
        high, wide = shape
        row = np.clip(row, 0.0, high - 1.0)
        if self._wraps:
            column = np.mod(column, self.width / coarseness)
            left = np.minimum(column.astype(np.int64), wide - 1)
        else:
            column = np.clip(column, 0.0, wide - 1.0)
            left = np.minimum(column.astype(np.int64), max(wide - 2, 0))
        top = np.minimum(row.astype(np.int64), max(high - 2, 0))
        part_x, part_y = column - left, row - top
        block_row, block_column = top // self._block, left // self._block
        key = block_row * (wide // self._block + 1) + block_column
        if (key == key[0]).all():
            block = self._one_block(int(block_row[0]), int(block_column[0]), coarseness)
            return _within(block, top % self._block, left % self._block, part_y, part_x)
        result = np.empty(len(column))
        order = np.argsort(key, kind="stable")
        for chosen in np.split(order, np.flatnonzero(np.diff(key[order])) + 1):
            first = chosen[0]
            block = self._one_block(int(block_row[first]), int(block_column[first]), coarseness)
            result[chosen] = _within(
                block, top[chosen] % self._block, left[chosen] % self._block, part_y[chosen], part_x[chosen]
            )
        return result

    def _one_block(self, row: int, column: int, coarseness: int) -> _Block:
        key = (row, column, coarseness)
        with self._lock:
            found = self._blocks.get(key)
            if found is None:
                found = self._blocks[key] = self._read(row, column, coarseness)
                if len(self._blocks) > self._most_blocks:
                    self._blocks.popitem(last=False)
            self._blocks.move_to_end(key)
        return found

    def _read(self, row: int, column: int, coarseness: int) -> _Block:
        """One block of the reduced raster, and the row and column after it, which are its own last ones at the border."""
        left, top = column * self._block * coarseness, row * self._block * coarseness
        size = (self._block + 1) * coarseness
        columns, rows = min(size, self.width - left), min(size, self.height - top)
        shape = (-(-rows // coarseness), -(-columns // coarseness))
        values = self._raster.read(left, top, columns, rows, shape)
        if self._wraps and columns < size:
            first = self._raster.read(0, top, min(coarseness, self.width), rows, (shape[0], 1))
            values = np.concatenate((values, first), axis=1)
            shape = values.shape
        if min(shape) < 2:
            values = np.pad(values, ((0, int(shape[0] < 2)), (0, int(shape[1] < 2))), mode="edge")
        return _Block(values, bool(np.isfinite(values).all()))


def _within(
    block: _Block, row: NDArray[np.int64], column: NDArray[np.int64], down: Heights, right: Heights
) -> Heights:
    """Bilinear means of the four pixels from (row, column) on; of those that have a height where not all do."""
    flat, wide = block.values.ravel(), block.values.shape[1]
    at = row * wide + column
    corners = [flat[at + step].astype(np.float64) for step in (0, 1, wide, wide + 1)]
    if block.whole:
        upper = corners[0] + (corners[1] - corners[0]) * right
        lower = corners[2] + (corners[3] - corners[2]) * right
        return np.asarray(upper + (lower - upper) * down)
    weights = ((1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right)
    total, weight = np.zeros(len(row)), np.zeros(len(row))
    for value, share in zip(corners, weights, strict=True):
        known = np.isfinite(value)
        total += np.where(known, value * share, 0.0)
        weight += np.where(known, share, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(weight > 0.0, total / weight, np.nan)
