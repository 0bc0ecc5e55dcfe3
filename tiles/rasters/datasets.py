"""Open raster files: a bounded store of handles for the whole process, and what a file says about itself.

GDAL's datasets serve one thread at a time, so a thread borrows one and gives it back.
"""

from __future__ import annotations

import atexit
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio
from pyproj.exceptions import CRSError
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError

from tiles.cache.changes import Box84
from tiles.crs import named_crs, transformer
from tiles.errors import RasterError, UnsupportedCrs
from tiles.leases import LeaseStore
from tiles.rasters.source import Bounds, RasterBand, RasterHistogram

OPEN_DATASETS = 64
_DATASETS: LeaseStore[Any] = LeaseStore(OPEN_DATASETS, lambda dataset: dataset.close())
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}\Z")
_UNNAMED = frozenset({"gray", "undefined", "palette", "alpha"})


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a raster file says about itself.

    `factors` are how many pixels (x, y alike) each overview merges, rising. `mask` says how validity is told: "all" (every
    pixel is valid), "nodata" (by the value of each band), "alpha" (`alpha_band`), "mask" (one mask for all bands).
    """

    width: int
    height: int
    bounds: Bounds
    crs: str
    count: int
    dtype: np.dtype[Any]
    dtypes: tuple[str, ...]
    factors: tuple[int, ...]
    mask: str
    alpha_band: int | None
    nodata: tuple[float | None, ...]
    bands: tuple[RasterBand, ...]
    block: tuple[int, int]

    @property
    def resolution(self) -> tuple[float, float]:
        """(x, y) units of the CRS a pixel."""
        return (
            (self.bounds.east - self.bounds.west) / self.width,
            (self.bounds.north - self.bounds.south) / self.height,
        )


def modified_ns(path: Path) -> int:
    """When the file was last written. Raises RasterError where it is gone."""
    try:
        return path.stat().st_mtime_ns
    except OSError as error:
        raise RasterError(f"{path.name} cannot be read: {error.strerror}") from error


@contextmanager
def lease_dataset(path: Path, modified: int, level: int | None = None) -> Iterator[Any]:
    """A dataset of the file at one overview level (None: full resolution). Raises RasterError, also for reads inside."""
    try:
        with _DATASETS.lease((str(path), modified, level), lambda: _open(path, level)) as dataset:
            yield dataset
    except (RasterioError, OSError) as error:
        raise RasterError(f"{path.name} cannot be read: {error}") from error


def _open(path: Path, level: int | None) -> Any:
    options = {} if level is None else {"overview_level": level}
    return rasterio.open(path, sharing=False, **options)


def close_rasters() -> None:
    """Close all idle raster files."""
    _DATASETS.clear()


# A dataset that outlives the interpreter's own modules complains while it is thrown away.
atexit.register(close_rasters)


@lru_cache(maxsize=4096)
def file_facts(path: Path, modified: int) -> FileFacts:
    """What the file says; remembered until it changes. Raises RasterError for what is no upright placed raster."""
    with lease_dataset(path, modified) as dataset:
        return _facts(dataset, path.name)


def _facts(dataset: Any, name: str) -> FileFacts:
    if dataset.count == 0:
        raise RasterError(f"{name} has no bands")
    if dataset.crs is None:
        raise RasterError(f"{name} names no CRS, so it has no place on a map")
    transform = dataset.transform
    placed = all(map(math.isfinite, transform[:6]))
    if not placed or transform.b or transform.d or transform.a <= 0 or transform.e >= 0:
        raise RasterError(f"{name} is not a grid with north up; publish it, which resamples it")
    interpretation = dataset.colorinterp
    alpha = interpretation.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in interpretation else None
    return FileFacts(
        width=dataset.width,
        height=dataset.height,
        bounds=Bounds(*dataset.bounds),
        crs=_crs_text(dataset.crs, name),
        count=dataset.count,
        dtype=np.result_type(*dataset.dtypes),
        dtypes=tuple(dataset.dtypes),
        factors=tuple(dataset.overviews(1)),
        mask=_mask_kind(dataset, alpha),
        alpha_band=alpha,
        nodata=tuple(dataset.nodatavals),
        bands=_bands(dataset),
        block=dataset.block_shapes[0],
    )


def _crs_text(crs: Any, name: str) -> str:
    """The CRS as PROJ knows it: a code where there is one (lookups by it are shared with those of requests), else WKT."""
    try:
        found = pyproj.CRS.from_wkt(crs.to_wkt())
    except CRSError as error:
        raise RasterError(f"{name} is in a CRS that is not understood: {error}") from error
    authority = found.to_authority(min_confidence=100)
    return found.to_wkt() if authority is None else ":".join(authority)


def _mask_kind(dataset: Any, alpha: int | None) -> str:
    if alpha is not None:
        return "alpha"
    flags = set(dataset.mask_flag_enums[0])
    if MaskFlags.nodata in flags:
        return "nodata"
    return "mask" if MaskFlags.per_dataset in flags else "all"


def _bands(dataset: Any) -> tuple[RasterBand, ...]:
    bands: list[RasterBand] = []
    taken: set[str] = set()
    for index, interpretation in enumerate(dataset.colorinterp):
        if interpretation is ColorInterp.alpha:
            continue
        name = band_name(index + 1, dataset.descriptions[index], interpretation.name, taken)
        taken.add(name)
        bands.append(
            RasterBand(
                number=index + 1,
                name=name,
                dtype=dataset.dtypes[index],
                title=dataset.descriptions[index] or "",
                unit=dataset.units[index] or "",
                nodata=dataset.nodatavals[index],
                colours=_palette(dataset, index + 1) if interpretation is ColorInterp.palette else None,
                interpretation=interpretation.name,
            )
        )
    return tuple(bands)


def band_name(number: int, description: str | None, interpretation: str, taken: set[str]) -> str:
    """The plain name of a band: its description, else its colour, else its number, whichever is plain and free."""
    for candidate in (description or "", "" if interpretation in _UNNAMED else interpretation):
        if _PLAIN_NAME.match(candidate) and candidate not in taken:
            return candidate
    return str(number)


def _palette(dataset: Any, band: int) -> tuple[tuple[int, tuple[int, int, int, int]], ...] | None:
    try:
        found: Mapping[int, tuple[int, int, int, int]] = dataset.colormap(band)
    except ValueError:  # interpreted as a palette, and without one
        return None
    return tuple(sorted(found.items()))


def described_band(band: RasterBand, kept: Mapping[str, Any]) -> RasterBand:
    """The band with the statistics that publishing kept (an item of the `bands` of the registry's properties)."""
    low, high = kept.get("percentile_2"), kept.get("percentile_98")
    histogram = kept.get("histogram")
    return RasterBand(
        number=band.number,
        name=band.name,
        dtype=band.dtype,
        title=kept.get("title") or band.title,
        unit=kept.get("unit") or band.unit,
        nodata=band.nodata,
        minimum=kept.get("minimum"),
        maximum=kept.get("maximum"),
        mean=kept.get("mean"),
        deviation=kept.get("deviation"),
        colours=band.colours,
        percentiles=None if low is None or high is None else (low, high),
        valid_share=kept.get("valid_share"),
        histogram=None
        if histogram is None
        else RasterHistogram(histogram["low"], histogram["high"], tuple(histogram["counts"])),
        interpretation=band.interpretation,
    )


@lru_cache(maxsize=4096)
def footprint84(bounds: Bounds, crs: str) -> Box84:
    """The extent in CRS84. Raises RasterError where the CRS cannot express it."""
    try:
        box = transformer(crs, "OGC:CRS84").transform_bounds(*bounds, densify_pts=21)
    except (UnsupportedCrs, pyproj.exceptions.ProjError) as error:
        raise RasterError(f"the extent {tuple(bounds)} has no place in longitude and latitude") from error
    if not all(map(math.isfinite, box)):
        raise RasterError(f"the extent {tuple(bounds)} has no place in longitude and latitude")
    west, south, east, north = (float(value) for value in box)
    return (west, south, east, north) if west <= east else (-180.0, south, 180.0, north)


def crs_of(text: str) -> pyproj.CRS:
    """The CRS of a text of `FileFacts.crs`."""
    return named_crs(text)
