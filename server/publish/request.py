"""What is to be published, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from server.publish.instance_options import InstanceOptions
from server.publish.placement_options import PlacementOptions
from server.publish.point_cloud_options import PointCloudOptions
from server.publish.underground_options import UndergroundOptions
from server.registry.catalogue import Access, Collection, Interval, RepresentationKind

STAGES = (
    "checking",
    "reading",
    "features",
    "tiles",
    "coverage",
    "pointcloud",
    "3dtiles",
    "terrain",
    "extra",
    "syncing",
    "switching",
)
"""The stages that `report` hears of, in the order in which they happen; one that has nothing to do is left out."""

Report = Callable[[str, float], None]
"""Hears the stage (one of `STAGES`) and how much of that stage is done, 0 to 1."""

Cancelled = Callable[[], bool]
"""Says whether whoever started the publish wants it stopped."""

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingOptions:
    """How the files are to be understood. Every default means: as the file itself says.

    `format` is a key of `server.publish.formats.FORMATS`. `crs` supplies or overrides the CRS, it does not reproject.
    `layer` is needed where a file has several. `id_field` becomes the feature id. `tags` are OpenStreetMap keys to make
    fields of. `where` is an OGR SQL condition. `keep_fields` limits the fields. `repair` makes invalid polygons valid
    where they would be refused. Of rasters and point clouds, `time` says when they are of (`server.publish.raster_times`: a time, a
    pattern of file names, or, of rasters, "tag"), `nodata` which value is none, and `on_top` which of overlapping files is seen: the "newest" (the
    default), the "first" or the "last" given.
    """

    format: str | None = None
    crs: str | None = None
    layer: str | None = None
    encoding: str | None = None
    x_column: str | None = None
    y_column: str | None = None
    wkt_column: str | None = None
    id_field: str | None = None
    time_field: str | None = None
    tags: tuple[str, ...] = ()
    where: str | None = None
    keep_fields: tuple[str, ...] | None = None
    repair: bool = False
    time: str | None = None
    nodata: float | None = None
    on_top: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneOptions:
    """What to make of a collection in three dimensions. Fields hold metres.

    `height_field` is the height of a building above its ground; where it is absent or null, `levels_field` times 3.2 m;
    where that is too, `default_height`; a footprint with none of them stays out of the 3D tileset. `min_height_field` is the
    height above its ground at which it begins (a part of a building over a passage). `base_field` is the
    height of the ground at a feature, or `ground` a raster file to take it from, else 0. `diameter_field` (or
    `default_diameter`) makes tubes of lines, `depth_field` says how far below ground their axes are (else the lines' own
    z). `vertical` says what these heights count from: "ellipsoidal", "egm96", "automatic" (what the CRS says), or a
    number of metres to add. `terrain` makes a terrain of a raster; its `water` is where it has no heights ("nodata"), what is not
    above a height ("0.5"), or in a file or collection of polygons or a raster; `terrain_levels` is the deepest level of tiles that
    are written rather than made on request (None: two minutes' worth). `point_tiles` a tileset of a point cloud, whose points
    are coloured by `point_colour` ("class", "height", "rgb", "intensity"). `compression` of the meshes in a 3D tileset is "none" or
    "draco". `underground` is about what lies under the ground,
    `instances` about points that become trees and street furniture, `placement` about models drawn in coordinates of their own.
    """

    height_field: str | None = None
    levels_field: str | None = None
    default_height: float | None = None
    min_height_field: str | None = None
    base_field: str | None = None
    ground: Path | None = None
    diameter_field: str | None = None
    default_diameter: float | None = None
    depth_field: str | None = None
    vertical: str | float | None = None
    terrain: bool = False
    water: str | None = None
    terrain_levels: int | None = None
    point_tiles: bool = True
    point_colour: str = "class"
    compression: str = "none"
    underground: UndergroundOptions = field(default_factory=UndergroundOptions)
    instances: InstanceOptions = field(default_factory=InstanceOptions)
    placement: PlacementOptions = field(default_factory=PlacementOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class EditingOptions:
    """How features may be edited over HTTP once they are published.

    `if_match_required`: edits that do not say which version they saw are refused (428). `create_by_put`: a PUT to an id that
    is free creates the feature. `constraints` has by field name what its values have to keep, in words of JSON Schema and
    `required` and `unique` (`providers.features.edits.constraints`); the data published have to keep them too.
    """

    editable: bool = True
    if_match_required: bool = True
    create_by_put: bool = False
    constraints: Mapping[str, Mapping[str, Any]] = _NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraRepresentation:
    """What a `RepresentationBuilder` made. `path` is relative to the generation's folder."""

    kind: RepresentationKind
    path: str
    properties: Mapping[str, Any] = _NOTHING
    interval: Interval | None = None
    warnings: tuple[str, ...] = ()


RepresentationBuilder = Callable[[Path], ExtraRepresentation]
"""Gets the folder in which the generation is being built and writes one more representation into it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishRequest:
    """One dataset to publish. Several files of one kind and schema are merged.

    `titles` and `descriptions` have keys "en" and "zh"; at least one title is needed. `style` is the name of a style in
    config/styles, or a style itself; None for the default of the geometry type. `field_titles` are names to show.
    `tile_fields` are the fields that vector tiles carry, by zooms (`providers.tiles.choice`).
    `access` None keeps that of a replaced collection; a new one is public. `provenance` says of what a derived collection was made,
    and how (`server.publish.point_pipeline.provenance`).
    """

    files: tuple[Path, ...]
    tenant: str
    id: str
    titles: Mapping[str, str]
    descriptions: Mapping[str, str] = _NOTHING
    keywords: tuple[str, ...] = ()
    attribution: str = ""
    licence: str = ""
    licence_url: str | None = None
    simulated: bool = False
    access: Access | None = None
    replace: bool = False
    style: str | Mapping[str, Any] | None = None
    field_titles: Mapping[str, str] = _NOTHING
    reading: ReadingOptions = field(default_factory=ReadingOptions)
    scene: SceneOptions = field(default_factory=SceneOptions)
    editing: EditingOptions = field(default_factory=EditingOptions)
    points: PointCloudOptions = field(default_factory=PointCloudOptions)
    tile_fields: Mapping[str, list[str]] = _NOTHING
    extra_representations: tuple[RepresentationBuilder, ...] = ()
    provenance: Mapping[str, Any] = _NOTHING


@dataclass(frozen=True, slots=True)
class PublishResult:
    """What was published: the collection as the registry now has it, and what its publisher should know.

    `count` is that of features or points, None for a raster. Each warning is one sentence.
    """

    collection: Collection
    generation: int
    kinds: tuple[RepresentationKind, ...]
    count: int | None
    warnings: tuple[str, ...]
    seconds: float


def report_nothing(_stage: str, _fraction: float) -> None:
    """A `Report` for those who do not watch."""


def never_cancelled() -> bool:
    """A `Cancelled` for what cannot be stopped."""
    return False
