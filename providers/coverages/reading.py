"""Reading what was selected: blocks of values, one instant at a time, by rows, so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from providers.coverages.selection import Piece, Selection
from tiles.rasters.source import Bounds, RasterBlock, RasterSource

_SLAB_VALUES = 1 << 20
"""Values that are read at once: 8 MB of the widest numbers, and what reading them needs beside."""


class Slab(NamedTuple):
    """Some rows of one instant: `instant` counts those of the selection from 0, `row` the rows of the answer."""

    instant: int
    row: int
    block: RasterBlock


def slabs(source: RasterSource, selection: Selection) -> Iterator[Slab]:
    """All values, instant by instant, north to south. Raises RasterError."""
    per_row = max(selection.columns * len(selection.bands), 1)
    step = max(1, _SLAB_VALUES // per_row)
    for number, instant in enumerate(selection.instants):
        for row in range(0, selection.rows, step):
            rows = min(step, selection.rows - row)
            yield Slab(number, row, _read(source, selection, instant, row, rows))


def read_all(source: RasterSource, selection: Selection) -> list[RasterBlock]:
    """The whole answer, a block an instant: for small ones. Raises RasterError."""
    return [_read(source, selection, instant, 0, selection.rows) for instant in selection.instants]


def _read(
    source: RasterSource, selection: Selection, instant: str | None, row: int, rows: int
) -> RasterBlock:
    parts = [_read_piece(source, selection, piece, instant, row, rows) for piece in selection.pieces]
    bounds = _rows_of(selection.bounds, selection.rows, row, rows)
    if len(parts) == 1:
        return RasterBlock(parts[0].values, parts[0].valid, bounds)
    values = np.concatenate([part.values for part in parts], axis=2)
    return RasterBlock(values, np.concatenate([part.valid for part in parts], axis=2), bounds)


def _rows_of(bounds: Bounds, count: int, row: int, rows: int) -> Bounds:
    """The edges of some rows."""
    if rows == count:
        return bounds
    height = (bounds.north - bounds.south) / count
    south = bounds.south if row + rows == count else bounds.north - (row + rows) * height
    return bounds._replace(north=bounds.north - row * height, south=south)


def _read_piece(
    source: RasterSource, selection: Selection, piece: Piece, instant: str | None, row: int, rows: int
) -> RasterBlock:
    bounds = _rows_of(piece.bounds, selection.rows, row, rows)
    numbers = [band.number for band in selection.bands]
    shape = (rows, piece.columns)
    if not selection.warped:
        return source.read(bounds, shape, numbers, instant=instant, resampling=selection.resampling)
    crs = _crs_text(selection)
    found = source.warp(bounds, crs, shape, numbers, instant=instant, resampling=selection.resampling)
    if found is not None:
        return found
    dtype = np.result_type(*(np.dtype(band.dtype) for band in selection.bands))
    empty = np.zeros((len(numbers), *shape), dtype)
    return RasterBlock(empty, np.zeros(empty.shape, np.bool_), bounds)


def _crs_text(selection: Selection) -> str:
    """ "EPSG:3857" of the answer's CRS."""
    authority, _, code = selection.reference.uri.rsplit("/", 3)[-3:]
    return f"{authority}:{code}"
