"""The folder of a build that is under way: whatever is finished in it need not be done again after a kill.

    journal.json        what is built, with which limits; another build's folder is emptied first
    STEP-NUMBER.npz     a finished part of the work, with the name and size of its data files
    STEP-NUMBER.*       its data

A part counts as finished when its `.npz` stands under its name: it is written last, and renamed. Nothing is forced to the disk (that
would cost more than the work): what a killed process has written is there for the next one, and after a restart of the machine, which
the journal tells by its boot id, the build begins anew.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final
from uuid import uuid4
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from pointclouds.errors import OutputError

JOURNAL: Final = "journal.json"
_LOCK: Final = "lock"
_DATA: Final = "_data"


class Workspace:
    """One folder, held by one build at a time. Small, pickles."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def held(self, what: dict[str, Any]) -> Iterator[None]:
        """Take the folder for a build that `what` describes (JSON values); what another build left in it is removed.

        Raises:
            OutputError: another process builds in it, or it cannot be written.
        """
        with self._lock():
            wanted = json.loads(json.dumps({**what, "boot": _boot()}))
            if self._journal() != wanted:
                self._empty()
                part = self.folder / (JOURNAL + ".part")
                part.write_text(json.dumps(wanted))
                part.replace(self.folder / JOURNAL)
            for left in self.folder.glob("*.part"):
                left.unlink()
            yield

    @contextmanager
    def _lock(self) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OutputError(f"the workspace {self.folder.name} cannot be used: {error}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            raise OutputError(
                f"another process builds in the workspace {self.folder.name}; wait for it, or give another"
            ) from error
        finally:
            os.close(descriptor)

    def _journal(self) -> Any:
        try:
            return json.loads((self.folder / JOURNAL).read_text())
        except (OSError, ValueError):
            return None

    def _empty(self) -> None:
        for one in self.folder.iterdir():
            if one.name != _LOCK:
                one.unlink()

    def remove(self) -> None:
        """Remove the folder and all in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, name: str) -> Path:
        """A file of the folder."""
        return self.folder / name

    def write(self, name: str, fill: Callable[[BinaryIO], None]) -> int:
        """Write a data file whole. Returns its size. Raises OSError."""
        part = self.folder / f"{name}.{os.getpid()}.part"
        with part.open("w+b") as stream:
            fill(stream)
            stream.flush()
            size = os.fstat(stream.fileno()).st_size
        part.replace(self.folder / name)
        return size

    def finish(self, name: str, arrays: Mapping[str, npt.NDArray[Any]], data: dict[str, int]) -> None:
        """Note a part of the work as finished. `data` names its data files and their sizes."""
        facts = np.frombuffer(json.dumps(data).encode(), np.uint8)
        self.write(
            f"{name}.npz", lambda stream: np.savez(stream, allow_pickle=False, **{_DATA: facts, **arrays})
        )

    def finished(self, name: str) -> bool:
        """Whether a part is finished, with all its data."""
        return self.load(name) is not None

    def load(self, name: str) -> dict[str, npt.NDArray[Any]] | None:
        """The arrays of a finished part, None where it is not finished."""
        try:
            with np.load(self.folder / f"{name}.npz", allow_pickle=False) as found:
                arrays = {key: found[key] for key in found.files}
            data = json.loads(arrays.pop(_DATA).tobytes())
            whole = all(self.path(file).stat().st_size == size for file, size in data.items())
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None
        return arrays if whole else None


def _boot() -> str:
    """The same as long as the machine runs; where it cannot be told, never the same."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return uuid4().hex
