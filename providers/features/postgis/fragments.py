"""The stored fragment: each row's GeoJSON Feature in a column of its own, kept by a trigger.

A page is then read without encoding anything. The comment on the column says for which fields it was written; where the
fields are others now, the column is not used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from providers.errors import StoreError
from providers.features.postgis.columns import Column, Kind, literal, quoted
from providers.features.postgis.pools import Connection, database
from providers.features.postgis.tables import FRAGMENT_MARK, GeometryColumn, Table, read_table

_COMMENT = """
SELECT col_description(a.attrelid, a.attnum) FROM pg_attribute a
WHERE a.attrelid = %s AND a.attname = %s AND NOT a.attisdropped AND EXISTS (
  SELECT 1 FROM pg_trigger t WHERE t.tgrelid = a.attrelid AND t.tgname = 'chengtu_fragment' AND t.tgenabled IN ('O', 'A'))
"""


def fragment_is_current(
    connection: Connection, table: Table, fields: Mapping[str, Column], column: str | None
) -> str | None:
    """The fragment column where its trigger writes what the collection shows; else None."""
    if column is None or table.geometry is None:
        return None
    row = connection.execute(_COMMENT, (table.oid, column)).fetchone()
    wanted = FRAGMENT_MARK + signature(table.key, table.geometry, list(fields.values()))
    return column if row is not None and row[0] == wanted else None


def signature(key: Column, geometry: GeometryColumn, fields: Sequence[Column]) -> str:
    """What a fragment is made of, in short."""
    parts = [f"{column.name}\0{column.type_sql}" for column in (key, *fields)]
    text = "\n".join([*parts, f"{geometry.name}\0{geometry.srid}\0{geometry.readable}"])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def fragment_sql(
    connection: str,
    schema: str,
    table: str,
    column: str = "fragment",
    id: str | None = None,
    geometry: str | None = None,
    fields: Sequence[str] | None = None,
    version: str | None = None,
) -> str:
    """A script that adds the column and its trigger and fills the column. Run it as the table's owner; it rewrites every row.

    `connection` is a connection string; `fields` None: all columns but id, version and fragment. Raises StoreError, SourceUnavailable.
    """
    found = database(connection).run(lambda open_one: read_table(open_one, schema, table, id, geometry))
    if found.is_view or found.geometry is None or found.geometry.has_z:
        raise StoreError(f"{schema}.{table}: fragments are kept for tables with a two-dimensional geometry")
    left_out = {found.key.name, column, version}
    shown = [
        each
        for name, each in found.columns.items()
        if (name in fields if fields is not None else name not in left_out)
    ]
    return _script(found, found.geometry, column, shown)


def _script(table: Table, geometry: GeometryColumn, column: str, shown: Sequence[Column]) -> str:
    relation, name = _plain(table.schema, table.name), _plain(column)
    function = _plain(
        table.schema, f"chengtu_fragment_{hashlib.sha256(table.name.encode()).hexdigest()[:12]}"
    )
    moved = geometry.readable if geometry.storage.is_wgs84 else f"ST_Transform({geometry.readable}, 4326)"
    members = ", ".join(f"{each.shown_in_json} AS {quoted(each.name)}" for each in shown)
    properties = f"(SELECT row_to_json(r)::text FROM (SELECT {members}) r)" if shown else "'{}'"  # noqa: S608 - quoted names
    key = table.key.sql if table.key.kind is not Kind.INTEGER else f"{table.key.sql}::text"
    # Statements elsewhere double the percent sign for psycopg; a script is not looked through.
    feature = (
        f'SELECT \'{{"type":"Feature","id":\' || to_json({key}::text)::text || \',"geometry":\''  # noqa: S608 - quoted names
        f" || coalesce(ST_AsGeoJSON({moved}, 7, 0), 'null') || ',\"properties\":' || {properties} || '}}' FROM (SELECT (NEW).*) a"
    ).replace("%%", "%")
    comment = literal(FRAGMENT_MARK + signature(table.key, geometry, shown))
    return f"""BEGIN;
ALTER TABLE {relation} ADD COLUMN IF NOT EXISTS {name} text;
DO $do$ BEGIN
  EXECUTE format('CREATE OR REPLACE FUNCTION {function.replace("'", "''")}() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, %I SET timezone = ''UTC'' SET datestyle = ''ISO'' SET intervalstyle = ''iso_8601'' AS %L',
    (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'postgis'),
    $body$ BEGIN NEW.{name} := ({feature}); RETURN NEW; END $body$);
END $do$;
DROP TRIGGER IF EXISTS chengtu_fragment ON {relation};
CREATE TRIGGER chengtu_fragment BEFORE INSERT OR UPDATE ON {relation} FOR EACH ROW EXECUTE FUNCTION {function}();
UPDATE {relation} SET {name} = NULL;
COMMENT ON COLUMN {relation}.{name} IS {comment};
COMMIT;
VACUUM ANALYZE {relation};
"""  # noqa: S608 - quoted names and literals only


def _plain(*names: str) -> str:
    return quoted(*names).replace("%%", "%")
