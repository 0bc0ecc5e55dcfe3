"""Maps of a raster file (a cloud optimised GeoTIFF), warped by GDAL into the CRS of the map and coloured here.

The overview is chosen by hand: GDAL's warper reads full resolution otherwise, which took twenty times as long.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.transform import from_bounds
from rasterio.warp import reproject
from rasterio.windows import Window

from tiles.errors import MapSourceError, StyleError
from tiles.maps.crs import metres_per_unit, parse_crs, transformer
from tiles.maps.images import draw_watermark
from tiles.maps.leases import LeaseStore
from tiles.maps.raster_colours import apply_shade, colour_bands, colour_classes, colour_ramp, hillshade
from tiles.maps.source import Box, MapRequest, Pixels, check_request, empty_image
from tiles.maps.style_model import Style

_FILES: LeaseStore[Any] = LeaseStore(64, lambda dataset: dataset.close())
_RESAMPLING = {
    "nearest": Resampling.nearest,
    "bilinear": Resampling.bilinear,
    "cubic": Resampling.cubic,
}
_STATISTICS_EDGE = 512
_FLAT_GREY = (205, 205, 205, 255)
"""Flat ground of a relief without colours: leaves room for slopes brighter than it."""


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a raster file says about itself. `factors` are how many pixels each overview merges, rising."""

    width: int
    height: int
    transform: rasterio.Affine
    crs: str
    bands: int
    factors: tuple[int, ...]
    alpha_band: int | None

    @property
    def resolution(self) -> float:
        """Units of the CRS a pixel at full resolution, the finer direction."""
        return min(
            math.hypot(self.transform.a, self.transform.d), math.hypot(self.transform.b, self.transform.e)
        )


class RasterMapSource:
    """One raster file in one style.

    Pixels without data (nodata, mask, alpha 0, NaN) are transparent. `watermark` is written over the image, for simulated
    data. Opens nothing until it renders. Raises StyleError for a style without raster.
    """

    def __init__(self, path: Path, *, style: Style, watermark: str | None = None) -> None:
        if style.raster is None:
            raise StyleError("a raster cannot be drawn in a style of rules; give a style with raster")
        self._path = path
        self._style = style.raster
        self._watermark = watermark

    def render(self, bbox: Box, crs: str, width: int, height: int) -> Pixels:
        """Draw (see MapSource). Raises MapSourceError where the file is gone, damaged, or lacks a band or a CRS."""
        request = check_request(bbox, crs, width, height)
        modified = _modified(self._path)
        facts = _facts(self._path, modified)
        if max(self._style.bands) > facts.bands:
            raise MapSourceError(
                f"{self._path.name} has {facts.bands} bands; the style asks for {self._style.bands}"
            )
        style = self._style
        margin = 1 if style.hillshade else 0
        values = self._warp(facts, modified, request, margin)
        if values is None:
            return empty_image(width, height)
        pixels = self._colour(values, request, modified, margin)
        return pixels if self._watermark is None else draw_watermark(pixels, self._watermark, request)

    def _warp(
        self, facts: _Facts, modified: int, request: MapRequest, margin: int
    ) -> NDArray[np.float32] | None:
        """The style's bands on the map's pixels and `margin` more on each side; None where the file does not reach."""
        window, level = _window(facts, request, margin)
        if window is None:
            return None
        bands = list(self._style.bands)
        key = (str(self._path), modified, level)
        try:
            with _FILES.lease(key, lambda: _open(self._path, level)) as dataset:
                values = dataset.read(bands, window=window).astype(np.float32)
                mask = (
                    dataset.dataset_mask(window=window)
                    if facts.alpha_band
                    else dataset.read_masks(bands, window=window)
                )
                transform = dataset.window_transform(window)
        except (RasterioError, OSError) as error:
            raise MapSourceError(f"{self._path.name} cannot be read: {error}") from error
        values[np.broadcast_to(mask == 0, values.shape)] = np.nan
        target = _outer_box(request, margin)
        shape = (len(bands), request.height + 2 * margin, request.width + 2 * margin)
        warped = np.full(shape, np.nan, dtype=np.float32)
        reproject(
            values,
            warped,
            src_transform=transform,
            src_crs=facts.crs,
            dst_transform=from_bounds(*target, shape[2], shape[1]),
            dst_crs=parse_crs(request.crs).to_wkt(),
            src_nodata=math.nan,
            dst_nodata=math.nan,
            resampling=_RESAMPLING[self._style.resampling],
        )
        return warped

    def _colour(self, values: NDArray[np.float32], request: MapRequest, modified: int, margin: int) -> Pixels:
        style = self._style
        inner = values[:, margin:-margin, margin:-margin] if margin else values
        if np.isnan(inner).all():
            return empty_image(request.width, request.height)
        if style.kind == "rgb":
            pixels = colour_bands(inner, self._span(modified))
        elif style.kind == "ramp":
            pixels = colour_ramp(inner[0], style, self._span(modified))
        elif style.kind == "classes":
            pixels = colour_classes(inner[0], style)
        else:
            pixels = np.full((*inner.shape[1:], 4), _FLAT_GREY, dtype=np.uint8)
            pixels[np.isnan(inner[0])] = 0
        if not style.hillshade:
            return pixels
        light = hillshade(values[0], _cell_metres(request), style)
        return apply_shade(pixels, light[margin:-margin, margin:-margin], style.hillshade)

    def _span(self, modified: int) -> tuple[float, float]:
        return self._style.span or _percentiles(self._path, modified, self._style.bands)


def close_rasters() -> None:
    """Close all idle raster files."""
    _FILES.clear()


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError as error:
        raise MapSourceError(f"{path.name} cannot be read: {error.strerror}") from error


def _open(path: Path, level: int | None) -> Any:
    """The file at one overview level (None: full resolution)."""
    options = {} if level is None else {"overview_level": level}
    return rasterio.open(path, sharing=False, **options)


@lru_cache(maxsize=1024)
def _facts(path: Path, _modified_ns: int) -> _Facts:
    """What the file says; remembered until it changes. Raises MapSourceError."""
    try:
        with rasterio.open(path, sharing=False) as dataset:
            if dataset.crs is None:
                raise MapSourceError(f"{path.name} names no CRS, so it has no place on a map")
            interpretation = dataset.colorinterp
            alpha = (
                interpretation.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in interpretation else None
            )
            return _Facts(
                width=dataset.width,
                height=dataset.height,
                transform=dataset.transform,
                crs=dataset.crs.to_wkt(),
                bands=dataset.count,
                factors=tuple(dataset.overviews(1)),
                alpha_band=alpha,
            )
    except (RasterioError, OSError) as error:
        raise MapSourceError(f"{path.name} is not a raster that can be read: {error}") from error


@lru_cache(maxsize=256)
def _percentiles(path: Path, modified: int, bands: tuple[int, ...]) -> tuple[float, float]:
    """2nd and 98th percentile of the bands, from an overview; (0, 1) where there is no data, never an empty span."""
    facts = _facts(path, modified)
    step = max(1, math.ceil(max(facts.width, facts.height) / _STATISTICS_EDGE))
    shape = (len(bands), max(1, facts.height // step), max(1, facts.width // step))
    try:
        with rasterio.open(path, sharing=False) as dataset:
            values = dataset.read(list(bands), out_shape=shape, masked=True).compressed()
    except (RasterioError, OSError) as error:
        raise MapSourceError(f"{path.name} cannot be read: {error}") from error
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(values, (2, 98)))
    return (low, high) if low < high else (low - 0.5, low + 0.5)


def _outer_box(request: MapRequest, margin: int) -> Box:
    minx, miny, maxx, maxy = request.bbox
    dx = margin * (maxx - minx) / request.width
    dy = margin * (maxy - miny) / request.height
    return minx - dx, miny - dy, maxx + dx, maxy + dy


def _window(facts: _Facts, request: MapRequest, margin: int) -> tuple[Window | None, int | None]:
    """(pixels of the overview to read, overview level). None, None where the box and the file do not meet."""
    box = _outer_box(request, margin)
    project = transformer(request.crs, facts.crs)
    columns, rows = _pixels(facts, project, box)
    if columns.size == 0:
        return None, None
    # Source pixels a map pixel covers, along the longer diagonal of the whole image.
    ratio = math.hypot(np.ptp(columns), np.ptp(rows)) / math.hypot(request.width, request.height)
    level, factor = None, 1
    for number, candidate in enumerate(facts.factors):
        if candidate <= ratio * 1.2:
            level, factor = number, candidate
    level_width, level_height = math.ceil(facts.width / factor), math.ceil(facts.height / factor)
    scale_x, scale_y = level_width / facts.width, level_height / facts.height
    reach = 4 if factor == 1 and ratio <= 1 else math.ceil(4 * max(1.0, ratio / factor))
    left = max(0, math.floor(columns.min() * scale_x) - reach)
    right = min(level_width, math.ceil(columns.max() * scale_x) + reach)
    top = max(0, math.floor(rows.min() * scale_y) - reach)
    bottom = min(level_height, math.ceil(rows.max() * scale_y) + reach)
    if left >= right or top >= bottom:
        return None, None
    return Window(left, top, right - left, bottom - top), level


def _pixels(facts: _Facts, project: Transformer, box: Box) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Full-resolution (column, row) of a lattice over the box; points the CRS of the file cannot express fall out."""
    minx, miny, maxx, maxy = box
    x, y = np.meshgrid(np.linspace(minx, maxx, 11), np.linspace(miny, maxy, 11))
    east, north = project.transform(x.ravel(), y.ravel())
    usable = np.isfinite(east) & np.isfinite(north)
    east, north = np.asarray(east)[usable], np.asarray(north)[usable]
    inverse = ~facts.transform
    columns = inverse.a * east + inverse.b * north + inverse.c
    rows = inverse.d * east + inverse.e * north + inverse.f
    return columns, rows


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
