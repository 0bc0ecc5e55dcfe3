"""Says what is wrong with a store once, and again after a while: a full disk must not fill the log too."""

from __future__ import annotations

import logging
import threading
import time

_log = logging.getLogger(__name__)
SECONDS = 300.0


class Complaints:
    """Warnings of which each kind is written at most every five minutes."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._next: dict[str, float] = {}
        self._lock = threading.Lock()

    def warn(self, what: str, error: Exception) -> None:
        """Write "what: error", unless this kind (what, and the error's class) was written a short while ago."""
        kind = f"{what} {type(error).__name__}"
        now = time.monotonic()
        with self._lock:
            if now < self._next.get(kind, 0.0):
                return
            self._next[kind] = now + self._seconds
        _log.warning("%s: %s", what, error)
