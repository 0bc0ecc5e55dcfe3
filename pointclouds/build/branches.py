"""Second pass out of core: the octree of a bucket, encoded; then the nodes above the buckets, of the points that went up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from pointclouds.build.division import Bucket
from pointclouds.build.encoding import EncodedNodes, encode_nodes
from pointclouds.build.frame import Frame
from pointclouds.build.runs import read_piece
from pointclouds.build.workspace import Workspace
from pointclouds.copc.octree import Cube, Octree, build_branches
from pointclouds.las.layout import Records

CHUNKS = ".chunks"
_PROMOTED = ".promoted"


def _promoted_dtype(frame: Frame) -> np.dtype[Any]:
    return np.dtype([("sequence", "<u8"), ("record", frame.dtype)])


@dataclass(frozen=True)
class BranchTask:
    """A bucket to be made into nodes."""

    workspace: Workspace
    frame: Frame
    cube: Cube
    number: int
    bucket: Bucket

    @property
    def name(self) -> str:
        """Of the finished part."""
        return branch_name(self.number)


def branch_name(number: int) -> str:
    """Of the finished part of a bucket."""
    return f"branch-{number:06d}"


def make_branch(task: BranchTask) -> int:
    """Build and encode the nodes in a bucket's cells, and put aside the points that go up. Returns the bucket's points."""
    workspace, frame = task.workspace, task.frame
    if workspace.finished(task.name):
        return task.bucket.points
    records, sequence = _points(workspace, frame, task.bucket)
    depth = frame.depth(task.cube)
    branches = build_branches(frame.codes(records, task.cube), depth, frame.rules, task.bucket.cells)
    encoded: list[EncodedNodes] = []
    chunks, promoted = task.name + CHUNKS, task.name + _PROMOTED
    sizes = {
        chunks: workspace.write(
            chunks, lambda stream: encoded.append(encode_nodes(stream, frame, records, branches.tree))
        )
    }
    up = np.empty(len(branches.promoted), _promoted_dtype(frame))
    up["sequence"], up["record"] = sequence[branches.promoted], records[branches.promoted]
    sizes[promoted] = workspace.write(promoted, up.tofile)
    keys, counts = _runs_of(branches.promoted_keys)
    workspace.finish(
        task.name, {**encoded[0].arrays(), "promoted_keys": keys, "promoted_counts": counts}, sizes
    )
    return task.bucket.points


def _points(workspace: Workspace, frame: Frame, bucket: Bucket) -> tuple[Records, npt.NDArray[np.uint64]]:
    """The points of a bucket in the order of reading (which compresses best), and their places in it."""
    total = bucket.points
    records, sequence = np.empty(total, frame.dtype), np.empty(total, np.uint64)
    at = 0
    for piece in bucket.pieces:
        part, places = read_piece(workspace, frame, piece.run, piece.count, piece.start, piece.points)
        # Sorted piece by piece: what stands in memory twice stays small.
        order = np.argsort(places)
        records[at : at + piece.points] = part[order]
        sequence[at : at + piece.points] = places[order] + np.uint64(piece.first)
        at += piece.points
    return records, sequence


def _runs_of(keys: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Keys (n, 4) that stand in runs: one of each run, and the lengths."""
    if not len(keys):
        return keys, np.empty(0, np.int64)
    starts = np.flatnonzero(np.concatenate(([True], (keys[1:] != keys[:-1]).any(axis=1))))
    return keys[starts], np.diff(starts, append=len(keys))


Key = tuple[int, int, int, int]


@dataclass(frozen=True)
class PromotedPiece:
    """Points of one bucket that went up to one node: `points` from `start` on in its file."""

    bucket: int
    start: int
    points: int


@dataclass(frozen=True)
class CrownTask:
    """Nodes above the buckets, each with the points that went up to it."""

    workspace: Workspace
    frame: Frame
    number: int
    nodes: tuple[tuple[Key, tuple[PromotedPiece, ...]], ...]

    @property
    def name(self) -> str:
        """Of the finished part."""
        return f"crown-{self.number:06d}"

    @property
    def points(self) -> int:
        """All points of its nodes."""
        return sum(piece.points for _, pieces in self.nodes for piece in pieces)


def crown_tasks(workspace: Workspace, frame: Frame, buckets: int, most_points: int) -> list[CrownTask]:
    """The nodes above all buckets, by level, in tasks of about `most_points` points. Nodes without a point of their own are added,
    so that every node has its parent."""
    pieces: dict[Key, list[PromotedPiece]] = {}
    for number in range(buckets):
        arrays = workspace.load(branch_name(number)) or {}
        start = 0
        for key, count in zip(
            map(tuple, arrays["promoted_keys"].tolist()), arrays["promoted_counts"].tolist(), strict=True
        ):
            pieces.setdefault(key, []).append(PromotedPiece(number, start, count))
            start += count
        _add_ancestors(pieces, arrays["keys"])
    _add_ancestors(pieces, np.array(list(pieces), np.int32).reshape(-1, 4))
    tasks: list[CrownTask] = []
    nodes: list[tuple[Key, tuple[PromotedPiece, ...]]] = []
    filled = 0
    for key in sorted(pieces, key=lambda one: one[0]):
        own = tuple(pieces[key])
        points = sum(piece.points for piece in own)
        if nodes and filled + points > most_points:
            tasks.append(CrownTask(workspace, frame, len(tasks), tuple(nodes)))
            nodes, filled = [], 0
        nodes.append((key, own))
        filled += points
    if nodes:
        tasks.append(CrownTask(workspace, frame, len(tasks), tuple(nodes)))
    return tasks


def _add_ancestors(pieces: dict[Key, list[PromotedPiece]], keys: npt.NDArray[np.int32]) -> None:
    """Give every node that is named the nodes above it, as far as they are not nodes of its own bucket."""
    known = set(map(tuple, keys.tolist()))
    for key in list(known):
        level, x, y, z = key
        while level:
            level, x, y, z = level - 1, x >> 1, y >> 1, z >> 1
            if (level, x, y, z) in known or (level, x, y, z) in pieces:
                break
            pieces[(level, x, y, z)] = []


def make_crown(task: CrownTask) -> int:
    """Encode nodes above the buckets. Returns their points."""
    workspace, frame = task.workspace, task.frame
    if workspace.finished(task.name):
        return task.points
    parts = [_node_records(workspace, frame, pieces) for _, pieces in task.nodes]
    starts = np.concatenate(([0], np.cumsum([len(part) for part in parts])))
    records = np.concatenate(parts)
    tree = Octree(
        np.array([key for key, _ in task.nodes], np.int32).reshape(-1, 4), starts, np.arange(len(records))
    )
    encoded: list[EncodedNodes] = []

    def fill(stream: BinaryIO) -> None:
        encoded.append(encode_nodes(stream, frame, records, tree))

    size = workspace.write(task.name + CHUNKS, fill)
    workspace.finish(task.name, encoded[0].arrays(), {task.name + CHUNKS: size})
    return task.points


def _node_records(workspace: Workspace, frame: Frame, pieces: Sequence[PromotedPiece]) -> Records:
    """The points of one node, in the order of reading."""
    dtype = _promoted_dtype(frame)
    parts = [
        np.fromfile(
            workspace.path(branch_name(piece.bucket) + _PROMOTED),
            dtype,
            piece.points,
            offset=piece.start * dtype.itemsize,
        )
        for piece in pieces
    ]
    points = np.concatenate([np.empty(0, dtype), *parts])
    found: Records = points["record"][np.argsort(points["sequence"])]
    return found
