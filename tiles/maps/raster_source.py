"""Maps of raster data: warped into the CRS of the map by the raster source, coloured here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tiles.crs import metres_per_unit, parse_crs, transformer
from tiles.errors import MapSourceError, RasterError, StyleError, UnknownInstant
from tiles.maps.images import draw_watermark
from tiles.maps.raster_colours import draw_raster, margin_of, needed_bands, style_needs_statistics
from tiles.maps.source import Box, MapRequest, Pixels, check_request, empty_image
from tiles.maps.style_model import RasterStyle, Style
from tiles.rasters.cog import CogSource
from tiles.rasters.datasets import close_rasters
from tiles.rasters.source import Bounds, RasterBlock, RasterSource, Resampling

__all__ = ["RasterMapSource", "chosen_instant", "close_rasters"]

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
        margin = margin_of(self._style)
        try:
            moment = chosen_instant(self._raster, instant)
            bands = self._bands()
            block = self._warped(request, bands, margin, moment)
            if block is None or not block.valid.any():
                return empty_image(width, height)
            pixels = self._coloured(block, bands, request, margin, moment)
        except (RasterError, StyleError) as error:
            raise MapSourceError(str(error)) from error
        return pixels if self._watermark is None else draw_watermark(pixels, self._watermark, request)

    def _bands(self) -> tuple[int, ...]:
        """Numbers of the bands to read; those of an expression are found by name."""
        if self._style.expression is None:
            return self._style.bands
        bands = self._raster.description.bands
        return tuple(bands[place - 1].number for place in needed_bands(self._style, self._names()))

    def _names(self) -> list[str]:
        return [band.name for band in self._raster.description.bands]

    def _warped(
        self, request: MapRequest, bands: tuple[int, ...], margin: int, instant: str | None
    ) -> RasterBlock | None:
        return self._raster.warp(
            _outer_bounds(request, margin),
            request.crs,
            (request.height + 2 * margin, request.width + 2 * margin),
            bands,
            instant=instant,
            resampling=_RESAMPLING[self._style.resampling],
        )

    def _coloured(
        self,
        block: RasterBlock,
        bands: tuple[int, ...],
        request: MapRequest,
        margin: int,
        instant: str | None,
    ) -> Pixels:
        style = self._style
        spans: tuple[tuple[float, float], ...] = ()
        if style_needs_statistics(style):
            spans = (self._raster.span(bands, instant=instant),) * len(bands)
        if _is_photograph(style, block):
            return _photograph(block, style.spans or (style.span or spans[0],) * 3)
        values = block.values.astype(np.float32)
        values[~block.valid] = np.nan
        # Damaged files hold numbers whose squares no float can.
        with np.errstate(over="ignore", invalid="ignore"):
            return draw_raster(
                values,
                style,
                names=self._names() if style.expression else (),
                spans=spans,
                cell=_cell_metres(request) if style.hillshade else (1.0, 1.0),
                margin=margin,
            )


def _is_photograph(style: RasterStyle, block: RasterBlock) -> bool:
    plain = style.kind == "rgb" and style.expression is None and not style.hillshade
    return plain and style.gamma == 1 and style.opacity == 1 and block.values.dtype == np.uint8


def _photograph(block: RasterBlock, spans: Sequence[tuple[float, float]]) -> Pixels:
    """Three bands of bytes, stretched by tables: a fifth of the time of floating point."""
    shown = block.valid.all(axis=0)
    pixels = np.empty((*shown.shape, 4), dtype=np.uint8)
    for band, (low, high) in enumerate(spans):
        if (low, high) == (0, 255):
            pixels[..., band] = block.values[band]
            continue
        table = np.clip(np.rint((np.arange(256) - low) * (255.0 / (high - low))), 0, 255).astype(np.uint8)
        pixels[..., band] = table[block.values[band]]
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
