"""Finds keys in the order that `sortby` asks for, from a cursor on.

Missing values come last, ascending and descending; features with equal values stand in key order. Three ways:

* few features are chosen (candidates of the condition, or a small box): they are read, sorted, and cut;
* one field: its index is walked from the cursor, so that every page costs the same; what a condition or box leaves out is
  walked over, and a walk that takes too long ends its page with the place it has come to;
* several fields: SQLite walks the index of the first and sorts each run of equal values by the others; a page costs the runs
  it touches. Without an index (a past state) it sorts everything. Either is interrupted where it takes too long.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from providers.features.query import Cursor, CursorValue, SortKey
from providers.features.schema import FieldDefinition
from providers.features.store.budget import Clock
from providers.features.store.geopackage import quote
from providers.features.store.plan import Selector, look_up
from providers.features.store.select import (
    ANYTHING,
    KEYS,
    RELATION,
    Payload,
    Row,
    Selection,
    entries_sql,
    index_name,
    ordered_sql,
    tail_arguments,
)

_FIRST_STEP = 500  # index entries walked before those are looked up that pass; doubled up to
_LONGEST_STEP = 16_000
_FIRST_COSTLY_STEP = 50  # where geometries are looked at: a relation of large ones takes milliseconds


class SortColumn(NamedTuple):
    """A field to sort by."""

    field: FieldDefinition
    descending: bool

    @property
    def sql(self) -> str:
        """The column."""
        return f"a.{quote(self.field.column)}"


type Order = tuple[SortColumn, ...]


class Sorted(NamedTuple):
    """Positions (sort values..., key) in order.

    `end` is where the walk stopped for want of time, None where it did not; `total` the number of all positions from
    the first one on, where it is known.
    """

    positions: list[Cursor]
    end: Cursor | None = None
    total: int | None = None


class _Segment(NamedTuple):
    """A part of the order: SQL over `a`, its arguments, ORDER BY."""

    sql: str
    arguments: tuple[CursorValue, ...]
    order: str


def order_of(sortby: Sequence[SortKey], fields: dict[str, FieldDefinition]) -> Order:
    """The columns of the fields to sort by; a field named twice counts where it is named first."""
    chosen = {key.field: SortColumn(fields[key.field], key.descending) for key in reversed(sortby)}
    return tuple(chosen[name] for name in dict.fromkeys(key.field for key in sortby))


def in_order(
    connection: sqlite3.Connection,
    selector: Selector,
    selection: Selection,
    order: Order,
    after: Cursor | None,
    limit: int,
    clock: Clock,
) -> Sorted:
    """At most `limit` positions after a cursor. The selection's own cursor is not looked at."""
    keys = _few(connection, selector, selection, selector.bound(limit))
    if keys is not None:
        rows = look_up(connection, _payload(order), selection, keys, -1)
        positions = _sorted([(*row[1:], row[0]) for row in rows], order)
        rest = positions if after is None else _after(positions, order, after)
        return Sorted(rest[:limit], None, len(positions))
    if len(order) == 1 and selector.has_index(index_name(order[0].field)):
        return _walk(connection, selection, order[0], after, limit, clock)
    return _by_sqlite(connection, selector, selection, order, after, limit)


def skip(
    connection: sqlite3.Connection, selector: Selector, order: Order, after: Cursor | None, offset: int
) -> tuple[Cursor | None, int] | None:
    """The position of the feature before an offset among all, found in the index alone, and what is left of the offset.

    None past the end. With several fields, or without an index, nothing is skipped.
    """
    if len(order) != 1 or not selector.has_index(index_name(order[0].field)):
        return after, offset
    column = order[0]
    for segment in _segments(order, after):
        backwards = column.descending and segment.order != "a.key"
        rows = _segment_rows(connection, column, segment, 1, backwards=backwards, offset=offset - 1)
        if not rows:
            offset -= _length(connection, column, segment.sql, segment.arguments)
        elif backwards:
            value = rows[0][0]
            before = f"{segment.sql} AND {column.sql} > ?"
            offset -= _length(connection, column, before, (*segment.arguments, value))
            return skip(connection, selector, order, (value, -1), offset)
        else:
            return rows[0], 0
    return None


def _few(
    connection: sqlite3.Connection, selector: Selector, selection: Selection, most: int
) -> list[int] | None:
    """Keys of which every selected feature is one, where these are few enough to be sorted here."""
    keys = selector.candidates(connection, selection.condition, most)
    if keys is not None or not selection.boxes or not selector.has_few(selection.boxes, most):
        return keys
    inside = Selection(selection.boxes, ANYTHING)
    rows = selector.rows(connection, KEYS, inside, most + 1)
    return [key for (key,) in rows] if len(rows) <= most else None


def _payload(order: Order) -> Payload:
    return Payload("".join(f", {column.sql}" for column in order), True)


def _sorted(positions: list[Cursor], order: Order) -> list[Cursor]:
    positions.sort(key=_key)
    for index in range(len(order) - 1, -1, -1):  # stable: the first field last
        present = [item for item in positions if item[index] is not None]
        absent = [item for item in positions if item[index] is None]
        present.sort(key=_by(index), reverse=order[index].descending)
        positions = present + absent
    return positions


def _key(position: Cursor) -> Any:
    return position[-1]


def _by(index: int) -> Any:
    def value(position: Cursor) -> Any:
        return position[index]

    return value


def _after(positions: list[Cursor], order: Order, cursor: Cursor) -> list[Cursor]:
    """The positions that follow a cursor, which need not be one of them."""
    marked = _sorted([cursor, *(item for item in positions if item != cursor)], order)
    return marked[marked.index(cursor) + 1 :]


# --- segments --------------------------------------------------------------------------------------------------------------


def _segments(order: Order, after: Cursor | None) -> Iterator[_Segment]:
    """The parts of the order after a cursor, the nearest first: equal in all fields, in all but the last, and so on."""
    if after is None:
        yield from _level(order, 0, (), None)
        return
    values, key = after[:-1], after[-1]
    equal, arguments = _prefix(order, values)
    yield _Segment(" AND ".join([*equal, "a.key > ?"]), (*arguments, key), "a.key")
    for index in range(len(order) - 1, -1, -1):
        if values[index] is not None:
            yield from _level(order, index, values[:index], values[index])


def _level(order: Order, index: int, values: Cursor, beyond: CursorValue) -> Iterator[_Segment]:
    """Equal to `values` in the first fields and after `beyond` (None: all) in the next: the present values, the missing ones."""
    equal, arguments = _prefix(order, values)
    column = order[index]
    rest = [
        f"{'' if i == index else f'{item.sql} IS NULL, '}{item.sql}{_direction(item)}"
        for i, item in enumerate(order)
    ][index:]
    test = (
        f"{column.sql} IS NOT NULL"
        if beyond is None
        else f"{column.sql} {'<' if column.descending else '>'} ?"
    )
    given = () if beyond is None else (beyond,)
    yield _Segment(" AND ".join([*equal, test]), (*arguments, *given), ", ".join([*rest, "a.key"]))
    yield _Segment(
        " AND ".join([*equal, f"{column.sql} IS NULL"]), arguments, ", ".join([*rest[1:], "a.key"])
    )


def _prefix(order: Order, values: Cursor) -> tuple[list[str], tuple[CursorValue, ...]]:
    tests = [
        f"{column.sql} {'IS NULL' if value is None else '= ?'}"
        for column, value in zip(order, values, strict=False)
    ]
    return tests, tuple(value for value in values if value is not None)


def _direction(column: SortColumn) -> str:
    return " DESC" if column.descending else ""


def _by_sqlite(
    connection: sqlite3.Connection,
    selector: Selector,
    selection: Selection,
    order: Order,
    after: Cursor | None,
    limit: int,
) -> Sorted:
    name = index_name(order[0].field)
    index = name if selector.has_index(name) else ""
    found: list[Cursor] = []
    for segment in _segments(order, after):
        statement = ordered_sql(
            _payload(order), len(selection.boxes), selection.condition.sql, segment.sql, segment.order, index
        )
        arguments = (*segment.arguments, *tail_arguments(selection), limit - len(found), 0)
        found += [(*row[1:], row[0]) for row in connection.execute(statement, arguments)]
        if len(found) >= limit:
            break
    return Sorted(found)


# --- one field -------------------------------------------------------------------------------------------------------------


def _walk(
    connection: sqlite3.Connection,
    selection: Selection,
    column: SortColumn,
    after: Cursor | None,
    limit: int,
    clock: Clock,
) -> Sorted:
    """Along the index of one field, step by step, keeping what passes."""
    tests = bool(selection.boxes or selection.condition)
    step = max(limit, _FIRST_STEP) if tests else limit
    if RELATION in selection.condition.sql:
        step = _FIRST_COSTLY_STEP
    found: list[Cursor] = []
    place: Cursor | None = after
    while True:
        entries, end = _entries(connection, column, place, step)
        found += _passing(connection, selection, entries) if tests else entries
        if len(found) >= limit:
            return Sorted(found[:limit])
        if end is None:
            return Sorted(found)
        if tests and clock.is_up():
            return Sorted(found, end)
        place = end
        step = min(2 * step, _LONGEST_STEP)


def _passing(connection: sqlite3.Connection, selection: Selection, entries: list[Cursor]) -> list[Cursor]:
    keys = sorted([int(entry[-1] or 0) for entry in entries])
    kept = {key for (key,) in look_up(connection, KEYS, selection, keys, -1)}
    return [entry for entry in entries if entry[-1] in kept]


def _entries(
    connection: sqlite3.Connection, column: SortColumn, after: Cursor | None, most: int
) -> tuple[list[Cursor], Cursor | None]:
    """At most `most` index entries (value, key) after a place, and the place to go on from; None at the end of the index."""
    entries: list[Cursor] = []
    for segment in _segments((column,), after):
        backwards = column.descending and segment.order != "a.key"
        wanted = most - len(entries)
        rows = _segment_rows(connection, column, segment, wanted, backwards=backwards)
        if backwards and len(rows) == wanted:
            # Backwards, the keys of equal values come largest first: the last value may be one of many, so it is left to
            # the segment of that one value, which has its keys ascending.
            last = rows[-1][0]
            entries += _ascending([row for row in rows if row[0] != last])
            return entries, (last, -1)
        entries += _ascending(rows) if backwards else rows
        if len(entries) >= most:
            return entries, entries[-1]
    return entries, None


def _segment_rows(
    connection: sqlite3.Connection,
    column: SortColumn,
    segment: _Segment,
    limit: int,
    *,
    backwards: bool,
    offset: int = 0,
) -> list[Cursor]:
    order = f"{column.sql} DESC, a.key DESC" if backwards else segment.order
    payload = Payload(f", {column.sql}", True)
    statement = ordered_sql(payload, 0, "", segment.sql, order, index_name(column.field))
    return [(value, key) for key, value in connection.execute(statement, (*segment.arguments, limit, offset))]


def _length(
    connection: sqlite3.Connection, column: SortColumn, test: str, arguments: tuple[CursorValue, ...]
) -> int:
    statement = entries_sql(test, index_name(column.field), counted=True)
    return int(connection.execute(statement, (*arguments, -1)).fetchone()[0])


def _ascending(rows: Sequence[Row]) -> list[Cursor]:
    """Rows (value, key) whose values descend, with the keys of equal values ascending."""
    result: list[Cursor] = []
    start = 0
    for end in range(1, len(rows) + 1):
        if end == len(rows) or rows[end][0] != rows[start][0]:
            result += reversed(rows[start:end])
            start = end
    return result
