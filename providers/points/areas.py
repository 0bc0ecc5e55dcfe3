"""Grids of heights within a polygon: the cells of a cloud's raster, how much of each the polygon covers, and what may be asked at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import shapely
from rasterio.features import geometry_mask
from rasterio.transform import Affine, from_bounds

from pointclouds.cloud.cloud import Cloud
from pointclouds.rasters.cells import CellWindow
from pointclouds.rasters.raster import PointRaster
from providers.errors import AnswerTooLarge, InvalidParameter
from providers.points.coverage import raster_errors
from providers.points.places import near_cloud, polygons

Float = npt.NDArray[np.float64]

MAXIMUM_CELLS: Final = 4_000_000
_FINER: Final = 4
"""Parts of a cell's edge by which it is told how much of it a polygon covers."""


@dataclass(frozen=True)
class AreaCells:
    """Cells that a polygon meets. `share` (rows, columns) is how much of each it covers, 0 to 1, to a sixteenth."""

    window: CellWindow
    cell: float
    area: shapely.Geometry
    share: Float

    @property
    def transform(self) -> Affine:
        """From (column, row) to native x, y."""
        west, south, east, north = self.window.bounds(self.cell)
        return from_bounds(west, south, east, north, self.window.columns, self.window.rows)


def native_area(area84: shapely.Geometry, cloud: Cloud, name: str = "area") -> shapely.Geometry:
    """A CRS84 polygon in the coordinates of a cloud, as far as it lies near it. Raises InvalidParameter where none of it does."""
    found = polygons(near_cloud(area84, cloud))
    west, south, _, east, north, _ = cloud.box
    if shapely.is_empty(found) or not shapely.intersects(found, shapely.box(west, south, east, north)):
        raise InvalidParameter(name, shapely.to_wkt(area84)[:80], "a polygon that meets the point cloud")
    return found


def area_cells(area: shapely.Geometry, cell: float, maximum: int = MAXIMUM_CELLS) -> AreaCells:
    """The cells of edge `cell` that a native polygon meets. Raises AnswerTooLarge beyond `maximum`."""
    window = CellWindow.around(cell, *shapely.bounds(area).tolist())
    if window.size > maximum:
        raise AnswerTooLarge(
            f"The area's box holds {window.columns} x {window.rows} cells of {cell:g}; at most {maximum} are looked at together. Ask for "
            "a smaller area or larger cells"
        )
    share = np.zeros(window.shape)
    finer = window._replace(rows=window.rows * _FINER, columns=window.columns * _FINER)
    west, _, east, north = window.bounds(cell)
    step = max(1, 4096 // _FINER)
    for top in range(0, window.rows, step):
        # By strips: sixteen bytes a cell of the whole would be a lot.
        rows = min(step, window.rows - top)
        upper = north - top * cell
        transform = from_bounds(west, upper - rows * cell, east, upper, finer.columns, rows * _FINER)
        inside = geometry_mask([area], (rows * _FINER, finer.columns), transform, invert=True)
        share[top : top + rows] = inside.reshape(rows, _FINER, window.columns, _FINER).mean(axis=(1, 3))
    return AreaCells(window, cell, area, share)


def heights_in(raster: PointRaster, cells: AreaCells, bands: list[str]) -> dict[str, Float]:
    """Values (rows, columns) of bands; `raster` has cells of the area's edge. Raises AnswerTooLarge, RasterError, InvalidParameter."""
    missing = [band for band in bands if band in ("dtm", "dsm") and band not in raster.bands]
    if missing:
        raise InvalidParameter(
            "surface", missing[0], f"one of {', '.join(raster.bands)}: the cloud has no ground points"
        )
    with raster_errors():
        found = raster.cells(0, cells.window, bands)
    return {band: values.astype(np.float64) for band, values in found.items()}


def raster_of(cloud: Cloud, cell: float, ground_classes: tuple[int, ...], most_points: int) -> PointRaster:
    """The rasters of a cloud in cells of `cell` units, made of all points."""
    return PointRaster(cloud, ground_classes, cell, most_points=most_points)
