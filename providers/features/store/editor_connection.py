"""The one connection of a process that writes a store, and its transactions.

A store is switched to write-ahead logging by its first edit: readers, in this process and in others, then see the last
committed state and never wait. One process writes at a time (BEGIN IMMEDIATE); in a process, one thread.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from providers.errors import ReadOnlySource, SourceUnavailable, StoreCorrupt, StoreError
from providers.features.store.geopackage import register_functions
from providers.features.store.turns import edit_under_way

if TYPE_CHECKING:
    from providers.features.store.reader import FeatureStore

PATIENCE = 10.0  # seconds that an edit waits for the edits before it
_LOG_BYTES = 64 << 20  # of the log beside the store, kept when it has been written back
_LOGGED = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # what has been acknowledged survives a loss of power
    f"PRAGMA journal_size_limit = {_LOG_BYTES}",
    "PRAGMA temp_store = MEMORY",
)
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_READ_ONLY = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class _Writer:
    """The writing connection to one store, and the lock by which the threads of this process take turns."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connection: sqlite3.Connection | None = None


_writers: WeakKeyDictionary[FeatureStore, _Writer] = WeakKeyDictionary()
_writers_lock = threading.Lock()


@contextmanager
def write_transaction(store: FeatureStore) -> Iterator[sqlite3.Connection]:
    """A connection inside a write transaction: committed and on disk when the block ends well, undone when it raises.

    The store is in write-ahead logging from then on.

    Raises SourceUnavailable where other writers keep the store for longer than `PATIENCE`, ReadOnlySource, StoreError.
    """
    with _writers_lock:
        writer = _writers.setdefault(store, _Writer())
    if not writer.lock.acquire(timeout=PATIENCE):
        raise SourceUnavailable(_busy(store.path))
    try:
        with _translated(store.path):
            if writer.connection is None:
                writer.connection = _open(store.path)
                for pragma in _LOGGED:
                    writer.connection.execute(pragma)
            with edit_under_way(), _transaction(writer.connection):
                yield writer.connection
    finally:
        writer.lock.release()


@contextmanager
def plain_transaction(store: FeatureStore) -> Iterator[sqlite3.Connection]:
    """The same on a connection of its own, in whatever journal mode the store is: for a mark on a store that may never be
    edited. Waits for readers where there is no log."""
    with _translated(store.path), contextlib.closing(_open(store.path)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        with _transaction(connection):
            yield connection


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        # After an error, of SQLite's COMMIT too, nothing of the transaction may stay.
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Errors of SQLite as ours."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code of an extended one
        if code in _BUSY:
            raise SourceUnavailable(_busy(path)) from error
        if code in _READ_ONLY:
            raise ReadOnlySource(_read_only(path)) from error
        if code in _CORRUPT:
            raise StoreCorrupt(f"{path.name}: {error}; publish the collection again") from error
        raise StoreError(f"{path.name}: the edit could not be written: {error}") from error


def _open(path: Path) -> sqlite3.Connection:
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        raise ReadOnlySource(_read_only(path))
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
        timeout=PATIENCE,
    )
    register_functions(connection)
    return connection


def _busy(path: Path) -> str:
    return f"{path.name}: other edits have kept the collection for {PATIENCE:g} seconds; try again"


def _read_only(path: Path) -> str:
    return f"The features of {path.name} cannot be edited: the file or its folder is read-only for the server"
