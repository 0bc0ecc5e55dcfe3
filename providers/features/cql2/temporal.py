"""The temporal functions of CQL2 as comparisons of instants (OGC 21-065r2 clause 7.6).

An instant is the interval from itself to itself, an open end lies beyond every instant. No temporal node reaches a store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

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
    compared = [
        (first[mine], operator, second[theirs], _ordered(operator, first[mine], second[theirs]))
        for mine, operator, theirs in _RULES[name]
    ]
    conditions: list[Condition] = []
    for left, _, right, condition in compared:
        if isinstance(left, Endless) or isinstance(right, Endless):
            finite = [end for end in (left, right) if isinstance(end, Term)]
            others = [item[3] for item in compared if item[3] is not condition]
            if condition == _holds(finite) and all(_mentions(others, end) for end in finite):
                continue  # the other comparisons are unknown already where this value is missing
        if condition not in conditions:
            conditions.append(condition)
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


def _holds(finite: list[Term]) -> Condition:
    return known(finite[0]) if finite else True


def _mentions(conditions: list[Condition], end: Term) -> bool:
    return any(
        isinstance(condition, ast.Comparison) and condition.lhs is end.node for condition in conditions
    )
