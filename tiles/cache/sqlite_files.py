"""Open SQLite files of tiles: so many at a time, each made at its first tile, never shared over a fork."""

from __future__ import annotations

import os
import sqlite3
import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tiles.cache.sqlite_layouts import Layout
from tiles.cache.tile import Tileset

_MOST_OPEN = 64
_BUSY_SECONDS = 5.0
_left_to_parent: list[sqlite3.Connection] = []
"""Connections inherited over a fork: neither used nor closed here, for closing one lets go of the parent's locks."""


class _OpenFile:
    def __init__(self, path: Path, identity: tuple[int, int]) -> None:
        self.identity = identity
        self.lock = threading.Lock()
        self.connection: sqlite3.Connection | None = sqlite3.connect(
            path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        self.connection.execute("PRAGMA synchronous = NORMAL")

    def close(self) -> None:
        with self.lock:
            if self.connection is not None:
                self.connection.close()
                self.connection = None


class SQLiteFiles:
    """The file of each tileset below a directory."""

    def __init__(self, directory: Path, layout: Layout) -> None:
        self._root = directory
        self._layout = layout
        self._open: OrderedDict[str, _OpenFile] = OrderedDict()
        self._lock = threading.Lock()
        self._process = 0

    def path(self, tileset: Tileset) -> Path:
        """Where a tileset's file is, or would be."""
        return self._root / tileset.path / f"{tileset.extension}.{self._layout.suffix}"

    @contextmanager
    def used(self, tileset: Tileset, *, make: bool = False) -> Iterator[sqlite3.Connection | None]:
        """The file's connection for the caller alone; None where there is no file and none is to be made.

        Raises OSError and sqlite3.Error.
        """
        while True:
            found = self._found(tileset, make)
            if found is None:
                yield None
                return
            with found.lock:
                if found.connection is None:
                    continue  # closed to make room since it was looked up
                yield found.connection
                return

    def remove(self, tileset: Tileset) -> None:
        """The file is damaged: it goes, with what else is in its folder (journals)."""
        self.drop(tileset.path)
        away = self._root / ".removed" / uuid.uuid4().hex
        away.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.path(tileset).parent.rename(away)
        except FileNotFoundError:
            return

    def drop(self, folder: str) -> None:
        """Close the files below a folder."""
        with self._lock:
            names = [name for name in self._open if not folder or f"{name}/".startswith(f"{folder}/")]
            dropped = [self._open.pop(name) for name in names]
        for one in dropped:
            one.close()

    def _found(self, tileset: Tileset, make: bool) -> _OpenFile | None:
        path = self.path(tileset)
        key = f"{tileset.path}/{tileset.extension}"
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            if not make:
                return None
            self._make(path, tileset)
            status = path.stat()
        identity = (status.st_dev, status.st_ino)
        closed: list[_OpenFile] = []
        with self._lock:
            self._after_fork()
            found = self._open.get(key)
            if found is not None and found.identity != identity:  # another file lies there now
                closed.append(self._open.pop(key))
                found = None
            if found is None:
                found = self._open[key] = _OpenFile(path, identity)
                if len(self._open) > _MOST_OPEN:
                    closed.append(self._open.popitem(last=False)[1])
            else:
                self._open.move_to_end(key)
        for one in closed:
            one.close()
        return found

    def _make(self, path: Path, tileset: Tileset) -> None:
        """Made aside and linked in, so that of several processes one is first and none sees half a file."""
        aside = self._root / ".aside" / f"{uuid.uuid4().hex}.{self._layout.suffix}"
        aside.parent.mkdir(parents=True, exist_ok=True)
        try:
            with closing(sqlite3.connect(aside, isolation_level=None)) as connection:
                connection.execute("PRAGMA page_size = 8192")
                self._layout.make(connection, tileset)
                connection.execute("PRAGMA journal_mode = WAL")
            aside.chmod(0o644)
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(aside, path)
            except FileExistsError:
                return
        finally:
            for ending in ("", "-journal", "-wal", "-shm"):
                aside.with_name(aside.name + ending).unlink(missing_ok=True)

    def _after_fork(self) -> None:
        if self._process != os.getpid():
            _left_to_parent.extend(
                one.connection for one in self._open.values() if one.connection is not None
            )
            self._open.clear()
            self._process = os.getpid()
