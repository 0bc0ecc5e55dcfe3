"""Attribute values of a remote answer, as GeoJSON shows them: checked against the fields that are known.

A service may change its schema at any time; a value that does not fit its field is never passed on as something else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any

from providers.features.schema import FieldDefinition

_INT64 = 1 << 63
_MILLISECONDS = 1000.0


class Misfit(ValueError):
    """A value that does not fit its field, or a feature that is none: the remote's schema has changed, or its data is broken."""


def shown_column(field: FieldDefinition, values: Sequence[Any]) -> list[Any]:
    """A column as GeoJSON shows it; an empty text is no number, boolean or time, but a missing one. Raises Misfit."""
    convert = _CONVERTERS[field.type, field.format]
    if convert is not _text:
        values = [None if value == "" else value for value in values]
    try:
        return [None if value is None else convert(value) for value in values]
    except (TypeError, ValueError, OverflowError, OSError):
        bad = next(value for value in values if value is not None and not _fits(convert, value))
        raise Misfit(
            f"field {field.name!r} holds {str(bad)[:60]!r}, which is no {field.format or field.type}"
        ) from None


def _fits(convert: Callable[[Any], Any], value: Any) -> bool:
    try:
        convert(value)
    except (TypeError, ValueError, OverflowError, OSError):
        return False
    return True


def _text(value: Any) -> str:
    if isinstance(value, str):
        value.encode()  # a lone surrogate cannot be written
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | dict):
        import orjson

        return orjson.dumps(value).decode()
    raise TypeError(type(value).__name__)


def _integer(value: Any) -> int:
    if isinstance(value, float) and not value.is_integer():
        raise ValueError("a fraction")
    number = int(value)
    if isinstance(value, bool) or not -_INT64 <= number < _INT64:
        raise ValueError("no 64-bit integer")
    return number


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        raise TypeError("a boolean")
    number = float(value)
    return number if math.isfinite(number) else None


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    found = _BOOLEANS.get(str(value).lower())
    if found is None:
        raise ValueError("neither true nor false")
    return found


_BOOLEANS = {"true": True, "1": True, "false": False, "0": False, "t": True, "f": False}


def _date(value: Any) -> str:
    if isinstance(value, int | float):
        return _from_epoch(value).date().isoformat()
    return date.fromisoformat(value.replace("/", "-")[:10]).isoformat()


def _instant(value: Any) -> str:
    """RFC 3339 in UTC with whole or with three decimals; without a zone it is taken as UTC."""
    moment = _from_epoch(value) if isinstance(value, int | float) else _from_text(value)
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")[:23]
    return f"{text[:19]}Z" if text.endswith(".000") else f"{text}Z"


def _from_epoch(value: float) -> datetime:
    """ArcGIS writes milliseconds since 1970 in UTC."""
    if isinstance(value, bool):
        raise TypeError("a boolean")
    return datetime.fromtimestamp(value / _MILLISECONDS, UTC)


def _from_text(value: str) -> datetime:
    moment = datetime.fromisoformat(value.replace("/", "-"))
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


_CONVERTERS: dict[tuple[str, str | None], Callable[[Any], Any]] = {
    ("string", None): _text,
    ("string", "date"): _date,
    ("string", "date-time"): _instant,
    ("integer", None): _integer,
    ("number", None): _number,
    ("boolean", None): _boolean,
}
