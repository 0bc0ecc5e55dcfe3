"""Points of any sources -> one COPC 1.0 file and its table of nodes, in memory or out of core.

docs/decisions/0006-copc-writer.md and 0028-building-copc-out-of-core.md say what was measured.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import pyproj

from pointclouds.build.assembly import FileFacts, write_file
from pointclouds.build.division import require_node_of
from pointclouds.build.encoding import EncodedNodes, encode_nodes
from pointclouds.build.frame import Cancelled, Frame, Progress, never, quiet, stored_box
from pointclouds.build.layout import PointLayout, common_layout, conformed
from pointclouds.build.out_of_core import build_out_of_core, limits_for
from pointclouds.cloud.summary import PointCloudSummary, box84
from pointclouds.copc.octree import GRID_DEPTH, LEAF_POINTS, Cube, OctreeRules, build_octree
from pointclouds.errors import BuildCancelledError, EmptyPointCloudError, UnreadablePointCloudError
from pointclouds.las.layout import Records
from pointclouds.las.reader import CHUNK_POINTS
from pointclouds.sources import Box3, PointSource, SourceDescription

MEMORY_BYTES: Final = 1 << 30
GRID_CELLS: Final = 1 << GRID_DEPTH
GRIDS: Final = {128: 7, 64: 6, 32: 5}
"""Cells along a node's edge that can be chosen, and their log2."""
_OWN_BYTES: Final = 128 << 20
"""Memory of this process beside the points."""
_INDEX_BYTES: Final = 60
"""Bytes a point of codes and orders, beside twice its record."""


def build_copc(
    sources: Sequence[PointSource],
    out: Path,
    *,
    crs: str | pyproj.CRS | None = None,
    layout: PointLayout | None = None,
    memory_bytes: int = MEMORY_BYTES,
    processes: int = 0,
    leaf_points: int = LEAF_POINTS,
    grid_cells: int = GRID_CELLS,
    report: Progress = quiet,
    cancelled: Cancelled = never,
    workspace: Path | None = None,
) -> PointCloudSummary:
    """Write one COPC of all points of all sources, and the table of its nodes beside it.

    Both appear under their names when they are complete. Points that fit in memory are built there; more are sorted on the disk
    (about 34 bytes a point of room beside the file itself), into the same octree.

    Args:
        crs: in place of what the sources name.
        layout: of the records; None for the one in which all sources can be kept.
        memory_bytes: of all processes together.
        processes: that build out of core; 0 for one a core.
        leaf_points: a node of no more points is not divided.
        grid_cells: 128, 64 or 32 cells along a node's edge; a node above the leaves shows one point in each.
        report: told the stage ("read", "octree", "write") and how much of it is done (0 to 1).
        cancelled: asked now and then.
        workspace: folder of its own for what is finished of a build out of core. The same call after this process was killed goes on
            from it. It is removed when the build ends otherwise. None: a folder beside `out`.

    Raises:
        UnreadablePointCloudError, EmptyPointCloudError, CrsError, OutputError, BuildCancelledError.
        ValueError: another number of cells.
    """
    layout = layout or common_layout(sources, crs)
    rules = OctreeRules(leaf_points, grid_depth=_grid_depth(grid_cells))
    alike = [conformed(source, layout) for source in sources]
    facts = _facts(alike, layout, rules)
    processes = processes or os.cpu_count() or 1
    total = facts.description.count
    bytes_needed = (total or 0) * (2 * layout.dtype.itemsize + _INDEX_BYTES) + _OWN_BYTES
    if total is not None and bytes_needed <= memory_bytes:
        return _build_in_memory(alike, out, facts, report, cancelled)
    if facts.description.box is not None:
        # A CRS that cannot be theirs is told now, not after hours.
        box84(facts.description.box, layout.crs)
    limits = limits_for(memory_bytes, processes, facts.frame)
    return build_out_of_core(alike, out, facts, limits, report, cancelled, workspace)


def _grid_depth(cells: int) -> int:
    if cells not in GRIDS:
        raise ValueError(f"a node has {', '.join(map(str, GRIDS))} cells along its edge, not {cells}")
    return GRIDS[cells]


def _facts(sources: Sequence[PointSource], layout: PointLayout, rules: OctreeRules) -> FileFacts:
    """What the file says of itself: of the first source, and of all where they have to agree."""
    all_of = [source.description for source in sources]
    counts = [one.count for one in all_of]
    boxes = [one.box for one in all_of if one.box is not None]
    box: Box3 | None = None
    if len(boxes) == len(all_of):
        low, high = np.array(boxes)[:, :3].min(axis=0), np.array(boxes)[:, 3:].max(axis=0)
        (minx, miny, minz), (maxx, maxy, maxz) = low.tolist(), high.tolist()
        box = (minx, miny, minz, maxx, maxy, maxz)
    description: SourceDescription = replace(
        all_of[0],
        count=None if None in counts else sum(count or 0 for count in counts),
        box=box,
        global_encoding=layout.global_encoding,
        dropped=tuple(dict.fromkeys(name for one in all_of for name in one.dropped)),
    )
    frame = Frame(layout.point_format, layout.dtype, layout.scale, layout.offset, layout.extra_structs, rules)
    return FileFacts(frame, layout.crs, description)


def _build_in_memory(
    sources: Sequence[PointSource], out: Path, facts: FileFacts, report: Progress, cancelled: Cancelled
) -> PointCloudSummary:
    frame = facts.frame

    def step(stage: str, fraction: float) -> None:
        if cancelled():
            raise BuildCancelledError(f"the build of {out.name} was cancelled; nothing was written")
        report(stage, fraction)

    records = _gather(sources, facts, step)
    step("octree", 0.0)
    cube = frame.cube(*stored_box(records))
    rules = frame.rules
    tree = build_octree(
        frame.codes(records, cube),
        frame.depth(cube),
        leaf_points=rules.leaf_points,
        smallest_child=rules.smallest_child,
        grid_depth=rules.grid_depth,
    )
    largest = int(np.diff(tree.starts).argmax())
    require_node_of(int(np.diff(tree.starts)[largest]), cube, int(tree.keys[largest, 0]))
    step("octree", 1.0)

    def chunks(stream: BinaryIO) -> tuple[Cube, EncodedNodes]:
        return cube, encode_nodes(stream, frame, records, tree, lambda part: step("write", part))

    return write_file(out, facts, chunks)


def _gather(sources: Sequence[PointSource], facts: FileFacts, report: Progress) -> Records:
    """All points of all sources."""
    total = facts.description.count or 0
    records = np.empty(total, facts.frame.dtype)
    filled = 0
    for source in sources:
        for chunk in source.chunks(CHUNK_POINTS):
            if filled + len(chunk) > total:
                raise UnreadablePointCloudError(
                    f"{source.description.name} gives more points than the {source.description.count} it says"
                )
            records[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
            report("read", filled / total)
    if not filled:
        raise EmptyPointCloudError("the sources hold no points; there is nothing to publish")
    return records[:filled]
