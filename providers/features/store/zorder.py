"""Z-order keys: one number that sorts features so that near ones are near on disk.

A key is the Z-order number of the centre of the feature's CRS84 envelope (20 bits per axis over the extent the collection
had when it was built; what lies outside is clamped to the edge cell) times 2**22, plus a sequence among equals. A box then
is a handful of key ranges, and a page of features is a scan in key order: see docs/decisions/0003.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from providers.features.query import BBox

AXIS_BITS = 20
SEQUENCE_BITS = 22
CELLS = 1 << AXIS_BITS
MAXIMUM_KEY = (1 << (2 * AXIS_BITS + SEQUENCE_BITS)) - 1
_MAXIMUM_CELLS = 128  # of one decomposition; measured in docs/decisions/0003
_ROUNDING = 1e-9  # degrees: more than float rounding of a centre, far less than the 1e-7 of the coordinates


def _spread(value: int) -> int:
    """The bits of `value` (20 at most) at the even places."""
    value = (value | value << 16) & 0x0000FFFF0000FFFF
    value = (value | value << 8) & 0x00FF00FF00FF00FF
    value = (value | value << 4) & 0x0F0F0F0F0F0F0F0F
    value = (value | value << 2) & 0x3333333333333333
    return (value | value << 1) & 0x5555555555555555


def _gather(value: int) -> int:
    """The bits at the even places, together: undoes `_spread`."""
    value &= 0x5555555555555555
    value = (value | value >> 1) & 0x3333333333333333
    value = (value | value >> 2) & 0x0F0F0F0F0F0F0F0F
    value = (value | value >> 4) & 0x00FF00FF00FF00FF
    value = (value | value >> 8) & 0x0000FFFF0000FFFF
    return (value | value >> 16) & 0x00000000FFFFFFFF


def spread_bits(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The bits of each number (31 at most) at the even places."""
    values = (values | values << 16) & 0x0000FFFF0000FFFF
    values = (values | values << 8) & 0x00FF00FF00FF00FF
    values = (values | values << 4) & 0x0F0F0F0F0F0F0F0F
    values = (values | values << 2) & 0x3333333333333333
    return (values | values << 1) & 0x5555555555555555


class KeyRange(NamedTuple):
    """Both ends belong to it."""

    first: int
    last: int


WHOLE = KeyRange(0, MAXIMUM_KEY)


class KeySpace(NamedTuple):
    """The grid the keys of one store are made on: the collection's CRS84 extent, degrees."""

    west: float
    south: float
    east: float
    north: float

    @property
    def scale_x(self) -> float:
        """Cells per degree of longitude."""
        return CELLS / (self.east - self.west) if self.east > self.west else 0.0

    @property
    def scale_y(self) -> float:
        """Cells per degree of latitude."""
        return CELLS / (self.north - self.south) if self.north > self.south else 0.0

    def numbers(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int64]:
        """Z-order numbers (0 .. 2**40-1) of points in CRS84; NaN (no geometry) sorts last."""
        missing = np.isnan(x)
        column = np.where(missing, CELLS - 1, (x - self.west) * self.scale_x)
        row = np.where(missing, CELLS - 1, (y - self.south) * self.scale_y)
        columns = np.clip(column, 0, CELLS - 1).astype(np.int64)
        rows = np.clip(row, 0, CELLS - 1).astype(np.int64)
        return spread_bits(columns) | spread_bits(rows) << 1

    def ranges(
        self, box: BBox, half_width: float, half_height: float, most: int = _MAXIMUM_CELLS
    ) -> list[KeyRange]:
        """Key ranges, ascending and disjoint, that hold every centre within `box` grown by the half sizes (degrees).

        They hold other centres too: the caller tests envelopes. A box across the antimeridian is given as two. `most` (4 at
        least) cells of the grid are joined to ranges.
        """
        window = self._window(box, half_width, half_height)
        shift = window.shift(most)
        return _merge(window.cells(shift), 2 * shift + SEQUENCE_BITS)

    def fine_ranges(
        self, box: BBox, half_width: float, half_height: float, finest: int, after: int
    ) -> Iterator[KeyRange]:
        """The same ranges after a key, as they are asked for, with less beside the box.

        Cells that lie across its edge are quartered down to 2**finest cells of the grid along a side.
        """
        window = self._window(box, half_width, half_height)
        shift = window.shift()
        ranges: Iterable[KeyRange]
        if shift <= finest:
            ranges = _merge(window.cells(shift), 2 * shift + SEQUENCE_BITS)
        else:
            ranges = _joined(
                part for cell in window.cells(shift) for part in window.parts(cell, shift, finest, after)
            )
        for item in ranges:
            if item.last > after:
                yield item if item.first > after else KeyRange(after + 1, item.last)

    def _window(self, box: BBox, half_width: float, half_height: float) -> _Window:
        return _Window(
            self._cell((box.west - half_width - _ROUNDING - self.west) * self.scale_x),
            self._cell((box.east + half_width + _ROUNDING - self.west) * self.scale_x),
            self._cell((box.south - half_height - _ROUNDING - self.south) * self.scale_y),
            self._cell((box.north + half_height + _ROUNDING - self.south) * self.scale_y),
        )

    @staticmethod
    def _cell(value: float) -> int:
        return 0 if value <= 0 else CELLS - 1 if value >= CELLS - 1 else int(value)


class _Window(NamedTuple):
    """Columns and rows of the grid, both ends included."""

    left: int
    right: int
    bottom: int
    top: int

    def shift(self, most: int = _MAXIMUM_CELLS) -> int:
        """The smallest cells (2**shift along a side) of which few cover the window."""
        left, right, bottom, top = self
        shift = 0
        while ((right >> shift) - (left >> shift) + 1) * ((top >> shift) - (bottom >> shift) + 1) > most:
            shift += 1
        return shift

    def cells(self, shift: int) -> list[int]:
        """Z-order numbers of the cells that cover the window, ascending."""
        columns = [_spread(i) for i in range(self.left >> shift, (self.right >> shift) + 1)]
        rows = [_spread(i) << 1 for i in range(self.bottom >> shift, (self.top >> shift) + 1)]
        return sorted([column | row for row in rows for column in columns])

    def parts(self, cell: int, shift: int, finest: int, after: int) -> Iterator[KeyRange]:
        """A cell as key ranges, ascending, without the quarters beside the window or before a key."""
        bits = 2 * shift + SEQUENCE_BITS
        last = ((cell + 1) << bits) - 1
        if last <= after:
            return
        column, row = _gather(cell) << shift, _gather(cell >> 1) << shift
        end = (1 << shift) - 1
        if column > self.right or column + end < self.left or row > self.top or row + end < self.bottom:
            return
        is_inside = (
            column >= self.left
            and column + end <= self.right
            and row >= self.bottom
            and row + end <= self.top
        )
        if is_inside or shift <= finest:
            yield KeyRange(cell << bits, last)
            return
        for quarter in range(4 * cell, 4 * cell + 4):
            yield from self.parts(quarter, shift - 1, finest, after)


def _joined(ranges: Iterable[KeyRange]) -> Iterator[KeyRange]:
    """Ascending ranges, neighbours joined."""
    held: KeyRange | None = None
    for item in ranges:
        if held is None:
            held = item
        elif item.first == held.last + 1:
            held = KeyRange(held.first, item.last)
        else:
            yield held
            held = item
    if held is not None:
        yield held


def _merge(cells: list[int], bits: int) -> list[KeyRange]:
    """Sorted cell numbers as key ranges, neighbours joined."""
    ranges: list[KeyRange] = []
    first = previous = cells[0]
    for cell in cells[1:]:
        if cell != previous + 1:
            ranges.append(KeyRange(first << bits, ((previous + 1) << bits) - 1))
            first = cell
        previous = cell
    ranges.append(KeyRange(first << bits, ((previous + 1) << bits) - 1))
    return ranges


def join_ranges(ranges: list[KeyRange]) -> list[KeyRange]:
    """Ranges of several boxes as one ascending disjoint list."""
    joined: list[KeyRange] = []
    for item in sorted(ranges):
        if joined and item.first <= joined[-1].last + 1:
            joined[-1] = KeyRange(joined[-1].first, max(joined[-1].last, item.last))
        else:
            joined.append(item)
    return joined


def keys_in_order(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Keys of features whose Z-order numbers come sorted ascending. Raises ValueError where a cell overflows."""
    if len(numbers) == 0:
        return numbers
    starts = np.flatnonzero(np.r_[True, numbers[1:] != numbers[:-1]])
    lengths = np.diff(np.r_[starts, len(numbers)])
    if int(lengths.max()) > 1 << SEQUENCE_BITS:
        raise ValueError(f"{int(lengths.max())} features lie in one place; {1 << SEQUENCE_BITS} are possible")
    sequence = np.arange(len(numbers), dtype=np.int64) - np.repeat(starts, lengths)
    return (numbers << SEQUENCE_BITS) | sequence
