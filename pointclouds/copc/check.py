"""A checker for COPC 1.0 files, ours and others'."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from pointclouds.cloud.nodes import NodeStatistics, NodeTable
from pointclouds.copc.hierarchy import Entries, read_pages, valid_keys
from pointclouds.copc.reader import CopcFile, read_info
from pointclouds.errors import PointCloudError
from pointclouds.las.dimensions import dimensions_of
from pointclouds.las.reader import PointCloudHeader, inspect
from pointclouds.las.structures import WKT_FLAG

MOST_FINDINGS: Final = 100


@dataclass(frozen=True)
class Finding:
    """One thing wrong with a file. An "error" breaks COPC 1.0; a "warning" is legal and surprises readers."""

    severity: Literal["error", "warning"]
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.where}: {self.message}"


def check_copc(path: Path, *, decode: bool = True) -> list[Finding]:
    """Check a COPC file against COPC 1.0 and LAS 1.4; an empty list means that nothing is wrong.

    Args:
        decode: also decode every node and compare points with bounds, counts, returns and GPS times.
    """
    findings = check_structure(path)
    if decode and not any(finding.severity == "error" for finding in findings):
        findings += _check_points(path)
    return findings[:MOST_FINDINGS]


def check_structure(path: Path) -> list[Finding]:
    """Check all but the points: header, records, pages, and where the chunks lie."""
    try:
        header = inspect(path)
        info = read_info(path)
    except PointCloudError as error:
        return [Finding("error", "file", str(error))]
    findings = _check_header(header)
    size = path.stat().st_size
    with path.open("rb") as stream:

        def read(offset: int, length: int) -> bytes:
            stream.seek(offset)
            return stream.read(length)

        entries, problems = read_pages(read, info.root_offset, info.root_size, size)
    findings += [Finding("error", problem.where, problem.message) for problem in problems]
    findings += _check_tree(entries, header, size)
    if not any(finding.severity == "error" for finding in findings):
        findings += _check_opens(path)
    return findings[:MOST_FINDINGS]


def _check_header(header: PointCloudHeader) -> list[Finding]:
    las, found = header.las, []
    if las.version_minor != 4 or las.header_size != 375:
        found.append(
            Finding("error", "header", f"LAS {header.version} with {las.header_size} bytes; COPC is LAS 1.4")
        )
    if las.point_format not in (6, 7, 8):
        found.append(Finding("error", "header", f"point format {las.point_format}; COPC allows 6, 7 and 8"))
    if not las.compressed:
        found.append(Finding("error", "header", "the points are not compressed"))
    if las.legacy_point_count:
        found.append(
            Finding("warning", "header", "a legacy point count, which formats 6-8 should leave at zero")
        )
    if not las.global_encoding & WKT_FLAG:
        found.append(Finding("error", "header", "the WKT flag is not set, which formats 6-8 ask for"))
    if header.crs is None:
        found.append(Finding("warning", "header", "no coordinate reference system"))
    if las.evlr_count == 0:
        found.append(Finding("error", "header", "no extended record, so no hierarchy"))
    return found


def _check_tree(entries: Entries, header: PointCloudHeader, size: int) -> list[Finding]:
    if len(entries) == 0:
        return [Finding("error", "hierarchy", "no nodes")]
    sound = valid_keys(entries)
    found = [Finding("error", _where(entry), "lies outside the octree") for entry in entries[~sound][:10]]
    keys = [tuple(int(entry[name]) for name in ("level", "x", "y", "z")) for entry in entries[sound]]
    known = set(keys)
    if len(known) != len(keys):
        found.append(Finding("error", "hierarchy", f"{len(keys) - len(known)} nodes appear more than once"))
    if (0, 0, 0, 0) not in known:
        found.append(Finding("error", "hierarchy", "no root node"))
    for level, x, y, z in keys:
        if level and (level - 1, x >> 1, y >> 1, z >> 1) not in known:
            found.append(Finding("error", f"node {level}-{x}-{y}-{z}", "its parent does not exist"))
    total = int(entries["point_count"].astype(np.int64).sum())
    if total != header.count:
        found.append(
            Finding("error", "hierarchy", f"nodes hold {total} points, the header says {header.count}")
        )
    return found + _check_chunks(entries, header, size)


def _where(entry: np.void) -> str:
    return "node " + "-".join(str(int(entry[name])) for name in ("level", "x", "y", "z"))


def _check_chunks(entries: Entries, header: PointCloudHeader, size: int) -> list[Finding]:
    """Chunks lie between the start of the points and the end of the file, and do not overlap."""
    found = []
    start = header.las.offset_to_points + 8
    spans = []
    for entry in entries:
        offset, length, count = int(entry["offset"]), int(entry["byte_size"]), int(entry["point_count"])
        if count < -1 or length < 0 or (count == 0) != (length == 0):
            found.append(Finding("error", _where(entry), f"{count} points in {length} bytes"))
        elif count and (offset < start or offset + length > size):
            found.append(
                Finding("error", _where(entry), f"its points lie at bytes {offset} to {offset + length}")
            )
        elif count:
            spans.append((offset, length, entry))
    spans.sort(key=lambda span: span[0])
    for (offset, length, _), (following, _, entry) in pairwise(spans):
        if offset + length > following:
            found.append(Finding("error", _where(entry), "its points overlap those of another node"))
    return found


def _check_opens(path: Path) -> list[Finding]:
    """Whatever else keeps a reader from opening the file."""
    try:
        with CopcFile(path):
            return []
    except PointCloudError as error:
        return [Finding("error", "file", str(error))]


def _check_points(path: Path) -> list[Finding]:
    """Decode everything: each point inside its node, totals as the header says."""
    found: list[Finding] = []
    try:
        with CopcFile(path) as copc:
            statistics = node_statistics(copc)
            numbers = range(len(copc.entries))
            for number, outside, row in examine_nodes(copc, numbers, statistics):
                found += outside
                statistics.put(number, row)
            return found + check_totals(copc, statistics.table(copc.entries, numbers))
    except PointCloudError as error:
        return [*found, Finding("error", "points", str(error))]


def node_statistics(copc: CopcFile) -> NodeStatistics:
    """An empty collection of statistics for a file's nodes."""
    header = copc.header
    return NodeStatistics(dimensions_of(copc.dtype, header.scale, header.offset, header.records))


def examine_nodes(
    copc: CopcFile, numbers: Iterable[int], statistics: NodeStatistics
) -> Iterator[tuple[int, list[Finding], Any]]:
    """Decode nodes: number, what is wrong with their points, and their row of statistics (not put); empty nodes are left out.

    Raises:
        UnreadablePointCloudError, InvalidCopcError: a node does not decode.
    """
    slack = np.array(copc.header.scale)
    lows, highs = copc.node_boxes(copc.entries)
    for number in numbers:
        entry = copc.entries[number]
        if entry["point_count"] == 0:
            continue
        records = copc.read_node(entry)
        row = statistics.row(records)
        span = row[2]
        found = []
        if (span[0, :3] < lows[number] - slack).any() or (span[1, :3] > highs[number] + slack).any():
            points = copc.coordinates(records)
            outside = ((points < lows[number] - slack) | (points > highs[number] + slack)).any(axis=1).sum()
            found.append(Finding("error", _where(entry), f"{outside} of its points lie outside it"))
        yield number, found, row


def check_totals(copc: CopcFile, table: NodeTable) -> list[Finding]:
    """Compare the header and the info record with what the points are."""
    found: list[Finding] = []
    header, info = copc.header, copc.info
    box = np.concatenate((np.fmin.reduce(table.lowest[:, :3]), np.fmax.reduce(table.highest[:, :3])))
    if np.abs(box - np.array(header.bbox)).max() > 2 * max(header.scale):
        found.append(Finding("error", "header", "its box is not the box of the points"))
    if tuple(table.return_counts.sum(axis=0, dtype=np.int64)[1:].tolist()) != header.las.points_by_return:
        found.append(Finding("error", "header", "its counts by return are not those of the points"))
    times = gps_range(table)
    if (info.gps_minimum, info.gps_maximum) != times:
        found.append(
            Finding(
                "warning",
                "COPC info",
                f"says GPS times {info.gps_minimum} to {info.gps_maximum}, the points have {times[0]} to {times[1]}",
            )
        )
    return found


def gps_range(table: NodeTable) -> tuple[float, float]:
    """Lowest and highest GPS time that is a number; 0 and 0 where none is."""
    column = table.column("GpsTime")
    low, high = np.fmin.reduce(table.lowest[:, column]), np.fmax.reduce(table.highest[:, column])
    return (float(low), float(high)) if np.isfinite(low) else (0.0, 0.0)
