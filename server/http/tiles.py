"""Vector and map tiles of one collection, for both lanes."""

from __future__ import annotations

import threading
from collections import OrderedDict

from providers.features.store import open_store
from providers.tiles.provider import vector_tile
from server.http.answer import Answer, Environ, not_modified
from server.http.errors import InvalidParameter
from server.http.features import feature_file, state_etag
from server.http.maps import MapServices
from server.http.tile_request import TileRequest

MVT = "application/vnd.mapbox-vector-tile"
_VECTOR_FORMATS = ("mvt", "pbf")
MAP_FORMATS = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
_MOST_BYTES = 64 << 20  # of tiles kept in a worker


class TileMemory:
    """The last tiles made in this worker: so many at most, and no more than 64 MiB.

    The key holds everything a tile depends on (generation, change, rights), so nothing ever has to be taken out for
    being old.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._tiles: OrderedDict[object, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: object) -> bytes | None:
        """The tile, None where it is not held."""
        with self._lock:
            tile = self._tiles.get(key)
            if tile is not None:
                self._tiles.move_to_end(key)
            return tile

    def put(self, key: object, tile: bytes) -> None:
        """Keep a tile, and drop the least used while there are too many bytes."""
        with self._lock:
            if key in self._tiles or len(tile) > _MOST_BYTES // 8:
                return
            self._tiles[key] = tile
            self._size += len(tile)
            while self._size > _MOST_BYTES or len(self._tiles) > self._most:
                _, dropped = self._tiles.popitem(last=False)
                self._size -= len(dropped)


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
    body = memory.get(key)
    if body is None:
        body = vector_tile(store, *place, tile.collection.id, tile.decision.hidden_fields)
        memory.put(key, body)
    return Answer(body, MVT, status=200 if body else 204, etag=etag, private=private)


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
