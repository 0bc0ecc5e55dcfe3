"""A bounded store of things that are dear to open and serve one user at a time: Mapnik maps, raster files.

A thread borrows one, works with it alone, and gives it back; so nothing is shared between threads at any moment, yet an
idle map serves whichever thread comes next. What has been idle longest is closed when the store is full.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager


class LeaseStore[Handle]:
    """Idle handles by key, at most `capacity` of them in all. `close` is called on each handle that leaves."""

    def __init__(self, capacity: int, close: Callable[[Handle], None]) -> None:
        if capacity < 1:
            raise ValueError(f"capacity {capacity}: at least one idle handle must be kept")
        self._capacity = capacity
        self._close = close
        self._lock = threading.Lock()
        self._idle: OrderedDict[Hashable, deque[Handle]] = OrderedDict()
        self._count = 0
        self._process = os.getpid()

    @contextmanager
    def lease(self, key: Hashable, create: Callable[[], Handle]) -> Iterator[Handle]:
        """An idle handle of that key, or a new one. A handle whose work raised is closed, not kept."""
        handle = self._take(key)
        if handle is None:
            handle = create()
        try:
            yield handle
        except BaseException:
            self._close(handle)
            raise
        for surplus in self._give_back(key, handle):
            self._close(surplus)

    def idle_count(self) -> int:
        """Handles that wait now."""
        with self._lock:
            return self._count

    def clear(self) -> None:
        """Close every idle handle."""
        with self._lock:
            handles = [handle for waiting in self._idle.values() for handle in waiting]
            self._idle.clear()
            self._count = 0
        for handle in handles:
            self._close(handle)

    def _take(self, key: Hashable) -> Handle | None:
        with self._lock:
            if self._process != os.getpid():
                # A forked worker must not touch its parent's open files; they are left to the parent, unclosed.
                self._idle.clear()
                self._count = 0
                self._process = os.getpid()
            waiting = self._idle.get(key)
            if not waiting:
                return None
            handle = waiting.pop()
            self._count -= 1
            if not waiting:
                del self._idle[key]
            return handle

    def _give_back(self, key: Hashable, handle: Handle) -> list[Handle]:
        """Keep the handle; what must go for it is returned."""
        with self._lock:
            self._idle.setdefault(key, deque()).append(handle)
            self._idle.move_to_end(key)
            self._count += 1
            surplus = []
            while self._count > self._capacity:
                oldest = next(iter(self._idle))
                waiting = self._idle[oldest]
                surplus.append(waiting.popleft())
                self._count -= 1
                if not waiting:
                    del self._idle[oldest]
            return surplus
