"""LAS/LAZ -> COPC 1.0, in memory, with an octree and hierarchy of ours and LAZ chunks by lazrs.

docs/decisions/0006-copc-writer.md says what was measured.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

import lazrs
import numpy as np
import numpy.typing as npt
import pyproj

from pointclouds.cloud.summary import PointCloudSummary, summarize_points
from pointclouds.copc.hierarchy import pack_pages
from pointclouds.copc.octree import (
    GRID_DEPTH,
    Cube,
    Octree,
    build_octree,
    cube_around,
    morton_codes,
    useful_depth,
)
from pointclouds.crs import las_wkt
from pointclouds.errors import OutputError, PointCloudError
from pointclouds.las.layout import FIELDS
from pointclouds.las.point_set import PointSet, Progress, box_of, load_points
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

_BATCH_NODES: Final = 16
_MODIFIABLE_ENCODING: Final = GPS_STANDARD_TIME | 0x08
"""Global encoding bits taken over from the source: GPS time type and synthetic return numbers."""


def _quiet(stage: str, fraction: float) -> None:
    """Report nothing."""


def write_copc(
    sources: Path | Sequence[Path],
    out: Path,
    *,
    crs: str | pyproj.CRS | None = None,
    report: Progress = _quiet,
) -> PointCloudSummary:
    """Write one COPC file of all points of one or several LAS/LAZ files.

    Point formats 0-5 become 6 or 7, 9 and 10 lose their waveform packets; extra dimensions, scale and offset
    are kept. The file appears under its name only when it is complete. Memory: about 120 bytes a point.

    Args:
        sources: LAS 1.0-1.4, LAZ or COPC files; several must share one CRS.
        out: the COPC file to make (replaced if it exists).
        crs: used in place of whatever CRS the sources name.
        report: told the stage ("read", "octree", "write") and how much of it is done (0 to 1).

    Raises:
        UnreadablePointCloudError, CrsError, OutputError: see pointclouds.errors.
    """
    paths = [sources] if isinstance(sources, Path) else list(sources)
    points = load_points(paths, crs, report)
    report("octree", 0.0)
    cube, tree = _plant(points)
    summary = summarize_points(points, nodes=len(tree.keys), depth=int(tree.keys[:, 0].max()))
    report("octree", 1.0)
    part = out.with_name(out.name + ".part")
    try:
        with part.open("w+b") as stream:
            _write(stream, points, cube, tree, report)
            stream.flush()
            os.fsync(stream.fileno())
            size = stream.tell()
        part.replace(out)
    except PointCloudError:
        raise
    except (OSError, lazrs.LazrsError) as error:
        raise OutputError(
            f"{out.name} cannot be written: {error}; free space or choose another place"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return replace(summary, bytes=size)


def _plant(points: PointSet) -> tuple[Cube, Octree]:
    records, scale, offset = points.records, points.scale, points.offset
    cube = cube_around(*box_of(records, scale, offset), max(scale))
    depth = useful_depth(cube, min(scale))
    axes = tuple(np.ascontiguousarray(records[name]) for name in "XYZ")
    return cube, build_octree(morton_codes(axes, scale, offset, cube, depth), depth)


def _vlrs(points: PointSet, info: CopcInfo, laszip: bytes) -> list[Vlr]:
    """In the file's order; COPC wants its info record first."""
    records = [
        Vlr("copc", 1, info.pack(), "COPC info"),
        Vlr("laszip encoded", 22204, laszip, "laszip variable chunks"),
        Vlr("LASF_Projection", 2112, las_wkt(points.crs).encode() + b"\0", "OGC WKT"),
    ]
    if points.extra_structs:
        records.append(Vlr("LASF_Spec", 4, points.extra_structs, "extra bytes"))
    return records + points.other_records


def _write(stream: BinaryIO, points: PointSet, cube: Cube, tree: Octree, report: Progress) -> None:
    extra = points.records.dtype.itemsize - np.dtype(FIELDS[points.point_format]).itemsize
    laz = lazrs.LazVlr.new_for_compression(points.point_format, extra, True)
    gps = points.records["GpsTime"]
    blank = CopcInfo(
        cube.centre, cube.edge / 2, cube.edge / (1 << GRID_DEPTH), 0, 0, float(gps.min()), float(gps.max())
    )
    vlrs = b"".join(record.pack() for record in _vlrs(points, blank, bytes(laz.record_data())))
    start = LAS_14_HEADER_SIZE + len(vlrs)
    stream.write(bytes(LAS_14_HEADER_SIZE) + vlrs)
    sizes = _write_chunks(stream, laz, points, tree, report)

    entries = _entries(tree, sizes, start + 8)
    evlr = stream.seek(0, os.SEEK_END)
    pages, root_size = pack_pages(entries, evlr + EVLR_HEADER_SIZE)
    stream.write(Vlr("copc", 1000, pages, "EPT hierarchy").pack_extended())
    info = CopcInfo(
        blank.centre,
        blank.halfsize,
        blank.spacing,
        evlr + EVLR_HEADER_SIZE,
        root_size,
        blank.gps_minimum,
        blank.gps_maximum,
    )
    count = len(_vlrs(points, blank, b""))
    stream.seek(0)
    stream.write(_header(points, start, count, evlr).pack())
    stream.write(Vlr("copc", 1, info.pack(), "COPC info").pack())
    stream.seek(0, os.SEEK_END)
    if stream.tell() != evlr + EVLR_HEADER_SIZE + len(pages) or len(info.pack()) != COPC_INFO_SIZE:
        raise OutputError("the COPC file did not come out as planned; this is a fault of the writer")


def _write_chunks(
    stream: BinaryIO, laz: "lazrs.LazVlr", points: PointSet, tree: Octree, report: Progress
) -> npt.NDArray[np.int64]:
    """Compress node after node, one LAZ chunk each. Returns the chunks' bytes (0 for a node without points)."""
    start = stream.tell()
    compressor = lazrs.ParLasZipCompressor(stream, laz)
    compressor.reserve_offset_to_chunk_table()
    counts = np.diff(tree.starts)
    for first in range(0, counts.size, _BATCH_NODES):
        bounds = range(first, min(first + _BATCH_NODES, counts.size))
        cuts = [tree.order[tree.starts[node] : tree.starts[node + 1]] for node in bounds]
        compressor.compress_chunks([points.records[cut].view(np.uint8) for cut in cuts if cut.size])
        report("write", (first + len(bounds)) / counts.size)
    compressor.done()
    stream.seek(start)
    table = np.array(lazrs.read_chunk_table(stream, laz), np.int64).reshape(-1, 2)
    sizes = np.zeros(counts.size, np.int64)
    filled = counts > 0
    if not np.array_equal(table[:, 0], counts[filled]):
        raise OutputError("the LAZ chunk table does not match the octree; this is a fault of the writer")
    sizes[filled] = table[:, 1]
    return sizes


def _entries(tree: Octree, sizes: npt.NDArray[np.int64], first_chunk: int) -> npt.NDArray[np.void]:
    entries = np.zeros(len(tree.keys), HIERARCHY_ENTRY)
    for column, name in enumerate(("level", "x", "y", "z")):
        entries[name] = tree.keys[:, column]
    entries["point_count"] = np.diff(tree.starts)
    entries["byte_size"] = sizes
    offsets = first_chunk + np.concatenate(([0], np.cumsum(sizes)[:-1]))
    entries["offset"] = np.where(sizes > 0, offsets, 0)
    return entries


def _header(points: PointSet, start: int, vlr_count: int, evlr: int) -> LasHeader:
    first = points.first
    low, high = box_of(points.records, points.scale, points.offset)
    returns = np.bincount(points.records["Returns"] & 0x0F, minlength=16)[1:16]
    today = datetime.now(UTC).date()
    return LasHeader(
        version_minor=4,
        header_size=LAS_14_HEADER_SIZE,
        offset_to_points=start,
        vlr_count=vlr_count,
        point_format=points.point_format,
        compressed=True,
        record_length=points.records.dtype.itemsize,
        point_count=len(points.records),
        points_by_return=tuple(int(count) for count in returns),
        scale=points.scale,
        offset=points.offset,
        minimum=(float(low[0]), float(low[1]), float(low[2])),
        maximum=(float(high[0]), float(high[1]), float(high[2])),
        global_encoding=(first.global_encoding & _MODIFIABLE_ENCODING) | WKT_FLAG,
        file_source_id=first.file_source_id,
        guid=first.guid,
        system_identifier=first.system_identifier or "Chengtu",
        creation=first.creation if first.creation[1] else (today.timetuple().tm_yday, today.year),
        evlr_offset=evlr,
        evlr_count=1,
    )
