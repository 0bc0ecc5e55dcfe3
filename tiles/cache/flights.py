"""One rendering for many who ask: among the threads of a process, and among the processes of a machine."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2s
from pathlib import Path

from tiles.cache.memory import KeptTile
from tiles.cache.places import Places
from tiles.cache.tile import TileName


class Flight:
    """One rendering under way. `began` is when (monotonic); `tiles`, `error` and `touched` are set when it `landed`."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.landed = threading.Event()
        self.tiles: dict[TileName, KeptTile] = {}
        self.error: Exception | None = None
        self.touched = False


class Flights:
    """The renderings under way in this process, by the tile (or upper left tile of the block) that is made."""

    def __init__(self) -> None:
        self._flights: dict[TileName, Flight] = {}
        self._lock = threading.Lock()

    def join(self, key: TileName) -> tuple[Flight, bool]:
        """The rendering, and whether it is now the caller's to make (and to `land`)."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is not None:
                return flight, False
            flight = self._flights[key] = Flight()
            return flight, True

    def land(self, key: TileName, flight: Flight) -> None:
        """It is over: let those that wait go on."""
        with self._lock:
            del self._flights[key]
        flight.landed.set()


@contextmanager
def between_processes(folder: Path, key: TileName, places: Places) -> Iterator[None]:
    """Be the only process of this machine that makes a tile. Raises RenderingBusy where another one takes too long.

    A file of `folder` is locked by the kernel, so that a killed process lets go of it, and removed in the end.
    """
    path = folder / blake2s(key.path.encode(), digest_size=16).hexdigest()
    descriptor = _locked(path)
    if descriptor is None:
        with places.waiting() as until:
            pause = 0.002
            while descriptor is None:
                if time.monotonic() > until:
                    raise places.busy()
                time.sleep(pause)
                pause = min(pause * 1.5, 0.03)
                descriptor = _locked(path)
    try:
        yield
    finally:
        path.unlink(
            missing_ok=True
        )  # before it is let go of: who then locks it finds that it is not the file any more
        os.close(descriptor)


def _locked(path: Path) -> int | None:
    """The descriptor of the locked file, None where another holds it. Raises OSError where it cannot be made."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass  # removed by the one who held it: make it again
        os.close(descriptor)
