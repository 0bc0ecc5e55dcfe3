"""Places for renderings: so many at one time, so many waiting, and nobody waits for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tiles.errors import RenderingBusy


class Places:
    """Places of one process for one kind of source, so that slow sources keep no place from fast ones.

    `count` renderings at one time; up to `waiting` requests wait up to `seconds` for a place or for a tile that is being made.
    """

    def __init__(self, count: int, waiting: int, seconds: float = 10.0, name: str = "renderings") -> None:
        self.seconds = seconds
        self.name = name
        self._free = threading.BoundedSemaphore(count)
        self._most_waiting = waiting
        self._waiting = 0
        self._lock = threading.Lock()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a place. Raises RenderingBusy where none becomes free in time, or too many wait already."""
        if not self._free.acquire(blocking=False):
            with self.waiting():
                if not self._free.acquire(timeout=self.seconds):
                    raise self.busy()
        try:
            yield
        finally:
            self._free.release()

    @contextmanager
    def waiting(self) -> Iterator[float]:
        """Be one of those that wait; gives the time (monotonic) until which. Raises RenderingBusy where too many do already."""
        with self._lock:
            if self._waiting >= self._most_waiting:
                raise self.busy()
            self._waiting += 1
        try:
            yield time.monotonic() + self.seconds
        finally:
            with self._lock:
                self._waiting -= 1

    def busy(self) -> RenderingBusy:
        """The error of one who does not get a place."""
        return RenderingBusy(
            f"the server makes as many {self.name} as it can, and {self._waiting} requests wait for theirs; try again in "
            "a moment",
            retry_after=max(1, round(self.seconds / 4)),
        )
