"""The `datetime` parameter of OGC API - EDR (clause 8.2.3, RFC 3339 section 5.6) as seconds since the epoch."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

from providers.errors import InvalidParameter
from providers.sensors.store import Span

_ALLOWED = (
    "an RFC 3339 instant (2024-01-31T10:00:00Z), a date (2024-01-31), or an interval of two of them with '..' for an open "
    "end (2024-01-01T00:00:00Z/..)"
)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})")


def parse_span(text: str | None) -> Span:
    """The closed span of an instant, date or interval; a date is the whole UTC day. Raises InvalidParameter."""
    if text is None:
        return Span(None, None)
    parts = text.split("/")
    if len(parts) > 2 or not text.strip():
        raise InvalidParameter("datetime", text, _ALLOWED)
    if len(parts) == 1:
        return _span_of(parts[0], text)
    start = None if parts[0] in ("", "..") else _span_of(parts[0], text).start
    end = None if parts[1] in ("", "..") else _span_of(parts[1], text).end
    if start is not None and end is not None and start > end:
        raise InvalidParameter("datetime", text, "an interval whose start is not after its end")
    return Span(start, end)


def _span_of(text: str, whole: str) -> Span:
    """First and last second of one instant or day."""
    try:
        if _DATE.fullmatch(text):
            day = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
            first = int(day.timestamp())
            return Span(first, first + int(timedelta(days=1).total_seconds()) - 1)
        if _INSTANT.fullmatch(text):
            instant = int(datetime.fromisoformat(text.upper().replace(" ", "T")).timestamp())
            return Span(instant, instant)
    except (ValueError, OverflowError) as error:
        raise InvalidParameter("datetime", whole, _ALLOWED) from error
    raise InvalidParameter("datetime", whole, _ALLOWED)
