"""Checked filters on columns, by numpy and shapely: the evaluator of stores without SQL, and what the others are held to.

Three-valued logic is kept as two masks, "true" and "false"; where neither is set, a condition is unknown.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import orjson
import shapely
from numpy.typing import NDArray
from pygeofilter import ast

from providers.errors import AnswerTooLarge
from providers.features.cql2 import strings
from providers.features.cql2.arithmetic import DEFINITIONS, TEXT
from providers.features.cql2.checking import SPATIAL_RELATIONS, kind_of
from providers.features.cql2.evaluation import Evaluator, handle
from providers.features.cql2.terms import Kind
from providers.features.crossings import Crossings
from providers.features.query import GEOMETRY, BBox, ItemQuery, TimeInterval
from providers.features.schema import CollectionSchema, FieldDefinition

if TYPE_CHECKING:
    from providers.features.source import FeatureColumns

type Mask = NDArray[np.bool_]

_EXACT: Final = 1 << 31  # whole numbers below it can be added and multiplied without leaving 64 bits


class Truth(NamedTuple):
    """Where a condition is true, and where it is false."""

    true: Mask
    false: Mask


class Values(NamedTuple):
    """Values of one type, and where there are any; a literal has arrays without dimension."""

    data: NDArray[Any]
    present: Mask


def matches(node: Any, columns: FeatureColumns, schema: CollectionSchema) -> Mask:
    """Where the filter is true: one bool per feature. `columns.geometries` are in CRS84, its columns hold JSON values."""
    if isinstance(node, bool):
        return np.full(len(columns), node)
    found: Truth = _ColumnEvaluator(columns, schema).evaluate(node)
    return found.true


def matches_query(
    query: ItemQuery, columns: FeatureColumns, schema: CollectionSchema, hidden: frozenset[str] = frozenset()
) -> Mask:
    """Where all conditions of a query hold: bbox, datetime, equals, q and filter. As `matches` for the rest."""
    mask = np.full(len(columns), True)
    if query.bbox is not None:
        mask &= _meets(columns.geometries, query.bbox)
    if query.datetime is not None and schema.time_field is not None:
        mask &= _in_time(columns, schema.by_name[schema.time_field], query.datetime)
    for name, text in query.equals.items():
        mask &= _equals(columns, schema.by_name[name], text)
    if query.q:
        mask &= _holds_any(columns, schema, query.q, hidden)
    if query.filter is not None:
        mask &= matches(query.filter.node, columns, schema)
    return mask


def _meets(geometries: NDArray[np.object_], box: BBox) -> Mask:
    west, south, east, north = shapely.bounds(geometries).T
    if box.west <= box.east:
        in_longitude = (west <= box.east) & (east >= box.west)
    else:
        in_longitude = (east >= box.west) | (west <= box.east)
    found: Mask = in_longitude & (south <= box.north) & (north >= box.south)
    return found


def _in_time(columns: FeatureColumns, field: FieldDefinition, interval: TimeInterval) -> Mask:
    found = column_values(field, columns.columns[field.name])
    mask = found.present.copy()
    if interval.start is not None:
        mask &= found.data >= np.array(_plain_instant(interval.start), found.data.dtype)
    if interval.end is not None:
        mask &= found.data <= np.array(_plain_instant(interval.end), found.data.dtype)
    return mask


def _equals(columns: FeatureColumns, field: FieldDefinition, text: str) -> Mask:
    found = column_values(field, columns.columns[field.name])
    value: Any = text
    if field.type == "boolean":
        value = text == "true"
    elif field.type in ("integer", "number"):
        value = int(text) if field.type == "integer" else float(text)
    elif field.format is not None:
        value = np.array(_plain_instant(text), found.data.dtype)
    return _mask(found.present & (found.data == value))


def _holds_any(
    columns: FeatureColumns, schema: CollectionSchema, phrases: Sequence[str], hidden: frozenset[str]
) -> Mask:
    folded = [phrase.casefold() for phrase in phrases]
    mask = np.full(len(columns), False)
    for field in schema.fields:
        if field.type == "string" and field.format is None and field.name not in hidden:
            texts = columns.columns[field.name]
            mask |= np.array(
                [any(strings.holds_phrase(text, phrase) for phrase in folded) for text in texts], bool
            )
    return mask


def column_values(field: FieldDefinition, values: Sequence[Any]) -> Values:
    """JSON values of a field as an array of its type, and where they are not null."""
    kind = kind_of(field)
    present = np.array([value is not None for value in values], bool)
    if kind is Kind.TEXT:
        return Values(_objects(["" if value is None else value for value in values]), present)
    if kind is Kind.BOOLEAN:
        return Values(np.array([bool(value) for value in values], bool), present)
    if kind is Kind.NUMBER:
        whole = field.type == "integer"
        return Values(
            np.array([0 if value is None else value for value in values], np.int64 if whole else np.float64),
            present,
        )
    unit = "D" if kind is Kind.DATE else "ms"
    texts = ["1970-01-01" if value is None else _plain_instant(value) for value in values]
    return Values(np.array(texts, dtype=f"M8[{unit}]"), present)


def _plain_instant(text: str) -> str:
    """An RFC 3339 text without its zone, in UTC; a date as it is."""
    if text.endswith("Z"):
        return text[:-1]
    if len(text) == 10:
        return text
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() if moment.tzinfo else text


def _objects(values: Sequence[Any]) -> NDArray[np.object_]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _mask(values: Any) -> Mask:
    return np.asarray(values, dtype=bool)


_OPERATORS: Final[dict[type[ast.Node], Callable[[Any, Any], Any]]] = {
    ast.Equal: operator.eq,
    ast.NotEqual: operator.ne,
    ast.LessThan: operator.lt,
    ast.LessEqual: operator.le,
    ast.GreaterThan: operator.gt,
    ast.GreaterEqual: operator.ge,
}
_ARITHMETIC: Final[dict[type[ast.Node], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mul: operator.mul,
}
_ARRAYS: Final[dict[type[ast.Node], Callable[[str | None, str], bool | None]]] = {
    ast.ArrayEquals: strings.array_equals,
    ast.ArrayContains: strings.array_contains,
    ast.ArrayContainedBy: strings.array_contained_by,
    ast.ArrayOverlaps: strings.array_overlaps,
}


class _ColumnEvaluator(Evaluator):
    """Scalar nodes give `Values`, conditions give `Truth`."""

    def __init__(self, columns: FeatureColumns, schema: CollectionSchema) -> None:
        self._columns = columns
        self._schema = schema
        self._read: dict[str, Values] = {}

    def adopt(self, node: Any, *children: Any) -> Any:
        """Literals."""
        if isinstance(node, list | shapely.Geometry):
            return node
        present = np.array(True)
        if isinstance(node, datetime):
            return Values(np.array(node.replace(tzinfo=None), dtype="M8[ms]"), present)
        if isinstance(node, date):
            return Values(np.array(node, dtype="M8[D]"), present)
        return Values(np.array(node, dtype=object if isinstance(node, str) else None), present)

    @handle(ast.Attribute)
    def attribute(self, node: Any) -> Any:
        if node.name == GEOMETRY:
            return self._columns.geometries
        found = self._read.get(node.name)
        if found is None:
            found = column_values(self._schema.by_name[node.name], self._columns.columns[node.name])
            self._read[node.name] = found
        return found

    # --- conditions ---

    @handle(ast.And)
    def conjunction(self, node: Any, left: Truth, right: Truth) -> Truth:
        return Truth(left.true & right.true, left.false | right.false)

    @handle(ast.Or)
    def disjunction(self, node: Any, left: Truth, right: Truth) -> Truth:
        return Truth(left.true | right.true, left.false & right.false)

    @handle(ast.Not)
    def negation(self, node: Any, inner: Truth) -> Truth:
        return Truth(inner.false, inner.true)

    @handle(ast.Comparison, subclasses=True)
    def comparison(self, node: Any, left: Values, right: Values) -> Truth:
        return _where(left.present & right.present, _OPERATORS[type(node)](left.data, right.data))

    @handle(ast.Between)
    def between(self, node: Any, value: Values, low: Values, high: Values) -> Truth:
        return self.conjunction(
            node,
            _where(value.present & low.present, value.data >= low.data),
            _where(value.present & high.present, value.data <= high.data),
        )

    @handle(ast.In)
    def within_list(self, node: Any, value: Values, *options: Values) -> Truth:
        if value.data.dtype == object:
            wanted = frozenset(node.sub_nodes)
            found = np.array([item in wanted for item in value.data], bool)
        else:
            found = np.isin(value.data, np.array([option.data for option in options]))
        return _where(value.present, found)

    @handle(ast.Like)
    def like(self, node: Any, value: Values) -> Truth:
        pattern = node.pattern
        return _where(value.present, np.array([strings.like(text, pattern) for text in value.data], bool))

    @handle(ast.IsNull)
    def is_null(self, node: Any, value: Any) -> Truth:
        present = value.present if isinstance(value, Values) else _has_geometry(value)
        return Truth(present, ~present) if node.not_ else Truth(~present, present)

    @handle(ast.SpatialComparisonPredicate, subclasses=True)
    def spatial(self, node: Any, left: NDArray[np.object_], right: Any) -> Truth:
        present = _has_geometry(left)
        if isinstance(right, shapely.Geometry):
            shapely.prepare(right)
            if not isinstance(node, ast.GeometryIntersects | ast.GeometryDisjoint):
                _refuse_endless(left[present], right)
        return _where(present, SPATIAL_RELATIONS[type(node)](left, right))

    @handle(ast.ArrayPredicate, subclasses=True)
    def array(self, node: Any, left: Values, right: list[Any]) -> Truth:
        relate, other = _ARRAYS[type(node)], orjson.dumps(right).decode()
        found = [
            relate(text, other) if there else None
            for text, there in zip(left.data, left.present, strict=True)
        ]
        return Truth(
            np.array([item is True for item in found], bool),
            np.array([item is False for item in found], bool),
        )

    # --- values ---

    @handle(ast.Add, ast.Sub, ast.Mul)
    def arithmetic(self, node: Any, left: Values, right: Values) -> Values:
        first, second = left.data, right.data
        if not (_is_small(first) and _is_small(second)):
            first, second = first.astype(np.float64), second.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            return _finite(_ARITHMETIC[type(node)](first, second), left.present & right.present)

    @handle(ast.Div)
    def division(self, node: Any, left: Values, right: Values) -> Values:
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            return _finite(
                left.data.astype(np.float64) / right.data.astype(np.float64), left.present & right.present
            )

    @handle(ast.Function)
    def function(self, node: Any, *arguments: Values) -> Values:
        definition = DEFINITIONS[node.name]
        size = len(self._columns)
        rows = zip(*(_listed(argument, size) for argument in arguments), strict=True)
        found = [definition.call(*row) for row in rows]
        present = np.array([value is not None for value in found], bool)
        if definition.returns == TEXT:
            return Values(_objects(["" if value is None else value for value in found]), present)
        numbers = [0 if value is None else value for value in found]
        whole = all(isinstance(value, int) and abs(value) < _EXACT for value in numbers)
        return Values(np.array(numbers, np.int64 if whole else np.float64), present)


def _where(present: Mask, found: Any) -> Truth:
    truth = _mask(found)
    return Truth(present & truth, present & ~truth)


def _has_geometry(geometries: NDArray[np.object_]) -> Mask:
    return ~(shapely.is_missing(geometries) | shapely.is_empty(geometries))


def _refuse_endless(geometries: NDArray[np.object_], literal: shapely.Geometry) -> None:
    """Raise AnswerTooLarge where a relation to one of them would keep GEOS busy, which nothing can interrupt."""
    crossings = Crossings(literal)
    if any(map(crossings.are_many, geometries[crossings.may_be_many(geometries)])):
        raise AnswerTooLarge(
            "Parameter 'filter': its geometry and that of a feature may cross too often; use one of fewer vertices"
        )


def _is_small(data: NDArray[Any]) -> bool:
    return data.dtype.kind == "i" and (data.size == 0 or bool(np.abs(data).max() < _EXACT))


def _finite(data: NDArray[Any], present: Mask) -> Values:
    finite = np.isfinite(data)
    return Values(np.where(finite, data, 0), present & finite)


def _listed(values: Values, size: int) -> list[Any]:
    """Python values, None where there are none."""
    data = np.broadcast_to(values.data, size).tolist()
    present = np.broadcast_to(values.present, size).tolist()
    return [value if there else None for value, there in zip(data, present, strict=True)]
