"""Times as the registry keeps them: RFC 3339 in UTC to the microsecond, which sort as text on every database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def now() -> str:
    """The present time, such as 2026-05-01T12:00:00.000000Z."""
    return _text(datetime.now(UTC))


def seconds_ago(seconds: float) -> str:
    """The time so many seconds before now."""
    return _text(datetime.now(UTC) - timedelta(seconds=seconds))


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
