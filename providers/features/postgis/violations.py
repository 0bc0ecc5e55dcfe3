"""Violated constraints as faults of the feature: which field, and what the constraint says."""

from __future__ import annotations

import psycopg

from providers.errors import InvalidFeature, ItemExists
from providers.features.postgis.facts import Facts
from providers.features.postgis.pools import Connection

_CONSTRAINT = """
SELECT c.conrelid = %(oid)s, pg_get_constraintdef(c.oid),
       ARRAY(SELECT a.attname::text FROM unnest(c.conkey) k(n) JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.n)
FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace
WHERE c.conname = %(name)s AND n.nspname = %(schema)s ORDER BY c.conrelid = %(oid)s DESC LIMIT 1
"""
_INDEX = """
SELECT ARRAY(SELECT a.attname::text FROM unnest(i.indkey) k(n) JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = %s AND c.relname = %s
"""


def fault_of(
    connection: Connection, facts: Facts, error: psycopg.IntegrityError, index: int | None
) -> InvalidFeature | ItemExists:
    """What a violated constraint means for the one who edits. The transaction has to be usable again."""
    diag = error.diag
    is_own = diag.table_name == facts.table.name and diag.schema_name == facts.table.schema
    if isinstance(error, psycopg.errors.NotNullViolation) and diag.column_name:
        return InvalidFeature([(_pointer(facts, diag.column_name), "has to have a value")], index)
    columns, definition, on_this = _columns_of(connection, facts, diag.constraint_name, diag.schema_name)
    if isinstance(error, psycopg.errors.UniqueViolation):
        if is_own and facts.table.key.name in columns:
            exists = ItemExists("There is already a feature with this id")
            exists.index = index
            return exists
        return _fault(facts, columns, "another feature has this value, which has to be unique", index)
    if isinstance(error, psycopg.errors.ForeignKeyViolation):
        if not is_own or not on_this:
            text = (
                f"rows of {diag.table_name} refer to this feature"
                if diag.table_name
                else "other rows refer to it"
            )
            return InvalidFeature([("", text)], index)
        return _fault(facts, columns, f"nothing with this value exists ({definition})", index)
    what = (
        f"breaks the rule {diag.constraint_name}"
        if diag.constraint_name
        else (diag.message_primary or "not allowed")
    )
    return _fault(facts, columns, f"{what}: {definition}" if definition else what, index)


def _columns_of(
    connection: Connection, facts: Facts, name: str | None, schema: str | None
) -> tuple[list[str], str, bool]:
    """The columns of a constraint (or unique index), its definition, and whether it is the table's own."""
    if name is None:
        return [], "", False
    wanted = {"oid": facts.table.oid, "name": name, "schema": schema or facts.table.schema}
    row = connection.execute(_CONSTRAINT, wanted).fetchone()
    if row is not None:
        return list(row[2] or ()), row[1], bool(row[0])
    found = connection.execute(_INDEX, (facts.table.oid, name)).fetchone()
    return (list(found[0]) if found is not None else []), "", True


def _fault(facts: Facts, columns: list[str], text: str, index: int | None) -> InvalidFeature:
    pointers = [_pointer(facts, column) for column in columns] or [""]
    return InvalidFeature([(pointer, text) for pointer in pointers], index)


def _pointer(facts: Facts, column: str) -> str:
    if facts.table.geometry is not None and column == facts.table.geometry.name:
        return "/geometry"
    if column == facts.table.key.name and column not in facts.fields:
        return "/id"
    return "/properties/" + column.replace("~", "~0").replace("/", "~1")
