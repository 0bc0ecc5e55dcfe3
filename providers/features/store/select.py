"""What is searched for, and the SQL texts that find it: conditions, tables, statements over one range of keys.

In all of them `a` is the feature table and `f` the fragment table (envelopes in CRS84, finished bodies). Names are quoted,
values are bound.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from providers.features.query import BBox, ItemQuery
from providers.features.schema import FieldDefinition
from providers.features.store.geopackage import quote

type Row = tuple[Any, ...]
FUNCTION_PREFIX = "chengtu_"
"""How the names of SQL functions begin that a connection gets by `prepare_for_filters`."""
RELATION = f"{FUNCTION_PREFIX}relates"
"""The function that looks at a feature's geometry: what it costs grows with the geometries."""


class Payload(NamedTuple):
    """The columns wanted beside the key; `from_feature` where some are those of `a`."""

    columns: str
    from_feature: bool


KEYS = Payload("", False)
BODIES = Payload(", f.body", False)


@dataclass(frozen=True, slots=True)
class IndexRange:
    """Entries of one index: `sql` over `a` is answered by it alone. Those of a single value stand in key order."""

    index: str
    sql: str
    arguments: tuple[Any, ...]
    is_single_value: bool


type Path = tuple[IndexRange, ...]
"""Index ranges that together hold every feature a condition lets pass."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What attributes and geometries have to be: SQL over `a` and `f` ("" is always true) with its arguments.

    Each of `paths` leads to every feature that passes. `boxes` (None: anywhere) are met by the envelope of each that does;
    the SQL tests what is needed itself. `keep` holds what the SQL refers to by number, for as long as the condition is used.
    """

    sql: str = ""
    arguments: tuple[Any, ...] = ()
    paths: tuple[Path, ...] = ()
    boxes: tuple[BBox, ...] | None = None
    keep: tuple[object, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.sql)


ANYTHING = Condition()
NOTHING = Condition("0")


class Selection(NamedTuple):
    """Which features: those that meet one of `boxes` (none: all), pass `condition`, and come after the key `cursor`."""

    boxes: tuple[BBox, ...] = ()
    condition: Condition = ANYTHING
    cursor: int | None = None

    @property
    def is_all(self) -> bool:
        """Whether every feature of the collection is meant, wherever the cursor stands."""
        return not self.boxes and not self.condition


def boxes_of(bbox: BBox | None) -> tuple[BBox, ...]:
    """None: (); a box across the antimeridian: its two halves."""
    if bbox is None:
        return ()
    if bbox.west <= bbox.east:
        return (bbox,)
    return (BBox(bbox.west, bbox.south, 180.0, bbox.north), BBox(-180.0, bbox.south, bbox.east, bbox.north))


def all_of(conditions: Iterable[Condition]) -> Condition:
    """The condition that all of them hold."""
    parts = [part for part in conditions if part]
    if len(parts) <= 1:
        return parts[0] if parts else ANYTHING
    boxes = [part.boxes for part in parts if part.boxes is not None]
    return Condition(
        " AND ".join(f"({part.sql})" for part in parts),
        tuple(value for part in parts for value in part.arguments),
        tuple(path for part in parts for path in part.paths),
        min(boxes, key=area_of) if boxes else None,
        tuple(item for part in parts for item in part.keep),
    )


def area_of(boxes: Iterable[BBox]) -> float:
    """Area in square degrees, overlaps counted twice."""
    return sum((box.east - box.west) * (box.north - box.south) for box in boxes)


def attribute_condition(
    query: ItemQuery, fields: dict[str, FieldDefinition], time_field: str | None
) -> Condition:
    """`equals` and `datetime` of a query whose names and values the parser has checked."""
    parts = [_equality(fields[name], value) for name, value in query.equals.items()]
    if query.datetime is not None and time_field is not None:
        parts.append(_interval(fields[time_field], query.datetime.start, query.datetime.end))
    return all_of(parts)


def _equality(field: FieldDefinition, text: str) -> Condition:
    sql, arguments = f"a.{quote(field.column)} = ?", (_typed(field, text),)
    return Condition(sql, arguments, ((IndexRange(index_name(field), sql, arguments, True),),))


def _interval(field: FieldDefinition, start: str | None, end: str | None) -> Condition:
    column = f"a.{quote(field.column)}"
    limits = [(">=", start), ("<=", end)]
    tests = [f"{column} {operator} ?" for operator, limit in limits if limit is not None]
    arguments = tuple(_time_limit(field, limit) for _, limit in limits if limit is not None)
    sql = " AND ".join(tests) or f"{column} IS NOT NULL"
    return Condition(sql, arguments, ((IndexRange(index_name(field), sql, arguments, False),),))


def is_indexed(field: FieldDefinition) -> bool:
    """Whether the writer indexes a field: all are, because any may be sorted by or compared (docs/decisions/0003)."""
    return bool(field.column)


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


def _time_limit(field: FieldDefinition, limit: str) -> str:
    """Stored instants carry milliseconds, dates none; an RFC 3339 limit in UTC is cut or filled up to compare as text.

    A limit between two milliseconds ends in "~", which sorts after the "Z" of the earlier one and before the later one.
    """
    if field.format == "date":
        return limit[:10]
    base, _, fraction = limit.removesuffix("Z").partition(".")
    return f"{base}.{(fraction + '000')[:3]}{'~' if fraction[3:].strip('0') else 'Z'}"


# --- statements ----------------------------------------------------------------------------------------------------------

_ONE_BOX = "f.maxx >= ? AND f.minx <= ? AND f.maxy >= ? AND f.miny <= ?"


def box_arguments(boxes: tuple[BBox, ...]) -> tuple[float, ...]:
    """What the envelope tests of `boxes` are bound to."""
    if len(boxes) == 1:
        west, south, east, north = boxes[0]
        return (west, east, south, north)
    return tuple(number for box in boxes for number in (box.west, box.east, box.south, box.north))


def box_sql(boxes: int) -> str:
    """Whether the envelope meets one of so many boxes."""
    return f"({' OR '.join([_ONE_BOX] * boxes)})"


def tail_arguments(selection: Selection) -> tuple[Any, ...]:
    """What the tests of a selection are bound to, in the order of `_tests`."""
    boxes = box_arguments(selection.boxes)
    return (*boxes, *selection.condition.arguments) if selection.condition else boxes


def _tests(boxes: int, condition: str) -> str:
    tests = [box_sql(boxes)] if boxes else []
    tests += [f"({condition})"] if condition else []
    return "".join(f" AND {test}" for test in tests)


def _tables(
    payload: Payload, boxes: int, condition: str, index: str = "", *, by_feature: bool = False
) -> tuple[str, str]:
    """The FROM clause and the alias that drives it: the table that is read anyway, so that the other is read for few rows."""
    needs_feature = payload.from_feature or "a." in condition
    needs_fragment = boxes > 0 or "f." in payload.columns or "f." in condition
    if index or by_feature or not needs_fragment or (needs_feature and not boxes):
        chosen = f" INDEXED BY {quote(index)}" if index else ""
        return f"feature a{chosen}{' CROSS JOIN fragment f ON f.key = a.key' if needs_fragment else ''}", "a"
    return f"fragment f{' CROSS JOIN feature a ON a.key = f.key' if needs_feature else ''}", "f"


@lru_cache(maxsize=512)
def range_sql(payload: Payload, boxes: int, condition: str, index: str = "", entry: str = "") -> str:
    """Rows of one key range, ascending: (first, last, arguments of `entry`, tail arguments, limit)."""
    tables, driver = _tables(payload, boxes, condition, index)
    test = f" AND ({entry})" if entry else ""
    return (
        f"SELECT {driver}.key{payload.columns} FROM {tables}"  # noqa: S608 - our own or quoted names; values are bound
        f" WHERE {driver}.key BETWEEN ? AND ?{test}{_tests(boxes, condition)} ORDER BY {driver}.key LIMIT ?"
    )


@lru_cache(maxsize=512)
def count_sql(boxes: int, condition: str, index: str = "", entry: str = "") -> str:
    """The number of rows of one key range: (first, last, arguments of `entry`, tail arguments)."""
    tables, driver = _tables(KEYS, boxes, condition, index)
    test = f" AND ({entry})" if entry else ""
    return (
        f"SELECT count(*) FROM {tables}"  # noqa: S608 - our own or quoted names; values are bound
        f" WHERE {driver}.key BETWEEN ? AND ?{test}{_tests(boxes, condition)}"
    )


@lru_cache(maxsize=512)
def step_sql(index: str = "", entry: str = "") -> str:
    """The last key of one step along a key range: (first, last, arguments of `entry`, features in the step less one)."""
    chosen = f" INDEXED BY {quote(index)}" if index else ""
    test = f" AND ({entry})" if entry else ""
    return (
        f"SELECT a.key FROM feature a{chosen} WHERE a.key BETWEEN ? AND ?{test}"  # noqa: S608 - our own or quoted names; values are bound
        " ORDER BY a.key LIMIT 1 OFFSET ?"
    )


@lru_cache(maxsize=256)
def lookup_sql(payload: Payload, keys: int, boxes: int, condition: str) -> str:
    """Rows of so many keys, ascending: (keys, tail arguments)."""
    tables, driver = _tables(payload, boxes, condition)
    return (
        f"SELECT {driver}.key{payload.columns} FROM {tables}"  # noqa: S608 - our own or quoted names; values are bound
        f" WHERE {driver}.key IN ({', '.join('?' * keys)}){_tests(boxes, condition)} ORDER BY {driver}.key"
    )


@lru_cache(maxsize=256)
def ordered_sql(payload: Payload, boxes: int, condition: str, segment: str, order: str, index: str) -> str:
    """Rows of one segment of an order: (arguments of the segment, tail arguments, limit, offset)."""
    tables, _ = _tables(payload, boxes, condition, index, by_feature=True)
    return (
        f"SELECT a.key{payload.columns} FROM {tables}"  # noqa: S608 - our own or quoted names; values are bound
        f" WHERE {segment}{_tests(boxes, condition)} ORDER BY {order} LIMIT ? OFFSET ?"
    )


@lru_cache(maxsize=512)
def entries_sql(entry: str, index: str, *, counted: bool = False) -> str:
    """Keys of the entries of an index range, or their number: (arguments of `entry`, limit)."""
    statement = f"SELECT a.key FROM feature a INDEXED BY {quote(index)} WHERE {entry} LIMIT ?"  # noqa: S608 - our own or quoted names; values are bound
    return f"SELECT count(*) FROM ({statement})" if counted else statement  # noqa: S608 - the same


@lru_cache(maxsize=64)
def overview_sql(payload: Payload, boxes: int, full_zoom: int, *, indexed: bool) -> str:
    """Rows first shown at one zoom, in one key range: (zoom, first, last, box arguments, limit)."""
    join = " CROSS JOIN feature a ON a.key = f.key" if payload.from_feature else ""
    index = " INDEXED BY fragment_overview" if indexed else ""
    # The index is a partial one: SQLite uses it where the text itself repeats its condition.
    return (
        f"SELECT f.key{payload.columns} FROM fragment f{index}{join}"  # noqa: S608 - our own or quoted names; values are bound
        f" WHERE f.zoom < {full_zoom:d} AND f.zoom = ? AND f.key BETWEEN ? AND ?{_tests(boxes, '')} LIMIT ?"
    )
