"""The 3D tileset of a feature collection: buildings from footprints with heights, tubes from lines with diameters."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from providers.features.store import StoreSummary
from providers.three_d.footprints import STOREY_METRES, FootprintRecipe
from providers.three_d.ground import GROUND_FILE, clip_ground
from providers.three_d.numbers import numbers_of
from providers.three_d.object_features import FeaturesAt
from providers.three_d.recipes import SCENE_FOLDER, StoredRecipe, write_recipe
from providers.three_d.underground import Setting
from server.publish.building import Task
from server.publish.errors import OptionError
from server.publish.feature_store import StoredFeatures
from server.publish.request import SceneOptions
from server.publish.underground import kind_asked, prepare_underground
from server.registry.catalogue import Representation, RepresentationKind

if TYPE_CHECKING:
    from tiles.three_d import TilesetSummary, VerticalReference
    from tiles.three_d.glb import GlbOptions

__all__ = ["STOREY_METRES", "numbers_of"]

TILESET_FOLDER = "3dtiles"
TILESET_FILE = "3dtiles/tileset.json"

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
    wants_buildings = asks_for_buildings(scene)
    underground = kind_asked(scene)
    if not (wants_buildings or underground or scene.instances.asked):
        return None
    check_fields(scene, stored.fields)
    task.stage("3dtiles")
    titles = {field.name: field.title for field in stored.fields if field.title}
    features = FeaturesAt(task.folder)
    if underground:
        return _underground_scene(task, underground, features, stored.summary, titles)
    if scene.instances.asked:
        return _instance_scene(task, features, stored.summary, titles)
    _check_dimension(stored.summary.geometry_type, 2)
    ground = keep_ground(scene, stored.summary.bbox, task.folder)
    return scene_of(task, footprint_recipe(scene, features, ground, titles))


def _underground_scene(
    task: Task, kind: str, features: FeaturesAt, summary: StoreSummary, titles: Mapping[str, str]
) -> Scene:
    """What lies under the ground, by the recipe that the options describe."""
    scene = task.request.scene
    ground = keep_ground(scene, summary.bbox, task.folder)
    setting = Setting(
        vertical=vertical_reference(scene),
        ground=None if ground is None else GROUND_FILE,
        default_ground=ground or 0.0,
        titles=titles,
    )
    prepared = prepare_underground(kind, scene, features, setting, summary.geometry_type)
    made = scene_of(task, prepared.recipe)
    return replace(made, warnings=(*prepared.warnings, *made.warnings))


def _instance_scene(
    task: Task, features: FeaturesAt, summary: StoreSummary, titles: Mapping[str, str]
) -> Scene:
    """Trees and street furniture, by the recipe that the options describe."""
    from server.publish.instances import instance_recipe

    scene = task.request.scene
    recipe = instance_recipe(
        scene,
        features,
        summary.geometry_type,
        ground=keep_ground(scene, summary.bbox, task.folder),
        vertical=vertical_reference(scene),
        titles=titles,
    )
    return scene_of(task, recipe)


def scene_of(task: Task, recipe: StoredRecipe) -> Scene:
    """Build the tileset of any source of objects into the generation's folder, and keep its recipe there.

    A publish that was killed while it did this goes on where it was when it is run again.
    """
    summary = build_from_recipe(
        task.folder,
        recipe,
        glb_options(task.request.scene, task.request.attribution),
        lambda done: task.stage("3dtiles", done),
    )
    return finished_scene(summary)


def glb_options(scene: SceneOptions, attribution: str) -> GlbOptions:
    """How the tiles of a collection are written."""
    from tiles.three_d.glb import Compression, GlbOptions

    return GlbOptions(attribution, Compression(scene.compression))


def build_from_recipe(
    folder: Path, recipe: StoredRecipe, glb: GlbOptions, progress: Callable[[float], None]
) -> TilesetSummary:
    """Build the tileset of a recipe into a generation's folder. `progress` may raise to stop it."""
    from tiles.three_d.build import BuildOptions, build_tileset
    from tiles.three_d.build_tile import TileOptions

    write_recipe(folder, recipe)
    options = TileOptions(glb)
    told = orjson.dumps(
        {"recipe": recipe.to_json(), "kind": recipe.kind, "tile": options.to_json()},
        option=orjson.OPT_SORT_KEYS,
    )
    return build_tileset(
        folder / TILESET_FOLDER,
        folder / SCENE_FOLDER,
        recipe,
        BuildOptions(options, fingerprint=hashlib.sha256(told).hexdigest()),
        progress=progress,
    )


def finished_scene(summary: TilesetSummary) -> Scene:
    """The representation of a 3D tileset in the generation's folder."""
    properties = {
        "content": summary.content,
        "feature_count": summary.feature_count,
        "height_reference": summary.height_reference,
    }
    warnings = []
    if summary.skipped:
        first = next((item for item in summary.problems if item.action == "skipped"), None)
        example = f" (the first, {first.id!r}: {first.problem})" if first else ""
        warnings.append(f"{summary.skipped} objects are not in the 3D tileset{example}.")
    if summary.repaired:
        mended = next((item for item in summary.problems if item.action == "repaired"), None)
        example = f" (the first, {mended.id!r}: {mended.problem})" if mended else ""
        warnings.append(f"{summary.repaired} objects were mended for the 3D tileset{example}.")
    return Scene(
        Representation(RepresentationKind.TILESET_3D, TILESET_FILE, 0, 0, properties),
        tuple(summary.bbox84h),
        tuple(warnings),
    )


def asks_for_buildings(scene: SceneOptions) -> bool:
    """Whether the options make buildings of footprints."""
    return bool(scene.height_field or scene.levels_field or scene.default_height is not None)


def footprint_recipe(
    scene: SceneOptions, features: FeaturesAt, ground: float | None, titles: Mapping[str, str]
) -> FootprintRecipe:
    """The recipe that scene options describe. `ground`: what `keep_ground` has answered."""
    return FootprintRecipe(
        features,
        height_field=scene.height_field,
        levels_field=scene.levels_field,
        default_height=scene.default_height,
        min_height_field=scene.min_height_field,
        base_field=scene.base_field,
        ground=None if ground is None else GROUND_FILE,
        default_ground=ground,
        vertical=vertical_reference(scene),
        titles=titles,
    )


def keep_ground(scene: SceneOptions, bbox84: tuple[float, ...], folder: Path) -> float | None:
    """Copy the ground below the collection into the generation's folder; its median height (m), None without a ground.

    Raises OptionError where the raster has no height there.
    """
    if scene.ground is None:
        return None
    from tiles.errors import TilesError

    try:
        return clip_ground(scene.ground, bbox84, folder / GROUND_FILE)
    except TilesError as error:
        raise OptionError(str(error)) from error


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


def check_fields(scene: SceneOptions, fields: Any) -> None:
    """Refuse fields that the collection does not have. `fields` have a `name` each. Raises OptionError."""
    names = {field.name for field in fields}
    for wanted in (
        scene.height_field,
        scene.levels_field,
        scene.min_height_field,
        scene.base_field,
        scene.diameter_field,
        scene.depth_field,
        *scene.instances.fields,
    ):
        if wanted is not None and wanted not in names:
            raise OptionError(
                f"There is no field {wanted!r} for the 3D tileset. The fields: {', '.join(sorted(names))}."
            )


def _check_dimension(geometry_type: str, needed: int) -> None:
    word = ("Point", "LineString", "Polygon")[needed]
    # Of mixed geometries some may fit; if none does, the build says so.
    if word in geometry_type or geometry_type.startswith("Geometry"):
        return
    raise OptionError(
        f"{'Heights' if needed == 2 else 'Diameters'} were given for a 3D tileset, which needs "
        f"{'polygons' if needed == 2 else 'lines'}; these are {geometry_type}."
    )
