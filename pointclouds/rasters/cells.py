"""Cells of the grids that points are put into.

A grid's cells are counted from the origin of the CRS: column = floor(x / cell) to the east, row = floor(-y / cell) to the south. So a
place has the same cell whatever part of a cloud is asked for, and the cells of a grid twice as coarse are four of this one's.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]


class CellWindow(NamedTuple):
    """Cells of a grid: the northernmost row, the westernmost column, and how many of each."""

    row: int
    column: int
    rows: int
    columns: int

    @classmethod
    def around(cls, cell: float, west: float, south: float, east: float, north: float) -> Self:
        """The cells that a box meets; at least one a side. `cell` is the edge of a cell."""
        left, right = math.floor(west / cell), math.ceil(east / cell)
        top, bottom = math.floor(-north / cell), math.ceil(-south / cell)
        return cls(top, left, max(bottom - top, 1), max(right - left, 1))

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.rows, self.columns

    @property
    def size(self) -> int:
        """How many cells."""
        return self.rows * self.columns

    def grown(self, cells: int) -> Self:
        """With so many more on each side."""
        return self._replace(
            row=self.row - cells,
            column=self.column - cells,
            rows=self.rows + 2 * cells,
            columns=self.columns + 2 * cells,
        )

    def coarser(self) -> Self:
        """The cells of the grid twice as coarse that these lie in."""
        top, left = self.row // 2, self.column // 2
        bottom, right = -(-(self.row + self.rows) // 2), -(-(self.column + self.columns) // 2)
        return self._replace(row=top, column=left, rows=bottom - top, columns=right - left)

    def bounds(self, cell: float) -> tuple[float, float, float, float]:
        """West, south, east, north of the outer edges."""
        return (
            self.column * cell,
            -(self.row + self.rows) * cell,
            (self.column + self.columns) * cell,
            -self.row * cell,
        )

    def within(self, outer: CellWindow) -> tuple[slice, slice]:
        """Where these cells are in an array of `outer`."""
        top, left = self.row - outer.row, self.column - outer.column
        return slice(top, top + self.rows), slice(left, left + self.columns)

    def places(self, cell: float, x: Float, y: Float) -> npt.NDArray[np.int64]:
        """The number of the cell of each position, row by row; -1 for those outside of the window."""
        columns = np.floor(x / cell) - self.column
        rows = np.floor(-y / cell) - self.row
        inside = (columns >= 0) & (columns < self.columns) & (rows >= 0) & (rows < self.rows)
        return np.where(inside, rows * self.columns + columns, -1).astype(np.int64)


def centres_of(window: CellWindow, cell: float) -> tuple[Float, Float]:
    """x of the columns and y of the rows, north to south: the centres of cells."""
    columns = window.column + 0.5 + np.arange(window.columns, dtype=np.float64)
    rows = window.row + 0.5 + np.arange(window.rows, dtype=np.float64)
    return columns * cell, -rows * cell
