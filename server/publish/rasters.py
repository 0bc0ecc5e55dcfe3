"""Publish rasters: one file to a cloud optimised GeoTIFF, many files or many instants to a mosaic; a terrain where asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from server.publish.building import TILE_MATRIX_SETS, Built, Task
from server.publish.errors import BuildError, SchemaMismatch
from server.publish.inputs import Input
from server.publish.map_conformance import raster_map_conformance, warnings_of
from server.publish.raster_cogs import Cog, write_cog
from server.publish.raster_styles import map_kind, palette_style
from server.publish.raster_times import instant_of
from server.publish.reference_systems import crs_identifier
from server.publish.styles import chosen_style
from server.publish.terrain import add_terrain
from server.registry.catalogue import Interval, Representation, RepresentationKind
from tiles.cache.changes import Box84
from tiles.errors import RasterError
from tiles.rasters.datasets import close_rasters
from tiles.rasters.mosaic import MosaicSource
from tiles.rasters.mosaic_edits import SCENES_FOLDER, NewScene, add_scenes, overview_factor, scene_bounds
from tiles.rasters.mosaic_index import MosaicRules, close_indexes, create_index, lease_index

COVERAGE_FILE = "coverage.tif"
MOSAIC_FILE = "mosaic.sqlite"
ON_TOP = ("newest", "first", "last")
_SCENES_SHARE = 0.8
"""Part of the work that is in the scenes themselves; the rest is in the overviews of the whole."""


def build_raster(task: Task) -> Built:
    """Write the inputs as one COG or as a mosaic of COGs, and describe it. Raises PublishError and its kinds, TerrainError."""
    if task.inputs[0].format.key in ("netcdf", "zarr"):
        from server.publish.raster_arrays import build_arrays

        return build_arrays(task)
    task.stage("reading")
    if task.request.scene.underground.kind is not None:
        from server.publish.layered_rasters import build_layers

        return build_layers(task)
    timed = task.request.reading.time is not None
    built = _build_mosaic(task) if len(task.inputs) > 1 or timed else _build_single(task)
    if task.request.scene.terrain:
        add_terrain(task, built)
    return built


def _build_single(task: Task) -> Built:
    notes: list[str] = []
    cog = write_cog(
        task.inputs[0], task.folder / COVERAGE_FILE, task.request, task.settings, task.workspace,
        lambda fraction: task.stage("coverage", fraction), notes,
    )  # fmt: skip
    return single_coverage(task, cog, notes)


def single_coverage(task: Task, cog: Cog, notes: list[str]) -> Built:
    """The content of a generation of one COG at `COVERAGE_FILE`."""
    facts = cog.facts
    crs = crs_identifier(cog.crs)
    properties = {
        "store": "cog",
        "dtype": facts.dtype.name,
        "bands": cog.bands,
        "width": facts.width,
        "height": facts.height,
        "resolution": list(facts.resolution),
        "crs": crs,
    }
    built = Built(bbox=cog.bounds84, storage_crs=crs, representations=[], warnings=notes)
    return _described(task, COVERAGE_FILE, properties, built)


def _described(task: Task, path: str, properties: dict[str, Any], built: Built) -> Built:
    """`built` with the representations of a coverage and its map, and what the map's self-test found."""
    style = _style(task, properties["bands"])
    west, south, east, north = built.bbox[:4]
    box: Box84 = (west, south, east, north)
    try:
        tested = raster_map_conformance(
            task.folder,
            path,
            properties,
            box,
            built.storage_crs,
            style,
            task.settings.styles_directory,
        )
    finally:
        # The generation moves to its place after this: nothing is to be kept open where it was built.
        close_rasters()
        close_indexes()
    shown = {"style": style, "tile_matrix_sets": TILE_MATRIX_SETS, "conformance": tested.passed}
    built.representations += [
        Representation(RepresentationKind.COVERAGE, path, 0, 0, properties),
        Representation(RepresentationKind.MAP, path, 0, 0, shown),
    ]
    built.warnings += warnings_of(tested)
    return built


def _style(task: Task, bands: Sequence[dict[str, Any]]) -> str | dict[str, Any]:
    """The style asked for, else one by the palette or the bands of the raster."""
    own = palette_style(bands) if task.request.style is None else None
    if own is not None:
        return own
    is_array = task.inputs[0].format.key in ("netcdf", "zarr")
    is_series = is_array or task.request.reading.time is not None
    kind = map_kind(bands, is_terrain=task.request.scene.terrain, is_series=is_series)
    return chosen_style(task.request, kind, task.settings)


def _build_mosaic(task: Task) -> Built:
    notes: list[str] = []
    count = len(task.inputs)
    cogs: list[tuple[str, str | None, Cog]] = []
    for number, item in enumerate(task.inputs):
        cogs.append(write_scene(item, task, notes, _share(task, number, count)))
        check_alike(cogs[0][2], cogs[-1][2], task.inputs[0].name, item.name)
    return build_mosaic_of(task, cogs, notes, latest="pixel")


def _share(task: Task, number: int, count: int) -> Callable[[float], None]:
    return lambda fraction: task.stage("coverage", _SCENES_SHARE * (number + fraction) / count)


def write_scene(
    item: Input, task: Task, notes: list[str], report: Callable[[float], None]
) -> tuple[str, str | None, Cog]:
    """The name, instant and COG of one scene, written into the scenes folder of the generation."""
    folder = task.folder / SCENES_FOLDER
    folder.mkdir(exist_ok=True)
    name = scene_name(item)
    path = folder / scene_file(name)
    if path.exists():
        raise SchemaMismatch(f"Two scenes are called {name}. Give files of different names.")
    cog = write_cog(item, path, task.request, task.settings, task.workspace, report, notes)
    return name, instant_of(item, task.request.reading.time, cog.when), cog


def scene_name(item: Input) -> str:
    """How a scene is called: the name of its file, without the suffix."""
    return item.path.stem


def scene_file(name: str) -> str:
    """A file name for a scene."""
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
    return f"{safe[:120]}.tif"


def check_alike(first: Cog, other: Cog, first_name: str, name: str) -> None:
    """Refuse scenes whose bands are unlike. Raises SchemaMismatch."""
    one, two = _kind_of_bands(first), _kind_of_bands(other)
    if one != two:
        raise SchemaMismatch(
            f"The bands of {name} ({_said(two)}) are unlike those of {first_name} ({_said(one)}). One collection is made of "
            "files with the same bands; publish them one by one."
        )


def _kind_of_bands(cog: Cog) -> tuple[str, ...]:
    return tuple(band["dtype"] for band in cog.bands)


def _said(bands: tuple[str, ...]) -> str:
    return f"{len(bands)} of {bands[0]}"


def build_mosaic_of(
    task: Task, cogs: Sequence[tuple[str, str | None, Cog]], notes: list[str], *, latest: str
) -> Built:
    """The content of a generation of a mosaic, whose scenes are in its scenes folder."""
    path = task.folder / MOSAIC_FILE
    try:
        create_index(
            path, mosaic_rules([cog for _, _, cog in cogs], task.request.reading.on_top or "newest", latest)
        )
        scenes = [
            NewScene(name, f"{SCENES_FOLDER}/{cog.path.name}", instant, cog.statistics)
            for name, instant, cog in cogs
        ]
        add_scenes(
            path, scenes,
            lambda fraction: task.stage("coverage", _SCENES_SHARE + (1 - _SCENES_SHARE) * fraction),
        )  # fmt: skip
        properties = mosaic_properties(path, crs_identifier(_most_common(cogs).crs))
        bbox = MosaicSource(path).description.footprint
    except RasterError as error:
        raise BuildError(f"The mosaic cannot be built: {error}.") from error
    finally:
        close_indexes()
    instants = properties.get("instants")
    interval = None if instants is None else Interval(instants["first"], instants["last"])
    built = Built(
        bbox=bbox, storage_crs=properties["crs"], representations=[], interval=interval, warnings=notes
    )
    return _described(task, MOSAIC_FILE, properties, built)


def _most_common(cogs: Sequence[tuple[str, str | None, Cog]]) -> Cog:
    """A scene in the CRS that most scenes have."""
    texts = [cog.facts.crs for _, _, cog in cogs]
    chosen = max(dict.fromkeys(texts), key=texts.count)
    return next(cog for _, _, cog in cogs if cog.facts.crs == chosen)


def mosaic_rules(cogs: Sequence[Cog], on_top: str, latest: str) -> MosaicRules:
    """What holds for a mosaic of these: the CRS most of them have, the finest resolution, the bands of the first."""
    texts = [cog.facts.crs for cog in cogs]
    crs = max(dict.fromkeys(texts), key=texts.count)
    sizes = []
    for cog in cogs:
        box = scene_bounds(cog.facts.bounds, cog.facts.crs, crs)
        sizes.append(((box.east - box.west) / cog.facts.width, (box.north - box.south) / cog.facts.height))
    nodata = {band.nodata for cog in cogs for band in cog.facts.bands}
    first = cogs[0].facts
    common = next(iter(nodata)) if len(nodata) == 1 and first.dtype.kind in "iu" else None
    return MosaicRules(
        crs=crs,
        resolution=(min(width for width, _ in sizes), min(height for _, height in sizes)),
        dtype=first.dtype.name,
        bands=tuple(cogs[0].bands),
        nodata=common,
        on_top=on_top,
        latest=latest,
        overview_factor=overview_factor([cog.facts for cog in cogs]),
        codes=any(band["interpretation"] == "palette" for band in cogs[0].bands),
    )


def mosaic_properties(path: Path, crs_uri: str) -> dict[str, Any]:
    """Properties of the COVERAGE representation of a mosaic as it is now."""
    description = MosaicSource(path).description
    with lease_index(path) as index:
        rules, count = index.rules(), index.count()
    instants = description.instants
    properties: dict[str, Any] = {
        "store": "mosaic",
        "dtype": rules.dtype,
        "bands": [
            {key: value for key, value in band.items() if key not in ("count", "pixels")}
            for band in rules.bands
        ],
        "width": description.width,
        "height": description.height,
        "resolution": list(description.resolution),
        "crs": crs_uri,
        "scenes": count,
    }
    if instants:
        properties["instants"] = {"count": len(instants), "first": instants[0], "last": instants[-1]}
    return properties
