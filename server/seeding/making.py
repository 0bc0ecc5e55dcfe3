"""Makes the tiles of a unit as the server makes those of a request, and keeps them in the same places."""

from __future__ import annotations

import os
import threading
import time

from providers.errors import ProviderError
from server.errors import ChengtuError, UnknownCollection
from server.http.map_sources import OPEN
from server.http.maps import MapServices
from server.http.tile_forms import vector_tileset
from server.http.tile_maker import open_tile_maker
from server.registry.catalogue import Collection
from server.registry.reader import open_catalogue_reader
from server.seeding.plan import Division, SeedingPlan, Unit
from server.seeding.seeding import UnitResult
from server.settings import Settings, load_settings
from tiles.cache import KeptTile, TileName
from tiles.errors import RenderingBusy, TilesError
from tiles.grids import TileId

_PATIENCE = 30
"""Times that a tile is asked for again where the machine is busy with tiles of requests."""


class UnitMaker:
    """Makes units in this process. Opens its sources at the first unit."""

    def __init__(self, settings: Settings, plan: SeedingPlan) -> None:
        self._reader = open_catalogue_reader(settings)
        self._maker = open_tile_maker(settings)
        self._maps = MapServices(self._reader, settings.styles_directory)
        self._division = Division(plan)

    def make(self, number: int) -> UnitResult:
        """Make the tiles of a unit that are not kept. What fails is counted; the rest is made all the same."""
        unit = self._division.unit(number)
        result = UnitResult(0, 0, 0)
        for tile in self._division.tiles(unit):
            try:
                result = result + self._make_tile(unit, tile)
            except (TilesError, ProviderError, ChengtuError, OSError) as error:
                reason = f"{unit.layer.collection} {unit.grid} {tile.z}/{tile.x}/{tile.y}: {error}"
                result = result + UnitResult(0, 0, 1, reason[:500])
        return result

    def close(self) -> None:
        """Let go of files and connections."""
        self._maker.cache.close()
        self._reader.close()

    def _make_tile(self, unit: Unit, tile: TileId) -> UnitResult:
        layer, collection = unit.layer, self._collection(unit)
        if layer.kind == "tiles":
            tileset = vector_tileset(collection, OPEN, unit.grid)
        else:
            tileset = self._maps.drawing(collection, OPEN, layer.style).tileset(unit.grid, layer.extension)
        if self._maker.kept(TileName(tileset, tile.z, tile.x, tile.y)) is not None:
            return UnitResult(0, 1, 0)
        for _ in range(_PATIENCE):
            try:
                self._made(unit, collection, tile)
                return UnitResult(1, 0, 0)
            except RenderingBusy as error:
                time.sleep(error.retry_after)
        self._made(unit, collection, tile)
        return UnitResult(1, 0, 0)

    def _made(self, unit: Unit, collection: Collection, tile: TileId) -> KeptTile:
        if unit.layer.kind == "tiles":
            return self._maker.vector_tile(collection, OPEN, unit.grid, tile)
        drawing = self._maps.drawing(collection, OPEN, unit.layer.style)
        return self._maker.map_tile(drawing, unit.grid, tile, unit.layer.extension)

    def _collection(self, unit: Unit) -> Collection:
        tenant, _, name = unit.layer.collection.partition(".")
        found = self._reader.current().find(tenant, name)
        if found is None:
            raise UnknownCollection(f"collection {unit.layer.collection} is not published any more")
        return found


def offer_own_grids(settings: Settings) -> None:
    """Offer the operator's tile matrix sets in this process, as the server does. Raises TileMatrixSetError."""
    if settings.maps.tile_matrix_sets_directory is not None:
        from tiles.grids_own import load_tile_matrix_sets

        load_tile_matrix_sets(settings.maps.tile_matrix_sets_directory)


_maker: UnitMaker | None = None


def begin_process(environment: dict[str, str], plan: SeedingPlan) -> None:
    """Prepare a process that makes units (`make_unit`); it ends when its parent does."""
    global _maker
    settings = load_settings((), environment)
    offer_own_grids(settings)
    _maker = UnitMaker(settings, plan)
    threading.Thread(target=_end_with, args=(os.getppid(),), name="parent watcher", daemon=True).start()


def make_unit(number: int) -> UnitResult:
    """Make a unit in a process that `begin_process` has prepared."""
    assert _maker is not None
    return _maker.make(number)


def _end_with(parent: int) -> None:
    """A parent that is killed tells its children nothing, and they would wait for work for ever."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
