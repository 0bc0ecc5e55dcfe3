"""What happened to kept tiles, counted by every process in shared memory, and summed by who asks."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from tiles.cache.epochs import allocate, slot_of

_SLOTS = 4_096
_KINDS = 8
_BYTES = _SLOTS * _KINDS * 8
_MOST_PROCESSES = 256


class Counter(IntEnum):
    """What is counted."""

    MEMORY_HITS = 0
    STORE_HITS = 1
    MISSES = 2
    RENDERINGS = 3
    STALE = 4
    BUSY = 5
    INVALIDATED = 6
    EVICTED = 7


class Statistics(NamedTuple):
    """Counts since the cache was made.

    `misses` were not kept when asked for; of their requests, those that waited for the rendering of another made none.
    `busy` were refused for want of a place.
    """

    memory_hits: int
    store_hits: int
    misses: int
    renderings: int
    stale: int
    busy: int
    invalidated: int
    evicted: int

    @property
    def hit_rate(self) -> float | None:
        """Share of requests that found their tile kept; None where there were none."""
        hits = self.memory_hits + self.store_hits
        asked = hits + self.misses
        return hits / asked if asked else None


class Counters:
    """This process's counts: a file of its own, held by a lock of the kernel, which the next process goes on with.

    Counting takes no lock; two threads that count the same at one moment may count one. Collections are counted by 4,096 slots:
    two that share one are counted together.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._view: memoryview | None = None
        self._descriptor = -1
        self._process = 0

    def count(self, slot: int, kind: Counter, number: int = 1) -> None:
        """Count for a collection's slot (`epochs.slot_of`)."""
        view = self._view
        if view is None or self._process != os.getpid():
            view = self._open()
        view[(slot % _SLOTS) * _KINDS + kind] += number

    def statistics(self, collection: tuple[str, str] | None = None) -> Statistics:
        """The sums over all processes, past ones too, of one collection (tenant, id) or of all."""
        sums = [0] * _KINDS
        for counts in self._files():
            if collection is None:
                for kind in range(_KINDS):
                    sums[kind] += sum(counts[kind::_KINDS])
            else:
                at = slot_of(*collection) % _SLOTS * _KINDS
                for kind in range(_KINDS):
                    sums[kind] += counts[at + kind]
        return Statistics(*sums)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._view = None
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _files(self) -> Iterator[tuple[int, ...]]:
        for path in sorted(self._folder.glob("[0-9]*")):
            content = path.read_bytes()
            if len(content) == _BYTES:
                yield struct.unpack(f"={_SLOTS * _KINDS}Q", content)

    def _open(self) -> memoryview:
        with self._lock:
            if self._view is not None and self._process == os.getpid():
                return self._view
            try:
                self._descriptor = self._claimed()
                self._view = memoryview(mmap.mmap(self._descriptor, _BYTES)).cast("Q")
            except OSError:  # no room for counts: they are counted for nobody
                self._descriptor = -1
                self._view = memoryview(bytearray(_BYTES)).cast("Q")
            self._process = os.getpid()
            return self._view

    def _claimed(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        for number in range(_MOST_PROCESSES):
            descriptor = os.open(self._folder / f"{number:03d}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            allocate(descriptor, _BYTES)
            return descriptor
        raise OSError(f"{self._folder}: {_MOST_PROCESSES} processes count already")
