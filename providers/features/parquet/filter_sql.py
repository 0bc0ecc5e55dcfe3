"""A checked CQL2 filter as DuckDB SQL: every literal bound, three-valued logic left to SQL.

Text and array functions that SQL has not, or not with Unicode's rules, are those of `providers.features.cql2.strings`, which
the database knows by names that begin with "cql_".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import shapely
from pygeofilter import ast

from providers.errors import UnsupportedQuery
from providers.features.parquet.columns import ParquetColumn
from providers.features.query import GEOMETRY

type Binder = Callable[[Any], str]
"""Takes a value as an argument of the statement, and gives the name ($1, $2, ...) that stands for it."""

_COMPARISONS: Mapping[type, str] = {
    ast.Equal: "=",
    ast.NotEqual: "<>",
    ast.LessThan: "<",
    ast.LessEqual: "<=",
    ast.GreaterThan: ">",
    ast.GreaterEqual: ">=",
}
_SPATIAL: Mapping[type, str] = {
    ast.GeometryIntersects: "ST_Intersects",
    ast.GeometryDisjoint: "ST_Disjoint",
    ast.GeometryContains: "ST_Contains",
    ast.GeometryWithin: "ST_Within",
    ast.GeometryTouches: "ST_Touches",
    ast.GeometryCrosses: "ST_Crosses",
    ast.GeometryOverlaps: "ST_Overlaps",
    ast.GeometryEquals: "ST_Equals",
}
_ARRAYS: Mapping[type, str] = {
    ast.ArrayEquals: "cql_array_equals",
    ast.ArrayContains: "cql_array_contains",
    ast.ArrayContainedBy: "cql_array_contained_by",
    ast.ArrayOverlaps: "cql_array_overlaps",
}
_ARITHMETIC: Mapping[type, str] = {ast.Add: "+", ast.Sub: "-", ast.Mul: "*"}
_TEXT_FUNCTIONS = ("casei", "accenti", "lower", "upper")
_ONE_NUMBER: Mapping[str, str] = {
    "abs": "abs({})",
    "floor": "floor({})",
    "ceiling": "ceil({})",
    "round": "round({})",  # half away from zero
}
_TWO_NUMBERS: Mapping[str, str] = {
    "mod": "{0} % nullif({1}, 0)",
    "idiv": "trunc({0} / nullif({1}, 0))",
    # DuckDB's pow raises an error where there is no real result
    "pow": "CASE WHEN {0} < 0 AND {1} <> trunc({1}) OR {0} = 0 AND {1} < 0 THEN NULL ELSE pow({0}, {1}) END",
}
_WHOLE_NUMBERS: Mapping[str, str] = {"mod": "{0} % nullif({1}, 0)", "idiv": "{0} // nullif({1}, 0)"}
_EXTREMES: Mapping[str, str] = {"minimum": "least", "maximum": "greatest"}


class FilterSql:
    """Turns the nodes of one filter into SQL. `geometry` is the SQL of the geometry in CRS84."""

    def __init__(self, columns: Mapping[str, ParquetColumn], geometry: str, bind: Binder) -> None:
        self._columns = columns
        self._geometry = geometry
        self._bind = bind

    def condition(self, node: Any) -> str:
        """A node that is true, false or unknown."""
        if isinstance(node, bool):
            return "true" if node else "false"
        if isinstance(node, ast.And):
            return f"({self.condition(node.lhs)} AND {self.condition(node.rhs)})"
        if isinstance(node, ast.Or):
            return f"({self.condition(node.lhs)} OR {self.condition(node.rhs)})"
        if isinstance(node, ast.Not):
            return f"(NOT {self.condition(node.sub_node)})"
        kind = type(node)
        if kind in _COMPARISONS:
            return f"({self._scalar(node.lhs)} {_COMPARISONS[kind]} {self._scalar(node.rhs)})"
        if kind in _SPATIAL:
            return self._spatial(_SPATIAL[kind], node)
        if kind in _ARRAYS:
            return self._array(_ARRAYS[kind], node)
        if isinstance(node, ast.Between):
            return (
                f"({self._scalar(node.lhs)} BETWEEN {self._scalar(node.low)} AND {self._scalar(node.high)})"
            )
        if isinstance(node, ast.In):
            values = ", ".join([self._scalar(value) for value in node.sub_nodes])
            return f"({self._scalar(node.lhs)} IN ({values}))"
        if isinstance(node, ast.Like):
            return self._like(node)
        if isinstance(node, ast.IsNull):
            return self._is_null(node)
        raise UnsupportedQuery(
            f"Parameter 'filter': {kind.__name__} cannot be answered by this collection's store (parquet)",
            "filter",
            "the operators and functions that this store knows",
        )

    def _is_null(self, node: ast.IsNull) -> str:
        if _is_geometry(node.lhs):
            return f"({'NOT ' if node.not_ else ''}coalesce(ST_IsEmpty({self._geometry}), true))"
        return f"({self._scalar(node.lhs)} IS {'NOT ' if node.not_ else ''}NULL)"

    def _spatial(self, function: str, node: Any) -> str:
        other = (
            self._geometry
            if _is_geometry(node.rhs)
            else f"ST_GeomFromWKB({self._bind(shapely.to_wkb(node.rhs))})"
        )
        call = f"{function}({self._geometry}, {other})"
        return f"(CASE WHEN NOT ST_IsEmpty({self._geometry}) THEN TRY({call}) END)"

    def _array(self, function: str, node: Any) -> str:
        import orjson

        return f"{function}({self._scalar(node.lhs)}, {self._bind(orjson.dumps(node.rhs).decode())})"

    def _like(self, node: ast.Like) -> str:
        """DuckDB's LIKE where its cost is bounded: it tries every place for `_` after `%`, and escapes take its slow way."""
        text, pattern = self._scalar(node.lhs), str(node.pattern)
        quick = "\\" not in pattern and ("_" not in pattern or pattern.count("%") <= 1)
        if quick:
            return f"({text} LIKE {self._bind(pattern)})"
        return f"cql_like({text}, {self._bind(pattern)})"

    def _scalar(self, value: Any) -> str:
        if isinstance(value, ast.Attribute):
            return self._columns[value.name].value
        if isinstance(value, ast.Function):
            return self._function(value)
        if isinstance(value, ast.Arithmetic):
            left, right = self._double(value.lhs), self._double(value.rhs)
            if isinstance(value, ast.Div):
                return _finite(f"{left} / nullif({right}, 0)")
            return _finite(f"{left} {_ARITHMETIC[type(value)]} {right}")
        if isinstance(value, datetime):
            return self._bind(value.astimezone(UTC).replace(tzinfo=None))
        return self._bind(value)

    def _is_whole(self, value: Any) -> bool:
        """A whole number that has not been calculated with."""
        if isinstance(value, ast.Attribute):
            return self._columns[value.name].definition.type == "integer"
        return type(value) is int

    def _double(self, value: Any) -> str:
        return f"CAST({self._scalar(value)} AS DOUBLE)"

    def _function(self, node: ast.Function) -> str:
        name = node.name.lower()
        if name in _TEXT_FUNCTIONS:
            return f"cql_{name}({self._scalar(node.arguments[0])})"
        if name == "length":
            return f"length({self._scalar(node.arguments[0])})"
        if name in _ONE_NUMBER:
            return _finite(_ONE_NUMBER[name].format(self._double(node.arguments[0])))
        if name in _WHOLE_NUMBERS and all(self._is_whole(item) for item in node.arguments):
            # beyond 2**53 doubles are not exact
            whole = (f"CAST({self._scalar(item)} AS HUGEINT)" for item in node.arguments)
            return f"({_WHOLE_NUMBERS[name].format(*whole)})"
        if name in _TWO_NUMBERS:
            return _finite(_TWO_NUMBERS[name].format(*(self._double(item) for item in node.arguments)))
        if name in _EXTREMES:
            numbers = [self._double(item) for item in node.arguments]
            missing = " OR ".join(f"{number} IS NULL" for number in numbers)
            return f"(CASE WHEN {missing} THEN NULL ELSE {_EXTREMES[name]}({', '.join(numbers)}) END)"
        raise UnsupportedQuery(
            f"Parameter 'filter': the function {node.name!r} cannot be answered by this collection's store (parquet)",
            "filter",
            "the operators and functions that this store knows",
        )


def _finite(sql: str) -> str:
    """Null where a number is infinite or not one."""
    return f"cql_finite({sql})"


def _is_geometry(value: Any) -> bool:
    return isinstance(value, ast.Attribute) and value.name == GEOMETRY


def necessary_boxes(node: Any) -> list[tuple[float, float, float, float]]:
    """Boxes (CRS84) each of which every feature that passes the filter has to meet: they let row groups be left out."""
    if isinstance(node, ast.And):
        return necessary_boxes(node.lhs) + necessary_boxes(node.rhs)
    if type(node) in _SPATIAL and not isinstance(node, ast.GeometryDisjoint) and not _is_geometry(node.rhs):
        west, south, east, north = node.rhs.bounds
        return [(float(west), float(south), float(east), float(north))]
    return []
