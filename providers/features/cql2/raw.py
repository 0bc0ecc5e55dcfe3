"""The tree between parsing and checking: what CQL2 Text, CQL2 JSON and FES have in common.

It is made of pygeofilter's nodes. Functions of every class (`s_intersects`, `t_after`, `casei`, ...) are still
`ast.Function` under their lower-case names, arrays are lists, and literals that pygeofilter has no checked form of are here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import shapely
from pygeofilter import ast

from providers.features.cql2.limits import Refusal

OPEN: Final = ".."

COMPARISONS: Final[dict[str, type[ast.Comparison]]] = {
    "=": ast.Equal,
    "<>": ast.NotEqual,
    "<": ast.LessThan,
    "<=": ast.LessEqual,
    ">": ast.GreaterThan,
    ">=": ast.GreaterEqual,
}
ARITHMETIC: Final[dict[str, type[ast.Arithmetic]]] = {"+": ast.Add, "-": ast.Sub, "*": ast.Mul, "/": ast.Div}
ARITHMETIC_FUNCTIONS: Final = {"%": "mod", "div": "idiv", "^": "pow"}


@dataclass(frozen=True, slots=True)
class GeometryLiteral:
    """A geometry as written. `crs` names what it is in, None for the request's `filter-crs`; `in_gis_order`: x is east."""

    shape: shapely.Geometry
    crs: str | None = None
    in_gis_order: bool = False


@dataclass(frozen=True, slots=True)
class BoxLiteral:
    """The corners of a BBOX as written (`crs` and `in_gis_order` as above)."""

    numbers: tuple[float, ...]
    crs: str | None = None
    in_gis_order: bool = False


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval: each end an instant, an expression, or OPEN."""

    start: Any
    end: Any

    def get_sub_nodes(self) -> list[Any]:
        """The two ends."""
        return [self.start, self.end]


def date_literal(text: str) -> date:
    """A `YYYY-MM-DD`. Raises Refusal."""
    try:
        if len(text) == 10:
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise Refusal(f"the date {text[:60]!r}", "a date like '2024-05-17'")


def timestamp_literal(text: str) -> datetime:
    """An RFC 3339 date-time with a zone, in UTC and cut to milliseconds. Raises Refusal."""
    try:
        if text.isascii() and len(text) > 18 and text[10] in "Tt " and text[13] == ":" == text[16]:
            moment = datetime.fromisoformat(text.upper())
            if moment.tzinfo is not None:
                return in_utc(moment)
    except (ValueError, OverflowError):
        pass
    raise Refusal(
        f"the timestamp {text[:60]!r}", "an RFC 3339 date-time with its zone, like '2024-05-17T08:30:00Z'"
    )


def in_utc(moment: datetime) -> datetime:
    """The same instant in UTC, in whole milliseconds: what every store keeps. Raises OverflowError at the ends of time."""
    moment = moment.astimezone(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def instant_literal(text: str) -> date | datetime:
    """A date or a date-time. Raises Refusal."""
    return date_literal(text) if len(text) == 10 else timestamp_literal(text)


def interval_literal(ends: Sequence[Any]) -> Interval:
    """An interval of texts, OPEN and expressions. Raises Refusal."""
    if len(ends) != 2:
        raise Refusal(f"an INTERVAL of {len(ends)} parts", "INTERVAL(start, end)")
    start, end = (_interval_end(end) for end in ends)
    if not isinstance(start, ast.Node) and type(start) is type(end) and start != OPEN and start > end:
        raise Refusal(f"the interval {ends[0]}/{ends[1]}", "a start that is not after the end")
    return Interval(start, end)


def _interval_end(end: Any) -> Any:
    if isinstance(end, str):
        return OPEN if end in ("", OPEN) else instant_literal(end)
    return end
