"""Property values of a payload against the fields of a collection."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any

from providers.features.edits.constraints import fault_of
from providers.features.edits.faults import Faults, listed, pointer, shown
from providers.features.schema import FieldDefinition

_INT64 = 1 << 63
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2})"
)


def checked_properties(
    given: Mapping[str, Any],
    fields: Mapping[str, FieldDefinition],
    faults: Faults,
    at: str,
    *,
    complete: bool,
) -> dict[str, Any]:
    """The values of known fields; what does not fit is noted under the pointer `at`. `complete`: absent means null."""
    values: dict[str, Any] = {}
    for name, value in given.items():
        field = fields.get(name)
        if field is None:
            faults.add(at + pointer(name), f"the collection has no such field; it has: {listed(fields)}")
            continue
        values[name] = _checked(field, value, faults, at + pointer(name))
    if complete:
        for name, field in fields.items():
            if name not in given and field.constraints.get("required"):
                faults.add(at + pointer(name), "a value is required")
    return values


def _checked(field: FieldDefinition, value: Any, faults: Faults, at: str) -> Any:
    if value is not None:
        try:
            value = _CHECKS[field.type, field.format](value)
        except (TypeError, ValueError, OverflowError) as error:
            faults.add(at, f"{shown(value)} is not {_wanted(field)}: {error}")
            return None
        if isinstance(value, str) and len(value) > faults.limits.text:
            faults.add(at, f"{len(value)} characters; at most {faults.limits.text} are possible")
            return None
    fault = fault_of(field, value)
    if fault is not None:
        faults.add(at, fault)
    return value


def _wanted(field: FieldDefinition) -> str:
    return f"a {field.format}" if field.format is not None else f"of type {field.type}"


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text in quotation marks is wanted")
    if "\0" in value:
        raise ValueError("the character U+0000 cannot be kept")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("it holds half of a surrogate pair, which is not valid Unicode") from None
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("a whole number is wanted")
    if isinstance(value, float) and not value.is_integer():
        raise ValueError("it is not whole")
    number = int(value)
    if not -_INT64 <= number < _INT64:
        raise ValueError("it needs more than 64 bits")
    return number


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("a number is wanted")
    if not math.isfinite(value):
        raise ValueError("it is not finite")
    return float(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("true or false is wanted")
    return value


def _date(value: Any) -> str:
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise ValueError("a text like 2025-08-24 is wanted")
    return date.fromisoformat(value).isoformat()


def _instant(value: Any) -> str:
    text = value.upper() if isinstance(value, str) else ""
    if not _INSTANT.fullmatch(text):
        raise ValueError("an RFC 3339 text with its zone, like 2025-08-24T17:36:28Z, is wanted")
    datetime.fromisoformat(text).astimezone(UTC)
    return text


_CHECKS: Mapping[tuple[str, str | None], Callable[[Any], Any]] = {
    ("string", None): _text,
    ("string", "date"): _date,
    ("string", "date-time"): _instant,
    ("integer", None): _integer,
    ("number", None): _number,
    ("boolean", None): _boolean,
}
