"""From the common tree to the one that stores evaluate: names and types checked, geometries in CRS84, literals folded.

What comes out is described in `providers.features.query.Filter` and, node by node, in the docstring of this package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import shapely
from pygeofilter import ast

from providers.features.cql2 import strings
from providers.features.cql2.arithmetic import DEFINITIONS, INTEGER, NUMBER, FunctionDefinition, divide
from providers.features.cql2.arrays import ARRAY_FUNCTIONS, relate_arrays
from providers.features.cql2.geometry import to_crs84
from providers.features.cql2.limits import (
    MAXIMUM_LIST,
    MAXIMUM_PATTERN,
    MAXIMUM_WILDCARDS,
    Refusal,
    check_length,
    check_size,
)
from providers.features.cql2.raw import OPEN, BoxLiteral, GeometryLiteral, Interval
from providers.features.cql2.temporal import FUTURE, PAST, TEMPORAL_FUNCTIONS, End, Span, relate
from providers.features.cql2.terms import (
    TEMPORAL,
    Condition,
    Kind,
    Term,
    any_of,
    between,
    both,
    coerced,
    compare,
    either,
    literal,
    negated,
    number,
    within_list,
)
from providers.features.query import GEOMETRY
from providers.features.schema import CollectionSchema, FieldDefinition

GEOMETRY_NAMES: Final = ("geometry", "geom", "the_geom")
"""What filters may call the geometry, where no field is called so; the first is the one we publish."""

SPATIAL: Final[dict[str, type[ast.SpatialComparisonPredicate]]] = {
    "s_intersects": ast.GeometryIntersects,
    "s_disjoint": ast.GeometryDisjoint,
    "s_contains": ast.GeometryContains,
    "s_within": ast.GeometryWithin,
    "s_touches": ast.GeometryTouches,
    "s_crosses": ast.GeometryCrosses,
    "s_overlaps": ast.GeometryOverlaps,
    "s_equals": ast.GeometryEquals,
}
SPATIAL_RELATIONS: Final[dict[type[ast.Node], Callable[..., Any]]] = {
    ast.GeometryIntersects: shapely.intersects,
    ast.GeometryDisjoint: shapely.disjoint,
    ast.GeometryContains: shapely.contains,
    ast.GeometryWithin: shapely.within,
    ast.GeometryTouches: shapely.touches,
    ast.GeometryCrosses: shapely.crosses,
    ast.GeometryOverlaps: shapely.overlaps,
    ast.GeometryEquals: shapely.equals,
}
_TURNED: Final[dict[type[ast.Node], type[ast.SpatialComparisonPredicate]]] = {
    ast.GeometryContains: ast.GeometryWithin,
    ast.GeometryWithin: ast.GeometryContains,
}
_PREDICATES: Final = frozenset([*SPATIAL, *TEMPORAL_FUNCTIONS, *ARRAY_FUNCTIONS])
_KINDS: Final = {
    ("string", None): Kind.TEXT,
    ("string", "date"): Kind.DATE,
    ("string", "date-time"): Kind.INSTANT,
    ("integer", None): Kind.NUMBER,
    ("number", None): Kind.NUMBER,
    ("boolean", None): Kind.BOOLEAN,
}


def kind_of(field: FieldDefinition) -> Kind:
    """The type of a field's values in filters."""
    return _KINDS.get((field.type, field.format)) or _KINDS.get((field.type, None), Kind.TEXT)


class Checker:
    """Checks one filter against one collection. `fields` are the names met so far."""

    def __init__(
        self, schema: CollectionSchema, hidden: frozenset[str], crs: str, *, untyped: bool = False
    ) -> None:
        self.fields: set[str] = set()
        self._schema = schema
        self._hidden = hidden
        self._crs = crs
        self._untyped = untyped

    def check(self, root: Any) -> Condition:
        """The whole tree. Raises Refusal."""
        check_size(root)
        return self._condition(root)

    # --- conditions ---

    def _condition(self, node: Any) -> Condition:
        if isinstance(node, bool):
            return node
        if isinstance(node, ast.Comparison):
            return compare(type(node), self._term(node.lhs), self._term(node.rhs))
        build = _CONDITIONS.get(type(node))
        if build is not None:
            return build(self, node)
        term = self._term(node)
        if term.kind is not Kind.BOOLEAN:
            raise Refusal(f"{term.shown} ({term.kind.value})", "a condition there, like name = 'x'")
        return bool(term.node) if term.is_literal else ast.Equal(term.node, True)

    def _and(self, node: ast.And) -> Condition:
        return both(self._condition(node.lhs), self._condition(node.rhs))

    def _or(self, node: ast.Or) -> Condition:
        return either(self._condition(node.lhs), self._condition(node.rhs))

    def _not(self, node: ast.Not) -> Condition:
        return negated(self._condition(node.sub_node))

    def _between(self, node: ast.Between) -> Condition:
        condition = between(self._term(node.lhs), self._term(node.low), self._term(node.high))
        return negated(condition) if node.not_ else condition

    def _in(self, node: ast.In) -> Condition:
        check_length(node.sub_nodes, MAXIMUM_LIST, "values of an IN list")
        if not node.sub_nodes:
            raise Refusal("an empty IN list", "at least one value")
        condition = within_list(self._term(node.lhs), [self._term(option) for option in node.sub_nodes])
        return negated(condition) if node.not_ else condition

    def _is_null(self, node: ast.IsNull) -> Condition:
        if isinstance(node.lhs, Interval | list):
            return node.not_
        term = self._term(node.lhs)
        return node.not_ if term.is_literal else ast.IsNull(term.node, node.not_)

    def _like(self, node: ast.Like) -> Condition:
        term = self._term(node.lhs)
        if term.kind is not Kind.TEXT:
            raise Refusal(f"{term.shown} ({term.kind.value}) LIKE", "text on the left of LIKE")
        pattern = self._pattern(node.pattern)
        check_length(pattern, MAXIMUM_PATTERN, "characters of a LIKE pattern")
        tokens = strings.like_tokens(pattern)
        check_length(
            [token for token in tokens if token is strings.ANY], MAXIMUM_WILDCARDS, "wildcards % of a pattern"
        )
        if term.is_literal:
            return bool(strings.like(term.node, pattern))
        if not tokens or (tokens == (tokens[0],) and isinstance(tokens[0], str)):
            return ast.Equal(term.node, "".join(map(str, tokens)))
        return ast.Like(term.node, strings.like_pattern(tokens), False, "%", "_", "\\", False)

    def _pattern(self, pattern: Any) -> str:
        if (
            isinstance(pattern, ast.Function)
            and pattern.name in ("casei", "accenti")
            and len(pattern.arguments) == 1
        ):
            change = strings.casei if pattern.name == "casei" else strings.accenti
            return strings.map_pattern(self._pattern(pattern.arguments[0]), change)
        found = literal(pattern)
        if found is None or found.kind is not Kind.TEXT:
            raise Refusal(
                "a LIKE pattern that is no text", "a text in '...', also inside CASEI() or ACCENTI()"
            )
        return str(found.node)

    def _function_condition(self, node: ast.Function) -> Condition:
        name, arguments = node.name.lower(), node.arguments
        if name in _PREDICATES and len(arguments) != 2:
            raise Refusal(f"{name.upper()} of {len(arguments)} arguments", "2 arguments")
        if name in SPATIAL:
            return self._spatial(SPATIAL[name], self._term(arguments[0]), self._term(arguments[1]))
        if name in TEMPORAL_FUNCTIONS:
            return relate(
                name, self._span(arguments[0], arguments[1]), self._span(arguments[1], arguments[0])
            )
        if name in ARRAY_FUNCTIONS:
            return relate_arrays(name, self._array(arguments[0]), self._array(arguments[1]))
        term = self._term(node)
        raise Refusal(
            f"{node.name} ({term.kind.value})", "a condition there: a comparison of what the function gives"
        )

    # --- spatial, temporal and array operands ---

    def _spatial(
        self, relation: type[ast.SpatialComparisonPredicate], first: Term, second: Term
    ) -> Condition:
        for term in (first, second):
            if term.kind is not Kind.GEOMETRY:
                raise Refusal(
                    f"{term.shown} ({term.kind.value})", f"a geometry: {self._geometry_name()!r} or a literal"
                )
        if first.is_literal and second.is_literal:
            return bool(SPATIAL_RELATIONS[relation](first.node, second.node))
        if first.is_literal:
            first, second, relation = second, first, _TURNED.get(relation, relation)
        shape = second.node
        if isinstance(shape, shapely.GeometryCollection) and relation in (
            ast.GeometryIntersects,
            ast.GeometryDisjoint,
        ):
            # a store with an older GEOS relates no collections
            meets = any_of([ast.GeometryIntersects(first.node, part) for part in shape.geoms])
            return meets if relation is ast.GeometryIntersects else negated(meets)
        return relation(first.node, shape)

    def _span(self, node: Any, other: Any) -> Span:
        if isinstance(node, Interval):
            partner = None if isinstance(other, Interval | str) else self._term(other)
            return self._end(node.start, PAST, partner), self._end(node.end, FUTURE, partner)
        moment = self._moment(node, None)
        return moment, moment

    def _end(self, node: Any, open_end: End, partner: Term | None) -> End:
        return open_end if isinstance(node, str) and node == OPEN else self._moment(node, partner)

    def _moment(self, node: Any, partner: Term | None) -> Term:
        term = self._term(node)
        term = coerced(
            term, partner.kind if partner is not None and partner.kind in TEMPORAL else Kind.INSTANT
        )
        if term.kind not in TEMPORAL:
            raise Refusal(f"{term.shown} ({term.kind.value})", "a date, a date-time or an interval")
        return term

    def _array(self, node: Any) -> Term | list[Term]:
        if isinstance(node, list):
            check_length(node, MAXIMUM_LIST, "elements of an array")
            return [self._term(item) for item in node]
        term = self._term(node)
        if term.is_literal:
            return [term]  # ('a') reads as a text in brackets
        if term.kind is not Kind.TEXT or not isinstance(term.node, ast.Attribute):
            raise Refusal(
                f"{term.shown} ({term.kind.value})",
                "an array ('a', 'b'), or a text field that holds JSON arrays",
            )
        return term

    # --- values ---

    def _term(self, node: Any) -> Term:
        found = literal(node)
        if found is not None:
            return Term(found.node, found.kind, True, self._untyped and found.kind is Kind.TEXT)
        build = _TERMS.get(type(node))
        if build is None:
            shown = (
                "an array"
                if isinstance(node, list)
                else "an interval"
                if isinstance(node, Interval)
                else "a condition"
            )
            raise Refusal(
                shown, "a value there: a property, a literal, a function or an arithmetic expression"
            )
        return build(self, node)

    def _attribute(self, node: ast.Attribute) -> Term:
        name = node.name
        field = None if name in self._hidden else self._schema.by_name.get(name)
        if field is not None:
            self.fields.add(name)
            return Term(ast.Attribute(name), kind_of(field), False)
        if name in GEOMETRY_NAMES and name not in self._schema.by_name:
            self.fields.add(GEOMETRY)
            return Term(ast.Attribute(GEOMETRY), Kind.GEOMETRY, False)
        allowed = [item.name for item in self._schema.fields if item.name not in self._hidden]
        raise Refusal(f"the property {name[:80]!r}", f"the queryables {[*allowed, self._geometry_name()]}")

    def _geometry_name(self) -> str:
        return next((name for name in GEOMETRY_NAMES if name not in self._schema.by_name), GEOMETRY_NAMES[0])

    def _geometry(self, node: GeometryLiteral | BoxLiteral) -> Term:
        return Term(self.placed(node), Kind.GEOMETRY, True)

    def placed(self, node: GeometryLiteral | BoxLiteral) -> shapely.Geometry:
        """A geometry literal as stores compare it: in CRS84. Raises Refusal."""
        return to_crs84(node, self._crs)

    def _arithmetic(self, node: ast.Arithmetic) -> Term:
        left, right = self._number(node.lhs), self._number(node.rhs)
        if not (left.is_literal and right.is_literal):
            return Term(type(node)(left.node, right.node), Kind.NUMBER, False)
        return number(_ARITHMETIC[type(node)](left.node, right.node))

    def _number(self, node: Any) -> Term:
        term = coerced(self._term(node), Kind.NUMBER)
        if term.kind is not Kind.NUMBER:
            raise Refusal(f"arithmetic with {term.shown} ({term.kind.value})", "numbers")
        return term

    def _function(self, node: ast.Function) -> Term:
        definition = DEFINITIONS.get(node.name.lower())
        if definition is None:
            if node.name.lower() in _PREDICATES:
                raise Refusal(node.name.upper(), "a value there, not a condition")
            raise Refusal(f"the function {node.name[:60]!r}", f"the functions {sorted(DEFINITIONS)}")
        terms = [self._term(argument) for argument in node.arguments]
        if (
            self._untyped
            and definition.name == "casei"
            and len(terms) == 1
            and terms[0].kind is not Kind.TEXT
        ):
            return terms[0]  # matchCase of something that has no case
        return _call(definition, terms)


def _call(definition: FunctionDefinition, terms: list[Term]) -> Term:
    least = len(definition.arguments)
    if not least <= len(terms) <= least + definition.repeated:
        wanted = f"{least} to {least + definition.repeated}" if definition.repeated else str(least)
        raise Refusal(f"{definition.name} of {len(terms)} arguments", f"{wanted} arguments")
    kind = Kind.NUMBER if definition.arguments[0][1] == NUMBER else Kind.TEXT
    terms = [coerced(term, kind) for term in terms]
    for term in terms:
        if term.kind is not kind:
            raise Refusal(
                f"{definition.name} of {term.shown} ({term.kind.value})", f"{kind.value} in {definition.name}"
            )
    returns = Kind.NUMBER if definition.returns in (NUMBER, INTEGER) else Kind.TEXT
    if not all(term.is_literal for term in terms):
        return Term(ast.Function(definition.name, [term.node for term in terms]), returns, False)
    value = definition.call(*(term.node for term in terms))
    untyped = any(term.untyped for term in terms)
    return number(value) if returns is Kind.NUMBER else Term(value, returns, True, untyped)


_ARITHMETIC: Final[dict[type[ast.Node], Callable[[Any, Any], Any]]] = {
    ast.Add: lambda left, right: left + right,
    ast.Sub: lambda left, right: left - right,
    ast.Mul: lambda left, right: left * right,
    ast.Div: divide,
}
_CONDITIONS: Final[dict[type[Any], Callable[[Checker, Any], Condition]]] = {
    ast.And: Checker._and,
    ast.Or: Checker._or,
    ast.Not: Checker._not,
    ast.Between: Checker._between,
    ast.In: Checker._in,
    ast.IsNull: Checker._is_null,
    ast.Like: Checker._like,
    ast.Function: Checker._function_condition,
}
_TERMS: Final[dict[type[Any], Callable[[Checker, Any], Term]]] = {
    ast.Attribute: Checker._attribute,
    GeometryLiteral: Checker._geometry,
    BoxLiteral: Checker._geometry,
    ast.Add: Checker._arithmetic,
    ast.Sub: Checker._arithmetic,
    ast.Mul: Checker._arithmetic,
    ast.Div: Checker._arithmetic,
    ast.Function: Checker._function,
}
