"""Points that are in memory already, as a source: in a file of packed records, which processes share without copying."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from pointclouds.las.layout import Records
from pointclouds.las.point_set import box_of
from pointclouds.las.reader import CHUNK_POINTS
from pointclouds.sources import SourceDescription


class RecordsSource:
    """Packed records that `numpy.save` has written; small, pickles."""

    def __init__(self, path: Path, like: SourceDescription) -> None:
        """`like` says CRS, layout and the rest of what a file says of itself; count and box are those of the records."""
        self._path = path
        records = self._records()
        low, high = box_of(records, like.scale, like.offset)
        box = (float(low[0]), float(low[1]), float(low[2]), float(high[0]), float(high[1]), float(high[2]))
        self._description = replace(like, count=len(records), box=box)

    @property
    def description(self) -> SourceDescription:
        """What the records are."""
        return self._description

    def _records(self) -> Records:
        records: Records = np.load(self._path, mmap_mode="r")
        return records

    def chunks(
        self, points: int = CHUNK_POINTS, start: int = 0, stop: int | None = None
    ) -> Iterator[Records]:
        """See PointSource.chunks."""
        records = self._records()
        end = len(records) if stop is None else min(stop, len(records))
        for at in range(start, end, points):
            yield np.array(records[at : min(at + points, end)])
