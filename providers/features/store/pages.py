"""From an `ItemQuery` to the rows of one page, its cursor, and the number matched where that is cheap to know."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import NamedTuple

from providers.errors import AnswerTooLarge, InvalidParameter
from providers.features.crs import ReferenceSystem, reference_system, transform_between
from providers.features.query import CRS84, Cursor, CursorValue, ItemQuery
from providers.features.schema import CollectionSchema, FieldDefinition
from providers.features.store.budget import PAGE_SECONDS, Clock
from providers.features.store.plan import Selector, look_up, stored_count
from providers.features.store.search import phrase_condition
from providers.features.store.select import (
    KEYS,
    Condition,
    Payload,
    Row,
    Selection,
    all_of,
    area_of,
    attribute_condition,
    box_arguments,
    box_sql,
    boxes_of,
)
from providers.features.store.sorting import Order, in_order, order_of, skip
from providers.features.store.zorder import MAXIMUM_KEY

_INT64 = 1 << 63
_SKIP = 20_000  # positions skipped at a time, on the way to an offset
_COUNTED = 200  # features counted beyond a page, to tell how many there are
_FULLY_TESTED = 500  # candidates that are all tested, for the same reason


class Question(NamedTuple):
    """A query as this store searches: `order` () is the store's own, `after` the position a page starts behind."""

    selection: Selection
    order: Order
    after: Cursor | None


class Answer(NamedTuple):
    """The rows of a page in order, where the next one starts, and how many there are in all if that is known."""

    rows: list[Row]
    cursor: Cursor | None
    matched: int | None


def question_of(
    query: ItemQuery, schema: CollectionSchema, storage: ReferenceSystem, hidden: frozenset[str]
) -> Question:
    """What to search for. Raises InvalidParameter for a cursor of another kind of store or order."""
    fields = schema.by_name
    condition = attribute_condition(query, fields, schema.time_field)
    if query.filter is not None:
        from providers.features.store.filter_sql import filter_condition  # pygeofilter: for filters only

        to_crs84 = transform_between(storage, reference_system(CRS84))
        condition = all_of((condition, filter_condition(query.filter, fields, to_crs84)))
    if query.q:
        condition = all_of((condition, phrase_condition(query.q, schema.fields, hidden)))
    order = order_of(query.sortby, fields) if query.sortby else ()
    after = None if query.cursor is None else _checked(query.cursor, order)
    key = after[-1] if after is not None and not order else None
    selection = Selection(boxes_of(query.bbox), condition, key if isinstance(key, int) else None)
    return Question(_with_smaller_boxes(selection) if condition.boxes else selection, order, after)


def _with_smaller_boxes(selection: Selection) -> Selection:
    """Searched in the boxes of the condition where these are smaller; the others are tested then."""
    boxes, condition, _ = selection
    own = condition.boxes or ()
    if not boxes:
        return selection._replace(boxes=own)
    if area_of(own) >= area_of(boxes):
        return selection
    tested = Condition(box_sql(len(boxes)), box_arguments(boxes))
    return selection._replace(boxes=own, condition=all_of((condition, tested)))


def _checked(cursor: Cursor, order: Order) -> Cursor:
    *values, key = cursor or (None,)
    fits = len(values) == len(order) and isinstance(key, int) and -1 <= key <= MAXIMUM_KEY
    if not fits or not all(_fits(item.field, value) for item, value in zip(order, values, strict=True)):
        raise InvalidParameter("cursor", str(cursor), "a cursor taken from a next link of the same query")
    return cursor


def _fits(field: FieldDefinition, value: CursorValue) -> bool:
    if value is None:
        return True
    if field.type == "string":
        return isinstance(value, str)
    if field.type == "number":
        return isinstance(value, float) or (isinstance(value, int) and abs(value) < _INT64)
    return isinstance(value, int) and abs(value) < _INT64


def count(connection: sqlite3.Connection, selector: Selector, question: Question) -> int:
    """The exact number of features that match, wherever the cursor stands."""
    everything = question.selection._replace(cursor=None)
    return stored_count(connection) if everything.is_all else selector.count(connection, everything)


def answer(
    connection: sqlite3.Connection, selector: Selector, question: Question, payload: Payload, query: ItemQuery
) -> Answer:
    """The page of a query. Raises AnswerTooLarge where an offset is too far to be walked to."""
    clock = Clock(PAGE_SECONDS)
    if question.order:
        return _ordered(connection, selector, question, payload, query, clock)
    selection = question.selection
    if query.offset:
        start = _skipped(connection, selector, selection, query, clock)
        if start is None:
            return Answer([], None, stored_count(connection) if selection.is_all else None)
        selection = selection._replace(cursor=start)
    found = selector.search(connection, payload, selection, query.limit + 1, clock)
    rows, end = found
    more = len(rows) > query.limit
    if more:
        rows.pop()
    key = rows[-1][0] if more else end
    matched = _matched(connection, selector, question, query, rows, ends=key is None)
    return Answer(rows, None if key is None else (key,), matched)


def _matched(
    connection: sqlite3.Connection,
    selector: Selector,
    question: Question,
    query: ItemQuery,
    rows: list[Row],
    *,
    ends: bool,
) -> int | None:
    """How many match: as stored; or where this page holds the end of the answer; or where few more follow its first page."""
    selection = question.selection
    if selection.is_all:
        return stored_count(connection)
    if selection.cursor is not None or (ends and query.offset and not rows):
        return None
    before = query.offset + len(rows)
    if ends:
        return before
    if query.offset or not rows:
        return None
    if selection.condition:
        keys = selector.candidates(connection, selection.condition)
        if keys is None or len(keys) > _FULLY_TESTED:
            return None
        return len(look_up(connection, KEYS, selection, keys, -1))
    last = rows[-1][0]
    if (
        not selector.has_few(selection.boxes, _COUNTED)
        or selector.expected(selection, last, len(rows)) > 2 * _COUNTED
    ):
        return None
    rest = selection._replace(cursor=last)
    following = len(selector.rows(connection, KEYS, rest, _COUNTED + 1))
    return before + following if following <= _COUNTED else None


_OFFSET = "SELECT key FROM feature WHERE key > ? ORDER BY key LIMIT 1 OFFSET ?"


def _skipped(
    connection: sqlite3.Connection, selector: Selector, selection: Selection, query: ItemQuery, clock: Clock
) -> int | None:
    """The key of the last feature before the offset; None where there are fewer."""
    cursor = selection.cursor
    if selection.is_all:
        row = connection.execute(_OFFSET, (-1 if cursor is None else cursor, query.offset - 1)).fetchone()
        return None if row is None else int(row[0])
    left = query.offset
    while left:
        part = min(left, _SKIP)
        rows, end = selector.search(connection, KEYS, selection._replace(cursor=cursor), part, clock)
        if len(rows) < part and end is None:
            return None
        if len(rows) < part or clock.is_up():
            raise _too_far(query)
        cursor, left = rows[-1][0], left - part
    return cursor


def _too_far(query: ItemQuery) -> AnswerTooLarge:
    return AnswerTooLarge(
        f"offset={query.offset} takes too long to be reached by this query; follow the next links, or narrow it by bbox"
    )


def _ordered(
    connection: sqlite3.Connection,
    selector: Selector,
    question: Question,
    payload: Payload,
    query: ItemQuery,
    clock: Clock,
) -> Answer:
    selection, order, after = question
    left, total = query.offset, None
    if left and not selection.boxes and not selection.condition:
        place = skip(connection, selector, order, after, left)
        if place is None:
            return Answer([], None, stored_count(connection))
        after, left = place
    while left:
        part = min(left, _SKIP)
        skipped = in_order(connection, selector, selection, order, after, part, clock)
        if len(skipped.positions) < part and skipped.end is None:
            return Answer([], None, stored_count(connection) if selection.is_all else skipped.total)
        if len(skipped.positions) < part or clock.is_up():
            raise _too_far(query)
        after, left = skipped.positions[-1], left - part
    positions, end, total = in_order(connection, selector, selection, order, after, query.limit + 1, clock)
    more = len(positions) > query.limit
    if more:
        positions.pop()
    cursor = positions[-1] if more else end
    rows = _rows_at(connection, payload, positions)
    if selection.is_all:
        total = stored_count(connection)
    elif total is None and cursor is None and question.after is None and (positions or not query.offset):
        total = query.offset + len(positions)
    return Answer(rows, cursor, total)


def _rows_at(connection: sqlite3.Connection, payload: Payload, positions: list[Cursor]) -> list[Row]:
    keys = [int(position[-1] or 0) for position in positions]
    rows = {row[0]: row for row in look_up(connection, payload, Selection(), sorted(keys), -1)}
    return [rows[key] for key in keys]


def without_asof(query: ItemQuery) -> ItemQuery:
    """The query of the present that is put to a past state."""
    return replace(query, asof=None)
