"""First pass out of core: points are decoded once, sorted by Morton code in runs that fit in memory, and kept on the disk.

A run is `NAME.run`: its records in the order of flipped codes, then the place of each in the order of reading (uint32). Its index
says how many points lie in each coarse cell, so the points of any cell are one piece of every run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from pointclouds.build.frame import Corner, Frame, stored_box
from pointclouds.build.workspace import Workspace
from pointclouds.copc.octree import Cube, flip_of
from pointclouds.las.layout import Records
from pointclouds.las.reader import CHUNK_POINTS
from pointclouds.sources import PointSource

INDEX_LEVEL: Final = 6
"""Level of the octree whose cells a run's index counts."""
_CHUNK_BYTES: Final = 16 << 20
"""Read at a time, beside the run that is being filled."""
_SEQUENCE_BITS: Final = 40
"""A point's place in the order of all points: number of the reading task, then its place there."""


@dataclass(frozen=True)
class ReadTask:
    """Points `start` to `stop` of a source. `cube` is what the sources' boxes promise, None where they say nothing."""

    workspace: Workspace
    frame: Frame
    source: PointSource
    number: int
    start: int
    stop: int | None
    cube: Cube | None
    run_points: int

    @property
    def name(self) -> str:
        """Of the finished part."""
        return f"read-{self.number:06d}"


@dataclass(frozen=True)
class Run:
    """One sorted run. `lows` (n,) uint64: the lowest flipped code of the coarse cells that hold points, ascending; `counts` (n,)
    int64. `first`: the place of its first point in the order of all."""

    file: str
    count: int
    first: int
    cube: Cube | None
    low: Corner
    high: Corner
    lows: npt.NDArray[np.uint64]
    counts: npt.NDArray[np.int64]

    def piece(self, low: np.uint64, high: np.uint64 | None) -> tuple[int, int]:
        """First point and count of the points from flipped code `low` to `high` (not included; None: the end). Both begin cells."""
        begin = int(np.searchsorted(self.lows, low))
        end = len(self.lows) if high is None else int(np.searchsorted(self.lows, high))
        return int(self.counts[:begin].sum()), int(self.counts[begin:end].sum())


def read_runs(task: ReadTask) -> tuple[str, int]:
    """Read, sort and keep the points of a task. Returns its name and count. Raises PointCloudError kinds and OSError."""
    known = load_runs(task.workspace, task.name)
    if known is not None:
        return task.name, sum(run.count for run in known)
    runs, first = [], task.number << _SEQUENCE_BITS
    for number, records in enumerate(_gathered(task)):
        run = _write_run(task, f"{task.name}-{number:04d}.run", records, first)
        first += run.count
        runs.append(run)
    save_runs(task.workspace, task.frame, task.name, runs)
    return task.name, sum(run.count for run in runs)


def _gathered(task: ReadTask) -> Iterator[Records]:
    """Records of the task, at most `run_points` at a time."""
    room = task.run_points if task.stop is None else min(task.run_points, task.stop - task.start)
    gathered = np.empty(room, task.frame.dtype)
    filled = 0
    size = min(CHUNK_POINTS, room, max(_CHUNK_BYTES // task.frame.dtype.itemsize, 1))
    for chunk in task.source.chunks(size, task.start, task.stop):
        taken = 0
        while taken < len(chunk):
            part = min(len(chunk) - taken, room - filled)
            gathered[filled : filled + part] = chunk[taken : taken + part]
            taken, filled = taken + part, filled + part
            if filled == room:
                yield gathered
                filled = 0
    if filled:
        yield gathered[:filled]


def _write_run(task: ReadTask, file: str, records: Records, first: int) -> Run:
    low, high = stored_box(records)
    places = np.arange(len(records), dtype=np.uint32)
    if task.cube is None:
        _write_points(task.workspace, file, records, places)
        none = np.empty(0, np.uint64), np.empty(0, np.int64)
        return Run(file, len(records), first, None, low, high, *none)
    order, index = _sorted(task.frame, task.cube, records)
    _write_points(task.workspace, file, records[order], places[order])
    return Run(file, len(records), first, task.cube, low, high, *index)


Index = tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]


def _sorted(frame: Frame, cube: Cube, records: Records) -> tuple[npt.NDArray[np.int64], Index]:
    depth = frame.depth(cube)
    flipped = frame.codes(records, cube)
    flipped ^= flip_of(depth)
    order = np.argsort(flipped)
    return order, cell_index(flipped[order], depth, min(INDEX_LEVEL, frame.rules.deepest(depth)))


def cell_index(ordered: npt.NDArray[np.uint64], depth: int, level: int) -> Index:
    """Lowest flipped code and count of the cells of a level that sorted flipped codes lie in."""
    shift = np.uint64(3 * (depth - level))
    prefix = ordered >> shift
    starts = np.flatnonzero(np.concatenate(([True], prefix[1:] != prefix[:-1])))
    return prefix[starts] << shift, np.diff(starts, append=prefix.size)


def _write_points(workspace: Workspace, file: str, records: Records, places: npt.NDArray[np.uint32]) -> None:
    def fill(stream: BinaryIO) -> None:
        records.tofile(stream)
        places.tofile(stream)

    workspace.write(file, fill)


def read_piece(
    workspace: Workspace, frame: Frame, run: str, count: int, start: int, points: int
) -> tuple[Records, npt.NDArray[np.uint32]]:
    """Some points of a run of `count`: records, and their places in it."""
    path, size = workspace.path(run), frame.dtype.itemsize
    records = np.fromfile(path, frame.dtype, points, offset=start * size)
    places = np.fromfile(path, np.uint32, points, offset=count * size + 4 * start)
    if len(records) != points or len(places) != points:
        raise OSError(f"{run} of the workspace was cut off")
    return records, places


@dataclass(frozen=True)
class SortTask:
    """The runs of a finished reading task, to be sorted again: the points' true cube is another than was promised."""

    workspace: Workspace
    frame: Frame
    read: str
    cube: Cube

    @property
    def name(self) -> str:
        """Of the finished part."""
        return self.read.replace("read", "sorted")


def sort_runs(task: SortTask) -> str:
    """Sort runs by the codes of another cube. Returns the task's name. Raises OSError."""
    if load_runs(task.workspace, task.name) is not None:
        return task.name
    runs = []
    for run in load_runs(task.workspace, task.read) or []:
        records, places = read_piece(task.workspace, task.frame, run.file, run.count, 0, run.count)
        order, index = _sorted(task.frame, task.cube, records)
        file = run.file.replace("read", "sorted")
        _write_points(task.workspace, file, records[order], places[order])
        runs.append(Run(file, run.count, run.first, task.cube, run.low, run.high, *index))
    save_runs(task.workspace, task.frame, task.name, runs)
    return task.name


def save_runs(workspace: Workspace, frame: Frame, name: str, runs: list[Run]) -> None:
    """Note a task's runs as finished."""
    arrays: dict[str, npt.NDArray[Any]] = {
        "files": np.array([run.file for run in runs], "U40"),
        "numbers": np.array([(run.count, run.first, len(run.lows)) for run in runs], np.int64).reshape(-1, 3),
        "boxes": np.array([(run.low, run.high) for run in runs], np.int64).reshape(-1, 2, 3),
        "cubes": np.array([_cube_numbers(run.cube) for run in runs], np.float64).reshape(-1, 4),
        "lows": np.concatenate([np.empty(0, np.uint64), *(run.lows for run in runs)]),
        "counts": np.concatenate([np.empty(0, np.int64), *(run.counts for run in runs)]),
    }
    size = frame.dtype.itemsize + 4
    workspace.finish(name, arrays, {run.file: run.count * size for run in runs})


def _cube_numbers(cube: Cube | None) -> tuple[float, ...]:
    return (*cube.corner, cube.edge) if cube is not None else (np.nan,) * 4


def load_runs(workspace: Workspace, name: str) -> list[Run] | None:
    """The runs of a finished task, None where it is not finished."""
    arrays = workspace.load(name)
    if arrays is None:
        return None
    runs, at = [], 0
    for number, file in enumerate(arrays["files"].tolist()):
        count, first, cells = (int(value) for value in arrays["numbers"][number])
        x, y, z, edge = (float(value) for value in arrays["cubes"][number])
        low, high = arrays["boxes"][number]
        cut = slice(at, at + cells)
        cube = None if np.isnan(edge) else Cube((x, y, z), edge)
        runs.append(Run(file, count, first, cube, low, high, arrays["lows"][cut], arrays["counts"][cut]))
        at += cells
    return runs
