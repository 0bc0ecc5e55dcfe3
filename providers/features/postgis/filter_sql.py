"""A checked CQL2 filter as a condition of PostgreSQL: every value bound, every name a column of the table.

The tree is the one `providers.features.cql2` makes. Where SQL means something else than CQL2 (integer division, errors of
overflow, NaN, the rounding of halves), the SQL is written so that it does not. Comparisons of a column with a literal stay
in the form that an index answers.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import orjson
import shapely
from pygeofilter import ast

from providers.errors import UnsupportedQuery
from providers.features.postgis.boxes import storage_boxes
from providers.features.postgis.columns import Column, Kind, bindable
from providers.features.postgis.comparisons import Sql, casei_sql, column_comparison, literal_value
from providers.features.postgis.tables import GeometryColumn, Table
from providers.features.query import GEOMETRY, BBox

_COMPARISONS: Final = {
    ast.Equal: "=",
    ast.NotEqual: "<>",
    ast.LessThan: "<",
    ast.LessEqual: "<=",
    ast.GreaterThan: ">",
    ast.GreaterEqual: ">=",
}
_SPATIAL: Final = {
    ast.GeometryIntersects: "ST_Intersects",
    ast.GeometryContains: "ST_Contains",
    ast.GeometryWithin: "ST_Within",
    ast.GeometryTouches: "ST_Touches",
    ast.GeometryCrosses: "ST_Crosses",
    ast.GeometryOverlaps: "ST_Overlaps",
    ast.GeometryEquals: "ST_Equals",
}
_ARRAYS: Final = {
    ast.ArrayEquals: "({0} @> {1} AND {1} @> {0})",
    ast.ArrayContains: "{0} @> {1}",
    ast.ArrayContainedBy: "{1} @> {0}",
    ast.ArrayOverlaps: (
        "CASE WHEN {0} IS NOT NULL THEN EXISTS (SELECT 1 FROM jsonb_array_elements({0}) e WHERE {1} @> jsonb_build_array(e)) END"
    ),
}
_LARGEST_EXPONENT: Final = (
    709.78  # exp of more passes what a double can hold; of less than -708 it is as good as zero
)

# A JSON array of texts, numbers and booleans that jsonb can hold (no NUL, no lone surrogates, no exponents of five digits).
_TEXT = r'"([^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u(?!0000|[dD][89a-fA-F])[0-9a-fA-F]{4}|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})*"'
_ELEMENT = rf"({_TEXT}|-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{{1,4}})?|true|false)"
_JSON_ARRAY: Final = (
    rf"^[ \t\n\r]*\[[ \t\n\r]*({_ELEMENT}([ \t\n\r]*,[ \t\n\r]*{_ELEMENT})*)?[ \t\n\r]*\][ \t\n\r]*$"
)


_KINDS: Final = {
    Kind.INTEGER: "number",
    Kind.NUMERIC: "number",
    Kind.REAL: "number",
    Kind.DOUBLE: "number",
    Kind.BOOLEAN: "boolean",
    Kind.DATE: "date",
    Kind.TIMESTAMP: "instant",
    Kind.TIMESTAMP_WITH_ZONE: "instant",
}


def filter_condition(
    node: Any, table: Table, fields: Mapping[str, Column], slack: tuple[float, float]
) -> Sql:
    """The condition for the root of a filter. Raises UnsupportedQuery for what this table cannot answer."""
    if isinstance(node, bool):
        return Sql("TRUE" if node else "FALSE")
    return _Writer(table, fields, slack).condition(node, negated=False)


@lru_cache(maxsize=1)
def _combining_marks() -> str:
    """A character class of every combining mark of Unicode, as ranges."""
    ranges: list[list[int]] = []
    for code in range(0x300, 0x1F000):
        if unicodedata.combining(chr(code)):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "[" + "".join(f"{chr(low)}-{chr(high)}" for low, high in ranges) + "]"


@dataclass
class _Writer:
    table: Table
    fields: Mapping[str, Column]
    slack: tuple[float, float]

    # --- conditions ------------------------------------------------------------------------------------------------------

    def condition(self, node: Any, *, negated: bool) -> Sql:
        if isinstance(node, ast.And | ast.Or):
            left = self.condition(node.lhs, negated=negated)
            right = self.condition(node.rhs, negated=negated)
            word = "AND" if isinstance(node, ast.And) else "OR"
            return Sql(f"({left.text} {word} {right.text})", (*left.arguments, *right.arguments))
        if isinstance(node, ast.Not):
            inner = self.condition(node.sub_node, negated=True)
            return Sql(f"(NOT {inner.text})", inner.arguments)
        if type(node) in _COMPARISONS:
            return self._comparison(node, _COMPARISONS[type(node)], negated=negated)
        if type(node) in _SPATIAL or isinstance(node, ast.GeometryDisjoint):
            return self._spatial(node, negated=negated)
        if type(node) in _ARRAYS:
            return self._array(node)
        special: dict[type, Callable[[Any, bool], Sql]] = {
            ast.Between: self._between,
            ast.In: self._in,
            ast.Like: self._like,
            ast.IsNull: self._is_null,
        }
        writer = special.get(type(node))
        if writer is not None:
            return writer(node, negated)
        if isinstance(node, ast.Attribute | ast.Function):
            value = self.value(node)
            if value.kind == "boolean":
                return value
        raise UnsupportedQuery(f"The filter has a part that PostGIS cannot answer: {type(node).__name__}")

    def _comparison(self, node: Any, operator: str, *, negated: bool) -> Sql:
        column = self._column(node.lhs)
        if column is not None and not isinstance(node.rhs, ast.Node):
            return column_comparison(column, operator, node.rhs, negated=negated)
        left, right = self._pair(node.lhs, node.rhs)
        return Sql(f"({left.text} {operator} {right.text})", (*left.arguments, *right.arguments))

    def _between(self, node: Any, negated: bool) -> Sql:
        low = self._comparison(ast.GreaterEqual(node.lhs, node.low), ">=", negated=negated)
        high = self._comparison(ast.LessEqual(node.lhs, node.high), "<=", negated=negated)
        return Sql(f"({low.text} AND {high.text})", (*low.arguments, *high.arguments))

    def _in(self, node: Any, negated: bool) -> Sql:
        column = self._column(node.lhs)
        if column is not None and (column.is_plain_text or column.kind is Kind.INTEGER):
            values = [bindable(value) if isinstance(value, str) else value for value in node.sub_nodes]
            if column.is_plain_text:
                return Sql(f"({column.sql} = ANY(%s::text[]))", (values,))
            if all(isinstance(value, int) and abs(value) < 1 << 63 for value in values):
                return Sql(f"({column.sql} = ANY(%s::int8[]))", (values,))
        parts = [
            self._comparison(ast.Equal(node.lhs, value), "=", negated=negated) for value in node.sub_nodes
        ]
        text = " OR ".join(part.text for part in parts)
        return Sql(f"({text})", tuple(argument for part in parts for argument in part.arguments))

    def _like(self, node: Any, _: bool) -> Sql:
        left = self.value(node.lhs)
        pattern = Sql("%s::text", (bindable(_safe_pattern(node.pattern)),), "text")
        if left.folded and node.pattern == node.pattern.casefold():
            pattern = self._folded(pattern)
        if self._column(node.lhs) is None:
            left, pattern = _by_code_point(left), _by_code_point(pattern)
        return Sql(f"({left.text} LIKE {pattern.text})", (*left.arguments, *pattern.arguments))

    def _is_null(self, node: Any, _: bool) -> Sql:
        word = "IS NOT NULL" if node.not_ else "IS NULL"
        if isinstance(node.lhs, ast.Attribute) and node.lhs.name == GEOMETRY:
            if self.table.geometry is None:
                return Sql("FALSE" if node.not_ else "TRUE")
            there = f"({self.table.geometry.sql} IS NOT NULL AND NOT ST_IsEmpty({self.table.geometry.sql}))"
            return Sql(there if node.not_ else f"(NOT {there})")
        value = self.value(node.lhs)
        return Sql(f"({value.text} {word})", value.arguments)

    # --- geometries ------------------------------------------------------------------------------------------------------

    def _spatial(self, node: Any, *, negated: bool) -> Sql:
        geometry = self.table.geometry
        if geometry is None:
            return Sql("NULL::boolean")
        own = geometry.readable if geometry.storage.is_wgs84 else f"ST_Transform({geometry.readable}, 4326)"
        there = f"NULLIF({geometry.sql} IS NOT NULL AND NOT ST_IsEmpty({geometry.sql}), FALSE)"
        is_disjoint = isinstance(node, ast.GeometryDisjoint)
        function = "ST_Intersects" if is_disjoint else _SPATIAL[type(node)]
        if isinstance(node.rhs, ast.Attribute):
            text = f"{function}(g, g)"
            text = f"(SELECT {'NOT ' if is_disjoint else ''}{text} FROM (SELECT ST_Force2D({own}) AS g OFFSET 0) s)"  # noqa: S608 - our own words and quoted names
            return Sql(f"({there} AND {text})" if not negated else f"(CASE WHEN {there} THEN {text} END)")
        shape: shapely.Geometry = node.rhs
        binary = shapely.to_wkb(shape)
        # The literal's SRID is that of the column where both are WGS 84: 4326.
        target = geometry.srid if geometry.storage.is_wgs84 else 4326
        call = f"{function}({own}, ST_GeomFromWKB(%s::bytea, {target}))"
        if is_disjoint:
            return Sql(f"(CASE WHEN {there} THEN NOT {call} END)", (binary,))
        if negated:
            return Sql(f"(CASE WHEN {there} THEN {call} END)", (binary,))
        return self._with_prefilter(geometry, shape, there, call, binary)

    def _with_prefilter(
        self, geometry: GeometryColumn, shape: shapely.Geometry, there: str, call: str, binary: bytes
    ) -> Sql:
        if geometry.storage.is_wgs84:
            if geometry.readable == geometry.sql:  # the function itself asks the index
                return Sql(f"({call} AND {there})", (binary,))
            literal = f"ST_GeomFromWKB(%s::bytea, {geometry.srid})"
            return Sql(f"({geometry.sql} && {literal} AND {there} AND {call})", (binary, binary))
        outer, _ = storage_boxes(geometry, BBox(*shapely.bounds(shape).tolist()), self.slack)
        if outer is None:
            return Sql(f"({there} AND {call})", (binary,))
        box = f"ST_MakeEnvelope(%s::float8, %s::float8, %s::float8, %s::float8, {geometry.srid})"
        return Sql(f"({geometry.sql} && {box} AND {there} AND {call})", (*outer, binary))

    # --- arrays ----------------------------------------------------------------------------------------------------------

    def _array(self, node: Any) -> Sql:
        left = self.value(node.lhs)
        array = f"(CASE WHEN {left.text} ~ %s THEN ({left.text})::jsonb END)"
        wanted = "%s::text::jsonb"
        text = _ARRAYS[type(node)]
        arguments: list[Any] = []
        own = (*left.arguments, _JSON_ARRAY, *left.arguments)
        literal = (orjson.dumps(list(node.rhs)).decode(),)
        for place in _places(text):
            arguments += own if place == "0" else literal
        return Sql(f"({text.format(array, wanted)})", tuple(arguments))

    # --- values ----------------------------------------------------------------------------------------------------------

    def value(self, node: Any) -> Sql:
        """A scalar expression."""
        if isinstance(node, ast.Attribute):
            column = self.fields[node.name]
            return Sql(column.value, (), _KINDS.get(column.kind, "text"))
        if isinstance(node, ast.Arithmetic):
            return self._arithmetic(node)
        if isinstance(node, ast.Function):
            return self._function(node.name, [self.value(argument) for argument in node.arguments])
        return literal_value(node)

    def _column(self, node: Any) -> Column | None:
        return self.fields[node.name] if isinstance(node, ast.Attribute) else None

    def _pair(self, first: Any, second: Any) -> tuple[Sql, Sql]:
        """Both sides of a comparison, in one type: doubles, texts by code point; folded alike."""
        left, right = self.value(first), self.value(second)
        if left.folded and isinstance(second, str) and second == second.casefold():
            right = self._folded(right)
        if left.kind == "text":
            left, right = _by_code_point(left), _by_code_point(right)
        elif left.kind == "number":
            left, right = _as_double(left), _as_double(right)
        return left, right

    def _folded(self, side: Sql) -> Sql:
        if side.folded:
            return side
        return Sql(casei_sql(side.text, self.table.has_icu), side.arguments, "text", True)

    def _arithmetic(self, node: Any) -> Sql:
        first, second = _as_double(self.value(node.lhs)), _as_double(self.value(node.rhs))
        return _of_two(_ARITHMETIC[type(node)], first, second)

    def _function(self, name: str, arguments: Sequence[Sql]) -> Sql:
        first = arguments[0]
        icu = ' COLLATE "und-x-icu"' if self.table.has_icu else ""
        if name == "casei":
            return self._folded(first)
        if name == "accenti":
            text = f"regexp_replace(normalize({first.text}, NFKD), %s, '', 'g')"
            return Sql(text, (*first.arguments, _combining_marks()), "text", first.folded)
        if name in ("lower", "upper"):
            return Sql(f"{name}({first.text}{icu})", first.arguments, "text")
        if name == "length":
            return Sql(f"char_length({first.text})", first.arguments, "number")
        if name in _NUMERIC_FUNCTIONS:
            double = _as_double(first)
            count = _NUMERIC_FUNCTIONS[name].count("{0}")
            return Sql(_NUMERIC_FUNCTIONS[name].format(double.text), double.arguments * count, "number")
        if name in ("minimum", "maximum"):
            return _extreme(
                "LEAST" if name == "minimum" else "GREATEST", [_as_double(each) for each in arguments]
            )
        if name == "mod":  # of whole numbers exact beyond what a double can hold
            return _of_two("CASE WHEN y <> 0 THEN mod(x::numeric, y::numeric) END", first, arguments[1])
        if name in _FUNCTIONS_OF_TWO:
            return _of_two(_FUNCTIONS_OF_TWO[name], _as_double(first), _as_double(arguments[1]))
        raise UnsupportedQuery(f"The function {name!r} cannot be answered by PostGIS")


_NUMERIC_FUNCTIONS: Final = {
    "abs": "abs({0})",
    "floor": "floor({0})",
    "ceiling": "ceil({0})",
    # The largest double below a half: adding a half itself would round 0.49999999999999994 up.
    "round": "(SELECT sign(n) * floor(abs(n) + 0.49999999999999994) FROM (SELECT {0} AS n OFFSET 0) s)",
}
# x and y are doubles. What has no finite value is null, as for every other store; PostgreSQL would raise an error.
_ARITHMETIC: Final = {
    ast.Add: "CASE WHEN abs(x / 2 + y / 2) < 8.98e307 THEN x + y END",
    ast.Sub: "CASE WHEN abs(x / 2 - y / 2) < 8.98e307 THEN x - y END",
    ast.Mul: (
        "CASE WHEN x = 0 OR y = 0 THEN 0 WHEN ln(abs(x)) + ln(abs(y)) < -708 THEN 0"
        f" WHEN ln(abs(x)) + ln(abs(y)) < {_LARGEST_EXPONENT} THEN x * y END"
    ),
    ast.Div: (
        "CASE WHEN y = 0 THEN NULL WHEN x = 0 THEN 0 WHEN ln(abs(x)) - ln(abs(y)) < -708 THEN 0"
        f" WHEN ln(abs(x)) - ln(abs(y)) < {_LARGEST_EXPONENT} THEN x / y END"
    ),
}
_FUNCTIONS_OF_TWO: Final = {
    "idiv": f"CASE WHEN y = 0 THEN NULL WHEN x = 0 THEN 0 WHEN ln(abs(x)) - ln(abs(y)) < -708 THEN 0"
    f" WHEN ln(abs(x)) - ln(abs(y)) < {_LARGEST_EXPONENT} THEN trunc(x / y) END",
    "pow": (
        "CASE WHEN y = 0 THEN 1 WHEN x = 0 THEN CASE WHEN y > 0 THEN 0 END WHEN x < 0 AND y <> floor(y) THEN NULL"
        " WHEN abs(x) = 1 THEN power(x, y) WHEN ln(abs(ln(abs(x)))) + ln(abs(y)) > 700 THEN CASE WHEN (abs(x) < 1) = (y > 0) THEN 0 END"
        f" WHEN y * ln(abs(x)) < -708 THEN 0 WHEN y * ln(abs(x)) < {_LARGEST_EXPONENT} THEN power(x, y) END"
    ),
}


def _by_code_point(side: Sql) -> Sql:
    return Sql(f'({side.text}) COLLATE "C"', side.arguments, side.kind, side.folded)


def _as_double(side: Sql) -> Sql:
    return Sql(f"({side.text})::float8", side.arguments, "number") if side.kind == "number" else side


def _of_two(formula: str, first: Sql, second: Sql) -> Sql:
    """`formula` is a CASE over x and y, of which neither is null: nothing times nought is nothing, not nought."""
    formula = formula.replace("CASE WHEN", "CASE WHEN num_nulls(x, y) > 0 THEN NULL WHEN", 1)
    text = f"(SELECT {formula} FROM (SELECT {first.text} AS x, {second.text} AS y OFFSET 0) s)"  # noqa: S608 - our own words, bound values
    return Sql(text, (*first.arguments, *second.arguments), "number")


def _extreme(function: str, arguments: Sequence[Sql]) -> Sql:
    values = ", ".join(each.text for each in arguments)
    bound = tuple(argument for each in arguments for argument in each.arguments)
    return Sql(f"(CASE WHEN num_nulls({values}) = 0 THEN {function}({values}) END)", bound * 2, "number")


def _safe_pattern(pattern: str) -> str:
    """A pattern whose last character does not escape nothing: PostgreSQL refuses that, CQL2 takes it as itself."""
    trailing = len(pattern) - len(pattern.rstrip("\\"))
    return pattern + "\\" if trailing % 2 else pattern


def _places(template: str) -> list[str]:
    return [template[i + 1] for i, letter in enumerate(template) if letter == "{"]
