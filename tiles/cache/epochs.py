"""Numbers that all processes of a machine see at once: an edit raises its collection's, and memory of tiles before it is void."""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
import zlib
from pathlib import Path

SLOTS = 65_536
_BYTES = SLOTS * 8


def slot_of(tenant: str, collection: str) -> int:
    """The slot of a collection; others may share it, which costs them a look into the store."""
    return zlib.crc32(f"{tenant}/{collection}".encode()) % SLOTS


class Epochs:
    """A file of 65,536 numbers of 8 bytes, shared by mmap. Reading one takes no lock; opened at its first use."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._view: memoryview | None = None
        self._descriptor = -1
        self._process = 0

    def read(self, slot: int) -> int:
        """The present number. Raises OSError where the file cannot be made."""
        view = self._view
        if view is None:
            view = self._open()
        return int(view[slot])

    def raise_(self, slot: int) -> None:
        """Another number, in all processes. Raises OSError."""
        view = self._view or self._open()
        with self._lock:
            self._after_fork()
            # Two that read the same number would both write the same next one, and a tile read between them would stay.
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            try:
                view[slot] = (int(view[slot]) + 1) & (2**63 - 1)
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the file; a memoryview that another thread still reads keeps it."""
        with self._lock:
            self._view = None
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _open(self) -> memoryview:
        with self._lock:
            if self._view is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._descriptor = _opened(self._path)
                mapped = mmap.mmap(self._descriptor, _BYTES)
                self._view = memoryview(mapped).cast("Q")
                self._process = os.getpid()
            return self._view

    def _after_fork(self) -> None:
        """A lock belongs to the open file, which a fork shares: a child opens its own."""
        if self._process != os.getpid():
            os.close(self._descriptor)
            self._descriptor = _opened(self._path)
            self._process = os.getpid()


def _opened(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    allocate(descriptor, _BYTES)
    return descriptor


def allocate(descriptor: int, size: int) -> None:
    """Give a file its blocks now: a write through mmap into a hole kills the process where the disk is full.

    Raises OSError, and closes the descriptor then.
    """
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError:
        os.close(descriptor)
        raise
