"""The cache of tiles as the server uses it: memory over a store, one rendering for many who ask, and edits that void tiles.

How a kept tile stays true: a renderer notes the state of the data before it reads; it keeps its tile only if nothing in the
tile's box has changed since, and asks again once the tile is kept. An edit takes out the tiles it touches, then raises
the collection's epoch: what any process holds in memory from before is void.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from tiles.cache.areas import Reach, reach_of
from tiles.cache.bodies import is_whole, packed
from tiles.cache.carried import CarriedStates
from tiles.cache.changes import Box84, Change, ChangeLog
from tiles.cache.complaints import Complaints
from tiles.cache.counting import Counter, Counters, Statistics
from tiles.cache.epochs import Epochs, slot_of
from tiles.cache.eviction import Evictor
from tiles.cache.flights import Flight, Flights, between_processes
from tiles.cache.invalidation import Invalidation
from tiles.cache.memory import KeptTile, TileMemory, kept_tile
from tiles.cache.places import Places
from tiles.cache.stale import StaleTiles
from tiles.cache.store import StoredTile, TileStore, Usage
from tiles.cache.tile import GZIPPED, TileName, Tileset
from tiles.errors import RenderingBusy, TileCacheError

type Rendered = bytes | Mapping[TileName, bytes]
_NO_EPOCH = -1


class TileCache:
    """Kept tiles. Made before a fork, it opens nothing until it is used; safe in threads.

    `directory` holds what the processes of this machine share (epochs, locks, counts, states), whatever the store is.
    """

    def __init__(
        self,
        store: TileStore,
        directory: Path,
        *,
        memory_bytes: int,
        max_bytes: int = 0,
        stale_seconds: float = 0,
        reach: Callable[[Tileset], Reach] = reach_of,
    ) -> None:
        self.store = store
        self.stale_seconds = stale_seconds
        self._locks = directory / ".locks"
        self._memory = TileMemory(memory_bytes)
        self._epochs = Epochs(directory / ".epochs")
        self._counters = Counters(directory / ".statistics")
        self._carried = CarriedStates(directory / ".carried")
        self._flights = Flights()
        self._complaints = Complaints()
        self._slots: dict[tuple[str, str], int] = {}
        self._stale = StaleTiles(store, stale_seconds)
        self._evictor = Evictor(store, directory / ".locks" / "eviction", max_bytes, self._evicted)
        self._invalidation = Invalidation(
            store, self._stale, self._carried, reach, self._void, self._complaints
        )

    def get(self, name: TileName) -> KeptTile | None:
        """The tile where it is kept. A store that does not answer keeps nothing; that is logged, not raised."""
        slot = self._slot(name.tileset)
        epoch = self._epoch(slot)
        kept = self._memory.get(name, epoch)
        if kept is not None:
            self._counters.count(slot, Counter.MEMORY_HITS)
            return kept
        kept = self._from_store(name, epoch)
        self._counters.count(slot, Counter.MISSES if kept is None else Counter.STORE_HITS)
        return kept

    def make(
        self,
        name: TileName,
        box84: Box84,
        log: ChangeLog,
        render: Callable[[], Rendered],
        *,
        places: Places,
        block: TileName | None = None,
        oldest: int = 0,
    ) -> KeptTile:
        """A tile that was not kept: made here, or by the request that makes it already.

        `render` gives its bytes (a vector tile raw or as gzip, b"" where nothing lies in it), or those of all tiles of the block
        whose upper left tile is `block`. `box84` is what is read for them, drawing margin and all. Raises RenderingBusy, and what
        `render` and `log` raise. A tile that an edit has touched may be shown to all but the one who makes it anew. A kept tile with a
        stamp before `oldest` (nanoseconds since 1970) is made anew too.
        """
        key, arrived = block or name, time.monotonic()
        while True:
            flight, mine = self._flights.join(key)
            if mine:
                return self._lead(key, flight, name, box84, log, render, places, oldest)
            old = self._stale.get(name)
            if old is not None:
                self._counters.count(self._slot(name.tileset), Counter.STALE)
                return kept_tile(name, old, stale=True)
            self._wait(flight, name, places)
            made = flight.tiles.get(name)
            # What was read before an edit that this request may know of must not be its answer.
            if made is not None and (not flight.touched or flight.began >= arrived):
                return made

    def keep(self, tiles: Mapping[TileName, bytes]) -> dict[TileName, KeptTile]:
        """Put tiles into the store whatever edits there were; those of a full or dead store come back all the same."""
        return {name: kept_tile(name, self._put(name, _checked(name, body))) for name, body in tiles.items()}

    def bring_up_to_date(
        self, tenant: str, collection: str, generation: int, log: ChangeLog, *, keep_stale: bool = False
    ) -> int | None:
        """Void what edits have touched since the tiles were last brought to a state; tiles, None where all went uncounted.

        Call it after a commit and, for edits of others, again and again: where nothing changed it costs microseconds.
        `keep_stale` (public collections): touched tiles may be shown for `stale_seconds` while they are made anew. A store that does
        not answer leaves the state as it was, so that the next call does it.
        """
        return self._invalidation.bring_up_to_date(tenant, collection, generation, log, keep_stale)

    def invalidate(
        self,
        tenant: str,
        collection: str,
        generation: int,
        boxes84: Sequence[Box84] | None,
        *,
        keep_stale: bool = False,
    ) -> int | None:
        """Take out the tiles of all forms that any box touches, or all (None; not counted then). Raises TileCacheUnavailable."""
        return self._invalidation.invalidate(tenant, collection, generation, boxes84, keep_stale)

    def clean(
        self,
        tileset: Tileset,
        zooms: range | None = None,
        boxes84: Sequence[Box84] | None = None,
        older_than_seconds: float | None = None,
    ) -> int:
        """Take out the tiles of a tileset that lie in the levels, touch a box and were not used of late. Raises TileCacheUnavailable."""
        return self._invalidation.clean(tileset, zooms, boxes84, older_than_seconds)

    def forget(self, tenant: str, collection: str, generation: int) -> None:
        """A generation is not served any more: its tiles go. Raises TileCacheUnavailable."""
        self._invalidation.forget(tenant, collection, generation)

    def cached_collections(self) -> list[tuple[str, str, int]]:
        """(tenant, collection, generation) of which tiles may be kept: what has to be brought up to date."""
        return list(self._carried.generations())

    def tilesets(self, folder: str = "") -> list[Tileset]:
        """What is kept below a folder ("", "tenant", "tenant/collection", Tileset.folder), without tiles that are stale."""
        return [one for one in self.store.tilesets(folder) if not self._stale.is_stale(one)]

    def usage(self, folder: str = "") -> Usage:
        """Tiles and bytes below a folder; walks it."""
        return self.store.usage(folder)

    def statistics(self, collection: tuple[str, str] | None = None) -> Statistics:
        """Counts of all processes, of one collection (tenant, id) or of all."""
        return self._counters.statistics(collection)

    def close(self) -> None:
        """Let go of files and connections."""
        self._memory.clear()
        self._epochs.close()
        self._counters.close()
        self.store.close()

    def _lead(
        self,
        key: TileName,
        flight: Flight,
        name: TileName,
        box84: Box84,
        log: ChangeLog,
        render: Callable[[], Rendered],
        places: Places,
        oldest: int,
    ) -> KeptTile:
        try:
            with ExitStack() as stack:
                try:
                    stack.enter_context(between_processes(self._locks, key, places))
                except (
                    OSError
                ) as error:  # no room, or no right, for a lock: another process may make the tile too
                    self._complaints.warn("tiles are made without a lock between processes", error)
                epoch = self._epoch(self._slot(name.tileset))
                kept = self._from_store(name, epoch)  # made by another process, or since this one looked
                if kept is not None and kept.stamp >= oldest:
                    flight.tiles = {name: kept}
                    return kept
                self._render(flight, name, box84, log, render, places, epoch)
            return flight.tiles[name]
        except RenderingBusy as error:
            self._counters.count(self._slot(name.tileset), Counter.BUSY)
            flight.error = error
            old = self._stale.get(name)
            if old is None:
                raise
            return kept_tile(name, old, stale=True)
        except Exception as error:
            flight.error = error
            raise
        finally:
            self._flights.land(key, flight)

    def _render(
        self,
        flight: Flight,
        name: TileName,
        box84: Box84,
        log: ChangeLog,
        render: Callable[[], Rendered],
        places: Places,
        epoch: int,
    ) -> None:
        tileset = name.tileset
        with places.taken():
            noted = log.change()
            self._know(tileset, noted)
            self._counters.count(self._slot(tileset), Counter.RENDERINGS)
            rendered = render()
        bodies = rendered if isinstance(rendered, Mapping) else {name: rendered}
        if name not in bodies:
            raise TileCacheError(
                f"the rendering of a block gave {len(bodies)} tiles, and {name.path} is none of them"
            )
        checked = {one: _checked(one, body) for one, body in bodies.items()}
        flight.touched = log.touched_since(noted, box84)
        if flight.touched:
            stamp = time.time_ns()
            flight.tiles = {one: kept_tile(one, StoredTile(body, stamp)) for one, body in checked.items()}
            return
        flight.tiles = {one: kept_tile(one, self._put(one, body)) for one, body in checked.items()}
        flight.touched = log.touched_since(noted, box84)
        if flight.touched:
            self._take_back(tileset, flight.tiles)
            return
        self._stale.remove(flight.tiles)
        self._memory_of(flight.tiles, epoch)

    def _wait(self, flight: Flight, name: TileName, places: Places) -> None:
        """Until a rendering under way is over. Raises its error, or RenderingBusy."""
        try:
            with places.waiting() as until:
                if not flight.landed.wait(max(0.0, until - time.monotonic())):
                    raise places.busy()
        except RenderingBusy:
            self._counters.count(self._slot(name.tileset), Counter.BUSY)
            raise
        if flight.error is not None:
            raise flight.error

    def _from_store(self, name: TileName, epoch: int) -> KeptTile | None:
        try:
            stored = self.store.get(name)
        except TileCacheError as error:
            self._complaints.warn("tiles are served without the store that keeps them", error)
            return None
        if stored is None:
            return None
        kept = kept_tile(name, stored)
        self._memory_of({name: kept}, epoch)
        return kept

    def _memory_of(self, tiles: Mapping[TileName, KeptTile], epoch: int) -> None:
        if epoch != _NO_EPOCH:
            for name, tile in tiles.items():
                self._memory.put(name, epoch, tile)

    def _put(self, name: TileName, body: bytes) -> StoredTile:
        try:
            stamp = self.store.put(name, body)
        except TileCacheError as error:
            self._complaints.warn("a tile that was made is served, but cannot be kept", error)
            return StoredTile(body, time.time_ns())
        self._evictor.kept(len(body))
        return StoredTile(body, stamp)

    def _take_back(self, tileset: Tileset, names: Iterable[TileName]) -> None:
        """An edit came between: who has read these tiles meanwhile must not hold them either."""
        try:
            self.store.remove(names)
        except TileCacheError as error:
            self._complaints.warn("the store that keeps tiles does not remove them", error)
            self._invalidation.doubt(tileset)
        self._void(self._slot(tileset), 0)

    def _know(self, tileset: Tileset, noted: Change) -> None:
        try:
            self._invalidation.begin(tileset, noted)
        except (OSError, TileCacheError) as error:
            self._complaints.warn("the state of kept tiles cannot be noted", error)

    def _epoch(self, slot: int) -> int:
        try:
            return self._epochs.read(slot)
        except OSError as error:
            self._complaints.warn("tiles are not held in memory: there is no room for epochs", error)
            return _NO_EPOCH

    def _void(self, slot: int, tiles: int) -> None:
        try:
            self._epochs.raise_(slot)
        except OSError as error:
            self._complaints.warn("tiles in memory cannot be voided", error)
        self._counters.count(slot, Counter.INVALIDATED, tiles)

    def _evicted(self, name: TileName) -> None:
        self._counters.count(self._slot(name.tileset), Counter.EVICTED)

    def _slot(self, tileset: Tileset) -> int:
        key = (tileset.tenant, tileset.collection)
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = slot_of(*key)
        return slot


def _checked(name: TileName, body: bytes) -> bytes:
    """A rendering as it is kept. Raises TileCacheError where it is no tile of its extension."""
    if name.tileset.extension in GZIPPED:
        body = packed(body)
    if not is_whole(body, name.tileset.extension):
        raise TileCacheError(
            f"what was made for {name.path} ({len(body)} bytes, beginning {body[:8]!r}) is no {name.tileset.extension}"
        )
    return body
