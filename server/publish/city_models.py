"""Publish city models (CityJSON, CityJSONSeq, CityGML): a 3D tileset of their objects, and their footprints as features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import orjson

from server.publish.building import Built, Task
from server.publish.city_model_rows import CityObjectRows
from server.publish.errors import CrsError, DamagedFile, EmptyDataset
from server.publish.feature_store import store_features
from server.publish.features import FEATURES_FILE, describe_features
from server.publish.inputs import Input
from server.publish.placement_options import model_placement
from server.publish.reference_systems import parse_crs
from server.publish.scenes import TILESET_FOLDER, Scene, finished_scene, glb_options, vertical_reference
from tiles.three_d.errors import CityModelError, VerticalReferenceError
from tiles.three_d.errors import PlacementError as ScenePlacementError
from tiles.three_d.report import ObjectProblem, ProblemLog

if TYPE_CHECKING:
    from tiles.three_d.city_models import CityModelFile
    from tiles.three_d.placed_models import ModelPlacement

SCENE_FOLDER = "scene"
PROBLEMS_FILE = "problems.jsonl"
_MOST_PROBLEMS = 200_000
_EXAMPLES = 5


def build_city_model(task: Task) -> Built:
    """Footprints as FEATURES, TILES and MAP, and the objects as 3D Tiles. Raises PublishError and ThreeDError."""
    with (
        Problems(task.folder / SCENE_FOLDER / PROBLEMS_FILE) as problems,
        CityObjectRows(task.workspace / "city-objects", _name_of(task.inputs)) as rows,
    ):
        _import(task, rows, problems)
        task.stage("features")
        stored = store_features(
            [rows],
            task.folder / FEATURES_FILE,
            task.request,
            lambda done: task.report("features", min(done, 1.0)),
            task.cancelled,
        )
        built = describe_features(task, stored)
        task.stage("3dtiles")
        scene = _scene(task, {field.name: field.title for field in stored.fields if field.title}, problems)
        task.stage("3dtiles", 1.0)
        built.bbox = scene.bbox
        built.representations.append(scene.representation)
        built.warnings += [*problems.warnings(), *scene.warnings]
    return built


def _import(task: Task, rows: CityObjectRows, problems: Problems) -> None:
    """All objects of the inputs in the models store, and as rows of features."""
    from providers.three_d.city_models import MODELS_FILE
    from tiles.three_d.city_models import ModelStoreWriter, common_crs, import_city_models

    task.stage("reading")
    asked = task.request.reading.crs
    try:
        placement = model_placement(task.request.scene.placement, task.request.scene.ground)
        files = [_opened(item, placement, task.workspace) for item in task.inputs]
        crs = parse_crs(asked) if asked else common_crs(files)
        with ModelStoreWriter(task.folder / MODELS_FILE) as writer:
            imported = import_city_models(
                files,
                writer,
                crs,
                vertical_reference(task.request.scene, default="automatic"),
                problems.log,
                take=rows.add,
                watch=lambda done: task.stage("reading", done),
            )
    except CityModelError as error:
        raise DamagedFile(str(error)) from error
    except VerticalReferenceError:
        raise
    except ScenePlacementError as error:
        placed = task.inputs[0].format.key in ("ifc", "gltf", "obj", "ply", "stl", "indoorgml")
        hint = "with --place LON,LAT,HEIGHT" if placed else "Name the CRS with --crs"
        raise CrsError(f"{error} ({hint})." if placed else f"{error}. {hint}.") from error
    if imported.count == 0:
        first = problems.log.listed
        reason = f" ({first[0].id}: {first[0].problem})" if first else ""
        raise EmptyDataset(f"{rows.name} holds no city object that can be drawn{reason}.")
    rows.finish(imported.crs)


def _opened(item: Input, placement: ModelPlacement | None, workspace: Path) -> CityModelFile:
    """The reader of a file. Raises CityModelError, PlacementError."""
    if item.format.key == "ifc":
        from tiles.three_d.placed_models.ifc import IFCFile

        return IFCFile(item.path, placement, workspace)
    if item.format.key in ("gltf", "obj", "ply", "stl"):
        from tiles.three_d.placed_models.meshes import MeshFile

        return MeshFile(item.path, placement, workspace)
    if item.format.key == "indoorgml":
        from tiles.three_d.placed_models.indoorgml import IndoorGMLFile

        return IndoorGMLFile(item.path, placement)
    from tiles.three_d.city_models import open_city_model

    return open_city_model(item.path, workspace)


def _name_of(inputs: Sequence[Input]) -> str:
    names = [item.name for item in inputs]
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _scene(task: Task, titles: Mapping[str, str], problems: Problems) -> Scene:
    from providers.three_d.city_models import CityModelRecipe
    from providers.three_d.object_features import FeaturesAt
    from providers.three_d.recipes import write_recipe
    from tiles.three_d.build import BuildOptions, build_tileset
    from tiles.three_d.build_tile import TileOptions

    recipe = CityModelRecipe(FeaturesAt(task.folder), titles=dict(titles))
    write_recipe(task.folder, recipe)
    summary = build_tileset(
        task.folder / TILESET_FOLDER,
        task.folder / SCENE_FOLDER,
        recipe,
        BuildOptions(TileOptions(glb_options(task.request.scene, task.request.attribution))),
        report=problems.hear,
        progress=lambda done: task.report("3dtiles", min(done, 1.0)),
        cancelled=task.cancelled,
    )
    return finished_scene(summary)


class Problems:
    """What was wrong with single objects: all of it in a file of the generation (one JSON object a line), the sum as warnings."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        self._written = 0
        self._kinds: Counter[tuple[str, str]] = Counter()
        self._first: dict[tuple[str, str], str] = {}
        self.log = ProblemLog(self.hear)

    def __enter__(self) -> Problems:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def hear(self, problem: ObjectProblem) -> None:
        """Take one problem."""
        if self._written < _MOST_PROBLEMS:
            line = {"id": problem.id, "problem": problem.problem, "action": problem.action}
            self._file.write(orjson.dumps(line) + b"\n")
            self._written += 1
        words = problem.problem.split(" ", 1)
        # "3 surfaces left out: ..." and "4 surfaces left out: ..." are one kind.
        what = words[1] if words[0].isdigit() and len(words) == 2 else problem.problem
        key = (problem.action, what)
        self._kinds[key] += 1
        self._first.setdefault(key, problem.id)

    def warnings(self) -> list[str]:
        """A sentence for each kind of problem, the most frequent ones first."""
        common = self._kinds.most_common(_EXAMPLES)
        told = [
            f"{count} city objects: {what} ({action}; the first: {self._first[action, what]!r})."
            for (action, what), count in common
        ]
        others = sum(self._kinds.values()) - sum(count for _, count in common)
        return [*told, f"{others} more problems of city objects."] if others else told
