"""The features of one PostGIS table or view, queried in the database."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import psycopg

from providers.errors import InvalidParameter, StoreError
from providers.features.crs import ReferenceSystem
from providers.features.postgis.facts import Description, Facts, read_facts
from providers.features.postgis.pools import Connection, Database, database
from providers.features.postgis.reading import (
    as_columns,
    cheap_count,
    columns_sql,
    fetch,
    key_of,
    lane_of,
    limit_sql,
    read_page,
    shown_columns,
    units_of_degrees,
)
from providers.features.postgis.select import Statement
from providers.features.postgis.tables import count_of
from providers.features.query import CRS84, BBox, ItemQuery
from providers.features.schema import CollectionSchema
from providers.features.source import (
    NO_FIELDS,
    Ability,
    ColumnPage,
    Edit,
    EditResult,
    FeatureColumns,
    FeaturePage,
    ItemResult,
    TileWindow,
    refuse_what_it_cannot,
)

_ABILITIES = frozenset(Ability) - {Ability.ASOF}
_FACTS_SECONDS = 600.0  # a table is looked at again after as long, or when a statement finds it changed


class PostgisSource:
    """A FeatureSource, EditableSource and TileSource over one table. Safe to use from many threads; made after the fork."""

    kind = "postgis"
    abilities = _ABILITIES

    def __init__(self, connection_string: str, description: Description) -> None:
        """Looks the table up. Raises StoreError, SourceUnavailable."""
        self._connection_string = connection_string
        self.description = description
        self._lock = threading.Lock()
        self._facts: Facts | None = None
        self.facts()

    @property
    def database(self) -> Database:
        """The pool of this process: another one after a fork."""
        return database(self._connection_string, self.description.connection)

    # --- what it is ----------------------------------------------------------------------------------------------------

    @property
    def schema(self) -> CollectionSchema:
        """Fields and reference systems, as the table has them now (at most ten minutes ago)."""
        return self.facts().schema

    @property
    def storage(self) -> ReferenceSystem:
        """The CRS of the geometry column."""
        return self.facts().storage

    @property
    def bbox(self) -> tuple[float, ...]:
        """CRS84 (4 numbers) or CRS84h (6): exact for small tables, from the planner's statistics for large ones."""
        return self.facts().extent

    def count(self) -> int | None:
        """Rows, where the planner says they are few enough to be counted; else None."""
        table = self.facts().table
        return self.database.run(lambda connection: count_of(connection, table)) if table.is_small else None

    def change(self) -> str:
        """The counter of `change_sql` where it is installed, else the database's snapshot.

        Equal snapshots see the same committed transactions, so an equal value means unchanged features; commits to other tables of
        the cluster change it too.
        """
        statement = self.facts().change
        row = self.database.run(lambda connection: connection.execute(statement, ()).fetchone())
        return str(row[0]) if row is not None and row[0] is not None else "0"

    def facts(self) -> Facts:
        """What is known of the table; looked up again when it is old."""
        facts = self._facts
        if facts is not None and time.monotonic() - facts.read_at < _FACTS_SECONDS:
            return facts
        with self._lock:
            if self._facts is facts:
                self._facts = self.database.run(lambda connection: read_facts(connection, self.description))
            assert self._facts is not None
            return self._facts

    def forget_facts(self) -> None:
        """Look the table up again at the next question."""
        self._facts = None

    # --- questions -----------------------------------------------------------------------------------------------------

    def page(self, query: ItemQuery, hidden: frozenset[str] = NO_FIELDS) -> FeaturePage:
        """Answer a parsed query as GeoJSON."""
        refuse_what_it_cannot(query, self)
        return self._answer(lambda facts, connection: self._page(facts, connection, query, hidden), query)

    def columns(self, query: ItemQuery, hidden: frozenset[str] = NO_FIELDS) -> ColumnPage:
        """The same page as columns, geometries in the storage CRS."""
        refuse_what_it_cannot(query, self)
        return self._answer(lambda facts, connection: self._columns(facts, connection, query, hidden), query)

    def item(
        self, feature_id: str, crs: str = CRS84, hidden: frozenset[str] = NO_FIELDS, asof: str | None = None
    ) -> ItemResult | None:
        """One feature by its id, None where there is none."""
        query = ItemQuery(limit=1, crs=crs, asof=asof)
        refuse_what_it_cannot(query, self)
        return self._answer(
            lambda facts, connection: self._item(facts, connection, feature_id, query, hidden), query
        )

    def read(
        self,
        bbox: BBox | None = None,
        fields: Sequence[str] | None = None,
        limit: int = -1,
        *,
        zoom: int | None = None,
    ) -> FeatureColumns:
        """Features whose CRS84 envelope meets `bbox`; with `zoom`, without those smaller than half a pixel of it."""
        query = ItemQuery(bbox=bbox, properties=None if fields is None else tuple(fields))
        self._check_fields(fields)

        def answer(facts: Facts, connection: Connection) -> FeatureColumns:
            statement = facts.selector.conditions(query, NO_FIELDS)
            geometry = facts.table.geometry
            if zoom is not None and geometry is not None and not geometry.type_name.endswith("Point"):
                size = units_of_degrees(facts.storage, 360.0 / 256 / 2**zoom / 2)
                box = geometry.sql
                statement = statement.also(
                    f"(greatest(ST_XMax({box}) - ST_XMin({box}), ST_YMax({box}) - ST_YMin({box})) >= %s::float8"
                    f" OR ST_Dimension({box}) = 0)",
                    (size,),
                )
            statement = replace(statement, order=facts.table.key.sql)
            shown = (
                [facts.fields[name] for name in fields] if fields is not None else list(facts.fields.values())
            )
            text = statement.text(facts.table, columns_sql(facts, shown, wkb=True), limit_sql(limit))
            rows = fetch(connection, text, statement.arguments)
            return as_columns(rows, facts, shown)

        return self._answer(answer, query)

    def edit(self, edits: Sequence[Edit], author: str = "") -> list[EditResult]:
        """Make all edits in one transaction, or none. See `EditableSource`. `author` is PostgreSQL's `application_name` meanwhile."""
        from providers.features.postgis.edits import make_edits

        results = make_edits(self.database, self.facts(), self.description, edits, author)
        self._note_edits(edits)
        return results

    def vector_tile(
        self,
        window: TileWindow,
        layer: str,
        hidden: frozenset[str] = NO_FIELDS,
        asof: str | None = None,
    ) -> bytes:
        """A Mapbox vector tile made by ST_AsMVT; b"" where nothing lies in it."""
        from providers.features.postgis.tiles import make_tile

        query = ItemQuery(asof=asof)
        refuse_what_it_cannot(query, self)
        return self._answer(
            lambda facts, connection: make_tile(facts, connection, window, layer, hidden), query
        )

    # --- inside --------------------------------------------------------------------------------------------------------

    def _note_edits(self, edits: Sequence[Edit]) -> None:
        """An edit can widen the extent of a small table, which is computed again when it is asked for."""
        if (
            self._facts is not None
            and self._facts.table.is_small
            and any(edit.geometry is not None for edit in edits)
        ):
            self._facts = replace(self._facts, read_at=-_FACTS_SECONDS)

    def _check_fields(self, fields: Sequence[str] | None) -> None:
        unknown = set(fields or ()) - self.facts().fields.keys()
        if unknown:
            raise StoreError(
                f"{self.description.table} has no fields {sorted(unknown)}; it has {list(self.facts().fields)}"
            )

    def _answer[T](self, ask: Callable[[Facts, Connection], T], query: ItemQuery) -> T:
        """Ask the database; once more where the table has changed since it was looked at."""
        for is_last in (False, True):
            facts = self.facts()
            try:
                return self.database.run(lambda connection, facts=facts: ask(facts, connection))  # type: ignore[misc]
            except (
                psycopg.errors.UndefinedColumn,
                psycopg.errors.UndefinedTable,
                psycopg.errors.DatatypeMismatch,
            ):
                self.forget_facts()
                if is_last:
                    raise StoreError(
                        f"The table {self.description.table} is being changed; ask again"
                    ) from None
            except psycopg.errors.InsufficientPrivilege:
                raise StoreError(
                    f"The role may no longer read {self.description.schema}.{self.description.table}; GRANT SELECT on it"
                ) from None
            except psycopg.DataError as error:
                raise _misfit(query, error) from None
            except psycopg.errors.InternalError_ as error:
                # PostGIS and GEOS report geometries they cannot work with in this way.
                raise StoreError(
                    f"PostGIS cannot answer over {self.description.table}: {_primary(error)}; look for NOT ST_IsValid geometries"
                ) from None
        raise AssertionError("the loop returns or raises")

    def _page(
        self, facts: Facts, connection: Connection, query: ItemQuery, hidden: frozenset[str]
    ) -> FeaturePage:
        statement = facts.selector.conditions(query, hidden)
        if query.hits_only:
            (matched,) = fetch(connection, statement.text(facts.table, "count(*)"), statement.arguments)[0]
            return FeaturePage([], None, matched, query.crs)
        lane = lane_of(facts, query, hidden)
        rows, cursor = read_page(facts, connection, statement, query, lane.columns)
        matched = cheap_count(query, rows, cursor)
        return FeaturePage(lane.encode(rows), cursor, matched, query.crs)

    def _columns(
        self, facts: Facts, connection: Connection, query: ItemQuery, hidden: frozenset[str]
    ) -> ColumnPage:
        statement = facts.selector.conditions(query, hidden)
        shown = shown_columns(facts, query, hidden)
        rows, cursor = read_page(facts, connection, statement, query, columns_sql(facts, shown, wkb=True))
        matched = cheap_count(query, rows, cursor)
        return ColumnPage(as_columns(rows, facts, shown), cursor, matched)

    def _item(
        self, facts: Facts, connection: Connection, feature_id: str, query: ItemQuery, hidden: frozenset[str]
    ) -> ItemResult | None:
        key = key_of(facts.table.key, feature_id)
        if key is None:
            return None
        lane = lane_of(facts, query, hidden)
        statement = Statement().also(f"{facts.table.key.sql} = %s::{facts.table.key.type_sql}", (key,))
        text = statement.text(facts.table, f"{lane.columns}, {facts.version_sql}", " LIMIT 1")
        rows = fetch(connection, text, statement.arguments)
        if not rows:
            return None
        return ItemResult(lane.encode([rows[0][:-1]])[0], str(rows[0][-1]))


def _misfit(query: ItemQuery, error: psycopg.Error) -> InvalidParameter | StoreError:
    """A value of the request that its column cannot be compared with."""
    if query.cursor is not None:
        return InvalidParameter(
            "cursor", str(query.cursor), "a cursor taken from a next link of the same query"
        )
    if query.filter is not None:
        return InvalidParameter(
            "filter", query.filter.text, f"values that can be compared ({_primary(error)})"
        )
    return StoreError(f"PostgreSQL cannot answer: {_primary(error)}")


def _primary(error: psycopg.Error) -> str:
    return (error.diag.message_primary or type(error).__name__)[:200]
