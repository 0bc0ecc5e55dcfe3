"""Tell what failed when something below us failed: a full disk looks different in every library."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pointclouds.errors import PointCloudError
from providers.errors import ProviderError
from server.publish.errors import BuildError, StorageFull
from tiles.errors import TilesError

_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_FULL_SQLITE = frozenset((sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE))
_FULL_WORDS = re.compile(
    r"no space left|disk is full|file too large|disk quota|not enough (disk )?space", re.IGNORECASE
)
_WORK_FACTOR = 2.0
"""Free space wanted at the start, as a multiple of the input: the feature store is about that much larger."""


_PROBE_BYTES = 1024 * 1024


def is_storage_full(error: BaseException) -> bool:
    """Whether this error, or one that it came from, means that nothing more could be written."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, OSError) and current.errno in _FULL:
            return True
        if isinstance(current, sqlite3.Error) and getattr(current, "sqlite_errorcode", 0) in _FULL_SQLITE:
            return True
        if _FULL_WORDS.search(str(current)):
            return True
        current = current.__cause__ or current.__context__
    return False


def check_free_space(home: Path, files: Sequence[Path]) -> None:
    """Refuse early what cannot fit. Raises StorageFull."""
    needed = int(_WORK_FACTOR * sum(path.stat().st_size for path in files))
    free = shutil.disk_usage(home).free
    if free < needed:
        raise StorageFull(
            f"{home} has {free / 1e6:,.0f} MB free; publishing these files needs about {needed / 1e6:,.0f} MB. "
            "Nothing was changed: free some space and publish again."
        )


def probe_storage(folder: Path) -> None:
    """Try to write a little more than the largest file in `folder`. Raises OSError where that is not possible."""
    largest = max((path.stat().st_size for path in folder.iterdir() if path.is_file()), default=0)
    probe = folder / ".probe"
    try:
        with probe.open("wb") as file:
            # At the end of the size wanted: a limit on file size shows there, a full disk in the bytes before.
            os.posix_fallocate(file.fileno(), largest, _PROBE_BYTES)
    finally:
        probe.unlink(missing_ok=True)


@contextmanager
def clear_errors(home: Path) -> Iterator[None]:
    """Turn errors of the rooms below and of the operating system into one of ours; ours pass unchanged."""
    try:
        yield
    except (ProviderError, TilesError, PointCloudError, OSError, sqlite3.Error, MemoryError) as error:
        if is_storage_full(error):
            raise StorageFull(
                f"Writing in {home} stopped: there is no space left, or a limit on file size was reached. Nothing was "
                "changed: free some space and publish again."
            ) from error
        if isinstance(error, MemoryError):
            raise BuildError("These data need more memory than there is. Publish them in parts.") from error
        raise BuildError(str(error) or type(error).__name__) from error
