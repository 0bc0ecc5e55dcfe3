"""Vector and map tiles of one collection, for both lanes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

from providers.features.store import open_store
from providers.tiles.provider import vector_tile
from server.http.answer import Answer, Environ, gzip_bytes, not_modified, worth_gzip
from server.http.errors import InvalidParameter
from server.http.features import feature_file, state_etag
from server.http.maps import MapServices
from server.http.tile_request import TileRequest

MVT = "application/vnd.mapbox-vector-tile"
_VECTOR_FORMATS = ("mvt", "pbf")
MAP_FORMATS = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
_MOST_BYTES = 64 << 20  # of tiles kept in a worker


class KeptTile(NamedTuple):
    """A tile as it is kept: gzip where that makes it smaller, which is how most clients want it."""

    body: bytes
    gzipped: bool


class TileMemory:
    """The last tiles made in this worker: so many at most, and no more than 64 MiB.

    The key holds everything a tile depends on (generation, change, rights), so nothing ever has to be taken out for
    being old.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._tiles: OrderedDict[object, KeptTile] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: object) -> KeptTile | None:
        """The tile, None where it is not held."""
        with self._lock:
            tile = self._tiles.get(key)
            if tile is not None:
                self._tiles.move_to_end(key)
            return tile

    def put(self, key: object, body: bytes) -> None:
        """Keep a tile, and drop the least used while there are too many bytes."""
        tile = KeptTile(gzip_bytes(body), True) if worth_gzip(body) else KeptTile(body, False)
        with self._lock:
            if key in self._tiles or len(tile.body) > _MOST_BYTES // 8:
                return
            self._tiles[key] = tile
            self._size += len(tile.body)
            while self._size > _MOST_BYTES or len(self._tiles) > self._most:
                _, dropped = self._tiles.popitem(last=False)
                self._size -= len(dropped.body)


def vector_tile_answer(tile: TileRequest, memory: TileMemory, environ: Environ) -> Answer:
    """A Mapbox vector tile; 204 where nothing lies in it (OGC API - Tiles, 7.1.4)."""
    if tile.format is not None and tile.format not in _VECTOR_FORMATS:
        raise InvalidParameter(f"f={tile.format!r}; allowed for vector tiles: {', '.join(_VECTOR_FORMATS)}")
    store = open_store(feature_file(tile.collection))
    place = (tile.grid, tile.zoom, tile.row, tile.column)
    change = store.change()
    etag = state_etag(tile.collection, change, tile.decision, *map(str, place))
    private = tile.decision.key != "public"
    if not_modified(environ, etag):
        return Answer(b"", MVT, etag=etag, private=private)
    key = (tile.collection.directory, change, tile.decision.key, place)
    kept = memory.get(key)
    if kept is None:
        body = vector_tile(store, *place, tile.collection.id, tile.decision.hidden_fields)
        memory.put(key, body)
        kept = memory.get(key) or KeptTile(body, False)
    status = 200 if kept.body else 204
    return Answer(kept.body, MVT, status=status, etag=etag, private=private, gzipped=kept.gzipped)


def map_tile_answer(
    tile: TileRequest, maps: MapServices, environ: Environ, *, cached_only: bool = False
) -> Answer | None:
    """A map tile from the cache, or rendered into it; None where `cached_only` and it is not there yet."""
    wanted = tile.format or "png"
    media_type = MAP_FORMATS.get(wanted)
    if media_type is None:
        raise InvalidParameter(f"f={tile.format!r}; allowed for map tiles: {', '.join(MAP_FORMATS)}")
    etag = state_etag(
        tile.collection, 0, tile.decision, tile.grid, f"{tile.zoom}/{tile.row}/{tile.column}", wanted
    )
    private = tile.decision.key != "public"
    if not_modified(environ, etag):
        return Answer(b"", media_type, etag=etag, private=private)
    body = maps.tile(tile, wanted, cached_only=cached_only)
    if body is None:
        return None
    return Answer(body, media_type, etag=etag, private=private, compressible=False)
