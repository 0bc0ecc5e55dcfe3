"""Whole jobs of point clouds, each in a process of its own: `python -m benchmarks.points_jobs NAME INPUT FOLDER`.

    copc         LAZ to COPC with its table of nodes, as publishing does it; INPUT may be several files, joined by commas
    fine         the same with more points in coarse nodes and smaller leaves
    small        the same under a memory bound that makes it go out of core
    tiles        every node of a COPC as a .glb, as requests make it
    rewrite      LAZ to LAZ by laspy with the parallel codec: decoding and encoding alone
    select       points of a COPC in a box to LAZ by laspy's own CopcReader; FOLDER/box.json holds the box

Prints what was made as JSON on the last line. CPU time and memory are measured from outside.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROCESSES = 2
SMALL_MEMORY = 512 << 20


def copc(
    source: Path, folder: Path, memory: int = 24 << 30, grid_cells: int = 64, leaf_points: int = 100_000
) -> dict[str, Any]:
    """LAZ to COPC, in memory, with the octree that publishing makes unless settings say otherwise."""
    from pointclouds.build.build import build_copc
    from pointclouds.formats.opening import open_sources

    sources = open_sources([Path(name) for name in str(source).split(",")])
    out = folder / "pointcloud.copc.laz"
    made = build_copc(
        sources,
        out,
        memory_bytes=memory,
        processes=PROCESSES,
        leaf_points=leaf_points,
        grid_cells=grid_cells,
        workspace=folder / "work",
    )
    return {"count": made.count, "bytes": made.bytes, "nodes": made.nodes}


def fine(source: Path, folder: Path) -> dict[str, Any]:
    """The same with a finer grid and smaller leaves."""
    return copc(source, folder, grid_cells=128, leaf_points=50_000)


def small(source: Path, folder: Path) -> dict[str, Any]:
    """LAZ to COPC, out of core."""
    return copc(source, folder, SMALL_MEMORY)


def tiles(source: Path, folder: Path) -> dict[str, Any]:
    """Every node of a COPC to .glb, gzipped as it is kept."""
    from isal import igzip

    from pointclouds.cloud.cloud import open_cloud
    from pointclouds.tilesets.attributes import DEFAULT
    from pointclouds.tilesets.octree import Address
    from pointclouds.tilesets.plan import PLAN_FILE, write_point_plan
    from pointclouds.tilesets.tileset import Look, open_point_tileset

    cloud = open_cloud(source)
    write_point_plan(cloud, folder / "3dtiles")
    tileset = open_point_tileset(source, folder / "3dtiles" / PLAN_FILE)
    tile, look = cloud.tiles[0], Look("class", DEFAULT)
    size = packed = points = 0
    for entry in cloud.nodes(tile).entries:
        if entry["point_count"] > 0:
            address = Address(int(entry["level"]), int(entry["x"]), int(entry["y"]), int(entry["z"]))
            body = tileset.content(tile, address, look, None) or b""
            size, packed = size + len(body), packed + len(igzip.compress(body, 1))
            points += int(entry["point_count"])
    return {"count": points, "bytes": size, "gzip_bytes": packed}


def rewrite(source: Path, folder: Path) -> dict[str, Any]:
    """LAZ to LAZ by laspy."""
    import laspy

    out = folder / "copy.laz"
    with laspy.open(source) as reader, laspy.open(out, mode="w", header=reader.header) as writer:
        for points in reader.chunk_iterator(2_000_000):
            writer.write_points(points)
    return {"count": reader.header.point_count, "bytes": out.stat().st_size}


def select(source: Path, folder: Path) -> dict[str, Any]:
    """A box, or an overview, of a COPC to LAZ by laspy."""
    import laspy

    asked = json.loads((folder.parent / "box.json").read_text())
    with laspy.CopcReader.open(source) as reader:
        bounds = laspy.copc.Bounds(asked["low"], asked["high"]) if "low" in asked else None
        points = reader.query(bounds, resolution=asked.get("resolution"))
        used = _cpu()
        header = laspy.LasHeader(point_format=reader.header.point_format, version="1.4")
        header.scales, header.offsets = reader.header.scales, reader.header.offsets
        with laspy.open(folder / "found.laz", mode="w", header=header) as writer:
            writer.write_points(points)
    return {"count": len(points), "bytes": (folder / "found.laz").stat().st_size, "query_seconds": used}


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


JOBS: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
    "copc": copc,
    "fine": fine,
    "small": small,
    "tiles": tiles,
    "rewrite": rewrite,
    "select": select,
}


def main(name: str, source: Path, folder: Path) -> None:
    """Run one job into an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(json.dumps(JOBS[name](source, folder)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
