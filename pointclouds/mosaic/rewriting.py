"""A COPC in which the attributes of some points are changed: chunks of other nodes are copied byte for byte.

Positions, returns and GPS times stay, so the octree, the box and the counts of the header stay too: what is new are the chunks of
the nodes concerned, the places of all chunks behind them, and the node table beside the file.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import batched
from pathlib import Path
from typing import Any, BinaryIO, Final

import lazrs
import numpy as np
import numpy.typing as npt

from pointclouds.cloud.nodes import CLASSES, NodeStatistics, NodeTable, nodes_path
from pointclouds.copc.hierarchy import pack_pages
from pointclouds.copc.reader import CopcFile
from pointclouds.errors import InvalidCopcError, OutputError
from pointclouds.las.dimensions import dimensions_of
from pointclouds.las.layout import Records
from pointclouds.las.structures import (
    COPC_INFO_OFFSET,
    EVLR_HEADER_SIZE,
    Vlr,
    unpack_vlr,
)

Edit = Callable[[Records], Records | None]
"""Gets the points of a node and returns them changed (as many, in the same order), or None where nothing changes."""
Told = Callable[[int, int], None]
"""Hears after every batch how many nodes have been looked at, of how many."""

_BATCH_NODES: Final = 16
_COPY_BYTES: Final = 1 << 24
_HIERARCHY: Final = ("copc", 1000)
_UNCHANGED: Final = ("X", "Y", "Z", "Returns", "GpsTime")


def say_nothing(_done: int, _all: int) -> None:
    """A `Told` for those who do not watch."""


def rewrite_copc(
    copc: CopcFile, table: NodeTable, out: Path, numbers: Sequence[int], edit: Edit, told: Told = say_nothing
) -> NodeTable | None:
    """Write `out` and the table of its nodes, with the nodes `numbers` (of `copc.entries`) edited.

    Returns the new table, or None where `edit` changed nothing at all: then nothing is written. Memory: sixteen nodes.

    Raises:
        InvalidCopcError: its chunks do not stand one behind the other as LAZ has it, or a node does not decode.
        OutputError: `out` cannot be written; nothing is left of it.
    """
    order = _in_file_order(copc)
    place = {int(number): index for index, number in enumerate(order)}
    chosen = sorted((number for number in numbers if number in place), key=place.__getitem__)
    part = out.with_name(out.name + ".part")
    try:
        changed = _write(copc, table, part, order, chosen, edit, told)
        if changed is None:
            return None
        changed.save(nodes_path(out))
        part.replace(out)
        return changed
    except (OSError, lazrs.LazrsError) as error:
        nodes_path(out).unlink(missing_ok=True)
        raise OutputError(
            f"{out.name} cannot be written: {error}; free space or choose another place"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _in_file_order(copc: CopcFile) -> npt.NDArray[np.int64]:
    """Numbers of the nodes that have points, by the place of their chunks. Raises InvalidCopcError where there are gaps."""
    entries = copc.entries
    filled = np.flatnonzero(entries["point_count"] > 0)
    order = filled[np.argsort(entries["offset"][filled], kind="stable")]
    offsets = entries["offset"][order].astype(np.int64)
    ends = offsets + entries["byte_size"][order]
    first = copc.header.las.offset_to_points + 8
    if len(order) == 0 or offsets[0] != first or (offsets[1:] != ends[:-1]).any():
        raise InvalidCopcError(
            f"{copc.path.name}: its chunks do not stand one behind the other; publish the point cloud again"
        )
    return order


def _write(
    copc: CopcFile,
    table: NodeTable,
    part: Path,
    order: npt.NDArray[np.int64],
    chosen: Sequence[int],
    edit: Edit,
    told: Told,
) -> NodeTable | None:
    laz = lazrs.LazVlr(copc.laszip)
    header = copc.header
    dimensions = dimensions_of(copc.dtype, header.scale, header.offset, header.records)
    if tuple(one.name for one in dimensions if one.members == 1) != table.dimensions:
        raise InvalidCopcError(
            f"{copc.path.name}: its table of nodes lists other dimensions than the file has; publish the point cloud again"
        )
    statistics = NodeStatistics(dimensions)
    rows: dict[int, tuple[Any, ...]] = {}
    sizes = copc.entries["byte_size"].astype(np.int64)
    with part.open("w+b") as stream, copc.path.open("rb") as source:
        position = 0
        for number, chunk, row in _edited(copc, laz, chosen, edit, statistics, told):
            entry = copc.entries[number]
            start = int(entry["offset"])
            _copy(source, stream, position, start)
            stream.write(chunk)
            position = start + int(entry["byte_size"])
            rows[number], sizes[number] = row, len(chunk)
        if not rows:
            return None
        _copy(source, stream, position, int(_end_of_chunks(copc, order)))
        entries = _moved(copc, order, sizes)
        _write_chunk_table(stream, copc, laz, entries[order])
        info = _write_extended_records(stream, copc, entries)
        stream.seek(0)
        stream.write(info[0])
        stream.seek(COPC_INFO_OFFSET)
        stream.write(info[1])
        stream.flush()
        os.fsync(stream.fileno())
    # Chunks keep their order, so the nodes keep theirs in the table: by level, then by place.
    return _renewed(table, entries, rows)


def _edited(
    copc: CopcFile,
    laz: lazrs.LazVlr,
    chosen: Sequence[int],
    edit: Edit,
    statistics: NodeStatistics,
    told: Told,
) -> Iterator[tuple[int, bytes, tuple[Any, ...]]]:
    """Number, new chunk and new statistics of the nodes in which something changed, by their place in the file."""
    done = 0
    for batch in batched(chosen, _BATCH_NODES):
        changed = []
        for number in batch:
            records = copc.read_node(copc.entries[number])
            after = edit(records.copy())
            if after is not None:
                _require_same_points(records, after, copc.path.name)
                changed.append((number, after))
        done += len(batch)
        chunks = encode_chunks([records for _, records in changed], laz)
        for (number, records), chunk in zip(changed, chunks, strict=True):
            yield number, chunk, statistics.row(records)
        told(done, len(chosen))


def _require_same_points(before: Records, after: Records, name: str) -> None:
    same = len(before) == len(after) and before.dtype == after.dtype
    if not same or any((before[field] != after[field]).any() for field in _UNCHANGED):
        raise OutputError(
            f"{name}: an edit of attributes may change neither positions, returns nor times; nothing was written"
        )


def encode_chunks(nodes: Sequence[Records], laz: lazrs.LazVlr) -> list[bytes]:
    """The LAZ chunk of each of these record arrays (none of them empty), encoded on all cores."""
    if not nodes:
        return []
    stream = io.BytesIO()
    compressor = lazrs.ParLasZipCompressor(stream, laz)
    compressor.reserve_offset_to_chunk_table()
    compressor.compress_chunks([np.ascontiguousarray(records).view(np.uint8) for records in nodes])
    compressor.done()
    stream.seek(0)
    sizes = [int(size) for _, size in lazrs.read_chunk_table(stream, laz)]
    data, chunks, start = stream.getbuffer(), [], 8
    for size in sizes:
        chunks.append(bytes(data[start : start + size]))
        start += size
    return chunks


def _copy(source: BinaryIO, target: BinaryIO, start: int, end: int) -> None:
    source.seek(start)
    left = end - start
    while left > 0:
        data = source.read(min(left, _COPY_BYTES))
        if not data:
            raise OSError(f"the file that is copied ends {left} bytes early")
        target.write(data)
        left -= len(data)


def _end_of_chunks(copc: CopcFile, order: npt.NDArray[np.int64]) -> int:
    last = copc.entries[order[-1]]
    return int(last["offset"]) + int(last["byte_size"])


def _moved(
    copc: CopcFile, order: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]
) -> npt.NDArray[np.void]:
    """The entries with the chunks' new sizes and places."""
    entries = copc.entries.copy()
    entries["byte_size"] = sizes
    ends = np.cumsum(sizes[order])
    starts = copc.header.las.offset_to_points + 8 + np.concatenate(([0], ends[:-1]))
    entries["offset"][order] = starts
    return entries


def _write_chunk_table(
    stream: BinaryIO, copc: CopcFile, laz: lazrs.LazVlr, entries: npt.NDArray[np.void]
) -> None:
    table = [(int(entry["point_count"]), int(entry["byte_size"])) for entry in entries]
    at = stream.tell()
    lazrs.write_chunk_table(stream, table, laz)
    stream.seek(copc.header.las.offset_to_points)
    stream.write(at.to_bytes(8, "little"))
    stream.seek(0, os.SEEK_END)


def _write_extended_records(
    stream: BinaryIO, copc: CopcFile, entries: npt.NDArray[np.void]
) -> tuple[bytes, bytes]:
    """Append the extended records, the hierarchy last. Returns the public header and the COPC info, which name their place."""
    las = copc.header.las
    with copc.path.open("rb") as source:
        source.seek(las.evlr_offset)
        data = source.read() if las.evlr_count else b""
    records, position = [], 0
    for _ in range(las.evlr_count):
        record, position = unpack_vlr(data, position, extended=True)
        records.append(record)
    start = stream.tell()
    for record in records:
        if (record.user_id, record.record_id) != _HIERARCHY:
            stream.write(record.pack_extended())
    root = stream.tell() + EVLR_HEADER_SIZE
    pages, root_size = pack_pages(entries, root)
    stream.write(Vlr(*_HIERARCHY, pages, "EPT hierarchy").pack_extended())
    info = replace(copc.info, root_offset=root, root_size=root_size)
    return replace(las, evlr_offset=start).pack(), info.pack()


def _renewed(table: NodeTable, entries: npt.NDArray[np.void], rows: dict[int, tuple[Any, ...]]) -> NodeTable:
    """The table with the statistics of the changed nodes, and every node's new place."""
    classes = np.zeros((len(entries), CLASSES), np.uint32)
    classes[:, list(table.classes)] = table.class_counts
    returns = np.array(table.return_counts)
    spans = [np.array(getattr(table, name)) for name in ("lowest", "highest", "sums", "squares")]
    for number, row in rows.items():
        classes[number], returns[number] = row[0], row[1]
        for values, span in zip(spans, row[2], strict=True):
            values[number] = span
    codes = np.flatnonzero(classes.any(axis=0))
    return NodeTable(
        entries,
        tuple(int(code) for code in codes),
        table.dimensions,
        classes[:, codes],
        returns,
        *spans,
    )
