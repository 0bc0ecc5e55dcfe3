"""The ground under a point cloud out of its own ground points, for edits by height above it."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from pointclouds.cloud.cloud import Cloud
from pointclouds.crs import horizontal_part
from pointclouds.errors import QueryError
from pointclouds.rasters import CellWindow, PointRaster
from server.publish.errors import OptionError

CELL_METRES: Final = 1.0
"""Edge of the cells the ground is a mean of, about; the cloud's own grid of that size is taken."""
_LARGEST_SIDE: Final = 768

Float = npt.NDArray[np.float64]


class PointGround:
    """Heights of class 2, as a terrain of cells of about a metre, bilinear between their centres."""

    def __init__(self, cloud: Cloud) -> None:
        """Raises OptionError where the cloud has no ground points."""
        self._raster = PointRaster(cloud)
        if "dtm" not in self._raster.bands:
            raise OptionError(
                "The point cloud has no ground points (class 2) to measure heights from. Classify its ground first, or give a "
                "raster of the ground's heights."
            )
        axes = horizontal_part(cloud.crs).axis_info
        metres = axes[0].unit_conversion_factor if axes else 1.0
        self._level = self._raster.level(CELL_METRES / metres)

    def heights(self, x: Float, y: Float) -> Float:
        """See GroundHeights. Raises OptionError where the points of a place are too many for one look."""
        found = np.full(len(x), np.nan)
        cell = self._raster.cell(self._level)
        # In parts: a node far up the octree is wide, and its points in the area may lie far from each other.
        parts = np.stack([np.floor(x / (cell * _LARGEST_SIDE)), np.floor(y / (cell * _LARGEST_SIDE))], axis=1)
        _, part_of = np.unique(parts, axis=0, return_inverse=True)
        for part in range(int(part_of.max(initial=-1)) + 1):
            chosen = np.flatnonzero(part_of == part)
            found[chosen] = self._part(x[chosen], y[chosen], cell)
        return found

    def _part(self, x: Float, y: Float, cell: float) -> Float:
        window = CellWindow.around(cell, x.min(), y.min(), x.max(), y.max()).grown(1)
        try:
            grid = self._raster.cells(self._level, window, ["dtm"])["dtm"].astype(np.float64)
        except QueryError as error:
            raise OptionError(f"{str(error)[0].upper()}{str(error)[1:]}.") from error
        return bilinear(grid, x / cell - window.column - 0.5, -y / cell - window.row - 0.5)


def bilinear(grid: Float, columns: Float, rows: Float) -> Float:
    """Values (n,) between the centres of cells, counted from the first cell's centre; NaN cells are left out of the mean.

    The places are inside the outermost centres.
    """
    left, top = np.floor(columns).astype(np.int64), np.floor(rows).astype(np.int64)
    across, down = columns - left, rows - top
    total, weights = np.zeros(len(columns)), np.zeros(len(columns))
    for row, column, weight in (
        (0, 0, (1 - across) * (1 - down)),
        (0, 1, across * (1 - down)),
        (1, 0, (1 - across) * down),
        (1, 1, across * down),
    ):
        values = grid[np.clip(top + row, 0, grid.shape[0] - 1), np.clip(left + column, 0, grid.shape[1] - 1)]
        known = np.isfinite(values)
        total += np.where(known, values * weight, 0.0)
        weights += np.where(known, weight, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(weights > 0, total / weights, np.nan)
