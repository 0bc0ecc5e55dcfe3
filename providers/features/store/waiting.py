"""Rows that wait in a file until all are known, because the order of a store needs the extent of all of them."""

from __future__ import annotations

import marshal
import mmap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHUNK = 5000


class WaitingRows:
    """Appends rows (a tuple of texts, numbers and bytes, and the feature's fragment), gives them back in any order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._ends: list[NDArray[np.int64]] = []
        self._size = 0

    def append(self, rows: Iterable[tuple[Any, ...]], fragments: Sequence[bytes]) -> None:
        """Add rows with their fragments."""
        parts = [part for pair in zip(map(marshal.dumps, rows), fragments, strict=True) for part in pair]
        self._file.writelines(parts)
        ends = np.cumsum(np.fromiter(map(len, parts), dtype=np.int64, count=len(parts))) + self._size
        self._ends.append(ends)
        self._size = int(ends[-1]) if len(ends) else self._size

    def chunks(self, order: NDArray[np.int64]) -> Iterator[tuple[list[tuple[Any, ...]], list[bytes]]]:
        """Rows and fragments in the given order of their numbers, some thousands at a time."""
        self._file.close()
        if len(order) == 0:
            return
        ends = np.concatenate(self._ends)
        begins, middles, lasts = np.append(0, ends[1:-1:2]), ends[0::2], ends[1::2]
        with (
            self._path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            for first in range(0, len(order), _CHUNK):
                chosen = order[first : first + _CHUNK]
                starts, cuts, stops = (part[chosen].tolist() for part in (begins, middles, lasts))
                # marshal is safe here: this process wrote the file a moment ago, for itself alone.
                rows = [marshal.loads(content[a:b]) for a, b in zip(starts, cuts, strict=True)]  # noqa: S302
                yield rows, [content[a:b] for a, b in zip(cuts, stops, strict=True)]

    def remove(self) -> None:
        """Delete the file; harmless when it is gone."""
        self._file.close()
        self._path.unlink(missing_ok=True)
