"""Folders in which something is built before it is switched in: `<home>/staging/<uuid>/`.

`owner.json` in each says who builds (for people) and is locked as long as that process lives (for `sweep`).
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.registry.clock import now
from server.registry.locks import HeldLock, try_lock

_NEW_FOLDER_SECONDS = 60.0
"""A folder without an owner's file is left alone for so long: its owner may be about to write it."""


@contextmanager
def staging_folder(home: Path) -> Iterator[Path]:
    """A new folder `<home>/staging/<uuid>`; it and all in it are removed on leaving, whatever happened.

    What was built is to be renamed out of it before. On the same file system as the collections, so renaming is atomic.
    Raises OSError where it cannot be made.
    """
    folder = home / "staging" / str(uuid.uuid4())
    folder.mkdir(parents=True)
    lock: HeldLock | None = None
    try:
        lock = try_lock(folder / "owner.json", owner_document())
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            lock.release()


def dead_staging_folders(home: Path) -> list[Path]:
    """Staging folders whose owner is gone: left by a killed or crashed process."""
    staging = home / "staging"
    if not staging.is_dir():
        return []
    return sorted(folder for folder in staging.iterdir() if folder.is_dir() and _is_dead(folder))


def _is_dead(folder: Path) -> bool:
    owner = folder / "owner.json"
    try:
        if not owner.exists():
            return time.time() - folder.stat().st_mtime > _NEW_FOLDER_SECONDS
        lock = try_lock(owner)
    except FileNotFoundError:
        return False  # its owner removed it at this moment
    if lock is None:
        return False
    lock.release()
    return True


def owner_document() -> bytes:
    """What `owner.json` says: who builds, for people."""
    return json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": now()}).encode()
