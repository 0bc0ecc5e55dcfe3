"""Raster data: cloud optimised GeoTIFFs, mosaics of many, multi-dimensional arrays, behind one protocol."""

from tiles.rasters.cog import CogSource
from tiles.rasters.datasets import close_rasters
from tiles.rasters.opening import open_raster
from tiles.rasters.source import (
    Bounds,
    RasterBand,
    RasterBlock,
    RasterDescription,
    RasterHistogram,
    RasterSource,
    Resampling,
)

__all__ = [
    "Bounds",
    "CogSource",
    "RasterBand",
    "RasterBlock",
    "RasterDescription",
    "RasterHistogram",
    "RasterSource",
    "Resampling",
    "close_rasters",
    "open_raster",
]
