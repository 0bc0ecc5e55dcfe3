"""Opened rasters: what a coverage file holds, and reading a part of it at a wanted size.

`Dataset.read` with an output shape makes GDAL read the overview that fits, so a small answer about a large area touches few
bytes; warping readers do not choose overviews by themselves and are not used here.
"""

from __future__ import annotations

import atexit
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyproj
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.transform import Affine, from_origin
from rasterio.windows import Window

from providers.errors import StoreCorrupt, StoreMissing
from providers.features.crs import ReferenceSystem, describe_crs

_OPEN_RASTERS = 8


class Bounds(NamedTuple):
    """A box in the raster's own CRS, x = east or longitude: outer edges of pixels."""

    west: float
    south: float
    east: float
    north: float


@dataclass(frozen=True, slots=True)
class Band:
    """One band: `number` counts from 1; `name` is its description, else its colour, else the number as text."""

    number: int
    name: str
    dtype: str
    unit: str
    nodata: float | None


@dataclass(frozen=True, slots=True)
class CoverageDescription:
    """What a raster file holds. `resolution` is (x, y) of a pixel, both positive, in units of the CRS."""

    width: int
    height: int
    bounds: Bounds
    resolution: tuple[float, float]
    reference: ReferenceSystem
    bands: tuple[Band, ...]

    @property
    def axes(self) -> tuple[str, str]:
        """The axis labels of `subset` and `scale-size`: ("Lon", "Lat") or ("E", "N")."""
        return ("Lon", "Lat") if self.reference.horizontal.is_geographic else ("E", "N")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a raster: `values` (bands, rows, columns), `valid` the same shape, `bounds` its outer edges."""

    values: NDArray[Any]
    valid: NDArray[np.bool_]
    bounds: Bounds

    @property
    def transform(self) -> Affine:
        """From (column, row) to (x, y) of the CRS."""
        rows, columns = self.values.shape[1:]
        width = (self.bounds.east - self.bounds.west) / columns
        return from_origin(
            self.bounds.west, self.bounds.north, width, (self.bounds.north - self.bounds.south) / rows
        )


class _Handles(threading.local):
    """The rasters one thread has open: GDAL's datasets may not be shared between threads."""

    def __init__(self) -> None:
        self.open: OrderedDict[Path, tuple[Any, CoverageDescription]] = OrderedDict()


_handles = _Handles()


def describe_coverage(path: Path) -> CoverageDescription:
    """What the raster holds. Raises StoreMissing, or StoreCorrupt for a file GDAL cannot read or that is not placed."""
    return _opened(path)[1]


def close_rasters() -> None:
    """Close what the calling thread has open (at the end of a thread, and in tests)."""
    while _handles.open:
        _handles.open.popitem()[1][0].close()


# A dataset that outlives the interpreter's own modules complains while it is thrown away.
atexit.register(close_rasters)


def _opened(path: Path) -> tuple[Any, CoverageDescription]:
    cached = _handles.open.get(path)
    if cached is None:
        cached = _open(path)
        _handles.open[path] = cached
        if len(_handles.open) > _OPEN_RASTERS:
            _handles.open.popitem(last=False)[1][0].close()
    _handles.open.move_to_end(path)
    return cached


def _open(path: Path) -> tuple[Any, CoverageDescription]:
    if not path.is_file():
        raise StoreMissing(f"The coverage {path.name} is not there")
    try:
        dataset = rasterio.open(path)
    except RasterioError as error:
        raise StoreCorrupt(f"The coverage {path.name} cannot be read: {error}") from error
    transform = dataset.transform
    if dataset.crs is None or transform.b != 0 or transform.d != 0 or transform.a <= 0 or transform.e >= 0:
        dataset.close()
        raise StoreCorrupt(
            f"The coverage {path.name} has no CRS, or its rows do not run from west to east, north to south"
        )
    description = CoverageDescription(
        width=dataset.width,
        height=dataset.height,
        bounds=Bounds(*dataset.bounds),
        resolution=(transform.a, -transform.e),
        reference=describe_crs(pyproj.CRS.from_wkt(dataset.crs.to_wkt())),
        bands=tuple(_band(dataset, number) for number in dataset.indexes),
    )
    return dataset, description


def _band(dataset: Any, number: int) -> Band:
    colour = dataset.colorinterp[number - 1]
    named = (
        colour.name
        if colour in (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
        else ""
    )
    nodata = dataset.nodatavals[number - 1]
    return Band(
        number=number,
        name=dataset.descriptions[number - 1] or named or str(number),
        dtype=dataset.dtypes[number - 1],
        unit=dataset.units[number - 1] or "",
        nodata=None if nodata is None else float(nodata),
    )


def pixel_window(description: CoverageDescription, bounds: Bounds) -> Window:
    """The whole pixels that a box touches, within the raster; width or height is 0 where it touches none."""
    x, y = description.resolution
    whole = description.bounds
    # A box given by its printed edges may miss a pixel's edge by a rounding error: a thousandth of a pixel is none.
    # Cut before int(): a box may be farther away than a pixel number can be.
    columns = np.array(
        [np.floor((bounds.west - whole.west) / x + 1e-3), np.ceil((bounds.east - whole.west) / x - 1e-3)]
    )
    rows = np.array(
        [np.floor((whole.north - bounds.north) / y + 1e-3), np.ceil((whole.north - bounds.south) / y - 1e-3)]
    )
    left, right = np.clip(columns, 0, description.width).astype(int).tolist()
    top, bottom = np.clip(rows, 0, description.height).astype(int).tolist()
    return Window(left, top, max(right - left, 0), max(bottom - top, 0))


def window_bounds(description: CoverageDescription, window: Window) -> Bounds:
    """The outer edges of a window of whole pixels."""
    x, y = description.resolution
    west = description.bounds.west + window.col_off * x
    north = description.bounds.north - window.row_off * y
    return Bounds(west, north - window.height * y, west + window.width * x, north)


def read_part(path: Path, window: Window, bands: tuple[int, ...], shape: tuple[int, int]) -> Part:
    """Read the bands of a window as an array of `shape` (rows, columns); smaller than the window, values are averaged.

    Integers may be codes: those of no colour take the nearest pixel. Raises StoreCorrupt.
    """
    dataset, description = _opened(path)
    shrinks = shape[0] < window.height or shape[1] < window.width
    averages = all(_is_continuous(description.bands[number - 1]) for number in bands)
    try:
        values = dataset.read(
            list(bands),
            window=window,
            out_shape=(len(bands), *shape),
            masked=True,
            resampling=Resampling.average if shrinks and averages else Resampling.nearest,
        )
    except RasterioError as error:
        raise StoreCorrupt(f"The coverage {path.name} cannot be read: {error}") from error
    return Part(values.data, ~np.ma.getmaskarray(values), window_bounds(description, window))


def _is_continuous(band: Band) -> bool:
    """Whether values between two values mean something: numbers with fractions, and colours."""
    return band.dtype.startswith("float") or band.name in ("red", "green", "blue")
