"""I3S scene layers: the same city as its 3D tileset, node by node."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.http.app import create_app
from server.http.three_d_live import close_tilesets, live_tileset
from server.publish import PublishRequest, ReadingOptions, SceneOptions, publish
from server.registry.catalogue import Access
from server.registry.registry import open_registry
from server.settings import load_settings
from tiles.three_d.placement import to_ecef
from tiles.three_d.read_glb import read_glb

LAYER = "/t/wuhan/ogc/collections/houses/i3s/SceneServer/layers/0"
COUNT = 9000


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("i3s")
    settings = load_settings((), {}, {"data.home": folder / "home"})
    random = np.random.default_rng(5)
    features = []
    for number, (x, y, size, height) in enumerate(
        random.uniform((0, 0, 6, 4), (1, 1, 25, 60), (COUNT, 4)).tolist()
    ):
        west, south, half = 114.3 + x * 0.03, 30.5 + y * 0.03, size * 4e-6
        ring = [
            [west - half, south - half],
            [west + half, south - half],
            [west + half, south + half],
            [west - half, south + half],
        ]
        properties = {
            "code": f"N{number}",
            "height": round(height, 1),
            "名称": f"楼{number}" if number % 7 else None,
            "floors": number % 40,
        }
        geometry = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
        features.append({"type": "Feature", "properties": properties, "geometry": geometry})
    for name, chosen in (("houses", features), ("secret", features[:20])):
        collection = {"type": "FeatureCollection", "features": chosen}
        (folder / f"{name}.geojson").write_text(json.dumps(collection))
    with open_registry(settings) as registry:
        registry.add_tenant("wuhan", "Wuhan", "武汉")
        for name, access in (("houses", Access.PUBLIC), ("secret", Access.PRIVATE)):
            request = PublishRequest(
                files=(folder / f"{name}.geojson",), tenant="wuhan", id=name, titles={"en": "Houses", "zh": "建筑"}, access=access,
                reading=ReadingOptions(id_field="code"), scene=SceneOptions(height_field="height"),
            )  # fmt: skip
            publish(request, registry, settings)
    return settings.home


@pytest.fixture(scope="module")
def server(home: Path, wsgi_client: Any) -> Iterator[Any]:
    yield wsgi_client(create_app(load_settings((), {}, {"data.home": home})))
    close_tilesets()


def _nodes(server: Any, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    page = 0
    while True:
        reply = server.get(f"{LAYER}/nodepages/{page}{query}")
        if reply.status == 404:
            return found
        assert reply.status == 200, reply.body
        found += reply.json["nodes"]
        page += 1


def _geometry(body: bytes) -> dict[str, Any]:
    vertices, features = struct.unpack_from("<II", body)
    at = 8
    result: dict[str, Any] = {"vertices": vertices, "features": features}
    for name, kind, each, count in (
        ("position", "<f4", 3, vertices), ("normal", "<f4", 3, vertices), ("uv0", "<f4", 2, vertices), ("color", "<u1", 4, vertices),
        ("id", "<u8", 1, features), ("faceRange", "<u4", 2, features),
    ):  # fmt: skip
        size = np.dtype(kind).itemsize * each * count
        result[name] = np.frombuffer(body, kind, each * count, at).reshape(count, each)
        at += size
    assert at == len(body)
    return result


def test_layer_says_what_it_holds(server):
    layer = server.get(LAYER).json
    assert (layer["layerType"], layer["store"]["profile"], layer["store"]["version"]) == (
        "3DObject",
        "meshpyramids",
        "1.8",
    )
    assert {"name": "floors", "alias": "floors", "type": "esriFieldTypeDouble"} in layer["fields"]
    assert any(
        field["name"] == "名称" and field["type"] == "esriFieldTypeString" for field in layer["fields"]
    )
    extent = layer["fullExtent"]
    assert 114.299 < extent["xmin"] < extent["xmax"] < 114.331
    assert len(layer["fields"]) == len(layer["attributeStorageInfo"])
    service = server.get("/t/wuhan/ogc/collections/houses/i3s/SceneServer").json
    assert service["layers"][0]["id"] == 0


@pytest.mark.parametrize("media_type", ["application/json+i3s", "application/i3s+json"])
def test_the_collection_links_to_the_layer_in_both_media_types(server, media_type):
    document = server.get("/t/wuhan/ogc/collections/houses").json
    links = [link for link in document["links"] if link["type"] == media_type]
    assert [link["rel"] for link in links] == ["[ogc-rel:3d-geovolumes]"]
    reply = server.get(links[0]["href"].partition(":8000")[2], ACCEPT=media_type)
    assert (reply.status, reply.headers["Content-Type"]) == (200, media_type)
    assert any(uri.endswith("/conf/i3s") for uri in document["conformsTo"])


def test_the_same_as_one_mesh_is_a_service_of_its_own(server):
    service = server.get("/t/wuhan/ogc/collections/houses/i3s-mesh/SceneServer").json
    (layer,) = service["layers"]
    assert (layer["id"], layer["layerType"], layer["href"]) == (0, "IntegratedMesh", "./layers/0")
    assert not {"fields", "attributeStorageInfo"} & set(layer)
    base = LAYER.replace("/i3s/", "/i3s-mesh/")
    nodes = server.get(f"{base}/nodepages/0").json["nodes"]
    assert [node["obb"] for node in nodes] == [node["obb"] for node in _nodes(server)[: len(nodes)]]
    with_mesh = next(node["mesh"] for node in nodes if "mesh" in node)
    assert "attribute" not in with_mesh
    resource = with_mesh["geometry"]["resource"]
    bodies = [server.get(f"{one}/nodes/{resource}/geometries/0").body for one in (base, LAYER)]
    assert bodies[0] == bodies[1]
    assert server.get(f"{base}/nodes/{resource}/attributes/f_0/0").status == 404
    assert server.get(f"{LAYER[:-1]}1").status == 404


def test_nodes_are_one_tree_with_children_inside(server):
    nodes = _nodes(server)
    assert [node["index"] for node in nodes] == list(range(len(nodes)))
    reached, waiting = set(), [0]
    while waiting:
        number = waiting.pop()
        assert number not in reached
        reached.add(number)
        for child in nodes[number].get("children", []):
            assert nodes[child]["parentIndex"] == number
            waiting.append(child)
    assert reached == set(range(len(nodes)))
    assert len(nodes) > 5


def test_what_a_tile_shows_stays_when_its_children_come(server):
    nodes = _nodes(server)
    for node in nodes:
        if "mesh" not in node or not node.get("children"):
            continue
        resources = [
            nodes[child]["mesh"]["geometry"]["resource"]
            for child in node["children"]
            if "mesh" in nodes[child]
        ]
        assert node["mesh"]["geometry"]["resource"] in resources
    leaves = [node for node in nodes if not node.get("children")]
    shown = [node["mesh"]["geometry"]["featureCount"] for node in leaves]
    assert sum(shown) == COUNT


def test_geometry_is_that_of_the_tileset(server, home):
    nodes = _nodes(server)
    with open_registry(load_settings((), {}, {"data.home": home})) as registry:
        moment = live_tileset(registry.collection("wuhan", "houses")).current()
    codes = moment.derived.codes
    for node in [node for node in nodes if "mesh" in node][:6]:
        resource = node["mesh"]["geometry"]["resource"]
        found = _geometry(server.get(f"{LAYER}/nodes/{resource}/geometries/0").body)
        mesh = node["mesh"]["geometry"]
        assert (found["vertices"], found["features"]) == (mesh["vertexCount"], mesh["featureCount"])
        centre, box = np.array(node["obb"]["center"]), node["obb"]
        place = found["position"].astype(np.float64) + centre
        ecef = to_ecef(place[:, 0], place[:, 1], place[:, 2])
        tile = moment.find(_name(int(codes[resource - 1]))).file
        triangles, _ = read_glb(tile.read_bytes()).triangles()
        expected = triangles.reshape(-1, 3)
        # Float32 offsets of a node of some kilometres: a decimetre at worst at the root, far less below.
        assert np.abs(np.sort(ecef, axis=0) - np.sort(expected, axis=0)).max() < 0.3
        assert _inside(box, ecef)
        ranges = found["faceRange"].astype(np.int64)
        assert ranges[0, 0] == 0
        assert ranges[-1, 1] == found["vertices"] // 3 - 1
        assert (ranges[1:, 0] == ranges[:-1, 1] + 1).all()
        assert np.abs(np.linalg.norm(found["normal"], axis=1) - 1.0).max() < 0.02


def _name(code: int) -> str:
    from tiles.three_d.live_overlay import address_of

    tile = address_of(code)
    return f"content/{tile.level}/{tile.x}/{tile.y}.glb"


def _inside(box: dict[str, Any], ecef: np.ndarray) -> bool:
    x, y, z, w = box["quaternion"]
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    longitude, latitude, height = box["center"]
    middle = to_ecef(np.array([longitude]), np.array([latitude]), np.array([height]))[0]
    local = (ecef - middle) @ turn
    return bool((np.abs(local) <= np.array(box["halfSize"]) + 0.5).all())


def test_attributes_are_those_of_the_features(server):
    layer = server.get(LAYER).json
    keys = {info["name"]: info["key"] for info in layer["attributeStorageInfo"]}
    node = next(node for node in _nodes(server) if "mesh" in node)
    base = f"{LAYER}/nodes/{node['mesh']['attribute']['resource']}/attributes"
    ids = _texts(server.get(f"{base}/{keys['id']}/0").body)
    names = _texts(server.get(f"{base}/{keys['名称']}/0").body)
    floors = server.get(f"{base}/{keys['floors']}/0").body
    count = struct.unpack_from("<I", floors)[0]
    values = np.frombuffer(floors, "<f8", count, 8)
    assert count == len(ids) == len(names) == node["mesh"]["geometry"]["featureCount"]
    for identifier, name, value in zip(ids, names, values.tolist(), strict=True):
        number = int(identifier[1:])
        assert value == number % 40
        assert name == (f"楼{number}" if number % 7 else "")
    objects = server.get(f"{base}/f_0/0").body
    assert len(set(np.frombuffer(objects, "<u4", count, 4).tolist())) == count


def _texts(body: bytes) -> list[str]:
    count, total = struct.unpack_from("<II", body)
    sizes = np.frombuffer(body, "<u4", count, 8).tolist()
    assert sum(sizes) == total == len(body) - 8 - 4 * count
    texts, at = [], 8 + 4 * count
    for size in sizes:
        texts.append(body[at : at + size].decode().removesuffix("\x00"))
        at += size
    return texts


def test_filters_and_rights_are_those_of_the_tileset(server):
    some = sum(
        node["mesh"]["geometry"]["featureCount"]
        for node in _nodes(server, "?floors=5")
        if "mesh" in node and not node.get("children")
    )
    assert some == sum(1 for number in range(COUNT) if number % 40 == 5)
    private = LAYER.replace("houses", "secret")
    for path in ("", "/nodepages/0", "/nodes/1/geometries/0", "/nodes/1/attributes/f_0/0"):
        assert server.get(private + path).status == 404


def test_an_edit_is_in_the_layer(server, home):
    token = (home / "operator.token").read_text().strip()
    url = "/t/wuhan/ogc/collections/houses/items/N7"
    before = server.get(LAYER)
    reply = server.request(
        "DELETE", url, AUTHORIZATION=f"Bearer {token}", IF_MATCH=server.get(url).headers["ETag"]
    )
    assert reply.status == 204, reply.body
    leaves = [node for node in _nodes(server) if "mesh" in node and not node.get("children")]
    assert sum(node["mesh"]["geometry"]["featureCount"] for node in leaves) == COUNT - 1
    after = server.get(LAYER)
    assert after.headers["ETag"] != before.headers["ETag"]
    assert after.json["version"] != before.json["version"]


@pytest.mark.parametrize(
    "path",
    [
        "/nodepages/9999",
        "/nodes/0/geometries/0",
        "/nodes/99999/geometries/0",
        "/nodes/1/attributes/f_99/0",
        "/nodes/1/attributes/x/0",
        "/nodes/1/textures/0",
        "/nodes/1/geometries/1",
        "/nodepages/a",
    ],
)
def test_what_is_not_there_is_not_found(server, path):
    assert server.get(LAYER + path).status == 404
