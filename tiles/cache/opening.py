"""The store and the cache that a configuration asks for. Nothing is opened before its first use."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tiles.cache.cache import TileCache
from tiles.cache.store import TileStore
from tiles.errors import TileCacheError

STORES = ("files", "mbtiles", "geopackage", "redis", "s3")


class StoreAccess(NamedTuple):
    """Where a store on a server is, and the keys to it."""

    redis_url: str | None = None
    s3_bucket: str | None = None
    s3_endpoint: str | None = None
    s3_region: str = "us-east-1"
    s3_access_key: str | None = None
    s3_secret_key: str | None = None


_NOWHERE = StoreAccess()


def open_tile_store(kind: str, directory: Path, access: StoreAccess = _NOWHERE) -> TileStore:
    """The store of a kind (STORES). Raises TileCacheError where what it needs is not given."""
    if kind == "files":
        from tiles.cache.files import FileStore

        return FileStore(directory)
    if kind in ("mbtiles", "geopackage"):
        from tiles.cache.sqlite_store import SQLiteStore

        return SQLiteStore(directory, kind)
    if kind == "redis":
        from tiles.cache.redis_store import RedisStore

        if access.redis_url is None:
            raise TileCacheError(
                "tiles are to be kept in Redis, and no server is named; give cache.redis_url"
            )
        return RedisStore(access.redis_url)
    if kind == "s3":
        from tiles.cache.s3_store import S3Store

        if access.s3_bucket is None:
            raise TileCacheError("tiles are to be kept in S3, and no bucket is named; give cache.s3_bucket")
        return S3Store(access)
    raise TileCacheError(f"{kind!r} keeps no tiles; stores are {', '.join(STORES)}")


def open_tile_cache(
    kind: str,
    directory: Path,
    access: StoreAccess = _NOWHERE,
    *,
    memory_bytes: int,
    max_bytes: int = 0,
    stale_seconds: float = 0,
) -> TileCache:
    """The cache over the store of a kind; see TileCache. Raises TileCacheError."""
    return TileCache(
        open_tile_store(kind, directory, access),
        directory,
        memory_bytes=memory_bytes,
        max_bytes=max_bytes,
        stale_seconds=stale_seconds,
    )
