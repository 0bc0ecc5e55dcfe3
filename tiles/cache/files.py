"""Tiles as files: TENANT/COLLECTION/gNNNNNN/FORM/GRID/z/x/y.EXT below a directory, ready for a web server in front.

A tile is written aside and renamed, so that readers see a whole one or none. Beside the levels of a tileset lies an empty file
`.EXT` for each extension of which anything was kept. What begins with "." in the directory is no tenant.
"""

# A Path costs more than what it is used for here, and readers of the folders are other users:
# ruff: noqa: PTH101, PTH102, PTH104, PTH108, PTH110, PTH116, PTH120, PTH208, S103

from __future__ import annotations

import errno
import itertools
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tiles.cache.areas import in_ranges
from tiles.cache.bodies import is_whole
from tiles.cache.store import StoredTile, TileAge, Usage
from tiles.cache.tile import EXTENSIONS, TileName, Tileset, checked_folder, parse_path
from tiles.errors import TileCacheFull, TileCacheUnavailable
from tiles.grids import TileRange

NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_ABSENT = (FileNotFoundError, NotADirectoryError)
_USE_NOTED = 3600 * 10**9  # nanoseconds between two notes in a file that it is used
_SECOND = 10**9  # nanoseconds
_LEFT_SECONDS = 3600.0  # what was written aside so long ago is nobody's
_FEW = 32  # columns, or rows, that are looked for one by one


class FileStore:
    """Keeps tiles as files. Opens nothing until it is used."""

    def __init__(self, directory: Path) -> None:
        self._root = str(directory)
        self._aside = f"{self._root}/.aside"
        self._removed = f"{self._root}/.removed"
        self._numbers = itertools.count()

    def get(self, name: TileName) -> StoredTile | None:
        """See TileStore."""
        path = f"{self._root}/{name.path}"
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except _ABSENT:
            return None
        except OSError as error:
            raise _unavailable(error, "read") from error
        try:
            status = os.fstat(descriptor)
            body = os.read(descriptor, status.st_size)
            if time.time_ns() - status.st_atime_ns > _USE_NOTED:
                _note_use(descriptor, status.st_mtime_ns)
        except OSError as error:
            raise _unavailable(error, "read") from error
        finally:
            os.close(descriptor)
        if not is_whole(body, name.tileset.extension):
            self.remove((name,))
            return None
        return StoredTile(body, status.st_mtime_ns)

    def put(self, name: TileName, body: bytes) -> int:
        """See TileStore."""
        path = f"{self._root}/{name.path}"
        aside = f"{self._aside}/{os.getpid()}-{threading.get_ident()}-{next(self._numbers)}"
        try:
            stamp = self._write(aside, body, _second_not_taken(path))
            self._move(aside, path)
            self._mark(name.tileset)
        except OSError as error:
            _unlink(aside)
            if error.errno in NO_ROOM:
                raise TileCacheFull(
                    f"no room to keep a tile of {len(body)} bytes in {self._root}: {error.strerror}"
                ) from error
            raise _unavailable(error, "write") from error
        return stamp

    def remove(self, names: Iterable[TileName]) -> int:
        """See TileStore."""
        return sum(_take_out(f"{self._root}/{name.path}") for name in names)

    def tilesets(self, folder: str) -> list[Tileset]:
        """See TileStore."""
        found = []
        for path in self._grids(folder):
            tenant, collection, generation, form, grid = path.split("/")
            for extension in EXTENSIONS:
                if os.path.exists(f"{self._root}/{path}/.{extension}"):
                    found.append(Tileset(tenant, collection, int(generation[1:]), form, grid, extension))
        return found

    def levels(self, tileset: Tileset) -> list[int]:
        """See TileStore."""
        return sorted(_numbers(f"{self._root}/{tileset.path}"))

    def within(self, tileset: Tileset, zoom: int, ranges: Sequence[TileRange]) -> Iterator[TileName]:
        """See TileStore."""
        level = f"{self._root}/{tileset.path}/{zoom}"
        columns: set[int] = set()
        few = [one for one in ranges if one.max_column - one.min_column < _FEW]
        for one in few:
            columns.update(range(one.min_column, one.max_column + 1))
        if len(few) < len(ranges) or len(columns) > 8 * _FEW:
            columns = set(_numbers(level))
        for x in sorted(columns):
            here = [one for one in ranges if one.min_column <= x <= one.max_column]
            if here:
                for y in self._rows(f"{level}/{x}", tileset.extension, x, here):
                    yield TileName(tileset, zoom, x, y)

    def tiles(self, tileset: Tileset) -> Iterator[TileName]:
        """See TileStore."""
        for z in self.levels(tileset):
            level = f"{self._root}/{tileset.path}/{z}"
            for x in sorted(_numbers(level)):
                for y in sorted(_numbers(f"{level}/{x}", f".{tileset.extension}")):
                    yield TileName(tileset, z, x, y)

    def remove_folder(self, folder: str) -> None:
        """At once: the folder is renamed, and its files are deleted by a thread of this process."""
        checked_folder(folder)
        away = f"{self._removed}/{uuid.uuid4().hex}"
        try:
            _make_folder(self._removed)
            os.rename(f"{self._root}/{folder}", away)
        except _ABSENT:
            return
        except OSError as error:
            raise _unavailable(error, "remove from") from error
        delete_in_background(away)

    def usage(self, folder: str) -> Usage:
        """See TileStore."""
        tiles = size = 0
        for one in self.ages(folder):
            tiles += 1
            size += one.bytes
        return Usage(tiles, size)

    def ages(self, folder: str) -> Iterator[TileAge]:
        """See TileStore; a use is noted once an hour."""
        for path, status in self._files(folder):
            name = parse_path(path)
            if name is not None:
                yield TileAge(name, status.st_size, max(status.st_atime_ns, status.st_mtime_ns))

    def tidy(self) -> None:
        """See TileStore."""
        remove_leftovers(self._root)

    def close(self) -> None:
        """There is nothing to let go of."""

    def _write(self, aside: str, body: bytes, first_second: int) -> int:
        try:
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            _make_folder(self._aside)
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.fchmod(descriptor, 0o644)  # for the web server in front, whatever the umask
            written = os.write(descriptor, body)
            while written < len(body):
                written += os.write(descriptor, body[written:])
            stamp = time.time_ns()  # the file system's own clock may tell two writes of one moment alike
            stamp += max(0, first_second - stamp // _SECOND) * _SECOND
            os.utime(descriptor, ns=(stamp, stamp))
            return os.fstat(descriptor).st_mtime_ns
        finally:
            os.close(descriptor)

    def _move(self, aside: str, path: str) -> None:
        for _ in range(3):  # a folder that is just being removed may go between the two steps
            try:
                os.rename(aside, path)
                return
            except FileNotFoundError:
                _make_folder(os.path.dirname(path))
        os.rename(aside, path)

    def _mark(self, tileset: Tileset) -> None:
        """After the tile: whatever happens to the folder meanwhile, a tile that is there has its mark."""
        mark = f"{self._root}/{tileset.path}/.{tileset.extension}"
        if not os.path.exists(mark):
            try:
                os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
            except FileNotFoundError:
                return  # the folder has gone, and the tile with it

    def _rows(self, column: str, extension: str, x: int, ranges: Sequence[TileRange]) -> Iterator[int]:
        if sum(one.max_row - one.min_row + 1 for one in ranges) <= _FEW:
            rows = {y for one in ranges for y in range(one.min_row, one.max_row + 1)}
            yield from (y for y in sorted(rows) if os.path.exists(f"{column}/{y}.{extension}"))
            return
        for y in sorted(_numbers(column, f".{extension}")):
            if in_ranges(ranges, x, y):
                yield y

    def _grids(self, folder: str) -> Iterator[str]:
        """Relative paths of the folders TENANT/COLLECTION/gNNNNNN/FORM/GRID below a folder."""
        if folder:
            checked_folder(folder)
        todo = [folder] if folder else []
        if not folder:
            todo = [entry.name for entry in _entries(self._root) if not entry.name.startswith(".")]
        while todo:
            path = todo.pop()
            depth = path.count("/")
            if depth == 4:
                yield path
                continue
            for entry in _entries(f"{self._root}/{path}"):
                if entry.is_dir() and (depth != 1 or _is_generation(entry.name)):
                    todo.append(f"{path}/{entry.name}")

    def _files(self, folder: str) -> Iterator[tuple[str, os.stat_result]]:
        if folder:
            checked_folder(folder)
        todo = [folder]
        while todo:
            path = todo.pop()
            for entry in _entries(f"{self._root}/{path}" if path else self._root):
                if entry.name.startswith("."):
                    continue
                below = f"{path}/{entry.name}" if path else entry.name
                try:
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(below)
                    else:
                        yield below, entry.stat(follow_symlinks=False)
                except _ABSENT:
                    continue


def delete_in_background(folder: str) -> None:
    """Delete a folder that no reader sees any more; `remove_leftovers` does it where this process is killed meanwhile."""
    threading.Thread(target=shutil.rmtree, args=(folder, True), name="removed tiles", daemon=True).start()


def remove_leftovers(root: str) -> None:
    """Delete what killed processes have left below a directory: tiles written aside, folders on their way out."""
    before = time.time() - _LEFT_SECONDS
    for entry in _entries(f"{root}/.aside"):
        try:
            if entry.stat().st_mtime < before:
                _unlink(entry.path)
        except _ABSENT:
            continue
    for entry in _entries(f"{root}/.removed"):
        shutil.rmtree(entry.path, ignore_errors=True)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except _ABSENT:
        return []
    except OSError as error:
        raise _unavailable(error, "list") from error


def _numbers(folder: str, suffix: str = "") -> Iterator[int]:
    try:
        names = os.listdir(folder)
    except _ABSENT:
        return
    except OSError as error:
        raise _unavailable(error, "list") from error
    for name in names:
        stem = name.removesuffix(suffix)
        if stem.isdigit() and (not suffix or len(stem) < len(name)):
            yield int(stem)


def _is_generation(name: str) -> bool:
    return name.startswith("g") and name[1:].isdigit() and len(name) >= 7


def _note_use(descriptor: int, written: int) -> None:
    """The time of access, which mounts leave alone (noatime), or update once a day (relatime)."""
    try:
        os.utime(descriptor, ns=(time.time_ns(), written))
    except OSError:
        return  # another owner's file, or a file system that is read only: it counts as used when it was written


def _second_not_taken(path: str) -> int:
    """The first second (since 1970) that no tile at this path was written in.

    A web server in front tells tiles of one size apart by the second of their file (its ETag and Last-Modified), and an edit may
    come within a second of the last. A folder's own time says when a tile was last put into it, or taken out.
    """
    last = 0
    for one in (path, os.path.dirname(path)):
        try:
            last = max(last, os.stat(one).st_mtime_ns // _SECOND)
        except _ABSENT:
            continue
    return last + 1 if last >= time.time_ns() // _SECOND else 0


def _take_out(path: str) -> bool:
    """Remove a tile; where its second is still to come, its folder remembers it for `_second_not_taken`."""
    try:
        written = os.stat(path).st_mtime_ns
        gone = _unlink(path)
        if written // _SECOND > time.time_ns() // _SECOND:
            os.utime(os.path.dirname(path), ns=(written, written))
        return gone
    except _ABSENT:
        return False
    except OSError as error:
        raise _unavailable(error, "remove from") from error


def _make_folder(path: str) -> None:
    """The folder with all above it, open to the web server in front whatever the umask."""
    try:
        os.mkdir(path)
    except FileExistsError:
        return
    except FileNotFoundError:
        _make_folder(os.path.dirname(path))
        try:
            os.mkdir(path)
        except FileExistsError:
            return
    os.chmod(path, 0o755)


def _unlink(path: str) -> bool:
    try:
        os.unlink(path)
    except _ABSENT:
        return False
    except OSError as error:
        raise _unavailable(error, "remove from") from error
    return True


def _unavailable(error: OSError, what: str) -> TileCacheUnavailable:
    return TileCacheUnavailable(
        f"cannot {what} the store of kept tiles: {error.strerror}: {error.filename or ''}"
    )
