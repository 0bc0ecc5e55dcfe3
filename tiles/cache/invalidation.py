"""Which kept tiles an edit voids, and taking them out."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence

from tiles.cache.areas import Reach, TouchedTiles
from tiles.cache.carried import CarriedStates
from tiles.cache.changes import Box84, Change, ChangeLog
from tiles.cache.complaints import Complaints
from tiles.cache.epochs import slot_of
from tiles.cache.stale import StaleTiles
from tiles.cache.store import TileStore
from tiles.cache.tile import TileName, Tileset
from tiles.errors import TileCacheError, UnknownTileMatrixSet

_AT_ONCE = 1000
"""Tiles taken out by one call of the store."""
_MOST_STALE = 2000
"""Tiles that one edit keeps as stale ones; the rest goes: copying them would hold up the edit's answer."""


class Invalidation:
    """Takes out tiles. `void(slot, tiles)` makes what processes hold in memory void and counts."""

    def __init__(
        self,
        store: TileStore,
        stale: StaleTiles,
        carried: CarriedStates,
        reach: Callable[[Tileset], Reach],
        void: Callable[[int, int], None],
        complaints: Complaints,
    ) -> None:
        self._store = store
        self._stale = stale
        self._carried = carried
        self._reach = reach
        self._void = void
        self._complaints = complaints

    def begin(self, tileset: Tileset, noted: Change) -> None:
        """Before the first tile of a generation is kept: note the state it is made from. Raises OSError, TileCacheUnavailable."""
        key = (tileset.tenant, tileset.collection, tileset.generation)
        if self._carried.known(*key):
            return
        with self._carried.held(tileset.tenant, tileset.collection):
            if not self._carried.known(*key):
                self._remove_all(*key)  # kept by nobody knows which state
                self._carried.write(*key, noted)

    def doubt(self, tileset: Tileset) -> None:
        """A tile that should have gone may still be kept: the next look takes out all."""
        try:
            self._carried.forget(tileset.tenant, tileset.collection, tileset.generation)
        except OSError as error:
            self._complaints.warn("the state of kept tiles cannot be noted", error)

    def bring_up_to_date(
        self, tenant: str, collection: str, generation: int, log: ChangeLog, keep_stale: bool
    ) -> int | None:
        """See TileCache."""
        key = (tenant, collection, generation)
        try:
            if self._carried.read(*key) == log.change():
                return 0
            with self._carried.held(tenant, collection):
                state, now = self._carried.read(*key), log.change()
                if state == now:
                    return 0
                # The present state first: what is edited while tiles go is looked at again the next time.
                boxes = None if state is None else log.dirty_since(state)
                removed = self.invalidate(*key, boxes, keep_stale) if boxes is None or boxes else 0
                self._carried.write(*key, now)
                return removed
        except TileCacheError as error:
            self._complaints.warn("tiles that an edit touched cannot be taken out yet", error)
        except OSError as error:
            self._complaints.warn("the state of kept tiles cannot be noted", error)
        self._void(slot_of(tenant, collection), 0)
        return None

    def invalidate(
        self,
        tenant: str,
        collection: str,
        generation: int,
        boxes84: Sequence[Box84] | None,
        keep_stale: bool = False,
    ) -> int | None:
        """See TileCache. Raises TileCacheUnavailable."""
        slot = slot_of(tenant, collection)
        removed: int | None = 0
        try:
            if boxes84 is None:
                removed = None
                self._remove_all(tenant, collection, generation)
            else:
                removed = self._remove_touched(
                    f"{tenant}/{collection}/g{generation:06d}", boxes84, keep_stale
                )
        finally:
            self._void(slot, removed or 0)
        return removed

    def clean(
        self,
        tileset: Tileset,
        zooms: range | None,
        boxes84: Sequence[Box84] | None,
        older_than_seconds: float | None,
    ) -> int:
        """See TileCache. Raises TileCacheUnavailable."""
        try:
            if older_than_seconds is None:
                touched = None if boxes84 is None else TouchedTiles(tileset.grid, boxes84, Reach())
                return self._remove(self._chosen(tileset, zooms, touched), False)
            before = time.time_ns() - int(older_than_seconds * 1e9)
            old = {one.name for one in self._store.ages(tileset.path) if one.used < before}
            touched = None if boxes84 is None else TouchedTiles(tileset.grid, boxes84, Reach())
            return self._remove(
                (name for name in self._chosen(tileset, zooms, touched) if name in old), False
            )
        finally:
            self._void(slot_of(tileset.tenant, tileset.collection), 0)

    def forget(self, tenant: str, collection: str, generation: int) -> None:
        """See TileCache. Raises TileCacheUnavailable."""
        try:
            self._remove_all(tenant, collection, generation)
            self._carried.forget(tenant, collection, generation)
            self._store.tidy()
        except OSError as error:
            self._complaints.warn("the state of kept tiles cannot be noted", error)
        finally:
            self._void(slot_of(tenant, collection), 0)

    def _remove_all(self, tenant: str, collection: str, generation: int) -> None:
        self._store.remove_folder(f"{tenant}/{collection}/g{generation:06d}")

    def _remove_touched(self, folder: str, boxes84: Sequence[Box84], keep_stale: bool) -> int:
        removed = 0
        touched: dict[tuple[str, Reach], TouchedTiles] = {}
        for tileset in self._store.tilesets(folder):
            if self._stale.is_stale(tileset) and keep_stale:
                continue
            key = (tileset.grid, self._reach(tileset))
            try:
                if key not in touched:
                    touched[key] = TouchedTiles(tileset.grid, boxes84, key[1])
                names = self._chosen(tileset, None, touched[key])
            except UnknownTileMatrixSet:  # one of the operator's own that is not offered any more
                names = self._store.tiles(tileset)
            removed += self._remove(names, keep_stale)
        return removed

    def _chosen(
        self, tileset: Tileset, zooms: range | None, touched: TouchedTiles | None
    ) -> Iterator[TileName]:
        for zoom in self._store.levels(tileset):
            if zooms is not None and zoom not in zooms:
                continue
            if touched is None:
                yield from (name for name in self._store.tiles(tileset) if name.z == zoom)
            else:
                ranges = touched.ranges(zoom)
                if ranges:
                    yield from self._store.within(tileset, zoom, ranges)

    def _remove(self, names: Iterator[TileName], keep_stale: bool) -> int:
        removed = stale = 0
        while some := list(itertools.islice(names, _AT_ONCE)):
            if keep_stale and stale < _MOST_STALE:
                for name in some:
                    self._stale.keep(name)
                stale += len(some)
            removed += self._store.remove(some)
        return removed
