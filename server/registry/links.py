"""A reading connection to the registry, for one thread of a worker: SQLite and PostgreSQL, without SQLAlchemy."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from server.registry.catalogue import Catalogue
from server.registry.loading import load_catalogue
from server.registry.schema import sqlite_file

if TYPE_CHECKING:
    import psycopg

_BUSY_SECONDS = 5.0


class LinkError(Exception):
    """The connection does not work (any more)."""


class Link(Protocol):
    """One thread's connection to the registry. Its methods raise LinkError."""

    def stamp(self) -> int:
        """A number that differs from the last one whenever something was committed in between. Cheap."""
        ...

    def load(self, home: Path, known: Catalogue | None) -> Catalogue:
        """The catalogue, from one read transaction; `known` as in `load_catalogue`."""
        ...

    def close(self) -> None:
        """Let the connection go; does nothing the second time."""
        ...


def open_link(url: str) -> Link:
    """A connection to the registry at a SQLAlchemy URL. Raises LinkError."""
    file = sqlite_file(url)
    return _PostgresqlLink(url) if file is None else _SqliteLink(file)


class _SqliteLink:
    """Sees commits by `PRAGMA data_version`: it changes when ANOTHER connection has committed, and this one never writes."""

    def __init__(self, file: Path) -> None:
        self._file = os.fspath(file)
        with self._errors():
            self._inode = os.stat(self._file).st_ino  # noqa: PTH116  # asked once a request; Path.stat takes twice as long
            # check_same_thread False: whoever closes the reader closes the connections of all its threads.
            self._connection = sqlite3.connect(
                f"{file.absolute().as_uri()}?mode=rw",
                uri=True,
                isolation_level=None,
                timeout=_BUSY_SECONDS,
                check_same_thread=False,
            )
            self._connection.execute("PRAGMA query_only = ON")
            self._cursor = self._connection.cursor()

    def stamp(self) -> int:
        try:
            if os.stat(self._file).st_ino != self._inode:  # noqa: PTH116  # as above
                raise LinkError(f"{self._file} was replaced by another file")
            row: tuple[int] = self._cursor.execute("PRAGMA data_version").fetchone()
        except (OSError, sqlite3.Error) as error:
            raise LinkError(f"{self._file}: {error}") from error
        return row[0]

    def load(self, home: Path, known: Catalogue | None) -> Catalogue:
        with self._errors():
            self._connection.execute("BEGIN")
            try:
                return load_catalogue(self._connection.execute, home, known)
            finally:
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, LookupError, sqlite3.Error) as error:
            raise LinkError(f"{self._file}: {error}") from error


class _PostgresqlLink:
    """Asks for the revision row each time."""

    def __init__(self, url: str) -> None:
        import psycopg

        self._error = psycopg.Error
        try:
            self._connection: psycopg.Connection[Any] = psycopg.connect(
                url.replace("postgresql+psycopg://", "postgresql://", 1), autocommit=True, prepare_threshold=0
            )
        except psycopg.Error as error:
            raise LinkError(str(error)) from error

    def stamp(self) -> int:
        try:
            row = self._connection.execute(b"SELECT revision FROM registry_state").fetchone()
        except self._error as error:
            raise LinkError(str(error)) from error
        if row is None:
            raise LinkError("the registry's tables are empty")
        return int(row[0])

    def load(self, home: Path, known: Catalogue | None) -> Catalogue:
        try:
            with self._connection.transaction():
                self._connection.execute(b"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                return load_catalogue(self._rows, home, known)
        except (LookupError, self._error) as error:
            raise LinkError(str(error)) from error

    def close(self) -> None:
        self._connection.close()

    def __del__(self) -> None:
        # A thread that ends leaves its connection to the garbage collector, where psycopg would warn.
        if hasattr(self, "_connection"):
            self._connection.close()

    def _rows(self, sql: str, parameters: tuple[Any, ...]) -> Iterable[tuple[Any, ...]]:
        return self._connection.execute(sql.replace("?", "%s").encode(), parameters).fetchall()
