"""Publish LAS, LAZ and COPC: a COPC, and a tileset of its points."""

from __future__ import annotations

from typing import Literal, get_args

from pointclouds.cloud.summary import PointCloudSummary
from pointclouds.copc.writer import write_copc
from pointclouds.errors import CrsError as PointCloudCrsError
from pointclouds.errors import EmptyPointCloudError, UnreadablePointCloudError
from server.publish.building import Built, Task
from server.publish.errors import CrsError, DamagedFile, EmptyDataset, OptionError
from server.publish.reference_systems import bounds_in_crs84, parse_crs
from server.publish.request import SceneOptions
from server.publish.scenes import TILESET_FILE, TILESET_FOLDER
from server.registry.catalogue import Representation, RepresentationKind

POINT_CLOUD_FILE = "pointcloud.copc.laz"
_SHARES = {"read": (0.0, 0.4), "octree": (0.4, 0.1), "write": (0.5, 0.5)}


Colour = Literal["class", "height", "rgb", "intensity"]


def _colour(name: str) -> Colour:
    for known in get_args(Colour):
        if name == known:
            colour: Colour = known
            return colour
    raise OptionError(f"Points cannot be coloured by {name!r}. Allowed: {', '.join(get_args(Colour))}.")


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
    """Write the inputs as one COPC. Raises InputError and its kinds, and PointCloudError."""
    task.stage("reading")
    summary = _write(task)
    minx, miny, _, maxx, maxy, _ = summary.bbox
    name = task.inputs[0].name
    bounds_in_crs84((minx, miny, maxx, maxy), summary.crs, name)
    built = Built(
        bbox=tuple(summary.bbox84),
        storage_crs=summary.crs_identifier,
        representations=[
            Representation(RepresentationKind.POINT_CLOUD, POINT_CLOUD_FILE, 0, 0, summary.properties())
        ],
        count=summary.count,
        warnings=[f"{name}: the dimension {dropped} was left out." for dropped in summary.dropped],
    )
    if task.request.scene.point_tiles:
        _add_tileset(task, built)
    return built


def _write(task: Task) -> PointCloudSummary:
    asked = task.request.reading.crs

    def progress(stage: str, fraction: float) -> None:
        start, share = _SHARES.get(stage, (0.0, 1.0))
        task.stage("pointcloud", start + share * fraction)

    try:
        return write_copc(
            [item.path for item in task.inputs],
            task.folder / POINT_CLOUD_FILE,
            crs=parse_crs(asked) if asked else None,
            report=progress,
        )
    except PointCloudCrsError as error:
        raise CrsError(str(error)) from error
    except EmptyPointCloudError as error:
        raise EmptyDataset(str(error)) from error
    except UnreadablePointCloudError as error:
        raise DamagedFile(str(error)) from error


def _add_tileset(task: Task, built: Built) -> None:
    from pointclouds.tilesets.build import build_point_tileset

    scene = task.request.scene
    task.stage("3dtiles")
    summary = build_point_tileset(
        task.folder / POINT_CLOUD_FILE,
        task.folder / TILESET_FOLDER,
        colour=_colour(scene.point_colour),
        height_offset=_height_offset(scene.vertical),
        report=lambda _stage, fraction: task.stage("3dtiles", fraction),
    )
    built.bbox = tuple(summary.bbox84)
    built.representations.append(
        Representation(RepresentationKind.TILESET_3D, TILESET_FILE, 0, 0, summary.properties())
    )
