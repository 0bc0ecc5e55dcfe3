"""Columns of PostgreSQL tables as fields: their types, and the SQL that shows, compares and writes them.

The table is called `a` in every statement. Texts that become part of a statement are made here, from identifiers quoted by
psycopg; values are always bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from psycopg import sql

from providers.features.schema import FieldDefinition


class Kind(StrEnum):
    """How a column behaves; everything without a kind of its own is shown as its text."""

    INTEGER = "integer"
    NUMERIC = "numeric"
    REAL = "real"
    DOUBLE = "double"
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"
    TIMESTAMP_WITH_ZONE = "timestamptz"
    TEXT = "text"
    UUID = "uuid"
    ARRAY = "array"
    OTHER = "other"


_KINDS = {
    **dict.fromkeys(("int2", "int4", "int8", "oid"), Kind.INTEGER),
    "numeric": Kind.NUMERIC,
    "float4": Kind.REAL,
    "float8": Kind.DOUBLE,
    "bool": Kind.BOOLEAN,
    "date": Kind.DATE,
    "timestamp": Kind.TIMESTAMP,
    "timestamptz": Kind.TIMESTAMP_WITH_ZONE,
    **dict.fromkeys(("text", "varchar"), Kind.TEXT),
    "uuid": Kind.UUID,
}
_INTEGER_BITS = {"int2": 16, "int4": 32}
_UNSHOWN = frozenset({"bytea", "geometry", "geography", "raster", "tsvector"})
_INSTANT = frozenset({Kind.TIMESTAMP, Kind.TIMESTAMP_WITH_ZONE})
_JSON_TYPES = {
    Kind.INTEGER: "integer",
    Kind.NUMERIC: "number",
    Kind.REAL: "number",
    Kind.DOUBLE: "number",
    Kind.BOOLEAN: "boolean",
}
_FORMATS = {Kind.DATE: "date", Kind.TIMESTAMP: "date-time", Kind.TIMESTAMP_WITH_ZONE: "date-time"}
_ISO = '\'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"\''


def quoted(*names: str) -> str:
    """An identifier for a statement that psycopg looks through for placeholders."""
    return sql.Identifier(*names).as_string(None).replace("%", "%%")


def literal(text: str) -> str:
    """A text constant for a script (never for a statement with placeholders)."""
    return sql.Literal(text).as_string(None)


def bindable(text: str) -> str:
    """A text PostgreSQL can be asked about: what it cannot hold (NUL, lone surrogates) becomes what no text has."""
    return text.replace("\0", "\uffff").encode("utf-8", "replace").decode("utf-8")


def kind_of(type_name: str, *, is_array: bool, precision: int | None, scale: int | None) -> Kind | None:
    """The kind of a column by the name of its base type; None for what GeoJSON cannot show."""
    if is_array:
        return Kind.ARRAY
    if type_name in _UNSHOWN:
        return None
    found = _KINDS.get(type_name, Kind.OTHER)
    if found is Kind.NUMERIC and scale == 0 and precision is not None and precision <= 18:
        return Kind.INTEGER
    return found


@dataclass(frozen=True)
class Column:
    """One column of a table.

    `type_sql` is its type as PostgreSQL writes it, `length` the most characters it takes. `binary_order`: it sorts by code point
    without being told to. `deterministic`: equal only to itself.
    """

    name: str
    kind: Kind
    type_name: str
    type_sql: str
    nullable: bool = True
    title: str | None = None
    length: int | None = None
    binary_order: bool = False
    deterministic: bool = True
    has_default: bool = False
    is_generated: bool = False
    precision: int | None = None

    @cached_property
    def sql(self) -> str:
        """The column itself."""
        return f"a.{quoted(self.name)}"

    @cached_property
    def field(self) -> FieldDefinition:
        """What users see of it."""
        return FieldDefinition(
            self.name,
            _JSON_TYPES.get(self.kind, "string"),
            _FORMATS.get(self.kind),
            self.name,
            self.title,
            self._constraints(),
        )

    def _constraints(self) -> dict[str, Any]:
        """What the declaration of the column demands of values, so that it is told before the database refuses."""
        words: dict[str, Any] = {}
        if not (self.nullable or self.has_default or self.is_generated):
            words["required"] = True
        if self.length is not None:
            words["maxLength"] = self.length
        if self.type_name in _INTEGER_BITS:
            bound = 1 << (_INTEGER_BITS[self.type_name] - 1)
            words.update(minimum=-bound, maximum=bound - 1)
        return words

    @property
    def is_instant(self) -> bool:
        """Whether it is a point in time, with or without a zone (then taken as UTC)."""
        return self.kind in _INSTANT

    @cached_property
    def is_plain_text(self) -> bool:
        """Whether an index on it answers equality of texts."""
        return self.kind is Kind.TEXT and self.deterministic

    @cached_property
    def present(self) -> str:
        """True where the column has a value that GeoJSON can show; anything else is as good as null."""
        if self.kind in (Kind.REAL, Kind.DOUBLE):
            return f"abs({self.sql}) < 'Infinity'::float8"
        if self._is_whole_numeric:
            return f"abs({self.sql}) < 1e18"
        if self.kind is Kind.NUMERIC:
            return f"abs({self.sql}) < 1e308"  # NaN is greater than every number
        if self.kind is Kind.DATE or self.is_instant:
            return f"({self.sql} >= '0001-01-01' AND {self.sql} < '10000-01-01')"
        return f"{self.sql} IS NOT NULL"

    @property
    def may_be_odd(self) -> bool:
        """Whether it can hold values that are neither null nor shown (NaN, infinity, the year 20000)."""
        odd = (Kind.REAL, Kind.DOUBLE, Kind.NUMERIC, Kind.DATE)
        return self.kind in odd or self.is_instant or self._is_whole_numeric

    @property
    def _is_whole_numeric(self) -> bool:
        return self.kind is Kind.INTEGER and self.type_name == "numeric"

    @cached_property
    def value(self) -> str:
        """The column as an operand of comparisons and arithmetic: null where it is not `present`."""
        if self.kind is Kind.NUMERIC or self.kind is Kind.DOUBLE:
            return f"(CASE WHEN {self.present} THEN {self.sql}::float8 END)"
        if self.kind is Kind.REAL:  # 0.1 as it is shown, not as 0.10000000149
            return f"(CASE WHEN {self.present} THEN {self.sql}::text::float8 END)"
        if self.kind is Kind.DATE:
            return f"(CASE WHEN {self.present} THEN {self.sql} END)"
        if self.is_instant:
            return f"(CASE WHEN {self.present} THEN date_trunc('milliseconds', {self.sql}::timestamp) END)"
        if self._is_whole_numeric:
            return f"(CASE WHEN {self.present} THEN {self.sql}::int8 END)"
        return self.text if _JSON_TYPES.get(self.kind) is None else self.sql

    @cached_property
    def text(self) -> str:
        """The column as text: what is searched and compared where it has no better type."""
        if self.kind is Kind.ARRAY:
            return f"array_to_json({self.sql})::text"
        if self.kind is Kind.TEXT:
            return self.sql if self.deterministic else f'{self.sql} COLLATE "C"'
        return f"{self.sql}::text"

    @cached_property
    def shown(self) -> str:
        """The column as psycopg loads it: JSON values, but instants as datetime without zone in UTC."""
        if self.kind is Kind.DATE:
            return f"CASE WHEN {self.present} THEN to_char({self.sql}, 'YYYY-MM-DD') END"
        if self.is_instant:
            return f"CASE WHEN {self.present} THEN {self.sql}::timestamp END"
        return self.value

    @cached_property
    def shown_in_json(self) -> str:
        """The same for JSON made by PostgreSQL."""
        if self.is_instant:
            in_utc = self.sql if self.kind is Kind.TIMESTAMP else f"({self.sql} AT TIME ZONE 'UTC')"
            return f"CASE WHEN {self.present} THEN replace(to_char({in_utc}, {_ISO}), '.000Z', 'Z') END"
        return self.shown

    @cached_property
    def sorted(self) -> str:
        """The column as it is sorted by where it is `present`: itself, so that an index gives the order."""
        if self.kind in (Kind.TEXT, Kind.OTHER, Kind.ARRAY):
            return self.sql if self.kind is Kind.TEXT and self.binary_order else f'{self.text} COLLATE "C"'
        if self.kind is Kind.NUMERIC and not self._fits_a_double:
            return f"({self.sql}::float8)"  # a cursor holds no more digits than a double
        return self.sql

    @property
    def _fits_a_double(self) -> bool:
        return self.precision is not None and self.precision <= 15

    @cached_property
    def sorted_type(self) -> str:
        """The type a cursor's value is cast to."""
        if self.kind is Kind.NUMERIC and not self._fits_a_double:
            return "float8"
        return "text" if self.kind in (Kind.TEXT, Kind.OTHER, Kind.ARRAY) else self.type_sql

    @cached_property
    def cursor_value(self) -> str:
        """The sort value as a cursor holds it: a number, a truth value or text; null where it is as good as missing."""
        text = f"({self.sorted})"
        if self.kind is Kind.INTEGER:
            text += "::int8"
        elif self.kind is Kind.REAL:
            text += "::text::float8"
        elif self.kind in (Kind.NUMERIC, Kind.DOUBLE):
            text += "::float8"
        elif self.kind is not Kind.BOOLEAN:
            text += "::text"
        return f"CASE WHEN {self.present} THEN {text} END" if self.may_be_odd else text

    def takes_cursor(self, value: object) -> bool:
        """Whether a cursor's value can be one of this column."""
        if value is None:
            return True
        if self.kind is Kind.INTEGER:
            return type(value) is int
        if self.kind in (Kind.NUMERIC, Kind.REAL, Kind.DOUBLE):
            return type(value) in (int, float)
        if self.kind is Kind.BOOLEAN:
            return type(value) is bool
        return isinstance(value, str)
