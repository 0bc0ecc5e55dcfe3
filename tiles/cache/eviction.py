"""Keeps a store within its size: the tiles longest not used go, in the background, while tiles are read and kept."""

from __future__ import annotations

import fcntl
import os
import threading
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tiles.cache.complaints import Complaints
from tiles.cache.store import TileStore
from tiles.cache.tile import TileName
from tiles.errors import TileCacheError

_DOWN_TO = 0.9
"""Share of the size that is left when the limit was passed."""
_MINUTE = 60 * 10**9
_LOOK_SHARE = 50
"""A process looks at the size after it has kept a fiftieth of it."""
_AT_ONCE = 500


class Evictor:
    """Removes tiles where the store holds more than `max_bytes` (0: never). `evicted` is told each one."""

    def __init__(
        self, store: TileStore, lock_file: Path, max_bytes: int, evicted: Callable[[TileName], None]
    ) -> None:
        self._store = store
        self._lock_file = lock_file
        self._most = max_bytes
        self._evicted = evicted
        self._since = max_bytes  # look at the first tile
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._complaints = Complaints()

    def kept(self, size: int) -> None:
        """A tile of that size was kept: look at the whole now and then, in a thread of its own."""
        if not self._most:
            return
        self._since += size
        if self._since < self._most // _LOOK_SHARE:
            return
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            self._since = 0
            self._thread = threading.Thread(target=self._look, name="tile evictor", daemon=True)
            self._thread.start()

    def evict(self) -> int:
        """Remove what is too much; how many tiles. Does nothing where another process is at it. Raises TileCacheUnavailable."""
        if not self._most:
            return 0
        with self._alone() as alone:
            return self._evict() if alone else 0

    def _look(self) -> None:
        try:
            self.evict()
        except (TileCacheError, OSError) as error:
            self._complaints.warn("kept tiles cannot be brought to their size", error)

    def _evict(self) -> int:
        self._store.tidy()
        minutes: Tally[int] = Tally()
        for one in self._store.ages(""):
            minutes[one.used // _MINUTE] += one.bytes
        excess = sum(minutes.values()) - self._most
        if excess <= 0:
            return 0
        excess += int(self._most * (1 - _DOWN_TO))
        last = _last_to_go(minutes, excess)
        removed, some = 0, []
        for name in self._to_go(last, excess - sum(size for at, size in minutes.items() if at < last)):
            some.append(name)
            if len(some) == _AT_ONCE:
                removed += self._remove(some)
                some = []
        return removed + self._remove(some)

    def _to_go(self, last: int, of_last: int) -> Iterator[TileName]:
        """All tiles used before the minute `last`, and of those used in it so many bytes."""
        for one in self._store.ages(""):
            at = one.used // _MINUTE
            if at < last:
                yield one.name
            elif at == last and of_last > 0:
                of_last -= one.bytes
                yield one.name

    def _remove(self, names: list[TileName]) -> int:
        removed = self._store.remove(names)
        for name in names:
            self._evicted(name)
        return removed

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        self._lock_file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            yield False
            return
        try:
            yield True
        finally:
            os.close(descriptor)


def _last_to_go(minutes: Tally[int], excess: int) -> int:
    """The minute in which the sum from the oldest on reaches `excess`."""
    total = 0
    for minute in sorted(minutes):
        total += minutes[minute]
        if total >= excess:
            return minute
    return max(minutes)
