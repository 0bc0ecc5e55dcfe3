"""Locks between the processes of one machine, held by the kernel: a process that dies lets go of its own.

The data home is a local file system (SQLite in WAL mode asks for that too), so `flock` is sound; unlike a process id in
a file it cannot be mistaken after a restart, nor between containers that share the home.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class HeldLock:
    """A lock that this process holds until `release`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let go; does nothing the second time."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.release()


def try_lock(path: Path, content: bytes | None = None) -> HeldLock | None:
    """The lock of the file at `path` (made where absent), or None where another holder has it.

    `content`, where given, becomes what the file says to a person who looks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if content is not None:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, content)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return HeldLock(descriptor)


@contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    """Hold the lock of the file at `path`, waiting for others to let go first."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
