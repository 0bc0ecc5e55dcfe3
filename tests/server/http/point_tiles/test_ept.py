"""EPT over HTTP: every node a LAZ file of its own, together every point of the cloud once."""

from __future__ import annotations

import io
import json
from collections import Counter
from typing import Any

import laspy
import numpy as np
import pytest

BASE = "/ogc/collections/demo.{}/ept"


def nodes_of(client: Any, base: str) -> dict[str, int]:
    """Points by node, all pages followed."""
    found: dict[str, int] = {}
    waiting = ["0-0-0-0"]
    while waiting:
        page = client.json(f"{base}/ept-hierarchy/{waiting.pop()}.json")
        for key, count in page.items():
            if count == -1:
                waiting.append(key)
            else:
                found[key] = count
    return found


@pytest.mark.parametrize("name", ["scan", "mosaic"])
def test_every_point_is_in_one_node(name: str, points: Any, point_city: Any) -> None:
    cloud = point_city.clouds[name]
    for tile in cloud.tiles:
        base = BASE.format(name) + (f"/{tile.name}" if cloud.is_mosaic else "")
        described = points.json(f"{base}/ept.json")
        low, high = np.array(described["bounds"][:3]), np.array(described["bounds"][3:])
        assert np.allclose(high - low, (high - low)[0], rtol=1e-9)
        nodes = nodes_of(points, base)
        assert sum(nodes.values()) == described["points"] == tile.count
        read = [points.get(f"{base}/ept-data/{key}.laz").body for key, count in nodes.items() if count]
        classes: Counter[int] = Counter()
        for (key, count), data in zip(nodes.items(), read, strict=True):
            las = laspy.read(io.BytesIO(data))
            # What QGIS decodes: the number of points in 32 bits, which LAS 1.4 leaves at zero.
            assert int.from_bytes(data[107:111], "little") == len(las)
            depth, *cell = map(int, key.split("-"))
            edge = (high - low) / 2**depth
            inside = las.xyz
            assert len(las) == las.header.point_count == count
            assert (inside >= low + cell * edge - 1e-6).all()
            assert (inside <= low + (np.array(cell) + 1) * edge + 1e-6).all()
            assert np.allclose(las.header.mins, inside.min(axis=0), atol=1e-9)
            assert np.allclose(las.header.maxs, inside.max(axis=0), atol=1e-9)
            returns = np.bincount(las.return_number, minlength=16)[1:]
            assert las.header.number_of_points_by_return.tolist() == returns.tolist()
            crs = las.header.parse_crs()
            assert crs is not None
            assert crs.to_epsg() == 7415 or "28992" in crs.to_wkt()
            classes.update(np.asarray(las.classification).tolist())
        said = {one["name"]: one for one in described["schema"]}
        assert classes == {one["value"]: one["count"] for one in said["Classification"]["counts"]}
        assert list(las.point_format.extra_dimension_names) == ["Height Above"]
        assert said["Height Above"]["type"] == "float"
        assert said["Height Above"]["size"] == 4
        heights = las["Height Above"]
        assert said["Height Above"]["minimum"] <= heights.min()
        assert heights.max() <= said["Height Above"]["maximum"]


def test_a_node_is_the_chunk_of_the_copc(points: Any, point_city: Any) -> None:
    cloud = point_city.clouds["scan"]
    file = cloud.file(cloud.tiles[0])
    for entry in file.entries[:3]:
        key = "-".join(str(int(entry[name])) for name in ("level", "x", "y", "z"))
        data = points.get(f"{BASE.format('scan')}/ept-data/{key}.laz").body
        assert file.read_chunk(entry) in data


def test_both_lanes_answer_alike(points: Any, slow_points: Any) -> None:
    url = f"{BASE.format('scan')}/ept-data/0-0-0-0.laz"
    fast, slow = points.get(url), slow_points.get(url)
    assert fast.body == slow.body
    assert fast.headers == slow.headers
    assert fast.headers["Content-Type"] == "application/vnd.laszip"
    assert "Content-Encoding" not in points.get(url, ACCEPT_ENCODING="gzip").headers
    for client in (points, slow_points):
        again = client.get(url, IF_NONE_MATCH=fast.headers["ETag"])
        assert (again.status, again.body) == (304, b"")
        head = client.request("HEAD", url)
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Length"] == str(len(fast.body))


def test_sources_name_the_copc(points: Any, point_city: Any) -> None:
    base = BASE.format("scan")
    (listed,) = points.json(f"{base}/ept-sources/list.json")
    assert listed["points"] == point_city.clouds["scan"].count
    told = points.json(f"{base}/ept-sources/{listed['url']}")
    assert told[listed["id"]]["points"] == listed["points"]


def test_a_mosaic_has_one_ept_a_tile(points: Any) -> None:
    reply = points.get(f"{BASE.format('mosaic')}/ept.json")
    assert reply.status == 404
    detail = reply.json["detail"]
    assert "mosaic of 6" in detail
    assert "ept/t0_0/ept.json" in detail
    assert points.get(f"{BASE.format('mosaic')}/overview/ept.json").status == 200


@pytest.mark.parametrize(
    "path",
    [
        "nothing.json",
        "ept-data/0-0-0-1.laz",
        "ept-data/9-0-0-0.laz",
        "ept-data/0-0-0.laz",
        "ept-data/99-9999999-9999999-9999999.laz",
        "ept-data/0-0-0-0.laz.laz",
        "ept-data/-1-0-0-0.laz",
        "ept-data/..%2F..%2Fpointcloud.copc.laz",
        "ept-hierarchy/1-0-0-0.json",
        "ept-hierarchy/0-1-0-0.json",
        "ept-sources/1.json",
        "scan/ept.json",
        "%00",
        "ept-data/０-0-0-0.laz",
    ],
)
def test_what_is_not_there(path: str, points: Any) -> None:
    reply = points.get(f"{BASE.format('scan')}/{path}")
    assert reply.status == 404
    assert reply.headers["Content-Type"].startswith("application/problem+json")


def test_parameters_are_refused(points: Any) -> None:
    assert points.get(f"{BASE.format('scan')}/ept.json?bbox=1,2,3,4").status == 400


def test_pages_of_a_large_tree(monkeypatch: pytest.MonkeyPatch, points: Any, point_city: Any) -> None:
    """With the limits of a page lowered, since a tree of thousands of nodes is no test's size."""
    whole = nodes_of(points, BASE.format("scan"))
    monkeypatch.setattr("pointclouds.ept._NODES_OF_ONE_PAGE", 1)
    monkeypatch.setattr("pointclouds.ept._LEVELS_OF_A_PAGE", 1)
    first = points.json(f"{BASE.format('scan')}/ept-hierarchy/0-0-0-0.json")
    depth = max(int(key.split("-")[0]) for key in whole)
    assert depth >= 1
    assert len(first) < len(whole) or depth == 1
    assert nodes_of(points, BASE.format("scan")) == whole
    assert json.dumps(first)


def test_rights(points: Any, point_city: Any) -> None:
    url = f"{BASE.format('secret')}/ept-data/0-0-0-0.laz"
    assert points.get(url).status == 404
    reply = points.get(url, Authorization=f"Bearer {point_city.token}")
    assert reply.status == 200
    assert "private" in reply.headers["Cache-Control"]


def test_the_definition_names_tiles_and_ept(points: Any) -> None:
    document = points.json("/ogc/api?f=json")
    paths = document["paths"]
    for path in (
        "/collections/{collectionId}/3dtiles/content/{level}/{x}/{y}/{z}.glb",
        "/collections/{collectionId}/ept/ept-data/{eptNode}.laz",
    ):
        for parameter in paths[path]["get"]["parameters"]:
            assert parameter["$ref"].rpartition("/")[2] in document["components"]["parameters"]


def test_links_lead_to_tiles_and_ept(points: Any) -> None:
    for name in ("scan", "mosaic"):
        links = points.json(f"/ogc/collections/demo.{name}?f=json")["links"]
        addresses = [link["href"].partition("/collections/")[2] for link in links]
        assert f"demo.{name}/3dtiles/tileset.json" in addresses
        assert f"demo.{name}/3dtiles/explicit/tileset.json" in addresses
        assert f"demo.{name}/3dtiles/1.0/tileset.json" in addresses
        assert (f"demo.{name}/ept/ept.json" in addresses) == (name == "scan")
