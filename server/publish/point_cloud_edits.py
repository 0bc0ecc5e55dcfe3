"""Edits of a published point cloud: tiles added and removed, classes changed. Each is a new generation; the one before can be restored.

A generation's files never change. What an edit does not touch is a hard link to the file of the generation before; what it touches
is written anew, aside, and switched in by one transaction. Whoever edits holds the lock that publishing the collection takes, so
there is never a second edit at the same time, and a killed one leaves the collection as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pointclouds.cloud.cloud import INDEX_FILE, TILES_FOLDER, CloudTile, write_index, write_table
from pointclouds.mosaic.building import description_of, layout_of, tile_path
from pointclouds.mosaic.overview import Change
from pointclouds.mosaic.tiles import described_tile, free_name, plain_name
from server.publish.archives import ArchiveLimits
from server.publish.building import Task
from server.publish.errors import CrsError, OptionError
from server.publish.failures import check_free_space
from server.publish.formats import Family
from server.publish.inputs import find_inputs
from server.publish.option_checks import check_options, check_values
from server.publish.point_cloud_generations import CloudEdit, Editing, edited, link_file
from server.publish.point_cloud_sources import clear_point_errors, open_inputs
from server.publish.point_cloud_tiles import build_overview, build_tiles, warnings_of
from server.publish.request import (
    Cancelled,
    PublishRequest,
    ReadingOptions,
    Report,
    never_cancelled,
    report_nothing,
)

if TYPE_CHECKING:
    from pointclouds.build.layout import PointLayout
    from server.publish.point_cloud_sources import OpenInput
    from server.registry.registry import Registry
    from server.settings import Settings

MOST_NAMED = 20
"""Names of tiles in a sentence or an entry of the history; beyond it only their number is told."""


def add_files(
    registry: Registry,
    settings: Settings,
    tenant: str,
    collection: str,
    files: Sequence[Path],
    who: str,
    reading: ReadingOptions | None = None,
    *,
    replace_tiles: bool = False,
    report: Report = report_nothing,
    cancelled: Cancelled = never_cancelled,
) -> CloudEdit:
    """Add a tile of each file; a collection of one COPC becomes a mosaic by it. No other tile is read but for the overview.

    `replace_tiles`: a file with the name of a tile takes its place; without it that is refused. Raises PublishError and its kinds,
    UnknownCollection, PublishInProgress.
    """
    request = PublishRequest(
        files=tuple(files), tenant=tenant, id=collection, titles={}, reading=reading or ReadingOptions()
    )

    def change(editing: Editing) -> None:
        task = _task(editing, request, settings, report, cancelled)
        task.stage("reading")
        inputs = open_inputs(task)
        with clear_point_errors():
            before = _as_mosaic(editing)
            layout = layout_of(before[0].path)
            inputs = _in_crs_of(layout, inputs)
            leaving = _leaving(editing, inputs, before, replace_tiles)
            staying = [tile for tile in before if tile.name not in leaving]
            built = build_tiles(task, inputs, layout, {tile.name for tile in staying})
            tiles = [*_linked(editing, staying), *(one.tile for one in built)]
            boxes = [one.tile.box for one in built] + [tile.box for tile in before if tile.name in leaving]
            _write_mosaic(editing, task, layout, tiles, boxes)
        editing.warnings += _left_out(inputs, layout) + warnings_of(inputs, built)
        names = [one.tile.name for one in built]
        editing.note(
            "added",
            tiles=names[:MOST_NAMED],
            count=len(names),
            points=sum(one.tile.count for one in built),
            replaced=sorted(leaving)[:MOST_NAMED],
        )

    return edited(registry, settings, tenant, collection, who, change, report)


def remove_tiles(
    registry: Registry,
    settings: Settings,
    tenant: str,
    collection: str,
    names: Sequence[str],
    who: str,
    *,
    report: Report = report_nothing,
    cancelled: Cancelled = never_cancelled,
) -> CloudEdit:
    """Take tiles out of a mosaic, by name. Raises OptionError for one that is not there, or for all of them; as add_files does."""
    request = PublishRequest(files=(), tenant=tenant, id=collection, titles={})

    def change(editing: Editing) -> None:
        cloud = editing.cloud
        if not cloud.is_mosaic:
            raise OptionError(
                f"{tenant}.{collection} is one COPC, no mosaic, so it has no tiles to remove. `chengtu unpublish` takes it away."
            )
        wanted = set(names)
        known = {tile.name for tile in cloud.tiles}
        unknown = sorted(wanted - known)
        if unknown:
            raise OptionError(
                f"{tenant}.{collection} has no tile {', '.join(unknown[:10])}; `chengtu points list {tenant}.{collection}` shows them."
            )
        if wanted == known:
            raise OptionError(
                f"These are all tiles of {tenant}.{collection}. One has to stay; `chengtu unpublish` takes the collection away."
            )
        task = _task(editing, request, settings, report, cancelled)
        with clear_point_errors():
            layout = layout_of(cloud.tiles[0].path)
            leaving = [tile for tile in cloud.tiles if tile.name in wanted]
            tiles = _linked(editing, [tile for tile in cloud.tiles if tile.name not in wanted])
            _write_mosaic(editing, task, layout, tiles, [tile.box for tile in leaving])
        editing.note(
            "removed",
            tiles=sorted(wanted)[:MOST_NAMED],
            count=len(leaving),
            points=sum(tile.count for tile in leaving),
        )

    return edited(registry, settings, tenant, collection, who, change, report)


def _task(
    editing: Editing, request: PublishRequest, settings: Settings, report: Report, cancelled: Cancelled
) -> Task:
    """The edit as a publish under way, its files checked as those of a publish are."""
    if not request.files:
        return Task(request, (), editing.folder, editing.workspace, settings, report, cancelled)
    check_values(request)
    limits = settings.publish
    inputs = find_inputs(
        request.files,
        editing.workspace,
        ArchiveLimits(limits.max_uncompressed_bytes, limits.max_compression_ratio, limits.max_archive_files),
        format_key=request.reading.format,
    )
    if inputs[0].format.family is not Family.POINT_CLOUD:
        raise OptionError(
            f"{inputs[0].name} is {inputs[0].format.title}; tiles of a point cloud are point clouds."
        )
    check_options(request, inputs)
    check_free_space(settings.home, [item.path for item in inputs])
    return Task(request, inputs, editing.folder, editing.workspace, settings, report, cancelled)


def _as_mosaic(editing: Editing) -> list[CloudTile]:
    """The tiles there are; of a single COPC that one, by the name that it gets as a tile."""
    cloud = editing.cloud
    if cloud.is_mosaic:
        return list(cloud.tiles)
    only = cloud.tiles[0]
    cloud.nodes(only)
    name = free_name(editing.present.id, ())
    interval = editing.present.interval
    start, end = (None, None) if interval is None else (interval.start, interval.end)
    source = editing.properties.get("source", only.path.name)
    return [described_tile(name, only.path, {"source": source}, start, end)]


def _in_crs_of(layout: PointLayout, inputs: Sequence[OpenInput]) -> list[OpenInput]:
    """The files in the mosaic's CRS: those in another are reprojected while they are read.

    Raises CrsError where a file names no CRS, there is no sound way, or its heights count from elsewhere.
    """
    from pointclouds.formats.reprojecting import reproject

    moved = []
    for item in inputs:
        with clear_point_errors():
            source = reproject(item.source, layout.crs)
        found = source.description.crs
        if found is None or not found.equals(layout.crs, ignore_axis_order=True):
            found_name = "no CRS" if found is None else found.name
            raise CrsError(
                f"{item.name} is in {found_name}, the mosaic in {layout.crs.name}. Heights that count from elsewhere are not mixed: "
                "give --crs if the file is mislabelled, or publish it as a collection of its own."
            )
        moved.append(item if source is item.source else replace(item, source=source, original=None))
    return moved


def _leaving(
    editing: Editing, inputs: Sequence[OpenInput], before: Sequence[CloudTile], replace_tiles: bool
) -> set[str]:
    """Names of tiles that files take the place of. Raises OptionError where that was not asked for, or nothing would stay as it is."""
    known = {tile.name for tile in before}
    meant = {plain_name(item.name) for item in inputs} & known
    if meant and not replace_tiles:
        shown = ", ".join(sorted(meant)[:10])
        raise OptionError(
            f"{editing.present.qualified_id} has a tile {shown} already. Give --replace to put the file in its place, or rename the file."
        )
    return meant


def _left_out(inputs: Sequence[OpenInput], layout: PointLayout) -> list[str]:
    """A sentence for every dimension that the files have and the mosaic has no room for."""
    kept = set(layout.dtype.names or ())
    lost = {name for item in inputs for name in item.source.description.dtype.names or () if name not in kept}
    return [
        f"The dimension {name} was left out: the tiles of this mosaic do not have it."
        for name in sorted(lost)
    ]


def _linked(editing: Editing, tiles: Sequence[CloudTile]) -> list[CloudTile]:
    """The tiles in the new generation, by links to their files."""
    folder = editing.folder / TILES_FOLDER
    folder.mkdir(exist_ok=True)
    linked = []
    for tile in tiles:
        path = tile_path(folder, tile.name)
        link_file(tile.path, path)
        linked.append(_at(tile, path))
    return linked


def _at(tile: CloudTile, path: Path) -> CloudTile:
    return CloudTile(tile.name, path, tile.count, tile.box, tile.start, tile.end, tile.gps, dict(tile.facts))


def _write_mosaic(
    editing: Editing,
    task: Task,
    layout: PointLayout,
    tiles: Sequence[CloudTile],
    boxes: Sequence[tuple[float, float, float, float, float, float]],
) -> None:
    """The overview and the index of the new generation."""
    ordered = sorted(tiles, key=lambda tile: tile.name)
    before = editing.cloud.overview
    change = None if before is None else Change(before, tuple(boxes))
    overview = build_overview(task, ordered, change)
    write_index(editing.folder / INDEX_FILE, description_of(layout), [*ordered, overview])
    write_table(editing.folder / INDEX_FILE, ordered, editing.cloud)
    editing.path = INDEX_FILE
