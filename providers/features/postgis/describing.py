"""What `chengtu register` shows of a table before it becomes a collection."""

from __future__ import annotations

from dataclasses import dataclass

from providers.features.postgis.pools import database
from providers.features.postgis.tables import Table, count_of, extent_of, read_table
from providers.features.schema import FieldDefinition

_TABLES = """
SELECT DISTINCT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid
WHERE c.relkind::text = ANY(string_to_array('r,v,m,f,p', ',')) AND t.typname = 'geometry' AND a.attnum > 0 AND NOT a.attisdropped
      AND NOT c.relispartition AND n.nspname NOT IN ('pg_catalog', 'information_schema')
      AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
ORDER BY n.nspname, c.relname
"""


@dataclass(frozen=True, slots=True)
class TableDescription:
    """A table or view as a collection would have it.

    `count` is exact where `count_is_exact`, else the planner's estimate (None: never analysed). `bbox` is CRS84 (4 or 6 numbers,
    () without geometries). `is_editable`: this role may insert, update and delete.
    """

    schema: str
    table: str
    title: str | None
    id: str
    geometry: str | None
    geometry_type: str
    srid: int | None
    has_z: bool
    fields: tuple[FieldDefinition, ...]
    count: int | None
    count_is_exact: bool
    bbox: tuple[float, ...]
    is_editable: bool
    has_spatial_index: bool


def describe(
    connection: str, schema: str, table: str, id: str | None = None, geometry: str | None = None
) -> TableDescription:
    """Look a table up. `connection` is a connection string. Raises StoreError, SourceUnavailable."""
    found_in = database(connection)
    found = found_in.run(lambda open_one: read_table(open_one, schema, table, id, geometry))
    bbox = found_in.run(lambda open_one: extent_of(open_one, found))
    count: int | None = None
    if found.is_small:
        count = found_in.run(lambda open_one: count_of(open_one, found))
    elif found.estimated_rows >= 0 and not found.is_view:
        count = int(found.estimated_rows)
    return _description(found, bbox, count)


def _description(table: Table, bbox: tuple[float, ...], count: int | None) -> TableDescription:
    geometry = table.geometry
    return TableDescription(
        schema=table.schema,
        table=table.name,
        title=table.title,
        id=table.key.name,
        geometry=None if geometry is None else geometry.name,
        geometry_type="Geometry" if geometry is None else geometry.type_name,
        srid=None if geometry is None else geometry.srid,
        has_z=geometry is not None and geometry.has_z,
        fields=tuple(column.field for name, column in table.columns.items() if name != table.key.name),
        count=count,
        count_is_exact=table.is_small,
        bbox=bbox,
        is_editable=table.may_write,
        has_spatial_index=geometry is not None and geometry.has_index,
    )


def list_tables(connection: str) -> list[tuple[str, str]]:
    """(schema, name) of every table and view with a geometry that the role may read. Raises SourceUnavailable."""
    rows = database(connection).run(lambda open_one: open_one.execute(_TABLES).fetchall())
    return [(schema, name) for schema, name in rows]
