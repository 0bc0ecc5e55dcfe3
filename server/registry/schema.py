"""Which version of the tables this release needs, and how a database gets there (Alembic)."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Engine

HEAD = "0001"
"""The newest migration. A constant, so that `chengtu serve` can compare without importing SQLAlchemy and Alembic."""

MIGRATIONS = Path(__file__).parent / "migrations"
_SQLITE = "sqlite:///"
_ADVISORY_LOCK = 0x6368656E677475  # "chengtu" in ASCII


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite URL, None for other databases."""
    return Path(url.removeprefix(_SQLITE)) if url.startswith(_SQLITE) else None


def is_at_head(url: str) -> bool:
    """Whether a SQLite registry is there and has this release's tables; False for other databases (nobody knows yet)."""
    file = sqlite_file(url)
    if file is None or not file.is_file():
        return False
    try:
        connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    except sqlite3.Error:
        return False
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error:
        return False
    finally:
        connection.close()
    return row is not None and row[0] == HEAD


def present_version(engine: Engine) -> str | None:
    """The migration a database is at, None where it has no tables."""
    from sqlalchemy import inspect, text

    with engine.execution_options(reading=True).connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        version: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
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
