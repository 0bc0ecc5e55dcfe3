"""Writes the tile parts of a store while it is built."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import count

import numpy as np

from providers.features.schema import FieldDefinition
from providers.features.store.layout import StoreFacts
from providers.features.store.tile_parts import ALL, FAR, Encoded, PartColumns, block_starts, insert_blocks
from providers.features.store.tile_parts_encode import CodeBook, PartEncoder, PartRows
from providers.features.store.values import Value

_MOST_DISTINCT = 20_000
"""A column of more distinct values hardly repeats one within a tile: its values are kept plain."""
_FEW_REPEATS = 4  # on average; below this a code and its entry take more than the value


class DistinctValues:
    """Counts the distinct values of each column while batches arrive, until there are too many."""

    def __init__(self, fields: Sequence[FieldDefinition]) -> None:
        self._seen: dict[str, set[Value]] = {field.name: set() for field in fields}

    def add(self, fields: Sequence[FieldDefinition], columns: Sequence[Sequence[Value]]) -> None:
        """Take note of a batch of stored values."""
        for field, values in zip(fields, columns, strict=True):
            seen = self._seen.get(field.name)
            if seen is not None:
                seen.update(values)
                if len(seen) > _MOST_DISTINCT:
                    del self._seen[field.name]

    def columns(self, fields: Sequence[FieldDefinition], total: int, *, integer_ids: bool) -> PartColumns:
        """Which columns to keep as codes, of a store of `total` features."""
        names = [field.name for field in fields]
        coded = tuple(
            name
            for name in names
            if name in self._seen and len(self._seen[name]) * _FEW_REPEATS <= max(total, _MOST_DISTINCT)
        )
        plain = tuple(name for name in names if name not in coded)
        if integer_ids:
            return PartColumns(coded, plain, None)
        id_name = "_id" if "id" in names else "id"
        return PartColumns(coded, (id_name, *plain), id_name)


class PartWriter:
    """Writes blocks of a store that is being built, from rows ascending by key."""

    def __init__(self, connection: sqlite3.Connection, facts: StoreFacts, columns: PartColumns) -> None:
        self._connection = connection
        self._last_far = facts.full_zoom - FAR
        self._book = CodeBook()
        self._encoder = PartEncoder(facts.fields, columns, self._book)
        self._numbers = count(1)
        self._far: dict[int, list[Encoded]] = {}
        self._far_sizes: dict[int, int] = {}
        columns.write(connection)

    def add(self, rows: PartRows) -> None:
        """Take rows that follow those taken before."""
        encoded = self._encoder.encode(rows)
        self._insert(ALL, encoded)
        zooms = encoded.heads["zoom"]
        for band in np.unique(zooms).tolist():
            if band > self._last_far:
                break
            part = encoded.take(np.flatnonzero(zooms == band))
            self._far.setdefault(band, []).append(part)
            self._far_sizes[band] = self._far_sizes.get(band, 0) + len(part.heads)
            if self._far_sizes[band] >= _FAR_ROWS:
                self._write_far(band)

    def finish(self) -> None:
        """Write what waits, and the values."""
        for band in sorted(self._far):
            self._write_far(band)
        self._book.write(self._connection)

    def _write_far(self, band: int) -> None:
        self._far_sizes[band] = 0
        waiting = self._far.pop(band)
        self._insert(band, Encoded.joined(waiting))

    def _insert(self, band: int, encoded: Encoded) -> None:
        insert_blocks(self._connection, band, encoded, block_starts(encoded.heads["big"]), self._numbers)


_FAR_ROWS = 2048  # rows of a band that wait for each other: whole blocks, and no more of them in memory
