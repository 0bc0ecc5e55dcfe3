"""The cache of tiles, raster and vector alike: one name for each tile, several stores, invalidation by edits."""

from tiles.cache.changes import Box84, Change, ChangeLog, Unchanging
from tiles.cache.store import StoredTile, TileStore, Usage
from tiles.cache.tile import EXTENSIONS, TileName, Tileset

__all__ = [
    "EXTENSIONS",
    "Box84",
    "Change",
    "ChangeLog",
    "StoredTile",
    "TileName",
    "TileStore",
    "Tileset",
    "Unchanging",
    "Usage",
]
