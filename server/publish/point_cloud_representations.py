"""What a collection is told of its point cloud, and what is derived from it: 3D Tiles, a coverage. Made at publish and at every edit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pointclouds.cloud.cloud import Cloud, CloudTile, open_cloud
from pointclouds.cloud.summary import box84
from pointclouds.crs import crs_identifier, require_usable, vertical_name
from pointclouds.las.times import is_absolute
from pointclouds.mosaic.building import dated
from pointclouds.report import validation_report
from pointclouds.tilesets.plan import PLAN_FILE, write_point_plan
from providers.points.conformance import self_test
from server.publish.building import Built, Task
from server.publish.point_coverage import GROUND_CLASSES, add_point_coverage, point_coverage
from server.publish.reference_systems import bounds_in_crs84
from server.publish.scenes import TILESET_FOLDER
from server.registry.catalogue import Collection, Interval, Representation, RepresentationKind

if TYPE_CHECKING:
    import pyproj

Kind = RepresentationKind

_TESTED_TILES = 4


@dataclass(frozen=True, slots=True)
class DerivedOptions:
    """What to make of a point cloud beside itself; kept in its properties, because edits make it again.

    `colour` of a tileset, None for none; `height_offset` metres to add to z, None for what the CRS says.
    """

    colour: str | None = None
    height_offset: float | None = None

    def as_json(self) -> dict[str, Any]:
        """As properties keep them."""
        return {"colour": self.colour, "height_offset": self.height_offset}


def derived_options(present: Collection) -> DerivedOptions:
    """What was made of a published cloud, so that an edit makes it again; also of one that an earlier release has published."""
    kept = present.representations[Kind.POINT_CLOUD].properties.get("options")
    tileset = present.representations.get(Kind.TILESET_3D)
    if kept is not None:
        return DerivedOptions(kept.get("colour"), kept.get("height_offset"))
    if tileset is None or tileset.properties.get("content") != "points":
        return DerivedOptions()
    return DerivedOptions(str(tileset.properties.get("colour", "class")))


def describe(folder: Path, path: str, options: DerivedOptions, edits: Sequence[dict[str, Any]] = ()) -> Built:
    """The content of a generation whose point cloud stands at `path` in `folder`; nothing derived yet.

    Raises InputError kinds (a CRS in which the points lie nowhere), PointCloudError.
    """
    cloud = open_cloud(folder / path)
    crs = require_usable(cloud.crs, path)
    minx, miny, _, maxx, maxy, _ = cloud.box
    bounds_in_crs84((minx, miny, maxx, maxy), crs, path)
    properties = cloud_properties(cloud, crs)
    properties |= {"options": options.as_json(), "edits": list(edits)}
    properties["report"] = validation_report(cloud).as_json()
    properties["conformance"] = self_test(_sample(cloud)).passed
    return Built(
        bbox=tuple(box84(cloud.box, crs)),
        storage_crs=crs_identifier(crs),
        representations=[Representation(Kind.POINT_CLOUD, path, 0, 0, properties)],
        interval=interval_of(cloud),
        count=cloud.count,
    )


def _sample(cloud: Cloud) -> Cloud:
    """The cloud, or a few of its many tiles: what is tested are the classes of the API, which are the same for all, by dozens of questions."""
    step = -(-len(cloud.tiles) // _TESTED_TILES)
    return cloud if step <= 1 else Cloud(cloud.path, cloud.tiles[::step], None)


def cloud_properties(cloud: Cloud, crs: pyproj.CRS) -> dict[str, Any]:
    """The JSON values a POINT_CLOUD representation keeps (docs/reference/registry.md), from the index and the node tables."""
    classes: Counter[int] = Counter()
    for tile in cloud.tiles:
        classes.update(classes_of(cloud, tile))
    overview = cloud.overview
    encoding = {gps_time(cloud, tile) for tile in cloud.tiles}
    return {
        "count": cloud.count,
        "point_format": cloud.point_format,
        "dimensions": [one.name for one in cloud.dimensions],
        "classes": {str(code): count for code, count in sorted(classes.items())},
        "scale": list(cloud.scale),
        "offset": list(cloud.offset),
        "crs": crs_identifier(crs),
        "vertical_reference": vertical_name(crs),
        "mosaic": cloud.is_mosaic,
        "tiles": len(cloud.tiles),
        "overview": None
        if overview is None
        else {"count": overview.count, "spacing": overview.facts["spacing"]},
        "gps_time": encoding.pop() if len(encoding) == 1 else "mixed",
    }


def classes_of(cloud: Cloud, tile: CloudTile) -> dict[int, int]:
    """Points by class of a tile, from the index, or the node table where there is no index."""
    kept = tile.facts.get("classes")
    if kept is not None:
        return {int(code): int(count) for code, count in kept.items()}
    table = cloud.nodes(tile)
    counts = table.class_counts.sum(axis=0, dtype="int64")
    return {code: int(count) for code, count in zip(table.classes, counts, strict=True)}


def gps_time(cloud: Cloud, tile: CloudTile) -> str:
    """ "standard" where GPS times are dates, "week" where they are seconds of a week."""
    kept = tile.facts.get("gps_time")
    if kept is not None:
        return str(kept)
    return "standard" if is_absolute(cloud.file(tile).header.las.global_encoding) else "week"


def interval_of(cloud: Cloud) -> Interval | None:
    """From the first to the last moment that tiles name, by their GPS times where nobody said when they are of."""
    starts, ends = [], []
    for tile in cloud.tiles:
        one = tile if tile.start is not None else _dated(cloud, tile)
        if one.start is not None and one.end is not None:
            starts.append(one.start)
            ends.append(one.end)
    return Interval(min(starts), max(ends)) if starts else None


def _dated(cloud: Cloud, tile: CloudTile) -> CloudTile:
    return dated(replace(tile, facts={**tile.facts, "gps_time": gps_time(cloud, tile)}))


def add_derived(task: Task, built: Built, path: str, options: DerivedOptions) -> None:
    """What is made of a cloud when it is published: the description of its 3D Tiles, and its coverage.

    Raises PublishCancelled, InputError kinds and PointCloudError.
    """
    if options.colour is not None:
        task.stage("3dtiles")
        add_tileset(task.folder, path, built, options)
    task.stage("coverage")
    add_point_coverage(task, built, path)


def add_tileset(folder: Path, path: str, built: Built, options: DerivedOptions) -> None:
    """Describe the 3D Tiles that are made on request of the cloud. Raises PointCloudError kinds."""
    if options.colour is None:
        return
    summary = write_point_plan(
        open_cloud(folder / path), folder / TILESET_FOLDER, options.colour, options.height_offset
    )
    built.bbox = tuple(summary.bbox84)
    built.representations.append(
        Representation(Kind.TILESET_3D, f"{TILESET_FOLDER}/{PLAN_FILE}", 0, 0, summary.properties())
    )


def derived_again(
    folder: Path, path: str, built: Built, options: DerivedOptions, present: Collection
) -> list[Representation]:
    """All representations after an edit: the cloud and what follows from it made again, the others as they were."""
    add_tileset(folder, path, built, options)
    before = present.representations
    if Kind.COVERAGE in before and before[Kind.COVERAGE].properties.get("store") == "points":
        kept = before[Kind.COVERAGE].properties
        built.representations.append(
            point_coverage(folder, path, built.storage_crs, kept.get("ground_classes", GROUND_CLASSES))
        )
        if Kind.MAP in before:
            built.representations.append(replace(before[Kind.MAP], path=path))
    made = {one.kind for one in built.representations}
    if Kind.TILESET_3D in before and before[Kind.TILESET_3D].properties.get("content") == "points":
        made.add(Kind.TILESET_3D)
    return [*built.representations, *(one for kind, one in before.items() if kind not in made)]
