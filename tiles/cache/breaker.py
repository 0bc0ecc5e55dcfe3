"""Leaves a server that does not answer alone for a while, so that it costs nothing on each request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tiles.errors import TileCacheUnavailable


class Breaker:
    """After a failure everything is refused at once for `seconds`; then one try decides."""

    def __init__(self, name: str, seconds: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._seconds = seconds
        self._clock = clock
        self._until = 0.0
        self._reason = ""

    @contextmanager
    def asked(self, failures: tuple[type[Exception], ...]) -> Iterator[None]:
        """Ask the server. Raises TileCacheUnavailable for one of `failures`, and where it failed a short while ago."""
        now = self._clock()
        if now < self._until:
            raise TileCacheUnavailable(f"{self._name} did not answer a moment ago: {self._reason}")
        if self._until:
            self._until = now + self._seconds  # while this one tries, others are refused
        try:
            yield
        except failures as error:
            self._reason = type(error).__name__  # its text may name hosts and users
            self._until = self._clock() + self._seconds
            raise TileCacheUnavailable(f"{self._name} does not answer: {self._reason}") from error
        self._until = 0.0
