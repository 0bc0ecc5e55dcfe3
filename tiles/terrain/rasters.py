"""Elevation models as they are stored, read window by window: one raster file, or a mosaic of many.

Heights come in metres, gaps as NaN, whatever the file's type, unit, scale and nodata value are.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Protocol

import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.windows import Window

from tiles.cache.changes import Box84
from tiles.errors import RasterError
from tiles.rasters.datasets import footprint84
from tiles.rasters.mosaic import MosaicSource
from tiles.rasters.mosaic_index import lease_index
from tiles.rasters.source import Bounds
from tiles.terrain.errors import TerrainError
from tiles.three_d.placement import as_crs

# Heights outside what the Earth has are gaps that a model forgot to declare.
_LOWEST, _HIGHEST = -12_000.0, 10_000.0
_MOSAIC_SUFFIX = ".sqlite"

_UNITS = {
    "": 1.0,
    "m": 1.0,
    "metre": 1.0,
    "metres": 1.0,
    "meter": 1.0,
    "meters": 1.0,
    "ft": 0.3048,
    "foot": 0.3048,
    "feet": 0.3048,
    "international foot": 0.3048,
    "us-ft": 1200.0 / 3937.0,
    "ftus": 1200.0 / 3937.0,
    "us survey foot": 1200.0 / 3937.0,
    "us survey feet": 1200.0 / 3937.0,
    "dm": 0.1,
    "decimetre": 0.1,
    "cm": 0.01,
    "centimetre": 0.01,
    "centimeter": 0.01,
    "mm": 0.001,
    "km": 1000.0,
}


class HeightRaster(Protocol):
    """One band of heights on a grid. `transform` takes (column, row) of pixel corners to coordinates of `crs`."""

    name: str
    crs: CRS
    width: int
    height: int
    transform: Affine

    def read(
        self, left: int, top: int, columns: int, rows: int, shape: tuple[int, int]
    ) -> NDArray[np.float32]:
        """A window of whole pixels, reduced by means to `shape` (rows, columns): metres, NaN in gaps. Raises TerrainError."""
        ...

    def parts84(self) -> list[Box84]:
        """The boxes of the scenes in longitude and latitude; [] for one file."""
        ...

    def close(self) -> None:
        """Let go of files."""
        ...


def open_heights(path: Path) -> HeightRaster:
    """The elevation model in a file: any raster of GDAL, or a mosaic's index. Raises TerrainError."""
    return MosaicHeights(path) if path.suffix == _MOSAIC_SUFFIX else FileHeights(path)


class FileHeights:
    """Band 1 of a raster file; the grid may be turned. Not safe in threads."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        try:
            self._dataset = rasterio.open(path)
        except RasterioError as error:
            raise TerrainError(f"{path.name} cannot be read as a raster: {error}") from error
        try:
            self._check()
        except TerrainError:
            self._dataset.close()
            raise

    def _check(self) -> None:
        dataset = self._dataset
        if dataset.count < 1 or np.dtype(dataset.dtypes[0]).kind == "c":
            raise TerrainError(f"{self.name} has no band of real numbers, which heights would be")
        if dataset.crs is None:
            raise TerrainError(f"{self.name} has no CRS; assign one before it becomes terrain")
        self.crs = as_crs(dataset.crs.to_wkt())
        self.width, self.height = int(dataset.width), int(dataset.height)
        self.transform = dataset.transform
        if not np.isfinite(self.transform[:6]).all() or self.transform.determinant == 0.0:
            raise TerrainError(
                f"{self.name} has a grid without a size: its geotransform is {self.transform[:6]}"
            )
        unit = metres_per_unit(self.crs, dataset.units[0], self.name)
        self._scale, self._offset = float(dataset.scales[0]) * unit, float(dataset.offsets[0]) * unit

    def read(
        self, left: int, top: int, columns: int, rows: int, shape: tuple[int, int]
    ) -> NDArray[np.float32]:
        """See HeightRaster."""
        try:
            read = self._dataset.read(
                1,
                window=Window(left, top, columns, rows),
                out_shape=shape,
                masked=True,
                out_dtype="float32",
                resampling=Resampling.average,
            )
        except RasterioError as error:
            raise TerrainError(f"{self.name} is damaged near row {top}: {error}") from error
        values = np.ma.filled(read, np.nan).astype(np.float32, copy=False)
        if self._scale != 1.0 or self._offset != 0.0:
            values = values * np.float32(self._scale) + np.float32(self._offset)
        return without_nonsense(values)

    def parts84(self) -> list[Box84]:
        """See HeightRaster."""
        return []

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()


class MosaicHeights:
    """Band 1 of a mosaic of many files, as it is now: its grid does not follow scenes that come later."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path, self._source = path, MosaicSource(path)
        try:
            description = self._source.description
        except RasterError as error:
            raise TerrainError(f"{path.name} cannot be read as a mosaic: {error}") from error
        self.crs = description.crs
        self.width, self.height = description.width, description.height
        bounds = description.bounds
        self._cell = ((bounds.east - bounds.west) / self.width, (bounds.north - bounds.south) / self.height)
        self._corner = (bounds.west, bounds.north)
        self.transform = Affine(self._cell[0], 0.0, bounds.west, 0.0, -self._cell[1], bounds.north)
        self._unit = metres_per_unit(self.crs, description.bands[0].unit, self.name)

    def read(
        self, left: int, top: int, columns: int, rows: int, shape: tuple[int, int]
    ) -> NDArray[np.float32]:
        """See HeightRaster."""
        west, north = self._corner[0] + left * self._cell[0], self._corner[1] - top * self._cell[1]
        box = Bounds(west, north - rows * self._cell[1], west + columns * self._cell[0], north)
        reduced = shape != (rows, columns)
        try:
            block = self._source.read(box, shape, [1], resampling="average" if reduced else "bilinear")
        except RasterError as error:
            raise TerrainError(f"{self.name} cannot be read near row {top}: {error}") from error
        values = np.where(block.valid[0], block.values[0], np.nan).astype(np.float32)
        return without_nonsense(values * np.float32(self._unit) if self._unit != 1.0 else values)

    def parts84(self) -> list[Box84]:
        """See HeightRaster."""
        with lease_index(self._path) as index:
            scenes = index.scenes(None, None, index.rules().on_top, -1)
        return [footprint84(scene.bounds, scene.crs) for scene in scenes]

    def close(self) -> None:
        """Nothing is kept open here."""


def without_nonsense(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same heights, those that the Earth does not have as NaN."""
    with np.errstate(invalid="ignore"):
        values[(values < _LOWEST) | (values > _HIGHEST)] = np.nan
    return values


def metres_per_unit(crs: CRS, unit: str | None, name: str) -> float:
    """Metres of one unit of a band: the CRS's vertical axis says it, else the band. Raises TerrainError for an unknown unit.

    Negative where the axis counts downwards.
    """
    vertical = next((part for part in crs.sub_crs_list if part.is_vertical), None)
    axis = vertical.axis_info[0] if vertical is not None else None
    if axis is None and len(crs.axis_info) == 3:
        axis = crs.axis_info[2]
    if axis is not None:
        return float(axis.unit_conversion_factor) * (-1.0 if axis.direction == "down" else 1.0)
    found = _UNITS.get((unit or "").strip().lower().replace("_", " "))
    if found is None or not math.isfinite(found):
        raise TerrainError(
            f"the heights of {name} are in {unit!r}, which is not known; allowed are "
            f"{', '.join(word for word in _UNITS if word)}: set the band's unit (gdal_edit.py -units)"
        )
    return found
