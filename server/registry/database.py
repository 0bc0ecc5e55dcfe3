"""Opens the registry's database for writing: SQLAlchemy engines for SQLite and PostgreSQL that behave alike."""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from server.errors import RegistryUnavailable

BUSY_SECONDS = 30


def open_engine(url: str) -> Engine:
    """An engine on the registry. Its transactions are short; those of SQLite begin with BEGIN IMMEDIATE.

    The engine's execution option `reading=True` makes transactions that only read and take no lock.
    Raises RegistryUnavailable where the URL is none.
    """
    options: dict[str, Any] = {
        "json_serializer": lambda value: orjson.dumps(value).decode(),
        "json_deserializer": orjson.loads,
    }
    try:
        sqlite = make_url(url).get_backend_name() == "sqlite"
        engine = create_engine(url, **options)
    except ArgumentError as error:
        raise RegistryUnavailable(
            "data.registry_url is no database URL; allowed: sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"
        ) from error
    if sqlite:
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: object) -> None:
    # None: the driver begins no transactions of its own, `_begin_sqlite` does.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    cursor.execute("PRAGMA foreign_keys = ON")
    if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")  # a publish that has returned survives a power cut
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
