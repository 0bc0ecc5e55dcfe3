"""Rasters of point clouds on request: terrain, surface, heights, intensity, density, classes and colours at any resolution."""

from pointclouds.rasters.cells import CellWindow
from pointclouds.rasters.raster import BANDS, PointRaster, cloud_resolution

__all__ = ["BANDS", "CellWindow", "PointRaster", "cloud_resolution"]
