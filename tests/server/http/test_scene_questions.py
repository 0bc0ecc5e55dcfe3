"""Questions to a city of houses, pipes and terrain that was published, asked over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import rasterio

from server.http.app import create_app
from server.http.three_d_live import close_tilesets
from server.publish import PublishRequest, ReadingOptions, SceneOptions, publish
from server.registry.catalogue import Access
from server.registry.registry import open_registry
from server.settings import load_settings

# About Wuhan; a metre is 9e-6 degrees north and 1.04e-5 east.
LON, LAT = 114.30, 30.55
EAST, NORTH = 1.0430e-5, 9.021e-6


def _place(x: float, y: float) -> list[float]:
    return [LON + x * EAST, LAT + y * NORTH]


def _ring(west: float, south: float, east: float, north: float) -> list[list[float]]:
    return [_place(*xy) for xy in ((west, south), (east, south), (east, north), (west, north), (west, south))]


def _collection(path: Path, features: list[tuple[dict, dict]]) -> Path:
    document = {
        "type": "FeatureCollection",
        "features": [
            {"type": "Feature", "geometry": geometry, "properties": properties}
            for geometry, properties in features
        ],
    }
    path.write_text(json.dumps(document))
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("questions")
    settings = load_settings((), {}, {"data.home": folder / "home"})
    registry = open_registry(settings)
    registry.add_tenant("wuhan", "Wuhan", "武汉")
    houses = _collection(
        folder / "houses.geojson",
        [
            (
                {"type": "Polygon", "coordinates": [_ring(10, -10, 30, 10)]},
                {"code": "H1", "height": 24.0, "名称": "学校"},
            ),
            (
                {"type": "Polygon", "coordinates": [_ring(60, -10, 80, 10)]},
                {"code": "H2", "height": 9.0, "名称": "仓库"},
            ),
        ],
    )
    pipes = _collection(
        folder / "pipes.geojson",
        [
            (
                {"type": "LineString", "coordinates": [_place(-40, 0), _place(100, 0)]},
                {"code": "P1", "depth": 3.0, "dn": 1.0},
            )
        ],
    )
    parcels = _collection(
        folder / "parcels.geojson",
        [
            ({"type": "Polygon", "coordinates": [_ring(0, -50, 50, 50)]}, {"code": "A", "use": "住宅"}),
            ({"type": "Polygon", "coordinates": [_ring(50, -50, 100, 50)]}, {"code": "B", "use": "工业"}),
        ],
    )
    terrain = folder / "terrain.tif"
    with rasterio.open(
        terrain,
        "w",
        driver="GTiff",
        width=200,
        height=200,
        count=1,
        dtype="float32",
        crs="EPSG:4326",
        transform=rasterio.transform.from_bounds(
            LON - 0.005, LAT - 0.005, LON + 0.005, LAT + 0.005, 200, 200
        ),
    ) as file:
        file.write(np.full((1, 200, 200), 20.0, dtype=np.float32))

    def put(name: str, file: Path, scene: dict, access: Access = Access.PUBLIC, **reading: str) -> None:
        request = PublishRequest(
            files=(file,),
            tenant="wuhan",
            id=name,
            titles={"en": name.title()},
            access=access,
            reading=ReadingOptions(**reading),
            scene=SceneOptions(**scene),
        )
        publish(request, registry, settings)

    put("terrain", terrain, {"terrain": True})
    put("houses", houses, {"height_field": "height", "ground": terrain}, id_field="code")
    put("pipes", pipes, {"diameter_field": "dn", "depth_field": "depth", "ground": terrain}, id_field="code")
    put(
        "secret",
        pipes,
        {"diameter_field": "dn", "depth_field": "depth", "ground": terrain},
        Access.PRIVATE,
        id_field="code",
    )
    put("parcels", parcels, {}, id_field="code")
    registry.close()
    return settings.home


@pytest.fixture(scope="module")
def city(home: Path, wsgi_client) -> Iterator:
    yield wsgi_client(create_app(load_settings((), {}, {"data.home": home})))
    close_tilesets()


def _profile(client, x: float, y: float, more: str = ""):
    longitude, latitude = _place(x, y)
    return client.get(f"/t/wuhan/ogc/profile?coords={quote(f'POINT({longitude} {latitude})')}{more}")


def _run(client, process: str, **inputs):
    body = json.dumps({"inputs": inputs}).encode()
    return client.request(
        "POST", f"/t/wuhan/ogc/processes/{process}/execution", body, CONTENT_TYPE="application/json"
    )


def _point(x: float, y: float, *z: float) -> dict:
    return {"type": "Point", "coordinates": [*_place(x, y), *z]}


def test_profile_from_sky_to_bedrock(city):
    reply = _profile(city, 20, 0)
    assert reply.status == 200, reply.body
    answer = reply.json
    assert answer["ground"] == pytest.approx(20.0, abs=0.1)
    found = [(one["collection"], one["id"], one["top"], one["bottom"]) for one in answer["layers"]]
    assert found == [
        ("houses", "H1", pytest.approx(44.0, abs=0.1), pytest.approx(20.0, abs=0.1)),
        ("pipes", "P1", pytest.approx(17.5, abs=0.1), pytest.approx(16.5, abs=0.1)),
    ]
    assert answer["layers"][0]["properties"]["名称"] == "学校"
    assert answer["layers"][1]["depth"] == pytest.approx(2.5, abs=0.1)
    assert [(one["collection"], one["properties"]["use"]) for one in answer["features"]] == [
        ("parcels", "住宅")
    ]


def test_profile_of_the_city_names_tenants(city):
    longitude, latitude = _place(20, 0)
    answer = city.get(f"/ogc/profile?coords=POINT({longitude}%20{latitude})&collections=wuhan.houses").json
    assert [one["collection"] for one in answer["layers"]] == ["wuhan.houses"]


def test_private_objects_are_not_there(city):
    assert "secret" not in {one["collection"] for one in _profile(city, 20, 0).json["layers"]}
    refused = _profile(city, 20, 0, "&collections=secret")
    missing = _profile(city, 20, 0, "&collections=nothing")
    assert (refused.status, missing.status) == (400, 400)
    assert refused.json["detail"].replace("secret", "nothing") == missing.json["detail"]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?coords=",
        "?coords=POINT(200%2010)",
        "?coords=POINT(0%2089.5)",
        "?coords=POLYGON((0%200,1%200,1%201,0%200))",
        "?coords=POINT(nan%201)",
        "?coords=POINT%20EMPTY",
        "?coords=POINT(0%200)&ground=houses",
        "?coords=POINT(0%200)&x=1",
        "?coords=POINT(0%200)&collections=" + ",".join(["houses"] * 51),
        "?coords=POINT(0%200)&collections=parcels",
    ],
)
def test_bad_profile_is_said(city, query):
    reply = city.get(f"/t/wuhan/ogc/profile{query}")
    assert reply.status == 400, reply.body
    assert reply.headers["Content-Type"] == "application/problem+json"


def test_an_edit_is_in_the_next_answer(city, home):
    token = (home / "operator.token").read_text().strip()
    url = "/t/wuhan/ogc/collections/houses/items/H2"
    before = city.get(url)
    assert _profile(city, 70, 0).json["layers"][0]["top"] == pytest.approx(29.0, abs=0.1)
    for height in (50.0, 9.0):
        etag = city.get(url).headers["ETag"]
        reply = city.request(
            "PATCH",
            url,
            json.dumps({"properties": {"height": height}}).encode(),
            CONTENT_TYPE="application/merge-patch+json",
            AUTHORIZATION=f"Bearer {token}",
            IF_MATCH=etag,
        )
        assert reply.status in (200, 204), reply.body
        assert _profile(city, 70, 0).json["layers"][0]["top"] == pytest.approx(20.0 + height, abs=0.1)
    assert city.get(url).json["properties"] == before.json["properties"]


def test_processes_are_listed_in_both_languages(city):
    wanted = {
        "vertical-profile",
        "objects-in-box",
        "clearance",
        "line-of-sight",
        "viewshed",
        "shadow",
        "sky-view",
    }
    assert wanted <= {one["id"] for one in city.get("/ogc/processes").json["processes"]}
    for process in wanted:
        chinese = city.get(f"/ogc/processes/{process}?lang=zh").json["title"]
        assert any("\u4e00" <= letter <= "\u9fff" for letter in chinese)


def test_objects_in_a_box(city):
    west, south = _place(0, -20)
    east, north = _place(50, 20)
    low = _run(city, "objects-in-box", bbox=[west, south, 0, east, north, 19])
    every = _run(city, "objects-in-box", bbox=[west, south, east, north])
    assert [one["id"] for one in low.json["objects"]] == ["P1"]
    assert [one["id"] for one in every.json["objects"]] == ["P1", "H1"]


def test_clearance_of_a_planned_pipe(city):
    line = {"type": "LineString", "coordinates": [_place(0, -20), _place(0, 20)]}
    reply = _run(
        city, "clearance", line=line, diameter=0.4, depth=1.5, within=3, required=1.0, collections=["pipes"]
    )
    assert reply.status == 200, reply.body
    (found,) = reply.json["clearances"]
    # Axis at 18.5, its underside at 18.3; the old pipe's top is at 17.5.
    assert found["distance"] == pytest.approx(0.8, abs=0.08)
    assert found["vertical"] > 0.9
    assert (found["kept"], reply.json["kept"]) == (False, False)
    assert found["along"] == pytest.approx(20.0, abs=0.5)


def test_line_of_sight_names_the_house(city):
    blocked = _run(city, "line-of-sight", observer=_point(0, 0), target=_point(45, 0))
    clear = _run(city, "line-of-sight", observer=_point(0, 0, 60.0), target=_point(45, 0, 60.0))
    assert (blocked.json["visible"], blocked.json["by"]["id"]) == (False, "H1")
    assert blocked.json["clear"] == pytest.approx(10.0, abs=0.2)
    assert (clear.json["visible"], clear.json["by"]) == (True, None)


def test_viewshed_and_shadow_are_polygons_on_the_map(city):
    seen = _run(city, "viewshed", observer=_point(0, 0), radius=60, cellSize=2)
    assert seen.status == 200, seen.body
    feature = seen.json
    assert feature["geometry"]["type"] == "MultiPolygon"
    assert 0.5 < feature["properties"]["visibleArea"] / feature["properties"]["area"] < 0.9
    area = {"type": "Polygon", "coordinates": [_ring(-50, -50, 60, 50)]}
    shade = _run(
        city,
        "shadow",
        area=area,
        instants=["2026-06-21T09:00:00+08:00", "2026-06-21T01:00:00+08:00"],
        cellSize=1,
    )
    assert shade.status == 200, shade.body
    morning, night = shade.json["features"]
    assert 80 < morning["properties"]["azimuth"] < 100
    assert 400 < morning["properties"]["shadedArea"] < 900
    assert night["properties"]["altitude"] < 0
    assert night["properties"]["shadedArea"] == pytest.approx(night["properties"]["area"])
    westmost = min(x for polygon in morning["geometry"]["coordinates"] for x, _ in polygon[0])
    assert westmost < _place(9, 0)[0], "in the morning the shadow lies to the west"


def test_cut_and_fill_against_a_level(city):
    area = {"type": "Polygon", "coordinates": [_ring(-20, -20, 20, 20)]}
    reply = _run(city, "cut-and-fill", area=area, elevation=17.0)
    assert reply.status == 200, reply.body
    assert reply.json["cut"] == pytest.approx(40 * 40 * 3, rel=0.05)
    assert reply.json["fill"] == 0.0


def test_sky_and_sunshine(city):
    beside = _run(city, "sky-view", point=_point(9, 0), date="2026-03-20+08:00", radius=100, cellSize=1)
    free = _run(city, "sky-view", point=_point(-40, 40), date="2026-03-20+08:00", radius=100, cellSize=1)
    assert beside.status == free.status == 200, beside.body
    assert beside.json["skyViewFactor"] < 0.75 < free.json["skyViewFactor"]
    assert beside.json["sunshine"]["minutes"] < free.json["sunshine"]["minutes"]
    assert len(free.json["skyline"]) == 72


@pytest.mark.parametrize(
    ("process", "inputs"),
    [
        ("cut-and-fill", {"area": {"type": "Polygon", "coordinates": [_ring(0, 0, 9, 9)]}}),
        (
            "cut-and-fill",
            {"area": {"type": "Polygon", "coordinates": [_ring(0, 0, 9, 9)]}, "design": "houses"},
        ),
        ("vertical-profile", {}),
        ("vertical-profile", {"point": {"type": "Point", "coordinates": [1]}}),
        ("vertical-profile", {"point": {"type": "Point", "coordinates": ["a", 1]}}),
        ("vertical-profile", {"point": {"type": "Point", "coordinates": [0, 0]}, "collections": ["nothing"]}),
        ("vertical-profile", {"point": {"type": "Point", "coordinates": [0, 0]}, "ground": "houses"}),
        ("objects-in-box", {"bbox": [0, 0, 10, 10]}),
        ("objects-in-box", {"bbox": [1, 1, 0.5, 2]}),
        ("objects-in-box", {"bbox": "all"}),
        ("objects-in-box", {}),
        ("clearance", {"line": {"type": "LineString", "coordinates": [[0, 0]]}}),
        ("clearance", {"line": {"type": "LineString", "coordinates": [[0, 0], [0, 0]]}}),
        ("clearance", {"line": {"type": "LineString", "coordinates": [[0, 0], [0, 0.001]]}}),
        (
            "clearance",
            {"line": {"type": "LineString", "coordinates": [_place(0, 0), _place(1, 1)]}, "diameter": -1},
        ),
        ("line-of-sight", {"observer": _point(0, 0), "target": _point(0, 0)}),
        (
            "line-of-sight",
            {"observer": _point(0, 0), "target": {"type": "Point", "coordinates": [10, 10, 1]}},
        ),
        ("viewshed", {"observer": _point(0, 0), "radius": 5000, "cellSize": 0.25}),
        ("viewshed", {"observer": {"type": "Point", "coordinates": [0, 0]}}),
        ("shadow", {"area": {"type": "Polygon", "coordinates": [_ring(0, 0, 9, 9)]}, "instants": ["noon"]}),
        (
            "shadow",
            {
                "area": {"type": "Polygon", "coordinates": [_ring(0, 0, 9, 9)]},
                "instants": ["2026-06-21T09:00:00"],
            },
        ),
        ("shadow", {"area": {"type": "Polygon", "coordinates": [_ring(0, 0, 9, 9)]}, "instants": []}),
        ("sky-view", {"point": _point(0, 0), "date": "2026-13-01+08:00"}),
        ("sky-view", {"point": _point(0, 0), "date": "tomorrow"}),
        ("sky-view", {"point": {"type": "Point", "coordinates": [0, 0]}}),
    ],
)
def test_bad_inputs_are_said(city, process, inputs):
    reply = _run(city, process, **inputs)
    assert reply.status == 400, reply.body
    assert len(reply.json["detail"]) > 20


def test_pages_do_not_name_hidden_fields(city, monkeypatch):
    from server.http import services

    before = services.decide
    pages = ("/t/wuhan/extrusion", "/t/wuhan/scene", "/t/wuhan/ogc/collections/houses?f=html")
    name = json.dumps("名称")[1:-1]
    texts = [city.get(page, ACCEPT="text/html").body.decode() for page in pages]
    assert any(name in text or "名称" in text for text in texts)
    monkeypatch.setattr(
        services, "decide", lambda *asked: replace(before(*asked), hidden_fields=frozenset({"名称"}))
    )
    for page in pages:
        reply = city.get(page, ACCEPT="text/html")
        assert reply.status == 200
        text = reply.body.decode()
        assert name not in text
        assert "名称" not in text
