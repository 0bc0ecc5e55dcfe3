"""The temporal functions of CQL2 as comparisons of instants (OGC 21-065r2 clause 7.6).

An instant is the interval from itself to itself, an open end lies beyond every instant. No temporal node reaches a store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from pygeofilter import ast

from providers.features.cql2.terms import Condition, Term, all_of, compare, either, known


@dataclass(frozen=True, slots=True)
class Endless:
    """An open end: before everything (-1) or after everything (1)."""

    side: int


PAST: Final = Endless(-1)
FUTURE: Final = Endless(1)

type End = Term | Endless
type Span = tuple[End, End]

_START, _END = 0, 1
_LT, _LE, _EQ, _GE, _GT = ast.LessThan, ast.LessEqual, ast.Equal, ast.GreaterEqual, ast.GreaterThan

# (end of the first, comparison, end of the second), all of which must hold
_RULES: Final[dict[str, tuple[tuple[int, type[ast.Comparison], int], ...]]] = {
    "t_after": ((_START, _GT, _END),),
    "t_before": ((_END, _LT, _START),),
    "t_contains": ((_START, _LT, _START), (_END, _GT, _END)),
    "t_during": ((_START, _GT, _START), (_END, _LT, _END)),
    "t_equals": ((_START, _EQ, _START), (_END, _EQ, _END)),
    "t_finishedby": ((_START, _LT, _START), (_END, _EQ, _END)),
    "t_finishes": ((_START, _GT, _START), (_END, _EQ, _END)),
    "t_intersects": ((_START, _LE, _END), (_END, _GE, _START)),
    "t_meets": ((_END, _EQ, _START),),
    "t_metby": ((_START, _EQ, _END),),
    "t_overlappedby": ((_START, _GT, _START), (_START, _LT, _END), (_END, _GT, _END)),
    "t_overlaps": ((_START, _LT, _START), (_END, _GT, _START), (_END, _LT, _END)),
    "t_startedby": ((_START, _EQ, _START), (_END, _GT, _END)),
    "t_starts": ((_START, _EQ, _START), (_END, _LT, _END)),
}
TEMPORAL_FUNCTIONS: Final = frozenset([*_RULES, "t_disjoint"])


def relate(name: str, first: Span, second: Span) -> Condition:
    """What a temporal function says of two spans. Raises Refusal where dates meet date-times of other fields."""
    if name == "t_disjoint":
        return either(relate("t_before", first, second), relate("t_after", first, second))
    conditions: list[Condition] = []
    for mine, operator, theirs in _RULES[name]:
        condition = _ordered(operator, first[mine], second[theirs])
        if condition not in conditions:
            conditions.append(condition)
    # "known" says nothing new of a value that another comparison looks at
    for condition in [item for item in conditions if _is_known(item)]:
        others = [item for item in conditions if item is not condition]
        if any(_looks_at(other, condition.lhs) for other in others):
            conditions = others
    return all_of(conditions)


def _ordered(operator: type[ast.Comparison], left: End, right: End) -> Condition:
    if isinstance(left, Term) and isinstance(right, Term):
        return compare(operator, left, right)
    difference = _side(left) - _side(right)
    if operator is _EQ:
        truth = difference == 0
    elif operator in (_LT, _LE):
        truth = difference < 0 or (operator is _LE and difference == 0)
    else:
        truth = difference > 0 or (operator is _GE and difference == 0)
    for end in (left, right):
        if isinstance(end, Term) and not end.is_literal:
            return known(end) if truth else ast.NotEqual(end.node, end.node)
    return truth


def _side(end: End) -> int:
    return end.side if isinstance(end, Endless) else 0


def _is_known(condition: Condition) -> TypeGuard[ast.Equal]:
    return isinstance(condition, ast.Equal) and condition.lhs is condition.rhs


def _looks_at(condition: Condition, node: Any) -> bool:
    return isinstance(condition, ast.Comparison) and (condition.lhs is node or condition.rhs is node)
