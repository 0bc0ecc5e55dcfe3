"""Heights as colours, for MapLibre and other flat maps, without loss.

Mapbox Terrain-RGB: height = -10000 + (red * 65536 + green * 256 + blue) * 0.1 metres; Terrarium: height = red * 256 + green +
blue / 256 - 32768 metres.
"""

from __future__ import annotations

import io
import math
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tiles.terrain.errors import TerrainError
from tiles.terrain.surface import Surface
from tiles.terrain.tiling import MERCATOR

type Encoding = Literal["mapbox", "terrarium"]
type ImageFormat = Literal["webp", "png"]

ENCODINGS: tuple[Encoding, ...] = get_args(Encoding.__value__)
FORMATS: tuple[ImageFormat, ...] = get_args(ImageFormat.__value__)
SIZES = (256, 512)
DEEPEST_RGB_LEVEL = 24
_WORLD_METRES = 2.0 * math.pi * 6378137.0
_METRES_PER_DEGREE = 111_320.0


def rgb_tile(
    surface: Surface,
    z: int,
    x: int,
    y: int,
    *,
    size: int = 256,
    encoding: Encoding = "mapbox",
    form: ImageFormat = "webp",
) -> bytes:
    """One tile of WebMercatorQuad (`y` from the top) as a lossless image of `size` pixels an edge.

    Heights stay in the model's own vertical reference; in its gaps and around it the ground lies at its lowest height. Raises
    TerrainError for a tile outside the set, an unknown size, encoding or format.
    """
    if not 0 <= z <= DEEPEST_RGB_LEVEL or not (0 <= x < 2**z and 0 <= y < 2**z):
        raise TerrainError(
            f"tile {z}/{x}/{y} does not exist; levels are 0 to {DEEPEST_RGB_LEVEL}, x and y below 2**z"
        )
    if size not in SIZES:
        raise TerrainError(f"tiles of {size} pixels were asked; allowed are {', '.join(map(str, SIZES))}")
    share = (np.arange(size) + 0.5) / size
    south, north = 1.0 - (y + 1) / 2**z, 1.0 - y / 2**z
    latitude = np.degrees(np.arctan(np.sinh((2.0 * (south + (north - south) * share[::-1]) - 1.0) * np.pi)))
    west, _, east, _ = MERCATOR.box(z, x, 0)
    heights = surface.own_heights(
        west + share * (east - west), latitude, _coarseness(surface, z, size, float(latitude[size // 2]))
    )
    return encode_heights(heights, encoding, form)


def deepest_rgb_level(pixel_metres: float, latitude: float, size: int = 256) -> int:
    """The level whose pixels are about as large as those of a model at a latitude."""
    around = _WORLD_METRES * math.cos(math.radians(min(abs(latitude), 85.0)))
    return min(max(round(math.log2(around / size / pixel_metres)), 0), DEEPEST_RGB_LEVEL - 2)


def _coarseness(surface: Surface, z: int, size: int, latitude: float) -> int:
    """The power of two by which pixels are joined so that one is about as wide as a sample."""
    step = _WORLD_METRES * math.cos(math.radians(latitude)) / 2**z / size
    return 1 << max(0, math.floor(math.log2(max(step / surface.model.pixel_size(), 1.0)) + 0.25))


def encode_heights(heights: NDArray[np.float64], encoding: Encoding, form: ImageFormat) -> bytes:
    """Metres (rows, columns) as an image. Raises TerrainError for an unknown encoding or format."""
    if encoding == "mapbox":
        code = np.clip(np.rint((heights + 10_000.0) * 10.0), 0, 0xFFFFFF).astype(np.uint32)
    elif encoding == "terrarium":
        code = np.clip(np.rint((heights + 32_768.0) * 256.0), 0, 0xFFFFFF).astype(np.uint32)
    else:
        raise TerrainError(f"encoding {encoding!r} was asked; allowed are {', '.join(ENCODINGS)}")
    pixels = np.stack((code >> 16, (code >> 8) & 0xFF, code & 0xFF), axis=-1).astype(np.uint8)
    out = io.BytesIO()
    image = Image.fromarray(pixels)
    options: dict[str, Any]
    if form == "webp":
        options = {"format": "WEBP", "lossless": True, "exact": True, "quality": 20, "method": 1}
    elif form == "png":
        options = {"format": "PNG", "compress_level": 4}
    else:
        raise TerrainError(f"format {form!r} was asked; allowed are {', '.join(FORMATS)}")
    image.save(out, **options)
    return out.getvalue()


def decode_heights(content: bytes, encoding: Encoding) -> NDArray[np.float64]:
    """Metres (rows, columns) of such an image."""
    with Image.open(io.BytesIO(content)) as image:
        red, green, blue = np.asarray(image.convert("RGB")).astype(np.float64).transpose(2, 0, 1)
    if encoding == "mapbox":
        return np.asarray(-10_000.0 + (red * 65536.0 + green * 256.0 + blue) * 0.1)
    return np.asarray(red * 256.0 + green + blue / 256.0 - 32_768.0)
