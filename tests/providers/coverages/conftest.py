"""A raster of memory: the twin of raster sources, by numpy slicing alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
from numpy.typing import NDArray

from providers.coverages.answers import answer_coverage
from tiles.errors import UnknownInstant
from tiles.rasters import Bounds, RasterBand, RasterBlock, RasterDescription, RasterSource


class ArraySource:
    """Values (instants or 1, bands, rows, columns) at `west`, `north` with square cells of `size`; nearest cells, exactly."""

    def __init__(
        self,
        values: NDArray[Any],
        crs: str,
        corner: tuple[float, float],
        size: float,
        *,
        instants: tuple[str, ...] = (),
        nodata: float | None = None,
    ) -> None:
        self.values = values
        rows, columns = values.shape[2:]
        west, north = corner
        own = pyproj.CRS.from_user_input(crs)
        bounds = Bounds(west, north - rows * size, west + columns * size, north)
        to_degrees = pyproj.Transformer.from_crs(own, "OGC:CRS84", always_xy=True)
        names = ("red", "green", "blue", "near") if values.shape[1] > 1 else ("height",)
        self.description = RasterDescription(
            crs=own,
            bounds=bounds,
            footprint=to_degrees.transform_bounds(*bounds),
            width=columns,
            height=rows,
            resolution=(size, size),
            bands=tuple(
                RasterBand(number, names[number - 1], str(values.dtype), unit="m", nodata=nodata)
                for number in range(1, values.shape[1] + 1)
            ),
            instants=instants,
        )
        self.reads = 0

    def _state(self, instant: str | None) -> NDArray[Any]:
        if instant is None:
            return self.values[-1]
        if instant not in self.description.instants:
            raise UnknownInstant(instant)
        return self.values[self.description.instants.index(instant)]

    def read(
        self,
        bounds: Bounds,
        shape: tuple[int, int],
        bands: Sequence[int],
        *,
        instant: str | None = None,
        resampling: str = "nearest",
    ) -> RasterBlock:
        self.reads += 1
        x = bounds.west + (np.arange(shape[1]) + 0.5) * (bounds.east - bounds.west) / shape[1]
        y = bounds.north - (np.arange(shape[0]) + 0.5) * (bounds.north - bounds.south) / shape[0]
        grid_x, grid_y = np.meshgrid(x, y)
        values, valid = self.sample(grid_x.ravel(), grid_y.ravel(), bands, instant=instant)
        return RasterBlock(values.reshape(-1, *shape), valid.reshape(-1, *shape), bounds)

    def warp(self, *_: Any, **__: Any) -> RasterBlock | None:
        raise NotImplementedError  # files are warped in the tests of tiles.rasters

    def sample(
        self,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        bands: Sequence[int],
        *,
        instant: str | None = None,
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        whole, (size, _) = self.description.bounds, self.description.resolution
        column = np.floor((x - whole.west) / size).astype(int)
        row = np.floor((whole.north - y) / size).astype(int)
        inside = (
            (column >= 0) & (column < self.description.width) & (row >= 0) & (row < self.description.height)
        )
        state = self._state(instant)[[band - 1 for band in bands]]
        values = np.where(inside, state[:, np.where(inside, row, 0), np.where(inside, column, 0)], 0)
        nodata = self.description.bands[0].nodata
        valid = np.broadcast_to(inside, values.shape) & (True if nodata is None else values != nodata)
        return values.astype(self.values.dtype), valid

    def span(self, bands: Sequence[int], *, instant: str | None = None) -> tuple[float, float]:
        return float(self.values.min()), float(self.values.max())

    def change(self) -> int:
        return 0

    def dirty_since(self, change: object) -> Sequence[Any]:
        return ()

    def touched_since(self, change: object, box84: object) -> bool:
        return False


@pytest.fixture(scope="session")
def array_source() -> type[ArraySource]:
    return ArraySource


@pytest.fixture
def made(tmp_path: Path) -> Callable[[RasterSource, str, str], bytes]:
    """The bytes of an answer to a query string like "bbox=1,2,3,4&subset=..."."""

    def make(source: RasterSource, query: str, form: str) -> bytes:
        pairs = [
            (name, value) for name, _, value in (part.partition("=") for part in query.split("&") if part)
        ]
        file = tmp_path / f"answer.{form}"
        answer_coverage(source, pairs, form).write(file)
        return file.read_bytes()

    return make
