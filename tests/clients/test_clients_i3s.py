"""I3S scene layers read by @loaders.gl/i3s and drawn by CesiumJS: what they see is what the tilesets hold."""

import json

import numpy as np
import pytest

from tiles.three_d.read_glb import read_glb

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

LAYERS = (
    "houses",
    "parts",
    "pipes",
    "tunnel",
    "boreholes",
    "geology",
    "trees",
    "signs",
    "city",
    "house-ifc",
    "rooms",
)
# How near CesiumJS goes, in radii, where things are thin.
NEAR = {"trees": 0.5, "signs": 0.5, "pipes": 0.3, "boreholes": 0.7}
TEXTURED = ("signs", "city")
FIELD_TYPES = {"esriFieldTypeOID", "esriFieldTypeDouble", "esriFieldTypeString"}


def layer_url(city, name):
    return f"{city.collection(name)}/i3s/SceneServer/layers/0"


@pytest.fixture(scope="module", params=LAYERS)
def read(request, every_scene, root, run, tmp_path_factory):
    """(id of the collection, what loaders.gl read, the folder of positions)."""
    folder = tmp_path_factory.mktemp("i3s")
    script = str(root / "tests" / "clients" / "i3s_read.mjs")
    return (
        request.param,
        json.loads(run("node", script, layer_url(every_scene, request.param), str(folder))),
        folder,
    )


def leaves(layer):
    return [node for node in layer["nodes"] if node["leaf"]]


def finest(every_scene, name):
    """Corners (t, 3, 3) in ECEF of what a viewer sees at last, and the rows of its objects: tiles that add, or have no children."""
    folder = every_scene.folder(name)
    tileset = json.loads((folder / "tileset.json").read_text())
    replaced = tileset["root"].get("refine") == "REPLACE"
    corners, ids = [], set()
    levels = [int(path.parts[-3]) for path in folder.glob("content/*/*/*.glb")]
    for path in folder.glob("content/*/*/*.glb"):
        if replaced and int(path.parts[-3]) != max(levels):
            continue
        contents = read_glb(path.read_bytes())
        triangles, rows = contents.triangles()
        corners.append(triangles)
        ids |= {(str(path), int(row)) for row in np.unique(rows)}
    return np.concatenate(corners), ids


def test_every_node_is_read_and_they_are_one_tree(read):
    _, layer, _ = read
    numbers = [node["id"] for node in layer["nodes"]]
    assert sorted(numbers) == list(range(len(numbers)))
    assert "vertexCount" not in next(node for node in layer["nodes"] if node["id"] == 0)
    for node in layer["nodes"]:
        if "vertexCount" in node:
            assert set(node["sizes"]) == {node["vertexCount"]}
            assert len(node["featureIds"]) == len(node["attributes"]["OBJECTID"])
            assert node["featureIds"] == node["attributes"]["OBJECTID"]


def test_leaves_have_every_triangle_of_the_tileset_at_its_place(read, every_scene):
    name, layer, folder = read
    expected, ids = finest(every_scene, name)
    with_mesh = [node for node in leaves(layer) if "vertexCount" in node]
    found = np.concatenate([np.fromfile(folder / f"{node['id']}.f64").reshape(-1, 3) for node in with_mesh])
    assert len(found) == 3 * len(expected)
    assert sum(len(node["featureIds"]) for node in with_mesh) == len(ids)
    # Float32 degrees from a node's centre: some centimetres, in any direction.
    middle = expected.reshape(-1, 3).mean(axis=0)
    for column in (found, expected.reshape(-1, 3)):
        column -= middle
    for direction in np.eye(3):
        assert np.sort(found @ direction) == pytest.approx(
            np.sort(expected.reshape(-1, 3) @ direction), abs=0.15
        )


def test_attributes_are_complete_and_typed(read):
    _, layer, _ = read
    assert {field["type"] for field in layer["fields"]} <= FIELD_TYPES
    names = [field["name"] for field in layer["fields"]]
    assert names[0] == "OBJECTID"
    assert len(names) == len(set(names)) > 1
    for node in layer["nodes"]:
        if "vertexCount" in node:
            assert list(node["attributes"]) == names
            assert {len(values) for values in node["attributes"].values()} == {len(node["featureIds"])}


def test_texts_and_numbers_of_houses(every_scene, read):
    name, layer, _ = read
    if name != "houses":
        assert layer["nodes"]
        return
    seen = {}
    for node in leaves(layer):
        if "vertexCount" not in node:
            continue
        values = node["attributes"]
        for code, use, year in zip(values["code"], values["用途"], values["year"], strict=True):
            seen[code.rstrip("\0")] = (use.rstrip("\0"), year)
    assert len(seen) == 4000
    assert all(
        value == (("住宅", "商业", "学校")[number % 3], 1950 + number % 70)
        for number, value in ((int(code[1:]), value) for code, value in seen.items())
    )


def test_textures_are_there(read):
    name, layer, _ = read
    sizes = {node["texture"] > 0 for node in layer["nodes"] if "vertexCount" in node}
    assert sizes == {name in TEXTURED}
    if name == "city":
        # Half of its buildings have no picture: the colours of their surfaces stay.
        assert all(node["colours"] >= 3 for node in layer["nodes"] if "vertexCount" in node)


@pytest.mark.parametrize("name", LAYERS)
def test_cesium_draws_and_picks_it(cesium, every_scene, name):
    path = layer_url(every_scene, name)
    result = cesium.scene_layer(
        path.removesuffix("/layers/0") if name == "city" else path,
        pitch=-0.9, adjustMaterialAlphaMode=True, applySymbology=True,
        times=NEAR.get(name, 2.0),
    )  # fmt: skip
    assert (result["loaded"], result["failed"], result["layers"]) == (True, [], 1)
    box = every_scene.collections[name].bbox
    assert result["extent"] == pytest.approx([box[0], box[1], box[3], box[4]], abs=0.02)
    drawn = (cesium.picture() < 250).any(axis=2).mean()
    assert drawn > 0.0005
    hits = cesium.picked(8)
    assert hits
    assert all("OBJECTID" in hit and hit["id"] for hit in hits)
    assert cesium.problems == []


def test_cesium_shades_it_as_it_shades_the_tileset(cesium, every_scene):
    """Normals and colours come through: both pictures of the city have the same shades."""
    tileset = f"{every_scene.collection('city')}/3dtiles/tileset.json"
    assert cesium.tileset(tileset, error=1.0)["failed"] == []
    first = cesium.picture().astype(int)
    cesium.scene_layer(layer_url(every_scene, "city"))
    second = cesium.picture().astype(int)
    shown = [picture[(picture < 250).any(axis=2)] for picture in (first, second)]
    assert shown[0].mean(axis=0) == pytest.approx(shown[1].mean(axis=0), abs=25)
    assert cesium.problems == []


def test_cesium_draws_the_mesh(cesium, every_scene):
    result = cesium.scene_layer(f"{every_scene.collection('city')}/i3s-mesh/SceneServer")
    assert (result["loaded"], result["failed"], result["layers"]) == (True, [], 1)
    assert (cesium.picture() < 250).any(axis=2).mean() > 0.05
    assert cesium.problems == []


def test_filters_reach_every_resource(cesium, every_scene):
    """CesiumJS hands a layer's query on to pages, geometries and attributes."""
    result = cesium.scene_layer(f"{layer_url(every_scene, 'houses')}?year=1960")
    assert (result["loaded"], result["failed"]) == (True, [])
    hits = cesium.picked(8)
    assert {hit["year"] for hit in hits} == {1960}
    assert cesium.problems == []
