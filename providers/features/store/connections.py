"""Connections of readers: how a store file is opened, and how a statement on it is stopped."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

from providers.errors import StoreError
from providers.features.store.budget import INSTRUCTIONS, LONGEST_SECONDS, Clock

_MMAP_BYTES = 0x7FFF0000  # the most SQLite is compiled for; only address space


class StoreConnection(sqlite3.Connection):
    """A connection with a clock: a statement is interrupted when it is up."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.clock = Clock(LONGEST_SECONDS)
        self.has_turn = False  # to read beside an edit: `providers.features.store.turns`
        self._has_filter_functions = False
        self.set_progress_handler(self.clock.is_up, INSTRUCTIONS)

    def prepare_for_filters(self) -> None:
        """Register what compiled filters call; the first time only."""
        if not self._has_filter_functions:
            from providers.features.store.filter_sql_functions import register_filter_functions

            register_filter_functions(self)
            self._has_filter_functions = True


def connect(path: Path) -> StoreConnection:
    """A connection that reads. Raises StoreError."""
    try:
        connection = sqlite3.connect(
            _uri(path),
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=128,
            factory=StoreConnection,
        )
        for pragma in (
            "query_only = 1",
            f"mmap_size = {_MMAP_BYTES}",
            "busy_timeout = 5000",
            "temp_store = MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}")
    except sqlite3.OperationalError as error:
        raise StoreError(f"{path.name} cannot be opened: {error}") from error
    keep_log(connection)
    return connection


def keep_log(connection: sqlite3.Connection) -> None:
    """Let the connection leave the log beside the store when it is closed.

    By itself the last connection of all processes takes the log away, and knows that it is the last by locks that a process loses
    whenever any library in it closes the file (GDAL below Mapnik, a download): edits of others would go into a file without a name.
    """
    connection.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)


def _uri(path: Path) -> str:
    """Readers of a store that is being edited (WAL) share a memory file that the first of them makes: "rw", where possible.

    On a read-only volume nothing can change the file either, which is what "immutable" promises SQLite.
    """
    writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    return f"{path.absolute().as_uri()}?{'mode=rw' if writable else 'mode=ro&immutable=1'}"
