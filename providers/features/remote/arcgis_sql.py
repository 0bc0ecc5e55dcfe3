"""Conditions in the SQL of ArcGIS REST services ("standardized queries"), and the one shape that a query may carry.

Nothing of a request is put into the text as it came: names are the layer's own, numbers are formatted, texts are quoted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import shapely
from pygeofilter import ast

from providers.features.query import GEOMETRY
from providers.features.remote.conditions import COMPARISONS, cannot, flattened, is_casei
from providers.features.schema import CollectionSchema

_KIND = "arcgis"
_ARITHMETIC: Mapping[type, str] = {ast.Add: "+", ast.Sub: "-", ast.Mul: "*"}
_FUNCTIONS = {
    "lower": "LOWER",
    "upper": "UPPER",
    "length": "CHAR_LENGTH",
    "abs": "ABS",
    "floor": "FLOOR",
    "ceiling": "CEILING",
}
# The relation that the service tests is that of the given shape to the feature: "contains" finds features within the shape.
_RELATIONS: Mapping[type, str] = {
    ast.GeometryIntersects: "esriSpatialRelIntersects",
    ast.GeometryWithin: "esriSpatialRelContains",
    ast.GeometryContains: "esriSpatialRelWithin",
    ast.GeometryTouches: "esriSpatialRelTouches",
    ast.GeometryCrosses: "esriSpatialRelCrosses",
    ast.GeometryOverlaps: "esriSpatialRelOverlaps",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of a spatial filter (CRS84) and its relation to features in the service's words."""

    geometry: shapely.Geometry
    relation: str


def split_shape(node: Any) -> tuple[Any, Shape | None]:
    """A condition without the one spatial test that a query can carry beside `where`, and this test."""
    if type(node) in _RELATIONS and not isinstance(node.rhs, ast.Node):
        return None, Shape(node.rhs, _RELATIONS[type(node)])
    if not isinstance(node, ast.And):
        return node, None
    shapes = [
        part for part in flattened(node) if type(part) in _RELATIONS and not isinstance(part.rhs, ast.Node)
    ]
    if len(shapes) != 1:
        return node, None
    rest = [part for part in flattened(node) if part is not shapes[0]]
    joined = rest[0]
    for part in rest[1:]:
        joined = ast.And(joined, part)
    return joined, Shape(shapes[0].rhs, _RELATIONS[type(shapes[0])])


class WhereWriter:
    """Writes conditions of one layer. Raises UnsupportedQuery for what its SQL has no words for."""

    def __init__(self, schema: CollectionSchema) -> None:
        self._schema = schema

    def write(self, node: Any) -> str:
        """A condition."""
        writer = _WRITERS.get(type(node))
        if writer is None:
            raise cannot(_KIND, f"the operation {type(node).__name__}")
        return writer(self, node)

    def _value(self, node: Any) -> str:
        """A scalar expression."""
        if isinstance(node, ast.Attribute):
            return self._name(node)
        if isinstance(node, ast.Function):
            return self._function(node)
        if type(node) in _ARITHMETIC:
            return f"({self._value(node.lhs)} {_ARITHMETIC[type(node)]} {self._value(node.rhs)})"
        if isinstance(node, ast.Node):
            raise cannot(_KIND, f"the operation {type(node).__name__}")
        return literal(node)

    def _name(self, node: Any) -> str:
        if node.name == GEOMETRY:
            raise cannot(_KIND, "a condition on the geometry beside another one")
        return self._schema.by_name[node.name].column

    def _function(self, node: Any) -> str:
        name = _FUNCTIONS.get(node.name.lower())
        if name is None:
            raise cannot(_KIND, f"the function {node.name}")
        return f"{name}({', '.join(self._value(argument) for argument in node.arguments)})"

    def _folded(self, node: Any) -> tuple[str, bool]:
        """An operand, and whether case does not matter: the service's UPPER stands for CASEI."""
        if is_casei(node):
            return f"UPPER({self._name(node.arguments[0])})", True
        return self._value(node), False

    def _comparison(self, node: Any) -> str:
        left, ignores_case = self._folded(node.lhs)
        right = (
            literal(node.rhs.upper())
            if ignores_case and isinstance(node.rhs, str)
            else self._folded(node.rhs)[0]
        )
        return f"{left} {COMPARISONS[type(node)]} {right}"

    def _like(self, node: Any) -> str:
        if "\\" in node.pattern:
            raise cannot(_KIND, "a pattern or phrase with an escaped % or _")
        left, ignores_case = self._folded(node.lhs)
        return f"{left} LIKE {literal(node.pattern.upper() if ignores_case else node.pattern)}"

    def _in(self, node: Any) -> str:
        left, ignores_case = self._folded(node.lhs)
        values = [value.upper() if ignores_case else value for value in node.sub_nodes]
        return f"{left} IN ({', '.join(literal(value) for value in values)})"

    def _between(self, node: Any) -> str:
        return f"{self._value(node.lhs)} BETWEEN {self._value(node.low)} AND {self._value(node.high)}"

    def _is_null(self, node: Any) -> str:
        return f"{self._value(node.lhs)} IS {'NOT ' if node.not_ else ''}NULL"

    def _not(self, node: Any) -> str:
        return f"NOT ({self.write(node.sub_node)})"

    def _and(self, node: Any) -> str:
        return "(" + " AND ".join(self.write(part) for part in flattened(node)) + ")"

    def _or(self, node: Any) -> str:
        return "(" + " OR ".join(self.write(part) for part in flattened(node)) + ")"


_WRITERS: dict[type, Callable[[WhereWriter, Any], str]] = {
    **dict.fromkeys(COMPARISONS, WhereWriter._comparison),
    ast.Like: WhereWriter._like,
    ast.In: WhereWriter._in,
    ast.Between: WhereWriter._between,
    ast.IsNull: WhereWriter._is_null,
    ast.Not: WhereWriter._not,
    ast.And: WhereWriter._and,
    ast.Or: WhereWriter._or,
}


def literal(value: Any) -> str:
    """A value as an SQL literal; instants in UTC, as hosted layers keep them."""
    if isinstance(value, bool):
        raise cannot(_KIND, "a boolean (the service's layers have none)")
    if isinstance(value, str):
        if any(ord(letter) < 32 for letter in value):
            raise cannot(_KIND, "a text with control characters")
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, datetime):
        text = value.astimezone(UTC).isoformat(" ", timespec="milliseconds")[:23].removesuffix(".000")
        return f"TIMESTAMP '{text}'"
    if isinstance(value, date):
        return f"DATE '{value.isoformat()}'"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    raise cannot(_KIND, f"a literal of the type {type(value).__name__}")
