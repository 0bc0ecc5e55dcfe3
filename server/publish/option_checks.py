"""Refuses options that would do nothing, before anything is built.

An option that is for another kind of data, or that needs another option, is a misunderstanding: whoever gave it expects
something that would not come. `OPTION_USES` says of every option what it is for, `check_values` is asked before the files
are looked at, `check_options` when their format is known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from server.publish.errors import OptionError
from server.publish.formats import FORMATS, Family
from server.publish.inputs import Input
from server.publish.instance_options import check_instances
from server.publish.placement_options import check_placement
from server.publish.request import PublishRequest, SceneOptions
from server.publish.text_encoding import named_encoding
from server.publish.underground_options import check_underground

COMPRESSIONS = ("none", "draco")

_PLAIN = PublishRequest(files=(), tenant="", id="", titles={})


def _formats_of(*families: Family) -> frozenset[str]:
    return frozenset(key for key, item in FORMATS.items() if item.family in families)


_VECTORS = _formats_of(Family.VECTOR)
_FEATURES = _formats_of(Family.VECTOR, Family.CITY_MODEL)
_RASTERS = _formats_of(Family.RASTER)
_GRIDS = frozenset({"raster"})
_MODELS = frozenset({"gltf", "obj", "ply", "stl", "ifc", "indoorgml"})
_ARRAYS = frozenset({"netcdf", "zarr"})
_POINT_CLOUDS = _formats_of(Family.POINT_CLOUD)
_EVERYTHING = frozenset(FORMATS)
_CSV = frozenset({"csv"})
_SEVERAL_LAYERS = frozenset({"geopackage", "sqlite", "osm", "kml", "gml"})
_CONDITIONED = frozenset({"geopackage", "sqlite", "shapefile", "flatgeobuf", "osm", "kml", "gml"})


@dataclass(frozen=True, slots=True)
class OptionUse:
    """What an option is for. `path` is its place in a PublishRequest, `flag` what the command calls it.

    `formats` are keys of FORMATS; `purpose` ends the sentence "FLAG is for ...".
    """

    path: str
    flag: str
    formats: frozenset[str]
    purpose: str

    def is_given(self, request: PublishRequest) -> bool:
        """Whether the request says something else than the default."""
        return bool(attrgetter(self.path)(request) != attrgetter(self.path)(_PLAIN))


_BUILDINGS = "footprints in vector data, of which it makes buildings"
_PIPES = "lines in vector data, of which it makes pipes"
_INSTANCES = "points in vector data, of which it makes trees and street furniture"
_UNDERGROUND = "features, or rasters of layers, of which it makes things under the ground"
_PLACED = "models drawn in coordinates of their own"
_COORDINATES = "CSV with its coordinates in columns"

OPTION_USES: tuple[OptionUse, ...] = (
    OptionUse("reading.format", "--format", _EVERYTHING, "files whose content does not tell their format"),
    OptionUse("reading.crs", "--crs", _EVERYTHING, "data whose CRS is not said, or said wrongly"),
    OptionUse(
        "reading.layer",
        "--layer",
        _SEVERAL_LAYERS | _ARRAYS,
        "formats with layers, and archives of several datasets",
    ),
    OptionUse(
        "reading.encoding",
        "--encoding",
        _CSV | {"shapefile", "xyz"},
        "formats that do not say it: Shapefile, CSV, text of points",
    ),
    OptionUse("reading.x_column", "--x-column", _CSV, _COORDINATES),
    OptionUse("reading.y_column", "--y-column", _CSV, _COORDINATES),
    OptionUse("reading.wkt_column", "--wkt-column", _CSV, "CSV with well-known text in a column"),
    OptionUse("reading.id_field", "--id-field", _FEATURES, "features"),
    OptionUse("reading.time_field", "--time-field", _FEATURES, "features"),
    OptionUse("reading.tags", "--tag", frozenset({"osm"}), "OpenStreetMap data"),
    OptionUse("reading.where", "--where", _CONDITIONED, "features of formats that are read with a condition"),
    OptionUse("reading.keep_fields", "--keep-field", _FEATURES, "features"),
    OptionUse("reading.repair", "--repair", _FEATURES, "features"),
    OptionUse(
        "reading.time",
        "--time",
        _GRIDS | _POINT_CLOUDS,
        "point clouds, and rasters that do not say their time as arrays do",
    ),
    OptionUse("reading.nodata", "--nodata", _GRIDS, "rasters"),
    OptionUse("reading.on_top", "--on-top", _GRIDS, "mosaics of overlapping rasters"),
    OptionUse("editing.editable", "--read-only", _VECTORS, "vector data"),
    OptionUse("editing.if_match_required", "--no-if-match", _VECTORS, "vector data"),
    OptionUse("editing.create_by_put", "--create-by-put", _VECTORS, "vector data"),
    OptionUse("editing.constraints", "--constraints", _VECTORS, "vector data"),
    OptionUse("tile_fields", "--tile-fields", _VECTORS, "vector data, of which it makes tiles"),
    OptionUse("field_titles", "--field-title", _FEATURES, "features"),
    OptionUse(
        "style",
        "--style",
        _FEATURES | _RASTERS | _POINT_CLOUDS,
        "data of which a map is drawn: features, rasters and point clouds",
    ),
    OptionUse("scene.height_field", "--height-field", _VECTORS, _BUILDINGS),
    OptionUse("scene.levels_field", "--levels-field", _VECTORS, _BUILDINGS),
    OptionUse("scene.default_height", "--default-height", _VECTORS, _BUILDINGS),
    OptionUse("scene.min_height_field", "--min-height-field", _VECTORS, _BUILDINGS),
    OptionUse("scene.base_field", "--base-field", _VECTORS, _BUILDINGS),
    OptionUse("scene.ground", "--ground", _VECTORS | _MODELS, "data of which something in 3D is made"),
    OptionUse("scene.diameter_field", "--diameter-field", _VECTORS, _PIPES),
    OptionUse("scene.default_diameter", "--default-diameter", _VECTORS, _PIPES),
    OptionUse("scene.depth_field", "--depth-field", _VECTORS, _PIPES),
    OptionUse("scene.underground.kind", "--underground", _VECTORS | _GRIDS, _UNDERGROUND),
    OptionUse("scene.underground.fields", "--field-means", _VECTORS, _UNDERGROUND),
    OptionUse("scene.underground.depth_to", "--depth-to", _VECTORS, _PIPES),
    OptionUse("scene.underground.size_unit", "--size-unit", _VECTORS, _PIPES),
    OptionUse("scene.underground.section", "--section", _VECTORS, _PIPES),
    OptionUse("scene.underground.section_size", "--section-size", _VECTORS, _PIPES),
    OptionUse(
        "scene.underground.wall", "--wall", _VECTORS, "lines in vector data, of which it makes tunnels"
    ),
    OptionUse("scene.underground.default_depth", "--default-depth", _VECTORS, _PIPES),
    OptionUse("scene.underground.network_kind", "--network-kind", _VECTORS, _PIPES),
    OptionUse("scene.underground.colours", "--colour-of", _VECTORS | _GRIDS, _UNDERGROUND),
    OptionUse(
        "scene.underground.layers", "--layer-name", _VECTORS | _GRIDS, "geology, of which it has layers"
    ),
    OptionUse("scene.underground.interpolation", "--interpolation", _VECTORS, "geology between boreholes"),
    OptionUse("scene.instances.model", "--instances", _VECTORS, _INSTANCES),
    OptionUse("scene.instances.model_field", "--model-field", _VECTORS, _INSTANCES),
    OptionUse("scene.instances.models", "--model-of", _VECTORS, _INSTANCES),
    OptionUse("scene.instances.height_field", "--instance-height-field", _VECTORS, _INSTANCES),
    OptionUse("scene.instances.width_field", "--width-field", _VECTORS, _INSTANCES),
    OptionUse("scene.instances.scale_field", "--scale-field", _VECTORS, _INSTANCES),
    OptionUse("scene.instances.heading_field", "--heading-field", _VECTORS, _INSTANCES),
    OptionUse("scene.placement.place", "--place", _MODELS, _PLACED),
    OptionUse("scene.placement.heading", "--heading", _MODELS, _PLACED),
    OptionUse("scene.placement.scale", "--model-scale", _MODELS, _PLACED),
    OptionUse("scene.vertical", "--height-reference", _EVERYTHING, "data of which something in 3D is made"),
    OptionUse("scene.terrain", "--terrain", _GRIDS, "rasters of heights, of which it makes a terrain"),
    OptionUse("scene.water", "--water", _GRIDS, "rasters of heights, of which a terrain is made"),
    OptionUse(
        "scene.terrain_levels", "--terrain-levels", _GRIDS, "rasters of heights, of which a terrain is made"
    ),
    OptionUse(
        "scene.compression", "--compress-3d", _FEATURES | _GRIDS, "data of which meshes in 3D are made"
    ),
    OptionUse("points.mosaic", "--mosaic", _POINT_CLOUDS, "point clouds"),
    OptionUse("points.columns", "--point-columns", frozenset({"xyz"}), "point clouds as text"),
    OptionUse("points.vertical", "--vertical-crs", _POINT_CLOUDS, "point clouds"),
    OptionUse("points.target_crs", "--target-crs", _POINT_CLOUDS, "point clouds"),
    OptionUse("points.pipeline", "--pipeline", _POINT_CLOUDS, "point clouds"),
    OptionUse("scene.point_tiles", "--no-point-tiles", _POINT_CLOUDS, "point clouds"),
    OptionUse("scene.point_colour", "--point-colour", _POINT_CLOUDS, "point clouds"),
)
"""Every option about the data. Those of the collection itself (title, licence, ...) go with all data."""

_FLAGS = {use.path: use.flag for use in OPTION_USES}
_MAKE_BUILDINGS = ("scene.height_field", "scene.levels_field", "scene.default_height")
_MAKE_PIPES = ("scene.diameter_field", "scene.default_diameter", "scene.underground.kind")
_MAKE_INSTANCES = ("scene.instances.model", "scene.instances.model_field")
_OF_INSTANCES = tuple(
    f"scene.instances.{name}"
    for name in ("models", "height_field", "width_field", "scale_field", "heading_field")
)
_OF_THE_UNDERGROUND = tuple(
    f"scene.underground.{name}"
    for name in (
        "fields", "depth_to", "size_unit", "section", "section_size", "wall", "default_depth", "network_kind",
        "colours", "layers", "interpolation",
    )
)  # fmt: skip

_NEEDS: tuple[tuple[str, frozenset[str], tuple[str, ...]], ...] = (
    ("scene.base_field", _VECTORS, (*_MAKE_BUILDINGS, *_MAKE_INSTANCES)),
    ("scene.min_height_field", _VECTORS, _MAKE_BUILDINGS),
    ("scene.depth_field", _VECTORS, _MAKE_PIPES),
    ("scene.ground", _VECTORS, (*_MAKE_BUILDINGS, *_MAKE_PIPES, *_MAKE_INSTANCES)),
    ("scene.vertical", _VECTORS, (*_MAKE_BUILDINGS, *_MAKE_PIPES, *_MAKE_INSTANCES)),
    ("scene.vertical", _RASTERS, ("scene.terrain", "scene.underground.kind")),
    *((path, _VECTORS | _GRIDS, _MAKE_PIPES) for path in _OF_THE_UNDERGROUND),
    *((path, _VECTORS, _MAKE_INSTANCES) for path in _OF_INSTANCES),
    ("scene.compression", _VECTORS, (*_MAKE_BUILDINGS, *_MAKE_PIPES)),
    ("scene.compression", _RASTERS, ("scene.underground.kind",)),
    ("scene.ground", _MODELS, ("scene.placement.place",)),
    ("scene.water", _RASTERS, ("scene.terrain",)),
    ("scene.terrain_levels", _RASTERS, ("scene.terrain",)),
)
"""(option, formats, options): of these formats the option does something only with one of the others."""

_EXCLUDES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (_MAKE_BUILDINGS, _MAKE_PIPES),
    (_MAKE_INSTANCES, (*_MAKE_BUILDINGS, *_MAKE_PIPES)),
    (("scene.base_field",), ("scene.ground",)),
    (("reading.wkt_column",), ("reading.x_column", "reading.y_column")),
    (("scene.point_tiles",), ("scene.point_colour", "scene.vertical")),
)
"""Two ways to say one thing, of which only one would be heard."""


def check_values(request: PublishRequest) -> None:
    """Refuse values that are wrong whatever the data are. Raises OptionError."""
    for use in OPTION_USES:
        if attrgetter(use.path)(request) == "":
            raise OptionError(f"{use.flag} is empty. Give a value, or leave it out.")
    if request.reading.encoding is not None:
        named_encoding(request.reading.encoding)
    check_scene_values(request.scene)
    check_underground(request.scene.underground)
    check_instances(request.scene.instances)
    check_placement(request.scene.placement)
    _check_rasters(request)
    if request.points.pipeline:
        from server.publish.point_pipeline_options import (
            work_of,
        )  # brings readers of points, for those who have a pipeline

        work_of(request.points.pipeline)


def check_scene_values(scene: SceneOptions) -> None:
    """Refuse values of scene options that are wrong whatever the data are. Raises OptionError."""
    for name in ("default_height", "default_diameter"):
        metres = getattr(scene, name)
        if metres is not None and not (math.isfinite(metres) and metres > 0):
            raise OptionError(
                f"{_FLAGS[f'scene.{name}']} is {metres:g}. Allowed: a number of metres above 0."
            )
    if scene.compression not in COMPRESSIONS:
        raise OptionError(
            f"{_FLAGS['scene.compression']} is {scene.compression!r}. Allowed: {', '.join(COMPRESSIONS)}."
        )
    _check_vertical(scene)


def _check_rasters(request: PublishRequest) -> None:
    from server.publish.raster_times import check_time_option

    check_time_option(request.reading.time)
    on_top = request.reading.on_top
    if on_top is not None and on_top not in ("newest", "first", "last"):
        raise OptionError(f"--on-top is {on_top!r}. Allowed: newest, first, last.")


def _check_vertical(scene: SceneOptions) -> None:
    vertical = scene.vertical
    if isinstance(vertical, str):
        from server.publish.scenes import vertical_reference

        vertical_reference(scene)
    elif vertical is not None and not math.isfinite(vertical):
        raise OptionError(f"{_FLAGS['scene.vertical']} is {vertical:g}. Allowed: a finite number of metres.")


def check_options(request: PublishRequest, inputs: Sequence[Input]) -> None:
    """Refuse what does nothing with these inputs, which are of one format. Raises OptionError."""
    item = inputs[0]
    for use in OPTION_USES:
        if not use.is_given(request) or item.format.key in use.formats:
            continue
        if not _names_dataset(use, request, item):
            raise OptionError(
                f"{use.flag} is for {use.purpose}; {_described(item)}. Publish it without {use.flag}."
            )
    given = frozenset(use.path for use in OPTION_USES if use.is_given(request))
    for path, formats, needed in _NEEDS:
        if path in given and item.format.key in formats and given.isdisjoint(needed):
            raise OptionError(
                f"{_FLAGS[path]} does nothing alone: {_described(item)}, where it goes with {_flags(needed, ' or ')}."
            )
    for one, other in _EXCLUDES:
        if not given.isdisjoint(one) and not given.isdisjoint(other):
            found = [path for path in (*one, *other) if path in given]
            raise OptionError(
                f"{_flags(found, ' and ')} do not go together: {_described(item)}, and only one would be heard. "
                "Give one or the other."
            )
    if item.format.family is Family.POINT_CLOUD:
        from server.publish.point_clouds import check_point_options  # brings heavy libraries
        from server.publish.raster_times import TAG

        check_point_options(request.scene)
        if request.reading.time == TAG:
            raise OptionError(
                f"--time {TAG} is for rasters; {_described(item)}. Give a time, or a pattern of file names such as %Y%m%d. "
                "Without --time the GPS times of the points count, where they are dates."
            )


def _names_dataset(use: OptionUse, request: PublishRequest, item: Input) -> bool:
    """Whether this is a layer that names the dataset in an archive, of whatever format."""
    in_archive = item.name != item.path.name
    return use.path == "reading.layer" and in_archive and request.reading.layer == item.path.stem


def _described(item: Input) -> str:
    return f"{item.name} is {item.format.title} ({item.format.family.value})"


def _flags(paths: Sequence[str], between: str) -> str:
    return between.join(_FLAGS[path] for path in paths)
