"""Gives tiles of collections: as they are kept, or made now, by one for all who ask for them, and kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from providers.errors import ProviderError, SourceUnavailable
from providers.features.source import FeatureSource
from providers.tiles.archive import margin_box84, open_archive
from providers.tiles.generic import window_box84
from providers.tiles.vector import vector_tile, window_at
from server.http.features import feature_source
from server.http.tile_changes import change_log
from server.http.tile_forms import vector_tileset
from server.identity.decision import ANONYMOUS, Action, Decision, decide
from server.registry.catalogue import Collection, RepresentationKind
from server.settings import Settings
from tiles.cache import KeptTile, Places, TileCache, TileName
from tiles.cache.changes import Box84, ChangeLog
from tiles.cache.opening import StoreAccess, open_tile_cache
from tiles.errors import TileOutOfRange, TilesError
from tiles.grids import Bounds, TileId, grid, mercator_to_crs84, transformed

if TYPE_CHECKING:
    from server.http.map_sources import Drawing

_WIDEST_BLOCK = 4
"""Tiles an edge of the blocks in which maps are drawn, at most: a box that is too large only keeps a few tiles less."""
_DEGREES = ("OGC:CRS84", "EPSG:4490")
_WORLD: Box84 = (-180.0, -90.0, 180.0, 90.0)
_ARCHIVE_GRID = "WebMercatorQuad"
_NANOSECONDS = 1_000_000_000
_log = logging.getLogger(__name__)


class TileMaker:
    """The tiles of one process. Safe in threads; opens nothing before the first tile is asked for.

    `places` bounds what is made of this machine's data at one time, `slow_places` what waits for somebody else's: a source that
    hangs keeps those places, and no others.
    """

    def __init__(self, cache: TileCache, places: Places, slow_places: Places) -> None:
        self.cache = cache
        self._places = places
        self._slow_places = slow_places

    def kept(self, name: TileName) -> KeptTile | None:
        """A tile that is kept, None where it is not."""
        return self.cache.get(name)

    def map_tile(self, drawing: Drawing, grid_id: str, tile: TileId, extension: str = "png") -> KeptTile:
        """A map tile; `extension` is "png", "jpeg" or "webp".

        Raises UnknownTileMatrixSet, TileOutOfRange, RenderingBusy and what drawing raises (MapError, StyleError).
        """
        grid(grid_id).check(tile)
        tileset = drawing.tileset(grid_id, extension)
        name = TileName(tileset, tile.z, tile.x, tile.y)
        kept = self.cache.get(name)
        oldest = oldest_stamp(drawing.collection)
        if kept is not None and kept.stamp >= oldest:
            return kept
        collection = drawing.collection
        block = drawing.block_name(tileset, tile)

        def render() -> Mapping[TileName, bytes]:
            return dict(drawing.draw(tileset, tile))

        try:
            return self.cache.make(
                name,
                block_box84(block, _WIDEST_BLOCK, drawing.margin),
                change_log(collection),
                render,
                places=self._places_of(drawing),
                block=block,
                oldest=oldest,
            )
        except SourceUnavailable:
            if kept is None:
                raise
            return kept._replace(stale=True)

    def place(self, drawing: Drawing) -> AbstractContextManager[None]:
        """Room to draw a map that is not a tile, among those that are. Entering raises RenderingBusy."""
        return self._places_of(drawing).taken()

    def _places_of(self, drawing: Drawing) -> Places:
        elsewhere = drawing.slow or is_elsewhere(drawing.collection)
        return self._slow_places if elsewhere else self._places

    def vector_tile(self, collection: Collection, decision: Decision, grid_id: str, tile: TileId) -> KeptTile:
        """A vector tile of the present state, gzip-compressed, its layer named by the collection's id; `empty` where nothing lies in it.

        Raises UnknownTileMatrixSet, TileOutOfRange, RenderingBusy, UnsupportedQuery, StoreError, SourceUnavailable.
        """
        grid(grid_id).check(tile)
        name = TileName(vector_tileset(collection, decision, grid_id), tile.z, tile.x, tile.y)
        kept = self.cache.get(name)
        if kept is not None:
            return kept
        source = feature_source(collection)
        return self.cache.make(
            name,
            window_box84(window_at(grid_id, tile)) or _WORLD,
            change_log(collection),
            lambda: _vector_bytes(collection, decision, source, grid_id, tile),
            places=self._places if source.kind == "embedded" else self._slow_places,
        )

    def made(
        self,
        name: TileName,
        collection: Collection,
        render: Callable[[], bytes],
        log: ChangeLog | None = None,
    ) -> KeptTile:
        """A tile of another kind (a part of a filtered 3D tileset): as it is kept, or made now. Any edit voids it.

        `log` tells of the edits of what it is made of, None for the collection's own. Raises RenderingBusy and what `render` raises.
        """
        return self.cache.get(name) or self.cache.make(
            name, _WORLD, log or change_log(collection), render, places=self._places
        )

    def room(self) -> AbstractContextManager[None]:
        """Room to make something of this machine's data that is not kept here. Entering raises RenderingBusy."""
        return self._places.taken()

    def edited(self, collection: Collection) -> None:
        """After a committed edit: no worker shows a tile it touched any more."""
        try:
            self.follow(collection)
        except (ProviderError, TilesError, OSError) as error:
            # The edit is committed and stays so; the keeper tries again in half a second.
            _log.warning(
                "kept tiles did not follow an edit at once",
                extra={"collection": collection.qualified_id, "reason": str(error)},
            )

    def follow(self, collection: Collection) -> None:
        """Void the kept tiles that edits since the last call, in whatever process, have touched.

        Raises StoreError, SourceUnavailable, RasterError where the data cannot be asked.
        """
        self.cache.bring_up_to_date(
            collection.tenant,
            collection.id,
            collection.generation,
            change_log(collection),
            # Who may not be shown it at once is not shown it later either: only public tiles may stay for a while.
            keep_stale=decide(ANONYMOUS, Action.READ, collection).allowed,
        )


def open_tile_maker(settings: Settings) -> TileMaker:
    """What gives tiles by these settings. Opens nothing before the first tile is asked for."""
    cache = settings.cache
    kept = open_tile_cache(
        cache.store,
        settings.tile_cache_directory,
        StoreAccess(
            cache.redis_url,
            cache.s3_bucket,
            cache.s3_endpoint,
            cache.s3_region,
            cache.s3_access_key,
            cache.s3_secret_key,
        ),
        memory_bytes=cache.memory_bytes,
        max_bytes=cache.max_bytes,
        stale_seconds=cache.stale_seconds,
    )
    waiting, slow, slow_waiting = shares(settings.server.blocking_threads, cache.renderings, cache.waiting)
    return TileMaker(
        kept,
        Places(cache.renderings, waiting),
        Places(slow, slow_waiting, name="renderings of other servers' data"),
    )


def shares(threads: int, renderings: int, waiting: int) -> tuple[int, int, int]:
    """Of a worker's threads: how many may wait for a rendering, ask a slow source, and wait to ask one.

    An eighth of the threads, and at least one where there are some, is left for what needs no rendering: kept tiles, items.
    """
    free = max(1, threads // 8)
    slow = max(1, threads // 8)
    slow_waiting = threads // 16
    rest = threads - free - slow - slow_waiting - renderings
    return max(0, min(waiting, rest)), slow, slow_waiting


def block_box84(block: TileName, edge: int, margin: int) -> Box84:
    """The CRS84 box of up to `edge` x `edge` tiles from their upper left one on, with `margin` pixels around.

    The world where the grid's CRS cannot say.
    """
    tiling = grid(block.tileset.grid)
    matrix = tiling.matrix(block.z)
    more = margin * matrix.cell_size
    last_column = min(block.x + edge, matrix.columns) - 1
    last_row = min(block.y + edge, matrix.rows) - 1
    corners = [
        tiling.bounds(TileId(block.z, column, row))
        for column, row in ((block.x, block.y), (last_column, last_row))
    ]
    box = Bounds(
        min(corner.minx for corner in corners) - more,
        min(corner.miny for corner in corners) - more,
        max(corner.maxx for corner in corners) + more,
        max(corner.maxy for corner in corners) + more,
    )
    if tiling.authority_code == "EPSG:3857":
        return (*mercator_to_crs84(box.minx, box.miny), *mercator_to_crs84(box.maxx, box.maxy))
    if tiling.authority_code in _DEGREES:
        return box
    try:
        return transformed(tiling, box, "inverse")
    except TileOutOfRange:
        return _WORLD


def is_elsewhere(collection: Collection) -> bool:
    """Whether the features of a collection are asked of another server or file than the embedded store."""
    features = collection.representations.get(RepresentationKind.FEATURES)
    return features is not None and features.properties.get("source") is not None


def oldest_stamp(collection: Collection) -> int:
    """The stamp from which on tiles of a collection are young enough; 0 where age does not matter.

    Only cascaded services age: nothing tells when they change.
    """
    from providers.maps.changes import max_age_of

    map_ = collection.representations.get(RepresentationKind.MAP)
    age = None if map_ is None else max_age_of(map_.properties)
    return 0 if age is None else time.time_ns() - age * _NANOSECONDS


def vector_layer(
    collection: Collection,
    decision: Decision,
    source: FeatureSource,
    grid_id: str,
    tile: TileId,
    asof: str | None = None,
) -> bytes:
    """The tile of a state, made now, not compressed; b"" where nothing lies in it."""
    return vector_tile(
        source,
        grid_id,
        tile.z,
        tile.y,
        tile.x,
        collection.id,
        decision.hidden_fields,
        asof=asof,
        tile_fields=collection.representations[RepresentationKind.TILES].properties.get("tile_fields"),
    )


def _vector_bytes(
    collection: Collection, decision: Decision, source: FeatureSource, grid_id: str, tile: TileId
) -> bytes:
    archived = _archived(collection, decision, source, grid_id, tile)
    return vector_layer(collection, decision, source, grid_id, tile) if archived is None else archived


def _archived(
    collection: Collection, decision: Decision, source: FeatureSource, grid_id: str, tile: TileId
) -> bytes | None:
    """The tile that was built when the collection was published, None where it was not, or may have changed since."""
    properties = collection.representations[RepresentationKind.TILES].properties
    name, zooms = properties.get("archive"), properties.get("archive_zooms")
    if (
        name is None
        or decision.hidden_fields
        or grid_id != _ARCHIVE_GRID
        or not zooms
        or not zooms[0] <= tile.z <= zooms[1]
    ):
        return None
    built = properties.get("archive_change", 0)
    if source.change() != built:
        touched: Callable[..., bool] | None = getattr(source, "touched_since", None)
        if touched is None or touched(built, margin_box84(tile)):
            return None
    return open_archive(collection.directory / name).tile(tile) or b""
