"""Publish CityJSON: a 3D tileset of its objects, and their footprints as features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyproj

from server.publish.building import Built, Task
from server.publish.errors import DamagedFile, OptionError
from server.publish.feature_store import store_features
from server.publish.features import FEATURES_FILE, describe_features
from server.publish.inputs import Input
from server.publish.reference_systems import parse_crs
from server.publish.scenes import TILESET_FOLDER, finished_scene, vertical_reference
from server.publish.vectors import BATCH_SIZE, Batch
from server.registry.catalogue import Field
from tiles.three_d.errors import CityJSONError


def build_city_model(task: Task) -> Built:
    """Footprints as FEATURES, TILES and MAP, and the objects as 3D Tiles. Raises PublishError and ThreeDError."""
    if len(task.inputs) > 1:
        raise OptionError(
            "One CityJSON file makes a collection. Merge the files first (cjio merge), or publish them one by one."
        )
    item = task.inputs[0]
    task.stage("reading")
    try:
        source = FootprintSource(item)
    except CityJSONError as error:
        raise DamagedFile(str(error)) from error
    task.stage("features")
    stored = store_features(
        [source],
        task.folder / FEATURES_FILE,
        task.request,
        lambda done: task.report("features", min(done, 1.0)),
        task.cancelled,
    )
    built = describe_features(task, stored)
    task.stage("3dtiles")
    scene = _scene(task, item.path)
    task.stage("3dtiles", 1.0)
    built.bbox = scene.bbox
    built.representations.append(scene.representation)
    built.warnings += scene.warnings
    return built


def _scene(task: Task, path: Path) -> Any:
    from tiles.three_d import build_cityjson

    asked = task.request.reading.crs
    return finished_scene(
        build_cityjson(
            task.folder / TILESET_FOLDER,
            path,
            crs=parse_crs(asked) if asked else None,
            vertical=vertical_reference(task.request.scene, default="automatic"),
            titles=dict(task.request.field_titles),
            attribution=task.request.attribution,
        )
    )


class FootprintSource:
    """The footprints of a CityJSON file as a source of vector data."""

    def __init__(self, item: Input) -> None:
        from tiles.three_d import read_cityjson_footprints

        found = read_cityjson_footprints(item.path)
        self.name = item.name
        self.crs: pyproj.CRS | None = found.crs
        self.expected: int | None = len(found.ids)
        self.warnings: list[str] = []
        self._ids = found.ids
        self._geometries = found.geometries
        self.fields = tuple(_field(name, values) for name, values in found.columns.items())
        self._columns = {
            field.name: _as(field, values)
            for field, values in zip(self.fields, found.columns.values(), strict=True)
        }

    def batches(self) -> Iterator[Batch]:
        """All footprints, ten thousand at a time."""
        for start in range(0, len(self._ids), BATCH_SIZE):
            part = slice(start, start + BATCH_SIZE)
            columns = {name: values[part] for name, values in self._columns.items()}
            yield Batch(self._geometries[part], columns, self._ids[part])


def _field(name: str, values: Sequence[Any]) -> Field:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return Field(name, "boolean")
    if kinds == {int}:
        return Field(name, "integer")
    if kinds and kinds <= {int, float}:
        return Field(name, "number")
    return Field(name, "string")


def _as(field: Field, values: Sequence[Any]) -> Sequence[Any]:
    if field.type != "string":
        return values
    return [value if value is None or isinstance(value, str) else str(value) for value in values]
