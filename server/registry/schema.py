"""Which version of the tables this release needs, and how a database gets there (Alembic)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Engine

HEAD = "0003"
"""The newest migration. A constant, so that `chengtu serve` can compare without importing SQLAlchemy and Alembic."""

MIGRATIONS = Path(__file__).parent / "migrations"
_SQLITE = "sqlite:///"
_VERSION = "SELECT version_num FROM alembic_version"
_ADVISORY_LOCK = 0x6368656E677475  # "chengtu" in ASCII


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite URL, None for other databases."""
    return Path(url.removeprefix(_SQLITE)) if url.startswith(_SQLITE) else None


def is_at_head(url: str) -> bool:
    """Whether a registry is there and has this release's tables. Quick: asks the driver, not SQLAlchemy."""
    file = sqlite_file(url)
    return (_postgresql_version(url) if file is None else _sqlite_version(file)) == HEAD


def _sqlite_version(file: Path) -> str | None:
    if not file.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            row = connection.execute(_VERSION).fetchone()
    except sqlite3.Error:
        return None
    return None if row is None else str(row[0])


def _postgresql_version(url: str) -> str | None:
    import psycopg

    try:
        with psycopg.connect(
            url.replace("postgresql+psycopg://", "postgresql://", 1), autocommit=True
        ) as connection:
            row = connection.execute(_VERSION.encode()).fetchone()
    except psycopg.Error:
        return None
    return None if row is None else str(row[0])


def present_version(engine: Engine) -> str | None:
    """The migration a database is at, None where it has no tables."""
    from sqlalchemy import inspect, text

    with engine.execution_options(reading=True).connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        version: str | None = connection.execute(text(_VERSION)).scalar()
        return version


def upgrade(engine: Engine) -> None:
    """Bring the tables to HEAD, in one transaction. Safe when two processes do it at once.

    Raises RegistryOutOfDate where the database is of a newer release.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    from server.errors import RegistryOutOfDate

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise RegistryOutOfDate(
                f"the registry was written by a newer release of Chengtu ({error}); use that release, or restore a backup"
            ) from error
