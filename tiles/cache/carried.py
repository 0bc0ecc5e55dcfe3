"""To which state of its data the kept tiles of each collection were brought: kept beside the tiles, so that it outlives a kill.

An edit that was committed by a process which died before it took out tiles is found by comparing this state with the data's.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tiles.cache.changes import Change


class CarriedStates:
    """One small file a generation: FOLDER/TENANT/COLLECTION/gNNNNNN holds a change as JSON. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def known(self, tenant: str, collection: str, generation: int) -> bool:
        """Whether there is a state; costs a system call."""
        return self._path(tenant, collection, generation).exists()

    def read(self, tenant: str, collection: str, generation: int) -> Change | None:
        """The state, None where there is none, or the file is damaged."""
        try:
            state = json.loads(self._path(tenant, collection, generation).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return state if isinstance(state, int | str) else None

    def write(self, tenant: str, collection: str, generation: int, state: Change) -> None:
        """Note that the tiles were brought to a state, atomically."""
        path = self._path(tenant, collection, generation)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}-{os.getpid()}-{threading.get_ident()}")
        try:
            aside.write_bytes(json.dumps(state).encode())
            aside.rename(path)
        finally:
            aside.unlink(missing_ok=True)

    def forget(self, tenant: str, collection: str, generation: int) -> None:
        """Know no state: all kept tiles count as out of date."""
        self._path(tenant, collection, generation).unlink(missing_ok=True)

    def generations(self) -> Iterator[tuple[str, str, int]]:
        """(tenant, collection, generation) of every state."""
        for path in sorted(self._folder.glob("*/*/g*")):
            if path.name[1:].isdigit():
                yield path.parent.parent.name, path.parent.name, int(path.name[1:])

    @contextmanager
    def held(self, tenant: str, collection: str) -> Iterator[None]:
        """Be the only one on this machine that brings a collection's tiles to a state."""
        folder = self._folder / tenant / collection
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _path(self, tenant: str, collection: str, generation: int) -> Path:
        return self._folder / tenant / collection / f"g{generation:06d}"
