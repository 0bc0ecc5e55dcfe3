"""The 3D tileset of a feature collection: buildings from footprints with heights, tubes from lines with diameters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from providers.features.store import FeatureColumns, FeatureStore
from server.publish.building import Task
from server.publish.errors import OptionError
from server.publish.feature_store import StoredFeatures
from server.publish.request import SceneOptions
from server.registry.catalogue import Representation, RepresentationKind

if TYPE_CHECKING:
    from tiles.three_d import TilesetSummary, VerticalReference

TILESET_FOLDER = "3dtiles"
TILESET_FILE = "3dtiles/tileset.json"
STOREY_METRES = 3.2
_NUMBER = re.compile(r"\s*([+-]?\d+(?:[.,]\d+)?)")

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scene:
    """A finished 3D tileset. `bbox` is CRS84h (6 numbers, ellipsoidal heights in metres)."""

    representation: Representation
    bbox: tuple[float, ...]
    warnings: tuple[str, ...]


def build_scene(task: Task, stored: StoredFeatures) -> Scene | None:
    """The 3D tileset that the request's scene options ask for, None where they ask for none.

    Raises OptionError where an option does not fit the data, and what `tiles.three_d` raises.
    """
    scene = task.request.scene
    wants_buildings = scene.height_field or scene.levels_field or scene.default_height is not None
    wants_pipes = scene.diameter_field or scene.default_diameter is not None
    if not (wants_buildings or wants_pipes):
        return None
    _check_fields(scene, stored)
    task.stage("3dtiles")
    columns = _all_columns(task, stored)
    needed = 2 if wants_buildings else 1
    if not (shapely.get_dimensions(columns.geometries) == needed).any():
        raise OptionError(
            f"{'Heights' if wants_buildings else 'Diameters'} were given for a 3D tileset, which needs "
            f"{'polygons' if wants_buildings else 'lines'}; these are {stored.summary.geometry_type}."
        )
    summary = _buildings(task, stored, columns) if wants_buildings else _pipes(task, stored, columns)
    task.stage("3dtiles", 1.0)
    return finished_scene(summary)


def finished_scene(summary: TilesetSummary) -> Scene:
    """The representation of a 3D tileset in the generation's folder."""
    properties = {
        "content": summary.content,
        "feature_count": summary.feature_count,
        "height_reference": summary.height_reference,
    }
    warnings = []
    if summary.skipped:
        first = summary.problems[0] if summary.problems else None
        example = f" (the first, {first.id!r}: {first.problem})" if first else ""
        warnings.append(f"{summary.skipped} objects are not in the 3D tileset{example}.")
    return Scene(
        Representation(RepresentationKind.TILESET_3D, TILESET_FILE, 0, 0, properties),
        tuple(summary.bbox84h),
        tuple(warnings),
    )


def vertical_reference(scene: SceneOptions, default: str = "ellipsoidal") -> VerticalReference:
    """What heights count from. Raises OptionError for a word that is not known."""
    from tiles.three_d import VerticalReference

    asked = default if scene.vertical is None else scene.vertical
    if isinstance(asked, int | float):
        return VerticalReference.offset(float(asked))
    makers = {
        "ellipsoidal": VerticalReference.ellipsoidal,
        "egm96": VerticalReference.egm96,
        "automatic": VerticalReference.automatic,
    }
    if asked not in makers:
        raise OptionError(
            f"Heights cannot count from {asked!r}. Allowed: {', '.join(makers)}, or a number of metres to add."
        )
    return makers[asked]()


def _check_fields(scene: SceneOptions, stored: StoredFeatures) -> None:
    names = {field.name for field in stored.fields}
    for wanted in (
        scene.height_field,
        scene.levels_field,
        scene.base_field,
        scene.diameter_field,
        scene.depth_field,
    ):
        if wanted is not None and wanted not in names:
            raise OptionError(
                f"There is no field {wanted!r} for the 3D tileset. The fields: {', '.join(sorted(names))}."
            )


def _all_columns(task: Task, stored: StoredFeatures) -> FeatureColumns:
    """The whole collection, in the order in which it is stored."""
    store = FeatureStore(task.folder / "features.gpkg")
    parts = list(store.slices())
    return FeatureColumns(
        keys=[key for part in parts for key in part.keys],
        ids=[name for part in parts for name in part.ids],
        geometries=np.concatenate([part.geometries for part in parts]),
        columns={
            field.name: [value for part in parts for value in part.columns[field.name]]
            for field in stored.fields
        },
    )


def numbers_of(values: list[Any]) -> Numbers:
    """Values as float64, NaN where there is no number; of text its first number counts ("6", "12.5 m", "3;4")."""
    numbers = np.full(len(values), np.nan)
    for index, value in enumerate(values):
        if isinstance(value, int | float):
            numbers[index] = value
        elif isinstance(value, str) and (found := _NUMBER.match(value)):
            numbers[index] = float(found.group(1).replace(",", "."))
    return numbers


def building_heights(scene: SceneOptions, columns: FeatureColumns) -> Numbers:
    """Height of each footprint in metres, NaN where nothing tells it."""
    heights = np.full(len(columns), np.nan)
    if scene.height_field:
        heights = numbers_of(columns.columns[scene.height_field])
    if scene.levels_field:
        storeys = numbers_of(columns.columns[scene.levels_field]) * STOREY_METRES
        heights = np.where(np.isnan(heights) | (heights <= 0), storeys, heights)
    if scene.default_height is not None:
        heights = np.where(np.isnan(heights) | (heights <= 0), scene.default_height, heights)
    return heights


def _buildings(task: Task, stored: StoredFeatures, columns: FeatureColumns) -> TilesetSummary:
    from tiles.three_d import build_buildings

    scene = task.request.scene
    return build_buildings(
        task.folder / TILESET_FOLDER,
        columns.geometries,
        stored.crs,
        building_heights(scene, columns),
        _ground(scene, columns, stored.crs),
        ids=columns.ids,
        columns=columns.columns,
        vertical=vertical_reference(scene),
        titles=_titles(stored),
        attribution=task.request.attribution,
    )


def _titles(stored: StoredFeatures) -> dict[str, str]:
    return {field.name: field.title or field.name for field in stored.fields}


def _ground(scene: SceneOptions, columns: FeatureColumns, crs: pyproj.CRS) -> Numbers:
    """Height of the ground at each footprint, from a field, a raster, or 0."""
    ground = np.zeros(len(columns))
    if scene.base_field:
        ground = numbers_of(columns.columns[scene.base_field])
    elif scene.ground is not None:
        from tiles.terrain import sample_heights

        inside = shapely.point_on_surface(columns.geometries)
        present = ~shapely.is_missing(inside)
        ground = np.full(len(columns), np.nan)
        ground[present] = sample_heights(scene.ground, shapely.get_coordinates(inside[present]), crs)
        if np.isnan(ground).all():
            raise OptionError(f"The raster {scene.ground.name} has no height at any of these features.")
    known = ground[~np.isnan(ground)]
    return np.where(np.isnan(ground), np.median(known) if len(known) else 0.0, ground)


def _pipes(task: Task, stored: StoredFeatures, columns: FeatureColumns) -> TilesetSummary:
    from tiles.three_d import build_pipes

    scene = task.request.scene
    diameters = np.full(len(columns), np.nan)
    if scene.diameter_field:
        diameters = numbers_of(columns.columns[scene.diameter_field])
    if scene.default_diameter is not None:
        diameters = np.where(np.isnan(diameters), scene.default_diameter, diameters)
    depth = numbers_of(columns.columns[scene.depth_field]) if scene.depth_field else None
    if depth is None and not shapely.has_z(columns.geometries).any():
        raise OptionError("Pipes need a depth field (--depth-field), or lines with heights of their own.")
    return build_pipes(
        task.folder / TILESET_FOLDER,
        columns.geometries,
        stored.crs,
        depth,
        diameters,
        ids=columns.ids,
        columns=columns.columns,
        ground=_ground_function(scene, stored.crs),
        vertical=vertical_reference(scene),
        titles=_titles(stored),
        attribution=task.request.attribution,
    )


def _ground_function(scene: SceneOptions, crs: pyproj.CRS) -> Any:
    """What `build_pipes` takes as ground: 0, or a function of coordinates, the raster's median where it has no height."""
    if scene.ground is None:
        return 0.0
    from tiles.terrain import sample_heights

    sample = partial(sample_heights, scene.ground, crs=crs)

    def ground(places: Numbers) -> Numbers:
        heights = np.asarray(sample(places), dtype=np.float64)
        known = heights[~np.isnan(heights)]
        return np.where(np.isnan(heights), np.median(known) if len(known) else 0.0, heights)

    return ground
