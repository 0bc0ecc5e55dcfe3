"""Tiles in MBTiles or GeoPackage files: one for each tileset and extension, at DIRECTORY/TILESET/EXT.mbtiles or EXT.gpkg."""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from tiles.cache.bodies import is_whole
from tiles.cache.files import NO_ROOM, delete_in_background, remove_leftovers
from tiles.cache.sqlite_files import SQLiteFiles
from tiles.cache.sqlite_layouts import LAYOUTS
from tiles.cache.store import StoredTile, TileAge, Usage
from tiles.cache.tile import EXTENSIONS, TileName, Tileset, checked_folder
from tiles.errors import TileCacheFull, TileCacheUnavailable
from tiles.grids import TileRange, grid

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
"""The last one: a table of ours is not there."""
_PAGE = 5000
_READ = "SELECT tile_data, id FROM tiles WHERE zoom_level = ? AND tile_column = ? AND tile_row = ?"
_DELETE = "DELETE FROM tiles WHERE zoom_level = ? AND tile_column = ? AND tile_row = ?"


class SQLiteStore:
    """Keeps tiles in SQLite files of a kind: "mbtiles" or "geopackage". Opens nothing until it is used.

    Files do not shrink: the room of tiles taken out is used for others. A use of a tile is not noted, so that the oldest go first.
    """

    def __init__(self, directory: Path, kind: str) -> None:
        self._root = directory
        self._layout = LAYOUTS[kind]
        self._files = SQLiteFiles(directory, self._layout)

    def get(self, name: TileName) -> StoredTile | None:
        """See TileStore."""
        with self._at(name.tileset) as connection:
            row = None if connection is None else connection.execute(_READ, self._address(name)).fetchone()
        if row is None:
            return None
        body, stamp = row
        if not isinstance(body, bytes) or not is_whole(body, name.tileset.extension):
            self.remove((name,))
            return None
        return StoredTile(body, stamp)

    def put(self, name: TileName, body: bytes) -> int:
        """See TileStore."""
        stamp = time.time_ns()
        with self._at(name.tileset, make=True) as connection:
            if connection is not None:
                connection.execute(
                    "INSERT OR REPLACE INTO tiles (id, zoom_level, tile_column, tile_row, tile_data) VALUES (?, ?, ?, ?, ?)",
                    (stamp, *self._address(name), body),
                )
        return stamp

    def remove(self, names: Iterable[TileName]) -> int:
        """See TileStore."""
        removed = 0
        for tileset, group in groupby(names, key=lambda name: name.tileset):
            with self._at(tileset) as connection:
                if connection is None:
                    continue
                before = connection.total_changes
                connection.execute("BEGIN IMMEDIATE")
                try:
                    connection.executemany(_DELETE, map(self._address, group))
                    connection.execute("COMMIT")
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                removed += connection.total_changes - before
        return removed

    def tilesets(self, folder: str) -> list[Tileset]:
        """See TileStore."""
        above = self._folder(folder) if folder else self._root
        missing = 5 - (folder.count("/") + 1 if folder else 0)
        found = []
        for path in sorted(above.glob("*/" * missing + f"*.{self._layout.suffix}")):
            parts = path.relative_to(self._root).parts
            extension = path.stem
            if parts[0].startswith(".") or extension not in EXTENSIONS or not parts[2][1:].isdigit():
                continue
            found.append(Tileset(parts[0], parts[1], int(parts[2][1:]), parts[3], parts[4], extension))
        return found

    def levels(self, tileset: Tileset) -> list[int]:
        """See TileStore."""
        with self._at(tileset) as connection:
            if connection is None:
                return []
            rows = connection.execute(
                "WITH RECURSIVE level(z) AS (SELECT min(zoom_level) FROM tiles UNION ALL"
                " SELECT (SELECT min(zoom_level) FROM tiles WHERE zoom_level > z) FROM level WHERE z IS NOT NULL)"
                " SELECT z FROM level WHERE z IS NOT NULL"
            ).fetchall()
        return [zoom for (zoom,) in rows]

    def within(self, tileset: Tileset, zoom: int, ranges: Sequence[TileRange]) -> Iterator[TileName]:
        """See TileStore."""
        found: set[tuple[int, int]] = set()
        with self._at(tileset) as connection:
            if connection is None:
                return
            for one in ranges:
                first, last = sorted(
                    (self._row(tileset, zoom, one.min_row), self._row(tileset, zoom, one.max_row))
                )
                found.update(
                    connection.execute(
                        "SELECT tile_column, tile_row FROM tiles WHERE zoom_level = ? AND tile_column BETWEEN ? AND ?"
                        " AND tile_row BETWEEN ? AND ?",
                        (zoom, one.min_column, one.max_column, first, last),
                    )
                )
        for x, row in sorted(found):
            yield TileName(tileset, zoom, x, self._row(tileset, zoom, row))

    def tiles(self, tileset: Tileset) -> Iterator[TileName]:
        """See TileStore."""
        last = (-1, -1, -1)
        while True:
            with self._at(tileset) as connection:
                rows = (
                    []
                    if connection is None
                    else connection.execute(
                        "SELECT zoom_level, tile_column, tile_row FROM tiles WHERE (zoom_level, tile_column, tile_row) > (?, ?, ?)"
                        " ORDER BY zoom_level, tile_column, tile_row LIMIT ?",
                        (*last, _PAGE),
                    ).fetchall()
                )
            for z, x, row in rows:
                yield TileName(tileset, z, x, self._row(tileset, z, row))
            if len(rows) < _PAGE:
                return
            last = rows[-1]

    def remove_folder(self, folder: str) -> None:
        """At once: the folder is renamed, and its files are deleted by a thread of this process."""
        path = self._folder(folder)
        self._files.drop(folder)
        away = self._root / ".removed" / uuid.uuid4().hex
        try:
            away.parent.mkdir(parents=True, exist_ok=True)
            path.rename(away)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise TileCacheUnavailable(f"cannot remove {path}: {error.strerror}") from error
        delete_in_background(str(away))

    def usage(self, folder: str) -> Usage:
        """See TileStore."""
        tiles = size = 0
        for tileset in self.tilesets(folder):
            with self._at(tileset) as connection:
                if connection is not None:
                    row = connection.execute(
                        "SELECT count(*), coalesce(sum(length(tile_data)), 0) FROM tiles"
                    ).fetchone()
                    tiles += row[0]
                    size += row[1]
        return Usage(tiles, size)

    def ages(self, folder: str) -> Iterator[TileAge]:
        """See TileStore; the oldest of each tileset first."""
        for tileset in self.tilesets(folder):
            last, more = 0, True
            while more:
                with self._at(tileset) as connection:
                    rows = (
                        []
                        if connection is None
                        else connection.execute(
                            "SELECT id, zoom_level, tile_column, tile_row, length(tile_data) FROM tiles WHERE id > ?"
                            " ORDER BY id LIMIT ?",
                            (last, _PAGE),
                        ).fetchall()
                    )
                for stamp, z, x, row, size in rows:
                    last = stamp
                    yield TileAge(TileName(tileset, z, x, self._row(tileset, z, row)), size, stamp)
                more = len(rows) == _PAGE

    def tidy(self) -> None:
        """See TileStore."""
        remove_leftovers(str(self._root))

    def close(self) -> None:
        """See TileStore."""
        self._files.drop("")

    def _address(self, name: TileName) -> tuple[int, int, int]:
        return name.z, name.x, self._row(name.tileset, name.z, name.y)

    def _row(self, tileset: Tileset, zoom: int, row: int) -> int:
        """Rows as the file counts them, and back."""
        if not self._layout.from_bottom:
            return row
        return grid(tileset.grid).matrix_size(zoom)[1] - 1 - row

    def _folder(self, folder: str) -> Path:
        return self._root / checked_folder(folder)

    @contextmanager
    def _at(self, tileset: Tileset, *, make: bool = False) -> Iterator[sqlite3.Connection | None]:
        """The tileset's connection; a damaged file is taken out, and counts as one in which nothing is kept."""
        try:
            with self._files.used(tileset, make=make) as connection:
                yield connection
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0)
            if code & 0xFF in _DAMAGED:
                self._files.remove(tileset)
                raise TileCacheUnavailable(f"{self._files.path(tileset)} was damaged: {error}") from error
            if code & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
                raise TileCacheFull(f"no room in {self._files.path(tileset)}: {error}") from error
            raise TileCacheUnavailable(f"{self._files.path(tileset)}: {error}") from error
        except OSError as error:
            if error.errno in NO_ROOM:
                raise TileCacheFull(f"no room for {self._files.path(tileset)}: {error.strerror}") from error
            raise TileCacheUnavailable(f"{self._files.path(tileset)}: {error.strerror}") from error
