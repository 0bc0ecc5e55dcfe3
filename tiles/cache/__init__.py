"""The cache of tiles, raster and vector alike: one name for each tile, several stores, invalidation by edits."""

from tiles.cache.cache import Rendered, TileCache
from tiles.cache.changes import Box84, Change, ChangeLog, Unchanging
from tiles.cache.counting import Statistics
from tiles.cache.memory import KeptTile
from tiles.cache.opening import STORES, StoreAccess, open_tile_cache, open_tile_store
from tiles.cache.places import Places
from tiles.cache.store import StoredTile, TileAge, TileStore, Usage
from tiles.cache.tile import EXTENSIONS, TileName, Tileset

__all__ = [
    "EXTENSIONS",
    "STORES",
    "Box84",
    "Change",
    "ChangeLog",
    "KeptTile",
    "Places",
    "Rendered",
    "Statistics",
    "StoreAccess",
    "StoredTile",
    "TileAge",
    "TileCache",
    "TileName",
    "TileStore",
    "Tileset",
    "Unchanging",
    "Usage",
    "open_tile_cache",
    "open_tile_store",
]
