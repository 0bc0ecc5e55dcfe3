"""Finds rows in key order, by whichever way leads to few of them.

* key ranges: the box becomes ranges of Z-order keys, searched one after the other until the page is full;
* candidates: where one of the condition's paths holds few index entries (found by a bounded look), their sorted keys;
* one value of an index: its entries stand in key order, and are searched like a key range.

A condition that few features meet may make a search long: it goes by steps of some thousand features and ends when its
clock is up, with the key it has come to. Features larger than the grid was grown for stand in the R-tree `big` as well and
are merged in by key.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import NamedTuple

from providers.features.query import BBox
from providers.features.store.budget import Clock
from providers.features.store.layout import StoreFacts
from providers.features.store.select import (
    KEYS,
    RELATION,
    Condition,
    IndexRange,
    Path,
    Payload,
    Row,
    Selection,
    box_arguments,
    boxes_of,
    count_sql,
    entries_sql,
    lookup_sql,
    overview_sql,
    range_sql,
    step_sql,
    tail_arguments,
)
from providers.features.store.zorder import AXIS_BITS, MAXIMUM_KEY, WHOLE, KeyRange, join_ranges

CANDIDATES = 5000  # as many keys are sorted and looked up rather than searched for along the key order
_PATHS = 16  # that are looked into, of one condition
_MOST_CANDIDATES = 20_000  # in a large store
_CELL_FEATURES = 64  # of evenly spread features, in the smallest cells a box is cut into along its edge
_LOOKUP = 512  # keys of one look-up statement
_FIRST_STEP = 2_000  # features examined between two looks at the clock; doubled up to
_LONGEST_STEP = 16_000
_FIRST_COSTLY_STEP = 50  # where geometries are looked at: a relation of large ones takes milliseconds


class Found(NamedTuple):
    """Rows (key, payload...) ascending by key, and where the search ended for want of time; None where it did not."""

    rows: list[Row]
    end: int | None = None


@dataclass(frozen=True, slots=True)
class _Way:
    """A way along keys: the entries of one value of an index, or (None) all features."""

    entry: IndexRange | None = None

    @property
    def index(self) -> str:
        return self.entry.index if self.entry is not None else ""

    @property
    def sql(self) -> str:
        return self.entry.sql if self.entry is not None else ""

    @property
    def arguments(self) -> tuple[object, ...]:
        return self.entry.arguments if self.entry is not None else ()


class Selector:
    """Finds rows in one open store. Give it a connection inside a read transaction.

    `indexes`: names of the indexes that statements may rely on; a past state has none.
    """

    def __init__(self, facts: StoreFacts, indexes: frozenset[str], size: int) -> None:
        """`size`: features in the store, roughly; ways are chosen by it."""
        self._facts = facts
        self._indexes = indexes
        self._size = size
        self._finest = max(0, (2 * AXIS_BITS - (size // _CELL_FEATURES).bit_length() + 1) // 2)

    def has_index(self, name: str) -> bool:
        """Whether an index can be relied on."""
        return name in self._indexes

    def ranges(self, boxes: Sequence[BBox], cursor: int | None) -> Iterable[KeyRange]:
        """Key ranges after the cursor that hold every feature of the boxes but the `big` ones, made as they are asked for."""
        if not boxes:
            return (WHOLE,) if cursor is None else (KeyRange(cursor + 1, MAXIMUM_KEY),)
        facts, after = self._facts, -1 if cursor is None else cursor
        parts = [
            facts.space.fine_ranges(box, facts.half_width, facts.half_height, self._finest, after)
            for box in boxes
        ]
        return parts[0] if len(parts) == 1 else join_ranges([item for part in parts for item in part])

    def _coarse_ranges(self, boxes: Sequence[BBox]) -> list[KeyRange]:
        """Fewer ranges, with more beside the boxes."""
        facts = self._facts
        return join_ranges(
            [item for box in boxes for item in facts.space.ranges(box, facts.half_width, facts.half_height)]
        )

    def bound(self, limit: int) -> int:
        """How many candidates are better read, sorted and cut than met one after the other along an order.

        To read n of them costs n; to meet `limit` of them takes limit * size / n steps.
        """
        return min(_MOST_CANDIDATES, max(CANDIDATES, isqrt(max(limit, 0) * self._size)))

    def has_few(self, boxes: Sequence[BBox], most: int) -> bool:
        """Whether boxes may hold no more than `most` features, judged by their area."""
        west, south, east, north = self._facts.space
        whole = (east - west) * (north - south)
        inside = sum(
            max(0.0, min(box.east, east) - max(box.west, west))
            * max(0.0, min(box.north, north) - max(box.south, south))
            for box in boxes
        )
        return inside * self._size <= 4 * most * whole  # features stand in clusters

    def rows(
        self, connection: sqlite3.Connection, payload: Payload, selection: Selection, limit: int
    ) -> list[Row]:
        """At most `limit` rows (key, payload...) ascending by key, of a selection without a condition; -1 is no limit."""
        rows = self._scan(connection, payload, selection, limit)
        return self._with_big(connection, payload, selection, Found(rows), limit) if selection.boxes else rows

    def search(
        self, connection: sqlite3.Connection, payload: Payload, selection: Selection, limit: int, clock: Clock
    ) -> Found:
        """At most `limit` rows ascending by key, or those that were found by the time the clock was up."""
        if not selection.condition:
            return Found(self.rows(connection, payload, selection, limit))
        keys = self.candidates(connection, selection.condition, self.bound(limit))
        if keys is not None:
            if selection.cursor is not None:
                keys = keys[bisect_right(keys, selection.cursor) :]
            return Found(look_up(connection, payload, selection, keys, limit))
        way = self._way(selection)
        if way.entry is not None:
            return self._steps(connection, payload, selection, way, limit, clock)
        found = self._steps(connection, payload, selection, way, limit, clock)
        if not selection.boxes:
            return found
        return Found(self._with_big(connection, payload, selection, found, limit), found.end)

    def count(self, connection: sqlite3.Connection, selection: Selection) -> int:
        """Exact number of selected features."""
        keys = self.candidates(connection, selection.condition)
        if keys is not None:
            return len(look_up(connection, KEYS, selection, keys, -1))
        way = self._way(selection)
        boxes = selection.boxes if way.entry is None else ()
        ranges = list(self.ranges(boxes, selection.cursor))
        statement = count_sql(len(selection.boxes), selection.condition.sql, way.index, way.sql)
        tail = (*way.arguments, *tail_arguments(selection))
        total = sum(
            connection.execute(statement, (first, last, *tail)).fetchone()[0] for first, last in ranges
        )
        if boxes and not any(self._holds_all(box) for box in boxes):
            lowest = -1 if selection.cursor is None else selection.cursor
            keys = sorted(_big_keys(connection, boxes, lowest, MAXIMUM_KEY))
            starts = [item.first for item in ranges]
            outside = [key for key in keys if not _holds(ranges, starts, key)]
            total += len(look_up(connection, KEYS, selection, outside, -1))
        return int(total)

    def candidates(
        self, connection: sqlite3.Connection, condition: Condition, most: int | None = None
    ) -> list[int] | None:
        """The sorted keys of the shortest path, or None where every path is long; the condition is still to be tested."""
        limit = CANDIDATES if most is None else most
        best: list[int] | None = None
        for path in condition.paths[:_PATHS]:
            if not all(part.index in self._indexes for part in path):
                continue
            found = _entries(connection, path, limit if best is None else len(best) - 1)
            if found is not None:
                best = found
            if best is not None and len(best) <= _LOOKUP:
                break  # a shorter one would cost more to find than it would save
        return None if best is None else sorted(best)

    def expected(self, selection: Selection, last: int, returned: int) -> float:
        """How many more features a box holds after the key `last`, judged by the `returned` ones up to it."""
        ranges = self._coarse_ranges(selection.boxes)
        looked_at = sum(min(item.last, last) - item.first + 1 for item in ranges if item.first <= last)
        rest = sum(item.last - max(item.first, last + 1) + 1 for item in ranges if item.last > last)
        return returned * rest / max(looked_at, 1)

    def overview(
        self, connection: sqlite3.Connection, payload: Payload, box: BBox, zoom: int, limit: int
    ) -> list[Row]:
        """At most `limit` rows that tiles of a zoom below `full_zoom` show; earlier zooms (larger features) first."""
        boxes = boxes_of(box)
        shown = Selection(boxes, Condition("f.zoom <= ?", (zoom,)))
        rows = self._with_big(connection, payload, shown, Found([]), limit)
        large = {row[0] for row in rows}
        indexed = "fragment_overview" in self._indexes
        statement = overview_sql(payload, len(boxes), self._facts.full_zoom, indexed=indexed)
        tail = box_arguments(boxes)
        ranges = self._coarse_ranges(boxes)
        for level in range(zoom + 1):
            for first, last in ranges:
                found = connection.execute(statement, (level, first, last, *tail, limit)).fetchall()
                rows += [row for row in found if row[0] not in large]
                if len(rows) >= limit:
                    return rows[:limit]
        return rows

    # --- inside ----------------------------------------------------------------------------------------------------

    def _scan(
        self, connection: sqlite3.Connection, payload: Payload, selection: Selection, limit: int
    ) -> list[Row]:
        statement = range_sql(payload, len(selection.boxes), "")
        tail = box_arguments(selection.boxes)
        rows: list[Row] = []
        for first, last in self.ranges(selection.boxes, selection.cursor):
            found = connection.execute(statement, (first, last, *tail, limit)).fetchall()
            rows = rows + found if rows else found
            if limit >= 0:
                limit -= len(found)
                if limit <= 0:
                    break
        return rows

    def _way(self, selection: Selection) -> _Way:
        """Along one value of an index, where the condition has one and no box narrows the keys."""
        if not selection.boxes:
            for path in selection.condition.paths:
                if len(path) == 1 and path[0].is_single_value and path[0].index in self._indexes:
                    return _Way(path[0])
        return _Way()

    def _steps(
        self,
        connection: sqlite3.Connection,
        payload: Payload,
        selection: Selection,
        way: _Way,
        limit: int,
        clock: Clock,
    ) -> Found:
        """Search along keys, some thousand features at a time."""
        statement = range_sql(payload, len(selection.boxes), selection.condition.sql, way.index, way.sql)
        next_step = step_sql(way.index, way.sql)
        tail = (*way.arguments, *tail_arguments(selection))
        rows: list[Row] = []
        step = _FIRST_COSTLY_STEP if RELATION in selection.condition.sql else _FIRST_STEP
        for first, last in self.ranges(selection.boxes, selection.cursor):
            while first <= last:
                row = connection.execute(next_step, (first, last, *way.arguments, step - 1)).fetchone()
                stop = last if row is None else row[0]
                rows += connection.execute(statement, (first, stop, *tail, limit - len(rows))).fetchall()
                if len(rows) >= limit:
                    return Found(rows)
                first = stop + 1  # noqa: PLW2901 - the rest of the range
                if clock.is_up() and stop < MAXIMUM_KEY:
                    return Found(rows, stop)
                step = min(2 * step, _LONGEST_STEP) if row is not None else step
        return Found(rows)

    def _with_big(
        self,
        connection: sqlite3.Connection,
        payload: Payload,
        selection: Selection,
        found: Found,
        limit: int,
    ) -> list[Row]:
        """The rows with the large features that the search of key ranges cannot see, in their places."""
        rows, end = found
        if any(self._holds_all(box) for box in selection.boxes):
            return rows
        lowest = -1 if selection.cursor is None else selection.cursor
        highest = rows[-1][0] if 0 <= limit <= len(rows) and rows else MAXIMUM_KEY if end is None else end
        keys = _big_keys(connection, selection.boxes, lowest, highest)
        if keys:
            keys.difference_update([row[0] for row in rows])
        if not keys:
            return rows
        extra = look_up(connection, payload, selection, sorted(keys), limit)
        merged = sorted([*rows, *extra], key=_key_of_row)
        return merged[:limit] if limit >= 0 else merged

    def _holds_all(self, box: BBox) -> bool:
        """Whether every centre lies in the box, so that key ranges see every feature."""
        west, south, east, north = self._facts.space
        return box.west <= west and box.south <= south and box.east >= east and box.north >= north


def stored_count(connection: sqlite3.Connection) -> int:
    """The number of features in the store."""
    return int(connection.execute("SELECT value FROM chengtu_state WHERE name = 'count'").fetchone()[0])


def look_up(
    connection: sqlite3.Connection, payload: Payload, selection: Selection, keys: Sequence[int], limit: int
) -> list[Row]:
    """Rows of the given ascending keys that also pass the boxes and the condition; -1 is no limit."""
    rows: list[Row] = []
    tail = tail_arguments(selection)
    for part in _parts(keys, limit):
        statement = lookup_sql(payload, len(part), len(selection.boxes), selection.condition.sql)
        rows += connection.execute(statement, (*part, *tail)).fetchall()
        if 0 <= limit <= len(rows):
            return rows[:limit]
    return rows


def _entries(connection: sqlite3.Connection, path: Path, most: int) -> list[int] | None:
    """Keys of the entries of a path, in no order and without duplicates; None where they are more than `most`."""
    total = 0
    for part in path:
        # Counting first: most paths are long, and to fetch entries costs twice as much as to count them.
        bounded = entries_sql(part.sql, part.index, counted=True)
        total += connection.execute(bounded, (*part.arguments, most + 1)).fetchone()[0]
        if total > most:
            return None
    found: set[int] = set()
    for part in path:
        rows = connection.execute(entries_sql(part.sql, part.index), (*part.arguments, -1))
        found.update([key for (key,) in rows])
    return list(found)


# R-tree columns are 32-bit and rounded outwards: this finds a few too many, and the envelope test follows.
_BIG = "SELECT id FROM big WHERE maxx >= ? AND minx <= ? AND maxy >= ? AND miny <= ? AND id > ? AND id <= ?"

# The R-tree's own table of its entries: of all large features, those of a stretch of keys.
_BIG_BETWEEN = "SELECT rowid FROM big_rowid WHERE rowid > ? AND rowid <= ? LIMIT ?"
_FEW_BIG = 32


def _big_keys(connection: sqlite3.Connection, boxes: Sequence[BBox], lowest: int, highest: int) -> set[int]:
    """Keys above `lowest` and up to `highest` of the large features that may meet a box: whoever reads them tests it."""
    # A page of a large box has few keys between its ends, while nearly all large features meet the box.
    between = connection.execute(_BIG_BETWEEN, (lowest, highest, _FEW_BIG + 1)).fetchall()
    if len(between) <= _FEW_BIG:
        return {key for (key,) in between}
    keys: set[int] = set()
    for box in boxes:
        found = connection.execute(_BIG, (box.west, box.east, box.south, box.north, lowest, highest))
        keys.update([key for (key,) in found])
    return keys


def _holds(ranges: Sequence[KeyRange], starts: Sequence[int], key: int) -> bool:
    """Whether one of the ascending ranges holds a key."""
    index = bisect_right(starts, key) - 1
    return index >= 0 and key <= ranges[index].last


def _key_of_row(row: Row) -> int:
    return int(row[0])


def _parts(keys: Sequence[int], limit: int) -> Iterator[list[int]]:
    """Keys in parts of a few sizes, filled up with -1 (which no feature has), so that statements are found again.

    The first parts are small where few rows are wanted.
    """
    start, most = 0, _LOOKUP if limit < 0 else min(_LOOKUP, max(32, 2 * limit))
    while start < len(keys):
        part = list(keys[start : start + most])
        size = 1 << (len(part) - 1).bit_length()
        yield part + [-1] * (size - len(part))
        start += most
        most = _LOOKUP
