"""Dividing the octree into buckets of cells whose points fit in memory together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from pointclouds.build.frame import Frame
from pointclouds.build.runs import INDEX_LEVEL, Run, cell_index, read_piece
from pointclouds.build.workspace import Workspace
from pointclouds.copc.octree import Cells, Cube, flip_of
from pointclouds.errors import UnreadablePointCloudError

LARGEST_NODE: Final = 10_000_000
"""Points that one node may hold: only where more than a leaf's lie closer together than their scale can tell, or nearly."""
_REFINED_BY: Final = 3


@dataclass(frozen=True)
class Piece:
    """Points of one run: `points` from `start` on. `count` and `first` are the run's."""

    run: str
    count: int
    first: int
    start: int
    points: int


@dataclass(frozen=True)
class Bucket:
    """Neighbouring cells, and where their points are."""

    cells: Cells
    pieces: tuple[Piece, ...]

    @property
    def points(self) -> int:
        """All its points."""
        return sum(piece.points for piece in self.pieces)


def divide(
    workspace: Workspace,
    frame: Frame,
    cube: Cube,
    runs: list[Run],
    bucket_points: int,
    check: Callable[[], None],
) -> list[Bucket]:
    """Buckets of at most `bucket_points` points, in the order of flipped codes; a single cell that cannot be divided may have more.

    A cell that is divided holds more than `bucket_points`. `check` is called now and then, and may raise.

    Raises:
        UnreadablePointCloudError: more than LARGEST_NODE points lie in one smallest cell.
        OSError: a run cannot be read.
    """
    depth = frame.depth(cube)
    deepest = frame.rules.deepest(depth)
    level = min(INDEX_LEVEL, deepest)
    while True:
        lows, levels, counts = _cells(runs, depth, level, bucket_points)
        large = counts > bucket_points
        if not large.any() or level == deepest:
            break
        finer = min(level + _REFINED_BY, deepest)
        for low, own in zip(lows[large], levels[large].tolist(), strict=True):
            width = np.uint64(1) << np.uint64(3 * (depth - own))
            for number, run in enumerate(runs):
                check()
                runs[number] = _refined(workspace, frame, cube, run, low, low + width, finer)
        level = finer
    require_node_of(int(counts.max()) if level == deepest else 0, cube, deepest)
    return _buckets(runs, lows, levels, counts, bucket_points)


def require_node_of(points: int, cube: Cube, level: int) -> None:
    """Raises UnreadablePointCloudError where a node of that level would have to keep more than LARGEST_NODE points."""
    if points > LARGEST_NODE:
        raise UnreadablePointCloudError(
            f"{points} points lie within {cube.edge / 2**level:g} units of one place, at most {LARGEST_NODE} can be kept "
            "in a node; remove points that stand there several times"
        )


def _cells(
    runs: list[Run], depth: int, finest: int, bound: int
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int8], npt.NDArray[np.int64]]:
    """Lowest code, level and count of the coarsest cells of at most `bound` points, down to the level `finest`."""
    rows, inverse = np.unique(np.concatenate([run.lows for run in runs]), return_inverse=True)
    totals = np.zeros(rows.size, np.int64)
    np.add.at(totals, inverse, np.concatenate([run.counts for run in runs]))
    found: list[tuple[npt.NDArray[np.uint64], npt.NDArray[np.int8], npt.NDArray[np.int64]]] = []
    for level in range(finest + 1):
        shift = np.uint64(3 * (depth - level))
        prefix = rows >> shift
        starts = np.flatnonzero(np.concatenate(([True], prefix[1:] != prefix[:-1])))
        counts = np.add.reduceat(totals, starts)
        final = (counts <= bound) | (level == finest)
        found.append(
            (prefix[starts][final] << shift, np.full(int(final.sum()), level, np.int8), counts[final])
        )
        left = np.repeat(~final, np.diff(starts, append=rows.size))
        rows, totals = rows[left], totals[left]
        if not rows.size:
            break
    lows, levels, counts = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(lows)
    return lows[order], levels[order], counts[order]


def _refined(
    workspace: Workspace, frame: Frame, cube: Cube, run: Run, low: np.uint64, high: np.uint64, level: int
) -> Run:
    """The run with its points between two codes counted in smaller cells."""
    begin, end = (int(np.searchsorted(run.lows, code)) for code in (low, high))
    start, points = int(run.counts[:begin].sum()), int(run.counts[begin:end].sum())
    if not points:
        return run
    records, _ = read_piece(workspace, frame, run.file, run.count, start, points)
    depth = frame.depth(cube)
    lows, counts = cell_index(frame.codes(records, cube) ^ flip_of(depth), depth, level)
    return replace(
        run,
        lows=np.concatenate((run.lows[:begin], lows, run.lows[end:])),
        counts=np.concatenate((run.counts[:begin], counts, run.counts[end:])),
    )


def _buckets(
    runs: list[Run],
    lows: npt.NDArray[np.uint64],
    levels: npt.NDArray[np.int8],
    counts: npt.NDArray[np.int64],
    bound: int,
) -> list[Bucket]:
    """Neighbouring cells put together while they have at most `bound` points."""
    firsts, filled = [0], 0
    for number, count in enumerate(counts.tolist()):
        if number and filled + count > bound:
            firsts.append(number)
            filled = 0
        filled += count
    buckets = []
    for first, last in zip(firsts, [*firsts[1:], len(lows)], strict=True):
        end = lows[last] if last < len(lows) else None
        pieces = []
        for run in runs:
            start, points = run.piece(lows[first], end)
            if points:
                pieces.append(Piece(run.file, run.count, run.first, start, points))
        before = lows[first - 1] if first else None
        buckets.append(Bucket(Cells(lows[first:last], levels[first:last], before), tuple(pieces)))
    return buckets
