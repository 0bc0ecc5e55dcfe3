"""Values inside filters with their types, and the conditions made of them, folded as they are made.

A condition is a pygeofilter node, or True or False where no feature has to be looked at. Three-valued logic holds throughout:
what is unknown for a missing value stays unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from typing import Any, Final

from pygeofilter import ast

from providers.features.cql2.limits import Refusal
from providers.features.cql2.raw import in_utc, instant_literal

type Condition = ast.Node | bool


class Kind(Enum):
    """The type of a value, by the word that messages use."""

    TEXT = "text"
    NUMBER = "a number"
    BOOLEAN = "true or false"
    DATE = "a date"
    INSTANT = "a date-time"
    GEOMETRY = "a geometry"


TEMPORAL: Final = (Kind.DATE, Kind.INSTANT)


@dataclass(frozen=True, slots=True)
class Term:
    """A value: a literal or an expression. `untyped` literals are texts of an XML filter that take the type they meet."""

    node: Any
    kind: Kind
    is_literal: bool
    untyped: bool = False

    @property
    def shown(self) -> str:
        """The term for messages."""
        if isinstance(self.node, ast.Attribute):
            return f"{self.node.name or 'geometry'!r}"
        if not self.is_literal or self.kind is Kind.GEOMETRY:
            return "an expression"
        return self.node.isoformat() if isinstance(self.node, date) else repr(self.node)[:60]


_FLIPPED: Final[dict[type[ast.Node], type[ast.Comparison]]] = {
    ast.Equal: ast.Equal,
    ast.NotEqual: ast.NotEqual,
    ast.LessThan: ast.GreaterThan,
    ast.LessEqual: ast.GreaterEqual,
    ast.GreaterThan: ast.LessThan,
    ast.GreaterEqual: ast.LessEqual,
}
_OPPOSITE: Final[dict[type[ast.Node], type[ast.Comparison]]] = {
    ast.Equal: ast.NotEqual,
    ast.NotEqual: ast.Equal,
    ast.LessThan: ast.GreaterEqual,
    ast.LessEqual: ast.GreaterThan,
    ast.GreaterThan: ast.LessEqual,
    ast.GreaterEqual: ast.LessThan,
}


def both(left: Condition, right: Condition) -> Condition:
    """AND."""
    if isinstance(left, bool):
        return right if left else False
    if isinstance(right, bool):
        return left if right else False
    return ast.And(left, right)


def either(left: Condition, right: Condition) -> Condition:
    """OR."""
    if isinstance(left, bool):
        return True if left else right
    if isinstance(right, bool):
        return True if right else left
    return ast.Or(left, right)


def all_of(conditions: list[Condition]) -> Condition:
    """AND of any number, as a tree of logarithmic depth."""
    while len(conditions) > 1:
        pairs = [both(conditions[i], conditions[i + 1]) for i in range(0, len(conditions) - 1, 2)]
        conditions = pairs + conditions[len(conditions) - len(conditions) % 2 :]
    return conditions[0] if conditions else True


def any_of(conditions: list[Condition]) -> Condition:
    """OR of any number, as a tree of logarithmic depth."""
    while len(conditions) > 1:
        pairs = [either(conditions[i], conditions[i + 1]) for i in range(0, len(conditions) - 1, 2)]
        conditions = pairs + conditions[len(conditions) - len(conditions) % 2 :]
    return conditions[0] if conditions else False


def negated(condition: Condition) -> Condition:
    """NOT, moved into comparisons: equal in three-valued logic, and fit for an index."""
    if isinstance(condition, bool):
        return not condition
    if isinstance(condition, ast.Not):
        inner: ast.Node = condition.sub_node
        return inner
    if isinstance(condition, ast.IsNull):
        return ast.IsNull(condition.lhs, not condition.not_)
    opposite = _OPPOSITE.get(type(condition))
    if opposite is not None and isinstance(condition, ast.Comparison):
        return opposite(condition.lhs, condition.rhs)
    return ast.Not(condition)


def known(term: Term) -> Condition:
    """True where the value is there, else unknown."""
    return True if term.is_literal else ast.Equal(term.node, term.node)


# --- types that meet -----------------------------------------------------------------------------------------------------


def coerced(term: Term, kind: Kind) -> Term:
    """A literal as the type it meets: texts that are RFC 3339 instants, and untyped literals. Else the term itself."""
    if not term.is_literal or term.kind is not Kind.TEXT or kind is Kind.TEXT:
        return term
    if kind in TEMPORAL:
        value = instant_literal(term.node)
        return Term(value, Kind.INSTANT if isinstance(value, datetime) else Kind.DATE, True)
    if not term.untyped:
        return term
    if kind is Kind.NUMBER:
        return number(_number(term.node))
    if kind is Kind.BOOLEAN and term.node.lower() in _BOOLEANS:
        return Term(_BOOLEANS[term.node.lower()], Kind.BOOLEAN, True)
    return term


_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}


def _number(text: str) -> int | float:
    try:
        if "_" not in text and text.isascii():
            return int(text) if text.strip().lstrip("+-").isdigit() else float(text)
    except ValueError:
        pass
    raise Refusal(repr(text[:60]), "a number")


def number(value: int | float | None) -> Term:
    """A number literal: finite, whole ones within 64 bits. Raises Refusal."""
    try:
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            value = float(value)
    except OverflowError:
        value = None
    # the comparison with itself is false for not-a-number
    if value is None or value - value != 0:
        raise Refusal("an arithmetic expression without a finite value", "numbers that can be computed with")
    return Term(value + 0, Kind.NUMBER, True)


def agreed(left: Term, right: Term) -> tuple[Term, Term]:
    """Two terms that can be compared, or a date and a date-time of which one is a literal. Raises Refusal."""
    left, right = coerced(left, right.kind), coerced(right, left.kind)
    if left.kind is right.kind:
        return left, right
    if left.kind in TEMPORAL and right.kind in TEMPORAL:
        if left.is_literal or right.is_literal:
            return left, right
        raise Refusal(
            f"a comparison of {left.shown} ({left.kind.value}) with {right.shown} ({right.kind.value})",
            "dates with dates, and date-times with date-times",
        )
    raise Refusal(
        f"a comparison of {left.shown} ({left.kind.value}) with {right.shown} ({right.kind.value})",
        "values of one type on both sides",
    )


def compare(operator: type[ast.Comparison], left: Term, right: Term) -> Condition:
    """A comparison. Raises Refusal where the types do not agree."""
    left, right = agreed(left, right)
    if left.kind is Kind.GEOMETRY:
        raise Refusal("a comparison of geometries", "a spatial function, like S_INTERSECTS or S_EQUALS")
    if left.kind is Kind.BOOLEAN and operator not in (ast.Equal, ast.NotEqual):
        raise Refusal(f"an ordering of {left.shown}", "= or <> for true and false")
    if left.is_literal and right.is_literal:
        return _fold(operator, _by_day(left, right), _by_day(right, left))
    if left.is_literal:
        left, right, operator = right, left, _FLIPPED[operator]
    if left.kind is Kind.INSTANT and right.kind is Kind.DATE:
        return _with_day(operator, left.node, right.node)
    if left.kind is Kind.DATE and right.kind is Kind.INSTANT:
        right = replace(right, node=right.node.date(), kind=Kind.DATE)
    return operator(left.node, right.node)


def _by_day(term: Term, other: Term) -> Any:
    """The literal, as a day where the other one is."""
    return term.node.date() if term.kind is Kind.INSTANT and other.kind is Kind.DATE else term.node


def _fold(operator: type[ast.Comparison], left: Any, right: Any) -> bool:
    if operator is ast.Equal:
        return bool(left == right)
    if operator is ast.NotEqual:
        return bool(left != right)
    if operator is ast.LessThan:
        return bool(left < right)
    if operator is ast.LessEqual:
        return bool(left <= right)
    return bool(left > right) if operator is ast.GreaterThan else bool(left >= right)


def first_moment(day: date) -> datetime:
    """The first millisecond of a day in UTC."""
    return datetime.combine(day, time(), UTC)


def last_moment(day: date) -> datetime:
    """The last millisecond of a day in UTC."""
    return first_moment(day) + timedelta(hours=23, minutes=59, seconds=59, milliseconds=999)


def _with_day(operator: type[ast.Comparison], expression: Any, day: date) -> Condition:
    """An instant compared with a whole day: by the day it lies in."""
    if operator is ast.Equal:
        return ast.Between(expression, first_moment(day), last_moment(day), False)
    if operator is ast.NotEqual:
        return ast.Not(ast.Between(expression, first_moment(day), last_moment(day), False))
    uses_start = operator in (ast.LessThan, ast.GreaterEqual)
    return operator(expression, first_moment(day) if uses_start else last_moment(day))


def between(value: Term, low: Term, high: Term) -> Condition:
    """BETWEEN, as one node where the three are of one type."""
    terms = (value, coerced(low, value.kind), coerced(high, value.kind))
    simple = (
        len({term.kind for term in terms}) == 1 and not value.is_literal and value.kind is not Kind.BOOLEAN
    )
    if simple and value.kind is not Kind.GEOMETRY:
        return ast.Between(*(term.node for term in terms), not_=False)
    return both(compare(ast.GreaterEqual, value, low), compare(ast.LessEqual, value, high))


def within_list(value: Term, options: list[Term]) -> Condition:
    """IN, as one node where the options are literals of the value's type."""
    options = [coerced(option, value.kind) for option in options]
    for option in options:
        agreed(value, option)
    if value.is_literal or not all(option.is_literal and option.kind is value.kind for option in options):
        return any_of([compare(ast.Equal, value, option) for option in options])
    if value.kind is Kind.GEOMETRY:
        raise Refusal("a list of geometries", "a spatial function, like S_EQUALS")
    values = list(dict.fromkeys([option.node for option in options]))
    return ast.Equal(value.node, values[0]) if len(values) == 1 else ast.In(value.node, values, False)


def literal(value: Any) -> Term | None:
    """A literal of the common tree with its type; None for what is no scalar literal."""
    if isinstance(value, bool):
        return Term(value, Kind.BOOLEAN, True)
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, str):
        if any("\ud800" <= letter <= "\udfff" for letter in value) or "\0" in value:
            raise Refusal(ascii(value)[:60], "valid Unicode without the character 0")
        return Term(value, Kind.TEXT, True)
    if isinstance(value, datetime):
        return Term(in_utc(value), Kind.INSTANT, True)
    return Term(value, Kind.DATE, True) if isinstance(value, date) else None
