"""Publish point clouds: one COPC, or a mosaic of one for each file; the description of their 3D Tiles, and a coverage of them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from pointclouds.build.build import build_copc
from pointclouds.build.layout import common_layout
from pointclouds.cloud.cloud import INDEX_FILE, TILES_FOLDER, write_index, write_table
from pointclouds.errors import InvalidCopcError
from pointclouds.mosaic.building import TileJob, build_tile, description_of
from pointclouds.tilesets.colours import ColourMode
from server.publish.building import Built, Task
from server.publish.errors import OptionError
from server.publish.point_cloud_representations import DerivedOptions, add_derived, describe
from server.publish.point_cloud_sources import OpenInput, clear_point_errors, open_inputs
from server.publish.point_cloud_tiles import (
    STAGE,
    build_overview,
    build_tiles,
    kept_workspace,
    remove_others,
    shortened,
    warnings_of,
)
from server.publish.point_pipeline import piped_inputs
from server.publish.request import SceneOptions
from server.registry.catalogue import Interval

POINT_CLOUD_FILE = "pointcloud.copc.laz"
MOSAIC_FILES = 16
"""From so many files on, each becomes a tile of a mosaic, unless the publish says otherwise."""
MOSAIC_POINTS = 500_000_000
"""Files with so many points together become a mosaic too: a change of one of them then rewrites no other."""
_SHARES = {"read": (0.0, 0.4), "octree": (0.4, 0.1), "write": (0.5, 0.5)}


def _colour(name: str) -> ColourMode:
    for known in get_args(ColourMode):
        if name == known:
            colour: ColourMode = known
            return colour
    raise OptionError(f"Points cannot be coloured by {name!r}. Allowed: {', '.join(get_args(ColourMode))}.")


def _height_offset(vertical: str | float | None) -> float | None:
    """Metres to add to z to make it ellipsoidal, None for what the CRS says. Raises OptionError."""
    if isinstance(vertical, int | float):
        return float(vertical)
    if vertical not in (None, "automatic", "ellipsoidal"):
        raise OptionError(
            f"Heights of a point cloud cannot count from {vertical!r}. Allowed: automatic (what its CRS says, EGM96 where it "
            "has no grid), ellipsoidal, or a number of metres to add (--height-reference)."
        )
    return 0.0 if vertical == "ellipsoidal" else None


def check_point_options(scene: SceneOptions) -> None:
    """Refuse what cannot be made of a point cloud, before the long work. Raises OptionError."""
    _colour(scene.point_colour)
    _height_offset(scene.vertical)


def build_point_cloud(task: Task) -> Built:
    """Write the inputs as one COPC or a mosaic. Raises InputError and its kinds, PublishCancelled, and PointCloudError."""
    task.stage("reading")
    inputs = piped_inputs(task, open_inputs(task))
    with clear_point_errors():
        path, warnings = (
            _build_mosaic(task, inputs) if _wants_mosaic(task, inputs) else _build_one(task, inputs)
        )
        scene = task.request.scene
        options = DerivedOptions(
            _colour(scene.point_colour) if scene.point_tiles else None, _height_offset(scene.vertical)
        )
        built = describe(task.folder, path, options)
        built.warnings = warnings
        interval = _interval([item.instant for item in inputs])
        built.interval = interval or built.interval
        add_derived(task, built, path, options)
    return built


def _wants_mosaic(task: Task, inputs: Sequence[OpenInput]) -> bool:
    asked = task.request.points.mosaic
    if asked is not None:
        return asked
    points = sum(item.source.description.count or 0 for item in inputs)
    return len(inputs) >= MOSAIC_FILES or (len(inputs) > 1 and points > MOSAIC_POINTS)


def _interval(instants: Sequence[str | None]) -> Interval | None:
    """From the first to the last of the times that were said (--time); None where none was."""
    said = [instant for instant in instants if instant is not None]
    return Interval(min(said), max(said)) if said else None


def _build_mosaic(task: Task, inputs: Sequence[OpenInput]) -> tuple[str, list[str]]:
    layout = common_layout([item.source for item in inputs])
    built = build_tiles(task, inputs, layout)
    tiles = [one.tile for one in built]
    overview = build_overview(task, tiles)
    remove_others(task.folder / TILES_FOLDER, [*tiles, overview])
    write_index(task.folder / INDEX_FILE, description_of(layout), [*tiles, overview])
    write_table(task.folder / INDEX_FILE, tiles)
    return INDEX_FILE, warnings_of(inputs, built)


def _build_one(task: Task, inputs: Sequence[OpenInput]) -> tuple[str, list[str]]:
    """All points in one COPC; a single input that is COPC already is kept byte for byte."""
    out = task.folder / POINT_CLOUD_FILE
    settings = task.settings.points
    if len(inputs) == 1 and inputs[0].original is not None and _is_copc(inputs[0].original):
        task.stage(STAGE)
        job = TileJob(
            name="pointcloud",
            source=inputs[0].source,
            original=inputs[0].original,
            out=out,
            layout=common_layout([inputs[0].source]),
            workspace=kept_workspace(task, "pointcloud"),
            memory_bytes=settings.build_memory_bytes,
            leaf_points=settings.leaf_points,
            grid_cells=1 << settings.grid_depth,
            processes=settings.build_processes,
        )
        return POINT_CLOUD_FILE, warnings_of(inputs, [build_tile(job, task.cancelled)])

    def progress(stage: str, fraction: float) -> None:
        start, share = _SHARES.get(stage, (0.0, 1.0))
        task.stage(STAGE, start + share * fraction)

    workspace = kept_workspace(task, "pointcloud")
    build_copc(
        [item.source for item in inputs],
        out,
        memory_bytes=settings.build_memory_bytes,
        processes=settings.build_processes,
        leaf_points=settings.leaf_points,
        grid_cells=1 << settings.grid_depth,
        report=progress,
        cancelled=task.cancelled,
        workspace=workspace,
    )
    shutil.rmtree(workspace, ignore_errors=True)
    return POINT_CLOUD_FILE, _warnings(inputs)


def _is_copc(path: Path) -> bool:
    from pointclouds.copc.reader import read_info

    try:
        read_info(path)
    except InvalidCopcError:
        return False
    return True


def _warnings(inputs: Sequence[OpenInput]) -> list[str]:
    found = []
    for item in inputs:
        description = item.source.description
        found += [f"{item.name}: the dimension {name} was left out." for name in description.dropped]
        found += [f"{item.name}: {note}." for note in description.notes]
    return shortened(found)
