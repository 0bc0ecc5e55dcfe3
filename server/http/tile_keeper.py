"""Keeps kept tiles true: a thread of each worker, of which one in all processes is at work.

Edits by HTTP void the tiles they touch before they are answered (`TileMaker.edited`). What other processes do (the command
line, SQL, a partner's database, a worker killed between an edit and its tiles) is found here, twice a second. It also keeps
the links of public tiles, and lets go of tiles of generations that are gone.
"""

from __future__ import annotations

import atexit
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from providers.errors import ProviderError
from server.errors import ChengtuError
from server.http.services import Services
from server.http.tile_links import StyleNames, TileLinks
from server.http.tile_maker import TileMaker, is_elsewhere
from server.registry.catalogue import Catalogue, CatalogueReader, Collection
from tiles.errors import TilesError

PERIOD = 0.4
"""Seconds from one look to the next where looking takes a tenth of them or less."""
_LOCK_FILE = ".keeper"
_SHARE = 0.1  # of a processor, as long as that keeps the promise of a second
_LONGEST = 0.7
"""Seconds from one look to the next at most: the links of a new catalogue cost a tenth of a second, and edits must not wait for ten."""
_ELSEWHERE_AT_ONCE = 4
_COMPLAIN_EVERY = 300.0
_log = logging.getLogger(__name__)

type Key = tuple[str, str, int]


def start_tile_keeper(services: Services) -> TileKeeper:
    """The keeper of a worker, begun; it ends with its process. Never call it before a fork."""
    settings = services.settings
    directory = settings.tile_cache_directory
    links = None
    if settings.cache.store == "files":
        links = TileLinks(
            directory, settings.public_tiles_directory, services.maps, _style_names(settings.styles_directory)
        )
    keeper = TileKeeper(services.catalogue, services.tiles, links, directory)
    keeper.start()
    atexit.register(keeper.stop)
    return keeper


def _style_names(styles_dir: Path) -> StyleNames:
    """What tells the styles offered for a collection."""

    def names(catalogue: Catalogue, collection: Collection) -> Iterable[str]:
        from server.registry.style_choice import style_ids

        return style_ids(catalogue, collection, styles_dir)

    return names


class TileKeeper:
    """The thread. `start` it after a fork; `stop` ends it within a moment."""

    def __init__(
        self, reader: CatalogueReader, maker: TileMaker, links: TileLinks | None, directory: Path
    ) -> None:
        self._reader = reader
        self._maker = maker
        self._links = links
        self._directory = directory
        self._linked: Catalogue | None = None
        self._swept: Catalogue | None = None
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._asked: set[Key] = set()
        self._complained: dict[str, float] = {}

    def start(self) -> None:
        """Begin; does nothing where it has begun."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="chengtu-tile-keeper", daemon=True)
            self._thread.start()

    def stop(self, seconds: float = 5.0) -> None:
        """End, and wait for it."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopped.is_set():
            lock = self._locked()
            if lock is None:
                self._stopped.wait(PERIOD)
                continue
            try:
                self._keep()
            finally:
                os.close(lock)

    def _locked(self) -> int | None:
        """The lock that makes this thread the one at work, None where another has it; the kernel frees it with its process."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._directory / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self._complain("lock", error)
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        return descriptor

    def _keep(self) -> None:
        with ThreadPoolExecutor(_ELSEWHERE_AT_ONCE, "chengtu-tile-keeper-elsewhere") as elsewhere:
            while not self._stopped.is_set():
                began = time.thread_time()
                try:
                    self.look(elsewhere.submit)
                except Exception as error:  # noqa: BLE001 - the last line of defence: without this thread tiles stay old
                    self._complain("look", error)
                spent = time.thread_time() - began
                self._stopped.wait(max(PERIOD, min(spent / _SHARE, _LONGEST)))

    def look(self, elsewhere: Callable[[Callable[[], None]], object]) -> None:
        """Once: links, tiles of generations that are gone, tiles of what was edited. Raises RegistryUnavailable.

        `elsewhere` runs what may wait for another server.
        """
        catalogue = self._reader.current()
        if self._links is not None and self._linked is not catalogue:
            try:
                self._links.bring_up_to_date(catalogue)
                self._linked = catalogue
            except OSError as error:
                self._complain("links", error)
        for key in self._maker.cache.cached_collections():
            self._look_at(catalogue, key, elsewhere)
        self._swept = catalogue

    def _look_at(
        self, catalogue: Catalogue, key: Key, elsewhere: Callable[[Callable[[], None]], object]
    ) -> None:
        tenant, name, generation = key
        collection = catalogue.find(tenant, name)
        if collection is None or collection.generation != generation:
            if self._swept is not catalogue and not _is_kept(collection, generation):
                self._maker.cache.forget(tenant, name, generation)
        elif not is_elsewhere(collection):
            self._follow(collection)
        elif key not in self._asked:
            self._asked.add(key)
            elsewhere(lambda: self._ask(key, collection))

    def _ask(self, key: Key, collection: Collection) -> None:
        try:
            self._follow(collection)
        finally:
            self._asked.discard(key)

    def _follow(self, collection: Collection) -> None:
        try:
            self._maker.follow(collection)
        except (ProviderError, TilesError, ChengtuError, OSError) as error:
            self._complain(collection.qualified_id, error)

    def _complain(self, about: str, error: Exception) -> None:
        """One line in the log, and none of the same for five minutes."""
        now = time.monotonic()
        if now - self._complained.get(about, -_COMPLAIN_EVERY) < _COMPLAIN_EVERY:
            return
        self._complained[about] = now
        _log.warning(
            "kept tiles could not be brought up to date",
            extra={"about": about, "reason": f"{type(error).__name__}: {error}"},
        )


def _is_kept(collection: Collection | None, generation: int) -> bool:
    """Whether a generation that is not the present one may become it again."""
    return collection is not None and any(past.number == generation for past in collection.past)
