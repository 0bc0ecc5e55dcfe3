"""Rows that wait in a file until all are known, because the order of a store needs the extent of all of them."""

from __future__ import annotations

import marshal
import mmap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_CHUNK = 5000
AT_ONCE = 512 << 20
"""Bytes of a file that are read in any order: machines have the memory to keep them at hand."""


class WaitingRows:
    """Appends rows (a tuple of texts, numbers and bytes, and the feature's fragment), gives them back in any order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._ends: list[NDArray[np.int64]] = []
        self._size = 0
        self._parts: list[Path] = []

    def append(self, rows: Iterable[tuple[Any, ...]], fragments: Sequence[bytes]) -> None:
        """Add rows with their fragments."""
        parts = [part for pair in zip(map(marshal.dumps, rows), fragments, strict=True) for part in pair]
        self._file.writelines(parts)
        ends = np.cumsum(np.fromiter(map(len, parts), dtype=np.int64, count=len(parts))) + self._size
        self._ends.append(ends)
        self._size = int(ends[-1]) if len(ends) else self._size

    def chunks(self, order: NDArray[np.int64]) -> Iterator[tuple[list[tuple[Any, ...]], list[bytes]]]:
        """Rows and fragments in the given order of their numbers (each once), some thousands at a time.

        A file too large to be read here and there is first dealt out to several, each of which holds a part of the order.
        """
        self._file.close()
        if len(order) == 0:
            return
        places = _Places.of(self._ends)
        self._ends.clear()
        if self._size <= AT_ONCE:
            yield from _read(self._path, places, order)
            return
        sizes = np.cumsum(places.sizes()[order])
        cuts = np.searchsorted(sizes, np.arange(AT_ONCE, self._size, AT_ONCE), side="right")
        parts = np.split(order, cuts)
        self._parts = [self._path.with_name(f"{self._path.name}{number}") for number in range(len(parts))]
        _deal(self._path, places, parts, self._parts)
        self._path.unlink()
        for path, part in zip(self._parts, parts, strict=True):
            # A part holds its rows in the order of their numbers.
            held = np.sort(part)
            yield from _read(path, places.packed(held), np.searchsorted(held, part))
            path.unlink()

    def remove(self) -> None:
        """Delete what is on disk; harmless when it is gone."""
        self._file.close()
        for path in (self._path, *self._parts):
            path.unlink(missing_ok=True)


class _Places(NamedTuple):
    """Where rows begin, where their fragments begin, and where those end."""

    begins: NDArray[np.int64]
    middles: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, parts: Sequence[NDArray[np.int64]]) -> _Places:
        """From the ends of rows and fragments, alternating."""
        ends = np.concatenate(parts)
        return cls(np.append(0, ends[1:-1:2]), ends[0::2], ends[1::2])

    def sizes(self) -> NDArray[np.int64]:
        """Bytes of each row with its fragment."""
        return self.ends - self.begins

    def packed(self, chosen: NDArray[np.int64]) -> _Places:
        """Where these rows stand in a file that holds them alone."""
        ends = np.cumsum(self.sizes()[chosen])
        begins = ends - self.sizes()[chosen]
        return _Places(begins, begins + (self.middles - self.begins)[chosen], ends)


def _read(
    path: Path, places: _Places, order: NDArray[np.int64]
) -> Iterator[tuple[list[tuple[Any, ...]], list[bytes]]]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for first in range(0, len(order), _CHUNK):
            chosen = order[first : first + _CHUNK]
            starts, cuts, stops = (part[chosen].tolist() for part in places)
            # marshal is safe here: this process wrote the file a moment ago, for itself alone.
            rows = [marshal.loads(content[a:b]) for a, b in zip(starts, cuts, strict=True)]  # noqa: S302
            yield rows, [content[a:b] for a, b in zip(cuts, stops, strict=True)]


def _deal(path: Path, places: _Places, parts: Sequence[NDArray[np.int64]], targets: Sequence[Path]) -> None:
    """Copy the rows of each part, in the order of the file, to its target: one pass, from the first byte to the last."""
    part_of = np.empty(len(places.begins), dtype=np.uint16)
    for number, part in enumerate(parts):
        part_of[part] = number
    with ExitStack() as stack:
        files = [stack.enter_context(target.open("wb")) for target in targets]
        source = stack.enter_context(path.open("rb"))
        for first in range(0, len(part_of), _CHUNK):
            last = min(first + _CHUNK, len(part_of))
            start = int(places.begins[first])
            content = source.read(int(places.ends[last - 1]) - start)
            order = np.argsort(part_of[first:last], kind="stable")
            begins = (places.begins[first:last] - start)[order].tolist()
            ends = (places.ends[first:last] - start)[order].tolist()
            rows = [content[a:b] for a, b in zip(begins, ends, strict=True)]
            counts = np.bincount(part_of[first:last], minlength=len(files))
            stops = np.cumsum(counts)
            for number in np.flatnonzero(counts).tolist():
                files[number].writelines(rows[int(stops[number] - counts[number]) : int(stops[number])])
