"""A COPC that is kept byte for byte: one pass that checks it and takes the statistics of its nodes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyproj

from pointclouds.build.frame import Cancelled, Progress, never, quiet
from pointclouds.build.summary import summarize_nodes
from pointclouds.build.workers import Workers
from pointclouds.cloud.nodes import nodes_path
from pointclouds.cloud.summary import PointCloudSummary
from pointclouds.copc.check import Finding, check_structure, check_totals, examine_nodes, node_statistics
from pointclouds.copc.reader import CopcFile
from pointclouds.crs import parse_crs
from pointclouds.errors import InvalidCopcError, OutputError

_TASK_POINTS: Final = 1_000_000
_PROCESS_POINTS: Final = 4_000_000
"""Fewer points are read sooner than a process is started."""
_SHOWN: Final = 3


@dataclass(frozen=True)
class ExamineTask:
    """Nodes of a file, by their numbers in `CopcFile.entries`."""

    path: Path
    numbers: range


Examined = tuple[list[Finding], list[tuple[int, Any]], int]


def examine(task: ExamineTask) -> Examined:
    """What is wrong with the points of some nodes, the nodes' rows of statistics, and the points. Raises PointCloudError kinds."""
    found: list[Finding] = []
    rows = []
    points = 0
    with CopcFile(task.path) as copc:
        for number, wrong, row in examine_nodes(copc, task.numbers, node_statistics(copc)):
            found += wrong
            rows.append((number, row))
            points += int(copc.entries[number]["point_count"])
    return found, rows, points


def take_over_copc(
    path: Path,
    *,
    crs: str | pyproj.CRS | None = None,
    processes: int = 0,
    report: Progress = quiet,
    cancelled: Cancelled = never,
) -> PointCloudSummary:
    """Check a COPC point by point against COPC 1.0, and write the table of its nodes beside it. The file stays as it is.

    Args:
        crs: that the file has to name, if given.
        processes: 0 for one a core.
        report: told "read" and how much of it is done.
        cancelled: asked now and then.

    Raises:
        InvalidCopcError: it breaks the standard, or names another CRS than the one given.
        UnreadablePointCloudError, CrsError, BuildCancelledError.
        OutputError: the table cannot be written.
    """
    _require_sound(path, check_structure(path))
    with CopcFile(path) as copc:
        _require_crs(copc, crs)
        statistics = node_statistics(copc)
        found: list[Finding] = []
        seen = 0

        def done(result: Examined) -> None:
            nonlocal seen
            findings, rows, points = result
            found.extend(findings)
            for number, row in rows:
                statistics.put(number, row)
            seen += points
            report("read", seen / copc.header.count)

        most = copc.header.count // _PROCESS_POINTS + 1
        with Workers(min(processes or os.cpu_count() or 1, most), cancelled) as workers:
            workers.run(examine, _tasks(copc), done)
        table = statistics.table(copc.entries, range(len(copc.entries)))
        _require_sound(path, found + check_totals(copc, table))
        summary = summarize_nodes(copc, table)
    try:
        table.save(nodes_path(path))
    except OSError as error:
        raise OutputError(
            f"the table of {path.name} cannot be written: {error}; free space or choose another place"
        ) from error
    return summary


def _require_crs(copc: CopcFile, crs: str | pyproj.CRS | None) -> None:
    if crs is None:
        return
    wanted = parse_crs(crs)
    if copc.crs is None or not copc.crs.equals(wanted, ignore_axis_order=True):
        raise InvalidCopcError(f"{copc.path.name} does not name {wanted.name}, so it has to be built anew")


def _require_sound(path: Path, findings: list[Finding]) -> None:
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        shown = "; ".join(f"{finding.where}: {finding.message}" for finding in errors[:_SHOWN])
        more = f" and {len(errors) - _SHOWN} more" if len(errors) > _SHOWN else ""
        raise InvalidCopcError(f"{path.name} breaks COPC 1.0: {shown}{more}")


def _tasks(copc: CopcFile) -> list[ExamineTask]:
    """All nodes, in ranges of about _TASK_POINTS points."""
    tasks, first, filled = [], 0, 0
    for number, count in enumerate(copc.entries["point_count"].tolist()):
        if filled and filled + count > _TASK_POINTS:
            tasks.append(ExamineTask(copc.path, range(first, number)))
            first, filled = number, 0
        filled += count
    tasks.append(ExamineTask(copc.path, range(first, len(copc.entries))))
    return tasks
