"""Heights of the ground (or of the surface) of a cloud at positions, for those who ask for no raster."""

from __future__ import annotations

from typing import Literal

import numpy as np

from pointclouds.rasters.cells import Float
from pointclouds.rasters.raster import PointRaster


class CloudGround:
    """The terrain or the surface of a cloud.

    `cell` is how fine it has to be, CRS units; None for the finest there is.
    """

    def __init__(
        self, raster: PointRaster, band: Literal["dtm", "dsm"] = "dtm", cell: float | None = None
    ) -> None:
        self._raster, self._band = raster, band
        self._level = 0 if cell is None else raster.level(cell)

    def heights(self, x: Float, y: Float) -> Float:
        """Heights (n,) in the cloud's units of z at native positions (n,); NaN where none is known, also for a cloud without ground.

        Raises:
            QueryError: the positions are spread too far for one question.
            UnreadablePointCloudError, InvalidCopcError: a file is damaged.
        """
        if self._band not in self._raster.bands:
            return np.full(len(x), np.nan)
        found = self._raster.sample(self._level, x, y, [self._band])
        return found[self._band].astype(np.float64)
