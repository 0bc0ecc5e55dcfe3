"""So many at a time: keeps costly work from taking every thread of a worker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from server.http.errors import Overloaded


class Places:
    """`count` places for costly work in this process; one who finds none waits up to `seconds` for it."""

    def __init__(self, count: int, seconds: float = 5.0) -> None:
        self._places = threading.BoundedSemaphore(count)
        self._waiting = threading.BoundedSemaphore(1)
        self._seconds = seconds

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a place. Raises Overloaded where none becomes free, or another already waits: who waits holds a thread."""
        if not self._places.acquire(blocking=False):
            self._wait()
        try:
            yield
        finally:
            self._places.release()

    def _wait(self) -> None:
        if not self._waiting.acquire(blocking=False):
            raise Overloaded("this server is busy with other costly requests; try again in a moment")
        try:
            if not self._places.acquire(timeout=self._seconds):
                raise Overloaded("this server is busy with other costly requests; try again in a moment")
        finally:
            self._waiting.release()
