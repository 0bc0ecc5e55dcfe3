"""From an `ItemQuery` to the SQL that finds its rows, in key order.

Three ways lead to the rows, and each gives them ascending by key:

* key ranges: the box becomes ranges of Z-order keys, scanned one after the other until the page is full;
* an attribute index: equality without a box (SQLite keeps entries of equal value in key order);
* candidates: a filter that few features pass (found by a bounded look into the index) gives its keys, which are sorted.

Features larger than the grid was grown for stand in the R-tree `big` as well and are merged in by key.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from providers.features.query import BBox, ItemQuery
from providers.features.schema import FieldDefinition
from providers.features.store.geopackage import quote
from providers.features.store.layout import StoreFacts
from providers.features.store.zorder import MAXIMUM_KEY, WHOLE, KeyRange, join_ranges

CANDIDATES = 5000  # as many keys are sorted and looked up rather than searched for along the key order
_LOOKUP = 512  # keys of one look-up statement

type Row = tuple[Any, ...]


class Payload(NamedTuple):
    """The columns wanted beside the key; `a` is the feature table, `f` the fragment table."""

    columns: str
    from_feature: bool


KEYS = Payload("", False)
BODIES = Payload(", f.body", False)


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions on attributes, as SQL over `a` with its arguments. `index` answers the first of them."""

    sql: str
    arguments: tuple[Any, ...]
    index: str | None
    is_equality: bool


class Selection(NamedTuple):
    """Which features: those that meet one of `boxes` (none: all), pass `condition`, and come after the key `cursor`."""

    boxes: tuple[BBox, ...] = ()
    condition: Filter | None = None
    cursor: int | None = None


def boxes_of(bbox: BBox | None) -> tuple[BBox, ...]:
    """None: (); a box across the antimeridian: its two halves."""
    if bbox is None:
        return ()
    if bbox.west <= bbox.east:
        return (bbox,)
    return (BBox(bbox.west, bbox.south, 180.0, bbox.north), BBox(-180.0, bbox.south, bbox.east, bbox.north))


def filter_of(query: ItemQuery, fields: dict[str, FieldDefinition], time_field: str | None) -> Filter | None:
    """The attribute conditions of a query whose names and values the parser has checked; None without any."""
    conditions: list[str] = []
    arguments: list[Any] = []
    index: str | None = None
    for name, value in query.equals.items():
        field = fields[name]
        conditions.append(f"a.{quote(field.column)} = ?")
        arguments.append(_typed(field, value))
        if index is None and is_indexed(field):
            index = index_name(field)
    is_equality = index is not None
    if query.datetime is not None and time_field is not None:
        field = fields[time_field]
        column = f"a.{quote(field.column)}"
        conditions.append(f"{column} IS NOT NULL")
        for operator, limit in ((">=", query.datetime.start), ("<=", query.datetime.end)):
            if limit is not None:
                conditions.append(f"{column} {operator} ?")
                arguments.append(_time_limit(field, limit, operator))
        index = index or index_name(field)
    if not conditions:
        return None
    return Filter(" AND ".join(conditions), tuple(arguments), index, is_equality)


def is_indexed(field: FieldDefinition) -> bool:
    """Whether the writer indexes a field: equality of measured numbers is hardly ever asked."""
    return field.type != "number"


def index_name(field: FieldDefinition) -> str:
    """Name of the index of a field."""
    return f"feature_by_{field.column}"


def _typed(field: FieldDefinition, text: str) -> Any:
    """A filter value as SQLite keeps it; the parser has made sure that it can be read so."""
    if field.type == "integer":
        return int(text)
    if field.type == "number":
        return float(text)
    if field.type == "boolean":
        return 1 if text in ("true", "1") else 0
    return text


def _time_limit(field: FieldDefinition, limit: str, operator: str) -> str:
    """Stored instants carry milliseconds, dates none; an RFC 3339 limit in UTC is cut or filled up to compare as text."""
    if field.format == "date":
        return limit[:10]
    base, _, fraction = limit.removesuffix("Z").partition(".")
    return f"{base}.{(fraction + '000')[:3]}Z"


class Selector:
    """Finds rows in one open store. Give it a connection inside a read transaction."""

    def __init__(self, facts: StoreFacts) -> None:
        self._facts = facts

    def ranges(self, boxes: Sequence[BBox], cursor: int | None) -> list[KeyRange]:
        """Key ranges after the cursor that hold every feature of the boxes but the `big` ones."""
        if not boxes:
            return [WHOLE if cursor is None else KeyRange(cursor + 1, MAXIMUM_KEY)]
        facts = self._facts
        ranges = facts.space.ranges(boxes[0], facts.half_width, facts.half_height)
        if len(boxes) > 1:
            for box in boxes[1:]:
                ranges += facts.space.ranges(box, facts.half_width, facts.half_height)
            ranges = join_ranges(ranges)
        if cursor is None:
            return ranges
        return [KeyRange(max(item.first, cursor + 1), item.last) for item in ranges if item.last > cursor]

    def rows(
        self, connection: sqlite3.Connection, payload: Payload, selection: Selection, limit: int
    ) -> list[Row]:
        """At most `limit` rows (key, payload...) ascending by key; -1 is no limit."""
        boxes, condition, cursor = selection
        if condition is not None:
            if not boxes and condition.is_equality:
                return _by_index(connection, payload, condition, cursor, limit)
            candidates = _candidates(connection, condition)
            if candidates is not None:
                keys = candidates if cursor is None else [key for key in candidates if key > cursor]
                return _lookup(connection, payload, Selection(boxes), keys, limit)
        rows = self._scan(connection, payload, selection, limit)
        return self._with_big(connection, payload, selection, rows, limit) if boxes else rows

    def count(self, connection: sqlite3.Connection, selection: Selection) -> int:
        """Exact number of selected features."""
        return len(self.rows(connection, KEYS, selection, -1))

    def _scan(
        self, connection: sqlite3.Connection, payload: Payload, selection: Selection, limit: int
    ) -> list[Row]:
        statement = _scan_sql(payload, len(selection.boxes), _condition_sql(selection))
        tail = _tail_arguments(selection)
        rows: list[Row] = []
        for first, last in self.ranges(selection.boxes, selection.cursor):
            found = connection.execute(statement, (first, last, *tail, limit)).fetchall()
            rows = rows + found if rows else found
            if limit >= 0:
                limit -= len(found)
                if limit <= 0:
                    break
        return rows

    def overview(
        self, connection: sqlite3.Connection, payload: Payload, box: BBox, zoom: int, limit: int
    ) -> list[Row]:
        """At most `limit` rows that tiles of a zoom below `full_zoom` show; earlier zooms (larger features) first."""
        boxes = boxes_of(box)
        shown = Selection(boxes, Filter("f.zoom <= ?", (zoom,), None, False))
        rows = self._with_big(connection, payload, shown, [], limit)
        large = {row[0] for row in rows}
        statement = _overview_sql(payload, len(boxes), self._facts.full_zoom)
        tail = _box_arguments(boxes)
        ranges = self.ranges(boxes, None)
        for level in range(zoom + 1):
            for first, last in ranges:
                found = connection.execute(statement, (level, first, last, *tail, limit)).fetchall()
                rows += [row for row in found if row[0] not in large]
                if len(rows) >= limit:
                    return rows[:limit]
        return rows

    def _with_big(
        self,
        connection: sqlite3.Connection,
        payload: Payload,
        selection: Selection,
        rows: list[Row],
        limit: int,
    ) -> list[Row]:
        """`rows`, ascending by key, with the large features that the scan of key ranges cannot see, in their places."""
        if any(self._holds_all(box) for box in selection.boxes):
            return rows
        lowest = -1 if selection.cursor is None else selection.cursor
        highest = rows[-1][0] if 0 <= limit <= len(rows) else MAXIMUM_KEY
        keys = _big_keys(connection, selection.boxes, lowest, highest)
        if keys:
            keys.difference_update([row[0] for row in rows])
        if not keys:
            return rows
        extra = _lookup(connection, payload, selection, sorted(keys), limit)
        merged = sorted([*rows, *extra], key=_key_of_row)
        return merged[:limit] if limit >= 0 else merged

    def _holds_all(self, box: BBox) -> bool:
        """Whether every centre lies in the box, so that key ranges see every feature."""
        west, south, east, north = self._facts.space
        return box.west <= west and box.south <= south and box.east >= east and box.north >= north


def _by_index(
    connection: sqlite3.Connection, payload: Payload, condition: Filter, cursor: int | None, limit: int
) -> list[Row]:
    statement = _index_sql(payload, condition.index or "", condition.sql)
    arguments = (-1 if cursor is None else cursor, *condition.arguments, limit)
    return connection.execute(statement, arguments).fetchall()


def _candidates(connection: sqlite3.Connection, condition: Filter) -> list[int] | None:
    """The sorted keys that pass, or None where they are too many, or only a long search would tell."""
    if condition.index is None:
        return None
    statement = _index_sql(KEYS, condition.index, condition.sql, in_order=False)
    arguments = (-1, *condition.arguments, CANDIDATES + 1)
    if connection.execute(f"SELECT count(*) FROM ({statement})", arguments).fetchone()[0] > CANDIDATES:  # noqa: S608 - our own or quoted names; values are bound
        return None
    return sorted([key for (key,) in connection.execute(statement, arguments)])


def _lookup(
    connection: sqlite3.Connection, payload: Payload, selection: Selection, keys: Sequence[int], limit: int
) -> list[Row]:
    """Rows of the given ascending keys that also pass the boxes and the condition."""
    rows: list[Row] = []
    for part in _parts(keys):
        statement = _lookup_sql(payload, len(part), len(selection.boxes), _condition_sql(selection))
        rows += connection.execute(statement, (*part, *_tail_arguments(selection))).fetchall()
        if 0 <= limit <= len(rows):
            return rows[:limit]
    return rows


# R-tree columns are 32-bit and rounded outwards: this finds a few too many, and the envelope test follows.
_BIG = "SELECT id FROM big WHERE maxx >= ? AND minx <= ? AND maxy >= ? AND miny <= ?"
_ONE_BOX = "f.maxx >= ? AND f.minx <= ? AND f.maxy >= ? AND f.miny <= ?"


def _big_keys(connection: sqlite3.Connection, boxes: Sequence[BBox], lowest: int, highest: int) -> set[int]:
    """Keys above `lowest` and up to `highest` of the large features that meet a box (or miss it by a rounding)."""
    keys: set[int] = set()
    for box in boxes:
        found = connection.execute(_BIG, (box.west, box.east, box.south, box.north))
        keys.update([key for (key,) in found if lowest < key <= highest])
    return keys


def _key_of_row(row: Row) -> int:
    return int(row[0])


def _parts(keys: Sequence[int]) -> Iterator[list[int]]:
    """Keys in parts of a few sizes, filled up with -1 (which no feature has), so that statements are found again."""
    for start in range(0, len(keys), _LOOKUP):
        part = list(keys[start : start + _LOOKUP])
        size = 1 << (len(part) - 1).bit_length()
        yield part + [-1] * (size - len(part))


def _box_arguments(boxes: Sequence[BBox]) -> tuple[float, ...]:
    if len(boxes) == 1:
        west, south, east, north = boxes[0]
        return (west, east, south, north)
    return tuple(number for box in boxes for number in (box.west, box.east, box.south, box.north))


def _condition_sql(selection: Selection) -> str:
    return selection.condition.sql if selection.condition is not None else ""


def _tail_arguments(selection: Selection) -> tuple[Any, ...]:
    boxes = _box_arguments(selection.boxes)
    return boxes if selection.condition is None else (*boxes, *selection.condition.arguments)


def _where(boxes: int, condition: str) -> str:
    tests = [f"({' OR '.join([_ONE_BOX] * boxes)})"] if boxes else []
    return "".join(f" AND {test}" for test in [*tests, condition] if test)


def _join(payload: Payload, condition: str) -> str:
    return " CROSS JOIN feature a ON a.key = f.key" if payload.from_feature or "a." in condition else ""


# The texts below are put together from our own words and quoted column names; every value is bound.
@lru_cache(maxsize=512)
def _scan_sql(payload: Payload, boxes: int, condition: str) -> str:
    return (
        f"SELECT f.key{payload.columns} FROM fragment f{_join(payload, condition)}"  # noqa: S608 - our own or quoted names; values are bound
        f" WHERE f.key BETWEEN ? AND ?{_where(boxes, condition)} ORDER BY f.key LIMIT ?"
    )


@lru_cache(maxsize=512)
def _index_sql(payload: Payload, index: str, condition: str, *, in_order: bool = True) -> str:
    fragment = " CROSS JOIN fragment f ON f.key = a.key" if "f." in payload.columns else ""
    order = " ORDER BY a.key" if in_order else ""
    return (
        f"SELECT a.key{payload.columns} FROM feature a INDEXED BY {quote(index)}{fragment}"  # noqa: S608 - our own or quoted names; values are bound
        f" WHERE a.key > ? AND {condition}{order} LIMIT ?"
    )


@lru_cache(maxsize=512)
def _lookup_sql(payload: Payload, keys: int, boxes: int, condition: str) -> str:
    return (
        f"SELECT f.key{payload.columns} FROM fragment f{_join(payload, condition)}"  # noqa: S608 - our own or quoted names; values are bound
        f" WHERE f.key IN ({', '.join('?' * keys)}){_where(boxes, condition)} ORDER BY f.key"
    )


@lru_cache(maxsize=64)
def _overview_sql(payload: Payload, boxes: int, full_zoom: int) -> str:
    # The index is a partial one: SQLite uses it where the text itself repeats its condition.
    return (
        f"SELECT f.key{payload.columns} FROM fragment f INDEXED BY fragment_overview{_join(payload, '')}"  # noqa: S608 - our own or quoted names; values are bound
        f" WHERE f.zoom < {full_zoom:d} AND f.zoom = ? AND f.key BETWEEN ? AND ?{_where(boxes, '')} LIMIT ?"
    )
