"""A source that is read in blocks: which block holds which points is known, so that any range is read from its own blocks only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np

from pointclouds.errors import UnreadablePointCloudError
from pointclouds.las.layout import Records
from pointclouds.las.reader import CHUNK_POINTS
from pointclouds.sources import SourceDescription


class BlockSource(ABC):
    """A PointSource over blocks of known counts. A subclass calls `_set_blocks` and reads one block at a time."""

    _description: SourceDescription

    def _set_blocks(self, counts: Sequence[int]) -> None:
        self._ends = np.cumsum(np.asarray(counts, np.int64))

    @property
    def description(self) -> SourceDescription:
        """What it holds."""
        return self._description

    @abstractmethod
    def _read_block(self, number: int) -> Records:
        """All points of a block, as packed records of `description.dtype`."""

    def chunks(
        self, points: int = CHUNK_POINTS, start: int = 0, stop: int | None = None
    ) -> Iterator[Records]:
        """See PointSource.chunks: only the blocks that `start` to `stop` touches are read."""
        total = int(self._ends[-1]) if len(self._ends) else 0
        stop = total if stop is None else min(stop, total)
        start = max(start, 0)
        if start >= stop:
            return
        number = int(np.searchsorted(self._ends, start, side="right"))
        while start < stop:
            first, end = (int(self._ends[number - 1]) if number else 0), int(self._ends[number])
            records = self._read_block(number) if end > first else None
            if records is not None:
                if len(records) != end - first:
                    raise UnreadablePointCloudError(
                        f"{self._description.name}: a part of {end - first} points gave {len(records)} when read again; "
                        "the file changes while it is read"
                    )
                last = min(stop, end)
                for at in range(start, last, points):
                    yield records[at - first : min(at + points, last) - first]
                start = last
            number += 1
