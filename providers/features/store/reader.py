"""Reads a feature store: pages, single items, and columns for tiles and processes."""

from __future__ import annotations

import os
import sqlite3
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyproj

from providers.errors import InvalidParameter, StoreCorrupt, StoreError, StoreMissing
from providers.features.crs import CRS84H, ReferenceSystem, describe_crs, reference_system
from providers.features.query import CRS84, BBox, Cursor, ItemQuery
from providers.features.schema import CollectionSchema, FieldDefinition
from providers.features.source import (
    NO_FIELDS,
    Ability,
    ColumnPage,
    FeatureColumns,
    FeaturePage,
    ItemResult,
    refuse_what_it_cannot,
)
from providers.features.store.encoding import encode_features, geometries_in
from providers.features.store.geopackage import decode_geometries, quote
from providers.features.store.layout import StoreFacts
from providers.features.store.select import (
    BODIES,
    KEYS,
    Payload,
    Row,
    Selection,
    Selector,
    boxes_of,
    filter_of,
)
from providers.features.store.values import shown_values
from providers.features.store.zorder import MAXIMUM_KEY

_IDLE_CONNECTIONS = 8
_MMAP_BYTES = 0x7FFF0000  # the most SQLite is compiled for; only address space
_ABILITIES = frozenset(Ability) - {Ability.ASOF, Ability.FILTER, Ability.SORTBY, Ability.Q}
_SERVED_CRS = ("EPSG:4326", "EPSG:3857", "EPSG:4490")


class FeatureStore:
    """An open store. Safe to use from many threads: each call borrows a connection of its own.

    Made by `open_store`, never before a fork.
    """

    def __init__(self, path: Path) -> None:
        """Raises StoreMissing, StoreCorrupt."""
        if not path.is_file():
            raise StoreMissing(f"There is no feature store at {path.name!r}; publish the collection again")
        self.path = path
        self._idle: deque[sqlite3.Connection] = deque(maxlen=_IDLE_CONNECTIONS)
        with self._snapshot() as connection:
            self.facts = StoreFacts.read(connection, path)
        self.storage: ReferenceSystem = (
            reference_system(self.facts.storage_crs)
            if self.facts.storage_crs
            else describe_crs(pyproj.CRS.from_wkt(self.facts.storage_wkt))
        )
        self.schema = self._schema()
        self._selector = Selector(self.facts)

    @property
    def bbox(self) -> tuple[float, ...]:
        """CRS84 (4 numbers) or CRS84h (6) as the store was built; () without any geometry."""
        return self.facts.bbox

    @property
    def kind(self) -> str:
        """What this source is, for messages."""
        return "embedded"

    @property
    def abilities(self) -> frozenset[Ability]:
        """The parts of a query that it answers."""
        return _ABILITIES

    def count(self) -> int:
        """Features in the store."""
        return self._state("count")

    def change(self) -> int:
        """The counter of edits: 0 as published, one more for each committed edit."""
        return self._state("change")

    def page(self, query: ItemQuery, hidden: frozenset[str] = NO_FIELDS) -> FeaturePage:
        """Answer a parsed query. `hidden` fields are left out (the parser has refused them in filters)."""
        payload = self._payload(query, hidden)
        rows, cursor, matched = self._answer(query, payload)
        bodies = [row[1] for row in rows] if payload is BODIES else self._encode(rows, query, hidden)
        return FeaturePage(bodies, cursor, matched, query.crs)

    def columns(self, query: ItemQuery, hidden: frozenset[str] = NO_FIELDS) -> ColumnPage:
        """The same page as columns, in the storage CRS; without geometries (None) where the query skips them."""
        fields = self._shown(query, hidden)
        rows, cursor, matched = self._answer(query, _columns_payload(fields, with_geometry=True))
        columns = _as_columns(rows, fields)
        if query.skip_geometry:
            columns.geometries[:] = None
        return ColumnPage(columns, cursor, matched)

    def _answer(self, query: ItemQuery, payload: Payload) -> tuple[list[Row], Cursor | None, int | None]:
        refuse_what_it_cannot(query, self)
        condition = filter_of(query, self.schema.by_name, self.facts.time_field)
        selection = Selection(boxes_of(query.bbox), condition, _cursor_key(query))
        with self._snapshot() as connection:
            if query.hits_only:
                return [], None, self._matched(connection, selection)
            rows = self._page_rows(connection, payload, selection, query)
            more = len(rows) > query.limit
            if more:
                rows.pop()
            matched = _cheap_count(connection, selection, query.offset, more, len(rows))
        return rows, (rows[-1][0],) if more else None, matched

    def item(
        self, feature_id: str, crs: str = CRS84, hidden: frozenset[str] = NO_FIELDS, asof: str | None = None
    ) -> ItemResult | None:
        """One feature by its id, None where there is none."""
        if asof is not None:
            refuse_what_it_cannot(ItemQuery(asof=asof), self)
        query = _CRS84_ITEM if crs == CRS84 else ItemQuery(limit=1, crs=crs)
        payload = self._payload(query, hidden)
        join = " JOIN fragment f ON f.key = a.key" if payload is BODIES else ""
        statement = f"SELECT a.version, a.key{payload.columns} FROM feature a{join} WHERE a.id = ?"  # noqa: S608 - quoted names
        with self._borrowed() as connection:
            row = connection.execute(statement, (feature_id,)).fetchone()
        if row is None:
            return None
        return ItemResult(row[2] if payload is BODIES else self._encode([row[1:]], query, hidden)[0], row[0])

    def read(
        self,
        bbox: BBox | None = None,
        fields: Sequence[str] | None = None,
        limit: int = -1,
        *,
        zoom: int | None = None,
    ) -> FeatureColumns:
        """Features whose CRS84 envelope meets `bbox`, as columns, ascending by key; -1 is no limit.

        `fields` None: all. With `zoom` (WebMercatorQuad) below the store's `full_zoom`, only those that a tile of this zoom
        shows, the largest first.
        """
        chosen = self._chosen(fields)
        payload = _columns_payload(chosen, with_geometry=True)
        with self._snapshot() as connection:
            if zoom is not None and bbox is not None and zoom < self.facts.full_zoom:
                most = limit if limit >= 0 else MAXIMUM_KEY
                rows = self._selector.overview(connection, payload, bbox, max(zoom, 0), most)
            else:
                rows = self._selector.rows(connection, payload, Selection(boxes_of(bbox)), limit)
        return _as_columns(rows, chosen)

    def slices(self, fields: Sequence[str] | None = None, size: int = 10_000) -> Iterator[FeatureColumns]:
        """The whole store ascending by key, `size` features at a time; no transaction stays open between two slices."""
        chosen = self._chosen(fields)
        payload = _columns_payload(chosen, with_geometry=True)
        cursor: int | None = None
        while True:
            with self._borrowed() as connection:
                rows = self._selector.rows(connection, payload, Selection(cursor=cursor), size)
            if rows:
                yield _as_columns(rows, chosen)
            if len(rows) < size:
                return
            cursor = rows[-1][0]

    # --- inside ----------------------------------------------------------------------------------------------------

    def _schema(self) -> CollectionSchema:
        facts = self.facts
        uris = [
            CRS84H if facts.has_z else CRS84,
            CRS84,
            *(reference_system(code).uri for code in _SERVED_CRS),
        ]
        if facts.storage_crs:
            uris.append(facts.storage_crs)
        return CollectionSchema(
            fields=facts.fields,
            storage_crs=facts.storage_crs,
            time_field=facts.time_field,
            geometry_type=facts.geometry_type,
            supported_crs=tuple(dict.fromkeys(uris)),
        )

    def _state(self, name: str) -> int:
        with self._borrowed() as connection:
            row = connection.execute("SELECT value FROM chengtu_state WHERE name = ?", (name,)).fetchone()
        return int(row[0])

    def _page_rows(
        self, connection: sqlite3.Connection, payload: Payload, selection: Selection, query: ItemQuery
    ) -> list[Row]:
        """One row more than the limit where there is one."""
        if not query.offset:
            return self._selector.rows(connection, payload, selection, query.limit + 1)
        if _is_all(selection):
            lowest = -1 if selection.cursor is None else selection.cursor
            start = connection.execute(_OFFSET, (lowest, query.offset - 1)).fetchone()
            skipped = [] if start is None else [start]
        else:
            skipped = self._selector.rows(connection, KEYS, selection, query.offset)
            skipped = skipped[-1:] if len(skipped) == query.offset else []
        if not skipped:
            return []
        rest = selection._replace(cursor=skipped[0][0])
        return self._selector.rows(connection, payload, rest, query.limit + 1)

    def _matched(self, connection: sqlite3.Connection, selection: Selection) -> int:
        everything = selection._replace(cursor=None)
        if _is_all(everything):
            return int(connection.execute(_COUNT).fetchone()[0])
        return self._selector.count(connection, everything)

    def _payload(self, query: ItemQuery, hidden: frozenset[str]) -> Payload:
        if (
            query.properties is None
            and not query.skip_geometry
            and not hidden
            and query.crs in (CRS84, CRS84H)
        ):
            return BODIES
        return _columns_payload(self._shown(query, hidden), with_geometry=not query.skip_geometry)

    def _shown(self, query: ItemQuery, hidden: frozenset[str]) -> tuple[FieldDefinition, ...]:
        wanted = query.properties
        return tuple(
            field
            for field in self.facts.fields
            if field.name not in hidden and (wanted is None or field.name in wanted)
        )

    def _chosen(self, fields: Sequence[str] | None) -> tuple[FieldDefinition, ...]:
        if fields is None:
            return self.facts.fields
        unknown = set(fields) - self.schema.by_name.keys()
        if unknown:
            raise StoreError(
                f"{self.path.name} has no fields {sorted(unknown)}; it has {sorted(self.schema.by_name)}"
            )
        return tuple(self.schema.by_name[name] for name in fields)

    def _encode(self, rows: Sequence[Row], query: ItemQuery, hidden: frozenset[str]) -> list[bytes]:
        """Rows of a columns payload as Feature bytes."""
        if not rows:
            return []
        fields = self._shown(query, hidden)
        turned = list(zip(*rows, strict=True))
        first_field = 2 if query.skip_geometry else 3
        geometries = (
            None
            if query.skip_geometry
            else geometries_in(decode_geometries(turned[2]), self.storage, reference_system(query.crs))
        )
        columns = [
            shown_values(field, values) for field, values in zip(fields, turned[first_field:], strict=True)
        ]
        return encode_features(turned[1], geometries, [field.name for field in fields], columns)

    @contextmanager
    def _borrowed(self) -> Iterator[sqlite3.Connection]:
        """A connection, outside of any transaction. Errors of SQLite become StoreError."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = _connect(self.path)
        try:
            yield connection
        except sqlite3.OperationalError as error:
            raise StoreError(f"{self.path.name}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise StoreCorrupt(f"{self.path.name}: {error}; publish the collection again") from error
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._idle.append(connection)

    @contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        """A connection inside a read transaction: every statement sees the same state."""
        with self._borrowed() as connection:
            connection.execute("BEGIN")
            yield connection


_CRS84_ITEM = ItemQuery(limit=1)
_COUNT = "SELECT value FROM chengtu_state WHERE name = 'count'"
_OFFSET = "SELECT key FROM fragment WHERE key > ? ORDER BY key LIMIT 1 OFFSET ?"


def _cursor_key(query: ItemQuery) -> int | None:
    """The key a page starts after. Raises InvalidParameter for a cursor of another kind of store."""
    if query.cursor is None:
        return None
    key = query.cursor[-1]
    if not isinstance(key, int) or not 0 <= key <= MAXIMUM_KEY or len(query.cursor) != 1:
        raise InvalidParameter("cursor", str(query.cursor), "a cursor taken from a next link")
    return key


def _is_all(selection: Selection) -> bool:
    return not selection.boxes and selection.condition is None


def _cheap_count(
    connection: sqlite3.Connection, selection: Selection, offset: int, more: bool, returned: int
) -> int | None:
    """The number matched where it is stored, or where this one page holds the end of the answer."""
    if _is_all(selection):
        return int(connection.execute(_COUNT).fetchone()[0])
    if more or selection.cursor is not None or (offset and not returned):
        return None
    return offset + returned


def _connect(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            _uri(path), uri=True, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        for pragma in (
            "query_only = 1",
            f"mmap_size = {_MMAP_BYTES}",
            "busy_timeout = 5000",
            "temp_store = MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}")
    except sqlite3.OperationalError as error:
        raise StoreError(f"{path.name} cannot be opened: {error}") from error
    return connection


def _uri(path: Path) -> str:
    """Readers of a store that is being edited (WAL) share a memory file that the first of them makes: "rw", where possible.

    On a read-only volume nothing can change the file either, which is what "immutable" promises SQLite.
    """
    writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    return f"{path.absolute().as_uri()}?{'mode=rw' if writable else 'mode=ro&immutable=1'}"


def _columns_payload(fields: Sequence[FieldDefinition], *, with_geometry: bool) -> Payload:
    names = "".join(f", a.{quote(field.column)}" for field in fields)
    return Payload(f", a.id{', a.geom' if with_geometry else ''}{names}", True)


def _as_columns(rows: Sequence[Row], fields: Sequence[FieldDefinition]) -> FeatureColumns:
    if not rows:
        return FeatureColumns([], [], np.empty(0, dtype=object), {field.name: [] for field in fields})
    keys, ids, blobs, *values = zip(*rows, strict=True)
    columns = {
        field.name: list(shown_values(field, column)) for field, column in zip(fields, values, strict=True)
    }
    return FeatureColumns(list(keys), list(ids), decode_geometries(blobs), columns)
