"""From the numbers of a raster to the colours of a map. Arrays are (height, width), float32, NaN where there is no data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiles.errors import StyleError
from tiles.maps.band_expression import compile_expression
from tiles.maps.images import parse_colour
from tiles.maps.source import Pixels
from tiles.maps.style_model import RasterStyle

type Values = NDArray[np.float32]

_RAMP_STEPS = 1024
FLAT_GREY = (205, 205, 205, 255)
"""Flat ground of a relief without colours: leaves room for slopes brighter than it."""
_LIGHTS = ((225.0, 0.2), (270.0, 0.3), (315.0, 0.3), (360.0, 0.2))
"""Directions of a relief lit from several sides, and the weight of each; turned with the style's own direction."""


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
    position = np.clip((np.nan_to_num(values, nan=low) - low) * (1.0 / (high - low)), 0, 1)
    if style.gamma != 1:
        position = position ** (1 / style.gamma)
    pixels: Pixels = table[np.rint(position * (_RAMP_STEPS - 1)).astype(np.intp)]
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

    `cell` is width and height of a pixel in metres. The outermost pixels are one-sided: give a margin and cut it off. So are
    those beside missing ones: heights made up there would draw a dark or bright line along every border of the data.
    """
    scaled = heights * np.float32(style.exaggeration)
    if np.isnan(scaled).any():
        down, right = _slope(scaled, 0), _slope(scaled, 1)
    else:
        down, right = np.gradient(scaled)
    east, north = right / cell[0], -down / cell[1]
    if not style.multidirectional:
        return _light(east, north, style.azimuth, style.altitude)
    total = sum(weight for _, weight in _LIGHTS)
    lights = [
        _light(east, north, direction + style.azimuth - 315.0, style.altitude) * np.float32(weight / total)
        for direction, weight in _LIGHTS
    ]
    shade: Values = np.sum(lights, axis=0, dtype=np.float32)
    return shade


def _slope(heights: Values, axis: int) -> Values:
    """Rise a pixel along an axis: of both sides, of one where the other is missing, 0 where there is none."""
    steps: Values = np.diff(heights, axis=axis).astype(np.float32, copy=False)
    edge: Values = np.full_like(heights.take([0], axis=axis), np.nan, dtype=np.float32)
    before: Values = np.concatenate((edge, steps), axis=axis)
    after: Values = np.concatenate((steps, edge), axis=axis)
    sides = (~np.isnan(before)).astype(np.float32) + ~np.isnan(after)
    rise = (np.nan_to_num(before) + np.nan_to_num(after)) / np.maximum(sides, 1)
    return rise.astype(np.float32, copy=False)


def _light(east: Any, north: Any, azimuth_degrees: float, altitude_degrees: float) -> Values:
    """Light on slopes from one direction."""
    azimuth, altitude = math.radians(azimuth_degrees), math.radians(altitude_degrees)
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


# --- a whole style --------------------------------------------------------------------------------------------------------


def needed_bands(style: RasterStyle, names: Sequence[str]) -> tuple[int, ...]:
    """Numbers from 1 of the bands to read, where `names` are those of the raster's bands.

    Raises StyleError for bands that are not there.
    """
    if style.expression is not None:
        return compile_expression(style.expression).bands(names)
    if max(style.bands) > len(names):
        raise StyleError(f"the raster has {len(names)} bands; the style asks for {list(style.bands)}")
    return style.bands


def margin_of(style: RasterStyle) -> int:
    """Pixels around the picture that `draw_raster` wants to see: light on slopes depends on neighbours."""
    return 1 if style.hillshade else 0


def style_needs_statistics(style: RasterStyle) -> bool:
    """Whether the range of the data's values decides about colours."""
    return style.kind in ("rgb", "ramp") and style.span is None and not style.spans


def draw_raster(
    values: Values,
    style: RasterStyle,
    *,
    names: Sequence[str],
    spans: Sequence[tuple[float, float]] = (),
    cell: tuple[float, float] = (1.0, 1.0),
    margin: int = 0,
) -> Pixels:
    """The picture (h, w, 4) of needed bands (bands, h + 2 margin, w + 2 margin), float32, NaN where there is no data.

    `spans` is a range of values for each band where the style has none; `cell` width and height of a pixel in metres.
    """
    if style.expression is not None:
        expression = compile_expression(style.expression)
        values = expression.evaluate(dict(zip(expression.names, values, strict=True)))[None]
    inner = values[:, margin:-margin, margin:-margin] if margin else values
    pixels = _coloured(inner, style, spans)
    if style.hillshade:
        light = hillshade(values[0], cell, style)
        pixels = apply_shade(
            pixels, light[margin:-margin, margin:-margin] if margin else light, style.hillshade
        )
    if style.opacity < 1:
        pixels[..., 3] = np.rint(pixels[..., 3] * style.opacity).astype(np.uint8)
    return pixels


def _coloured(values: Values, style: RasterStyle, spans: Sequence[tuple[float, float]]) -> Pixels:
    if style.kind == "rgb":
        chosen = style.spans or ([style.span] * 3 if style.span is not None else list(spans))
        return _three_bands(values, chosen, style.gamma)
    if style.kind == "ramp":
        span = style.span if style.span is not None else spans[0]
        return colour_ramp(values[0], style, span)
    if style.kind == "intervals":
        return colour_intervals(values[0], style)
    if style.kind == "classes":
        return colour_classes(values[0], style)
    pixels: Pixels = np.empty((*values.shape[1:], 4), dtype=np.uint8)
    pixels[:] = FLAT_GREY
    pixels[np.isnan(values[0])] = 0
    return pixels


def _three_bands(values: Values, spans: Sequence[tuple[float, float]], gamma: float) -> Pixels:
    """Three bands as red, green and blue, each stretched over its own span."""
    pixels = np.empty((*values.shape[1:], 4), dtype=np.uint8)
    for channel, (low, high) in enumerate(spans):
        scaled = np.clip((np.nan_to_num(values[channel]) - low) * (1.0 / (high - low)), 0, 1)
        if gamma != 1:
            scaled = scaled ** (1 / gamma)
        pixels[..., channel] = np.rint(scaled * 255)
    present = ~np.isnan(values).any(axis=0)
    pixels[..., 3] = present * np.uint8(255)
    pixels[~present] = 0
    return pixels


def colour_intervals(values: Values, style: RasterStyle) -> Pixels:
    """Numbers as the colours of the interval they lie in; numbers at or above the last end are transparent."""
    ends = np.array([math.inf if upper is None else upper for upper, _ in style.intervals], dtype=np.float64)
    colours = np.array(
        [parse_colour(colour) for _, colour in style.intervals] + [(0, 0, 0, 0)], dtype=np.uint8
    )
    pixels: Pixels = colours[np.searchsorted(ends, np.nan_to_num(values, nan=-np.inf), side="right")]
    pixels[np.isnan(values)] = 0
    return pixels
