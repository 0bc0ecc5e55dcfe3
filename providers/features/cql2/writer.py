"""A checked filter as CQL2 Text and CQL2 JSON (OGC 21-065r2 annexes B and C): canonical, and good for forwarding."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Any, Final

import orjson
import shapely
from pygeofilter import ast

from providers.features.cql2.evaluation import Evaluator, handle
from providers.features.query import GEOMETRY

_PLAIN: Final = re.compile(r"[:_A-Za-z][:_A-Za-z.0-9]*")
_KEYWORDS: Final = frozenset(
    [
        "and",
        "or",
        "not",
        "like",
        "between",
        "in",
        "is",
        "null",
        "true",
        "false",
        "div",
        "geometrycollection",
        "date",
        "timestamp",
        "interval",
        "bbox",
        "casei",
        "accenti",
        "point",
        "linestring",
        "polygon",
        "multipoint",
        "multilinestring",
        "multipolygon",
    ]
)
_OPERATORS: Final = {"mod": "%", "idiv": "div", "pow": "^"}
_ARRAYS: Final = {
    ast.ArrayEquals: "equals",
    ast.ArrayContains: "contains",
    ast.ArrayContainedBy: "containedBy",
    ast.ArrayOverlaps: "overlaps",
}


def to_text(node: Any, geometry_name: str = "geometry") -> str:
    """CQL2 Text of a checked tree (or of True or False). Equal trees give equal texts.

    A text literal with a backslash before a quote has no form in CQL2 Text that all readers agree on; JSON has.
    """
    return str(_TextWriter(geometry_name).evaluate(node))


def to_json(node: Any, geometry_name: str = "geometry") -> Any:
    """CQL2 JSON of a checked tree: a dict, or True or False."""
    return _JsonWriter(geometry_name).evaluate(node)


def instant_text(value: datetime) -> str:
    """A UTC instant in RFC 3339, milliseconds only where there are any."""
    text = value.isoformat(timespec="milliseconds" if value.microsecond else "seconds")
    return text.replace("+00:00", "Z")


def _spatial_name(node: ast.SpatialComparisonPredicate) -> str:
    return f"s_{node.op.value.lower()}"


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


class _TextWriter(Evaluator):
    def __init__(self, geometry_name: str) -> None:
        self._geometry = geometry_name

    def adopt(self, node: Any, *children: Any) -> str:
        if isinstance(node, bool):
            return "TRUE" if node else "FALSE"
        if isinstance(node, str):
            return _quoted(node)
        if isinstance(node, datetime):
            return f"TIMESTAMP('{instant_text(node)}')"
        if isinstance(node, date):
            return f"DATE('{node.isoformat()}')"
        if isinstance(node, shapely.Geometry):
            return str(shapely.to_wkt(node, rounding_precision=-1, trim=True))
        if isinstance(node, list):
            return "(" + ", ".join([self.adopt(item) for item in node]) + ")"
        return repr(node)

    @handle(ast.Attribute)
    def attribute(self, node: Any) -> str:
        name = node.name if node.name != GEOMETRY else self._geometry
        is_plain = _PLAIN.fullmatch(name) is not None and name.lower() not in _KEYWORDS
        return name if is_plain else f'"{name}"'

    @handle(ast.And, ast.Or)
    def combination(self, node: Any, left: str, right: str) -> str:
        return f"({left} {node.op.value} {right})"

    @handle(ast.Not)
    def negation(self, node: Any, inner: str) -> str:
        return f"NOT ({inner})"

    @handle(ast.Comparison, ast.Arithmetic, subclasses=True)
    def binary(self, node: Any, left: str, right: str) -> str:
        text = f"{left} {node.op.value} {right}"
        return f"({text})" if isinstance(node, ast.Arithmetic) else text

    @handle(ast.Between)
    def between(self, node: Any, value: str, low: str, high: str) -> str:
        return f"{value} BETWEEN {low} AND {high}"

    @handle(ast.In)
    def within_list(self, node: Any, value: str, *options: str) -> str:
        return f"{value} IN ({', '.join(options)})"

    @handle(ast.Like)
    def like(self, node: Any, value: str) -> str:
        return f"{value} LIKE {_quoted(node.pattern)}"

    @handle(ast.IsNull)
    def is_null(self, node: Any, value: str) -> str:
        return f"{value} IS {'NOT ' if node.not_ else ''}NULL"

    @handle(ast.SpatialComparisonPredicate, subclasses=True)
    def spatial(self, node: Any, left: str, right: str) -> str:
        return f"{_spatial_name(node).upper()}({left}, {right})"

    @handle(ast.ArrayPredicate, subclasses=True)
    def array(self, node: Any, left: str, right: str) -> str:
        return f"A_{_ARRAYS[type(node)].upper()}({left}, {right})"

    @handle(ast.Function)
    def function(self, node: Any, *arguments: str) -> str:
        operator = _OPERATORS.get(node.name)
        if operator is not None:
            return f"({arguments[0]} {operator.upper()} {arguments[1]})"
        name = node.name.upper() if node.name in ("casei", "accenti") else node.name
        return f"{name}({', '.join(arguments)})"


class _JsonWriter(Evaluator):
    def __init__(self, geometry_name: str) -> None:
        self._geometry = geometry_name

    def adopt(self, node: Any, *children: Any) -> Any:
        if isinstance(node, datetime):
            return {"timestamp": instant_text(node)}
        if isinstance(node, date):
            return {"date": node.isoformat()}
        if isinstance(node, shapely.Geometry):
            return orjson.loads(shapely.to_geojson(node))
        return node

    @handle(ast.Attribute)
    def attribute(self, node: Any) -> Any:
        return {"property": node.name if node.name != GEOMETRY else self._geometry}

    @handle(ast.And, ast.Or)
    def combination(self, node: Any, left: Any, right: Any) -> Any:
        operator = node.op.value.lower()
        # one array for a chain: nesting is what readers bound
        operands = [
            part
            for side in (left, right)
            for part in (side["args"] if isinstance(side, dict) and side.get("op") == operator else [side])
        ]
        return {"op": operator, "args": operands}

    @handle(ast.Not)
    def negation(self, node: Any, inner: Any) -> Any:
        return {"op": "not", "args": [inner]}

    @handle(ast.Comparison, ast.Arithmetic, subclasses=True)
    def binary(self, node: Any, left: Any, right: Any) -> Any:
        return {"op": node.op.value, "args": [left, right]}

    @handle(ast.Between)
    def between(self, node: Any, value: Any, low: Any, high: Any) -> Any:
        return {"op": "between", "args": [value, low, high]}

    @handle(ast.In)
    def within_list(self, node: Any, value: Any, *options: Any) -> Any:
        return {"op": "in", "args": [value, list(options)]}

    @handle(ast.Like)
    def like(self, node: Any, value: Any) -> Any:
        return {"op": "like", "args": [value, node.pattern]}

    @handle(ast.IsNull)
    def is_null(self, node: Any, value: Any) -> Any:
        found = {"op": "isNull", "args": [value]}
        return {"op": "not", "args": [found]} if node.not_ else found

    @handle(ast.SpatialComparisonPredicate, subclasses=True)
    def spatial(self, node: Any, left: Any, right: Any) -> Any:
        return {"op": _spatial_name(node), "args": [left, right]}

    @handle(ast.ArrayPredicate, subclasses=True)
    def array(self, node: Any, left: Any, right: Any) -> Any:
        return {"op": f"a_{_ARRAYS[type(node)]}", "args": [left, right]}

    @handle(ast.Function)
    def function(self, node: Any, *arguments: Any) -> Any:
        return {"op": _OPERATORS.get(node.name, node.name), "args": list(arguments)}
