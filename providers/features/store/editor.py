"""Edits of an embedded store: a batch is one transaction, and one change of everything that stands beside the features.

What an edit keeps in step: the feature and its R-tree (by the GeoPackage's triggers), its GeoJSON fragment, `big`, the past
rows, the parts of vector tiles, the counters, the GeoPackage's extent and date.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import orjson

from providers.errors import InvalidFeature, ReadOnlySource, SourceUnavailable, StoreError
from providers.features.crs import ReferenceSystem
from providers.features.source import Edit, EditResult
from providers.features.store import history_tables
from providers.features.store.editor_connection import plain_transaction, write_transaction
from providers.features.store.editor_rows import EncodedRows, Planner, Row, encode_rows, pointer_of
from providers.features.store.editor_zooms import edited_zooms
from providers.features.store.geopackage import TABLE, quote
from providers.features.store.layout import StoreFacts

if TYPE_CHECKING:
    from providers.features.store.reader import FeatureStore


def edit_store(store: FeatureStore, edits: Sequence[Edit], author: str = "") -> list[EditResult]:
    """Make all edits in one transaction, or none; see `EditableSource.edit`."""
    if not edits:
        return []
    with write_transaction(store) as connection:
        return _Batch(store, connection, author).run(edits)


def close_to_edits(store: FeatureStore) -> int:
    """Let no edit in any more (a newer generation is about to be served); gives the final change counter.

    Waits for the edit under way. Edits that come later raise SourceUnavailable, in every process.
    """
    try:
        return _set_closed(store, 1)
    except ReadOnlySource:
        return store.change()  # nobody can edit it


def open_to_edits(store: FeatureStore) -> int:
    """Let edits in again (the generation is served again); gives the change counter."""
    return _set_closed(store, 0)


def _set_closed(store: FeatureStore, value: int) -> int:
    with plain_transaction(store) as connection:
        connection.execute("INSERT OR REPLACE INTO chengtu_state VALUES ('closed', ?)", (value,))
        return state_of(connection, "change")


def is_closed(store: FeatureStore) -> bool:
    """Whether `close_to_edits` has been called, and `open_to_edits` not since."""
    with store.snapshot() as connection:
        return state_of(connection, "closed") == 1


def copy_store(store: FeatureStore, path: Path) -> None:
    """Write a consistent copy of the present state to a new file: for downloads, without history and names of authors.

    Readers and writers go on meanwhile. Raises StoreError where `path` exists or cannot be written.
    """
    if path.exists():
        raise StoreError(f"{path.name} exists already")
    try:
        with contextlib.closing(
            sqlite3.connect(store.path.absolute().as_uri() + "?mode=rw", uri=True)
        ) as source:
            source.execute("VACUUM INTO ?", (str(path),))
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as copy:
            history_tables.drop_history(copy)
    except sqlite3.Error as error:
        path.unlink(missing_ok=True)
        raise StoreError(f"{store.path.name} could not be copied: {error}") from error


def state_of(connection: sqlite3.Connection, name: str) -> int:
    """A counter of `chengtu_state`; 0 where it was never set."""
    row = connection.execute("SELECT value FROM chengtu_state WHERE name = ?", (name,)).fetchone()
    return 0 if row is None else int(row[0])


class _Batch:
    """The edits of one transaction."""

    def __init__(self, store: FeatureStore, connection: sqlite3.Connection, author: str) -> None:
        self._facts: StoreFacts = store.facts
        self._storage = store.storage
        self._connection = connection
        self._author = author
        self._path = store.path
        self._change = 0
        self._count = 0
        self._touched: set[int] = set()  # keys, old and new
        self._written: list[Row] = []

    def run(self, edits: Sequence[Edit]) -> list[EditResult]:
        """Everything between BEGIN and COMMIT."""
        if not history_tables.has_history(self._connection):
            history_tables.create_history(self._connection, self._facts)
        states = dict(self._connection.execute("SELECT name, value FROM chengtu_state").fetchall())
        if states.get("closed"):
            raise SourceUnavailable(
                f"{self._path.name}: the collection has just been published anew; read the item again, then edit"
            )
        self._change = states["change"] + len(edits)
        self._count = states["count"]
        results = self._apply(edits)
        self._check_unique()
        self._finish()
        return results

    def _apply(self, edits: Sequence[Edit]) -> list[EditResult]:
        """Rows are planned and written in groups in which every feature occurs once: a later edit sees the earlier one."""
        planner = Planner(self._connection, self._facts)
        group: list[Row] = []
        ids: set[str] = set()
        results: list[EditResult] = []
        for index, edit in enumerate(edits):
            if edit.feature_id is not None and edit.feature_id in ids:
                self._write(group)
                group, ids = [], set()
            row = planner.plan(index, edit)
            group.append(row)
            ids.add(row.feature_id)
            results.append(EditResult(row.feature_id, None if row.values is None else row.version))
        self._write(group)
        return results

    # --- writing ---------------------------------------------------------------------------------------------------

    def _write(self, group: Sequence[Row]) -> None:
        gone = [row for row in group if row.values is None]
        staying = [row for row in group if row.values is not None]
        old_keys = [row.old_key for row in group if row.old_key is not None]
        history_tables.archive(self._connection, self._facts, old_keys, self._change)
        for statement in _FORGET:
            self._connection.executemany(statement, [(key,) for key in old_keys])
        self._delete(gone)
        if staying:
            encoded = encode_rows(self._connection, self._facts, self._storage, staying)
            self._insert(encoded)
            self._grow(encoded)
            self._touched.update(encoded.keys)
        self._touched.update(old_keys)
        self._written += staying
        self._count += sum(row.old_key is None for row in staying) - len(gone)

    def _delete(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        pairs = [(row.old_key, row.old_version) for row in rows]
        deleted = self._connection.executemany("DELETE FROM feature WHERE key = ? AND version = ?", pairs)
        self._expect(deleted.rowcount, len(rows))
        self._connection.executemany("DELETE FROM fragment WHERE key = ?", [(key,) for key, _ in pairs])

    def _insert(self, encoded: EncodedRows) -> None:
        names = ("key", "id", "version", "geom", *(quote(item.column) for item in self._facts.fields))
        features = [
            (key, row.feature_id, row.version, blob, *(row.values or ()))
            for row, key, blob in zip(encoded.rows, encoded.keys, encoded.blobs, strict=True)
        ]
        zooms = edited_zooms(self._connection, self._facts, encoded.rows, encoded.bounds84)
        fragments = [
            (key, *_nulls(box), zoom, body)
            for key, box, zoom, body in zip(
                encoded.keys, encoded.bounds84.tolist(), zooms, encoded.bodies, strict=True
            )
        ]
        new = [number for number, row in enumerate(encoded.rows) if row.old_key is None]
        self._insert_new("feature", names, [features[number] for number in new])
        self._insert_new("fragment", _FRAGMENT, [fragments[number] for number in new])
        # Only columns that change are named: SQLite writes every index, and the R-tree, that a named column stands in.
        for (columns, columns_of_fragment), numbers in _alike(encoded).items():
            old = [encoded.rows[number] for number in numbers]
            values = [[features[number][column] for column in columns] for number in numbers]
            self._update("feature", [names[column] for column in columns], values, old, by_version=True)
            values = [[fragments[number][column] for column in columns_of_fragment] for number in numbers]
            self._update("fragment", [_FRAGMENT[column] for column in columns_of_fragment], values, old)
        self._connection.executemany(
            "INSERT INTO chengtu_edited VALUES (?, ?)", [(key, self._change) for key in encoded.keys]
        )
        if large := self._large(encoded):
            self._connection.executemany("INSERT INTO big VALUES (?, ?, ?, ?, ?)", large)

    def _insert_new(self, table: str, names: Sequence[str], rows: Sequence[tuple[object, ...]]) -> None:
        if rows:
            marks = ", ".join("?" * len(names))
            self._connection.executemany(
                f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})",  # noqa: S608 - our own or quoted names; values are bound
                rows,
            )

    def _update(
        self,
        table: str,
        names: Sequence[str],
        values: Sequence[Sequence[object]],
        rows: Sequence[Row],
        *,
        by_version: bool = False,
    ) -> None:
        condition = " AND version = ?" if by_version else ""
        bound = [
            (*item, row.old_key, *([row.old_version] if by_version else []))
            for item, row in zip(values, rows, strict=True)
        ]
        updated = self._connection.executemany(
            f"UPDATE {table} SET {', '.join(f'{name} = ?' for name in names)} WHERE key = ?{condition}",  # noqa: S608 - our own or quoted names; values are bound
            bound,
        )
        self._expect(updated.rowcount, len(bound))

    def _expect(self, changed: int, wanted: int) -> None:
        if wanted and changed != wanted:
            raise StoreError(
                f"{self._path.name}: {changed} of {wanted} rows were in the version they had been read in"
            )

    def _large(self, encoded: EncodedRows) -> list[tuple[int, float, float, float, float]]:
        facts = self._facts
        found = []
        for key, (west, south, east, north) in zip(encoded.keys, encoded.bounds84.tolist(), strict=True):
            if east - west > 2 * facts.half_width or north - south > 2 * facts.half_height:
                found.append((key, west, east, south, north))
        return found

    # --- the end of the transaction --------------------------------------------------------------------------------

    def _check_unique(self) -> None:
        """Fields whose values may occur once: judged by what all edits together leave."""
        for number, item in enumerate(self._facts.fields):
            if not item.constraints.get("unique"):
                continue
            column = quote(item.column)
            for row in self._written:
                value = None if row.values is None else row.values[number]
                if value is None:
                    continue
                found = self._connection.execute(
                    f"SELECT id FROM feature WHERE {column} = ? AND id <> ? LIMIT 1",  # noqa: S608 - quoted names
                    (value, row.feature_id),
                ).fetchone()
                if found is not None:
                    fault = f"{str(value)[:80]!r} is the value of item {found[0][:80]!r} already, and may occur once"
                    raise InvalidFeature([(pointer_of(item.name), fault)], row.index)

    def _grow(self, encoded: EncodedRows) -> None:
        """The extents of the layer (storage CRS) and of the collection (CRS84): they grow, and shrink at the next publish."""
        placed = ~np.isnan(encoded.bounds84[:, 0]) & [row.moved for row in encoded.rows]
        if not placed.any():
            return
        bounds = encoded.bounds[placed]
        low, high = bounds[:, :2].min(axis=0).tolist(), bounds[:, 2:].max(axis=0).tolist()
        self._connection.execute(_GROW_LAYER, (*low, *high, TABLE))
        box84 = encoded.bounds84[placed]
        part = (*box84[:, :2].min(axis=0).tolist(), *box84[:, 2:].max(axis=0).tolist())
        extent = grown(extent_of(self._connection, self._facts), part, encoded.heights, self._facts.has_z)
        self._connection.execute(
            "INSERT OR REPLACE INTO chengtu_meta VALUES ('extent', ?)", (orjson.dumps(extent).decode(),)
        )

    def _finish(self) -> None:
        _keep_derived(self._connection, self._facts, self._storage, sorted(self._touched))
        execute = self._connection.execute
        execute(
            "UPDATE chengtu_state SET value = CASE name WHEN 'change' THEN ? ELSE ? END"
            " WHERE name IN ('change', 'count')",
            (self._change, self._count),
        )
        time = history_tables.next_transaction_time(self._connection)
        execute(
            "INSERT INTO chengtu_transaction VALUES (?, ?, ?, ?)",
            (self._change, time, self._author, self._count),
        )
        execute("UPDATE gpkg_contents SET last_change = ? WHERE table_name = ?", (time[:23] + "Z", TABLE))


def _keep_derived(
    connection: sqlite3.Connection, facts: StoreFacts, storage: ReferenceSystem, keys: Sequence[int]
) -> None:
    """What is derived from rows and kept in the same file: the parts of vector tiles."""
    from providers.features.store.tile_parts_edit import refresh_tile_parts

    refresh_tile_parts(connection, facts, storage, keys)


_FRAGMENT = ("key", "minx", "miny", "maxx", "maxy", "zoom", "body")
_KEY, _VERSION, _GEOMETRY, _FIRST_FIELD = 0, 2, 3, 4  # positions of the columns of `feature`
_BODY = len(_FRAGMENT) - 1


def _alike(encoded: EncodedRows) -> dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]]:
    """The rows that were there before, by the positions of the columns that have to be written (of `feature`, of
    `fragment`)."""
    found: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for number, (row, key) in enumerate(zip(encoded.rows, encoded.keys, strict=True)):
        if row.old_key is None:
            continue
        of_key = (_KEY,) if key != row.old_key else ()
        of_geometry = (_GEOMETRY,) if row.moved else ()
        columns = (*of_key, _VERSION, *of_geometry, *(_FIRST_FIELD + field for field in row.changed))
        of_fragment = (*of_key, *range(1, _BODY), _BODY) if row.moved else (_BODY,)
        found.setdefault((columns, of_fragment), []).append(number)
    return found


_FORGET = ("DELETE FROM chengtu_edited WHERE key = ?", "DELETE FROM big WHERE id = ?")
_GROW_LAYER = (
    "UPDATE gpkg_contents SET min_x = min(coalesce(min_x, 1e999), ?), min_y = min(coalesce(min_y, 1e999), ?),"
    " max_x = max(coalesce(max_x, -1e999), ?), max_y = max(coalesce(max_y, -1e999), ?) WHERE table_name = ?"
)


def _nulls(box: Sequence[float]) -> tuple[float | None, ...]:
    return (None, None, None, None) if math.isnan(box[0]) else tuple(box)


def extent_of(connection: sqlite3.Connection, facts: StoreFacts) -> tuple[float, ...]:
    """The envelope of the collection after all edits: CRS84 (4 numbers), CRS84h (6), or () without any geometry ever."""
    row = connection.execute("SELECT value FROM chengtu_meta WHERE name = 'extent'").fetchone()
    return facts.bbox if row is None else tuple(orjson.loads(row[0]))


def grown(
    extent: tuple[float, ...],
    part: tuple[float, ...],
    heights: tuple[float, float] | None,
    has_z: bool,
) -> tuple[float, ...]:
    """An extent that also holds `part` (west, south, east, north) and its heights."""
    half = len(extent) // 2
    old = (*extent[:2], *extent[half : half + 2]) if extent else part
    flat = (*map(min, old[:2], part[:2]), *map(max, old[2:], part[2:]))
    if not has_z:
        return flat
    known = [(extent[2], extent[5])] if len(extent) == 6 else []
    spans = known + ([heights] if heights is not None else [])
    if not spans:
        return flat
    bottom, top = min(span[0] for span in spans), max(span[1] for span in spans)
    return (*flat[:2], bottom, *flat[2:], top)
