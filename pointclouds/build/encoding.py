"""Encoding nodes as LAZ chunks, one a node, and taking their statistics on the way."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, Final

import lazrs
import numpy as np
import numpy.typing as npt

from pointclouds.build.frame import Frame
from pointclouds.cloud.nodes import CLASSES, RETURNS, NodeStatistics
from pointclouds.copc.octree import Octree
from pointclouds.errors import OutputError
from pointclouds.las.layout import FIELDS, Records

_BATCH_NODES: Final = 16


@dataclass(frozen=True)
class EncodedNodes:
    """Nodes in the order in which their chunks stand in a file, without gaps.

    keys: (n, 4) int32 level, x, y, z. counts, sizes: (n,) int64 points and bytes (0 and 0 of a node without points). classes,
    returns, spans: what `NodeStatistics.row` gives, stacked.
    """

    keys: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    classes: npt.NDArray[np.uint32]
    returns: npt.NDArray[np.uint32]
    spans: npt.NDArray[np.float64]

    @classmethod
    def empty(cls, keys: npt.NDArray[np.int32], dimensions: int) -> EncodedNodes:
        """Nodes (n, 4) without points."""
        none = np.zeros(len(keys), np.int64)
        spans = np.zeros((len(keys), 4, dimensions))
        spans[:, :2] = np.nan
        classes = np.zeros((len(keys), CLASSES), np.uint32)
        return cls(keys, none, none, classes, np.zeros((len(keys), RETURNS), np.uint32), spans)

    @classmethod
    def joined(cls, parts: Sequence[EncodedNodes]) -> EncodedNodes:
        """The nodes of all parts, in their order."""
        return cls(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(cls)))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays by name, for saving."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @classmethod
    def of_arrays(cls, arrays: Any) -> EncodedNodes:
        """The other way round."""
        return cls(*(arrays[one.name] for one in fields(cls)))


def laz_record(frame: Frame) -> lazrs.LazVlr:
    """The laszip record of a file of that layout, with chunks of any number of points."""
    extra = frame.dtype.itemsize - np.dtype(FIELDS[frame.point_format]).itemsize
    return lazrs.LazVlr.new_for_compression(frame.point_format, extra, True)


def encode_nodes(
    stream: BinaryIO,
    frame: Frame,
    records: Records,
    tree: Octree,
    report: Callable[[float], None] = lambda _fraction: None,
) -> EncodedNodes:
    """Write the chunks of all nodes of a tree at the stream's place: eight bytes, the chunks, LAZ's table of them.

    `tree.order` names points of `records`. Raises OSError and lazrs.LazrsError where it cannot be written.
    """
    start = stream.tell()
    laz = laz_record(frame)
    statistics = NodeStatistics(frame.dimensions)
    compressor = lazrs.ParLasZipCompressor(stream, laz)
    compressor.reserve_offset_to_chunk_table()
    counts = np.diff(tree.starts)
    encoded = EncodedNodes.empty(tree.keys, sum(one.members == 1 for one in frame.dimensions))
    for first in range(0, counts.size, _BATCH_NODES):
        batch = []
        for node in range(first, min(first + _BATCH_NODES, counts.size)):
            if counts[node]:
                points = records[tree.order[tree.starts[node] : tree.starts[node + 1]]]
                row = statistics.row(points)
                encoded.classes[node], encoded.returns[node], encoded.spans[node] = row
                batch.append(points.view(np.uint8))
        compressor.compress_chunks(batch)
        report(min(first + _BATCH_NODES, counts.size) / counts.size)
    compressor.done()
    sizes = _chunk_sizes(stream, start, laz, counts)
    return EncodedNodes(
        tree.keys, counts.astype(np.int64), sizes, encoded.classes, encoded.returns, encoded.spans
    )


def _chunk_sizes(
    stream: BinaryIO, start: int, laz: lazrs.LazVlr, counts: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    stream.seek(start)
    table = np.array(lazrs.read_chunk_table(stream, laz), np.int64).reshape(-1, 2)
    filled = counts > 0
    if not np.array_equal(table[:, 0], counts[filled]):
        raise OutputError("the LAZ chunk table does not match the octree; this is a fault of the writer")
    sizes = np.zeros(counts.size, np.int64)
    sizes[filled] = table[:, 1]
    stream.seek(0, os.SEEK_END)
    return sizes


def write_chunk_table(stream: BinaryIO, start: int, frame: Frame, encoded: EncodedNodes) -> None:
    """Write LAZ's table of chunks that begin at `start` + 8, after them, and its place at `start`."""
    end = start + 8 + int(encoded.sizes.sum())
    stream.seek(start)
    stream.write(end.to_bytes(8, "little"))
    stream.seek(end)
    filled = encoded.counts > 0
    table = list(zip(encoded.counts[filled].tolist(), encoded.sizes[filled].tolist(), strict=True))
    lazrs.write_chunk_table(stream, table, laz_record(frame))


def chunk_bytes(path: Path, encoded: EncodedNodes) -> tuple[int, int]:
    """Where the chunks in a file of `encode_nodes` begin, and how many bytes they are. Raises OutputError where it is shorter."""
    size = int(encoded.sizes.sum())
    if path.stat().st_size < 8 + size:
        raise OutputError(f"{path.name} of the workspace was cut off; remove the workspace and build again")
    return 8, size
