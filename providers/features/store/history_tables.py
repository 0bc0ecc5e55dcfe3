"""The tables in which a store keeps every state since it was built; made by the first edit, so that a store that is never
edited is not larger for them.

`feature_past`, `fragment_past`  the columns of `feature` and `fragment` for rows that are no longer current, and for each
                                 `past_row` (the same in both), `past_since` and `past_until`: the row was the state from change
                                 `past_since` on, until change `past_until` replaced it
`chengtu_edited`                 key, since: the present rows that are newer than the build; all others hold since change 0
`chengtu_transaction`            change, time, author, count: the value of the change counter after each transaction, its instant (RFC 3339, UTC,
                                 microseconds, never before that of an earlier change), who made it, and how many features there
                                 were. The first row is the build (change 0).

The state at change C is: present rows with since <= C, and past rows with past_since <= C < past_until.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime

from providers.features.store import tile_parts
from providers.features.store.geopackage import TABLE, quote, run_script
from providers.features.store.layout import StoreFacts

HISTORY_TABLES = ("feature_past", "fragment_past", "chengtu_edited", "chengtu_transaction")
EXTENSION = "chengtu_history"
_FRAGMENT = ("key", "minx", "miny", "maxx", "maxy", "zoom", "body")
_DEFINITION = "Past states of the features, of Chengtu: docs/explanation/edits-and-history.md"
_OWN = """
CREATE TABLE chengtu_edited (key INTEGER PRIMARY KEY, since INTEGER NOT NULL);
CREATE INDEX chengtu_edited_since ON chengtu_edited (since);
CREATE TABLE chengtu_transaction (change INTEGER PRIMARY KEY, time TEXT NOT NULL, author TEXT NOT NULL, count INTEGER NOT NULL);
CREATE INDEX chengtu_transaction_time ON chengtu_transaction (time);
"""
# Few rows are past, so neither index has to hold more than the key to be quick.
_INDEXES = """
CREATE INDEX feature_past_id ON feature_past (id);
CREATE INDEX feature_past_key ON feature_past (key);
CREATE INDEX fragment_past_key ON fragment_past (key);
CREATE INDEX fragment_past_until ON fragment_past (past_until);
"""


def stored_moment(moment: datetime) -> str:
    """An instant as `chengtu_transaction` keeps it: such texts sort as the instants do."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"


def has_history(connection: sqlite3.Connection) -> bool:
    """Whether the store has ever been edited."""
    return _has_table(connection, "chengtu_transaction")


def build_moment(connection: sqlite3.Connection) -> str:
    """When a store that was never edited was built."""
    (text,) = connection.execute(
        "SELECT last_change FROM gpkg_contents WHERE table_name = ?", (TABLE,)
    ).fetchone()
    return stored_moment(datetime.fromisoformat(text))


def columns_of(connection: sqlite3.Connection, table: str) -> list[str]:
    """Quoted column names of a table of the store, in order."""
    return [quote(row[1]) for row in connection.execute(f"PRAGMA main.table_info({quote(table)})")]


def is_wide(facts: StoreFacts) -> str:
    """SQL: whether a row of `fragment_past` would stand in `big`. The same text in the index and in every query of it."""
    return f"(maxx - minx > {2 * facts.half_width!r} OR maxy - miny > {2 * facts.half_height!r})"


def create_history(connection: sqlite3.Connection, facts: StoreFacts) -> None:
    """Make the tables, inside the open transaction of the first edit."""
    built = build_moment(connection)
    for table in ("feature", "fragment"):
        connection.execute(
            f"CREATE TABLE {table}_past (past_row INTEGER PRIMARY KEY, past_since INTEGER NOT NULL,"
            f" past_until INTEGER NOT NULL, {_definitions(connection, table)})"
        )
    run_script(connection, _OWN + _INDEXES)
    connection.execute(f"CREATE INDEX fragment_past_wide ON fragment_past (key) WHERE {is_wide(facts)}")
    connection.executemany(
        "INSERT INTO gpkg_extensions VALUES (?, NULL, ?, ?, 'write-only')",
        [(table, EXTENSION, _DEFINITION) for table in HISTORY_TABLES],
    )
    connection.execute(
        "INSERT INTO chengtu_transaction SELECT c.value, ?, '', n.value FROM chengtu_state c, chengtu_state n"
        " WHERE c.name = 'change' AND n.name = 'count'",
        (built,),
    )
    connection.execute("INSERT OR IGNORE INTO chengtu_state VALUES ('closed', 0)")


def _definitions(connection: sqlite3.Connection, table: str) -> str:
    rows = connection.execute(f"PRAGMA main.table_info({quote(table)})").fetchall()
    return ", ".join(f"{quote(name)} {kind}" for _, name, kind, *_ in rows)


def archive(connection: sqlite3.Connection, facts: StoreFacts, keys: Sequence[int], change: int) -> None:
    """Copy the present rows of `keys` to the past, as replaced by `change`. Call it before they are changed.

    Rows that this same transaction wrote were never a state, and are not kept.
    """
    if not keys:
        return
    (last,) = connection.execute("SELECT coalesce(max(past_row), 0) FROM fragment_past").fetchone()
    numbered = [(last + 1 + number, change, key, change) for number, key in enumerate(keys)]
    of_feature = ["key", "id", "version", "geom", *(quote(field.column) for field in facts.fields)]
    for table, columns in (("feature", of_feature), ("fragment", _FRAGMENT)):
        named = ", ".join(f"t.{column}" for column in columns)
        connection.executemany(
            f"INSERT INTO {table}_past (past_row, past_since, past_until, {', '.join(columns)})"  # noqa: S608 - our own or quoted names; values are bound
            f" SELECT ?, coalesce(e.since, 0), ?, {named} FROM {table} t"
            " LEFT JOIN chengtu_edited e ON e.key = t.key WHERE t.key = ? AND coalesce(e.since, 0) < ?",
            numbered,
        )


def next_transaction_time(connection: sqlite3.Connection) -> str:
    """Now, or the instant of the last transaction where the clock has been set back since."""
    (last,) = connection.execute("SELECT max(time) FROM chengtu_transaction").fetchone()
    return max(str(last), stored_moment(datetime.now(UTC)))


def drop_history(connection: sqlite3.Connection) -> None:
    """Take the past out of a copy of a store, so that nothing of it can be read from the file.

    The parts of vector tiles go too: they may hold values that no feature has any more.
    """
    tables = [table for table in (*HISTORY_TABLES, *tile_parts.OWN_TABLES) if _has_table(connection, table)]
    connection.execute("PRAGMA secure_delete = 1")
    connection.execute("BEGIN")
    for table in tables:
        connection.execute(f"DROP TABLE {quote(table)}")
        connection.execute("DELETE FROM gpkg_extensions WHERE table_name = ?", (table,))
    connection.execute("DELETE FROM chengtu_meta WHERE name = ?", (tile_parts.META,))
    connection.execute("COMMIT")


def _has_table(connection: sqlite3.Connection, name: str) -> bool:
    found = connection.execute("SELECT 1 FROM main.sqlite_schema WHERE name = ?", (name,)).fetchone()
    return found is not None
