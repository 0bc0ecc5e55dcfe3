"""Building a COPC of more points than fit in memory: sorted runs on the disk, buckets of cells, the nodes above them, one file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import lazrs
import numpy as np

from pointclouds.build.assembly import FileFacts, write_file
from pointclouds.build.branches import (
    CHUNKS,
    BranchTask,
    branch_name,
    crown_tasks,
    make_branch,
    make_crown,
)
from pointclouds.build.division import Bucket, divide
from pointclouds.build.encoding import EncodedNodes, write_chunk_table
from pointclouds.build.frame import Cancelled, Corner, Frame, Progress
from pointclouds.build.layout import ConformedSource
from pointclouds.build.runs import ReadTask, Run, SortTask, load_runs, read_runs, sort_runs
from pointclouds.build.workers import WorkerKilledError, Workers
from pointclouds.build.workspace import Workspace
from pointclouds.cloud.summary import PointCloudSummary
from pointclouds.copc.octree import Cube
from pointclouds.errors import EmptyPointCloudError, OutputError
from pointclouds.sources import PointSource

VERSION: Final = 1
"""Of what stands in a workspace: another version's is not gone on from."""
WORKSPACE_SUFFIX: Final = ".building"
_PARENT_BYTES: Final = 160 << 20
_CHILD_BYTES: Final = 150 << 20
"""Memory of a process beside its points."""
_INDEX_BYTES: Final = 90
"""Bytes a point of codes, orders and places, beside twice its record."""
_LEAST_POINTS: Final = 500_000
_LAZ_CHUNK: Final = 50_000
"""Points that writers of LAZ put into a chunk: a range that ends at its end decodes nothing twice."""


@dataclass(frozen=True)
class Limits:
    """What one process may hold at a time, in points; and the number of processes."""

    run_points: int
    bucket_points: int
    processes: int


def limits_for(memory_bytes: int, processes: int, frame: Frame) -> Limits:
    """Limits with which all processes together stay below `memory_bytes`, as far as that leaves enough to build an octree at all."""
    rules = frame.rules
    # Below this a cell could be divided that its ancestors leave less than a leaf's points in.
    least = max(_LEAST_POINTS, rules.leaf_points + (1 << 3 * (rules.grid_depth - 1)))
    point = 2 * frame.dtype.itemsize + _INDEX_BYTES
    for number in range(processes, 0, -1):
        children = _CHILD_BYTES * number if number > 1 else 0
        points = (memory_bytes - _PARENT_BYTES - children) // number // point
        if points >= least or number == 1:
            break
    points = max(points, least)
    return Limits(max(points // _LAZ_CHUNK * _LAZ_CHUNK, _LAZ_CHUNK), points, number)


def build_out_of_core(
    sources: Sequence[PointSource],
    out: Path,
    facts: FileFacts,
    limits: Limits,
    report: Progress,
    cancelled: Cancelled,
    folder: Path | None = None,
) -> PointCloudSummary:
    """Write the COPC. Sources are in the layout already. See `build.build_copc`."""
    workspace = Workspace(folder or out.with_name(out.name + WORKSPACE_SUFFIX))
    with workspace.held(_what(sources, facts, limits)):
        killed = False
        try:
            return _Build(sources, out, facts, limits, report, cancelled, workspace).run()
        except (OSError, lazrs.LazrsError) as error:
            raise OutputError(
                f"{out.name} cannot be built: {error}; free space or choose another place"
            ) from error
        except WorkerKilledError:
            killed = True
            raise
        finally:
            if not killed:
                workspace.remove()


def _what(sources: Sequence[PointSource], facts: FileFacts, limits: Limits) -> dict[str, object]:
    """All that decides what stands in the workspace."""
    return {
        "version": VERSION,
        "sources": [_identity(source) for source in sources],
        "frame": repr(facts.frame),
        "run": limits.run_points,
        "bucket": limits.bucket_points,
    }


def _identity(source: PointSource) -> list[object]:
    """A source as it is now: a file that was changed since is another."""
    about = source.description
    source = source.source if isinstance(source, ConformedSource) else source
    found: list[object] = [about.name, about.count, about.box]
    path = getattr(source, "path", None)
    if isinstance(path, Path):
        facts = path.stat()
        found += [str(path), facts.st_size, facts.st_mtime_ns]
    return found


class _Build:
    def __init__(
        self,
        sources: Sequence[PointSource],
        out: Path,
        facts: FileFacts,
        limits: Limits,
        report: Progress,
        cancelled: Cancelled,
        workspace: Workspace,
    ) -> None:
        self._sources, self._out, self._facts, self._limits = sources, out, facts, limits
        self._report, self._cancelled, self._workspace = report, cancelled, workspace
        self._frame = facts.frame

    def run(self) -> PointCloudSummary:
        with Workers(self._limits.processes, self._cancelled) as workers:
            cube, runs = self._sorted_runs(workers)
            self._report("octree", 0.0)
            buckets = divide(
                self._workspace, self._frame, cube, runs, self._limits.bucket_points, workers.check
            )
            self._report("octree", 1.0)
            parts = self._encoded(workers, cube, buckets)
            return write_file(
                self._out, self._facts, lambda stream: self._joined(workers, stream, cube, parts)
            )

    def _sorted_runs(self, workers: Workers) -> tuple[Cube, list[Run]]:
        """All points in sorted runs, and the cube that their true box gives."""
        promised = self._promised_cube()
        tasks = list(self._read_tasks(promised))
        total = self._facts.description.count or 0
        seen = 0

        def done(result: tuple[str, int]) -> None:
            nonlocal seen
            seen += result[1]
            self._report("read", min(seen / total, 1.0) if total else 0.0)

        workers.run(read_runs, tasks, done)
        names = [task.name for task in tasks]
        runs = self._load(names)
        if not runs:
            raise EmptyPointCloudError("the sources hold no points; there is nothing to publish")
        low: Corner = np.stack([run.low for run in runs]).min(axis=0)
        high: Corner = np.stack([run.high for run in runs]).max(axis=0)
        cube = self._frame.cube(low, high)
        if any(run.cube != cube for run in runs):
            again = [SortTask(self._workspace, self._frame, name, cube) for name in names]
            workers.run(sort_runs, again, lambda _name: None)
            runs = self._load([task.name for task in again])
        self._report("read", 1.0)
        return cube, runs

    def _load(self, names: list[str]) -> list[Run]:
        """Runs of finished tasks, in the order of reading."""
        found = [run for name in names for run in load_runs(self._workspace, name) or []]
        return sorted(found, key=lambda run: run.first)

    def _promised_cube(self) -> Cube | None:
        """The cube of the box that the sources' headers give: true in good files, so that their points are sorted once."""
        box = self._facts.description.box
        if box is None:
            return None
        frame = self._frame
        scale, offset = np.array(frame.scale), np.array(frame.offset)
        low: Corner = np.rint((np.array(box[:3]) - offset) / scale).astype(np.int64)
        high: Corner = np.rint((np.array(box[3:]) - offset) / scale).astype(np.int64)
        return frame.cube(low, high)

    def _read_tasks(self, cube: Cube | None) -> list[ReadTask]:
        tasks: list[ReadTask] = []
        size = self._limits.run_points
        for source in self._sources:
            count = source.description.count
            ranges = (
                [(0, None)]
                if count is None
                else [(at, min(at + size, count)) for at in range(0, count, size)]
            )
            for start, stop in ranges:
                tasks.append(
                    ReadTask(self._workspace, self._frame, source, len(tasks), start, stop, cube, size)
                )
        return tasks

    def _encoded(self, workers: Workers, cube: Cube, buckets: list[Bucket]) -> list[str]:
        """The names of finished parts, in the order in which their chunks are to stand in the file."""
        total = sum(bucket.points for bucket in buckets)
        seen = 0

        def done(points: int) -> None:
            nonlocal seen
            seen += points
            self._report("write", 0.9 * min(seen / total, 1.0))

        branches = [
            BranchTask(self._workspace, self._frame, cube, number, bucket)
            for number, bucket in enumerate(buckets)
        ]
        workers.run(make_branch, branches, done)
        crowns = crown_tasks(self._workspace, self._frame, len(buckets), self._limits.bucket_points // 2)
        workers.run(make_crown, crowns, lambda _points: None)
        return [task.name for task in crowns] + [branch_name(number) for number in range(len(buckets))]

    def _joined(
        self, workers: Workers, stream: BinaryIO, cube: Cube, parts: list[str]
    ) -> tuple[Cube, EncodedNodes]:
        """Copy the chunks of all parts behind each other."""
        start = stream.tell()
        stream.write(bytes(8))
        stream.flush()
        found = []
        for number, name in enumerate(parts):
            workers.check()
            arrays = self._workspace.load(name)
            if arrays is None:
                raise OutputError(f"{name} of the workspace is gone; build again")
            encoded = EncodedNodes.of_arrays(arrays)
            _copy(self._workspace.path(name + CHUNKS), 8, int(encoded.sizes.sum()), stream)
            found.append(encoded)
            self._report("write", 0.9 + 0.1 * (number + 1) / len(parts))
        encoded = EncodedNodes.joined(found)
        write_chunk_table(stream, start, self._frame, encoded)
        return cube, encoded


def _copy(source: Path, start: int, size: int, stream: BinaryIO) -> None:
    """Bytes of a file to the stream's end, by the system where it can."""
    with source.open("rb") as data:
        while size:
            copied = os.sendfile(stream.fileno(), data.fileno(), start, size)
            if not copied:
                raise OSError(f"{source.name} was cut off")
            start, size = start + copied, size - copied
