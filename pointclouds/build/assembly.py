"""Every byte of a COPC file around its chunks: header, records, pages of the hierarchy; and the table of nodes beside it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

import lazrs
import numpy as np
import pyproj

from pointclouds.build.encoding import EncodedNodes, laz_record
from pointclouds.build.frame import Frame
from pointclouds.build.summary import summarize_nodes
from pointclouds.cloud.nodes import NodeStatistics, NodeTable, nodes_path
from pointclouds.cloud.summary import PointCloudSummary
from pointclouds.copc.check import gps_range
from pointclouds.copc.hierarchy import Entries, pack_pages
from pointclouds.copc.octree import Cube
from pointclouds.copc.reader import CopcFile
from pointclouds.crs import las_wkt
from pointclouds.errors import OutputError, PointCloudError
from pointclouds.las.structures import (
    COPC_INFO_SIZE,
    EVLR_HEADER_SIZE,
    GPS_STANDARD_TIME,
    HIERARCHY_ENTRY,
    LAS_14_HEADER_SIZE,
    WKT_FLAG,
    CopcInfo,
    LasHeader,
    Vlr,
)
from pointclouds.sources import SourceDescription

SYNTHETIC_RETURNS: Final = 0x08
KEPT_ENCODING: Final = GPS_STANDARD_TIME | SYNTHETIC_RETURNS
"""Global encoding bits taken over from the sources: GPS time type and synthetic return numbers."""


@dataclass(frozen=True)
class FileFacts:
    """What a file says of itself beyond its points; `description` is that of the merged sources."""

    frame: Frame
    crs: pyproj.CRS
    description: SourceDescription


WriteChunks = Callable[[BinaryIO], tuple[Cube, EncodedNodes]]
"""Writes eight bytes, the chunks and LAZ's table of them at the stream's place; gives the cube and the nodes."""


def write_file(out: Path, facts: FileFacts, chunks: WriteChunks) -> PointCloudSummary:
    """Write a COPC and its table of nodes; both appear under their names when they are complete.

    Raises:
        OutputError: they cannot be written; nothing of them is left.
    """
    part = out.with_name(out.name + ".part")
    table_path = nodes_path(part)
    try:
        with part.open("w+b") as stream:
            table = _write(stream, facts, chunks)
            stream.flush()
            os.fsync(stream.fileno())
        table.save(table_path)
        with CopcFile(part) as copc:
            summary = summarize_nodes(copc, table, facts.crs)
        # In this order a machine that stops in between leaves a file without a table, never one with another's.
        nodes_path(out).unlink(missing_ok=True)
        part.replace(out)
        table_path.replace(nodes_path(out))
    except PointCloudError:
        raise
    except (OSError, lazrs.LazrsError) as error:
        raise OutputError(
            f"{out.name} cannot be written: {error}; free space or choose another place"
        ) from error
    finally:
        for left in (part, table_path, table_path.with_name(table_path.name + ".part")):
            left.unlink(missing_ok=True)
    return replace(summary, dropped=facts.description.dropped)


def _vlrs(facts: FileFacts, info: CopcInfo) -> list[Vlr]:
    """In the file's order; COPC wants its info record first."""
    records = [
        Vlr("copc", 1, info.pack(), "COPC info"),
        Vlr("laszip encoded", 22204, bytes(laz_record(facts.frame).record_data()), "laszip variable chunks"),
        Vlr("LASF_Projection", 2112, las_wkt(facts.crs).encode() + b"\0", "OGC WKT"),
    ]
    if facts.frame.extra_structs:
        records.append(Vlr("LASF_Spec", 4, facts.frame.extra_structs, "extra bytes"))
    return records + list(facts.description.records)


def _write(stream: BinaryIO, facts: FileFacts, chunks: WriteChunks) -> NodeTable:
    blank = CopcInfo((0.0, 0.0, 0.0), 1.0, 1.0, 0, 0, 0.0, 0.0)
    vlrs = _vlrs(facts, blank)
    packed = b"".join(record.pack() for record in vlrs)
    start = LAS_14_HEADER_SIZE + len(packed)
    stream.write(bytes(LAS_14_HEADER_SIZE) + packed)
    cube, encoded = chunks(stream)
    table = _node_table(facts.frame, encoded, start + 8)

    evlr = stream.seek(0, os.SEEK_END)
    pages, root_size = pack_pages(table.entries, evlr + EVLR_HEADER_SIZE)
    stream.write(Vlr("copc", 1000, pages, "EPT hierarchy").pack_extended())
    gps_minimum, gps_maximum = gps_range(table)
    info = CopcInfo(
        centre=cube.centre,
        halfsize=cube.edge / 2,
        spacing=cube.edge / (1 << facts.frame.rules.grid_depth),
        root_offset=evlr + EVLR_HEADER_SIZE,
        root_size=root_size,
        gps_minimum=gps_minimum,
        gps_maximum=gps_maximum,
    )
    stream.seek(0)
    stream.write(_header(facts, table, start, len(vlrs), evlr).pack())
    stream.write(Vlr("copc", 1, info.pack(), "COPC info").pack())
    stream.seek(0, os.SEEK_END)
    if stream.tell() != evlr + EVLR_HEADER_SIZE + len(pages) or len(info.pack()) != COPC_INFO_SIZE:
        raise OutputError("the COPC file did not come out as planned; this is a fault of the writer")
    return table


def _node_table(frame: Frame, encoded: EncodedNodes, first_chunk: int) -> NodeTable:
    """The table, whose entries are sorted as `CopcFile.entries` are."""
    entries: Entries = np.zeros(len(encoded.keys), HIERARCHY_ENTRY)
    for column, name in enumerate(("level", "x", "y", "z")):
        entries[name] = encoded.keys[:, column]
    entries["point_count"] = encoded.counts
    entries["byte_size"] = encoded.sizes
    offsets = first_chunk + np.concatenate(([0], np.cumsum(encoded.sizes)[:-1]))
    entries["offset"] = np.where(encoded.sizes > 0, offsets, 0)
    order = np.lexsort((entries["offset"], entries["level"]))
    statistics = NodeStatistics(frame.dimensions)
    for number in np.flatnonzero(encoded.counts).tolist():
        statistics.put(number, (encoded.classes[number], encoded.returns[number], encoded.spans[number]))
    return statistics.table(entries[order], order.tolist())


def _header(facts: FileFacts, table: NodeTable, start: int, vlr_count: int, evlr: int) -> LasHeader:
    frame, about = facts.frame, facts.description
    low, high = np.fmin.reduce(table.lowest[:, :3]), np.fmax.reduce(table.highest[:, :3])
    returns = table.return_counts.sum(axis=0, dtype=np.int64)[1:16]
    today = datetime.now(UTC).date()
    return LasHeader(
        version_minor=4,
        header_size=LAS_14_HEADER_SIZE,
        offset_to_points=start,
        vlr_count=vlr_count,
        point_format=frame.point_format,
        compressed=True,
        record_length=frame.dtype.itemsize,
        point_count=table.count,
        points_by_return=tuple(int(count) for count in returns),
        scale=frame.scale,
        offset=frame.offset,
        minimum=(float(low[0]), float(low[1]), float(low[2])),
        maximum=(float(high[0]), float(high[1]), float(high[2])),
        global_encoding=(about.global_encoding & KEPT_ENCODING) | WKT_FLAG,
        file_source_id=about.file_source_id,
        system_identifier=about.system_identifier or "Chengtu",
        creation=about.creation if about.creation[1] else (today.timetuple().tm_yday, today.year),
        evlr_offset=evlr,
        evlr_count=1,
    )
