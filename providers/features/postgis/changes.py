"""Has a table changed? A counter kept by a trigger where one is installed, else the database's own snapshot."""

from __future__ import annotations

from providers.features.postgis.columns import literal, quoted
from providers.features.postgis.pools import Connection
from providers.features.postgis.tables import Table

COUNTERS = "chengtu_change"
_SNAPSHOT = "SELECT pg_current_snapshot()::text"
_COUNTER = """
SELECT EXISTS (SELECT 1 FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid WHERE t.tgrelid = %s AND NOT t.tgisinternal
                 AND t.tgname = 'chengtu_change' AND t.tgenabled IN ('O', 'A'))
       AND coalesce(has_table_privilege(to_regclass(%s), 'SELECT'), false)
"""


def has_counter(connection: Connection, table: Table) -> bool:
    """Whether the script of `change_sql` has been run for the table."""
    counters = quoted(table.schema, COUNTERS).replace("%%", "%")
    row = connection.execute(_COUNTER, (table.oid, counters)).fetchone()
    return bool(row and row[0])


def change_statement(table: Table, *, counted: bool) -> bytes:
    """The statement that gives a table's change value."""
    if not counted:
        return _SNAPSHOT.encode()
    name = literal(table.name).replace("%", "%%")
    return f"SELECT change::text FROM {quoted(table.schema, COUNTERS)} WHERE table_name = {name}".encode()  # noqa: S608 - quoted


def change_sql(schema: str, table: str) -> str:
    """A script that counts the edits of a table, whoever makes them. Run it as the table's owner.

    Writers of one table then wait for each other until commit. Without it every commit of the cluster counts as a change.
    """
    counters, relation = _plain(schema, COUNTERS), _plain(schema, table)
    function = _plain(schema, "chengtu_count_change")
    return f"""BEGIN;
CREATE TABLE IF NOT EXISTS {counters} (table_name text PRIMARY KEY, change bigint NOT NULL);
GRANT SELECT ON {counters} TO PUBLIC;
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $body$
BEGIN
  INSERT INTO {counters} AS c (table_name, change) VALUES (TG_TABLE_NAME, 1)
    ON CONFLICT (table_name) DO UPDATE SET change = c.change + 1;
  RETURN NULL;
END $body$;
DROP TRIGGER IF EXISTS chengtu_change ON {relation};
CREATE TRIGGER chengtu_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {relation}
  FOR EACH STATEMENT EXECUTE FUNCTION {function}();
INSERT INTO {counters} (table_name, change) VALUES ({literal(table)}, 0) ON CONFLICT DO NOTHING;
COMMIT;
"""  # noqa: S608 - quoted names and literals only


def _plain(*names: str) -> str:
    """An identifier for a script, which nobody looks through for placeholders."""
    return quoted(*names).replace("%%", "%")
