"""What is counted for each cell while points pass by: highest, mean, most frequent, how many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from pointclouds.rasters.cells import CellWindow, Float
from pointclouds.rasters.points import NOISE, CellPoints
from pointclouds.rasters.terrain import MOMENTS, add_moments, planes_of

MARGIN: Final = 2
"""Cells around a window that its values depend on, beside the planes of coarser grids."""
_NEIGHBOURS_NEEDED: Final = 4
"""Known neighbours of a cell that is filled: along the straight edge of a cloud there are three."""
_ROUNDING: Final = 1e-6
"""Points: what running sums leave where there is none."""
_NEIGHBOURS: Final = ((0, 1), (1, 0), (1, 2), (2, 1), (0, 0), (0, 2), (2, 0), (2, 2))


class Product(Protocol):
    """A value a cell, or several, made of points."""

    dimensions: tuple[str, ...]

    def add(self, points: CellPoints) -> None:
        """Points of the window grown by MARGIN."""
        ...

    def finish(self) -> Float:
        """Values (layers, rows, columns) of the window, NaN without data."""
        ...


def inner(values: Float, window: CellWindow) -> Float:
    """The cells (layers, rows, columns) of a window in values (layers, cells) of the window grown by MARGIN."""
    grown = values.reshape(-1, window.rows + 2 * MARGIN, window.columns + 2 * MARGIN)
    return grown[:, MARGIN : MARGIN + window.rows, MARGIN : MARGIN + window.columns]


class Surface:
    """The highest point, noise left out; of first returns only where all points are read (`complete`).

    Among thinned points the highest of a column may be kept as a later return, so there all returns count. A cell without any is
    given the mean of its neighbours, twice: small holes are closed, larger ones stay.
    """

    dimensions: tuple[str, ...] = ()

    def __init__(self, window: CellWindow, *, complete: bool) -> None:
        self._window, self._complete = window, complete
        self._highest = np.full(window.grown(MARGIN).size, -np.inf)

    def add(self, points: CellPoints) -> None:
        """See Product.add."""
        counts = ~np.isin(points.codes, NOISE)
        if self._complete:
            counts &= points.returns <= 1
        np.maximum.at(self._highest, points.place[counts], points.z[counts])

    def finish(self) -> Float:
        """See Product.finish."""
        values = np.where(np.isfinite(self._highest), self._highest, np.nan)
        values = values.reshape(self._window.grown(MARGIN).shape)
        return _closed(_closed(values))[None]


def _closed(values: Float) -> Float:
    """Values without the outermost cells; those that are not known from their known neighbours."""
    known = np.isfinite(values)
    found = values[1:-1, 1:-1]
    if known[1:-1, 1:-1].all():
        return found
    plain, weights = np.where(known, values, 0.0), known.astype(np.float64)
    rows, columns = found.shape
    total, count = np.zeros(found.shape), np.zeros(found.shape)
    for down in range(3):
        for across in range(3):
            part = slice(down, down + rows), slice(across, across + columns)
            total += plain[part]
            count += weights[part]
    return np.where(np.isfinite(found) | (count < _NEIGHBOURS_NEEDED), found, total / np.maximum(count, 1))


def _taken(values: Float) -> Float:
    """Values without the outermost cells; of those that are not known the first known neighbour's, if four are known."""
    rows, columns = values.shape[0] - 2, values.shape[1] - 2
    found = values[1:-1, 1:-1].copy()
    if not np.isnan(found).any():
        return found
    known = np.isfinite(values)
    count, first = np.zeros(found.shape, np.int64), np.full(found.shape, np.nan)
    for down, across in _NEIGHBOURS:
        part = slice(down, down + rows), slice(across, across + columns)
        count += known[part]
        first = np.where(np.isnan(first), values[part], first)
    hole = np.isnan(found) & (count >= _NEIGHBOURS_NEEDED)
    found[hole] = first[hole]
    return found


class Ground:
    """The mean height of ground points."""

    dimensions: tuple[str, ...] = ()

    def __init__(self, window: CellWindow, codes: Sequence[int]) -> None:
        self._window, self._codes = window, codes
        self._sums = np.zeros((2, window.grown(MARGIN).size))

    def add(self, points: CellPoints) -> None:
        """See Product.add."""
        ground = np.isin(points.codes, self._codes)
        place, size = points.place[ground], self._sums.shape[1]
        self._sums[0] += np.bincount(place, minlength=size)
        self._sums[1] += np.bincount(place, points.z[ground], size)

    def finish(self) -> Float:
        """See Product.finish."""
        return inner(_mean(self._sums[1], self._sums[0])[None], self._window)


class StandardError:
    """How sure the mean height of a cell's points is: their deviation by the square root of their number; NaN for fewer than two.

    `codes`: of points of these classes; None: of first returns that are no noise.
    """

    dimensions: tuple[str, ...] = ()

    def __init__(self, window: CellWindow, codes: Sequence[int] | None) -> None:
        self._window, self._codes = window, codes
        self._sums = np.zeros((3, window.grown(MARGIN).size))

    def add(self, points: CellPoints) -> None:
        """See Product.add."""
        if self._codes is None:
            chosen = ~np.isin(points.codes, NOISE) & (points.returns <= 1)
        else:
            chosen = np.isin(points.codes, self._codes)
        place, z, size = points.place[chosen], points.z[chosen], self._sums.shape[1]
        self._sums[0] += np.bincount(place, minlength=size)
        self._sums[1] += np.bincount(place, z, size)
        self._sums[2] += np.bincount(place, z * z, size)

    def finish(self) -> Float:
        """See Product.finish."""
        count, total, squares = self._sums
        several = count > 1
        number = np.where(several, count, 2)
        variance = np.maximum(squares - total * total / number, 0) / (number - 1)
        return inner(np.where(several, np.sqrt(variance / number), np.nan)[None], self._window)


class Planes:
    """Planes through ground points of three by three cells: see terrain.planes_of."""

    dimensions: tuple[str, ...] = ()

    def __init__(self, window: CellWindow, codes: Sequence[int], cell: float) -> None:
        self._window, self._codes, self._cell = window, codes, cell
        self._sums = np.zeros((MOMENTS, window.grown(MARGIN).size))

    def add(self, points: CellPoints) -> None:
        """See Product.add."""
        add_moments(self._sums, points.of(np.isin(points.codes, self._codes)))

    def finish(self) -> Float:
        """See Product.finish: PLANE_LAYERS of them."""
        sums = self._sums.reshape(MOMENTS, *self._window.grown(MARGIN).shape)
        around = slice(MARGIN - 1, 1 - MARGIN)
        return planes_of(sums[:, around, around], self._cell)


class Mean:
    """The mean of a dimension over all points; small holes closed as those of the surface."""

    def __init__(self, window: CellWindow, dimension: str) -> None:
        self._window = window
        self.dimensions: tuple[str, ...] = (dimension,)
        self._sums = np.zeros((2, window.grown(MARGIN).size))

    def add(self, points: CellPoints) -> None:
        """See Product.add."""
        values, size = points.columns[self.dimensions[0]], self._sums.shape[1]
        self._sums[0] += np.bincount(points.place, minlength=size)
        self._sums[1] += np.bincount(points.place, values.astype(np.float64), size)

    def finish(self) -> Float:
        """See Product.finish."""
        values = _mean(self._sums[1], self._sums[0]).reshape(self._window.grown(MARGIN).shape)
        return _closed(_closed(values))[None]


class MostFrequent:
    """The classification that most points have; of several the lowest code. Small holes take a neighbour's."""

    dimensions: tuple[str, ...] = ()

    def __init__(self, window: CellWindow) -> None:
        self._window = window
        self._counts: dict[int, npt.NDArray[np.int64]] = {}

    def add(self, points: CellPoints) -> None:
        """See Product.add."""
        size = self._window.grown(MARGIN).size
        for code in np.flatnonzero(np.bincount(points.codes, minlength=256)).tolist():
            counts = np.bincount(points.place[points.codes == code], minlength=size)
            known = self._counts.get(code)
            self._counts[code] = counts if known is None else known + counts

    def finish(self) -> Float:
        """See Product.finish."""
        size = self._window.grown(MARGIN).size
        best, most = np.full(size, np.nan), np.zeros(size, np.int64)
        for code in sorted(self._counts):
            more = self._counts[code] > most
            best[more] = code
            most = np.maximum(most, self._counts[code])
        values = best.reshape(self._window.grown(MARGIN).shape)
        return _taken(_taken(values))[None]


class Density:
    """Points a square unit of the CRS. `deeper` gives the points (rows, columns) of the window that are known but not read."""

    dimensions: tuple[str, ...] = ()

    def __init__(self, window: CellWindow, cell: float, deeper: Callable[[CellWindow], Float]) -> None:
        self._window, self._cell, self._deeper = window, cell, deeper
        self._counts = np.zeros(window.grown(MARGIN).size)

    def add(self, points: CellPoints) -> None:
        """See Product.add."""
        self._counts += np.bincount(points.place, minlength=len(self._counts))

    def finish(self) -> Float:
        """See Product.finish. A cell without a point has no density: whether it was looked at is not known."""
        counts = inner(self._counts[None], self._window)[0] + self._deeper(self._window)
        return np.where(counts > _ROUNDING, counts / self._cell**2, np.nan)[None]


def _mean(total: Float, count: Float) -> Float:
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
