"""Maps of a raster file (a cloud optimised GeoTIFF), warped by GDAL into the CRS of the map and coloured here.

The overview is chosen by hand: GDAL's warper reads full resolution otherwise, which took twenty times as long.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

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
_SMALL_RATIO = 1.7
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
    dtypes: frozenset[str]
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

    def render(self, bbox: Box, crs: str, width: int, height: int, *, instant: str | None = None) -> Pixels:
        """Draw (see MapSource). Raises MapSourceError where the file is gone, damaged, or lacks a band or a CRS."""
        request = check_request(bbox, crs, width, height)
        modified = _modified(self._path)
        facts = _facts(self._path, modified)
        if max(self._style.bands) > facts.bands:
            raise MapSourceError(
                f"{self._path.name} has {facts.bands} bands; the style asks for {self._style.bands}"
            )
        margin = 1 if self._style.hillshade else 0
        block = self._read(facts, modified, request, margin)
        if block is None:
            return empty_image(width, height)
        if self._style.kind == "rgb" and facts.dtypes == {"uint8"} and not margin:
            pixels = self._photograph(block, facts, request, modified)
        else:
            pixels = self._colour(
                _warp_values(block, facts, request, margin, self._resampling), request, modified, margin
            )
        return pixels if self._watermark is None else draw_watermark(pixels, self._watermark, request)

    @property
    def _resampling(self) -> Resampling:
        return _RESAMPLING[self._style.resampling]

    def _read(self, facts: _Facts, modified: int, request: MapRequest, margin: int) -> _Block | None:
        """The part of the file the map needs, `margin` pixels of the map included; None where they do not meet."""
        view = _view(facts, request, margin)
        if view is None:
            return None
        bands = list(self._style.bands)
        key = (str(self._path), modified, view.level)
        try:
            with _FILES.lease(key, lambda: _open(self._path, view.level)) as dataset:
                values = dataset.read(bands, window=view.window, out_shape=(len(bands), *view.shape))
                if facts.alpha_band:
                    mask = dataset.dataset_mask(window=view.window, out_shape=view.shape)
                else:
                    masks = dataset.read_masks(bands, window=view.window, out_shape=(len(bands), *view.shape))
                    mask = masks.min(axis=0)
                full = dataset.window_transform(view.window)
        except (RasterioError, OSError) as error:
            raise MapSourceError(f"{self._path.name} cannot be read: {error}") from error
        x, y = view.window.width / view.shape[1], view.window.height / view.shape[0]
        transform = rasterio.Affine(full.a * x, full.b * y, full.c, full.d * x, full.e * y, full.f)
        return _Block(values, mask, transform, view.ratio)

    def _photograph(self, block: _Block, facts: _Facts, request: MapRequest, modified: int) -> Pixels:
        """Three bands of bytes, warped as bytes: five times as fast as through floating point."""
        source = np.concatenate([block.values, block.mask[None]])
        warped = np.zeros((4, request.height, request.width), dtype=np.uint8)
        _reproject(source, warped, block, facts, request, 0, self._resampling)
        low, high = self._span(modified)
        table = np.clip(np.rint((np.arange(256) - low) * (255.0 / (high - low))), 0, 255).astype(np.uint8)
        pixels = np.empty((request.height, request.width, 4), dtype=np.uint8)
        pixels[..., :3] = np.moveaxis(table[warped[:3]], 0, -1)
        shown = warped[3] >= 128
        pixels[..., 3] = shown * np.uint8(255)
        pixels[~shown] = 0
        return pixels

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


@dataclass(frozen=True, slots=True)
class _Block:
    """Pixels read for one map: (bands, rows, columns), the mask (0: no data), their place, source pixels a map pixel."""

    values: NDArray[Any]
    mask: NDArray[np.uint8]
    transform: rasterio.Affine
    ratio: float


class _View(NamedTuple):
    """What to read: a window of an overview (level None: full resolution) as an array of `shape` (rows, columns).

    `ratio` is how many pixels of that array a map pixel covers.
    """

    window: Window
    shape: tuple[int, int]
    level: int | None
    ratio: float


def _warp_values(
    block: _Block, facts: _Facts, request: MapRequest, margin: int, resampling: Resampling
) -> NDArray[np.float32]:
    """The bands on the map's pixels and `margin` more on each side, NaN where there is no data."""
    values = block.values.astype(np.float32)
    values[:, block.mask == 0] = np.nan
    shape = (len(values), request.height + 2 * margin, request.width + 2 * margin)
    warped = np.full(shape, np.nan, dtype=np.float32)
    _reproject(
        values, warped, block, facts, request, margin, resampling, src_nodata=math.nan, dst_nodata=math.nan
    )
    return warped


def _reproject(
    source: NDArray[Any],
    target: NDArray[Any],
    block: _Block,
    facts: _Facts,
    request: MapRequest,
    margin: int,
    resampling: Resampling,
    **options: Any,
) -> None:
    if block.ratio <= _SMALL_RATIO:
        # Near its own resolution nothing is gained by GDAL's wider kernel, which takes more than twice the time.
        options |= {"XSCALE": 1, "YSCALE": 1}
    reproject(
        source,
        target,
        src_transform=block.transform,
        src_crs=facts.crs,
        dst_transform=from_bounds(*_outer_box(request, margin), target.shape[2], target.shape[1]),
        dst_crs=parse_crs(request.crs).to_wkt(),
        resampling=resampling,
        **options,
    )


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
                dtypes=frozenset(dataset.dtypes),
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


def _view(facts: _Facts, request: MapRequest, margin: int) -> _View | None:
    """What to read for the map; None where box and file do not meet."""
    project = transformer(request.crs, facts.crs)
    columns, rows = _pixels(facts, project, _outer_box(request, margin))
    if columns.size == 0:
        return None
    # Source pixels a map pixel covers, along the longer diagonal of the whole image.
    ratio = math.hypot(np.ptp(columns), np.ptp(rows)) / math.hypot(request.width, request.height)
    level, factor = None, 1
    for number, candidate in enumerate(facts.factors):
        if candidate <= ratio * 1.2:
            level, factor = number, candidate
    level_width, level_height = math.ceil(facts.width / factor), math.ceil(facts.height / factor)
    scale_x, scale_y = level_width / facts.width, level_height / facts.height
    reach = math.ceil(4 * max(1.0, ratio / factor))
    left = max(0, math.floor(columns.min() * scale_x) - reach)
    right = min(level_width, math.ceil(columns.max() * scale_x) + reach)
    top = max(0, math.floor(rows.min() * scale_y) - reach)
    bottom = min(level_height, math.ceil(rows.max() * scale_y) + reach)
    if left >= right or top >= bottom:
        return None
    # A file that lacks overviews is thinned while it is read, so that a small map of it never fills the memory.
    step = max(1, math.floor(ratio / factor / 2))
    shape = (math.ceil((bottom - top) / step), math.ceil((right - left) / step))
    return _View(Window(left, top, right - left, bottom - top), shape, level, ratio / factor / step)


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
