"""An ItemQuery as a statement on one table: conditions, order, keyset paging."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from providers.errors import InvalidParameter
from providers.features.postgis.boxes import bbox_condition
from providers.features.postgis.columns import Column, Kind, bindable
from providers.features.postgis.comparisons import casei_sql, column_comparison
from providers.features.postgis.tables import Table
from providers.features.query import Cursor, CursorValue, ItemQuery

type Row = tuple[Any, ...]
_CURSOR = "a cursor taken from a next link of the same query"
_INT64 = 1 << 63


@dataclass(frozen=True, slots=True)
class Statement:
    """The tail of a SELECT on `a`: conditions, order, and what the cursor of each row is made of."""

    where: tuple[str, ...] = ()
    arguments: tuple[Any, ...] = ()
    order: str = ""
    cursor_columns: str = ""

    def text(self, table: Table, columns: str, tail: str = "") -> bytes:
        """The whole statement. `columns` are SQL of our own making."""
        where = f" WHERE {' AND '.join(self.where)}" if self.where else ""
        order = f" ORDER BY {self.order}" if self.order else ""
        return f"SELECT {columns}{self.cursor_columns} FROM {table.sql} a{where}{order}{tail}".encode()  # noqa: S608

    def also(self, condition: str, arguments: Sequence[Any] = ()) -> Statement:
        """The same with one more condition."""
        return replace(self, where=(*self.where, condition), arguments=(*self.arguments, *arguments))


@dataclass(frozen=True)
class Selector:
    """Writes statements for one table. `fields` are the columns shown, `time_field` the one `datetime` asks."""

    table: Table
    fields: Mapping[str, Column]
    time_field: str | None
    slack: tuple[float, float]

    @property
    def key_column(self) -> str:
        """The key as a cursor holds it: a number, or text."""
        key = self.table.key
        return key.sql if key.kind is Kind.INTEGER and key.type_name != "numeric" else f"{key.sql}::text"

    def conditions(self, query: ItemQuery, hidden: frozenset[str]) -> Statement:
        """What a feature must meet, the cursor aside."""
        statement = Statement()
        geometry = self.table.geometry
        if query.bbox is not None:
            if geometry is None:
                return statement.also("FALSE")
            statement = statement.also(*bbox_condition(geometry, query.bbox, self.slack))
        for name, value in query.equals.items():
            statement = statement.also(*_equals(self.fields[name], value))
        if query.datetime is not None and self.time_field is not None:
            statement = self._within(statement, query.datetime.start, query.datetime.end)
        if query.q:
            statement = self._phrases(statement, query.q, hidden)
        if query.filter is not None:
            from providers.features.postgis.filter_sql import filter_condition

            found = filter_condition(query.filter.node, self.table, self.fields, self.slack)
            statement = statement.also(found.text, found.arguments)
        return statement

    def _within(self, statement: Statement, start: str | None, end: str | None) -> Statement:
        column = self.fields[self.time_field or ""]
        statement = statement.also(column.present)
        for operator, limit in ((">=", start), ("<=", end)):
            if limit is not None:
                moment = datetime.fromisoformat(limit)
                value = moment.date() if column.kind is Kind.DATE else moment
                part = column_comparison(column, operator, value, negated=False)
                statement = statement.also(part.text, part.arguments)
        return statement

    def _phrases(self, statement: Statement, phrases: Sequence[str], hidden: frozenset[str]) -> Statement:
        icu = self.table.has_icu
        searched = [
            column
            for name, column in self.fields.items()
            if name not in hidden and column.field.type == "string" and column.field.format is None
        ]
        tests = [
            f"strpos({casei_sql(column.text, icu)}, {casei_sql('%s::text', icu)}) > 0"
            for column in searched
            for _ in phrases
        ]
        arguments = [bindable(phrase) for _ in searched for phrase in phrases]
        return statement.also(f"({' OR '.join(tests)})" if tests else "FALSE", arguments)

    # --- order and cursor ----------------------------------------------------------------------------------------------

    def parts(self, statement: Statement, query: ItemQuery) -> Iterator[Statement]:
        """The statements whose rows, one after the other, are the answer: one, or two where the first sort field can be missing.

        Features with a value come first, in the order of an index; those without follow. Raises InvalidParameter for a foreign cursor.
        """
        keys = [(self.fields[key.field], key.descending) for key in query.sortby]
        cursor = self._checked_cursor(query, keys)
        columns = "".join(f", {column.cursor_value}" for column, _ in keys)
        statement = replace(statement, cursor_columns=f"{columns}, {self.key_column}")
        if not keys:
            after = ("", ()) if cursor is None else self._after_key(cursor[-1])
            if after[0]:
                statement = statement.also(*after)
            yield replace(statement, order=self.table.key.sql)
            return
        (column, descending), *others = keys
        rest = [_order(each, down) for each, down in others]
        if cursor is None or cursor[0] is not None:
            part = statement if not (column.nullable or column.may_be_odd) else statement.also(column.present)
            if cursor is not None:
                part = part.also(*self._after_first(keys, cursor))
            direction = " DESC" if descending else ""
            yield replace(part, order=", ".join([f"{column.sorted}{direction}", *rest, self.table.key.sql]))
        if column.nullable or column.may_be_odd:
            part = statement.also(f"({column.present}) IS NOT TRUE")
            if cursor is not None and cursor[0] is None:
                part = part.also(*self._after_rest(others, cursor[1:]))
            yield replace(part, order=", ".join([*rest, self.table.key.sql]))

    def _checked_cursor(self, query: ItemQuery, keys: Sequence[tuple[Column, bool]]) -> Cursor | None:
        cursor = query.cursor
        if cursor is None:
            return None
        columns = [column for column, _ in keys]
        if len(cursor) != len(keys) + 1 or not all(
            column.takes_cursor(value) for column, value in zip(columns, cursor, strict=False)
        ):
            raise InvalidParameter("cursor", str(cursor), _CURSOR)
        last = cursor[-1]
        is_number = isinstance(last, int) and not isinstance(last, bool) and -_INT64 <= last < _INT64
        if not (is_number if self._has_number_key else isinstance(last, str)):
            raise InvalidParameter("cursor", str(cursor), _CURSOR)
        return tuple(bindable(value) if isinstance(value, str) else value for value in cursor)

    @property
    def _has_number_key(self) -> bool:
        return self.table.key.kind is Kind.INTEGER and self.table.key.type_name != "numeric"

    @property
    def _key_cast(self) -> str:
        return "int8" if self._has_number_key else self.table.key.type_sql

    def _after_key(self, value: CursorValue) -> tuple[str, tuple[Any, ...]]:
        return f"{self.table.key.sql} > %s::{self._key_cast}", (value,)

    def _after_first(
        self, keys: Sequence[tuple[Column, bool]], cursor: Cursor
    ) -> tuple[str, tuple[Any, ...]]:
        (column, descending), *others = keys
        value = f"%s::{column.sorted_type}"
        if not others and not descending:
            text = f"({column.sorted}, {self.table.key.sql}) > ({value}, %s::{self._key_cast})"
            return text, cursor
        rest, arguments = self._after_rest(others, cursor[1:])
        sign = "<" if descending else ">"
        # The first test is what an index answers; the rest of it says which of the equal ones come after.
        text = f"({column.sorted} {sign}= {value} AND ({column.sorted} {sign} {value} OR ({column.sorted} = {value} AND {rest})))"
        return text, (cursor[0], cursor[0], cursor[0], *arguments)

    def _after_rest(self, keys: Sequence[tuple[Column, bool]], cursor: Cursor) -> tuple[str, tuple[Any, ...]]:
        """After the further sort values and the key, each of which may be missing (and then comes last)."""
        if not keys:
            return self._after_key(cursor[-1])
        (column, descending), *others = keys
        rest, arguments = self._after_rest(others, cursor[1:])
        missing = f"({column.present}) IS NOT TRUE"
        if cursor[0] is None:
            return f"({missing} AND {rest})", arguments
        sign = "<" if descending else ">"
        value = f"%s::{column.sorted_type}"
        text = f"({missing} OR {column.sorted} {sign} {value} OR ({column.sorted} = {value} AND {rest}))"
        return text, (cursor[0], cursor[0], *arguments)


def _order(column: Column, descending: bool) -> str:
    clean = f"CASE WHEN {column.present} THEN {column.sorted} END" if column.may_be_odd else column.sorted
    return f"{clean} {'DESC' if descending else 'ASC'} NULLS LAST"


def _equals(column: Column, text: str) -> tuple[str, tuple[Any, ...]]:
    """Equality with a value the parser has read: as text of the field's type."""
    value = typed(column, text)
    if value is None:
        return "FALSE", ()
    found = column_comparison(column, "=", value, negated=False)
    return found.text, found.arguments


def typed(column: Column, text: str) -> Any:
    """A value given as text in the type of its field; None where it can be no value of it."""
    field = column.field
    try:
        if field.type == "integer":
            return int(text)
        if field.type == "number":
            return float(text)
        if field.type == "boolean":
            return text in ("true", "1")
        if field.format == "date":
            return date.fromisoformat(text)
        if field.format == "date-time":
            moment = datetime.fromisoformat(text)
            return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except ValueError:
        return None
    return text
