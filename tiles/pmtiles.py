"""PMTiles version 3: one file that holds the tiles of a pyramid, written in order, read by position.

Specification: https://github.com/protomaps/PMTiles/blob/main/spec/v3/spec.md. Tiles are numbered along a Hilbert curve, zoom after
zoom; entries of a directory say where the content of a run of equal tiles lies. Files written here are clustered, their tiles,
directories and metadata gzip; equal input gives equal bytes.
"""

from __future__ import annotations

import gzip
import os
import struct
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from tiles.errors import ArchiveError
from tiles.grids import TileId
from tiles.vector.varint import varint

_HEADER_BYTES = 127
_ROOT_BYTES = 16384 - _HEADER_BYTES  # a reader's first request brings header and root
_LEAF_ENTRIES = 4096
_GZIP, _MVT = 2, 1
_HEADER = struct.Struct("<7sB11QBBBBBB4iB2i")
_KEPT_LEAVES = 64  # of one open archive
_COPY = 1 << 20


class Entry(NamedTuple):
    """Tiles `number` to `number + run - 1` have this content; with a run of 0 the entry points to a leaf directory."""

    number: int
    offset: int
    length: int
    run: int


def tile_number(tile: TileId) -> int:
    """The number of a tile: those of all lower zooms come before it, then the Hilbert curve of its own zoom."""
    x, y = tile.x, tile.y
    number = ((1 << 2 * tile.z) - 1) // 3
    side = 1 << tile.z
    half = side >> 1
    while half:
        right, down = int(bool(x & half)), int(bool(y & half))
        number += half * half * (3 * right ^ down)
        if not down:
            if right:
                x, y = side - 1 - x, side - 1 - y
            x, y = y, x
        half >>= 1
    return number


def tile_numbers(zoom: int, x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers of many tiles of one zoom."""
    x, y = x.astype(np.int64), y.astype(np.int64)
    numbers = np.full(x.shape, ((1 << 2 * zoom) - 1) // 3, dtype=np.int64)
    side = 1 << zoom
    half = side >> 1
    while half:
        right, down = (x & half) > 0, (y & half) > 0
        numbers += half * half * ((3 * right.astype(np.int64)) ^ down.astype(np.int64))
        turned = ~down & right
        x, y = np.where(turned, side - 1 - x, x), np.where(turned, side - 1 - y, y)
        x, y = np.where(down, x, y), np.where(down, y, x)
        half >>= 1
    return numbers


class ArchiveSummary(NamedTuple):
    """What was written: tiles addressed, distinct contents, bytes of the file."""

    tiles: int
    contents: int
    size: int


class ArchiveWriter:
    """Takes tiles in the order of their numbers; leaving without `finish` removes what was written.

    Memory: some 200 bytes a tile. Contents go to a file beside the target at once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._contents = path.with_name(f".{path.name}.{os.getpid()}.tiles")
        self._file: BinaryIO = self._contents.open("wb")
        self._entries: list[Entry] = []
        self._places: dict[bytes, tuple[int, int]] = {}
        self._size = 0
        self._tiles = 0

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._contents.unlink(missing_ok=True)
        self._aside.unlink(missing_ok=True)

    @property
    def _aside(self) -> Path:
        return self._path.with_name(f".{self._path.name}.{os.getpid()}")

    def add(self, number: int, tile: bytes) -> None:
        """One tile, not compressed; an empty one needs no entry. Raises ArchiveError where numbers do not rise."""
        if not tile:
            return
        last = self._entries[-1] if self._entries else None
        if last is not None and number < last.number + last.run:
            raise ArchiveError(
                f"tile {number} comes after {last.number + last.run - 1}: numbers have to rise"
            )
        self._tiles += 1
        digest = blake2b(tile, digest_size=16).digest()
        place = self._places.get(digest)
        if place is None:
            packed = gzip.compress(tile, compresslevel=6, mtime=0)
            self._file.write(packed)
            place = self._places[digest] = (self._size, len(packed))
            self._size += len(packed)
        if last is not None and (last.offset, last.length) == place and number == last.number + last.run:
            self._entries[-1] = last._replace(run=last.run + 1)
        else:
            self._entries.append(Entry(number, *place, 1))

    def finish(
        self,
        metadata: Mapping[str, Any],
        bbox84: tuple[float, float, float, float],
        zooms: tuple[int, int],
    ) -> ArchiveSummary:
        """Write the file and give it its name. `bbox84`: west, south, east, north; `zooms`: lowest and highest."""
        self._file.close()
        root, leaves = _directories(self._entries)
        text = gzip.compress(orjson.dumps(metadata, option=orjson.OPT_SORT_KEYS), mtime=0)
        at = np.cumsum([_HEADER_BYTES, len(root), len(text), len(leaves)]).tolist()
        west, south, east, north = (round(number * 1e7) for number in bbox84)
        header = _HEADER.pack(
            *(b"PMTiles", 3, at[0], len(root), at[1], len(text), at[2], len(leaves), at[3], self._size),
            *(self._tiles, len(self._entries), len(self._places), 1, _GZIP, _GZIP, _MVT, *zooms),
            *(west, south, east, north, zooms[0], (west + east) // 2, (south + north) // 2),
        )
        with self._aside.open("wb") as target, self._contents.open("rb") as contents:
            target.writelines((header, root, text, leaves))
            while chunk := contents.read(_COPY):
                target.write(chunk)
            target.flush()
            os.fsync(target.fileno())
        self._aside.replace(self._path)
        self._contents.unlink()
        return ArchiveSummary(self._tiles, len(self._places), self._path.stat().st_size)


def _directories(entries: list[Entry]) -> tuple[bytes, bytes]:
    """The root directory and all leaf directories, each gzip; without leaves where the root holds everything."""
    root = _pack_directory(entries)
    size = _LEAF_ENTRIES
    leaves = b""
    while len(root) > _ROOT_BYTES:
        parts, pointers, offset = [], [], 0
        for start in range(0, len(entries), size):
            part = _pack_directory(entries[start : start + size])
            pointers.append(Entry(entries[start].number, offset, len(part), 0))
            parts.append(part)
            offset += len(part)
        root, leaves = _pack_directory(pointers), b"".join(parts)
        size *= 2
    return root, leaves


def _pack_directory(entries: Iterable[Entry]) -> bytes:
    rows = list(entries)
    numbers = [len(rows)]
    before = 0
    for row in rows:
        numbers.append(row.number - before)
        before = row.number
    numbers += [row.run for row in rows]
    numbers += [row.length for row in rows]
    end = -1
    for row in rows:
        numbers.append(0 if row.offset == end else row.offset + 1)
        end = row.offset + row.length
    return gzip.compress(b"".join(map(varint, numbers)), mtime=0)


class _Directory(NamedTuple):
    """Entries as arrays, ascending by number."""

    numbers: NDArray[np.int64]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    runs: NDArray[np.int64]

    def find(self, number: int) -> Entry | None:
        """The entry whose run (or leaf) holds the tile."""
        index = int(np.searchsorted(self.numbers, number, side="right")) - 1
        if index < 0:
            return None
        run = int(self.runs[index])
        first = int(self.numbers[index])
        if run and number >= first + run:
            return None
        return Entry(first, int(self.offsets[index]), int(self.lengths[index]), run)


class Archive:
    """An open archive. Safe to use from many threads: reads are by position. Opened after the fork."""

    def __init__(self, path: Path) -> None:
        """Raises ArchiveError where the file is none that can be read."""
        self._name = path.name
        try:
            self._handle = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise ArchiveError(
                f"{path.name}: the tile archive cannot be opened ({error.strerror})"
            ) from error
        self._leaves: OrderedDict[int, _Directory] = OrderedDict()
        self._lock = Lock()
        header = os.pread(self._handle, _HEADER_BYTES, 0)
        if len(header) < _HEADER_BYTES or header[:8] != b"PMTiles\x03":
            os.close(self._handle)
            self._handle = -1
            raise ArchiveError(f"{path.name}: not a PMTiles archive of version 3")
        values = _HEADER.unpack(header)
        self._metadata_at = values[4:6]
        self._leaves_at, self._tiles_at = values[6], values[8]
        self.zooms: tuple[int, int] = (values[17], values[18])
        if values[14] != _GZIP or values[15] != _GZIP:
            raise ArchiveError(f"{path.name}: only gzip archives are read")
        self._root = self._directory(values[2], values[3])

    def __del__(self) -> None:
        handle = getattr(self, "_handle", -1)
        if handle >= 0:
            os.close(handle)

    def metadata(self) -> dict[str, Any]:
        """The JSON metadata."""
        found: dict[str, Any] = orjson.loads(gzip.decompress(self._read(*self._metadata_at)))
        return found

    def tile(self, tile: TileId) -> bytes | None:
        """A tile as it is stored (gzip), None where there is none. Raises ArchiveError."""
        number = tile_number(tile)
        entry = self._root.find(number)
        if entry is not None and entry.run == 0:
            entry = self._leaf(entry).find(number)
        if entry is None or entry.run == 0:
            return None
        return self._read(self._tiles_at + entry.offset, entry.length)

    def _leaf(self, entry: Entry) -> _Directory:
        with self._lock:
            leaf = self._leaves.get(entry.offset)
            if leaf is not None:
                self._leaves.move_to_end(entry.offset)
                return leaf
        leaf = self._directory(self._leaves_at + entry.offset, entry.length)
        with self._lock:
            self._leaves[entry.offset] = leaf
            if len(self._leaves) > _KEPT_LEAVES:
                self._leaves.popitem(last=False)
        return leaf

    def _read(self, offset: int, length: int) -> bytes:
        content = os.pread(self._handle, length, offset)
        if len(content) != length:
            raise ArchiveError(f"{self._name}: the tile archive ends before byte {offset + length}")
        return content

    def _directory(self, offset: int, length: int) -> _Directory:
        try:
            return _unpacked(gzip.decompress(self._read(offset, length)))
        except (OSError, EOFError, IndexError, ValueError) as error:
            raise ArchiveError(
                f"{self._name}: a directory of the tile archive is damaged ({error})"
            ) from error


def _unpacked(content: bytes) -> _Directory:
    numbers = _varints(content)
    count = int(numbers[0])
    steps, runs, lengths, places = numbers[1:].reshape(4, count)
    offsets = places - 1
    for index in np.flatnonzero(places == 0).tolist():
        offsets[index] = offsets[index - 1] + lengths[index - 1]
    return _Directory(np.cumsum(steps), offsets, lengths, runs)


def _varints(content: bytes) -> NDArray[np.int64]:
    """All numbers of a byte string."""
    data = np.frombuffer(content, dtype=np.uint8)
    ends = np.flatnonzero(data < 0x80)
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(data)) - np.repeat(starts, ends - starts + 1)
    parts = (data & 0x7F).astype(np.int64) << (7 * place)
    return np.add.reduceat(parts, starts)
