"""What raster data can be asked: the protocol of single files, mosaics and multi-dimensional arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import pyproj
from numpy.typing import NDArray

from tiles.cache.changes import Box84, Change

type Resampling = Literal["nearest", "bilinear", "cubic", "average"]


class Bounds(NamedTuple):
    """A box in a CRS, x = east or longitude: outer edges of pixels."""

    west: float
    south: float
    east: float
    north: float


@dataclass(frozen=True, slots=True)
class RasterHistogram:
    """How many pixels have which values: `counts` of classes of equal width from `low` to `high`."""

    low: float
    high: float
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RasterBand:
    """One band. `number` counts from 1; `name` is a plain identifier by which users name it ("red", "B04", "1").

    `minimum`, `maximum`, `mean` and `deviation` are of all valid pixels where publishing computed them; `percentiles` (2nd,
    98th) and `histogram` come from an overview of about a million pixels, `valid_share` is 0 to 1. `colours` is the palette
    of a band of codes (code -> red, green, blue, alpha), None for others. `interpretation` is GDAL's word ("red", "gray",
    "palette"). Alpha bands are not listed: they are in what is valid.
    """

    number: int
    name: str
    dtype: str
    title: str = ""
    unit: str = ""
    nodata: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    deviation: float | None = None
    colours: tuple[tuple[int, tuple[int, int, int, int]], ...] | None = None
    percentiles: tuple[float, float] | None = None
    valid_share: float | None = None
    histogram: RasterHistogram | None = None
    interpretation: str = "undefined"


@dataclass(frozen=True, slots=True)
class RasterDescription:
    """What a raster holds, as one grid with north up.

    `width` and `height` are pixels of the whole at the finest `resolution` (x, y, both positive, units of `crs`).
    `instants` are RFC 3339 texts in UTC, rising; () where the raster has no time. `footprint` is the extent in CRS84.
    """

    crs: pyproj.CRS
    bounds: Bounds
    footprint: Box84
    width: int
    height: int
    resolution: tuple[float, float]
    bands: tuple[RasterBand, ...]
    instants: tuple[str, ...] = ()


class RasterBlock(NamedTuple):
    """Part of a raster: `values` (bands, rows, columns) in the common dtype of the bands asked for, `valid` the same shape
    (False for nodata, mask, alpha 0, NaN), `bounds` the outer edges in the CRS asked for; row 0 is the northernmost."""

    values: NDArray[Any]
    valid: NDArray[np.bool_]
    bounds: Bounds


class RasterSource(Protocol):
    """Raster data, opened. Safe in threads; opens no file before it is read, and few per request.

    `bands` are numbers. `instant` is one of `description.instants`, None the latest (of a mosaic: the newest pixel each).
    Raises RasterError (a TilesError) where data is gone or damaged, UnknownInstant for an instant that is not there.
    """

    @property
    def description(self) -> RasterDescription:
        """What it holds; of a mosaic, at this moment."""
        ...

    def read(
        self,
        bounds: Bounds,
        shape: tuple[int, int],
        bands: Sequence[int],
        *,
        instant: str | None = None,
        resampling: Resampling = "nearest",
    ) -> RasterBlock:
        """A box of its own CRS as `shape` (rows, columns), from the overview that fits."""
        ...

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
        """A box of any CRS ("EPSG:3857"), easting first, as `shape`; None where nothing lies in it. The hot path of maps."""
        ...

    def sample(
        self,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        bands: Sequence[int],
        *,
        instant: str | None = None,
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values (bands, points) at positions of its own CRS by the pixel they lie in, and which are valid."""
        ...

    def span(self, bands: Sequence[int], *, instant: str | None = None) -> tuple[float, float]:
        """2nd to 98th percentile over these bands together; (0, 1) without data, never an empty span."""
        ...

    def change(self) -> Change:
        """Rises when scenes are added or removed (tiles.cache.ChangeLog)."""
        ...

    def dirty_since(self, change: Change) -> Sequence[Box84] | None:
        """Where scenes came or went after `change` (tiles.cache.ChangeLog)."""
        ...

    def touched_since(self, change: Change, box84: Box84) -> bool:
        """Whether one of them meets the box (tiles.cache.ChangeLog)."""
        ...
