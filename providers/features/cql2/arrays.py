"""The array functions of CQL2 (OGC 21-065r2 clause 7.7).

Two arrays written out become comparisons of their elements; an array in a field is a text that holds a JSON array.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from pygeofilter import ast

from providers.features.cql2.limits import Refusal
from providers.features.cql2.terms import Condition, Kind, Term, all_of, any_of, both, compare

_NODES: Final[dict[str, type[ast.ArrayPredicate]]] = {
    "a_equals": ast.ArrayEquals,
    "a_contains": ast.ArrayContains,
    "a_containedby": ast.ArrayContainedBy,
    "a_overlaps": ast.ArrayOverlaps,
}
_TURNED: Final = {"a_contains": "a_containedby", "a_containedby": "a_contains"}
ARRAY_FUNCTIONS: Final = frozenset(_NODES)
_MAXIMUM_PAIRS: Final = 10_000


def relate_arrays(name: str, first: Term | list[Term], second: Term | list[Term]) -> Condition:
    """What an array function says of two arrays: lists of terms, or text fields. Raises Refusal."""
    if isinstance(first, Term):
        if isinstance(second, Term):
            raise Refusal(
                f"{name.upper()} of {first.shown} and {second.shown}", "at least one array of literals"
            )
        return _NODES[name](first.node, [_json_value(term) for term in second])
    if isinstance(second, Term):
        return relate_arrays(_TURNED.get(name, name), second, first)
    if len(first) * len(second) > _MAXIMUM_PAIRS:
        raise Refusal(
            f"arrays of {len(first)} and {len(second)} elements",
            f"at most {_MAXIMUM_PAIRS} pairs of elements",
        )
    if name == "a_contains":
        return _contains(first, second)
    if name == "a_containedby":
        return _contains(second, first)
    if name == "a_equals":
        return both(_contains(first, second), _contains(second, first))
    return any_of([_same(left, right) for left in first for right in second])


def _contains(outer: list[Term], inner: list[Term]) -> Condition:
    return all_of([any_of([_same(left, right) for left in outer]) for right in inner])


def _same(left: Term, right: Term) -> Condition:
    if left.kind is not right.kind and not {left.kind, right.kind} <= {Kind.DATE, Kind.INSTANT}:
        return False
    return compare(ast.Equal, left, right)


def _json_value(term: Term) -> Any:
    if not term.is_literal or term.kind is Kind.GEOMETRY:
        raise Refusal(
            f"an array with {term.shown}",
            "texts, numbers, true, false, dates: a field's array is compared with literals",
        )
    if isinstance(term.node, datetime):
        return term.node.isoformat(timespec="milliseconds").replace(".000", "").replace("+00:00", "Z")
    return term.node.isoformat() if term.kind is Kind.DATE else term.node
