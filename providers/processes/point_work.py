"""Pipelines run: points of a cloud or a source handed to PDAL and CSF, what these make of them, and rasters of that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyproj

from pointclouds.errors import NothingLeftError, PipelineRefusedError
from pointclouds.pdal.blocks import Block
from pointclouds.pdal.child import Limits, never
from pointclouds.pdal.command import Pdal
from pointclouds.pdal.handover import (
    Layout,
    las_writer,
    layout_of,
    layout_of_cloud,
    only_own,
    write_cloud_points,
    write_source_points,
)
from pointclouds.pdal.parts import Job, run_job
from pointclouds.pdal.rasters import grid_over, raster_stages, raster_writer
from providers.processes.point_steps import Resources, Work, prepare, reach_of

if TYPE_CHECKING:
    from pointclouds.cloud.cloud import Cloud
    from pointclouds.cloud.query import PointQuery
    from pointclouds.sources import PointSource


@dataclass(frozen=True)
class Raster:
    """A raster to be made of the points: `kind` of pdal.rasters.RASTERS, `cell` in CRS units."""

    kind: str
    cell: float


@dataclass(frozen=True)
class Workshop:
    """What runs have in common. `folder` is where their files are; they are removed by whoever made it. `pdal` None: the work is
    done without."""

    pdal: Pdal | None
    limits: Limits
    most: int
    work: Work
    resources: Resources
    folder: Path
    cancelled: Callable[[], bool] = never


@dataclass(frozen=True)
class Made:
    """A result: a LAZ file, or a GeoTIFF. `count`: of the points that were handed over. `dropped`: extra dimensions left behind."""

    path: Path
    crs: pyproj.CRS
    count: int
    dropped: tuple[str, ...]


Box = tuple[float, float, float, float]
_ROOM = 4
"""How many times the points of a block may be handed over where it cannot be made smaller: those around it."""


def run_on_query(
    shop: Workshop,
    cloud: Cloud,
    query: PointQuery,
    output: Path,
    *,
    hidden: frozenset[str] = frozenset(),
    raster: Raster | None = None,
) -> Made | None:
    """Work on the points of a query; None where there are none.

    Raises:
        PipelineError and its kinds, QueryError, UnreadablePointCloudError, OutputError.
    """
    layout = layout_of_cloud(cloud, hidden)
    handed = shop.folder / f"{output.stem}-handed.las"
    count = write_cloud_points(cloud, query, layout, handed, shop.most)
    if count == 0:
        return None
    try:
        return _run(shop, layout, handed, count, _box_of(handed), output, raster)
    finally:
        handed.unlink(missing_ok=True)


def run_on_block(
    shop: Workshop, cloud: Cloud, block: Block, output: Path, *, raster: Raster | None = None
) -> Made | None:
    """Work on a block of a cloud, with the points around it, of which none is in the result; None where it has none of its own."""
    from pointclouds.cloud.query import PointQuery

    layout = layout_of_cloud(cloud)
    handed = shop.folder / f"{output.stem}-handed.las"
    box = block.around(reach_of(shop.work, cloud.crs))
    count = write_cloud_points(cloud, PointQuery(box=box), layout, handed, _ROOM * shop.most, block.owns)
    if count == 0:
        return None
    try:
        return _run(shop, layout, handed, count, _box_of(handed), output, raster, block)
    finally:
        handed.unlink(missing_ok=True)


def run_on_source(shop: Workshop, source: PointSource, output: Path) -> Made:
    """Work on all points of a source, which names a CRS. Raises as run_on_query does."""
    description = source.description
    if description.crs is None:
        raise PipelineRefusedError(f"{description.name} names no CRS; give it with --crs")
    layout = layout_of(description, description.crs)
    handed = shop.folder / f"{output.stem}-handed.las"
    try:
        count = write_source_points(source, layout, handed, shop.most)
        return _run(shop, layout, handed, count, _box_of(handed), output, None)
    finally:
        handed.unlink(missing_ok=True)


def _run(
    shop: Workshop,
    layout: Layout,
    handed: Path,
    count: int,
    box: Box,
    output: Path,
    raster: Raster | None,
    block: Block | None = None,
) -> Made:
    ready = prepare(shop.work, layout.crs, box, shop.resources, shop.folder)
    stages = ready.stages
    if raster is not None:
        if ready.moved:
            raise PipelineRefusedError(
                "a raster is made in the CRS of the point cloud; reproject first (chengtu points derive), then make the raster"
            )
        # The points around a block count for its cells; the grid ends where the block does.
        edges = (block.minx, block.miny, block.maxx, block.maxy) if block is not None else box
        writer = raster_writer(raster.kind, grid_over(*edges, raster.cell))
        stages = (*stages, *raster_stages(raster.kind))
    else:
        stages = (*stages, only_own()) if block is not None else stages
        writer = las_writer(layout, ready.crs, stages, coloured=ready.coloured)
    job = Job(stages, layout, ready.crs, writer, ready.coloured, ready.files)
    run_job(shop.pdal, job, handed, output, shop.limits, shop.cancelled)
    for path in ready.files.values():
        path.unlink(missing_ok=True)
    if raster is not None:
        _refuse_empty(raster, output)
    return Made(output, ready.crs, count, layout.dropped)


def _refuse_empty(raster: Raster, output: Path) -> None:
    """PDAL writes a raster of nothing where no point counts. Raises NothingLeftError."""
    import rasterio

    with rasterio.open(output) as made:
        empty = not any(made.read_masks(1, window=window).any() for _, window in made.block_windows(1))
    if empty:
        output.unlink()
        why = (
            "; it is made of points classified as ground: put the step ground before it"
            if raster.kind == "dtm"
            else ""
        )
        raise NothingLeftError(f"no cell of the {raster.kind} has a value{why}")


def _box_of(handed: Path) -> Box:
    """The box in the header of a file of ours."""
    from pointclouds.las.structures import LAS_14_HEADER_SIZE, unpack_header

    with handed.open("rb") as stream:
        header = unpack_header(stream.read(LAS_14_HEADER_SIZE))
    return header.minimum[0], header.minimum[1], header.maximum[0], header.maximum[1]
