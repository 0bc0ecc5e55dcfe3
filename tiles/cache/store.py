"""Where the bytes of kept tiles lie: the protocol that files, MBTiles, GeoPackage, Redis and S3 follow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from tiles.cache.tile import TileName, Tileset


class StoredTile(NamedTuple):
    """A kept tile. `stamp` is another number whenever the bytes may be others (nanoseconds at which it was written)."""

    body: bytes
    stamp: int


class Usage(NamedTuple):
    """What lies below a path."""

    tiles: int
    bytes: int


class TileStore(Protocol):
    """Keeps tiles of many tilesets; safe in threads, processes and (Redis, S3) machines.

    Everything raises TileCacheUnavailable where the store does not answer; callers then go on without it.
    """

    def get(self, name: TileName) -> StoredTile | None:
        """The tile, None where it is not kept, or what is kept is damaged (it is then taken out)."""
        ...

    def put(self, name: TileName, body: bytes) -> None:
        """Keep a tile, atomically. Raises TileCacheFull where there is no room."""
        ...

    def remove(self, names: Iterable[TileName]) -> int:
        """Take tiles out; how many were there."""
        ...

    def tilesets(self, folder: str) -> list[Tileset]:
        """The tilesets of which anything is kept below `folder`: "", "tenant", "tenant/collection" or a Tileset.folder."""
        ...

    def tiles(self, tileset: Tileset) -> Iterator[TileName]:
        """All kept tiles of a tileset."""
        ...

    def remove_folder(self, folder: str) -> None:
        """Take out all below `folder` (never ""). At once to readers where the store can; in the background where not."""
        ...

    def usage(self, folder: str) -> Usage:
        """How much is kept below `folder`; walks it."""
        ...
