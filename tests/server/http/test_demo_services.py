"""The demo city, built whole and asked through the whole server: every kind of representation answers with real data."""

from __future__ import annotations

import gzip
import io
import json
import struct
from pathlib import Path
from typing import Any

import fiona
import numpy as np
import pytest
import rasterio
from PIL import Image

from server.demo import build_demo
from server.http.app import create_app
from server.settings import Settings, load_settings

HELSINKI = "/t/helsinki/ogc/collections"
AREA = {
    "type": "Polygon",
    "coordinates": [[[24.94, 60.165], [24.95, 60.165], [24.95, 60.17], [24.94, 60.17], [24.94, 60.165]]],
}
ODBL = "© OpenStreetMap contributors"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The demo city in a data home of its own."""
    settings = load_settings((), {"CHENGTU_DATA_HOME": str(tmp_path_factory.mktemp("demo"))})
    build_demo(settings)
    return settings


@pytest.fixture(scope="module")
def server(demo: Settings, wsgi_client: Any) -> Any:
    return wsgi_client(create_app(demo))


def picture(reply: Any) -> np.ndarray:
    assert reply.status == 200, reply.body[:300]
    return np.asarray(Image.open(io.BytesIO(reply.body)).convert("RGBA"))


def test_each_layer_has_what_the_issue_promises(server: Any) -> None:
    found = {c["id"]: c for c in server.json("/ogc/collections")["collections"]}
    assert {
        "helsinki.buildings",
        "helsinki.streets",
        "helsinki.addresses",
        "helsinki.places",
        "helsinki.terrain",
        "helsinki.ortho",
        "helsinki.lidar",
        "helsinki.pipes",
        "helsinki.survey-cgcs2000",
        "auckland.pedestrian-counts",
    } <= set(found)
    for name in ("buildings", "streets", "addresses", "places"):
        assert found[f"helsinki.{name}"]["attribution"].startswith(ODBL)
        assert found[f"helsinki.{name}"]["simulated"] is False
    for name in ("terrain", "ortho", "lidar", "pipes", "survey-cgcs2000"):
        assert found[f"helsinki.{name}"]["simulated"] is True
        assert "simulated" in found[f"helsinki.{name}"]["title"]
        chinese = server.json(f"{HELSINKI}/{name}?lang=zh")
        assert "模拟" in chinese["title"]
    assert found["auckland.pedestrian-counts"]["license"] == "CC-BY-4.0"
    assert found["helsinki.survey-cgcs2000"]["storageCrs"].endswith("/EPSG/0/4547")


def test_the_credit_stands_on_every_page_and_in_every_record(server: Any) -> None:
    paths = (
        "/",
        "/t/helsinki/",
        f"{HELSINKI}/buildings?f=html",
        f"{HELSINKI}/streets/items?f=html",
        "/t/helsinki/scene",
    )
    for path in paths:
        assert "OpenStreetMap contributors" in server.get(path).body.decode(), path
    records = server.json("/ogc/collections/catalogue/items?limit=100")
    assert records["numberMatched"] == len(server.json("/ogc/collections")["collections"])
    for record in records["features"]:
        if record["id"].startswith("helsinki.") and "survey" not in record["id"]:
            assert "OpenStreetMap" in json.dumps(record, ensure_ascii=False), record["id"]


def test_records_are_found_by_words_and_place(server: Any) -> None:
    def ids(query: str) -> set[str]:
        return {r["id"] for r in server.json(f"/ogc/collections/catalogue/items?{query}")["features"]}

    assert ids("q=pedestrian") == {"auckland.pedestrian-counts"}
    assert "helsinki.buildings" in ids("q=建筑")
    assert ids("bbox=174,-37,175,-36") == {"auckland.pedestrian-counts"}
    assert server.get("/ogc/collections/catalogue/items?bbox=x").status == 400
    assert server.get("/ogc/collections/catalogue/items/nothing").status == 404


def test_features_of_the_survey_keep_their_chinese_fields(server: Any) -> None:
    item = server.json(f"{HELSINKI}/survey-cgcs2000/items?limit=1")["features"][0]
    assert any("一" <= letter <= "鿿" for name in item["properties"] for letter in name)
    crs = "http://www.opengis.net/def/crs/EPSG/0/4547"
    reply = server.get(f"{HELSINKI}/survey-cgcs2000/items/{item['id']}?crs={crs}")
    assert reply.headers["Content-Crs"] == f"<{crs}>"
    northing, easting = np.asarray(reply.json["geometry"]["coordinates"][0][0]).ravel()[:2]
    # EPSG:4547 names northing first; false easting 500 km.
    assert 2_000_000 < northing < 6_000_000
    assert 300_000 < easting < 700_000


def test_downloads_open_in_gdal(server: Any, tmp_path: Path) -> None:
    count = server.json(f"{HELSINKI}/streets")["itemCount"]
    for ending in ("gpkg", "geojson"):
        file = tmp_path / f"streets.{ending}"
        file.write_bytes(server.get(f"{HELSINKI}/streets/download/streets.{ending}").body)
        options = {"layer": "feature"} if ending == "gpkg" else {}
        with fiona.open(file, **options) as source:
            assert len(source) == count
    rows = server.get(f"{HELSINKI}/streets/download/streets.csv").body.decode("utf-8-sig").splitlines()
    assert len(rows) >= count + 1
    assert server.get(f"{HELSINKI}/streets/download/../../streets.gpkg").status == 404
    assert server.get(f"{HELSINKI}/streets/download/streets.exe").status == 404


def test_series_of_a_counter(server: Any) -> None:
    base = "/t/auckland/ogc/collections/pedestrian-counts"
    places = server.json(f"{base}/locations")
    assert len(places["features"]) == 21
    first = places["features"][0]["id"]
    day = server.json(f"{base}/locations/{first}?datetime=2024-03-01T00:00:00Z/2024-03-01T23:00:00Z")
    assert day["type"] == "Coverage"
    assert len(day["domain"]["axes"]["t"]["values"]) == 24
    (values,) = (r["values"] for r in day["ranges"].values())
    assert len(values) == 24
    assert all(value is None or value >= 0 for value in values)
    near = server.json(f"{base}/position?coords=POINT(174.7665 -36.843)&datetime=2024-03-01T00:00:00Z")
    assert near["type"] in ("Coverage", "CoverageCollection")
    bad = (
        "locations/nothing",
        f"locations/{first}?datetime=99999999999999",
        f"locations/{first}?parameter-name=x",
    )
    for path in (*bad, "position?coords=POINT(1", "position", f"locations/{first}?nothing=1"):
        assert server.get(f"{base}/{path}").status in (400, 404), path


def test_a_part_of_the_terrain(server: Any) -> None:
    reply = server.get(f"{HELSINKI}/terrain/coverage?bbox=24.94,60.165,24.945,60.168")
    with rasterio.MemoryFile(reply.body) as memory, memory.open() as raster:
        assert raster.count == 1
        values = raster.read(1, masked=True)
        assert -20 < values.min() < values.max() < 120
    document = server.json(f"{HELSINKI}/terrain/coverage?scale-factor=32&f=json")
    assert document["type"] == "Coverage"
    for bad in (
        "bbox=1,2,3,4",
        "scale-factor=0",
        "subset=Lat(",
        "nothing=1",
        "scale-factor=nan",
        "properties=9",
    ):
        assert server.get(f"{HELSINKI}/terrain/coverage?{bad}").status in (400, 404), bad


def test_the_whole_orthophoto_is_its_file_by_ranges(server: Any) -> None:
    """It has more values than a computed answer may have; as the stored COG it is sent whole, or in parts."""
    whole = server.get(f"{HELSINKI}/ortho/coverage")
    assert whole.status == 200
    assert whole.headers["Content-Type"] == "image/tiff; application=geotiff"
    with rasterio.MemoryFile(whole.body) as memory, memory.open() as raster:
        assert raster.count == 3
    part = server.get(f"{HELSINKI}/ortho/coverage", Range="bytes=0-99")
    assert (part.status, part.body) == (206, whole.body[:100])
    too_large = server.get(f"{HELSINKI}/ortho/coverage?scale-factor=0.1")
    assert too_large.status == 400
    assert "scale-factor" in too_large.json["detail"]


def test_map_images_and_tiles_show_something(server: Any) -> None:
    shown = picture(
        server.get(f"{HELSINKI}/buildings/map?bbox=24.94,60.165,24.95,60.17&width=400&height=300")
    )
    assert shown.shape == (300, 400, 4)
    assert 0.05 < (shown[..., 3] > 0).mean() < 0.95
    tile = "/map/tiles/WebMercatorQuad/15/9484/18654"
    first = server.get(f"{HELSINKI}/ortho{tile}")
    assert len(np.unique(picture(first)[..., :3].reshape(-1, 3), axis=0)) > 100
    again = server.get(f"{HELSINKI}/ortho{tile}")
    assert (again.body, again.headers["ETag"]) == (first.body, first.headers["ETag"])
    for bad in (
        "bbox=1,1,0,0",
        "width=0",
        "width=5000",
        "width=4096&height=9999",
        "crs=EPSG:0",
        "transparent=no",
    ):
        assert server.get(f"{HELSINKI}/ortho/map?{bad}").status == 400, bad


def test_wms_and_wmts_draw_the_same_data(server: Any) -> None:
    query = "service=WMS&version=1.3.0&request=GetMap&styles=&crs=EPSG:3857&format=image/png&transparent=true"
    box = "bbox=2776400,8437300,2776900,8437800&width=256&height=256"
    drawn = picture(server.get(f"/maps/service?{query}&layers=helsinki.buildings&{box}"))
    assert 0.02 < (drawn[..., 3] > 0).mean() < 1
    kvp = "service=WMTS&version=1.0.0&request=GetTile&layer=ortho&style=&format=image/png"
    capabilities = server.get("/t/helsinki/maps/wmts?service=WMTS&request=GetCapabilities").body.decode()
    assert "ortho" in capabilities
    wrong = server.get(f"/t/helsinki/maps/wmts?{kvp}&tilematrixset=nothing&tilematrix=0&tilerow=0&tilecol=0")
    assert wrong.status in (400, 404)
    assert b"ExceptionReport" in wrong.body
    broken = server.get("/t/helsinki/maps/service?service=WMS&version=1.3.0&request=GetMap&layers=nothing")
    assert broken.status in (200, 400)
    assert b"ServiceException" in broken.body


def test_the_point_cloud_is_read_by_ranges(server: Any) -> None:
    url = f"{HELSINKI}/lidar/pointcloud.copc.laz"
    head = server.get(url, range="bytes=0-588")
    assert head.status == 206
    assert len(head.body) == 589
    assert head.body[:4] == b"LASF"
    assert head.body[377:381] == b"copc"
    size = int(head.headers["Content-Range"].rsplit("/", 1)[1])
    count = struct.unpack_from("<Q", head.body, 247)[0]
    assert count > 100_000
    assert server.get(url, range=f"bytes={size - 1}-").headers["Content-Length"] == "1"
    assert server.get(url, range=f"bytes={size}-").status == 416
    assert server.get(url, if_none_match=head.headers["ETag"]).status == 304


@pytest.mark.parametrize("name", ["buildings", "pipes", "lidar"])
def test_tilesets(server: Any, name: str) -> None:
    tileset = server.json(f"{HELSINKI}/{name}/3dtiles")
    assert tileset["asset"]["version"] == "1.1"
    below = server.json(f"{HELSINKI}/{name}/3dtiles/tileset.json")
    # Relative to the bare address, contents lie one folder deeper.
    assert json.dumps(tileset).replace('"3dtiles/', '"') == json.dumps(below)
    assert '"3dtiles/content/' in json.dumps(tileset)
    compressed = server.get(f"{HELSINKI}/{name}/3dtiles/tileset.json", accept_encoding="gzip")
    assert json.loads(gzip.decompress(compressed.body)) == below
    for bad in ("../features.gpkg", "content/9/9/9.glb", "tileset.json.gz", "%2e%2e/features.gpkg"):
        assert server.get(f"{HELSINKI}/{name}/3dtiles/{bad}").status == 404, bad


def test_terrain_tiles(server: Any) -> None:
    layer = server.json(f"{HELSINKI}/terrain/terrain/layer.json")
    assert layer["format"].startswith("quantized-mesh")
    for x in (0, 1):
        reply = server.get(f"{HELSINKI}/terrain/terrain/0/{x}/0.terrain?v=1.0.0")
        assert reply.headers["Content-Type"].startswith("application/vnd.quantized-mesh")
        assert len(reply.body) > 88


def execute(server: Any, process: str, inputs: Any) -> Any:
    body = json.dumps({"inputs": inputs}).encode()
    url = f"/t/helsinki/ogc/processes/{process}/execution"
    return server.request("POST", url, body, content_type="application/json")


def test_area_statistics(server: Any) -> None:
    reply = execute(
        server, "area-statistics", {"collection": "buildings", "area": AREA, "fields": ["height"]}
    )
    assert reply.status == 200, reply.body
    text = reply.body.decode()
    inside = server.json(f"{HELSINKI}/buildings/items?bbox=24.94,60.165,24.95,60.17&limit=1000")
    assert '"height"' in text
    counted = json.loads(text)
    while "count" not in counted:
        counted = next(value for value in counted.values() if isinstance(value, dict))
    assert 0 < counted["count"] <= inside["numberMatched"]


def test_buffer_and_clip(server: Any) -> None:
    reply = execute(server, "buffer-clip", {"collection": "streets", "distance": 10, "clip": AREA})
    assert reply.status == 200, reply.body
    assert reply.json["type"] == "FeatureCollection"
    assert reply.json["features"]


@pytest.mark.parametrize(
    ("process", "inputs", "status"),
    [
        ("nothing", {}, (404,)),
        ("buffer-clip", {}, (400,)),
        ("buffer-clip", [], (400,)),
        ("buffer-clip", {"collection": "nothing", "distance": 1, "clip": AREA}, (400, 404)),
        ("buffer-clip", {"collection": "streets", "distance": "far", "clip": AREA}, (400,)),
        ("buffer-clip", {"collection": "streets", "distance": 1e9, "clip": AREA}, (400,)),
        ("area-statistics", {"collection": "buildings", "area": {"type": "Polygon"}}, (400,)),
        ("area-statistics", {"collection": "buildings", "area": AREA, "fields": ["nothing"]}, (400,)),
        ("area-statistics", {"collection": "../../etc/passwd", "area": AREA}, (400, 404)),
    ],
)
def test_wrong_inputs_are_refused(server: Any, process: str, inputs: Any, status: tuple[int, ...]) -> None:
    reply = execute(server, process, inputs)
    assert reply.status in status, reply.body
    assert reply.json["detail"]
    assert reply.headers["Content-Type"] == "application/problem+json"


def test_bodies_that_are_not_json_or_too_large(server: Any) -> None:
    url = "/t/helsinki/ogc/processes/buffer-clip/execution"
    assert server.request("POST", url, b"{", content_type="application/json").status == 400
    assert server.request("POST", url, b'"' + b"x" * (11 << 20) + b'"').status == 413
    assert server.get(url).status == 405
