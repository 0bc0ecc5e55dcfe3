"""From a statement to rows, and from rows to pages: GeoJSON by the cheapest way, or columns."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from providers.features.crs import CRS84H, ReferenceSystem, reference_system
from providers.features.postgis.columns import Column, Kind, quoted
from providers.features.postgis.encoding import encode_texts, geometries_of, shown_values
from providers.features.postgis.facts import Facts
from providers.features.postgis.pools import Connection
from providers.features.postgis.select import Row, Statement
from providers.features.query import CRS84, Cursor, ItemQuery
from providers.features.source import FeatureColumns
from providers.features.store.encoding import encode_features, geometries_in

_INT64 = 1 << 63


def fetch(connection: Connection, text: bytes, arguments: Sequence[Any]) -> list[Row]:
    """All rows of a statement, values in their binary form."""
    return connection.cursor(binary=True).execute(text, tuple(arguments)).fetchall()


def limit_sql(limit: int, offset: int = 0) -> str:
    """LIMIT and OFFSET; -1 is no limit."""
    tail = f" LIMIT {limit:d}" if limit >= 0 else ""
    return f"{tail} OFFSET {offset:d}" if offset else tail


def read_page(
    facts: Facts, connection: Connection, statement: Statement, query: ItemQuery, columns: str
) -> tuple[list[Row], Cursor | None]:
    """The rows of a page without their cursors, and the cursor after them (None on the last page)."""
    rows: list[Row] = []
    wanted, offset = query.limit + 1, query.offset
    width = len(query.sortby) + 1
    for part in facts.selector.parts(statement, query):
        text = part.text(facts.table, columns, limit_sql(wanted - len(rows), offset))
        found = fetch(connection, text, part.arguments)
        if found:
            offset = 0
        elif offset:
            (skipped,) = fetch(
                connection,
                replace(part, order="", cursor_columns="").text(facts.table, "count(*)"),
                part.arguments,
            )[0]
            offset -= min(offset, skipped)
        rows += found
        if len(rows) >= wanted:
            break
    cursor = None
    if len(rows) > query.limit:
        rows.pop()
        cursor = rows[-1][-width:] if rows else None
    return [row[:-width] for row in rows], cursor


def cheap_count(query: ItemQuery, rows: Sequence[Row], cursor: Cursor | None) -> int | None:
    """The number matched where this page holds the end of the answer."""
    if cursor is not None or query.cursor is not None or not query.limit or (query.offset and not rows):
        return None
    return query.offset + len(rows)


def shown_columns(facts: Facts, query: ItemQuery, hidden: frozenset[str]) -> list[Column]:
    """The columns a query wants, in the order of the schema."""
    wanted = query.properties
    return [
        column
        for name, column in facts.fields.items()
        if name not in hidden and (wanted is None or name in wanted)
    ]


def columns_sql(facts: Facts, shown: Sequence[Column], *, wkb: bool) -> str:
    """Key, geometry as WKB (or not at all), fields."""
    geometry = facts.table.geometry
    parts = [facts.selector.key_column]
    if wkb:
        parts.append("NULL::bytea" if geometry is None else f"ST_AsBinary({geometry.readable})")
    return ", ".join([*parts, *(column.shown for column in shown)])


def as_columns(rows: Sequence[Row], facts: Facts, shown: Sequence[Column]) -> FeatureColumns:
    """Rows of `columns_sql` with WKB."""
    turned: list[Sequence[Any]] = (
        list(zip(*rows, strict=True)) if rows else [() for _ in range(2 + len(shown))]
    )
    keys = list(turned[0]) if rows and isinstance(turned[0][0], int) else list(range(len(rows)))
    values = {
        column.name: list(shown_values(column, found))
        for column, found in zip(shown, turned[2:], strict=True)
    }
    return FeatureColumns(keys, [str(key) for key in turned[0]], geometries_of(turned[1]), values)


@dataclass(frozen=True)
class Lane:
    """One way from rows to Feature bytes: the columns to select, and what makes bodies of them."""

    columns: str
    encode: Callable[[Sequence[Row]], list[bytes]]


def lane_of(facts: Facts, query: ItemQuery, hidden: frozenset[str]) -> Lane:
    """The cheapest way that gives what is asked."""
    shown = shown_columns(facts, query, hidden)
    key = facts.selector.key_column
    is_crs84 = query.crs in (CRS84, CRS84H)
    geometry = facts.table.geometry
    whole = query.properties is None and not hidden and not query.skip_geometry
    if facts.fragment is not None and whole and is_crs84:
        return Lane(f"{key}, a.{quoted(facts.fragment)}", _stored_bodies)
    target = reference_system(query.crs)
    fields = "".join(f", {column.shown}" for column in shown)
    if query.skip_geometry or geometry is None:
        return Lane(f"{key}, NULL::text{fields}", lambda rows: _encode_texts(rows, shown))
    if is_crs84 and geometry.storage.is_wgs84 and not geometry.has_z:
        text = f"ST_AsGeoJSON({geometry.readable}, {target.decimals:d}, 0)"
        return Lane(f"{key}, {text}{fields}", lambda rows: _encode_texts(rows, shown))
    return Lane(
        columns_sql(facts, shown, wkb=True), lambda rows: _encode_moved(rows, shown, facts.storage, target)
    )


def _stored_bodies(rows: Sequence[Row]) -> list[bytes]:
    return [bytes(row[1]) if not isinstance(row[1], str) else row[1].encode() for row in rows]


def _encode_texts(rows: Sequence[Row], shown: Sequence[Column]) -> list[bytes]:
    if not rows:
        return []
    turned = list(zip(*rows, strict=True))
    values = [shown_values(column, found) for column, found in zip(shown, turned[2:], strict=True)]
    return encode_texts([str(key) for key in turned[0]], turned[1], [column.name for column in shown], values)


def _encode_moved(
    rows: Sequence[Row], shown: Sequence[Column], storage: ReferenceSystem, target: ReferenceSystem
) -> list[bytes]:
    if not rows:
        return []
    turned = list(zip(*rows, strict=True))
    values = [shown_values(column, found) for column, found in zip(shown, turned[2:], strict=True)]
    geometries = geometries_in(geometries_of(turned[1]), storage, target)
    return encode_features(
        [str(key) for key in turned[0]], geometries, [column.name for column in shown], values
    )


def key_of(column: Column, feature_id: str) -> int | str | None:
    """The key behind an id; None where no row can have it. Only the canonical form of a number or UUID is an id."""
    if column.kind is Kind.INTEGER:
        digits = feature_id.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
            return None
        number = int(feature_id)
        return number if str(number) == feature_id and -_INT64 <= number < _INT64 else None
    if column.kind is Kind.UUID:
        try:
            return feature_id if str(uuid.UUID(feature_id)) == feature_id else None
        except ValueError:
            return None
    return None if "\0" in feature_id or not _is_unicode(feature_id) else feature_id


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def units_of_degrees(storage: ReferenceSystem, degrees: float) -> float:
    """A length in degrees in units of a CRS, roughly."""
    if storage.horizontal.is_geographic:
        return degrees
    return degrees * 111_320 / storage.horizontal.axis_info[0].unit_conversion_factor
