"""Vector and map tiles of one collection, for both lanes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

from providers.features.source import FeatureSource
from providers.tiles.archive import margin_box84, open_archive
from providers.tiles.vector import vector_tile
from server.http.answer import Answer, Environ, gzip_bytes, not_modified, worth_gzip
from server.http.errors import InvalidParameter
from server.http.features import feature_source, state_etag
from server.http.maps import MapServices
from server.http.tile_request import TileRequest
from server.registry.catalogue import RepresentationKind
from tiles.grids import TileId, grid

MVT = "application/vnd.mapbox-vector-tile"
_VECTOR_FORMATS = ("mvt", "pbf")
MAP_FORMATS = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


class KeptTile(NamedTuple):
    """A tile as it is kept: gzip where that makes it smaller, which is how most clients want it."""

    body: bytes
    gzipped: bool


class TileMemory:
    """The last tiles made in this worker: no more than so many bytes.

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
            if key in self._tiles or len(tile.body) > self._most // 8:
                return
            self._tiles[key] = tile
            self._size += len(tile.body)
            while self._size > self._most:
                _, dropped = self._tiles.popitem(last=False)
                self._size -= len(dropped.body)


def vector_tile_answer(tile: TileRequest, memory: TileMemory, environ: Environ) -> Answer:
    """A Mapbox vector tile; 204 where nothing lies in it (OGC API - Tiles, 7.1.4)."""
    check_vector_format(tile.format)
    source = feature_source(tile.collection)
    change = source.change()
    place = (tile.grid, tile.zoom, tile.row, tile.column)
    etag = state_etag(tile.collection, change, tile.decision, *map(str, place), tile.asof or "")
    private = tile.decision.key != "public"
    if not_modified(environ, etag):
        return Answer(b"", MVT, etag=etag, private=private)
    kept = made_tile(tile, source, change, memory)
    status = 200 if kept.body else 204
    return Answer(kept.body, MVT, status=status, etag=etag, private=private, gzipped=kept.gzipped)


def check_vector_format(wanted: str | None) -> None:
    """Raise InvalidParameter where `f` names no format of vector tiles."""
    if wanted is not None and wanted not in _VECTOR_FORMATS:
        allowed = ", ".join(_VECTOR_FORMATS)
        raise InvalidParameter(f"f={wanted!r}; allowed for vector tiles: {allowed}", "f", wanted, allowed)


def made_tile(
    tile: TileRequest, source: FeatureSource, change: int | str, memory: TileMemory, layer: str | None = None
) -> KeptTile:
    """The tile at a state: as it was kept, from the collection's archive, or made now; an empty body where nothing lies in it.

    `layer` is the name of its layer, that of the collection by itself. Raises TileOutOfRange, UnknownTileMatrixSet,
    UnsupportedQuery, StoreError, SourceUnavailable.
    """
    collection, decision = tile.collection, tile.decision
    place = (tile.grid, tile.zoom, tile.row, tile.column)
    layer = layer or collection.id
    key = (collection.directory, change, decision.key, place, tile.asof, layer)
    kept = memory.get(key)
    if kept is not None:
        return kept
    if layer == collection.id:
        archived = _archived(tile, source, change)
        if archived is not None:
            return archived
    body = vector_tile(
        source,
        *place,
        layer,
        decision.hidden_fields,
        asof=tile.asof,
        tile_fields=collection.representations[RepresentationKind.TILES].properties.get("tile_fields"),
    )
    memory.put(key, body)
    return memory.get(key) or KeptTile(body, False)


def _archived(tile: TileRequest, source: FeatureSource, change: int | str) -> KeptTile | None:
    """The tile that was built when the collection was published, None where it was not, or may have changed since."""
    properties = tile.collection.representations[RepresentationKind.TILES].properties
    name, zooms = properties.get("archive"), properties.get("archive_zooms")
    if (
        name is None
        or tile.asof is not None
        or tile.decision.hidden_fields
        or tile.grid != "WebMercatorQuad"
        or not zooms
        or not zooms[0] <= tile.zoom <= zooms[1]
    ):
        return None
    address = TileId(tile.zoom, tile.column, tile.row)
    built = properties.get("archive_change", 0)
    if change != built:
        touched = getattr(source, "touched_since", None)
        if touched is None or touched(built, margin_box84(address)):
            return None
    grid(tile.grid).check(address)
    return KeptTile(open_archive(tile.collection.directory / name).tile(address) or b"", True)


def map_tile_answer(
    tile: TileRequest, maps: MapServices, environ: Environ, *, cached_only: bool = False
) -> Answer | None:
    """A map tile from the cache, or rendered into it; None where `cached_only` and it is not there yet."""
    if tile.asof is not None:
        raise InvalidParameter(
            "parameter 'asof' is not known here: map tiles show the present state",
            "asof",
            tile.asof,
            "no asof",
        )
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
