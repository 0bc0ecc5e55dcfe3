"""Reads a feature store: pages, single items, and columns for tiles and processes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyproj
from numpy.typing import NDArray

from providers.errors import AnswerTooLarge, StoreCorrupt, StoreError, StoreMissing
from providers.features.crs import CRS84H, ReferenceSystem, describe_crs, reference_system
from providers.features.query import CRS84, BBox, ItemQuery
from providers.features.schema import CollectionSchema, FieldDefinition
from providers.features.source import (
    NO_FIELDS,
    Ability,
    ColumnPage,
    Edit,
    EditResult,
    FeatureColumns,
    FeaturePage,
    FeatureVersion,
    ItemResult,
    TileWindow,
)
from providers.features.store.budget import LONGEST_SECONDS
from providers.features.store.connections import StoreConnection, connect
from providers.features.store.encoding import encode_features, geometries_in
from providers.features.store.geopackage import decode_geometries, quote
from providers.features.store.layout import StoreFacts
from providers.features.store.pages import Answer, answer, count, question_of, without_asof
from providers.features.store.plan import Selector, stored_count
from providers.features.store.pool import ConnectionPool
from providers.features.store.select import BODIES, FUNCTION_PREFIX, Payload, Row, Selection, boxes_of
from providers.features.store.values import shown_values
from providers.features.store.zorder import MAXIMUM_KEY

_PART = 20_000  # rows read in one transaction
_NO_PAGE = FeaturePage([], None, 0)
_SERVED_CRS = ("EPSG:4326", "EPSG:3857", "EPSG:4490")


class FeatureStore:
    """An open store. Safe to use from many threads: each call borrows a connection of its own.

    Made by `open_store`, never before a fork. Another process may edit the file meanwhile: every call reads the state of its
    moment.
    """

    is_past = False
    """Whether this is an earlier state, whose tables are views: statements name no index then."""

    def __init__(self, path: Path) -> None:
        """Raises StoreMissing, StoreCorrupt."""
        if not path.is_file():
            raise StoreMissing(f"There is no feature store at {path.name!r}; publish the collection again")
        self.path = path
        self._pool = ConnectionPool()
        with self.snapshot() as connection:
            self.facts = StoreFacts.read(connection, path)
            indexes = frozenset() if self.is_past else _indexes(connection)
            size = stored_count(connection)
        self.storage: ReferenceSystem = (
            reference_system(self.facts.storage_crs)
            if self.facts.storage_crs
            else describe_crs(pyproj.CRS.from_wkt(self.facts.storage_wkt))
        )
        self.schema = self._schema()
        self._selector = Selector(self.facts, indexes, size)

    @property
    def bbox(self) -> tuple[float, ...]:
        """CRS84 (4 numbers) or CRS84h (6), grown by edits; () without any geometry."""
        with self.borrowed() as connection:
            row = connection.execute("SELECT value FROM chengtu_meta WHERE name = 'extent'").fetchone()
        return self.facts.bbox if row is None else tuple(orjson.loads(row[0]))

    @property
    def kind(self) -> str:
        """What this source is, for messages."""
        return "embedded"

    @property
    def abilities(self) -> frozenset[Ability]:
        """The parts of a query that it answers."""
        return frozenset(Ability)

    def count(self) -> int:
        """Features in the store."""
        with self.borrowed() as connection:
            return stored_count(connection)

    def change(self) -> int:
        """The counter of edits: 0 as published, one more for each committed edit."""
        with self.borrowed() as connection:
            return int(connection.execute(_CHANGE).fetchone()[0])

    def page(self, query: ItemQuery, hidden: frozenset[str] = NO_FIELDS) -> FeaturePage:
        """Answer a parsed query. `hidden` fields are left out (the parser has refused them in filters).

        A page holds less than `limit` features and yet a cursor where it took too long to find more. Raises AnswerTooLarge.
        """
        if query.asof is not None:
            past = self.at(query.asof)
            return _NO_PAGE if past is None else past.page(without_asof(query), hidden)
        payload = self._payload(query, hidden)
        rows, cursor, matched = self._answer(query, payload, hidden)
        bodies = [row[1] for row in rows] if payload is BODIES else self._encode(rows, query, hidden)
        return FeaturePage(bodies, cursor, matched, query.crs)

    def columns(self, query: ItemQuery, hidden: frozenset[str] = NO_FIELDS) -> ColumnPage:
        """The same page as columns, in the storage CRS; without geometries (None) where the query skips them."""
        fields = self._shown(query, hidden)
        if query.asof is not None:
            past = self.at(query.asof)
            if past is None:
                return ColumnPage(_as_columns([], fields), None, 0)
            return past.columns(without_asof(query), hidden)
        rows, cursor, matched = self._answer(query, _columns_payload(fields, with_geometry=True), hidden)
        columns = _as_columns(rows, fields)
        if query.skip_geometry:
            columns.geometries[:] = None
        return ColumnPage(columns, cursor, matched)

    def item(
        self, feature_id: str, crs: str = CRS84, hidden: frozenset[str] = NO_FIELDS, asof: str | None = None
    ) -> ItemResult | None:
        """One feature by its id, None where there is none."""
        if asof is not None:
            past = self.at(asof)
            return None if past is None else past.item(feature_id, crs, hidden)
        query = _CRS84_ITEM if crs == CRS84 else ItemQuery(limit=1, crs=crs)
        payload = self._payload(query, hidden)
        join = " JOIN fragment f ON f.key = a.key" if payload is BODIES else ""
        statement = f"SELECT a.version, a.key{payload.columns} FROM feature a{join} WHERE a.id = ?"  # noqa: S608 - quoted names
        with self.borrowed() as connection:
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
        if zoom is not None and bbox is not None and zoom < self.facts.full_zoom:
            most = limit if limit >= 0 else MAXIMUM_KEY
            with self.snapshot() as connection:
                rows = self._selector.overview(connection, payload, bbox, max(zoom, 0), most)
        else:
            rows = self._read_rows(payload, Selection(boxes_of(bbox)), limit)
        return _as_columns(rows, chosen)

    def _read_rows(self, payload: Payload, selection: Selection, limit: int) -> list[Row]:
        """Rows in key order, in parts, so that no transaction stays open for long."""
        rows: list[Row] = []
        while True:
            wanted = _PART if limit < 0 else min(_PART, limit - len(rows))
            with self.snapshot() as connection:
                part = self._selector.rows(connection, payload, selection, wanted)
            rows = rows + part if rows else part
            if len(part) < wanted or len(rows) == limit:
                return rows
            selection = selection._replace(cursor=part[-1][0])

    def slices(self, fields: Sequence[str] | None = None, size: int = 10_000) -> Iterator[FeatureColumns]:
        """The whole store ascending by key, `size` features at a time; no transaction stays open between two slices."""
        chosen = self._chosen(fields)
        payload = _columns_payload(chosen, with_geometry=True)
        cursor: int | None = None
        while True:
            with self.borrowed() as connection:
                rows = self._selector.rows(connection, payload, Selection(cursor=cursor), size)
            if rows:
                yield _as_columns(rows, chosen)
            if len(rows) < size:
                return
            cursor = rows[-1][0]

    def read_keys(self, keys: Sequence[int], fields: Sequence[str] | None = None) -> FeatureColumns:
        """The features of these keys as columns, ascending by key; keys without a feature are left out."""
        from providers.features.store.by_key import read_keys

        chosen = self._chosen(fields)
        payload = _columns_payload(chosen, with_geometry=True)
        return _as_columns(read_keys(self, keys, payload), chosen)

    def column(self, field: str) -> list[Any]:
        """The values of one field of all features, ascending by key."""
        from providers.features.store.by_key import column

        (chosen,) = self._chosen([field])
        return column(self, chosen)

    # --- edits and history -----------------------------------------------------------------------------------------

    def edit(self, edits: Sequence[Edit], author: str = "") -> list[EditResult]:
        """Make all edits in one transaction, or none; see `EditableSource`."""
        from providers.features.store.editor import edit_store

        return edit_store(self, edits, author)

    def history(
        self, feature_id: str, crs: str = CRS84, hidden: frozenset[str] = NO_FIELDS
    ) -> list[FeatureVersion]:
        """All versions of a feature, the latest first; [] where there never was one."""
        from providers.features.store.history import versions_of

        return versions_of(self, feature_id, crs, hidden)

    def at(self, asof: str) -> FeatureStore | None:
        """The store as it was at an RFC 3339 instant, None before its first state."""
        from providers.features.store.history import store_at

        return store_at(self, asof)

    def dirty_since(self, change: int) -> list[BBox]:
        """CRS84 boxes of what edits after `change` touched."""
        from providers.features.store.history import dirty_since

        return dirty_since(self, change)

    def touched_since(self, change: int, box: BBox) -> bool:
        """Whether anything in the box was edited after `change`."""
        from providers.features.store.history import touched_since

        return touched_since(self, change, box)

    def changed_keys(self, since: int, until: int | None = None) -> NDArray[np.int64]:
        """Keys of the features that edits after `since`, and not after `until`, made, altered or deleted."""
        from providers.features.store.history import changed_keys

        return changed_keys(self, since, until)

    def change_at(self, asof: str) -> int | None:
        """The change that was the last one at an RFC 3339 instant, None before the first state."""
        from providers.features.store.history import change_at

        return change_at(self, asof)

    def close_to_edits(self) -> int:
        """Let no later edit in; the counter of edits at that moment."""
        from providers.features.store.editor import close_to_edits

        return close_to_edits(self)

    def open_to_edits(self) -> int:
        """Let edits in again; the counter of edits."""
        from providers.features.store.editor import open_to_edits

        return open_to_edits(self)

    @property
    def closed(self) -> bool:
        """Whether edits are not let in."""
        from providers.features.store.editor import is_closed

        return is_closed(self)

    def copy_to(self, path: Path) -> None:
        """A consistent copy of a store that may be under edit."""
        from providers.features.store.editor import copy_store

        copy_store(self, path)

    def vector_tile(
        self,
        window: TileWindow,
        layer: str,
        hidden: frozenset[str] = NO_FIELDS,
        asof: str | None = None,
    ) -> bytes:
        """A Mapbox vector tile with one layer; b"" where nothing lies in it."""
        from providers.features.store.tile_reader import embedded_tile

        return embedded_tile(self, window, layer, hidden, asof)

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

    def _answer(self, query: ItemQuery, payload: Payload, hidden: frozenset[str]) -> Answer:
        question = question_of(query, self.schema, self.storage, hidden)
        with self.snapshot() as connection:
            if FUNCTION_PREFIX in question.selection.condition.sql:
                connection.prepare_for_filters()
            if query.hits_only:
                return Answer([], None, count(connection, self._selector, question))
            return answer(connection, self._selector, question, payload, query)

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

    def _open(self) -> StoreConnection:
        return connect(self.path)

    @contextmanager
    def borrowed(self) -> Iterator[StoreConnection]:
        """A connection, outside of any transaction. Errors of SQLite become StoreError.

        A statement is interrupted (AnswerTooLarge) where the connection has been borrowed for more than five seconds.
        """
        connection = self._pool.take(self._open)
        connection.clock.restart(LONGEST_SECONDS)
        try:
            yield connection
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                raise AnswerTooLarge(_TOO_LONG) from error
            raise StoreError(f"{self.path.name}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise StoreCorrupt(f"{self.path.name}: {error}; publish the collection again") from error
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._pool.give(connection)

    @contextmanager
    def snapshot(self) -> Iterator[StoreConnection]:
        """A connection inside a read transaction: every statement sees the same state."""
        with self.borrowed() as connection:
            connection.execute("BEGIN")
            yield connection


_CRS84_ITEM = ItemQuery(limit=1)
_CHANGE = "SELECT value FROM chengtu_state WHERE name = 'change'"
_TOO_LONG = (
    "The answer takes too long to find: narrow it by bbox or by a field that few features share a value of, "
    "or sort by one field only"
)


def _indexes(connection: sqlite3.Connection) -> frozenset[str]:
    rows = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'index'")
    return frozenset(name for (name,) in rows)


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
