"""Writes the tile parts of a store while it is built, and rewrites those that an edit touches."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from providers.features.crs import ReferenceSystem, describe_crs, reference_system
from providers.features.schema import FieldDefinition
from providers.features.store.geopackage import decode_geometries, quote
from providers.features.store.layout import StoreFacts
from providers.features.store.tile_parts import (
    ALL,
    FAR,
    HEAD,
    CodeBook,
    PartColumns,
    PartEncoder,
    PartRows,
    StoredCodeBook,
    block_starts,
    insert_blocks,
)
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

    def __init__(
        self,
        connection: sqlite3.Connection,
        facts: StoreFacts,
        columns: PartColumns,
        storage: ReferenceSystem,
    ) -> None:
        self._connection = connection
        self._full_zoom = facts.full_zoom
        self._book = CodeBook()
        self._encoder = PartEncoder(facts, storage, columns, self._book)
        self._numbers = count(1)
        self._far: dict[int, list[PartRows]] = {}
        self._far_sizes: dict[int, int] = {}
        columns.write(connection)

    def add(self, rows: PartRows) -> None:
        """Take rows that follow those taken before."""
        encoded = self._encoder.encode(rows)
        big = rows.big[np.searchsorted(rows.keys, encoded.heads["key"])]
        insert_blocks(self._connection, ALL, encoded, block_starts(big), self._numbers)
        for band in np.unique(rows.zooms[rows.zooms <= self._full_zoom - FAR]).tolist():
            chosen = np.flatnonzero(rows.zooms == band)
            self._far.setdefault(band, []).append(_chosen(rows, chosen))
            self._far_sizes[band] = self._far_sizes.get(band, 0) + len(chosen)
            if self._far_sizes[band] >= _FAR_ROWS:
                self._write_far(band)

    def finish(self) -> None:
        """Write what waits, and the values."""
        for band in sorted(self._far):
            self._write_far(band)
        self._book.write(self._connection)

    def _write_far(self, band: int) -> None:
        waiting = self._far.pop(band, [])
        self._far_sizes[band] = 0
        if waiting:
            encoded = self._encoder.encode(_joined(waiting))
            rows = _joined(waiting)
            big = rows.big[np.searchsorted(rows.keys, encoded.heads["key"])]
            insert_blocks(self._connection, band, encoded, block_starts(big), self._numbers)


_FAR_ROWS = 2048  # rows of a band that wait for each other: whole blocks, and no more of them in memory


def _chosen(rows: PartRows, chosen: NDArray[np.intp]) -> PartRows:
    positions = chosen.tolist()
    return PartRows(
        rows.keys[chosen],
        [rows.ids[i] for i in positions],
        rows.geometries[chosen],
        {name: [values[i] for i in positions] for name, values in rows.columns.items()},
        rows.zooms[chosen],
        rows.big[chosen],
    )


def _joined(parts: Sequence[PartRows]) -> PartRows:
    if len(parts) == 1:
        return parts[0]
    return PartRows(
        np.concatenate([part.keys for part in parts]),
        [text for part in parts for text in part.ids],
        np.concatenate([part.geometries for part in parts]),
        {name: [value for part in parts for value in part.columns[name]] for name in parts[0].columns},
        np.concatenate([part.zooms for part in parts]),
        np.concatenate([part.big for part in parts]),
    )


# --- edits -----------------------------------------------------------------------------------------------------------


def refresh_tile_parts(connection: sqlite3.Connection, facts: StoreFacts, keys: Iterable[int]) -> None:
    """Bring the tile parts of these keys up to date, inside the transaction of an edit.

    `keys`: of every feature that was made, changed or deleted; of one whose key changed, the old and the new one. The rows of
    `feature` and `fragment` are read as they stand now. A store without tile parts is left alone.
    """
    columns = PartColumns.read(connection)
    touched = sorted(set(keys))
    if columns is None or not touched:
        return
    storage = reference_system(facts.storage_crs) if facts.storage_crs else describe_crs_of(facts.storage_wkt)
    book = StoredCodeBook(connection)
    editing = _Editing(connection, facts, PartEncoder(facts, storage, columns, book))
    for band in (ALL, *range(facts.full_zoom - FAR + 1)):
        editing.refresh(band, touched)
    book.write(connection)


def describe_crs_of(wkt: str) -> ReferenceSystem:
    """The CRS of a store that has no code."""
    import pyproj

    return describe_crs(pyproj.CRS.from_wkt(wkt))


class _Editing:
    """Rewrites blocks of one store, band by band."""

    def __init__(self, connection: sqlite3.Connection, facts: StoreFacts, encoder: PartEncoder) -> None:
        self._connection = connection
        self._facts = facts
        self._encoder = encoder
        names = "".join(f", a.{quote(field.column)}" for field in facts.fields)
        self._select = (
            "SELECT a.key, f.zoom, f.minx, f.miny, f.maxx, f.maxy, a.id, a.geom"  # noqa: S608 - quoted names; values are bound
            f"{names} FROM feature a JOIN fragment f ON f.key = a.key WHERE a.key = ? AND a.geom IS NOT NULL"
        )

    def refresh(self, band: int, touched: Sequence[int]) -> None:
        """Rewrite the blocks of a band that hold a touched key, or have to."""
        wanted = {
            key: row for key in touched if (row := self._row(key)) is not None and band in (ALL, row[1])
        }
        blocks: dict[int | None, set[int]] = {}
        for key in touched:
            block = self._block_of(band, key)
            if key in wanted or block is not None:
                blocks.setdefault(block, set()).add(key)
        for block, keys in blocks.items():
            held = set() if block is None else self._keys_of(block)
            if held.isdisjoint(keys) and keys.isdisjoint(wanted):
                continue
            rows = [row for key in sorted(held - keys) if (row := self._row(key)) is not None]
            rows = sorted(rows + [wanted[key] for key in keys & wanted.keys()])
            self._rewrite(band, block, rows)

    def _row(self, key: int) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._connection.execute(self._select, (key,)).fetchone()
        return row

    def _block_of(self, band: int, key: int) -> int | None:
        """The block in whose range a key falls; the first one takes what comes before it."""
        for statement in (_BLOCK_BEFORE, _FIRST_BLOCK):
            row = self._connection.execute(statement, (band, key)).fetchone()
            if row is not None:
                return int(row[0])
        return None

    def _keys_of(self, block: int) -> set[int]:
        row = self._connection.execute("SELECT heads FROM tile_part WHERE id = ?", (block,)).fetchone()
        return set(np.frombuffer(row[0], dtype=HEAD)["key"].tolist())

    def _rewrite(self, band: int, block: int | None, rows: Sequence[tuple[Any, ...]]) -> None:
        if block is not None:
            self._connection.execute("DELETE FROM tile_part WHERE id = ?", (block,))
            self._connection.execute("DELETE FROM tile_index WHERE id = ?", (block,))
        if not rows:
            return
        keys, zooms, west, south, east, north, ids, blobs, *values = zip(*rows, strict=True)
        width, height = np.subtract(east, west), np.subtract(north, south)
        part_rows = PartRows(
            np.array(keys, dtype=np.int64),
            ids,
            decode_geometries(blobs),
            {field.name: column for field, column in zip(self._facts.fields, values, strict=True)},
            np.array(zooms, dtype=np.int64),
            (width > 2 * self._facts.half_width) | (height > 2 * self._facts.half_height),
        )
        encoded = self._encoder.encode(part_rows)
        if not len(encoded.heads):
            return
        big = part_rows.big[np.searchsorted(part_rows.keys, encoded.heads["key"])]
        first = self._connection.execute("SELECT ifnull(max(id), 0) + 1 FROM tile_part").fetchone()[0]
        insert_blocks(self._connection, band, encoded, block_starts(big), count(int(first)))


_BLOCK_BEFORE = "SELECT id FROM tile_part WHERE band = ? AND first <= ? ORDER BY first DESC LIMIT 1"
_FIRST_BLOCK = "SELECT id FROM tile_part WHERE band = ? AND first > ? ORDER BY first LIMIT 1"
