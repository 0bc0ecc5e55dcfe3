"""Folders for files that are made before they are sent: in one place, removed when done, and swept after a kill.

A folder is locked (flock) by the process that made it; the kernel lets go of the lock when that process ends, however it ends.
What is not locked belongs to nobody and is removed by the next one who needs a folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "made-"
_YOUNG = 60.0  # seconds; a folder is locked at once after it is made, but not in the same instant
_CHUNK = 1 << 18


class _Scratch:
    folder: Path | None = None


def configure_scratch(folder: Path) -> None:
    """Where the folders are made; it is itself made when the first one is needed. What a kill left there is removed."""
    _Scratch.folder = folder
    if folder.is_dir():
        sweep(folder)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder of one's own, gone afterwards."""
    parent = _Scratch.folder or Path(tempfile.gettempdir()) / "chengtu-formats"
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def sweep(parent: Path, young: float = _YOUNG) -> int:
    """Remove the folders whose makers have ended; how many there were."""
    removed = 0
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # another process sweeps too, or its maker has just removed it
            if time.time() - folder.stat().st_mtime >= young and _is_free(folder):
                shutil.rmtree(folder)
                removed += 1
    return removed


def _is_free(folder: Path) -> bool:
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def sent(file: Path) -> Iterator[bytes]:
    """The bytes of a file. Its name is removed at once, so its space is free as soon as it is closed."""
    with file.open("rb") as content:
        file.unlink()
        while chunk := content.read(_CHUNK):
            yield chunk
