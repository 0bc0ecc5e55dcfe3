"""Files of point clouds over HTTP: the COPC, the tiles of a mosaic, their list, the virtual point cloud; edits and who may make them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import pyproj
import pytest

from pointclouds.copc.check import check_copc
from server.http.app import create_flask, make_services
from server.http.ogc.point_files import raw_allowed
from server.identity.decision import Decision
from server.publish import PublishRequest, publish
from server.publish.point_cloud_options import PointCloudOptions
from server.registry.catalogue import Access
from server.registry.folders import publish_lock_file
from server.registry.locks import try_lock
from server.registry.registry import Registry, open_registry
from server.settings import Settings, load_settings

WEST, SOUTH, SIZE = 84_900.0, 447_500.0, 50.0
BASE = "/t/demo/ogc/collections"
COUNT = 2_000


def scan(path: Path, column: int) -> Path:
    random = np.random.default_rng(column)
    header = laspy.LasHeader(point_format=6, version="1.4")
    header.scales, header.offsets = np.full(3, 0.001), np.array([WEST, SOUTH, 0.0])
    header.add_crs(pyproj.CRS("EPSG:28992"))
    cloud = laspy.LasData(header)
    cloud.x = WEST + SIZE * column + random.uniform(0, SIZE, COUNT)
    cloud.y, cloud.z = SOUTH + random.uniform(0, SIZE, COUNT), random.uniform(0, 9, COUNT)
    cloud.classification = np.full(COUNT, 2, np.uint8)
    cloud.return_number = cloud.number_of_returns = np.ones(COUNT, np.uint8)
    cloud.write(path)
    return path


@dataclass
class Clouds:
    settings: Settings
    registry: Registry
    home: Path

    @property
    def token(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {(self.home / 'operator.token').read_text().strip()}"}

    def generation(self, name: str) -> int:
        found = self.registry.collection("demo", name)
        assert found is not None
        return found.generation


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clouds]:
    files = [scan(tmp_path_factory.mktemp("scans") / f"t{column}.laz", column) for column in range(3)]
    home = tmp_path_factory.mktemp("city") / "home"
    settings = load_settings(
        (), {}, {"data.home": home, "points.build_processes": 1, "points.request_points": 5_000}
    )
    with open_registry(settings) as registry:
        registry.add_tenant("demo", "Demo")
        for name, some, mosaic, access in (
            ("tiles", files, True, Access.PUBLIC),
            ("one", files[:1], False, Access.PUBLIC),
            ("secret", files[:1], True, Access.PRIVATE),
        ):
            request = PublishRequest(
                files=tuple(some), tenant="demo", id=name, titles={"en": name}, access=access,
                points=PointCloudOptions(mosaic=mosaic),
            )  # fmt: skip
            publish(request, registry, settings)
        yield Clouds(settings, registry, home)


@pytest.fixture
def server(clouds: Clouds, wsgi_client: Any) -> Any:
    return wsgi_client(create_flask(make_services(clouds.settings)))


def test_the_copc_of_a_single_cloud(server: Any, tmp_path: Path) -> None:
    whole = server.get(f"{BASE}/one/pointcloud.copc.laz")
    assert (whole.status, whole.headers["Content-Type"]) == (200, "application/vnd.laszip+copc")
    (tmp_path / "got.copc.laz").write_bytes(whole.body)
    assert check_copc(tmp_path / "got.copc.laz") == []
    part = server.get(f"{BASE}/one/pointcloud.copc.laz", Range="bytes=0-588")
    assert (part.status, part.body) == (206, whole.body[:589])
    head = server.request("HEAD", f"{BASE}/one/pointcloud.copc.laz")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(whole.body)))
    again = server.get(f"{BASE}/one/pointcloud.copc.laz", If_None_Match=whole.headers["ETag"])
    assert again.status == 304
    beyond = server.get(f"{BASE}/one/pointcloud.copc.laz", Range=f"bytes={len(whole.body)}-")
    assert beyond.status == 416
    assert server.get(f"{BASE}/one/pointcloud/pointcloud.copc.laz").body == whole.body


def test_the_files_of_a_mosaic(server: Any, tmp_path: Path) -> None:
    refused = server.get(f"{BASE}/tiles/pointcloud.copc.laz")
    assert refused.status == 404
    assert "/pointcloud.vpc" in refused.json["detail"]
    for name in ("t0", "t1", "t2", "overview"):
        reply = server.get(f"{BASE}/tiles/pointcloud/{name}.copc.laz")
        assert reply.status == 200
        (tmp_path / f"{name}.copc.laz").write_bytes(reply.body)
        assert check_copc(tmp_path / f"{name}.copc.laz") == []
        assert (
            server.get(f"{BASE}/tiles/pointcloud/{name}.copc.laz", Range="bytes=-9").body == reply.body[-9:]
        )
    for name in ("t3", "..", "%2e%2e%2fpointcloud", "t0.copc.laz", "x" * 300):
        assert server.get(f"{BASE}/tiles/pointcloud/{name}.copc.laz").status == 404
    assert server.get(f"{BASE}/tiles/pointcloud/t0.copc.laz?x=1").status == 400


def test_the_list_of_files(server: Any) -> None:
    reply = server.get(f"{BASE}/tiles/pointcloud")
    document = reply.json
    assert (document["count"], document["numberMatched"], document["numberReturned"]) == (3 * COUNT, 3, 3)
    assert [tile["name"] for tile in document["tiles"]] == ["t0", "t1", "t2"]
    for column, tile in enumerate(document["tiles"]):
        assert tile["count"] == COUNT
        assert tile["classes"] == {"2": COUNT}
        assert tile["nativeBbox"][0] == pytest.approx(WEST + SIZE * column, abs=1)
        assert tile["bbox"][0] == pytest.approx(4.366 + 0.000727 * column, abs=0.001)
        assert (
            server.get(tile["href"].removeprefix("http://city.example:8000"), Range="bytes=0-3").body
            == b"LASF"
        )
    assert document["overview"]["count"] > 0
    assert server.get(f"{BASE}/tiles/pointcloud", If_None_Match=reply.headers["ETag"]).status == 304
    assert server.request("HEAD", f"{BASE}/tiles/pointcloud").body == b""
    assert server.json(f"{BASE}/one/pointcloud")["tiles"][0]["href"].endswith("/one/pointcloud.copc.laz")


def test_a_file_that_is_gone_is_told(server: Any, clouds: Clouds) -> None:
    (path,) = clouds.home.glob("collections/demo/one/*/pointcloud.copc.laz")
    path.rename(path.with_suffix(".away"))
    try:
        reply = server.get(f"{BASE}/one/pointcloud")
        assert reply.status == 503
        assert "pointcloud.copc.laz cannot be read" in reply.json["detail"]
        assert server.get(f"{BASE}/tiles/pointcloud").status == 200
    finally:
        path.with_suffix(".away").rename(path)


def test_the_list_goes_by_pages_and_places(server: Any) -> None:
    first = server.json(f"{BASE}/tiles/pointcloud?limit=2")
    links = {link["rel"]: link["href"] for link in first["links"]}
    assert [tile["name"] for tile in first["tiles"]] == ["t0", "t1"]
    second = server.json(links["next"].removeprefix("http://city.example:8000"))
    assert [tile["name"] for tile in second["tiles"]] == ["t2"]
    assert "next" not in {link["rel"] for link in second["links"]}
    assert server.json(f"{BASE}/tiles/pointcloud?offset=9")["tiles"] == []
    west, south, bottom, east, north, top = second["tiles"][0]["bbox"]
    middle = f"{(west + east) / 2},{(south + north) / 2}"
    found = server.json(f"{BASE}/tiles/pointcloud?bbox={middle},{middle}")
    assert [tile["name"] for tile in found["tiles"]] == ["t2"]
    assert server.json(f"{BASE}/tiles/pointcloud?bbox=5,52,6,53")["numberMatched"] == 0
    low, high = f"{west},{south},{top + 1}", f"{east},{north},{top + 2}"
    assert server.json(f"{BASE}/tiles/pointcloud?bbox={low},{high}")["numberMatched"] == 0
    assert bottom < top


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "offset=-1", "bbox=1,2,3", "bbox=1,2,3,nan", "colour=red", "limit=1&limit=2"]
)  # fmt: skip
def test_queries_of_the_list_that_cannot_be(server: Any, query: str) -> None:
    reply = server.get(f"{BASE}/tiles/pointcloud?{query}")
    assert reply.status == 400
    assert reply.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(("name", "count"), [("tiles", 3), ("one", 1)])
def test_a_virtual_point_cloud_of_absolute_addresses(server: Any, name: str, count: int) -> None:
    reply = server.get(f"{BASE}/{name}/pointcloud.vpc")
    document = reply.json
    assert document["type"] == "FeatureCollection"
    assert len(document["features"]) == count
    for item in document["features"]:
        href = next(iter(item["assets"].values()))["href"]
        assert href.startswith("http://city.example:8000/t/demo/")
        assert href.endswith("copc.laz")
        assert server.get(href.removeprefix("http://city.example:8000"), Range="bytes=0-3").status == 206
    assert server.get(f"{BASE}/{name}/pointcloud.vpc", If_None_Match=reply.headers["ETag"]).status == 304


def test_documents_link_to_what_there_is(server: Any) -> None:
    def links(name: str) -> set[str]:
        return {link["href"].partition(f"/{name}/")[2] for link in server.json(f"{BASE}/{name}")["links"]}

    assert {"pointcloud.copc.laz", "pointcloud", "pointcloud.vpc"} <= links("one")
    assert {"pointcloud", "pointcloud.vpc"} <= links("tiles")
    assert "pointcloud.copc.laz" not in links("tiles")
    record = server.json("/t/demo/ogc/collections/catalogue/items/tiles")
    assert any(link["href"].endswith("/tiles/pointcloud.vpc") for link in record["links"])


def test_private_clouds_are_not_there(server: Any, clouds: Clouds) -> None:
    for path in ("pointcloud", "pointcloud.vpc", "pointcloud/t0.copc.laz"):
        assert server.get(f"{BASE}/secret/{path}").status == 404
        allowed = server.get(f"{BASE}/secret/{path}", **clouds.token)
        assert allowed.status == 200
        assert "no-store" in allowed.headers["Cache-Control"] or "private" in allowed.headers["Cache-Control"]


@pytest.mark.parametrize(
    "limited",
    [
        Decision(True, frozenset({"Intensity"}), key="x"),
        Decision(True, area="POLYGON((0 0,1 0,1 1,0 0))", key="y"),
    ],
)
def test_files_are_not_for_who_may_see_a_part(
    server: Any, clouds: Clouds, monkeypatch: pytest.MonkeyPatch, limited: Decision
) -> None:
    assert raw_allowed(Decision(True))
    assert not raw_allowed(limited)
    for room in ("services", "ogc.point_edits"):
        monkeypatch.setattr(f"server.http.{room}.decide", lambda *_: limited)
    for path in (
        "tiles/pointcloud",
        "tiles/pointcloud.vpc",
        "tiles/pointcloud/t0.copc.laz",
        "one/pointcloud.copc.laz",
    ):
        assert server.get(f"{BASE}/{path}").status == 403
    assert server.request("DELETE", f"{BASE}/tiles/pointcloud/t0").status == 403
    assert change(server, {}, "tiles", polygon=AREA, to=6).status == 403


# --- edits ---------------------------------------------------------------------------------------------------------------


def ring(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    corners = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [corners]}


AREA = ring(WEST, SOUTH, WEST + 20, SOUTH + 20)


def change(server: Any, token: dict[str, str], name: str = "one", **body: Any) -> Any:
    return server.request(
        "POST",
        f"{BASE}/{name}/pointcloud/reclassify",
        json.dumps(body).encode(),
        CONTENT_TYPE="application/json",
        **token,
    )


def test_points_get_another_class_over_http(server: Any, clouds: Clouds) -> None:
    before = clouds.generation("one")
    tag = server.get(f"{BASE}/one/pointcloud.copc.laz").headers["ETag"]
    reply = change(
        server,
        clouds.token,
        polygon=AREA,
        crs="EPSG:28992",
        heights={"low": 3, "high": 6},
        **{"from": [2]},
        to=6,
    )
    assert reply.status == 200, reply.body
    assert reply.json["what"] == "reclassified"
    assert reply.json["generation"] == clouds.generation("one") == before + 1
    assert reply.json["changed"] is True
    moved = reply.json["counts"]["2"]
    assert 0 < moved < COUNT
    assert server.json(f"{BASE}/one/pointcloud")["tiles"][0]["count"] == COUNT
    assert server.get(f"{BASE}/one/pointcloud.copc.laz", If_None_Match=tag).status == 200
    clouds.registry.restore_generation("demo", "one", before)
    assert server.get(f"{BASE}/one/pointcloud.copc.laz", If_None_Match=tag).status == 304


def test_a_tile_is_removed_over_http(server: Any, clouds: Clouds) -> None:
    before = clouds.generation("tiles")
    assert server.request("DELETE", f"{BASE}/tiles/pointcloud/x", **clouds.token).status == 404
    reply = server.request("DELETE", f"{BASE}/tiles/pointcloud/t1", **clouds.token)
    assert reply.status == 200, reply.body
    assert [tile["name"] for tile in server.json(f"{BASE}/tiles/pointcloud")["tiles"]] == ["t0", "t2"]
    assert server.get(f"{BASE}/tiles/pointcloud/t1.copc.laz").status == 404
    clouds.registry.restore_generation("demo", "tiles", before)


def test_one_edit_at_a_time_over_http(server: Any, clouds: Clouds) -> None:
    lock = try_lock(publish_lock_file(clouds.home, "demo", "one"))
    assert lock is not None
    try:
        assert change(server, clouds.token, polygon=AREA, crs="EPSG:28992", to=6).status == 409
    finally:
        lock.release()


def test_too_many_points_for_one_request(server: Any, clouds: Clouds) -> None:
    whole = ring(WEST, SOUTH, WEST + 3 * SIZE, SOUTH + SIZE)
    reply = change(server, clouds.token, "tiles", polygon=whole, crs="EPSG:28992", to=6)
    assert reply.status == 400
    assert "one request may read 5,000" in reply.json["detail"]


def test_edits_need_the_right_to_write(server: Any, clouds: Clouds) -> None:
    assert change(server, {}, polygon=AREA, to=6).status == 401
    assert server.request("DELETE", f"{BASE}/tiles/pointcloud/t0").status == 401
    assert change(server, {}, "secret", polygon=AREA, to=6).status == 404
    assert server.request("DELETE", f"{BASE}/secret/pointcloud/t0").status == 404
    assert change(server, clouds.token, "nothing", polygon=AREA, to=6).status == 404


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({"to": 6}, "polygon"),
        ({"polygon": {"type": "Point"}, "to": 6}, "polygon"),
        ({"polygon": AREA}, "to"),
        ({"polygon": AREA, "to": 256}, "to"),
        ({"polygon": AREA, "to": -1}, "to"),
        ({"polygon": AREA, "to": True}, "to"),
        ({"polygon": AREA, "to": 2.5}, "to"),
        ({"polygon": AREA, "to": 6, "from": 2}, "from"),
        ({"polygon": AREA, "to": 6, "from": []}, "from"),
        ({"polygon": AREA, "to": 6, "from": [300]}, "from"),
        ({"polygon": AREA, "to": 6, "heights": [1, 2]}, "heights"),
        ({"polygon": AREA, "to": 6, "heights": {}}, "heights"),
        ({"polygon": AREA, "to": 6, "heights": {"low": "x"}}, "low"),
        ({"polygon": AREA, "to": 6, "heights": {"low": 1, "above": "sea"}}, "above"),
        ({"polygon": AREA, "to": 6, "crs": 28992}, "crs"),
        ({"polygon": AREA, "to": 6, "colour": 1}, "colour"),
    ],
)
def test_bodies_that_cannot_be(server: Any, clouds: Clouds, body: dict[str, Any], parameter: str) -> None:
    reply = change(server, clouds.token, **body)
    assert (reply.status, reply.json["parameter"]) == (400, parameter)


def test_bodies_that_are_no_json_object(server: Any, clouds: Clouds) -> None:
    url = f"{BASE}/one/pointcloud/reclassify"
    for body in (b"", b"{", b"[]", b"\xff"):
        assert (
            server.request("POST", url, body, CONTENT_TYPE="application/json", **clouds.token).status == 400
        )
    assert server.request("POST", url, b"{}", CONTENT_TYPE="text/plain", **clouds.token).status == 415
    assert server.request("PUT", url, b"{}", CONTENT_TYPE="application/json", **clouds.token).status == 405
