"""Pieces of SQL that conditions are put together from: a column beside a literal, literals, texts without case.

Nothing here needs the filter parser: property filters, `datetime` and `q` use it too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from providers.errors import UnsupportedQuery
from providers.features.postgis.columns import Column, Kind, bindable

_MILLISECOND: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of SQL with its arguments. `kind`: "text", "number", "boolean", "date", "instant"; `folded` where case is gone."""

    text: str
    arguments: tuple[Any, ...] = ()
    kind: str = ""
    folded: bool = False


def casei_sql(text: str, has_icu: bool) -> str:
    """A text without differences of case, by ICU where there is one.

    Lower, upper, lower again is Unicode's default case folding but for the dotless i (kept here by a private-use letter) and the
    final sigma; the same is done to literals, so both sides agree even for letters whose folding is an upper-case one.
    """
    if not has_icu:
        return f"lower({text})"
    return (
        f"translate(lower(upper(lower(translate({text}, U&'\\0131', U&'\\F8F0') COLLATE \"und-x-icu\"))),"
        " U&'\\03C2\\F8F0', U&'\\03C3\\0131')"
    )


def column_comparison(column: Column, operator: str, value: Any, *, negated: bool) -> Sql:
    """A column beside a literal, so that an index on the column answers it.

    Odd values (NaN, infinity) are unknown: the guard makes true unknown; under NOT the value itself is made null.
    """
    if column.is_instant and isinstance(value, date):
        return _instant_comparison(column, operator, value, negated=negated)
    if column.kind is Kind.REAL or (negated and column.may_be_odd):
        right = literal_value(value)
        return Sql(f"({column.value} {operator} {right.text})", right.arguments)
    if column.kind in (Kind.INTEGER, Kind.NUMERIC) and isinstance(value, float):
        text, arguments = "%s::numeric", (Decimal(repr(value)),)
    elif column.kind is Kind.NUMERIC and isinstance(value, int):
        text, arguments = "%s::numeric", (Decimal(value),)
    else:
        right = literal_value(value)
        text, arguments = right.text, right.arguments
    own = column.sql if column.kind is not Kind.OTHER else column.text
    if isinstance(value, str):
        own = column.text
        if operator not in ("=", "<>") and not column.binary_order:
            own = f'{own} COLLATE "C"'
    guard = f" AND NULLIF({column.present}, FALSE)" if column.may_be_odd else ""
    return Sql(f"({own} {operator} {text}{guard})", arguments)


def _instant_comparison(column: Column, operator: str, value: date, *, negated: bool) -> Sql:
    """Instants count in milliseconds, as they are shown; a column may hold microseconds: they are cut off."""
    own = column.sql if not negated else f"(CASE WHEN {column.present} THEN {column.sql} END)"
    guard = f" AND NULLIF({column.present}, FALSE)" if not negated else ""
    low, high = _instant(value, column), _instant(value, column, _MILLISECOND)
    cast = f"%s::{column.kind.value}"
    if operator in ("=", "<>"):
        within = f"{own} >= {cast} AND {own} < {cast}"
        return Sql(f"(({'NOT ' if operator == '<>' else ''}({within})){guard})", (low, high))
    strict = {"<": ("<", low), ">=": (">=", low), "<=": ("<", high), ">": (">=", high)}
    sign, bound = strict[operator]
    return Sql(f"({own} {sign} {cast}{guard})", (bound,))


def _instant(value: date, column: Column, more: timedelta = timedelta()) -> datetime:
    moment = (
        value if isinstance(value, datetime) else datetime(value.year, value.month, value.day, tzinfo=UTC)
    )
    try:
        moment = moment.astimezone(UTC) + more
    except OverflowError:
        moment = datetime.max.replace(tzinfo=UTC)
    return moment if column.kind is Kind.TIMESTAMP_WITH_ZONE else moment.replace(tzinfo=None)


def literal_value(value: Any) -> Sql:
    """A literal, bound, with the type it is compared in."""
    if isinstance(value, bool):
        return Sql("%s::boolean", (value,), "boolean")
    if isinstance(value, int):
        if abs(value) < 1 << 63:
            return Sql("%s::int8", (value,), "number")
        return (
            Sql("%s::numeric", (Decimal(value),), "number")
            if abs(value) < 10**300
            else Sql("NULL::float8", (), "number")
        )
    if isinstance(value, float):
        return Sql("%s::float8", (value,), "number")
    if isinstance(value, str):
        return Sql("%s::text", (bindable(value),), "text")
    if isinstance(value, datetime):
        return Sql("%s::timestamp", (value.astimezone(UTC).replace(tzinfo=None),), "instant")
    if isinstance(value, date):
        return Sql("%s::date", (value,), "date")
    raise UnsupportedQuery(f"The filter has a value that PostGIS cannot answer: {type(value).__name__}")
