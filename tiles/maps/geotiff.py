"""A map as GeoTIFF: red, green, blue and alpha, with its place on Earth."""

from __future__ import annotations

import numpy as np

from tiles.crs import parse_crs
from tiles.maps.source import Box, Pixels


def encode_geotiff(pixels: Pixels, bbox: Box, crs: str) -> bytes:
    """The image (height, width, 4) of a box of a CRS (easting first) as a deflated GeoTIFF.

    Raises UnsupportedCrs.
    """
    # GDAL is loaded with it; most maps are PNG.
    from rasterio.enums import ColorInterp
    from rasterio.io import MemoryFile
    from rasterio.transform import from_bounds

    height, width = pixels.shape[:2]
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=width,
            height=height,
            count=4,
            dtype="uint8",
            crs=parse_crs(crs).to_wkt(),
            transform=from_bounds(*bbox, width, height),
            compress="deflate",
            zlevel=1,
            photometric="RGB",
            alpha="NON-PREMULTIPLIED",
            interleave="pixel",
        ) as file:
            file.write(np.ascontiguousarray(np.moveaxis(pixels, 2, 0)))
            file.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
        return bytes(memory.read())
