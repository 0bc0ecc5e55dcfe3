"""A city as heights on a grid: the ground, and over it the highest of what stands there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from providers.analysis.place import Numbers, Place
from providers.analysis.scene import Box3, Scene, triangles_in
from providers.errors import AnswerTooLarge, InvalidParameter

MAXIMUM_CELLS = 4_000_000
_AT_ONCE = 4_000_000
_EDGE = 1e-9


@dataclass(frozen=True, slots=True)
class HeightGrid:
    """`surface` and `ground` (rows, columns), metres above the ellipsoid, NaN where there is neither; row 0 is the southernmost.

    Cell (row, column) has its centre at x = west + (column + 0.5) * size, y = south + (row + 0.5) * size in the frame of `place`.
    """

    place: Place
    west: float
    south: float
    size: float
    surface: Numbers
    ground: Numbers

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)"""
        return self.surface.shape[0], self.surface.shape[1]

    def centres(self) -> tuple[Numbers, Numbers]:
        """x (columns,) and y (rows,) of the cells' centres."""
        rows, columns = self.shape
        return (
            self.west + np.linspace(0.5, columns - 0.5, columns) * self.size,
            self.south + np.linspace(0.5, rows - 0.5, rows) * self.size,
        )

    def at(self, x: Numbers, y: Numbers, layer: Numbers) -> Numbers:
        """Values of `layer` in the cells that hold the points (n,); NaN outside."""
        rows, columns = self.shape
        column = np.floor((x - self.west) / self.size).astype(np.int64)
        row = np.floor((y - self.south) / self.size).astype(np.int64)
        inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
        result = np.full(np.shape(x), np.nan)
        result[inside] = layer[row[inside], column[inside]]
        return result


def height_grid(
    scene: Scene,
    place: Place,
    west: float,
    south: float,
    east: float,
    north: float,
    size: float,
    maximum: int = MAXIMUM_CELLS,
) -> HeightGrid:
    """The grid over a box (metres in the frame of `place`) with cells of `size` metres.

    Raises AnswerTooLarge beyond `maximum` cells, InvalidParameter where there is neither ground nor object.
    """
    columns = max(int(np.ceil((east - west) / size)), 1)
    rows = max(int(np.ceil((north - south) / size)), 1)
    if rows * columns > maximum:
        raise AnswerTooLarge(
            f"{columns} x {rows} cells of {size:g} m were asked; at most {maximum} are computed at once: "
            "ask for a smaller area or larger cells"
        )
    grid = HeightGrid(
        place, west, south, size, np.full((rows, columns), np.nan), np.full((rows, columns), np.nan)
    )
    _fill_ground(scene, grid)
    corners = place.to_geodetic(
        np.array(
            [
                [x, y, 0.0]
                for x in (west, (west + east) / 2, east)
                for y in (south, (south + north) / 2, north)
            ]
        )
    )
    low, high = corners.min(axis=0), corners.max(axis=0)
    found = triangles_in(scene.tilesets, place, Box3(low[0], low[1], high[0], high[1]))
    grid.surface[:] = grid.ground
    raise_surface(grid, found.corners)
    if np.isnan(grid.surface).all():
        raise InvalidParameter(
            "area", "this area", "an area with terrain or with objects in three dimensions"
        )
    return grid


def _fill_ground(scene: Scene, grid: HeightGrid) -> None:
    if scene.ground is None:
        return
    x, y = grid.centres()
    # Longitude and latitude are nearly straight over a strip, but asked exactly: it is one transformation.
    for first in range(0, len(y), 512):
        rows = slice(first, first + 512)
        flat = np.column_stack(
            [part.ravel() for part in (*np.meshgrid(x, y[rows]), np.zeros((len(y[rows]), len(x))))]
        )
        lonlat = grid.place.to_geodetic(flat)[:, :2]
        grid.ground[rows] = scene.ground.heights(lonlat).reshape(-1, len(x))


def raise_surface(grid: HeightGrid, corners: Numbers) -> None:
    """Raise `grid.surface` to the triangles (t, 3, 3) above its cells' centres; cells without ground are filled too."""
    rows, columns = grid.shape
    flat = (corners[:, :, :2] - (grid.west, grid.south)) / grid.size - 0.5
    low = np.ceil(flat.min(axis=1) - _EDGE).astype(np.int64)
    high = np.floor(flat.max(axis=1) + _EDGE).astype(np.int64)
    low, high = np.maximum(low, 0), np.minimum(high, (columns - 1, rows - 1))
    counts = np.prod(np.maximum(high - low + 1, 0), axis=1)
    chosen = np.flatnonzero(counts)
    surface = np.where(np.isnan(grid.surface), -np.inf, grid.surface).ravel()
    limits = np.cumsum(counts[chosen])
    start = 0
    while start < len(chosen):
        done = limits[start - 1] if start else 0
        stop = max(int(np.searchsorted(limits, done + _AT_ONCE, side="right")), start + 1)
        part = chosen[start:stop]
        _raise(surface, columns, flat[part], corners[part, :, 2], low[part], high[part], counts[part])
        start = stop
    grid.surface[:] = np.where(np.isneginf(surface), np.nan, surface).reshape(rows, columns)


def _raise(
    surface: Numbers,
    columns: int,
    flat: Numbers,
    heights: Numbers,
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> None:
    """All cells of the triangles' boxes, then those inside the triangles, then the highest of each cell."""
    wide = high[:, 0] - low[:, 0] + 1
    triangle = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(triangle)) - np.repeat(np.cumsum(counts) - counts, counts)
    column = low[triangle, 0] + number % wide[triangle]
    row = low[triangle, 1] + number // wide[triangle]
    centre = np.column_stack((column, row)).astype(np.float64)
    a, b, c = (flat[triangle, corner] - centre for corner in range(3))
    weights = np.stack(
        (
            b[:, 0] * c[:, 1] - b[:, 1] * c[:, 0],
            c[:, 0] * a[:, 1] - c[:, 1] * a[:, 0],
            a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0],
        ),
        axis=1,
    )
    area = weights.sum(axis=1)
    sound = np.abs(area) > _EDGE
    weights /= np.where(sound, area, 1.0)[:, None]
    inside = sound & (weights >= -_EDGE).all(axis=1)
    height = (weights[inside] * heights[triangle[inside]]).sum(axis=1)
    np.maximum.at(surface, row[inside] * columns + column[inside], height)
