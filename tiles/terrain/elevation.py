"""Heights from an elevation model, at any place and any coarseness, the same from whichever side they are asked.

Neighbouring tiles must find equal heights on their common edge. So every coarseness is one fixed raster (the model read
with a whole-number factor from its own corner), and a height is a bilinear mean of that raster's pixel centres.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window

from tiles.terrain.errors import TerrainError
from tiles.three_d.placement import (
    HorizontalPath,
    as_crs,
    horizontal_part,
    horizontal_path,
    to_longitude_latitude,
)

# Pixels of one block that is read and kept at a time, and how many blocks are kept: 64 x 4 MB.
BLOCK = 1024
_BLOCKS_KEPT = 64
# Heights outside what the Earth has are gaps that a model forgot to declare.
_LOWEST, _HIGHEST = -12_000.0, 10_000.0

Heights = NDArray[np.float64]


class ElevationModel:
    """An open elevation model: band 1 of a raster with a CRS and a north-up or rotated grid. Use as a context manager.

    Raises TerrainError where the file is not such a raster.
    """

    def __init__(self, path: Path) -> None:
        self._name = path.name
        try:
            self._dataset = rasterio.open(path)
        except RasterioError as error:
            raise TerrainError(f"{path.name} cannot be read as a raster: {error}") from error
        if self._dataset.crs is None:
            self._dataset.close()
            raise TerrainError(f"{path.name} has no CRS; assign one before it becomes terrain")
        self.crs = as_crs(self._dataset.crs.to_wkt())
        self.horizontal = horizontal_part(self.crs)
        self.width, self.height = int(self._dataset.width), int(self._dataset.height)
        self._transform = self._dataset.transform
        self._inverse = ~self._dataset.transform
        self._blocks: OrderedDict[tuple[int, int, int], NDArray[np.float32]] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._dataset.close()

    def pixel_size(self) -> float:
        """The shorter side of a pixel in metres (a degree counts as 111,320 m)."""
        a, b, _, d, e, _ = tuple(self._transform)[:6]
        size = min(float(np.hypot(a, d)), float(np.hypot(b, e)))
        unit = self.horizontal.axis_info[0].unit_conversion_factor
        return size * (111_320.0 if self.horizontal.is_geographic else float(unit))

    def outline(self, steps: int = 32) -> NDArray[np.float64]:
        """Places (n, 2) along the border of the model, in its CRS."""
        along = np.linspace(0.0, 1.0, steps + 1)
        columns = np.concatenate((along, np.ones_like(along), along, np.zeros_like(along))) * self.width
        rows = np.concatenate((np.zeros_like(along), along, np.ones_like(along), along)) * self.height
        x, y = self._transform @ (columns, rows)
        return np.column_stack((x, y))

    def path(self) -> HorizontalPath:
        """The way between the model's CRS and WGS 84: the one its own border takes, so that all its uses agree."""
        return horizontal_path(self.horizontal, self.outline())[0]

    def nearest(self, xy: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The nearest places (n, 2) inside the model, and how far (n,) away they are, in pixels; 0 where inside."""
        column, row = (np.asarray(part, dtype=np.float64) for part in self._inverse @ (xy[:, 0], xy[:, 1]))
        near_column, near_row = np.clip(column, 0.0, self.width), np.clip(row, 0.0, self.height)
        x, y = self._transform @ (near_column, near_row)
        return np.column_stack((x, y)), np.hypot(column - near_column, row - near_row)

    def heights(self, xy: NDArray[np.float64], coarseness: int = 1) -> Heights:
        """Heights (n,) at `xy` (n, 2) in the model's CRS, NaN outside and in gaps.

        `coarseness` is the factor (a power of two) by which the model is reduced before: pixel means, so that far views
        do not flicker.
        """
        column, row = self._inverse @ (xy[:, 0], xy[:, 1])
        column = np.asarray(column, dtype=np.float64) / coarseness - 0.5
        row = np.asarray(row, dtype=np.float64) / coarseness - 0.5
        wide, high = -(-self.width // coarseness), -(-self.height // coarseness)
        inside = (column >= -0.5) & (column <= wide - 0.5) & (row >= -0.5) & (row <= high - 0.5)
        result = np.full(len(xy), np.nan)
        if not inside.any():
            return result
        left, top = np.floor(column[inside]), np.floor(row[inside])
        share_x, share_y = column[inside] - left, row[inside] - top
        total, weight = np.zeros(len(left)), np.zeros(len(left))
        for down, vertical in ((0, 1.0 - share_y), (1, share_y)):
            for right, horizontal in ((0, 1.0 - share_x), (1, share_x)):
                at_row = np.clip(top + down, 0, high - 1).astype(np.int64)
                at_column = np.clip(left + right, 0, wide - 1).astype(np.int64)
                values = self._pixels(at_row, at_column, coarseness)
                part = np.where(np.isnan(values), 0.0, vertical * horizontal)
                total += np.where(np.isnan(values), 0.0, values) * part
                weight += part
        with np.errstate(invalid="ignore", divide="ignore"):
            result[inside] = np.where(weight > 0.0, total / weight, np.nan)
        return result

    def _pixels(self, row: NDArray[np.int64], column: NDArray[np.int64], coarseness: int) -> Heights:
        """Values (n,) of pixels, NaN in gaps, read block by block."""
        block_row, block_column = row // BLOCK, column // BLOCK
        key = block_row * (self.width // BLOCK + 1) + block_column
        if (key == key[0]).all():
            block = self._block(int(block_row[0]), int(block_column[0]), coarseness)
            return block[row % BLOCK, column % BLOCK].astype(np.float64)
        values = np.empty(len(row))
        for one in np.unique(key).tolist():
            chosen = np.flatnonzero(key == one)
            block = self._block(int(block_row[chosen[0]]), int(block_column[chosen[0]]), coarseness)
            values[chosen] = block[row[chosen] % BLOCK, column[chosen] % BLOCK]
        return values

    def _block(self, row: int, column: int, coarseness: int) -> NDArray[np.float32]:
        key = (row, column, coarseness)
        if key not in self._blocks:
            self._blocks[key] = self._read(row, column, coarseness)
            if len(self._blocks) > _BLOCKS_KEPT:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(key)
        return self._blocks[key]

    def _read(self, row: int, column: int, coarseness: int) -> NDArray[np.float32]:
        """One block of the reduced raster, at most BLOCK x BLOCK, gaps as NaN."""
        size = BLOCK * coarseness
        window = Window(column * size, row * size, size, size).intersection(
            Window(0, 0, self.width, self.height)
        )
        shape = (-(-int(window.height) // coarseness), -(-int(window.width) // coarseness))
        try:
            read = self._dataset.read(
                1,
                window=window,
                out_shape=shape,
                masked=True,
                out_dtype="float32",
                resampling=Resampling.average,
            )
        except RasterioError as error:
            raise TerrainError(f"{self._name} is damaged near row {row * size}: {error}") from error
        values = np.ma.filled(read, np.nan).astype(np.float32)
        with np.errstate(invalid="ignore"):
            values[(values < _LOWEST) | (values > _HIGHEST)] = np.nan
        return values


def sample_heights(dem_path: Path, xy: NDArray[np.float64], crs: CRS | str) -> Heights:
    """Heights (n,) float64 of the ground at `xy` (n, 2; x is easting or longitude) in `crs`, in the model's own vertical
    reference; bilinear; NaN outside the model and in its gaps.

    Raises TerrainError where the file is no elevation model, PlacementError where a CRS is unknown.
    """
    places = np.asarray(xy, dtype=np.float64)
    if places.ndim != 2 or places.shape[1] < 2:
        raise TerrainError(f"places have shape {places.shape}; needed is (n, 2)")
    with ElevationModel(dem_path) as model:
        source = horizontal_part(as_crs(crs))
        here = places[:, :2]
        if source != model.horizontal:
            here = model.path().inverse(to_longitude_latitude(source, places)[0])
        result = np.full(len(places), np.nan)
        finite = np.isfinite(here).all(axis=1)
        result[finite] = model.heights(here[finite])
        return result
