"""Tiles in the memory of one process: no more than so many bytes, the ones longest not used go first."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import NamedTuple

from tiles.cache.bodies import holds_nothing
from tiles.cache.store import StoredTile
from tiles.cache.tile import EXTENSIONS, GZIPPED, TileName

_ENTRY_BYTES = 700
"""What an entry takes beside its body: names, numbers, texts."""
_LOOK_AGAIN = 1800.0
"""Seconds after which a tile is read from its store again, which so learns that it is still used."""


class KeptTile(NamedTuple):
    """A tile, ready to be sent.

    `etag` is strong, with its quotes. `gzipped`: `body` is gzip (vector and terrain tiles always, images never). `stale`: an edit has touched
    it, and it is being made anew at this moment.
    """

    body: bytes
    stamp: int
    media_type: str
    etag: str
    gzipped: bool
    stale: bool = False

    @property
    def empty(self) -> bool:
        """Whether nothing lies in this vector tile."""
        return self.gzipped and holds_nothing(self.body)


def kept_tile(name: TileName, stored: StoredTile, *, stale: bool = False) -> KeptTile:
    """A tile of a store with what its answer needs."""
    extension = name.tileset.extension
    etag = f'"{stored.stamp:x}-{len(stored.body):x}"'
    return KeptTile(stored.body, stored.stamp, EXTENSIONS[extension], etag, extension in GZIPPED, stale)


class TileMemory:
    """The tiles most lately used, each with the epoch of its collection at which it was read: at another one it is void."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._size = 0
        self._entries: OrderedDict[TileName, tuple[int, float, KeptTile]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """What is held now."""
        return self._size

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, name: TileName, epoch: int) -> KeptTile | None:
        """The tile, None where it is not held, or was read at another epoch."""
        entries = self._entries
        with self._lock:
            entry = entries.get(name)
            if entry is None:
                return None
            if entry[0] == epoch and entry[1] > time.monotonic():
                entries.move_to_end(name)
                return entry[2]
            self._drop(name)
            return None

    def put(self, name: TileName, epoch: int, tile: KeptTile) -> None:
        """Hold a tile that was read, or whose rendering began, at `epoch`."""
        size = len(tile.body) + _ENTRY_BYTES
        if size > self._most // 8:
            return
        with self._lock:
            self._drop(name)
            self._entries[name] = (epoch, time.monotonic() + _LOOK_AGAIN, tile)
            self._size += size
            while self._size > self._most:
                self._drop(next(iter(self._entries)))

    def remove(self, name: TileName) -> None:
        """Hold it no more."""
        with self._lock:
            self._drop(name)

    def clear(self) -> None:
        """Hold nothing."""
        with self._lock:
            self._entries.clear()
            self._size = 0

    def _drop(self, name: TileName) -> None:
        entry = self._entries.pop(name, None)
        if entry is not None:
            self._size -= len(entry[2].body) + _ENTRY_BYTES
