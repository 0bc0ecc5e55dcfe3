"""A point cloud as raster data: heights, intensity, density, classes and colours, made of points on request at any resolution."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyproj
from numpy.typing import NDArray

from pointclouds.cloud.cloud import open_cloud
from pointclouds.crs import horizontal_part, vertical_unit
from pointclouds.errors import PointCloudError, QueryError
from pointclouds.rasters.cells import CellWindow
from pointclouds.rasters.raster import PointRaster
from pointclouds.tilesets.colours import CLASS_COLOURS
from providers.errors import AnswerTooLarge
from providers.points.opening import point_limit
from tiles.cache.changes import Unchanging
from tiles.crs import parse_crs, transformer
from tiles.errors import RasterError, UnknownInstant
from tiles.rasters.datasets import described_band, footprint84
from tiles.rasters.resampling import (
    Coordinates,
    Sampled,
    aligned_coordinates,
    gather,
    gather_by_gdal,
    warped_coordinates,
)
from tiles.rasters.source import Bounds, RasterBand, RasterBlock, RasterDescription, Resampling

CODES: Final = "classification"
_COLOURS: Final = frozenset({"red", "green", "blue"})
_HEIGHTS: Final = frozenset({"dtm", "dsm", "height"})
BAND_TITLES: Final = {
    "dtm": "Terrain: mean height of ground points, filled under buildings",
    "dsm": "Surface: highest point",
    "height": "Height of the surface above the terrain",
    "intensity": "Mean intensity",
    "density": "Points a square unit",
    CODES: "Most frequent classification",
    "red": "Red",
    "green": "Green",
    "blue": "Blue",
}
"""Titles of the bands in English; pages have them in other languages too."""
_UNITS: Final = ((1.0, "m", "m-2"), (0.3048, "[ft_i]", "[sft_i]-1"), (1200 / 3937, "[ft_us]", "[sft_us]-1"))
_MARGIN: Final = 2
_MOST_CELLS: Final = 1 << 24
_SPAN_EDGE: Final = 256


@contextmanager
def raster_errors() -> Iterator[None]:
    """Errors of point clouds as those of rasters: too many points as AnswerTooLarge, the rest as RasterError."""
    try:
        yield
    except QueryError as error:
        raise AnswerTooLarge(str(error)) from error
    except PointCloudError as error:
        raise RasterError(str(error)) from error


class PointRasterSource(Unchanging):
    """A cloud by the path of its COPC or index; implements RasterSource. Opens nothing until it is asked for something.

    `properties` are those of its COVERAGE representation: `bands` (names and statistics), `resolution`, `ground_classes`, `reach`;
    without them the cloud itself decides. One part reads at most `most_points` of them, or what limit_point_rasters said.
    """

    def __init__(self, path: Path, properties: Mapping[str, Any] | None = None) -> None:
        self._path = path
        self._properties = properties or {}

    @cached_property
    def raster(self) -> PointRaster:
        """The rasters of the cloud. Raises RasterError."""
        given = self._properties
        resolution = given.get("resolution")
        options: dict[str, Any] = {"reach": float(given["reach"])} if "reach" in given else {}
        with raster_errors():
            return PointRaster(
                open_cloud(self._path),
                tuple(given.get("ground_classes", (2,))),
                float(resolution[0]) if resolution else None,
                most_points=int(given.get("most_points", point_limit(self._path))),
                **options,
            )

    @cached_property
    def description(self) -> RasterDescription:
        """What it holds: the grid of the finest cells that covers the cloud."""
        with raster_errors():
            raster = self.raster
            cell, window = raster.resolution, self._whole(0)
            bounds = Bounds(*window.bounds(cell))
            names = [str(band["name"]) for band in self._properties.get("bands", ())] or list(raster.bands)
        return RasterDescription(
            crs=parse_crs(self._crs),
            bounds=bounds,
            footprint=footprint84(bounds, self._crs),
            width=window.columns,
            height=window.rows,
            resolution=(cell, cell),
            bands=tuple(self._band(number, name) for number, name in enumerate(names, 1)),
        )

    @cached_property
    def _crs(self) -> str:
        """The horizontal CRS as PROJ knows it: a code where there is one, else WKT."""
        with raster_errors():
            crs = horizontal_part(self.raster.cloud.crs)
        authority = crs.to_authority(min_confidence=100)
        return str(crs.to_wkt()) if authority is None else ":".join(authority)

    def _band(self, number: int, name: str) -> RasterBand:
        kept = {str(band["name"]): band for band in self._properties.get("bands", ())}.get(name, {})
        band = RasterBand(
            number=number,
            name=name,
            dtype="uint8" if name == CODES else "float32",
            title=BAND_TITLES[name],
            unit=self._unit(name),
            colours=_palette() if name == CODES else None,
            interpretation="palette" if name == CODES else name if name in _COLOURS else "undefined",
        )
        return described_band(band, kept)

    def _unit(self, name: str) -> str:
        """In UCUM; "" where it has none or none is known."""
        if name not in _HEIGHTS | {"density"}:
            return ""
        crs = self.raster.cloud.crs
        factor = float(horizontal_part(crs).axis_info[0].unit_conversion_factor)
        wanted = factor if name == "density" else vertical_unit(crs)
        for known, length, area in _UNITS:
            if abs(wanted / known - 1) < 1e-7:
                return area if name == "density" else length
        return ""

    def _whole(self, level: int) -> CellWindow:
        box = self.raster.cloud.box
        # A point on the eastern or southern border has a cell of its own there.
        cell = self.raster.cell(level)
        return CellWindow.around(
            cell, box[0], math.nextafter(box[1], -math.inf), math.nextafter(box[3], math.inf), box[4]
        )

    # --- questions -------------------------------------------------------------------------------------------------------

    def read(
        self,
        bounds: Bounds,
        shape: tuple[int, int],
        bands: Sequence[int],
        *,
        instant: str | None = None,
        resampling: Resampling = "nearest",
    ) -> RasterBlock:
        """A box of its own CRS as `shape` (rows, columns). Raises AnswerTooLarge, RasterError."""
        names = self._names(bands, instant)
        found = self._gathered(aligned_coordinates(bounds), (bounds, self._crs), shape, names, resampling)
        return _block(found, bounds, shape, names)

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
        """A box of any CRS as `shape`; None where nothing of the cloud lies in it. Raises AnswerTooLarge, RasterError."""
        names = self._names(bands, instant)
        if parse_crs(crs) is parse_crs(self._crs):
            coordinates = aligned_coordinates(bounds)
        else:
            project = transformer(crs, self._crs)
            coordinates = warped_coordinates(bounds, shape, project, self._pixel(bounds, project, shape))
        found = self._gathered(coordinates, (bounds, crs), shape, names, resampling)
        return None if found is None else _block(found, bounds, shape, names)

    def sample(
        self,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        bands: Sequence[int],
        *,
        instant: str | None = None,
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values (bands, points) of the finest cells that positions of its own CRS lie in.

        Raises AnswerTooLarge where they lie in more than 400 places of 64 x 64 cells, RasterError.
        """
        names = self._names(bands, instant)
        values = np.zeros((len(names), len(x)), _dtype(names))
        valid = np.zeros(values.shape, np.bool_)
        with raster_errors():
            found = self.raster.sample(0, np.asarray(x, np.float64), np.asarray(y, np.float64), names)
        for index, name in enumerate(names):
            values[index], valid[index] = _known(found[name], name)
        return values, valid

    def span(self, bands: Sequence[int], *, instant: str | None = None) -> tuple[float, float]:
        """2nd to 98th percentile over the bands: kept ones, else of a coarse raster; (0, 1) without data."""
        self._names(bands, instant)
        pairs = [
            self.description.bands[number - 1].percentiles or self._spans[number - 1] for number in bands
        ]
        known = [pair for pair in pairs if pair is not None]
        if not known:
            return 0.0, 1.0
        low, high = min(pair[0] for pair in known), max(pair[1] for pair in known)
        return (low, high) if high > low else (low, low + 1.0)

    @cached_property
    def _spans(self) -> list[tuple[float, float] | None]:
        description = self.description
        step = max(1.0, max(description.width, description.height) / _SPAN_EDGE)
        shape = (math.ceil(description.height / step), math.ceil(description.width / step))
        block = self.read(description.bounds, shape, [band.number for band in description.bands])
        return [
            (float(np.percentile(values[valid], 2)), float(np.percentile(values[valid], 98)))
            if valid.any()
            else None
            for values, valid in zip(block.values, block.valid, strict=True)
        ]

    # --- cells -----------------------------------------------------------------------------------------------------------

    def _names(self, bands: Sequence[int], instant: str | None) -> list[str]:
        known = self.description.bands
        if not bands or any(not 1 <= band <= len(known) for band in bands):
            raise RasterError(
                f"{self._path.name} gives {len(known)} bands; bands {list(bands)} were asked for"
            )
        if instant is not None:
            raise UnknownInstant(f"{instant} was asked for; rasters of points have no time axis")
        return [known[band - 1].name for band in bands]

    def _pixel(
        self, bounds: Bounds, project: pyproj.Transformer, shape: tuple[int, int]
    ) -> tuple[float, float]:
        """The size (x, y) of a pixel of the answer in units of the cloud, but no less than the finest cell."""
        own = self.raster.resolution
        fine = max((bounds.east - bounds.west) / shape[1], (bounds.north - bounds.south) / shape[0])
        middle_x, middle_y = (bounds.west + bounds.east) / 2, (bounds.south + bounds.north) / 2
        x, y = project.transform([middle_x, middle_x + fine, middle_x], [middle_y, middle_y, middle_y + fine])
        across, down = math.hypot(x[1] - x[0], x[2] - x[0]), math.hypot(y[1] - y[0], y[2] - y[0])
        if not (math.isfinite(across) and math.isfinite(down)):
            return own, own
        return max(across, own), max(down, own)

    def _gathered(
        self,
        coordinates: Coordinates,
        target: tuple[Bounds, str],
        shape: tuple[int, int],
        names: list[str],
        resampling: Resampling,
    ) -> Sampled | None:
        """Values at coordinates of the cloud's CRS; None where none lies in the cloud."""
        reach = _reach(coordinates, shape)
        if reach is None:
            return None
        box, pixel = reach
        level, window = self._window(box, pixel, shape)
        if window is None:
            return None
        cell = self.raster.cell(level)
        with raster_errors():
            cells = self.raster.cells(level, window, names)
        west, _, _, north = edges = Bounds(*window.bounds(cell))
        pixels = Coordinates((coordinates.x - west) / cell, (north - coordinates.y) / cell, coordinates.exact)
        parts = []
        for name in names:
            values, valid = _known(cells[name], name)
            # Codes stay codes: what lies between two of them is neither.
            how: Resampling = "nearest" if name == CODES else resampling
            if how in ("cubic", "average"):
                parts.append(
                    gather_by_gdal(
                        values[None],
                        valid[None],
                        (edges, parse_crs(self._crs).to_wkt()),
                        (target[0], parse_crs(target[1]).to_wkt()),
                        shape,
                        how,
                    )
                )
            else:
                parts.append(gather(values[None], valid[None], pixels, shape, how))
        return Sampled(
            np.concatenate([part.values.astype(_dtype(names), copy=False) for part in parts]),
            np.concatenate([part.valid for part in parts]),
        )

    def _window(self, box: Bounds, pixel: float, shape: tuple[int, int]) -> tuple[int, CellWindow | None]:
        """The level whose cells fit the pixels, and its cells in a box; None where it has none."""
        level = self.raster.level(pixel)
        most = max(_MOST_CELLS, 4 * shape[0] * shape[1])
        while True:
            whole = self._whole(level)
            asked = CellWindow.around(self.raster.cell(level), *box).grown(_MARGIN)
            window = _shared(asked, whole.grown(_MARGIN))
            if window is None or _shared(asked, whole) is None:
                return level, None
            # A box of very long pixels would be read in cells of their short side.
            if window.size <= most or level >= self.raster.last_level:
                return level, window
            level += 1


def _reach(coordinates: Coordinates, shape: tuple[int, int]) -> tuple[Bounds, float] | None:
    """The box of coordinates, and the size of a pixel in it; None where none is finite."""
    x, y = coordinates.x, coordinates.y
    finite = np.isfinite(x) & np.isfinite(y)
    if not finite.any():
        return None
    box = Bounds(
        float(x[finite].min()), float(y[finite].min()), float(x[finite].max()), float(y[finite].max())
    )
    across, down = box.east - box.west, box.north - box.south
    if coordinates.exact or x.shape[0] > 2 or x.shape[1] > 2:
        return box, math.hypot(across, down) / math.hypot(*shape)
    # The finer direction decides, so that no detail is lost.
    return box, min(across / shape[1], down / shape[0])


def _shared(first: CellWindow, second: CellWindow) -> CellWindow | None:
    top, left = max(first.row, second.row), max(first.column, second.column)
    bottom = min(first.row + first.rows, second.row + second.rows)
    right = min(first.column + first.columns, second.column + second.columns)
    return CellWindow(top, left, bottom - top, right - left) if bottom > top and right > left else None


def _known(values: NDArray[np.float32], name: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Values in the band's own dtype, 0 where there are none, and which are known."""
    valid = np.isfinite(values)
    return np.where(valid, values, 0).astype(_dtype([name])), valid


def _dtype(names: Sequence[str]) -> np.dtype[Any]:
    return np.dtype(np.uint8 if set(names) == {CODES} else np.float32)


def _palette() -> tuple[tuple[int, tuple[int, int, int, int]], ...]:
    return tuple((code, (*colour, 255)) for code, colour in sorted(CLASS_COLOURS.items()))


def _block(
    found: Sampled | None, bounds: Bounds, shape: tuple[int, int], names: Sequence[str]
) -> RasterBlock:
    if found is None:
        values = np.zeros((len(names), *shape), _dtype(names))
        return RasterBlock(values, np.zeros(values.shape, np.bool_), bounds)
    return RasterBlock(found.values, found.valid, bounds)
