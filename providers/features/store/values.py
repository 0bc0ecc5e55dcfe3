"""Attribute values: from what readers give, to what SQLite keeps, to what GeoJSON shows.

SQLite keeps text, integers, reals, 0/1 for booleans, `YYYY-MM-DD` for dates and `YYYY-MM-DDTHH:MM:SS.SSSZ` for instants
(GeoPackage clause 1.1.1.1.3). GeoJSON shows booleans as such and instants without zero milliseconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from providers.errors import InvalidValue
from providers.features.schema import FieldDefinition

type Value = str | int | float | None
SQL_TYPES = {
    ("string", None): "TEXT",
    ("string", "date"): "DATE",
    ("string", "date-time"): "DATETIME",
    ("integer", None): "INTEGER",
    ("number", None): "REAL",
    ("boolean", None): "BOOLEAN",
}
_INT64 = 1 << 63
_INSTANTS = re.compile(r"(?:[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9])+")


def stored_values(
    field: FieldDefinition, values: Sequence[Any] | NDArray[Any], first_row: int
) -> list[Value]:
    """A column as SQLite keeps it. `first_row` counts rows before this batch, for messages. Raises InvalidValue."""
    if isinstance(values, np.ndarray):
        quick = _from_array(field, values)
        if quick is not None:
            return quick
        return stored_values(field, values.tolist(), first_row)
    kinds = set(map(type, values))
    if kinds <= _AS_IS[field.type, field.format]:
        return _checked_as_is(field, values, first_row)
    if field.format == "date-time" and kinds == {str}:
        quick = _local_instants(values)
        if quick is not None:
            return quick
    convert = _CONVERTERS[field.type, field.format]
    if kinds <= {str, type(None)}:
        quick = _by_distinct(convert, values)
        if quick is not None:
            return quick
    return [
        None if value is None else _convert(field, convert, value, first_row + i)
        for i, value in enumerate(values)
    ]


def shown_values(field: FieldDefinition, values: Sequence[Any]) -> Sequence[Any]:
    """A column as SQLite keeps it, as GeoJSON shows it."""
    if field.type == "boolean":
        return [None if value is None else bool(value) for value in values]
    if field.format == "date-time":
        return [None if value is None else shown_instant(value) for value in values]
    return values


def shown_instant(value: str) -> str:
    """A stored instant without milliseconds that are zero."""
    return value[:19] + "Z" if value.endswith(".000Z") else value


def stored_instant(value: datetime) -> str:
    """An instant as it is stored; without a zone it is taken as UTC."""
    moment = value.astimezone(UTC) if value.tzinfo is not None else value
    return moment.isoformat(timespec="milliseconds")[:23] + "Z"


def _from_array(field: FieldDefinition, values: NDArray[Any]) -> list[Value] | None:
    """Numpy columns of a fitting dtype, without a look at each value; None where each has to be looked at."""
    kind = values.dtype.kind
    if field.type == "number" and kind in "fiu":
        numbers = values.astype(np.float64)
        if np.isfinite(numbers).all():
            return list(numbers.tolist())
        return [value if math.isfinite(value) else None for value in numbers.tolist()]
    if field.type == "integer" and kind == "i":
        return list(values.tolist())
    if field.type == "boolean" and kind == "b":
        return list(values.astype(np.int64).tolist())
    if field.format in ("date", "date-time") and kind == "M":
        unit, cut = ("D", 10) if field.format == "date" else ("ms", 23)
        texts = np.datetime_as_string(values.astype(f"M8[{unit}]")).tolist()
        suffix = "" if field.format == "date" else "Z"
        return [None if text == "NaT" else text[:cut] + suffix for text in texts]
    return None


def _local_instants(texts: Sequence[str]) -> list[Value] | None:
    """Instants that all look like 2025-08-24T17:36:28, in a tenth of the time; None where any looks different."""
    if _INSTANTS.fullmatch("".join(texts)) is None:
        return None
    try:
        return [text + "Z" for text in np.datetime_as_string(np.array(texts, dtype="M8[ms]")).tolist()]
    except ValueError:
        return None  # the thirtieth of February: the slow way names the row


def _by_distinct(convert: Callable[[Any], Value], texts: Sequence[str | None]) -> list[Value] | None:
    """Texts of which many are equal (days, say), each converted once; None where few are, or one cannot be converted."""
    distinct = set(texts)
    if 2 * len(distinct) > len(texts):
        return None
    try:
        known = {text: None if text is None else convert(text) for text in distinct}
    except (TypeError, ValueError, OverflowError):
        return None  # the slow way names the row
    return [known[text] for text in texts]


def _checked_as_is(field: FieldDefinition, values: Sequence[Any], first_row: int) -> list[Value]:
    if len(values) == 0:
        return []
    if field.type == "integer":
        if None not in values and min(values) >= -_INT64 and max(values) < _INT64:
            return list(values)
        for i, value in enumerate(values):
            if value is not None and not -_INT64 <= value < _INT64:
                raise _misfit(field, value, first_row + i, "a 64-bit integer")
    elif field.type == "number":
        if None not in values and np.isfinite(np.array(values, dtype=np.float64)).all():
            return list(values)
        return [value if value is not None and math.isfinite(value) else None for value in values]
    elif field.type == "string":
        check_text(field.name, values, first_row)
    return list(values)


def check_text(name: str, values: Sequence[str | None], first_row: int) -> None:
    """Raise InvalidValue where a text is not valid Unicode (a lone surrogate, which no UTF-8 can carry)."""
    try:
        "".join([value for value in values if value is not None]).encode()
    except UnicodeEncodeError:
        for i, value in enumerate(values):
            if value is not None and any("\ud800" <= letter <= "\udfff" for letter in value):
                raise InvalidValue(
                    f"Row {first_row + i + 1}, {name!r}: {ascii(value)[:80]} is not valid Unicode; "
                    "was the source read with the right encoding?"
                ) from None


def _convert(field: FieldDefinition, convert: Callable[[Any], Value], value: Any, row: int) -> Value:
    try:
        stored = convert(value)
    except (TypeError, ValueError, OverflowError) as error:
        wanted = field.type if field.format is None else f"{field.type} ({field.format})"
        raise _misfit(field, value, row, f"{wanted}: {error}") from None
    if isinstance(stored, str) and field.format is None:
        check_text(field.name, [stored], row)
    return stored


def _misfit(field: FieldDefinition, value: Any, row: int, wanted: str) -> InvalidValue:
    return InvalidValue(f"Row {row + 1}, {field.name!r}: {str(value)[:80]!r} is not {wanted}")


def _text(value: Any) -> Value:
    if isinstance(value, float | np.floating) and math.isnan(value):
        return None
    if isinstance(value, str | int | float | np.generic | date):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no text form here")


def _integer(value: Any) -> Value:
    number = float(value) if isinstance(value, float | np.floating) else value
    if isinstance(number, float):
        if math.isnan(number):
            return None
        if not number.is_integer():
            raise ValueError("it has a fraction")
    result = int(number)
    if not -_INT64 <= result < _INT64:
        raise ValueError("it needs more than 64 bits")
    return result


def _number(value: Any) -> Value:
    number = float(value)
    return number if math.isfinite(number) else None


def _boolean(value: Any) -> Value:
    if isinstance(value, bool | np.bool_) or (isinstance(value, int | np.integer) and value in (0, 1)):
        return int(value)
    raise ValueError("true or false is wanted")


def _date(value: Any) -> Value:
    if isinstance(value, datetime):
        return value.date().isoformat()
    return (value if isinstance(value, date) else date.fromisoformat(_missing_as_error(value))).isoformat()


def _instant(value: Any) -> Value:
    if isinstance(value, datetime):
        return stored_instant(value)
    if isinstance(value, date):
        return stored_instant(datetime(value.year, value.month, value.day))
    return stored_instant(datetime.fromisoformat(_missing_as_error(value)))


def _missing_as_error(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} is not a date")
    return value


_AS_IS: dict[tuple[str, str | None], set[type]] = {
    ("string", None): {str, type(None)},
    ("string", "date"): set(),
    ("string", "date-time"): set(),
    ("integer", None): {int, type(None)},
    ("number", None): {float, type(None)},
    ("boolean", None): set(),
}
_CONVERTERS: dict[tuple[str, str | None], Callable[[Any], Value]] = {
    ("string", None): _text,
    ("string", "date"): _date,
    ("string", "date-time"): _instant,
    ("integer", None): _integer,
    ("number", None): _number,
    ("boolean", None): _boolean,
}
