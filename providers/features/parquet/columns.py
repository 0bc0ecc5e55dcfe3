"""From the columns of a Parquet file to fields: how each is compared, sorted and shown, as DuckDB SQL.

Values that JSON cannot say are null throughout: numbers that are not finite, infinite dates. Instants without a zone are taken
as UTC and count by the millisecond; lists, structs and maps are JSON text; decimals are numbers; binary columns are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from providers.errors import InvalidParameter
from providers.features.schema import FieldDefinition

_INTEGERS = frozenset(
    ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
)
_NUMBERS = frozenset(("FLOAT", "DOUBLE", "HUGEINT", "UHUGEINT"))
_LEFT_OUT = ("BLOB", "GEOMETRY", "BIT", "VARIANT")
_INT64 = 1 << 63


def quote(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class ParquetColumn:
    """A field and its SQL.

    `value` is compared, `shown` is what GeoJSON shows, `sorted` orders as `value` does and goes through JSON in a cursor
    ("date" and instants aside, which `sorted_literal` leads back). `check` is an aggregate that is true where every value may be
    taken as it is, "" where they all can.
    """

    definition: FieldDefinition
    value: str
    shown: str
    sorted: str
    check: str = ""
    careful: str = ""

    def with_care(self) -> ParquetColumn:
        """The column where `check` was not true: values that do not fit become null or are cut."""
        return _finish(replace(self, value=self.careful, check="", careful=""))


def column_of(name: str, kind: str) -> ParquetColumn | None:
    """The field of a column of a DuckDB type; None for binary ones."""
    column = quote(name)
    if kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION")):
        return _made(name, "string", None, f"CAST(to_json({column}) AS VARCHAR)")
    if kind.startswith(_LEFT_OUT):
        return None
    if kind == "BOOLEAN":
        return _made(name, "boolean", None, column)
    if kind in _INTEGERS:
        return _made(name, "integer", None, column)
    if kind in _NUMBERS or kind.startswith("DECIMAL"):
        return _number(name, column, kind)
    if kind == "DATE":
        careful = f"CASE WHEN isfinite({column}) THEN {column} END"
        return _made(name, "string", "date", column, f"isfinite({column})", careful)
    if kind.startswith("TIMESTAMP"):
        return _instant(name, column, kind)
    text = column if kind == "VARCHAR" else f"CAST({column} AS VARCHAR)"
    return _made(name, "string", None, text)


def _number(name: str, column: str, kind: str) -> ParquetColumn:
    if kind not in ("FLOAT", "DOUBLE"):
        return _made(name, "number", None, f"CAST({column} AS DOUBLE)")
    careful = f"CASE WHEN isfinite({column}) THEN {column} END"
    return _made(name, "number", None, column, f"isfinite({column})", careful)


def _instant(name: str, column: str, kind: str) -> ParquetColumn:
    if kind in ("TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"):
        column = f"CAST({column} AS TIMESTAMP)"
    check = f"isfinite({column}) AND epoch_us({column}) % 1000 = 0"
    careful = f"CASE WHEN isfinite({column}) THEN date_trunc('millisecond', {column}) END"
    return _made(name, "string", "date-time", column, check, careful)


def _made(
    name: str, kind: str, form: str | None, value: str, check: str = "", careful: str = ""
) -> ParquetColumn:
    definition = FieldDefinition(name, kind, form, column=name)
    return _finish(ParquetColumn(definition, value, value, value, check, careful))


def _finish(column: ParquetColumn) -> ParquetColumn:
    """Fill in `shown` and `sorted` by the type."""
    value, kind, form = column.value, column.definition.type, column.definition.format
    if form == "date":
        text = f"strftime({value}, '%Y-%m-%d')"
        return replace(column, shown=text, sorted=text)
    if form == "date-time":
        text = f"replace(strftime({value}, '%Y-%m-%dT%H:%M:%S.%gZ'), '.000Z', 'Z')"
        return replace(column, shown=text, sorted=f"epoch_ms({value})")
    if kind == "number":
        double = f"CAST({value} AS DOUBLE)"
        return replace(column, shown=double, sorted=double)
    if kind == "boolean":
        return replace(column, shown=value, sorted=f"CAST({value} AS INTEGER)")
    return replace(column, shown=value, sorted=value)


def sort_value(definition: FieldDefinition, value: Any) -> Any:
    """A value out of a cursor, as an argument to compare with `ParquetColumn.value`. Raises InvalidParameter."""
    kind, form = definition.type, definition.format
    try:
        if form == "date" and isinstance(value, str):
            return date.fromisoformat(value)
        if form == "date-time" and type(value) is int:
            return datetime.fromtimestamp(value / 1000, UTC).replace(tzinfo=None)
    except (ValueError, OverflowError, OSError) as error:
        raise _not_a_cursor(value) from error
    fits = {
        "string": isinstance(value, str) and form is None,
        "integer": type(value) is int and -_INT64 <= value < 2 * _INT64,
        "number": type(value) in (int, float),
        "boolean": value in (0, 1),
    }
    if not fits[kind]:
        raise _not_a_cursor(value)
    return bool(value) if kind == "boolean" else value


def _not_a_cursor(value: Any) -> InvalidParameter:
    return InvalidParameter("cursor", str(value), "a cursor taken from a next link of the same query")


def equal_value(definition: FieldDefinition, text: str) -> Any:
    """The text of a property filter as an argument; None where no value of the field can be equal to it."""
    try:
        if definition.type == "integer":
            number = int(text)
            return number if -_INT64 <= number < 2 * _INT64 else None
        if definition.type == "number":
            return float(text)
        if definition.type == "boolean":
            return text in ("true", "1")
        if definition.format == "date":
            return date.fromisoformat(text)
        if definition.format == "date-time":
            return instant_argument(text)
    except ValueError:
        return None
    return text


def instant_argument(text: str) -> datetime:
    """An RFC 3339 instant (without a zone: UTC) as DuckDB compares it: naive, in UTC, cut to the millisecond."""
    moment = datetime.fromisoformat(text)
    moment = moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo is not None else moment
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def checks_of(columns: Sequence[ParquetColumn]) -> list[str]:
    """Aggregates, one a column: whether its values may be taken as they are."""
    return [f"coalesce(bool_and({column.check}), true)" if column.check else "true" for column in columns]
