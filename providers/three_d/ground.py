"""The height of the ground at objects: from an elevation model of which the tileset keeps its own piece."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
from numpy.typing import NDArray

from tiles.three_d.errors import ThreeDError
from tiles.three_d.placement import Positions

GROUND_FILE = "scene/ground.tif"
# Pixels around the objects: sampling looks at its neighbours, and an edit may reach over the border.
_MARGIN_PIXELS = 16
_BLOCK = 2048
_SAMPLES = 256


class Ground:
    """Heights of one raster, its gaps filled with one height. The file stays open; opened at the first question."""

    def __init__(self, raster: Path, crs: pyproj.CRS, default: float) -> None:
        from tiles.terrain import HeightSampler

        self._sampler = HeightSampler(raster, crs)
        self._default = default

    def heights(self, xy: Positions) -> NDArray[np.float64]:
        """Heights (m, (n,)) at places (n, 2) of the CRS; the default outside the raster and in its gaps."""
        if not len(xy):
            return np.empty(0)
        found = np.asarray(self._sampler.heights(xy), dtype=np.float64)
        return np.where(np.isnan(found), self._default, found)


def clip_ground(raster: Path, bbox84: tuple[float, ...], target: Path) -> float:
    """Copy the part of `raster` below `bbox84` (CRS84, 4 or 6 numbers) to `target`; the median of its heights.

    Read and written in blocks, so it may be large. Raises ThreeDError where the raster has no height there.
    """
    import rasterio
    from rasterio.enums import Resampling
    from rasterio.errors import RasterioError
    from rasterio.windows import Window

    middle = len(bbox84) // 2
    bounds = (bbox84[0], bbox84[1], bbox84[middle], bbox84[middle + 1])
    try:
        with rasterio.open(raster) as source:
            window = _window_of(source, bounds)
            if window is None:
                raise ThreeDError(
                    f"The raster {raster.name} has no height at any of these features: it lies elsewhere."
                )
            profile = {
                "driver": "GTiff", "count": 1, "dtype": source.dtypes[0], "crs": source.crs,
                "transform": source.window_transform(window), "nodata": source.nodata,
                "width": int(window.width), "height": int(window.height),
                "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate",
                "predictor": 3 if source.dtypes[0].startswith("float") else 2, "BIGTIFF": "IF_SAFER",
            }  # fmt: skip
            target.parent.mkdir(parents=True, exist_ok=True)
            with rasterio.open(target, "w", **profile) as copy:
                copy.scales, copy.offsets = source.scales[:1], source.offsets[:1]
                copy.units = source.units[:1]
                copy.update_tags(**source.tags())
                for row in range(0, int(window.height), _BLOCK):
                    for column in range(0, int(window.width), _BLOCK):
                        height = min(_BLOCK, int(window.height) - row)
                        width = min(_BLOCK, int(window.width) - column)
                        part = Window(window.col_off + column, window.row_off + row, width, height)
                        copy.write(source.read(1, window=part), 1, window=Window(column, row, width, height))
            rows = max(1, min(_SAMPLES, int(window.height)))
            columns = max(1, min(_SAMPLES, int(window.width)))
            sample = source.read(
                1, window=window, out_shape=(rows, columns), masked=True, resampling=Resampling.nearest
            )
            values = np.asarray(sample.compressed(), dtype=np.float64)
            scale, offset = source.scales[0], source.offsets[0]
    except RasterioError as error:
        raise ThreeDError(f"The raster {raster.name} cannot be read: {error}") from error
    values = values[np.isfinite(values)] * scale + offset
    if not len(values):
        raise ThreeDError(f"The raster {raster.name} has no height at any of these features.")
    return float(np.median(values))


def _window_of(source: Any, bounds: tuple[float, float, float, float]) -> Any:
    """The pixels of a raster below CRS84 bounds, with a margin; None where there are none."""
    from rasterio.warp import transform_bounds
    from rasterio.windows import Window

    left, bottom, right, top = transform_bounds("OGC:CRS84", source.crs, *bounds, densify_pts=21)
    columns, rows = [], []
    inverse = ~source.transform
    for x, y in ((left, bottom), (left, top), (right, bottom), (right, top)):
        column, row = inverse @ (x, y)
        columns.append(column)
        rows.append(row)
    if not all(map(math.isfinite, (*columns, *rows))):
        return Window(0, 0, source.width, source.height)
    first_column = max(math.floor(min(columns)) - _MARGIN_PIXELS, 0)
    first_row = max(math.floor(min(rows)) - _MARGIN_PIXELS, 0)
    last_column = min(math.ceil(max(columns)) + _MARGIN_PIXELS, source.width)
    last_row = min(math.ceil(max(rows)) + _MARGIN_PIXELS, source.height)
    if first_column >= last_column or first_row >= last_row:
        return None
    return Window(first_column, first_row, last_column - first_column, last_row - first_row)
