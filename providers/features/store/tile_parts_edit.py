"""Keeps the tile parts of a store in step with edits, inside their transactions.

An edited feature is written as a block of its own in the band beside (`tile_parts.beside`), and where a block held it before,
`tile_gone` says that it no longer counts. So an edit costs a few small rows, however many features stand around it. Where more
than `MOST_LOOSE` have come together in the reach of one block, the block, what stands beside it and what is new become whole blocks
again: arrays are joined, no geometry is looked at.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from providers.features.crs import ReferenceSystem, reference_system
from providers.features.query import CRS84
from providers.features.store.encoding import geometries_in
from providers.features.store.geopackage import decode_geometries, quote
from providers.features.store.layout import StoreFacts
from providers.features.store.tile_parts import (
    ALL,
    BLOCK,
    FAR,
    HEAD,
    MOST_LOOSE,
    Encoded,
    PartColumns,
    beside,
    block_starts,
    insert_blocks,
)
from providers.features.store.tile_parts_encode import PartEncoder, PartRows, Shapes, StoredCodeBook
from providers.features.store.zorder import MAXIMUM_KEY

_READ_AT_ONCE = 500


def refresh_tile_parts(
    connection: sqlite3.Connection, facts: StoreFacts, storage: ReferenceSystem, keys: Iterable[int]
) -> None:
    """Bring the tile parts of these keys up to date, inside the transaction of an edit.

    `keys`: of every feature that was made, changed or deleted; of one whose key changed, the old and the new one. The rows of
    `feature` and `fragment` are read as they stand now. A store without tile parts is left alone.
    """
    columns = PartColumns.read(connection)
    touched = sorted(set(keys))
    if columns is not None and touched:
        _PartEdit(connection, facts, storage, columns).run(touched)


class _Reach(NamedTuple):
    """The keys from `first` on and before `end`, which belong to a block (None: there is none yet in its band)."""

    part: int | None
    first: int
    end: int


class _PartEdit:
    """The parts of one transaction."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        facts: StoreFacts,
        storage: ReferenceSystem,
        columns: PartColumns,
    ) -> None:
        self._connection = connection
        self._facts = facts
        self._storage = storage
        self._columns = columns
        (last,) = connection.execute("SELECT ifnull(max(id), 0) FROM tile_part").fetchone()
        self._numbers = count(last + 1)

    def run(self, touched: Sequence[int]) -> None:
        """Take out what stands under these keys, put in what is there now."""
        last_far = self._facts.full_zoom - FAR
        keys: dict[int, set[int]] = {ALL: set(touched)}
        for key in touched:
            zoom = self._take_out(ALL, key)
            if zoom is not None and zoom <= last_far:
                self._take_out(zoom, key)
                keys.setdefault(zoom, set()).add(key)
        book = StoredCodeBook(self._connection)
        encoded = self._encoded(touched, PartEncoder(self._facts.fields, self._columns, book))
        book.write(self._connection)
        zooms = encoded.heads["zoom"]
        for zoom in np.unique(zooms[zooms <= last_far]).tolist():
            keys.setdefault(zoom, set()).update(encoded.heads["key"][zooms == zoom].tolist())
        for band, of_band in keys.items():
            part = encoded if band == ALL else encoded.take(np.flatnonzero(zooms == band))
            self._put_in(band, sorted(of_band), part)

    # --- what was there --------------------------------------------------------------------------------------------

    def _take_out(self, band: int, key: int) -> int | None:
        """Remove a feature from a band; the zoom it first appears at, None where it was not there."""
        row = self._connection.execute(_SINGLE, (beside(band), key)).fetchone()
        if row is not None:
            self._delete([row[0]])
            return int(np.frombuffer(row[1], dtype=HEAD)["zoom"][0])
        row = self._connection.execute(_BLOCK_BEFORE, (band, key)).fetchone()
        if row is None:
            return None
        heads = np.frombuffer(row[2], dtype=HEAD)
        place = int(np.searchsorted(heads["key"], key))
        if place == len(heads) or heads["key"][place] != key:
            return None
        marked = self._connection.execute("INSERT OR IGNORE INTO tile_gone VALUES (?, ?)", (row[0], key))
        return int(heads["zoom"][place]) if marked.rowcount else None

    def _delete(self, parts: Sequence[int]) -> None:
        for statement in _DELETE_PART:
            self._connection.executemany(statement, [(part,) for part in parts])

    # --- what is there now -----------------------------------------------------------------------------------------

    def _encoded(self, touched: Sequence[int], encoder: PartEncoder) -> Encoded:
        """The touched features that are there now, ascending by key."""
        names = "".join(f", a.{quote(field.column)}" for field in self._facts.fields)
        rows = []
        for start in range(0, len(touched), _READ_AT_ONCE):
            part = touched[start : start + _READ_AT_ONCE]
            rows += self._connection.execute(
                f"SELECT a.key, f.zoom, f.minx, f.miny, f.maxx, f.maxy, a.id, a.geom{names}"  # noqa: S608 - quoted names; values are bound
                " FROM feature a JOIN fragment f ON f.key = a.key"
                f" WHERE a.geom IS NOT NULL AND a.key IN ({', '.join('?' * len(part))}) ORDER BY a.key",
                part,
            ).fetchall()
        keys, zooms, west, south, east, north, ids, blobs, *values = (
            zip(*rows, strict=True) if rows else [()] * (8 + len(self._facts.fields))
        )
        width, height = np.subtract(east, west), np.subtract(north, south)
        served = geometries_in(decode_geometries(blobs), self._storage, reference_system(CRS84))
        return encoder.encode(
            PartRows(
                np.array(keys, dtype=np.int64),
                ids,
                Shapes.of(served),
                {field.name: column for field, column in zip(self._facts.fields, values, strict=True)},
                np.array(zooms, dtype=np.int64),
                (width > 2 * self._facts.half_width) | (height > 2 * self._facts.half_height),
            )
        )

    def _put_in(self, band: int, touched: Sequence[int], encoded: Encoded) -> None:
        """Write features of a band beside its blocks; write the blocks anew in whose reach there are too many by now."""
        keys = encoded.heads["key"]
        loose = []
        for reach in self._reaches(band, touched):
            first, end = np.searchsorted(keys, [reach.first, reach.end]).tolist()
            if self._loose(band, reach) + end - first > MOST_LOOSE:
                self._rewrite(band, reach, encoded.take(np.arange(first, end)))
            else:
                loose.append(np.arange(first, end))
        if loose:
            singles = encoded.take(np.concatenate(loose))
            starts = np.arange(len(singles.heads))
            insert_blocks(self._connection, beside(band), singles, starts, self._numbers)

    def _reaches(self, band: int, touched: Sequence[int]) -> Iterator[_Reach]:
        """The reaches of the blocks that these ascending keys fall into; the first block takes what comes before it."""
        done = -1
        for key in touched:
            if key < done:
                continue
            before = self._connection.execute(_BLOCK_BEFORE, (band, key)).fetchone()
            after = self._connection.execute(_BLOCKS_AFTER, (band, key)).fetchall()
            if before is None and after:
                before = after.pop(0)
                reach_first = 0
            else:
                reach_first = 0 if before is None else before[1]
            done = after[0][1] if after else MAXIMUM_KEY + 1
            yield _Reach(None if before is None else before[0], reach_first, done)

    def _loose(self, band: int, reach: _Reach) -> int:
        row = self._connection.execute(
            _LOOSE, (beside(band), reach.first, reach.end, -1 if reach.part is None else reach.part)
        ).fetchone()
        return int(row[0])

    def _rewrite(self, band: int, reach: _Reach, new: Encoded) -> None:
        """Everything in a reach as whole blocks."""
        held = [new]
        parts = []
        if reach.part is not None:
            block = self._connection.execute(f"{_BLOBS} WHERE id = ?", (reach.part,)).fetchone()
            gone = self._connection.execute(
                "SELECT key FROM tile_gone WHERE part = ?", (reach.part,)
            ).fetchall()
            whole = Encoded.of_blocks([block[1:]], self._columns)
            left = ~np.isin(whole.heads["key"], np.array(gone, dtype=np.int64))
            held.append(whole.take(np.flatnonzero(left)))
            parts.append(reach.part)
        singles = self._connection.execute(
            f"{_BLOBS} WHERE band = ? AND first >= ? AND first < ?", (beside(band), reach.first, reach.end)
        ).fetchall()
        if singles:
            held.append(Encoded.of_blocks([row[1:] for row in singles], self._columns))
            parts += [row[0] for row in singles]
        self._delete(parts)
        together = Encoded.joined(held)
        together = together.take(np.argsort(together.heads["key"], kind="stable"))
        insert_blocks(self._connection, band, together, _even_starts(together), self._numbers)


def _even_starts(encoded: Encoded) -> NDArray[np.int64]:
    """Where blocks of about equal size begin."""
    total = len(encoded.heads)
    blocks = -(-total // BLOCK)
    return block_starts(encoded.heads["big"], -(-total // blocks) if blocks else BLOCK)


_SINGLE = "SELECT id, heads FROM tile_part WHERE band = ? AND first = ?"
_BLOCK_BEFORE = (
    "SELECT id, first, heads FROM tile_part WHERE band = ? AND first <= ? ORDER BY first DESC LIMIT 1"
)
_BLOCKS_AFTER = "SELECT id, first FROM tile_part WHERE band = ? AND first > ? ORDER BY first LIMIT 2"
_BLOBS = "SELECT id, heads, paths, vertices, codes, sizes, texts FROM tile_part"
_LOOSE = (
    "SELECT (SELECT count(*) FROM tile_part WHERE band = ? AND first >= ? AND first < ?)"
    " + (SELECT count(*) FROM tile_gone WHERE part = ?)"
)
_DELETE_PART = (
    "DELETE FROM tile_part WHERE id = ?",
    "DELETE FROM tile_index WHERE id = ?",
    "DELETE FROM tile_gone WHERE part = ?",
)
