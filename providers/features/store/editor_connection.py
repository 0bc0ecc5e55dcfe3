"""The one connection of a process that writes a store, and its transactions.

A store is switched to write-ahead logging by its first edit: readers, in this process and in others, then see the last
committed state and never wait. One process writes at a time; in a process, one thread.

BEGIN IMMEDIATE alone does not hold other processes off: POSIX takes all locks of a process on a file away when any descriptor of that
file is closed in it, and GDAL, which reads the same store for maps with a SQLite of its own, closes its descriptors at any moment. So
the turn among processes is a lock of another kind (flock) on a file of its own, which nobody else opens.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from providers.errors import ReadOnlySource, SourceUnavailable, StoreCorrupt, StoreError
from providers.features.store.connections import keep_log
from providers.features.store.geopackage import register_functions
from providers.features.store.turns import edit_under_way

if TYPE_CHECKING:
    from providers.features.store.reader import FeatureStore

PATIENCE = 10.0  # seconds that an edit waits for the edits before it
TURNS_SUFFIX = ".turns"
_TURN_PAUSE = 0.001  # seconds between two looks whether another process has ended its edit
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
        self.turns: ProcessTurns | None = None


class ProcessTurns:
    """One process at a time: a lock on a file beside the store. Opened once; one thread of the process uses it."""

    def __init__(self, store: Path) -> None:
        """Raises OSError where the file cannot be made."""
        self._file = os.open(f"{store}{TURNS_SUFFIX}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def __del__(self) -> None:
        os.close(self._file)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """This process's turn, until the block ends. Raises TimeoutError after `PATIENCE`."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise TimeoutError from None
                time.sleep(_TURN_PAUSE)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)


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
            if writer.turns is None:
                _check_writable(store.path)
                writer.turns = ProcessTurns(store.path)
            with writer.turns.taken():
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
    with _translated(store.path):
        _check_writable(store.path)
        with (
            ProcessTurns(store.path).taken(),
            contextlib.closing(_open(store.path)) as connection,
        ):
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
    except TimeoutError as error:
        raise SourceUnavailable(_busy(path)) from error
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code of an extended one
        if code in _BUSY:
            raise SourceUnavailable(_busy(path)) from error
        if code in _READ_ONLY:
            raise ReadOnlySource(_read_only(path)) from error
        if code in _CORRUPT:
            raise StoreCorrupt(f"{path.name}: {error}; publish the collection again") from error
        raise StoreError(f"{path.name}: the edit could not be written: {error}") from error


def _check_writable(path: Path) -> None:
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        raise ReadOnlySource(_read_only(path))


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
        timeout=PATIENCE,
    )
    keep_log(connection)
    register_functions(connection)
    return connection


def _busy(path: Path) -> str:
    return f"{path.name}: other edits have kept the collection for {PATIENCE:g} seconds; try again"


def _read_only(path: Path) -> str:
    return f"The features of {path.name} cannot be edited: the file or its folder is read-only for the server"
