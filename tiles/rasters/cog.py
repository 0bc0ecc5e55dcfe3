"""One raster file (best a cloud optimised GeoTIFF) as a source of raster data.

The overview is chosen by hand: GDAL's warper reads full resolution otherwise, which took twenty times as long.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling as GdalResampling
from rasterio.windows import Window

from tiles.cache.changes import Unchanging
from tiles.crs import parse_crs, transformer
from tiles.errors import RasterError, UnknownInstant
from tiles.rasters.datasets import (
    FileFacts,
    crs_of,
    described_band,
    file_facts,
    footprint84,
    lease_dataset,
    modified_ns,
)
from tiles.rasters.resampling import (
    Coordinates,
    Positions,
    Sampled,
    aligned_coordinates,
    gather,
    gather_by_gdal,
    warped_coordinates,
)
from tiles.rasters.source import Bounds, RasterBlock, RasterDescription, Resampling

_STATISTICS_EDGE = 512
_WARP_SLACK = 1.2
"""An overview of a little lower resolution than the map's is taken: nobody sees it, and it is a quarter of the bytes."""
_EMPTY_SPAN = (0.0, 1.0)


class _View(NamedTuple):
    """What to read: a window of an overview (level None: full resolution) as an array of `shape` (rows, columns)."""

    window: Window
    shape: tuple[int, int]
    level: int | None
    factor: int


class CogSource(Unchanging):
    """A raster file of one moment; implements RasterSource. Opens nothing until it is asked for something.

    `properties` are those of its COVERAGE representation, for statistics; a file without them has none. `instant` is the
    time the file is of, None where it has none. A file that is replaced is read anew.
    """

    def __init__(
        self, path: Path, properties: Mapping[str, Any] | None = None, *, instant: str | None = None
    ) -> None:
        self._path = path
        self._properties = properties or {}
        self._instant = instant
        self._described: tuple[int, RasterDescription] | None = None

    @property
    def description(self) -> RasterDescription:
        """What the file holds."""
        modified = modified_ns(self._path)
        known = self._described
        if known is None or known[0] != modified:
            known = self._described = (modified, self._describe(file_facts(self._path, modified)))
        return known[1]

    def _describe(self, facts: FileFacts) -> RasterDescription:
        kept = self._properties.get("bands", ())
        bands = facts.bands
        if len(kept) in (len(bands), facts.count):
            bands = tuple(described_band(band, kept[index]) for index, band in enumerate(bands))
        return RasterDescription(
            crs=crs_of(facts.crs),
            bounds=facts.bounds,
            footprint=footprint84(facts.bounds, facts.crs),
            width=facts.width,
            height=facts.height,
            resolution=facts.resolution,
            bands=bands,
            instants=() if self._instant is None else (self._instant,),
        )

    def read(
        self,
        bounds: Bounds,
        shape: tuple[int, int],
        bands: Sequence[int],
        *,
        instant: str | None = None,
        resampling: Resampling = "nearest",
    ) -> RasterBlock:
        """A box of its own CRS as `shape` (rows, columns); what lies outside of the file is not valid."""
        facts, modified = self._facts(bands, instant)
        found = self._gathered(
            facts, modified, aligned_coordinates(bounds), shape, bands, resampling, (bounds, facts.crs), 1.0
        )  # fmt: skip
        return _block(found, bounds, shape, bands, facts)

    def warp(
        self,
        bounds: Bounds,
        crs: str,
        shape: tuple[int, int],
        bands: Sequence[int],
        *,
        instant: str | None = None,
        resampling: Resampling = "bilinear",
    ) -> RasterBlock | None:
        """A box of any CRS as `shape`; None where nothing of the file lies in it."""
        facts, modified = self._facts(bands, instant)
        coordinates = target_coordinates(facts, bounds, crs, shape)
        found = self._gathered(
            facts, modified, coordinates, shape, bands, resampling, (bounds, crs), _WARP_SLACK
        )
        return None if found is None else _block(found, bounds, shape, bands, facts)

    def sample(
        self,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        bands: Sequence[int],
        *,
        instant: str | None = None,
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values (bands, points) of the pixels that points of its own CRS lie in; each block is read once."""
        facts, modified = self._facts(bands, instant)
        values = np.zeros((len(bands), len(x)), dtype=facts.dtype)
        valid = np.zeros(values.shape, dtype=np.bool_)
        columns, rows = _pixel_positions(
            facts, np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        )
        with np.errstate(invalid="ignore"):
            inside = (columns >= 0) & (columns < facts.width) & (rows >= 0) & (rows < facts.height)
        places = np.flatnonzero(inside)
        column, row = columns[places].astype(np.intp), rows[places].astype(np.intp)
        across = math.ceil(facts.width / facts.block[1])
        block = row // facts.block[0] * across + column // facts.block[1]
        order = np.argsort(block, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(block[order])) + 1):
            if not group.size:
                continue
            left, top = int(column[group].min()), int(row[group].min())
            window = Window(left, top, int(column[group].max()) - left + 1, int(row[group].max()) - top + 1)
            view = _View(window, (window.height, window.width), None, 1)
            part, mask = self._pixels(facts, modified, view, bands, nearest=True)
            at = (slice(None), row[group] - top, column[group] - left)
            values[:, places[group]] = part[at]
            valid[:, places[group]] = True if mask is None else mask[at]
        return values, valid

    def read_window(
        self, window: Window, bands: Sequence[int]
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """The pixels (bands, rows, columns) of a window at full resolution, and which are valid.

        Validity has the same shape, or one band for all, or is None where all are.
        """
        facts, modified = self._facts(bands, None)
        view = _View(window, (window.height, window.width), None, 1)
        return self._pixels(facts, modified, view, bands, nearest=True)

    def span(self, bands: Sequence[int], *, instant: str | None = None) -> tuple[float, float]:
        """2nd to 98th percentile over the bands: kept ones, else of a small overview."""
        modified = self._facts(bands, instant)[1]
        by_number = {band.number: band.percentiles for band in self.description.bands}
        kept = [by_number.get(band) for band in bands]
        known = [pair for pair in kept if pair is not None]
        if len(known) < len(kept):
            return _percentiles(self._path, modified, tuple(bands))
        return span_of(min(low for low, _ in known), max(high for _, high in known))

    def _facts(self, bands: Sequence[int], instant: str | None) -> tuple[FileFacts, int]:
        modified = modified_ns(self._path)
        facts = file_facts(self._path, modified)
        wrong = [band for band in bands if not 1 <= band <= facts.count]
        if wrong or not bands:
            raise RasterError(
                f"{self._path.name} has {facts.count} bands; bands {list(bands)} were asked for"
            )
        if instant is not None and instant != self._instant:
            raise UnknownInstant(
                f"{instant} was asked for; the data have {'no time' if self._instant is None else self._instant}"
            )
        return facts, modified

    def _gathered(
        self,
        facts: FileFacts,
        modified: int,
        coordinates: Coordinates,
        shape: tuple[int, int],
        bands: Sequence[int],
        resampling: Resampling,
        target: tuple[Bounds, str],
        slack: float,
    ) -> Sampled | None:
        """Values at coordinates of the file's CRS; None where none lies in the file."""
        columns, rows = _pixel_positions(facts, coordinates.x, coordinates.y)
        view = _view(facts, columns, rows, shape, slack, exact=coordinates.exact)
        if view is None:
            return None
        nearest = resampling == "nearest"
        values, mask = self._pixels(facts, modified, view, bands, nearest=nearest)
        if resampling in ("cubic", "average"):
            return gather_by_gdal(
                values, mask, (_window_bounds(facts, view), crs_of(facts.crs).to_wkt()),
                (target[0], parse_crs(target[1]).to_wkt()), shape, resampling,
            )  # fmt: skip
        scale_x, scale_y = _scales(facts, view.factor)
        window = view.window
        columns = (columns * scale_x - window.col_off) * (view.shape[1] / window.width)
        rows = (rows * scale_y - window.row_off) * (view.shape[0] / window.height)
        return gather(values, mask, Coordinates(columns, rows, coordinates.exact), shape, resampling)

    def _pixels(
        self, facts: FileFacts, modified: int, view: _View, bands: Sequence[int], *, nearest: bool
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Values (bands, rows, columns) of a window, and which are valid: alike in shape, one for all bands, None for all."""
        wanted = list(bands)
        if facts.mask == "alpha" and facts.alpha_band is not None:
            wanted.append(facts.alpha_band)
        thinning = GdalResampling.nearest if nearest else GdalResampling.average
        options: dict[str, Any] = {"window": view.window, "out_shape": (len(wanted), *view.shape)}
        with lease_dataset(self._path, modified, view.level) as dataset:
            values = dataset.read(wanted, resampling=thinning, **options)
            if facts.mask == "mask":
                shape = {"window": view.window, "out_shape": (1, *view.shape)}
                return values, dataset.read_masks([bands[0]], **shape) > 0
        if facts.mask == "alpha":
            seen = values[-1:] > 0
            return values[:-1], None if seen.all() else seen
        return values, _valid_values(values, [facts.nodata[band - 1] for band in bands])


def block_windows(path: Path) -> Iterator[Window]:
    """Windows that cover a file, each of whole blocks and of about a million pixels."""
    facts = file_facts(path, modified_ns(path))
    tall, wide = (math.ceil(1024 / edge) * edge if edge < 1024 else edge for edge in facts.block)
    wide = min(wide, facts.width)
    if wide > 1024 * 8:
        tall = max(facts.block[0], 1024 * 1024 // wide)
    for row in range(0, facts.height, tall):
        for column in range(0, facts.width, wide):
            yield Window(column, row, min(wide, facts.width - column), min(tall, facts.height - row))


def _valid_values(values: NDArray[Any], nodata: Sequence[float | None]) -> NDArray[np.bool_] | None:
    """Which values are data: finite, and not the nodata value of their band; None where all are."""
    valid = np.isfinite(values) if values.dtype.kind == "f" else None
    for band, value in enumerate(nodata):
        if value is None or math.isnan(value):
            continue
        if valid is None:
            valid = np.ones(values.shape, dtype=np.bool_)
        valid[band] &= values[band] != values.dtype.type(value) if _fits(value, values.dtype) else True
    return None if valid is None or valid.all() else valid


def _fits(value: float, dtype: np.dtype[Any]) -> bool:
    if dtype.kind == "f":
        return True
    limits = np.iinfo(dtype)
    return bool(limits.min <= value <= limits.max and float(value).is_integer())


def target_coordinates(facts: FileFacts, bounds: Bounds, crs: str, shape: tuple[int, int]) -> Coordinates:
    """Where the pixels of a box of `crs` lie in the CRS of the file."""
    if crs == facts.crs or parse_crs(crs) is parse_crs(facts.crs):
        return aligned_coordinates(bounds)
    project = transformer(crs, facts.crs)
    fine = max((bounds.east - bounds.west) / shape[1], (bounds.north - bounds.south) / shape[0])
    pixel = _source_pixel(facts, bounds, crs, fine)
    return warped_coordinates(bounds, shape, project, pixel, _turn_below(facts))


def _turn_below(facts: FileFacts) -> float | None:
    """Where longitudes start in a file that counts them to 360; None for others."""
    counts_on = facts.bounds.east > 180.0 and crs_of(facts.crs).is_geographic
    return facts.bounds.west if counts_on else None


def _source_pixel(facts: FileFacts, bounds: Bounds, crs: str, fine: float) -> tuple[float, float]:
    """The size of a target pixel in units of the file, but no less than the file's own."""
    middle_x, middle_y = (bounds.west + bounds.east) / 2, (bounds.south + bounds.north) / 2
    x, y = transformer(crs, facts.crs).transform(
        [middle_x, middle_x + fine, middle_x], [middle_y, middle_y, middle_y + fine]
    )
    own = facts.resolution
    across, down = math.hypot(x[1] - x[0], x[2] - x[0]), math.hypot(y[1] - y[0], y[2] - y[0])
    if not (math.isfinite(across) and math.isfinite(down)):
        return own
    return max(across, own[0]), max(down, own[1])


def _pixel_positions(facts: FileFacts, x: Positions, y: Positions) -> tuple[Positions, Positions]:
    """Full-resolution (column, row), fractional."""
    width, height = facts.resolution
    return (x - facts.bounds.west) / width, (facts.bounds.north - y) / height


def _scales(facts: FileFacts, factor: int) -> tuple[float, float]:
    """Pixels of an overview a pixel of full resolution."""
    return math.ceil(facts.width / factor) / facts.width, math.ceil(facts.height / factor) / facts.height


def _view(
    facts: FileFacts,
    columns: Positions,
    rows: Positions,
    shape: tuple[int, int],
    slack: float,
    *,
    exact: bool,
) -> _View | None:
    """What to read for these positions; None where none lies in the file."""
    reach_x, reach_y = _reach(columns), _reach(rows)
    if reach_x is None or reach_y is None:
        return None
    # Pixels of the file a target pixel covers; the finer direction decides, so that no detail is lost.
    ratio = min((reach_x[1] - reach_x[0]) / shape[1], (reach_y[1] - reach_y[0]) / shape[0])
    if exact:
        ratio = _step(columns, rows)
    elif columns.size > 4:
        ratio = math.hypot(reach_x[1] - reach_x[0], reach_y[1] - reach_y[0]) / math.hypot(*shape)
    level, factor = None, 1
    for number, candidate in enumerate(facts.factors):
        if candidate <= ratio * slack + 1e-6:
            level, factor = number, candidate
    scale_x, scale_y = _scales(facts, factor)
    level_width, level_height = math.ceil(facts.width / factor), math.ceil(facts.height / factor)
    margin = math.ceil(2 * max(1.0, ratio / factor))
    left = max(0, math.floor(reach_x[0] * scale_x) - margin)
    right = min(level_width, math.ceil(reach_x[1] * scale_x) + margin)
    top = max(0, math.floor(reach_y[0] * scale_y) - margin)
    bottom = min(level_height, math.ceil(reach_y[1] * scale_y) + margin)
    if (
        left >= right
        or top >= bottom
        or not _meets(reach_x, facts.width)
        or not _meets(reach_y, facts.height)
    ):
        return None
    # A file that lacks overviews is thinned while it is read, so that a small map of it never fills the memory.
    step = max(1, math.floor(ratio / factor))
    size = (math.ceil((bottom - top) / step), math.ceil((right - left) / step))
    return _View(Window(left, top, right - left, bottom - top), size, level, factor)


def _step(columns: Positions, rows: Positions) -> float:
    """Pixels of the file from one target pixel to the next: the usual ones, jumps at the edge of the world left out."""
    steps = [np.hypot(np.diff(columns, axis=axis), np.diff(rows, axis=axis)) for axis in (0, 1)]
    usual = [float(np.median(step[np.isfinite(step)])) for step in steps if np.isfinite(step).any()]
    return min(usual, default=1.0)


def _reach(positions: Positions) -> tuple[float, float] | None:
    """Least and greatest finite position."""
    low, high = float(positions.min()), float(positions.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        finite = positions[np.isfinite(positions)]
        if not finite.size:
            return None
        low, high = float(finite.min()), float(finite.max())
    return low, high


def _meets(reach: tuple[float, float], count: int) -> bool:
    return reach[1] >= 0 and reach[0] < count


def _window_bounds(facts: FileFacts, view: _View) -> Bounds:
    scale_x, scale_y = _scales(facts, view.factor)
    width, height = facts.resolution[0] / scale_x, facts.resolution[1] / scale_y
    west = facts.bounds.west + view.window.col_off * width
    north = facts.bounds.north - view.window.row_off * height
    return Bounds(west, north - view.window.height * height, west + view.window.width * width, north)


def _block(
    found: Sampled | None, bounds: Bounds, shape: tuple[int, int], bands: Sequence[int], facts: FileFacts
) -> RasterBlock:
    if found is None:
        empty = np.zeros((len(bands), *shape), dtype=facts.dtype)
        return RasterBlock(empty, np.zeros(empty.shape, dtype=np.bool_), bounds)
    return RasterBlock(found.values, found.valid, bounds)


@lru_cache(maxsize=256)
def _percentiles(path: Path, modified: int, bands: tuple[int, ...]) -> tuple[float, float]:
    facts = file_facts(path, modified)
    step = max(1, math.ceil(max(facts.width, facts.height) / _STATISTICS_EDGE))
    shape = (max(1, facts.height // step), max(1, facts.width // step))
    block = CogSource(path).read(facts.bounds, shape, bands)
    values = block.values[block.valid]
    if values.size == 0:
        return _EMPTY_SPAN
    low, high = (float(value) for value in np.percentile(values, (2, 98)))
    return span_of(low, high)


def span_of(low: float, high: float) -> tuple[float, float]:
    """The two, half a unit apart from the middle where they are one."""
    return (low, high) if low < high else (low - 0.5, low + 0.5)
