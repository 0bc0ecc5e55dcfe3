"""Points as trees and furniture: which model, how large, where, and what is told of those that cannot be drawn."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import shapely

from providers.features.schema import FieldDefinition
from providers.three_d.instances import InstanceRecipe
from providers.three_d.object_features import FeaturesAt
from providers.three_d.recipes import read_recipe, write_recipe
from tiles.three_d.errors import ThreeDError, UnknownModelError
from tiles.three_d.glb import write_tile
from tiles.three_d.models import MODELS
from tiles.three_d.objects import Detail, InstancePart
from tiles.three_d.placement import LocalFrame
from tiles.three_d.read_glb import read_glb

FRAME = LocalFrame.at(24.94, 60.17, 0.0)
FIELDS = [
    FieldDefinition("种类", "string"),
    FieldDefinition("h", "number"),
    FieldDefinition("crown", "number"),
    FieldDefinition("dir", "number"),
    FieldDefinition("k", "number"),
    FieldDefinition("z", "number"),
]


def columns(rows: list[tuple[Any, ...]]) -> dict[str, list[Any]]:
    return {field.name: [row[number] for row in rows] for number, field in enumerate(FIELDS)}


def points(count: int) -> list[shapely.Geometry]:
    return [shapely.Point(24.94 + number * 1e-4, 60.17) for number in range(count)]


def built(source: Any) -> tuple[Any, list[InstancePart], Any]:
    outlines = list(source.outlines())
    keys = np.concatenate([one.keys for one in outlines])
    loaded = source.load(keys)
    return outlines[0], list(loaded.parts(FRAME, Detail.FULL)), loaded


def test_sizes_headings_and_ground_come_from_fields(make_store: Any) -> None:
    rows = [
        ("a", 20.0, None, 90.0, None, 5.0),
        ("b", None, 14.0, None, None, None),
        ("c", 20.0, 7.0, -90.0, 2.0, 7.0),
        ("d", None, None, None, None, 9.0),
    ]
    generation = make_store(points(4), columns(rows), FIELDS, ids=list("abcd"))
    recipe = InstanceRecipe(
        FeaturesAt(generation), model="broadleaf_tree", height_field="h", width_field="crown", heading_field="dir",
        scale_field="k", base_field="z",
    )  # fmt: skip
    outlines, (part,), loaded = built(recipe.open())
    height, width = MODELS["broadleaf_tree"].height, MODELS["broadleaf_tree"].width
    expected = np.array(
        [[20 / height] * 3, [14 / width] * 3, [14 / width, 14 / width, 40 / height], [1.0, 1.0, 1.0]]
    )
    order = np.argsort(part.feature_ids)
    ids = [loaded.table.columns[0]]
    text = ids[0].values.tobytes().decode()
    by_id = np.argsort(list(text))
    assert np.allclose(part.scales[order][by_id], expected)
    # Where the ground is not known it is the median of the others: 7.
    assert np.allclose(outlines.bottoms[by_id] + 0.0, [5.0, 7.0, 7.0, 9.0], atol=0.2)
    turned = 2 * np.degrees(
        np.arctan2(part.rotations[order][by_id][:, 2], part.rotations[order][by_id][:, 3])
    )
    assert turned[0] % 360.0 == pytest.approx(270.0, abs=0.01)
    assert turned[2] % 360.0 == pytest.approx(90.0, abs=0.01)
    assert (outlines.sizes >= outlines.tops - outlines.bottoms).all()


def test_models_by_value_and_by_name_in_either_language(make_store: Any) -> None:
    kinds = ["杉", "路灯", "Bench", "spaceship", None]
    generation = make_store(
        points(5), columns([(kind, *[None] * 5) for kind in kinds]), FIELDS, ids=list("abcde")
    )
    recipe = InstanceRecipe(FeaturesAt(generation), model_field="种类", models={"杉": "conifer"})
    source = recipe.open()
    _, parts, _ = built(source)
    wanted = {id(MODELS[name].parts) for name in ("conifer", "street_lamp", "bench")}
    assert {id(part.model) for part in parts} == wanted
    assert [(one.id, one.action) for one in source.problems.listed] == [("d", "skipped"), ("e", "skipped")]
    assert "'spaceship'" in source.problems.listed[0].problem
    with_default = InstanceRecipe(FeaturesAt(generation), model="bush", model_field="种类").open()
    assert sum(len(part.positions) for part in built(with_default)[1]) == 5


def test_broken_points_are_told_one_by_one_and_the_rest_is_built(make_store: Any) -> None:
    geometries = [
        shapely.Point(24.94, 60.17),
        None,
        shapely.Point(),
        shapely.box(24.9, 60.1, 25.0, 60.2),
        shapely.MultiPoint([(24.941, 60.17), (24.942, 60.17)]),
        shapely.Point(24.943, 60.17),
        shapely.Point(24.944, 60.17),
    ]
    rows = [("x", value, None, None, None, ground) for value, ground in zip(
        [5.0, 5.0, 5.0, 5.0, -3.0, 1e9, 5.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1e7], strict=True
    )]  # fmt: skip
    generation = make_store(geometries, columns(rows), FIELDS, ids=list("abcdefg"))
    source = InstanceRecipe(FeaturesAt(generation), model="palm", height_field="h", base_field="z").open()
    _, (part,), loaded = built(source)
    told = {one.id: (one.action, one.problem) for one in source.problems.listed}
    assert {name: action for name, (action, _) in told.items() if action == "skipped"}.keys() >= {
        "b",
        "d",
        "g",
    }
    assert told["b"][1] == "it has no geometry"
    assert told["d"][1] == "it is no point"
    assert told["e"][0] == told["f"][0] == "repaired"
    assert "its height -3 is not above 0" in told["e"][1]
    assert loaded.table.count == 3
    assert len(part.positions) == 4
    assert np.bincount(part.feature_ids).tolist().count(2) == 1


def test_a_file_of_the_users_is_a_model_and_the_recipe_survives_its_folder(make_store: Any) -> None:
    rows = [("x", 3.0, None, None, None, None)] * 2
    generation = make_store(points(2), columns(rows), FIELDS)
    models = generation / "scene" / "models"
    models.mkdir(parents=True)
    (models / "own.glb").write_bytes(own_model())
    recipe = InstanceRecipe(FeaturesAt(generation), model="scene/models/own.glb", height_field="h")
    write_recipe(generation, recipe)
    again = read_recipe(generation)
    assert again == recipe
    assert pickle.loads(pickle.dumps(again)) == recipe
    _, parts, loaded = built(again.open())
    content = write_tile(parts, FRAME, loaded.table)
    height = read_glb(content).triangles()[0]
    assert len(height) == 2
    (models / "own.glb").write_bytes(b"broken")
    with pytest.raises(ThreeDError):
        again.open()
    (models / "own.glb").unlink()
    with pytest.raises(ThreeDError, match=r"own\.glb cannot be read"):
        again.open()
    with pytest.raises(UnknownModelError):
        InstanceRecipe(FeaturesAt(generation), model="spaceship").open()
    with pytest.raises(ThreeDError, match="no model is named"):
        InstanceRecipe(FeaturesAt(generation)).open()


def own_model() -> bytes:
    """A triangle 3 m high, y up."""
    import orjson

    from tiles.three_d.glb_buffer import pack_glb

    binary = np.array([[0, 0, 0], [2, 0, 0], [0, 3, 0]], dtype="<f4").tobytes()
    document = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [
            {
                "bufferView": 0,
                "componentType": 5126,
                "count": 3,
                "type": "VEC3",
                "min": [0, 0, 0],
                "max": [2, 3, 0],
            }
        ],
        "bufferViews": [{"buffer": 0, "byteLength": len(binary)}],
        "buffers": [{"byteLength": len(binary)}],
    }
    return pack_glb(orjson.dumps(document), binary)
