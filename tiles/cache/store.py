"""Where the bytes of kept tiles lie: the protocol that files, MBTiles, GeoPackage, Redis and S3 follow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from tiles.cache.tile import TileName, Tileset
from tiles.grids import TileRange


class StoredTile(NamedTuple):
    """A kept tile. `stamp` is another number whenever the bytes may be others (nanoseconds at which it was written)."""

    body: bytes
    stamp: int


class Usage(NamedTuple):
    """What lies below a path."""

    tiles: int
    bytes: int


class TileAge(NamedTuple):
    """A kept tile's size, and when it was last used as far as the store knows (nanoseconds since 1970; else when written)."""

    name: TileName
    bytes: int
    used: int


class TileStore(Protocol):
    """Keeps tiles of many tilesets; safe in threads, processes and (Redis, S3) machines.

    Opens nothing before its first use, so that it may be made before a fork. Everything raises TileCacheUnavailable where the
    store does not answer; callers then go on without it.
    """

    def get(self, name: TileName) -> StoredTile | None:
        """The tile, None where it is not kept, or what is kept is damaged (it is then taken out)."""
        ...

    def put(self, name: TileName, body: bytes) -> int:
        """Keep a tile, atomically; its stamp. Raises TileCacheFull where there is no room."""
        ...

    def remove(self, names: Iterable[TileName]) -> int:
        """Take tiles out; how many were there."""
        ...

    def tilesets(self, folder: str) -> list[Tileset]:
        """The tilesets of which anything is kept below `folder`: "", "tenant", "tenant/collection" or a Tileset.folder.

        It may name one of which nothing is left, and never leaves one out.
        """
        ...

    def levels(self, tileset: Tileset) -> list[int]:
        """Zoom levels of which anything is kept, rising."""
        ...

    def within(self, tileset: Tileset, zoom: int, ranges: Sequence[TileRange]) -> Iterator[TileName]:
        """The kept tiles of a level that lie in any of the blocks, each once. Costs by the smaller of blocks and level."""
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

    def ages(self, folder: str) -> Iterator[TileAge]:
        """Every kept tile below `folder`, with what decides which go first where room is wanted; walks it."""
        ...

    def tidy(self) -> None:
        """Delete what killed processes have left, which no reader sees."""
        ...

    def close(self) -> None:
        """Let go of handles; the store opens them again where it is used again."""
        ...
