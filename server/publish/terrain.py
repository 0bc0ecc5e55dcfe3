"""The terrain of a raster: what a publish makes of its elevation model, and where its water is."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from server.publish.building import Built, Task
from server.publish.errors import OptionError
from server.publish.scenes import vertical_reference
from server.registry.catalogue import Representation, RepresentationKind

if TYPE_CHECKING:
    from tiles.terrain import WaterRule

TERRAIN_FOLDER = "terrain"
TERRAIN_FILE = "terrain/layer.json"
_MOST_PROCESSES = 8
_WATER_POLYGONS = "_water.npz"
_WATER_RASTER = "_water.tif"


def add_terrain(task: Task, built: Built) -> None:
    """Make a terrain of the coverage that was built, and describe it. Raises OptionError, and what `tiles.terrain` raises.

    Of one file the first levels are written, two minutes of a core at most; what is deeper is made when it is asked for. Of a
    mosaic, whose scenes come and go, every tile is.
    """
    from tiles.rasters.datasets import close_rasters
    from tiles.rasters.mosaic_index import close_indexes
    from tiles.terrain import build_terrain

    coverage = built.representations[0]
    bands = len(coverage.properties["bands"])
    if bands != 1:
        raise OptionError(f"A terrain is made of a raster with one band of heights; this one has {bands}.")
    task.stage("terrain")
    folder = task.folder / TERRAIN_FOLDER
    folder.mkdir(exist_ok=True)
    is_mosaic = coverage.properties.get("store") == "mosaic"
    try:
        summary = build_terrain(
            folder,
            task.folder / coverage.path,
            vertical=vertical_reference(task.request.scene),
            attribution=task.request.attribution,
            water=_water(task, folder),
            prebuilt=-1 if is_mosaic else task.request.scene.terrain_levels,
            processes=min(len(os.sched_getaffinity(0)), _MOST_PROCESSES),
            report=lambda done, total: task.stage("terrain", done / total if total else 1.0),
        )
    finally:
        # The generation moves to its place after this: nothing is to be kept open where it was built.
        close_rasters()
        close_indexes()
    west, south, bottom, east, north, top = summary.bbox84h
    if west > east:  # across the antimeridian: as its coverage says it
        west, south, east, north = built.bbox[:4]
    built.bbox = (west, south, bottom, east, north, top)
    properties: dict[str, Any] = {
        "min_zoom": summary.min_zoom,
        "max_zoom": summary.max_zoom,
        "height_reference": summary.height_reference,
        "prebuilt": summary.prebuilt,
        "largest_difference": round(summary.largest_difference, 4),
        "water": task.request.scene.water is not None,
        "excavation": True,
    }
    built.representations.append(Representation(RepresentationKind.TERRAIN, TERRAIN_FILE, 0, 0, properties))


def _water(task: Task, folder: Path) -> WaterRule | None:
    """Where the terrain's water is, by what was given: "nodata", a height, a file of polygons or a raster, or a collection."""
    from tiles.terrain import WaterRule

    asked = task.request.scene.water
    if asked is None:
        return None
    if asked == "nodata":
        return WaterRule("nodata")
    try:
        metres = float(asked)
    except ValueError:
        return _water_of_data(task, asked, folder)
    if not math.isfinite(metres):
        raise OptionError(f"--water is {asked}. Allowed: a finite number of metres, and what else it takes.")
    return WaterRule("level", metres)


def _water_of_data(task: Task, asked: str, folder: Path) -> WaterRule:
    from tiles.terrain import WaterRule, write_polygons

    path = Path(asked)
    if path.is_file():
        if _is_raster(path):
            shutil.copyfile(path, folder / _WATER_RASTER)
            return WaterRule("raster", file=_WATER_RASTER)
        polygons, crs = _polygons_of_file(path)
    else:
        polygons, crs = _polygons_of_collection(task, asked)
    write_polygons(folder / _WATER_POLYGONS, polygons, crs)
    return WaterRule("polygons", file=_WATER_POLYGONS)


def _is_raster(path: Path) -> bool:
    import rasterio

    try:
        with rasterio.open(path) as dataset:
            if dataset.count < 1:
                return False
            if dataset.crs is None:
                raise OptionError(f"The raster {path.name} of --water has no CRS, so its water has no place.")
            return True
    except rasterio.errors.RasterioError:
        return False


def _polygons_of_file(path: Path) -> tuple[Any, Any]:
    import pyogrio
    import shapely

    try:
        meta, _, geometries, _ = pyogrio.raw.read(path, columns=[])
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise OptionError(
            f"{path.name} of --water is neither a raster nor a vector file: {error}."
        ) from error
    if meta["crs"] is None:
        raise OptionError(f"{path.name} of --water has no CRS, so its water has no place.")
    return shapely.from_wkb(geometries, on_invalid="ignore"), meta["crs"]


def _polygons_of_collection(task: Task, asked: str) -> tuple[Any, Any]:
    """The features of a collection in the embedded store: of the same tenant, or as TENANT.COLLECTION."""
    from providers.features.store import FeatureStore
    from server.registry.reader import open_catalogue_reader

    tenant, _, name = asked.rpartition(".")
    catalogue = open_catalogue_reader(task.settings).current()
    found = catalogue.collections.get((tenant or task.request.tenant, name))
    features = None if found is None else found.representations.get(RepresentationKind.FEATURES)
    if found is None or features is None or features.properties.get("source") is not None:
        raise OptionError(
            f"--water is {asked[:200]!r}. Allowed: nodata, a height in metres, a file of polygons, a raster, or a collection of "
            "polygons that was published from files."
        )
    store = FeatureStore(found.path_of(RepresentationKind.FEATURES))
    parts = [part.geometries for part in store.slices(fields=())]
    return np.concatenate(parts) if parts else np.empty(0, dtype=object), found.storage_crs
