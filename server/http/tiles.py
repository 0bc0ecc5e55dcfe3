"""Vector and map tiles of one collection, for both lanes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from providers.features.store import open_store
from providers.tiles.provider import vector_tile
from server.http.answer import Answer, Environ, not_modified
from server.http.errors import InvalidParameter, NotFound
from server.http.features import feature_file, state_etag
from server.http.parameters import only
from server.identity.decision import Decision
from server.registry.catalogue import Collection

if TYPE_CHECKING:
    from server.http.maps import MapServices

MVT = "application/vnd.mapbox-vector-tile"
_VECTOR_FORMATS = ("mvt", "pbf")
MAP_FORMATS = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
_MEMORY = 32 << 20  # bytes of tiles kept in a worker


@dataclass(frozen=True, slots=True)
class TileRequest:
    """A tile of a collection that has already been allowed; `row` counts from the top."""

    collection: Collection
    decision: Decision
    grid: str
    zoom: int
    row: int
    column: int
    format: str | None

    @classmethod
    def parse(
        cls,
        collection: Collection,
        decision: Decision,
        parts: Sequence[str],
        parameters: Sequence[tuple[str, str]],
    ) -> TileRequest:
        """From the last four parts of the path (grid, zoom, row, column) and the query.

        Raises InvalidParameter and NotFound.
        """
        given = only(parameters, ("f", "lang"))
        grid, *numbers = parts
        if not all(text.isascii() and text.isdigit() and len(text) <= 9 for text in numbers):
            raise NotFound(f"tile {'/'.join(parts)!r}: zoom, row and column are whole numbers")
        zoom, row, column = (int(text) for text in numbers)
        return cls(collection, decision, grid, zoom, row, column, given.get("f"))


class TileMemory:
    """The last tiles made in this worker, up to a number of bytes.

    The key holds everything a tile depends on (generation, change, rights), so nothing ever has to be taken out for
    being old.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
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
            if key in self._tiles or len(tile) > self._capacity // 8:
                return
            self._tiles[key] = tile
            self._size += len(tile) + 200
            while self._size > self._capacity:
                _, dropped = self._tiles.popitem(last=False)
                self._size -= len(dropped) + 200


_memory = TileMemory(_MEMORY)


def vector_tile_answer(tile: TileRequest, environ: Environ) -> Answer:
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
    body = _memory.get(key)
    if body is None:
        body = vector_tile(store, *place, tile.collection.id, tile.decision.hidden_fields)
        _memory.put(key, body)
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
