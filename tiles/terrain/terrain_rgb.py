"""Terrain-RGB tiles for MapLibre: height = -10000 + (red * 65536 + green * 256 + blue) * 0.1 metres."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tiles.terrain.elevation import ElevationModel
from tiles.terrain.errors import TerrainError

_HALF_WORLD = 20037508.342789244
_DEEPEST_LEVEL = 24
_SIZES = (256, 512)


def terrain_rgb_tile(
    dem_path: Path, z: int, x: int, y: int, *, size: int = 256, format: Literal["webp", "png"] = "webp"
) -> bytes:
    """One tile of WebMercatorQuad (`y` from the top) as lossless WebP or PNG; places without a height are 0 m.

    Heights stay in the model's own vertical reference. Raises TerrainError for a tile outside the set, an unknown size
    or format, or a file that is no elevation model.
    """
    if not 0 <= z <= _DEEPEST_LEVEL or not (0 <= x < 2**z and 0 <= y < 2**z):
        raise TerrainError(
            f"tile {z}/{x}/{y} does not exist; levels are 0 to {_DEEPEST_LEVEL}, x and y below 2**z"
        )
    if size not in _SIZES or format not in ("webp", "png"):
        raise TerrainError(f"size {size}, format {format!r} were asked; allowed are {_SIZES} and webp, png")
    width = 2.0 * _HALF_WORLD / 2**z
    step = width / size
    centers = (np.arange(size) + 0.5) * step
    east, north = np.meshgrid(-_HALF_WORLD + x * width + centers, _HALF_WORLD - y * width - centers)
    with ElevationModel(dem_path) as model:
        places = model.path().inverse(_longitude_latitude(east.ravel(), north.ravel()))
        heights = np.full(size * size, np.nan)
        usable = np.isfinite(places).all(axis=1)
        if usable.any():
            heights[usable] = model.heights(places[usable], _coarseness(step, model.pixel_size()))
    return _encode(np.where(np.isnan(heights), 0.0, heights).reshape(size, size), format)


def _longitude_latitude(east: NDArray[np.float64], north: NDArray[np.float64]) -> NDArray[np.float64]:
    """Degrees (n, 2) of Web Mercator coordinates."""
    longitude = east / _HALF_WORLD * 180.0
    latitude = np.degrees(np.arctan(np.sinh(north / _HALF_WORLD * np.pi)))
    return np.column_stack((longitude, latitude))


def _coarseness(step: float, pixel: float) -> int:
    """The power of two by which pixels are joined so that one is about as wide as a sample."""
    return 1 << max(0, int(np.floor(np.log2(max(step / pixel, 1.0)))))


def _encode(heights: NDArray[np.float64], format: str) -> bytes:
    code = np.clip(np.rint((heights + 10_000.0) * 10.0), 0, 0xFFFFFF).astype(np.uint32)
    pixels = np.stack((code >> 16, (code >> 8) & 0xFF, code & 0xFF), axis=-1).astype(np.uint8)
    out = io.BytesIO()
    image = Image.fromarray(pixels)
    if format == "webp":
        image.save(out, "WEBP", lossless=True, exact=True, quality=60, method=2)
    else:
        image.save(out, "PNG", compress_level=6)
    return out.getvalue()
