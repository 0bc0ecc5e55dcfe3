"""The picture of the map benchmarks: an 8,000 x 8,000 RGB image of the data set's extent, with texture, as a COG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.features import rasterize
from rasterio.transform import from_bounds
from rasterio.windows import Window

from benchmarks.dataset import EAST, NORTH, SOUTH, WEST, batches

SIDE = 8_000
_STRIP = 500


def make_orthophoto(path: Path) -> None:
    """Write the image unless it is there: noisy ground with the polygons of the data set as roofs."""
    if path.is_file():
        return
    transform = from_bounds(WEST, SOUTH, EAST, NORTH, SIDE, SIDE)
    polygons, _ = next(iter(batches(100_000)))
    roofs = rasterize(
        ((polygon, 1 + number % 200) for number, polygon in enumerate(polygons)),
        (SIDE, SIDE),
        transform=transform,
    ).astype(np.uint8)
    random = np.random.default_rng(7)
    aside = path.with_suffix(".plain.tif")
    profile = {
        "driver": "GTiff",
        "width": SIDE,
        "height": SIDE,
        "count": 3,
        "dtype": "uint8",
        "crs": "EPSG:4326",
        "transform": transform,
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "photometric": "RGB",
    }
    with rasterio.open(aside, "w", **profile) as image:
        for top in range(0, SIDE, _STRIP):
            rows = slice(top, top + _STRIP)
            ground = random.integers(70, 110, (3, _STRIP, SIDE)).astype(np.uint8)
            ground[1] += 20
            strip = np.where(roofs[rows] > 0, roofs[rows] // 2 + ground // 2 + 40, ground).astype(np.uint8)
            image.write(strip, window=Window(0, top, SIDE, _STRIP))
    rasterio.shutil.copy(
        aside,
        path,
        driver="COG",
        COMPRESS="DEFLATE",
        PREDICTOR="YES",
        BLOCKSIZE="512",
        OVERVIEW_RESAMPLING="AVERAGE",
    )
    aside.unlink()
