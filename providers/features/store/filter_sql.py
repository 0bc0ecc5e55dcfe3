"""A checked filter (CQL2, or FES) as SQL over a feature store, with the ways to find its features quickly.

SQLite's three-valued logic is that of CQL2: a comparison with NULL is unknown, and only what is true passes. Every value is
bound, every name quoted. Texts compare by code point, as SQLite compares UTF-8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple

import orjson
import shapely
from pygeofilter import ast
from pygeofilter.backends.evaluator import Evaluator, handle

from providers.errors import UnsupportedQuery
from providers.features.cql2 import strings
from providers.features.crs import Transform
from providers.features.query import GEOMETRY, BBox, Filter
from providers.features.schema import FieldDefinition
from providers.features.store.filter_sql_functions import MARGIN, Relation
from providers.features.store.geopackage import quote
from providers.features.store.select import (
    ANYTHING,
    FUNCTION_PREFIX,
    NOTHING,
    RELATION,
    Condition,
    IndexRange,
    Path,
    area_of,
    index_name,
)
from providers.features.store.values import stored_instant

_INT64 = 1 << 63
_SHORT_LIST = 32
_MAXIMUM_BOXES = 8  # of alternatives; beyond, key ranges save little
_ENVELOPE_MEETS = "f.maxx >= ? AND f.minx <= ? AND f.maxy >= ? AND f.miny <= ?"
_ENVELOPE_WITHIN = "f.minx >= ? AND f.miny >= ? AND f.maxx <= ? AND f.maxy <= ?"
_RELATES = f"{RELATION}(?, a.geom)"

_RELATION_NAMES: Mapping[type[ast.Node], str] = {
    ast.GeometryIntersects: "intersects",
    ast.GeometryDisjoint: "intersects",  # turned round
    ast.GeometryContains: "contains",
    ast.GeometryWithin: "within",
    ast.GeometryTouches: "touches",
    ast.GeometryCrosses: "crosses",
    ast.GeometryOverlaps: "overlaps",
    ast.GeometryEquals: "equals",
}
_TRUE_OF_ITSELF = frozenset(("intersects", "contains", "within", "equals"))
_OPERATORS: Mapping[type[ast.Node], str] = {
    ast.Equal: "=",
    ast.NotEqual: "<>",
    ast.LessThan: "<",
    ast.LessEqual: "<=",
    ast.GreaterThan: ">",
    ast.GreaterEqual: ">=",
}
_ARRAY_FUNCTIONS: Mapping[type[ast.Node], str] = {
    ast.ArrayEquals: "array_equals",
    ast.ArrayContains: "array_contains",
    ast.ArrayContainedBy: "array_contained_by",
    ast.ArrayOverlaps: "array_overlaps",
}


class Sql(NamedTuple):
    """A piece of SQL and what it is bound to."""

    text: str
    arguments: tuple[Any, ...] = ()


def filter_condition(
    query_filter: Filter, fields: Mapping[str, FieldDefinition], to_crs84: Transform | None
) -> Condition:
    """The condition of a filter over fields by the names users see; `to_crs84` as in `Relation`."""
    node = query_filter.node
    if isinstance(node, bool):
        return ANYTHING if node else NOTHING
    writer = _SqlWriter(fields, to_crs84)
    sql = writer.evaluate(node)
    return Condition(
        sql.text,
        sql.arguments,
        _paths(node, fields),
        _boxes(node),
        tuple(writer.relations),
    )


@dataclass
class _SqlWriter(Evaluator):  # type: ignore[misc] # pygeofilter carries no types
    """Writes a tree bottom up; every piece comes in parentheses."""

    fields: Mapping[str, FieldDefinition]
    to_crs84: Transform | None
    relations: list[Relation] = field(default_factory=list)

    @handle(ast.And, ast.Or)  # type: ignore[untyped-decorator]
    def combination(self, node: ast.Combination, left: Sql, right: Sql) -> Sql:
        """AND, OR; what is cheap to test comes first."""
        first, second = sorted((left, right), key=_cost)
        return _joined(first, node.op.value, second)

    @handle(ast.Not)  # type: ignore[untyped-decorator]
    def negation(self, _node: ast.Not, sub: Sql) -> Sql:
        """NOT unknown is unknown."""
        return Sql(f"(NOT {sub.text})", sub.arguments)

    @handle(ast.Comparison, subclasses=True)  # type: ignore[untyped-decorator]
    def comparison(self, node: ast.Comparison, left: Sql, right: Sql) -> Sql:
        """=, <>, <, <=, >, >=."""
        return _joined(left, _OPERATORS[type(node)], right)

    @handle(ast.Between)  # type: ignore[untyped-decorator]
    def between(self, _node: ast.Between, value: Sql, low: Sql, high: Sql) -> Sql:
        """A closed interval."""
        text = f"({value.text} BETWEEN {low.text} AND {high.text})"
        return Sql(text, value.arguments + low.arguments + high.arguments)

    @handle(ast.In)  # type: ignore[untyped-decorator]
    def one_of(self, _node: ast.In, value: Sql, *options: Sql) -> Sql:
        """One of several values."""
        listed = _list_sql([given for item in options for given in item.arguments])
        return Sql(f"({value.text} IN ({listed.text}))", value.arguments + listed.arguments)

    @handle(ast.IsNull)  # type: ignore[untyped-decorator]
    def is_null(self, node: ast.IsNull, value: Sql) -> Sql:
        """Whether there is no value, or no geometry."""
        return Sql(f"({value.text} IS {'NOT ' if node.not_ else ''}NULL)", value.arguments)

    @handle(ast.Like)  # type: ignore[untyped-decorator]
    def like(self, node: ast.Like, value: Sql) -> Sql:
        """LIKE, by SQLite's own means where the pattern allows it."""
        tokens = strings.like_tokens(node.pattern)
        literals = [token for token in tokens if isinstance(token, str)]
        if len(tokens) == 1 and literals:
            return Sql(f"({value.text} = ?)", (*value.arguments, literals[0]))
        if tokens == (strings.ANY, *literals, strings.ANY) and literals:
            return Sql(f"(instr({value.text}, ?) > 0)", (*value.arguments, literals[0]))
        test = Sql(f"{FUNCTION_PREFIX}like({value.text}, ?)", (*value.arguments, node.pattern))
        begins = _begins_with(value, node.pattern)
        return test if begins is None else _joined(begins, "AND", test)

    @handle(*_RELATION_NAMES)  # type: ignore[untyped-decorator]
    def relation(self, node: ast.SpatialComparisonPredicate, _own: Any, _other: Any) -> Sql:
        """A spatial relation of the feature's geometry: to a literal by its envelope first, then exactly."""
        name = _RELATION_NAMES[type(node)]
        if not isinstance(node.rhs, shapely.Geometry):
            sql = Sql(f"(CASE WHEN a.geom IS NOT NULL THEN {int(name in _TRUE_OF_ITSELF)} END)")
        else:
            relation = Relation(name, node.rhs, self.to_crs84)
            self.relations.append(relation)
            sql = _relation_sql(relation, _box_of(node.rhs))
        return Sql(f"(NOT {sql.text})", sql.arguments) if isinstance(node, ast.GeometryDisjoint) else sql

    @handle(*_ARRAY_FUNCTIONS)  # type: ignore[untyped-decorator]
    def array(self, node: ast.ArrayPredicate, own: Sql, _other: Any) -> Sql:
        """A relation of a JSON array kept as text to a literal one."""
        text = f"{FUNCTION_PREFIX}{_ARRAY_FUNCTIONS[type(node)]}({own.text}, ?)"
        return Sql(text, (*own.arguments, orjson.dumps(node.rhs).decode()))

    @handle(ast.Arithmetic, subclasses=True)  # type: ignore[untyped-decorator]
    def arithmetic(self, node: ast.Arithmetic, left: Sql, right: Sql) -> Sql:
        """+, -, *, /; SQLite's own division of integers would cut the fraction off."""
        if isinstance(node, ast.Div):
            left = Sql(f"CAST({left.text} AS REAL)", left.arguments)
        return _joined(left, node.op.value, right)

    @handle(ast.Function)  # type: ignore[untyped-decorator]
    def function(self, node: ast.Function, *arguments: Sql) -> Sql:
        """One of the functions of `cql2.arithmetic.FUNCTIONS`."""
        text = f"{FUNCTION_PREFIX}{node.name}({', '.join(item.text for item in arguments)})"
        return Sql(text, tuple(given for item in arguments for given in item.arguments))

    @handle(ast.Attribute)  # type: ignore[untyped-decorator]
    def attribute(self, node: ast.Attribute) -> Sql:
        """A field, or the geometry."""
        return Sql("a.geom" if node.name == GEOMETRY else _column(self.fields[node.name]))

    @handle(str, int, float, bool, date, datetime)  # type: ignore[untyped-decorator]
    def literal(self, value: Any) -> Sql:
        """A bound value."""
        return Sql("?", (_stored(value),))

    def adopt(self, node: Any, *_parts: Any) -> Any:
        """Geometries and arrays, which the predicate that holds them looks at; nothing else is without a method."""
        if isinstance(node, shapely.Geometry | list):
            return node
        raise UnsupportedQuery(f"The embedded store cannot evaluate {type(node).__name__!r} in a filter")


def _relation_sql(relation: Relation, box: BBox) -> Sql:
    """By the envelope alone for features beside the literal or well inside of it, exactly for the others."""
    cases: list[str] = []
    arguments: list[float] = []
    for cells, answer in zip(relation.cells(), (int(relation.holds_inside), 0), strict=True):
        if cells:
            tests = " OR ".join([f"({_ENVELOPE_WITHIN})"] * len(cells))
            cases.append(f"WHEN {tests} THEN {answer}")
            arguments += [number for cell in cells for number in cell]
    exact = f"CASE {' '.join(cases)} ELSE {_RELATES} END" if cases else _RELATES
    meets = (box.west, box.east, box.south, box.north)
    return Sql(f"({_ENVELOPE_MEETS} AND {exact})", (*meets, *arguments, relation.number))


def _cost(sql: Sql) -> int:
    """Relations of geometries cost ten times as much as other functions of ours, these as much more than SQLite's own."""
    return 2 if _RELATES in sql.text else 1 if FUNCTION_PREFIX in sql.text else 0


def _joined(left: Sql, operator: str, right: Sql) -> Sql:
    return Sql(f"({left.text} {operator} {right.text})", left.arguments + right.arguments)


def _column(definition: FieldDefinition) -> str:
    return f"a.{quote(definition.column)}"


def _stored(value: Any) -> Any:
    """A literal as the store keeps values of its type."""
    if isinstance(value, datetime):
        return stored_instant(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        return float(value)
    return value


def _list_sql(values: list[Any]) -> Sql:
    """The inside of IN (...): a long list is one argument, so that statements stay small and few.

    Reals are not written as JSON: SQLite need not read back the very same number.
    """
    if len(values) > _SHORT_LIST and not any(isinstance(value, float) for value in values):
        return Sql("SELECT value FROM json_each(?)", (orjson.dumps(values).decode(),))
    return Sql(", ".join("?" * len(values)), tuple(values))


def _begins_with(value: Sql, pattern: str) -> Sql | None:
    """The range of texts that begin as a pattern does, None where it begins with a wildcard."""
    prefix = strings.like_prefix(pattern)
    if not prefix:
        return None
    beyond = _next_text(prefix)
    if beyond is None:
        return Sql(f"({value.text} >= ?)", (*value.arguments, prefix))
    text = f"({value.text} >= ? AND {value.text} < ?)"
    return Sql(text, (*value.arguments, prefix, *value.arguments, beyond))


def _next_text(prefix: str) -> str | None:
    """The first text after all that begin with `prefix`; None where there is none."""
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return None
    following = ord(stem[-1]) + 1
    return stem[:-1] + chr(0xE000 if 0xD800 <= following <= 0xDFFF else following)


# --- ways to the features ----------------------------------------------------------------------------------------------


def _paths(node: Any, fields: Mapping[str, FieldDefinition]) -> tuple[Path, ...]:
    """Index ranges each of which holds all that pass: of every part of an AND, of all alternatives of an OR together."""
    if isinstance(node, ast.And):
        return _paths(node.lhs, fields) + _paths(node.rhs, fields)
    if isinstance(node, ast.Or):
        left, right = _paths(node.lhs, fields), _paths(node.rhs, fields)
        return (left[0] + right[0],) if left and right else ()
    own = getattr(node, "lhs", None)
    if not isinstance(own, ast.Attribute) or own.name == GEOMETRY:
        return ()
    definition = fields[own.name]
    found = _range_of(node, Sql(_column(definition)))
    if found is None:
        return ()
    is_single = isinstance(node, ast.Equal | ast.IsNull)
    return ((IndexRange(index_name(definition), found.text, found.arguments, is_single),),)


def _range_of(node: Any, column: Sql) -> Sql | None:
    """The condition on one column that its index answers; None where it cannot."""
    if isinstance(node, ast.Comparison):
        operator = _OPERATORS[type(node)]
        if isinstance(node.rhs, ast.Node) or operator == "<>":
            return None
        return Sql(f"{column.text} {operator} ?", (_stored(node.rhs),))
    if isinstance(node, ast.Between):
        if isinstance(node.low, ast.Node) or isinstance(node.high, ast.Node):
            return None
        return Sql(f"{column.text} BETWEEN ? AND ?", (_stored(node.low), _stored(node.high)))
    if isinstance(node, ast.In):
        listed = _list_sql([_stored(value) for value in node.sub_nodes])
        return Sql(f"{column.text} IN ({listed.text})", listed.arguments)
    if isinstance(node, ast.IsNull):
        return None if node.not_ else Sql(f"{column.text} IS NULL")
    return _like_range(node, column) if isinstance(node, ast.Like) else None


def _like_range(node: ast.Like, column: Sql) -> Sql | None:
    tokens = strings.like_tokens(node.pattern)
    if len(tokens) == 1 and isinstance(tokens[0], str):
        return Sql(f"{column.text} = ?", (tokens[0],))
    return _begins_with(column, node.pattern)


def _box_of(geometry: shapely.Geometry) -> BBox:
    west, south, east, north = shapely.bounds(geometry).tolist()
    return BBox(west - MARGIN, south - MARGIN, east + MARGIN, north + MARGIN)


def _boxes(node: Any) -> tuple[BBox, ...] | None:
    """Boxes of which the envelope of every feature that passes meets one; None where it may be anywhere."""
    if isinstance(node, ast.And | ast.Or):
        left, right = _boxes(node.lhs), _boxes(node.rhs)
        if isinstance(node, ast.And):
            known = [boxes for boxes in (left, right) if boxes is not None]
            return min(known, key=area_of) if known else None
        if left is None or right is None or len(left) + len(right) > _MAXIMUM_BOXES:
            return None
        return left + right
    if type(node) not in _RELATION_NAMES or isinstance(node, ast.GeometryDisjoint):
        return None
    return (_box_of(node.rhs),) if isinstance(node.rhs, shapely.Geometry) else None
