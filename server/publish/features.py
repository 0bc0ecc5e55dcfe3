"""Publish vector data: features, tiles and a map, and a 3D tileset where heights or diameters are told."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from providers.errors import InvalidParameter
from providers.features.conformance import self_test
from providers.features.store import FeatureStore
from providers.tiles.archive import archive_zooms, build_pmtiles
from providers.tiles.choice import check_tile_fields
from server.publish.building import TILE_MATRIX_SETS, Built, Task
from server.publish.errors import OptionError
from server.publish.feature_store import StoredFeatures, store_features
from server.publish.map_conformance import feature_map_conformance, warnings_of
from server.publish.reference_systems import crs_identifier
from server.publish.scenes import build_scene
from server.publish.sources import open_vector_source
from server.publish.styles import chosen_style
from server.registry.catalogue import Interval, Representation, RepresentationKind

FEATURES_FILE = "features.gpkg"
TILES_FILE = "tiles.pmtiles"
_DETAIL_ZOOMS = {"Point": 14, "MultiPoint": 14}
_OVERVIEW_LEVELS = 3


def build_features(task: Task) -> Built:
    """Read the inputs into a feature store and describe what it serves."""
    built, stored = task.steps.once("features", lambda: _read_features(task))
    scene = build_scene(task, stored)
    if scene is not None:
        built.representations.append(scene.representation)
        built.bbox = scene.bbox
        built.warnings += scene.warnings
    return built


def _read_features(task: Task) -> tuple[Built, StoredFeatures]:
    task.stage("reading")
    options = task.request.reading
    sources = [open_vector_source(item, options, task.workspace) for item in task.inputs]
    task.stage("features")
    path = task.folder / FEATURES_FILE
    stored = store_features(
        sources, path, task.request, lambda done: task.report("features", min(done, 1.0)), task.cancelled
    )
    built = describe_features(task, stored)
    _add_tile_archive(task, path, built)
    return built, stored


def describe_features(task: Task, stored: StoredFeatures) -> Built:
    """FEATURES, TILES and MAP of a stored collection."""
    summary = stored.summary
    kind = summary.geometry_type
    low, high = tile_zooms(stored.bounds84, kind, summary.full_zoom)
    style = chosen_style(task.request, kind, task.settings)
    tested = self_test(FeatureStore(task.folder / FEATURES_FILE))
    drawn = feature_map_conformance(
        task.folder / FEATURES_FILE,
        stored.bounds84,
        crs_identifier(stored.crs),
        style,
        task.settings.styles_directory,
        stored.fields,
        task.request.reading.time_field,
    )
    properties: dict[RepresentationKind, dict[str, Any]] = {
        RepresentationKind.FEATURES: {
            "geometry_type": kind,
            "count": summary.count,
            "id_field": task.request.reading.id_field,
            "time_field": task.request.reading.time_field,
            "conformance": tested.passed,
            "editable": task.request.editing.editable,
            "if_match_required": task.request.editing.if_match_required,
            "create_by_put": task.request.editing.create_by_put,
        },
        RepresentationKind.TILES: {
            "min_zoom": low,
            "max_zoom": high,
            "tile_matrix_sets": TILE_MATRIX_SETS,
            **_tile_fields(task, stored),
        },
        RepresentationKind.MAP: {
            "style": style,
            "tile_matrix_sets": TILE_MATRIX_SETS,
            "conformance": drawn.passed,
        },
    }
    return Built(
        bbox=summary.bbox,
        storage_crs=crs_identifier(stored.crs),
        representations=[
            Representation(key, FEATURES_FILE, 0, 0, value) for key, value in properties.items()
        ],
        fields=stored.fields,
        interval=Interval(*summary.interval) if summary.interval else None,
        count=summary.count,
        warnings=[
            *stored.warnings,
            *(f"Self-test of {uri}: {why}" for uri, why in tested.failed.items()),
            *warnings_of(drawn),
        ],
    )


def _tile_fields(task: Task, stored: StoredFeatures) -> dict[str, Any]:
    if not task.request.tile_fields:
        return {}
    try:
        chosen = check_tile_fields(task.request.tile_fields, [item.name for item in stored.fields])
    except InvalidParameter as error:
        raise OptionError(f"--tile-fields: {error.value!r}; allowed: {error.allowed}") from None
    return {"tile_fields": {zooms: list(names) for zooms, names in chosen.items()}}


def _add_tile_archive(task: Task, path: Path, built: Built) -> None:
    """Build the tiles of the low zooms of a large layer ahead: each shows a choice of very many features."""
    tiles = next(item for item in built.representations if item.kind is RepresentationKind.TILES)
    store = FeatureStore(path)
    zooms = archive_zooms(store, int(tiles.properties["max_zoom"]))
    if zooms is None:
        return
    levels = zooms[1] - zooms[0] + 1
    level = 0

    def progress(done: int, total: int) -> None:
        nonlocal level
        task.stage("tiles", min(1.0, (level + done / total) / levels))
        level += done == total

    task.stage("tiles")
    build_pmtiles(
        store,
        task.folder / TILES_FILE,
        *zooms,
        layer=task.request.id,
        tile_fields=tiles.properties.get("tile_fields"),
        attribution=task.request.attribution,
        progress=progress,
    )
    archive = {"archive": TILES_FILE, "archive_zooms": list(zooms), "archive_change": 0}
    built.representations[built.representations.index(tiles)] = replace(
        tiles, properties={**tiles.properties, **archive}
    )


def tile_zooms(
    bounds84: tuple[float, float, float, float], geometry_type: str, full_zoom: int
) -> tuple[int, int]:
    """(lowest, highest) zoom of vector tiles.

    The lowest shows the whole collection in about an eighth of a tile's side; clients scale up the tiles of the highest,
    where 1/4096 of a tile's side is 0.6 m (points, zoom 14) or 0.15 m (zoom 16). `full_zoom` is the first with every
    feature.
    """
    west, south, east, north = bounds84
    span = max((east - west) % 360 if west > east else east - west, north - south, 1e-4)
    whole = math.floor(math.log2(360.0 / span))
    lowest = min(max(0, whole - _OVERVIEW_LEVELS), 12)
    highest = max(_DETAIL_ZOOMS.get(geometry_type, 16), full_zoom)
    return lowest, highest
