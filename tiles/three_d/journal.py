"""What a build has done so far, on disk: a killed build goes on where it was.

Each process appends a record of fixed length to a file of its own when a tile's files are whole; half a record at the end is
the work of a process that was killed at that moment, and does not count. A record counts only while the files have the
lengths it tells, so a power cut that lost them costs those tiles, no more.
"""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from tiles.three_d.facts import TILE_FACTS
from tiles.three_d.files import CONTENT_TEMPLATE
from tiles.three_d.quadtree import tile_codes_to_index

RECORD = np.dtype([("facts", TILE_FACTS), ("plain", "<i8"), ("packed", "<i8")])
"""A finished tile: its facts (count 0 where no object was left), and the bytes of its file, plain and compressed."""
_STATE = "state.json"


class Journal:
    """The journal in `folder`, for a build of the given `fingerprint` (of inputs and options)."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder = folder
        self._fingerprint = fingerprint

    def is_planned(self) -> bool:
        """Whether an earlier attempt at the same build has finished its plan."""
        try:
            state = orjson.loads((self.folder / _STATE).read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return False
        return bool(self._fingerprint) and state == {"fingerprint": self._fingerprint}

    def begin(self) -> None:
        """Forget what an earlier build left."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def planned(self) -> None:
        """The plan stands, and is on disk."""
        draft = self.folder / f"{_STATE}.new"
        draft.write_bytes(orjson.dumps({"fingerprint": self._fingerprint}))
        draft.replace(self.folder / _STATE)

    def finished(self, out_dir: Path) -> NDArray[np.void]:
        """The records (t,) of `RECORD` of tiles whose files are there."""
        parts = [_records(path) for path in sorted(self.folder.glob("*.tiles"))]
        records = np.concatenate(parts) if parts else np.empty(0, dtype=RECORD)
        whole = [number for number, record in enumerate(records) if _is_whole(record, out_dir)]
        return records[whole]

    def end(self) -> None:
        """The build is done."""
        shutil.rmtree(self.folder, ignore_errors=True)


class JournalWriter:
    """Where one process notes the tiles it has finished."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(
            folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.tiles",
            os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC,
            0o644,
        )

    def add(self, facts: NDArray[np.void], plain: int, packed: int) -> None:
        """Note one tile."""
        record = np.zeros(1, dtype=RECORD)
        record["facts"], record["plain"], record["packed"] = facts, plain, packed
        os.write(self._descriptor, record.tobytes())

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _records(path: Path) -> NDArray[np.void]:
    content = path.read_bytes()
    whole = len(content) - len(content) % RECORD.itemsize
    return np.frombuffer(content[:whole], dtype=RECORD)


def _is_whole(record: np.void, out_dir: Path) -> bool:
    if int(record["facts"]["count"]) == 0:
        return True
    level, x, y = tile_codes_to_index(np.array([record["facts"]["code"]]))
    path = out_dir / CONTENT_TEMPLATE.format(level=level[0], x=x[0], y=y[0])
    try:
        return path.stat().st_size == int(record["plain"]) and path.with_name(
            path.name + ".gz"
        ).stat().st_size == int(record["packed"])
    except OSError:
        return False
