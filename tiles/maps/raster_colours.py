"""From the numbers of a raster to the colours of a map. Arrays are (height, width), float32, NaN where there is no data."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tiles.maps.images import parse_colour
from tiles.maps.source import Pixels
from tiles.maps.style_model import RasterStyle

type Values = NDArray[np.float32]

_RAMP_STEPS = 1024


def colour_bands(bands: Values, span: tuple[float, float]) -> Pixels:
    """Three bands (3, height, width) as red, green and blue; `span` goes from black to full."""
    low, high = span
    pixels = np.empty((*bands.shape[1:], 4), dtype=np.uint8)
    present = ~np.isnan(bands).any(axis=0)
    scaled = (np.nan_to_num(bands) - low) * (255.0 / (high - low))
    pixels[..., :3] = np.moveaxis(np.clip(np.rint(scaled), 0, 255), 0, -1)
    pixels[..., 3] = present * np.uint8(255)
    return pixels


def colour_ramp(values: Values, style: RasterStyle, span: tuple[float, float]) -> Pixels:
    """One band through the style's colour ramp, stretched over `span`."""
    table = _ramp_table(style.ramp)
    low, high = span
    position = (np.nan_to_num(values, nan=low) - low) * ((_RAMP_STEPS - 1) / (high - low))
    pixels: Pixels = table[np.clip(position, 0, _RAMP_STEPS - 1).astype(np.intp)]
    pixels[np.isnan(values)] = 0
    return pixels


def colour_classes(values: Values, style: RasterStyle) -> Pixels:
    """Whole numbers as the colours of their classes; other numbers are transparent."""
    codes = np.array([code for code, _ in style.classes], dtype=np.float32)
    colours = np.array([parse_colour(colour) for _, colour in style.classes], dtype=np.uint8)
    order = np.argsort(codes)
    codes, colours = codes[order], colours[order]
    found = np.clip(np.searchsorted(codes, np.nan_to_num(values, nan=-np.inf)), 0, codes.size - 1)
    pixels = colours[found]
    pixels[codes[found] != values] = 0
    return pixels


def _ramp_table(ramp: tuple[tuple[float, str], ...]) -> Pixels:
    positions = [position for position, _ in ramp]
    colours = np.array([parse_colour(colour) for _, colour in ramp], dtype=np.float64)
    steps = np.linspace(0, 1, _RAMP_STEPS)
    channels = [np.interp(steps, positions, colours[:, channel]) for channel in range(4)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def hillshade(heights: Values, cell: tuple[float, float], style: RasterStyle) -> Values:
    """Light on a surface lit from `azimuth` (clockwise from north) and `altitude`, 0 to 1; flat ground gives 1.

    `cell` is width and height of a pixel in metres. The outermost pixels are one-sided: give a margin and cut it off.
    """
    filled = np.where(np.isnan(heights), np.nanmean(heights) if np.isfinite(heights).any() else 0.0, heights)
    down, right = np.gradient(filled * style.exaggeration)
    east, north = right / cell[0], -down / cell[1]
    azimuth, altitude = math.radians(style.azimuth), math.radians(style.altitude)
    sun_east = math.sin(azimuth) * math.cos(altitude)
    sun_north = math.cos(azimuth) * math.cos(altitude)
    light = (math.sin(altitude) - east * sun_east - north * sun_north) / np.sqrt(1 + east**2 + north**2)
    shade: Values = np.clip(light / math.sin(altitude), 0, 1.25).astype(np.float32)
    return shade


def apply_shade(pixels: Pixels, shade: Values, strength: float) -> Pixels:
    """Colours darkened (and on lit slopes a little brightened) by the light on them."""
    factor = 1 + (shade - 1) * np.float32(strength)
    shaded = pixels.copy()
    shaded[..., :3] = np.clip(pixels[..., :3] * factor[..., None], 0, 255)
    return shaded
