"""Edits of a table, in one transaction: row versions checked in the statement itself, constraints told by their field."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import shapely

from providers.errors import (
    EditError,
    InvalidFeature,
    ItemNotFound,
    ReadOnlySource,
    StoreError,
    VersionConflict,
)
from providers.features.postgis.columns import Column, Kind, quoted
from providers.features.postgis.facts import Description, Facts
from providers.features.postgis.pools import Connection, Database
from providers.features.postgis.reading import key_of
from providers.features.postgis.violations import fault_of
from providers.features.source import Edit, EditKind, EditResult, Unchanged

_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_WITHOUT_TYPMOD = {
    "varchar": "text",
    "bpchar": "text",
}  # a cast with a length would cut the text instead of refusing it


def make_edits(
    database: Database, facts: Facts, description: Description, edits: Sequence[Edit], author: str
) -> list[EditResult]:
    """Make all edits, or none.

    Raises ItemNotFound, ItemExists, VersionConflict, InvalidFeature (with the `index` of the edit), ReadOnlySource, StoreError,
    SourceUnavailable. Deadlocks between batches are answered as VersionConflict: nothing was done, the client may try again.
    """
    if not facts.table.may_write:
        what = "a view" if facts.table.is_view else "a table this role may not write"
        raise ReadOnlySource(
            f"{facts.table.schema}.{facts.table.name} is {what}: its features cannot be edited"
        )
    writer = _Writer(facts, description)
    with database.connection() as connection:
        connection.execute(_BEGIN)
        try:
            if author:
                connection.execute("SELECT set_config('application_name', %s, true)", (_author(author),))
            results = [writer.make(connection, index, edit) for index, edit in enumerate(edits)]
            _finish(connection, facts, len(edits))
        except BaseException:
            if not connection.closed:
                connection.execute("ROLLBACK")
            raise
    return results


def _author(author: str) -> str:
    """At most the 63 bytes PostgreSQL keeps of a name, in ASCII."""
    return f"chengtu: {author}".encode("ascii", "replace").decode().replace("\0", "?")[:63]


def _finish(connection: Connection, facts: Facts, count: int) -> None:
    """Commit: deferred constraints are checked now."""
    try:
        connection.execute("COMMIT")
    except psycopg.errors.IntegrityError as error:
        raise fault_of(connection, facts, error, None if count > 1 else 0) from None


@dataclass(frozen=True)
class _Writer:
    facts: Facts
    description: Description

    def make(self, connection: Connection, index: int, edit: Edit) -> EditResult:
        """One edit inside the transaction."""
        try:
            connection.execute("SAVEPOINT edit")
            if edit.kind is EditKind.CREATE:
                result = self._create(connection, edit)
            elif edit.kind is EditKind.DELETE:
                result = self._delete(connection, edit)
            else:
                result = self._change(connection, edit)
            connection.execute("RELEASE SAVEPOINT edit")
            return result
        except (EditError, ItemNotFound) as error:
            error.index = index
            raise
        except psycopg.errors.InsufficientPrivilege:
            raise ReadOnlySource(
                f"The role may not make this edit of {self.facts.table.schema}.{self.facts.table.name}"
            ) from None
        except (
            psycopg.errors.DeadlockDetected,
            psycopg.errors.SerializationFailure,
            psycopg.errors.LockNotAvailable,
        ):
            conflict = VersionConflict(
                "Another edit of the same features is under way: read them again, then edit"
            )
            conflict.index = index
            raise conflict from None
        except (
            psycopg.IntegrityError,
            psycopg.DataError,
            psycopg.errors.RaiseException,
            psycopg.InternalError,
        ) as error:
            connection.execute("ROLLBACK TO SAVEPOINT edit")
            raise self._fault(connection, index, edit, error) from None
        except (psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedTable):
            raise StoreError(f"The table {self.facts.table.name} has changed; ask again") from None

    # --- statements ----------------------------------------------------------------------------------------------------

    def _create(self, connection: Connection, edit: Edit) -> EditResult:
        names, values, arguments = self._assignments(edit, all_fields=True)
        key = self.facts.table.key
        if edit.feature_id is not None:
            found = key_of(key, edit.feature_id)
            if found is None:
                raise InvalidFeature(
                    [("/id", f"{edit.feature_id[:80]!r} is no id of this collection ({key.type_sql})")]
                )
            names, values, arguments = [key, *names], [f"%s::{key.type_sql}", *values], [found, *arguments]
        listed = ", ".join(quoted(each if isinstance(each, str) else each.name) for each in names)
        what = f"({listed}) VALUES ({', '.join(values)})" if names else "DEFAULT VALUES"
        overriding = "OVERRIDING SYSTEM VALUE " if edit.feature_id is not None and key.is_generated else ""
        if overriding:
            what = what.replace(") VALUES", f") {overriding}VALUES", 1)
        text = f"INSERT INTO {self.facts.table.sql} AS a {what} RETURNING {self._returning}"
        row = connection.execute(text.encode(), tuple(arguments)).fetchone()
        if row is None:
            raise StoreError(f"A trigger of {self.facts.table.name} dropped the new feature")
        return EditResult(row[0], row[1])

    def _change(self, connection: Connection, edit: Edit) -> EditResult:
        names, values, arguments = self._assignments(edit, all_fields=edit.kind is EditKind.REPLACE)
        changes = [
            f"{quoted(each if isinstance(each, str) else each.name)} = {value}"
            for each, value in zip(names, values, strict=True)
        ]
        if self.description.version is not None:
            version = quoted(self.description.version)
            changes.append(f"{version} = coalesce(a.{version}, 0) + 1")
        if not changes:  # nothing to change is still an edit: it has a new version
            own = quoted(self.facts.table.key.name)
            changes = [f"{own} = a.{own}"]
        where, bound = self._where(edit)
        text = (
            f"UPDATE {self.facts.table.sql} AS a SET {', '.join(changes)} WHERE {where}"  # noqa: S608 - quoted names
            f" RETURNING {self._returning}"
        )
        row = connection.execute(text.encode(), (*arguments, *bound)).fetchone()
        if row is None:
            raise self._missed(connection, edit)
        return EditResult(row[0], row[1])

    def _delete(self, connection: Connection, edit: Edit) -> EditResult:
        where, bound = self._where(edit)
        text = f"DELETE FROM {self.facts.table.sql} AS a WHERE {where} RETURNING {self.facts.table.key.sql}::text"  # noqa: S608
        row = connection.execute(text.encode(), bound).fetchone()
        if row is None:
            raise self._missed(connection, edit)
        return EditResult(row[0], None)

    @property
    def _returning(self) -> str:
        return f"{self.facts.table.key.sql}::text, {self.facts.version_sql}"

    def _where(self, edit: Edit) -> tuple[str, tuple[Any, ...]]:
        key = self.facts.table.key
        found = None if edit.feature_id is None else key_of(key, edit.feature_id)
        if found is None:
            raise ItemNotFound(edit.feature_id or "")
        where = f"{key.sql} = %s::{key.type_sql}"
        if edit.version is None:
            return where, (found,)
        # Where another edit holds the row, PostgreSQL waits for its end and tests the condition on what it left.
        return f"{where} AND {self.facts.version_sql} = %s", (found, str(edit.version).replace("\0", ""))

    def _missed(self, connection: Connection, edit: Edit) -> VersionConflict | ItemNotFound:
        where, bound = self._where(replace(edit, version=None))
        text = f"SELECT {self.facts.version_sql} FROM {self.facts.table.sql} a WHERE {where}"  # noqa: S608 - quoted names
        row = connection.execute(text.encode(), bound).fetchone()
        if row is None:
            return ItemNotFound(edit.feature_id or "")
        return VersionConflict(
            f"The feature {edit.feature_id!r} has the version {row[0]!r}, not {edit.version!r}: read it again, then edit"
        )

    # --- values --------------------------------------------------------------------------------------------------------

    def _assignments(
        self, edit: Edit, *, all_fields: bool
    ) -> tuple[list[Column | str], list[str], list[Any]]:
        """Columns, the SQL of their values, and the arguments of these.

        In create, a field that is absent or null takes the column's default, so that serial and created-at columns work; in
        replace it becomes null.
        """
        names: list[Column | str] = []
        values: list[str] = []
        arguments: list[Any] = []
        is_create = edit.kind is EditKind.CREATE
        for name, column in self.facts.fields.items():
            if column.is_generated or column.name == self.facts.table.key.name:
                continue
            if not all_fields and name not in edit.properties:
                continue
            value = edit.properties.get(name)
            if is_create and value is None and column.has_default:
                continue
            names.append(column)
            values.append(value_sql(column))
            arguments += bound_values(column, value)
        geometry = self.facts.table.geometry
        if geometry is not None and not isinstance(edit.geometry, Unchanged):
            names.append(geometry.name)
            values.append(f"ST_GeomFromWKB(%s::bytea, {geometry.srid})")
            arguments.append(self._geometry(edit.geometry))
        elif geometry is not None and all_fields and edit.kind is EditKind.REPLACE:
            names.append(geometry.name)
            values.append("NULL")
        return names, values, arguments

    def _geometry(self, shape: shapely.Geometry | None) -> bytes | None:
        if shape is None:
            return None
        column = self.facts.table.geometry
        assert column is not None
        has_z = bool(shapely.has_z(shape))
        if has_z != column.has_z:
            has, wants = ("three", "two") if has_z else ("two", "three")
            raise InvalidFeature([("/geometry", f"has {has} dimensions; this collection keeps {wants}")])
        combine = _MULTIPLE.get(shapely.get_type_id(shape).item()) if column.is_multi else None
        if combine is not None:
            shape = combine([shape])
        return bytes(shapely.to_wkb(shape, output_dimension=3 if column.has_z else 2))

    def _fault(self, connection: Connection, index: int, edit: Edit, error: psycopg.Error) -> Exception:
        if isinstance(error, psycopg.IntegrityError):
            return fault_of(connection, self.facts, error, index)
        if isinstance(error, psycopg.errors.RaiseException):
            message = error.diag.message_primary or "refused by a trigger"
            return InvalidFeature([("", message[:300])], index)
        found = self._offender(connection, edit)
        if found is not None:
            return InvalidFeature([found], index)
        message = (error.diag.message_primary or str(error))[:300]
        pointer = "/geometry" if "eometry" in message else ""
        return InvalidFeature([(pointer, message)], index)

    def _offender(self, connection: Connection, edit: Edit) -> tuple[str, str] | None:
        """The field whose value PostgreSQL cannot take: its own errors do not name the column, so each value is tried alone."""
        for name, value in edit.properties.items():
            column = self.facts.fields.get(name)
            if column is None or value is None:
                continue
            if column.length is not None and isinstance(value, str) and len(value) > column.length:
                return pointer_of(name), f"has {len(value)} characters; at most {column.length} are kept"
            try:
                connection.execute("SAVEPOINT trial")
                connection.execute(f"SELECT {value_sql(column)}".encode(), tuple(bound_values(column, value)))
                connection.execute("RELEASE SAVEPOINT trial")
            except (psycopg.DataError, psycopg.IntegrityError) as error:
                connection.execute("ROLLBACK TO SAVEPOINT trial")
                message = error.diag.message_primary or str(error)
                return pointer_of(name), f"{message[:200]} ({column.type_sql})"
        return None


_MULTIPLE: dict[int, Callable[[Any], Any]] = {
    shapely.GeometryType.POINT: shapely.multipoints,
    shapely.GeometryType.LINESTRING: shapely.multilinestrings,
    shapely.GeometryType.LINEARRING: shapely.multilinestrings,
    shapely.GeometryType.POLYGON: shapely.multipolygons,
}


def pointer_of(name: str) -> str:
    """The JSON pointer of a field (RFC 6901)."""
    return "/properties/" + name.replace("~", "~0").replace("/", "~1")


def value_sql(column: Column) -> str:
    """The placeholder of a value, cast to what the column takes."""
    if column.kind is Kind.ARRAY:
        return (
            f"(SELECT CASE WHEN v IS NULL THEN NULL ELSE ARRAY(SELECT jsonb_array_elements_text(v))::{column.type_sql} END"  # noqa: S608 - a type name of the catalogue
            " FROM (SELECT %s::text::jsonb AS v) t)"
        )
    return f"%s::{_WITHOUT_TYPMOD.get(column.type_name, column.type_sql)}"


def bound_values(column: Column, value: Any) -> list[Any]:
    """A JSON value as psycopg binds it: numbers and truth values as they are, everything else as text."""
    if value is None or isinstance(value, bool | int | float):
        if value is not None and column.field.type == "string":
            return [str(value)]
        return [value]
    return [value if isinstance(value, str) else str(value)]
