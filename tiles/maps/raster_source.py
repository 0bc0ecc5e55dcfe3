"""Maps of raster data: warped into the CRS of the map by the raster source, coloured here."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tiles.crs import metres_per_unit, parse_crs, transformer
from tiles.errors import MapSourceError, RasterError, StyleError, UnknownInstant
from tiles.maps.images import draw_watermark
from tiles.maps.raster_colours import apply_shade, colour_bands, colour_classes, colour_ramp, hillshade
from tiles.maps.source import Box, MapRequest, Pixels, check_request, empty_image
from tiles.maps.style_model import Style
from tiles.rasters.cog import CogSource
from tiles.rasters.datasets import close_rasters
from tiles.rasters.source import Bounds, RasterBlock, RasterSource, Resampling

__all__ = ["RasterMapSource", "chosen_instant", "close_rasters"]

_FLAT_GREY = (205, 205, 205, 255)
"""Flat ground of a relief without colours: leaves room for slopes brighter than it."""
_RESAMPLING: dict[str, Resampling] = {"nearest": "nearest", "bilinear": "bilinear", "cubic": "cubic"}


class RasterMapSource:
    """Raster data in one style.

    Pixels without data (nodata, mask, alpha 0, NaN) are transparent. `watermark` is written over the image, for simulated
    data. Opens nothing until it renders. Raises StyleError for a style without raster.
    """

    def __init__(self, raster: RasterSource | Path, *, style: Style, watermark: str | None = None) -> None:
        if style.raster is None:
            raise StyleError("a raster cannot be drawn in a style of rules; give a style with raster")
        self._raster: RasterSource = CogSource(raster) if isinstance(raster, Path) else raster
        self._style = style.raster
        self._watermark = watermark

    def render(self, bbox: Box, crs: str, width: int, height: int, *, instant: str | None = None) -> Pixels:
        """Draw (see MapSource); of an interval A/B the latest instant in it.

        Raises MapSourceError where the data are gone, damaged, or lack a band; UnknownInstant.
        """
        request = check_request(bbox, crs, width, height)
        margin = 1 if self._style.hillshade else 0
        try:
            moment = chosen_instant(self._raster, instant)
            block = self._warped(request, margin, moment)
            if block is None or not block.valid.any():
                return empty_image(width, height)
            pixels = self._coloured(block, request, margin, moment)
        except RasterError as error:
            raise MapSourceError(str(error)) from error
        return pixels if self._watermark is None else draw_watermark(pixels, self._watermark, request)

    def _warped(self, request: MapRequest, margin: int, instant: str | None) -> RasterBlock | None:
        return self._raster.warp(
            _outer_bounds(request, margin),
            request.crs,
            (request.height + 2 * margin, request.width + 2 * margin),
            self._style.bands,
            instant=instant,
            resampling=_RESAMPLING[self._style.resampling],
        )

    def _coloured(self, block: RasterBlock, request: MapRequest, margin: int, instant: str | None) -> Pixels:
        if self._style.kind == "rgb" and block.values.dtype == np.uint8 and not margin:
            return _photograph(block, self._span(instant))
        values = block.values.astype(np.float32)
        values[~block.valid] = np.nan
        return self._colour(values, request, margin, instant)

    def _colour(
        self, values: NDArray[np.float32], request: MapRequest, margin: int, instant: str | None
    ) -> Pixels:
        style = self._style
        inner = values[:, margin:-margin, margin:-margin] if margin else values
        if np.isnan(inner).all():
            return empty_image(request.width, request.height)
        if style.kind == "rgb":
            pixels = colour_bands(inner, self._span(instant))
        elif style.kind == "ramp":
            pixels = colour_ramp(inner[0], style, self._span(instant))
        elif style.kind == "classes":
            pixels = colour_classes(inner[0], style)
        else:
            pixels = np.full((*inner.shape[1:], 4), _FLAT_GREY, dtype=np.uint8)
            pixels[np.isnan(inner[0])] = 0
        if not style.hillshade:
            return pixels
        light = hillshade(values[0], _cell_metres(request), style)
        return apply_shade(pixels, light[margin:-margin, margin:-margin], style.hillshade)

    def _span(self, instant: str | None) -> tuple[float, float]:
        return self._style.span or self._raster.span(self._style.bands, instant=instant)


def _photograph(block: RasterBlock, span: tuple[float, float]) -> Pixels:
    """Three bands of bytes, stretched by a table: a fifth of the time of floating point."""
    shown = block.valid.all(axis=0)
    pixels = np.empty((*shown.shape, 4), dtype=np.uint8)
    low, high = span
    if (low, high) == (0, 255):
        pixels[..., :3] = np.moveaxis(block.values, 0, -1)
    else:
        table = np.clip(np.rint((np.arange(256) - low) * (255.0 / (high - low))), 0, 255).astype(np.uint8)
        pixels[..., :3] = np.moveaxis(table[block.values], 0, -1)
    pixels[..., 3] = shown * np.uint8(255)
    if not shown.all():
        pixels[~shown] = 0
    return pixels


def chosen_instant(raster: RasterSource, asked: str | None) -> str | None:
    """The instant to draw: the one asked for, or the latest within an interval A/B ("..": open). Raises UnknownInstant."""
    if asked is None or "/" not in asked:
        return asked
    start, _, end = asked.partition("/")
    within = [
        instant
        for instant in raster.description.instants
        if (start in ("", "..") or start <= instant) and (end in ("", "..") or instant <= end)
    ]
    if not within:
        raise UnknownInstant(f"the data hold nothing between {start} and {end}")
    return within[-1]


def _outer_bounds(request: MapRequest, margin: int) -> Bounds:
    minx, miny, maxx, maxy = request.bbox
    dx = margin * (maxx - minx) / request.width
    dy = margin * (maxy - miny) / request.height
    return Bounds(minx - dx, miny - dy, maxx + dx, maxy + dy)


def _cell_metres(request: MapRequest) -> tuple[float, float]:
    """Width and height of a map pixel on the ground, at the middle of the image."""
    minx, miny, maxx, maxy = request.bbox
    unit = metres_per_unit(request.crs)
    width, height = (maxx - minx) / request.width * unit, (maxy - miny) / request.height * unit
    crs = parse_crs(request.crs)
    _, latitude = transformer(request.crs, "OGC:CRS84").transform((minx + maxx) / 2, (miny + maxy) / 2)
    shrink = max(math.cos(math.radians(latitude)), 0.01) if math.isfinite(latitude) else 1.0
    if crs.is_geographic:
        return width * shrink, height
    if crs.to_authority() == ("EPSG", "3857"):
        return width * shrink, height * shrink
    return width, height
