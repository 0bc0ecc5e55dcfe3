"""Terrain over HTTP: files made at publish and tiles made on request, heights as colours, excavations, rights and bad requests."""

from __future__ import annotations

import gzip
import io
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import rasterio
import shapely
from PIL import Image
from rasterio.transform import from_origin

from server.http.app import create_app
from server.publish import PublishRequest, ReadingOptions, SceneOptions, publish
from server.publish.raster_scenes import add_files
from server.registry.catalogue import Access, RepresentationKind
from server.registry.registry import open_registry
from server.settings import load_settings
from tiles.terrain.mesh import read_tile
from tiles.terrain.tiling import GEOGRAPHIC, GRIDS, MERCATOR

WEST, NORTH, PIXEL, SIZE = 500_000.0, 4_400_000.0, 10.0, 128
BASE = "/t/beijing/ogc/collections"
PIT = "POLYGON((117.004 39.744, 117.006 39.744, 117.006 39.746, 117.004 39.746, 117.004 39.744))"
NOWHERE = "POLYGON((10 10, 10.001 10, 10.001 10.001, 10 10))"


def write_dem(path: Path, *, left: float = WEST, base: float = 100.0) -> Path:
    """A slope that rises by 1 m a pixel to the south, from `base`; EPSG:32650."""
    values = np.tile(np.arange(SIZE, dtype="float32")[:, None] + np.float32(base), (1, SIZE))
    with rasterio.open(
        path, "w", driver="GTiff", width=SIZE, height=SIZE, count=1, dtype="float32", nodata=-9999.0,
        crs="EPSG:32650", transform=from_origin(left, NORTH, PIXEL, PIXEL),
    ) as out:  # fmt: skip
        out.write(values, 1)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Settings and registry of a home with `hills` (files down to level 9), `mosaic` and the private `secret`."""
    folder = tmp_path_factory.mktemp("terrain")
    settings = load_settings((), {}, {"data.home": folder / "home"})
    dem = write_dem(folder / "hills.tif")
    right = write_dem(folder / "right.tif", left=WEST + SIZE * PIXEL)
    water = folder / "water.geojson"
    ring = shapely.box(117.0, 39.74, 117.002, 39.75)
    water.write_text(
        json.dumps({"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(ring)})
    )
    scenes = {
        "hills": (
            (dem,),
            SceneOptions(terrain=True, vertical=20.0, terrain_levels=9, water=str(water)),
            None,
        ),
        "mosaic": ((dem, right), SceneOptions(terrain=True), None),
        "secret": ((dem,), SceneOptions(terrain=True, terrain_levels=4), Access.PRIVATE),
    }
    with open_registry(settings) as registry:
        registry.add_tenant("beijing", "Beijing", "北京")
        for name, (files, scene, access) in scenes.items():
            publish(
                PublishRequest(files=files, tenant="beijing", id=name, titles={"en": name}, scene=scene, access=access),
                registry, settings,
            )  # fmt: skip
        yield settings, registry, folder


@pytest.fixture(scope="module")
def served(place: Any, wsgi_client: Any) -> Any:
    return wsgi_client(create_app(place[0]))


def tile_at(grid: Any, level: int, longitude: float = 117.005, latitude: float = 39.745) -> tuple[int, int]:
    found = grid.range_of((longitude, latitude, longitude, latitude), level)
    return found.west, found.south


def mesh_of(served: Any, path: str, grid: Any, level: int) -> Any:
    x, y = tile_at(grid, level)
    reply = served.get(f"{BASE}/{path}/{level}/{x}/{y}.terrain")
    assert reply.status == 200, reply.body
    return read_tile(reply.body, grid.box(level, x, y))


@pytest.mark.parametrize("name", ["hills", "mosaic"])
@pytest.mark.parametrize(
    ("prefix", "grid"), [("", GEOGRAPHIC), ("/WorldCRS84Quad", GEOGRAPHIC), ("/WebMercatorQuad", MERCATOR)]
)
def test_both_tilings_from_the_root_to_the_deepest_level(
    served: Any, name: str, prefix: str, grid: Any
) -> None:
    layer = served.json(f"{BASE}/{name}/terrain{prefix}/layer.json")
    assert layer["projection"] == grid.projection
    assert layer["metadataAvailability"] == 10
    west, south, east, north = layer["valid_bounds"]
    assert (west, south) == pytest.approx((117.0, 39.738), abs=0.01)
    assert west < east < 117.04
    assert south < north < 39.76
    assert ("watermask" in layer["extensions"]) == (name == "hills")
    lift = 20.0 if name == "hills" else 0.0
    for level in range(0, layer["maxzoom"] + 1, 3):
        mesh = mesh_of(served, f"{name}/terrain{prefix}", grid, level)
        assert (mesh.metadata() is not None) == (level % 10 == 0)
        assert 99.0 + lift <= mesh.header[3] <= mesh.header[4] <= 230.0 + lift
    last = mesh_of(served, f"{name}/terrain{prefix}", grid, layer["maxzoom"])
    assert last.header[4] > last.header[3]


def test_layer_json_lists_what_is_served(served: Any) -> None:
    layer = served.json(f"{BASE}/hills/terrain/layer.json")
    for level, ranges in enumerate(layer["available"]):
        for one in ranges:
            corners = {(one["startX"], one["startY"]), (one["endX"], one["endY"])}
            for x, y in corners:
                assert served.get(f"{BASE}/hills/terrain/{level}/{x}/{y}.terrain").status == 200
            beyond = f"{BASE}/hills/terrain/{level}/{one['endX'] + 1}/{one['endY']}.terrain"
            assert served.get(beyond).status == 404


@pytest.mark.parametrize("level", [9, 12])
def test_files_and_made_tiles_answer_alike(served: Any, level: int) -> None:
    """Level 9 was written by the publish, level 12 is made on request: validators, coding, HEAD and ranges."""
    x, y = tile_at(GEOGRAPHIC, level)
    url = (
        f"{BASE}/hills/terrain/{level}/{x}/{y}.terrain?v=1.0.0&extensions=octvertexnormals-watermask-metadata"
    )
    plain = served.get(url)
    assert plain.status == 200
    assert plain.headers["Content-Type"].startswith("application/vnd.quantized-mesh")
    assert plain.headers["Access-Control-Allow-Origin"] == "*"
    packed = served.get(url, accept_encoding="gzip")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert served.get(url, if_none_match=plain.headers["ETag"]).status == 304
    head = served.request("HEAD", url)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(plain.body))
    assert served.get(url).body == plain.body


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("terrain/99/0/0.terrain", 404),
        ("terrain/3/99999999/0.terrain", 404),
        ("terrain/12/0/0.terrain", 404),
        ("terrain/9/0/0.terrain", 404),
        ("terrain/terrain.json", 404),
        ("terrain/_water.npz", 404),
        ("terrain/layer.json.gz", 404),
        ("terrain/../coverage.tif", 404),
        ("terrain/NZTM2000/layer.json", 404),
        ("terrain/-1/0/0.terrain", 404),
        ("terrain/layer.json?x=1", 400),
        ("terrain-rgb/grey", 404),
        ("terrain-rgb/mapbox/3/8/0.png", 404),
        ("terrain-rgb/mapbox/25/0/0.png", 404),
        ("terrain-rgb/mapbox/3/0/0.jpeg", 404),
        ("terrain-rgb?size=100", 400),
        ("terrain-rgb?format=jpeg", 400),
        ("terrain-rgb?encoding=terrarium", 400),
    ],
)
def test_what_is_not_there(served: Any, path: str, status: int) -> None:
    assert served.get(f"{BASE}/hills/{path}").status == status


def test_private_terrain_is_not_told_of(served: Any) -> None:
    for path in ("terrain/layer.json", "terrain/0/0/0.terrain", "terrain/12/1/1.terrain", "terrain-rgb",
                 "terrain-rgb/mapbox/0/0/0.png", f"terrain/excavation?depth=5&polygon={quote(PIT)}"):  # fmt: skip
        assert served.get(f"{BASE}/secret/{path}").status == 404


def test_water_of_polygons(served: Any) -> None:
    x, y = tile_at(GEOGRAPHIC, 12)
    mesh = read_tile(served.get(f"{BASE}/hills/terrain/12/{x}/{y}.terrain").body, GEOGRAPHIC.box(12, x, y))
    mask = np.frombuffer(mesh.extensions[2], np.uint8).reshape(256, 256)
    assert set(np.unique(mask)) == {0, 255}
    west, south, east, north = mesh.box
    column = int((117.001 - west) / (east - west) * 256)
    row = int((north - 39.745) / (north - south) * 256)
    assert mask[row, column] == 255
    assert mask[row, min(column + 40, 255)] == 0


@pytest.mark.parametrize("encoding", ["mapbox", "terrarium"])
@pytest.mark.parametrize(("size", "form"), [(256, "webp"), (512, "png")])
def test_heights_as_colours(served: Any, encoding: str, size: int, form: str) -> None:
    """In the model's own reference, found by the TileJSON alone."""
    tilejson = served.json(f"{BASE}/hills/terrain-rgb/{encoding}?size={size}&format={form}")
    assert (tilejson["encoding"], tilejson["tileSize"], tilejson["scheme"]) == (encoding, size, "xyz")
    assert tilejson["minzoom"] == 0
    z = tilejson["maxzoom"]
    x, from_south = tile_at(MERCATOR, z)
    url = (
        tilejson["tiles"][0]
        .replace("{z}", str(z))
        .replace("{x}", str(x))
        .replace("{y}", str(2**z - 1 - from_south))
    )
    reply = served.get(url.removeprefix("http://city.example:8000"))
    assert (reply.status, reply.headers["Content-Type"]) == (200, f"image/{form}")
    pixels = np.asarray(Image.open(io.BytesIO(reply.body)).convert("RGB")).astype(float)
    assert pixels.shape == (size, size, 3)
    scales = {"mapbox": (6553.6, 25.6, 0.1, -10_000.0), "terrarium": (256.0, 1.0, 1 / 256, -32_768.0)}
    red, green, blue, offset = scales[encoding]
    heights = pixels @ np.array([red, green, blue]) + offset
    assert 99.0 < heights.min() < heights.max() < 229.0
    assert served.json(f"{BASE}/hills/terrain-rgb")["encoding"] == "mapbox"


def test_links_of_the_collection(served: Any) -> None:
    links = served.json(f"{BASE}/hills")["links"]
    for ending in (
        "/terrain/layer.json",
        "/terrain/WebMercatorQuad/layer.json",
        "/terrain-rgb",
        "/terrain-rgb/terrarium",
    ):
        (found,) = [link for link in links if link["href"].endswith(ending)]
        assert served.get(found["href"].removeprefix("http://city.example:8000")).status == 200


def test_an_excavation(served: Any) -> None:
    url = f"{BASE}/hills/terrain/excavation?polygon={quote(PIT)}&depth=10"
    reply = served.get(url)
    assert reply.status == 200, reply.body
    pit = reply.json
    assert pit["area"] == pytest.approx(171.3 * 222.0, rel=0.01)
    # The slope rises by a tenth; the floor lies 10 m under its lowest point, so the mean depth is 10 + 11.1.
    assert pit["cut"] == pytest.approx(pit["area"] * (10.0 + 11.1), rel=0.01)
    assert pit["fill"] == 0.0
    assert pit["floor"] == pytest.approx(pit["ground"]["lowest"] - 10.0, abs=0.05)
    assert pit["floorEllipsoidal"] == pytest.approx(pit["floor"] + 20.0, abs=0.001)
    assert len(pit["clipping"]) == 4
    assert served.get(url, if_none_match=reply.headers["ETag"]).status == 304
    tileset_link, glb_link = (link["href"].removeprefix("http://city.example:8000") for link in pit["links"])
    tileset = served.json(tileset_link)
    assert tileset["asset"]["version"] == "1.1"
    content = f"{BASE}/hills/terrain/{tileset['root']['content']['uri']}"
    glb = served.get(content)
    assert glb.headers["Content-Type"] == "model/gltf-binary"
    assert glb.body == served.get(glb_link).body
    magic, version, length = struct.unpack_from("<4sII", glb.body)
    assert (magic, version, length) == (b"glTF", 2, len(glb.body))
    posted = served.request(
        "POST", f"{BASE}/hills/terrain/excavation",
        json.dumps({"polygon": shapely.geometry.mapping(shapely.from_wkt(PIT)), "depth": 10}).encode(),
        content_type="application/json",
    )  # fmt: skip
    assert {**posted.json, "links": []} == {**pit, "links": []}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("depth=5", "polygon is needed"),
        (f"polygon={quote(PIT)}", "height of its floor, or its depth"),
        (f"polygon={quote(PIT)}&depth=5&floor=3", "one of them"),
        (f"polygon={quote(PIT)}&depth=-1", "above 0"),
        (f"polygon={quote(PIT)}&depth=1001", "up to 1000"),
        (f"polygon={quote(PIT)}&depth=nan", "a number"),
        (f"polygon={quote(PIT)}&depth=1_0", "a number"),
        (f"polygon={quote(PIT)}&depth=5&slope=9", "10 to 90"),
        (f"polygon={quote(PIT)}&depth=100&slope=20", "meet before"),
        (f"polygon={quote(PIT)}&depth=5&crs=EPSG:99999", "not known to PROJ"),
        (
            f"polygon={quote(PIT)}&depth=5&crs={quote('+init=epsg:4326 +nadgrids=/etc/hosts')}",
            "a code such as",
        ),
        (f"polygon={quote(PIT)}&depth=5&f=xml", "json, glb, 3dtiles"),
        (f"polygon={quote(PIT)}&depth=5&colour=red", "colour"),
        (f"polygon={quote(NOWHERE)}&depth=5", "no heights"),
        ("polygon=LINESTRING(0%200,1%201)&depth=5", "one polygon"),
        ("polygon=POLYGON((0%200,1%201,1%200,0%201,0%200))&depth=5", "not valid"),
        ("polygon=POLYGON((116%2039,118%2039,118%2040,116%2040,116%2039))&depth=5", "m2; allowed"),
        ("polygon=POLYGON((nan%200,1%201,1%200,nan%200))&depth=5", "polygon"),
        ("polygon=circle&depth=5", "not WKT"),
        ("polygon=POLYGON%20EMPTY&depth=5", "one polygon"),
    ],
)
def test_excavations_that_cannot_be_dug(served: Any, query: str, said: str) -> None:
    reply = served.get(f"{BASE}/hills/terrain/excavation?{query}")
    assert reply.status == 400, reply.body
    assert said in reply.json["detail"]


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b"{}", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"{", "application/json", 400),
        (b'{"polygon": {"type": "Polygon", "coordinates": 3}, "depth": 1}', "application/json", 400),
        (b'{"polygon": "POINT(1 1)", "depth": true}', "application/json", 400),
        (b'{"colour": 1}', "application/json", 400),
        (b"polygon", "text/plain", 415),
    ],
)
def test_bodies_that_are_none(served: Any, body: bytes, media_type: str, status: int) -> None:
    reply = served.request("POST", f"{BASE}/hills/terrain/excavation", body, content_type=media_type)
    assert reply.status == status


def test_scenes_that_come_later_are_in_the_terrain(place: Any, served: Any) -> None:
    settings, registry, folder = place
    before = served.json(f"{BASE}/mosaic/terrain/layer.json")
    level = before["maxzoom"]
    longitude = 117.036
    x, y = tile_at(GEOGRAPHIC, level, longitude)
    url = f"{BASE}/mosaic/terrain/{level}/{x}/{y}.terrain"
    assert served.get(url).status == 404
    new = write_dem(folder / "new.tif", left=WEST + 2 * SIZE * PIXEL, base=300.0)
    add_files(registry, settings, "beijing", "mosaic", [new], ReadingOptions())
    after = served.json(f"{BASE}/mosaic/terrain/layer.json")
    assert after["valid_bounds"][2] > before["valid_bounds"][2]
    assert after["version"] != before["version"]
    reply = served.get(url)
    assert reply.status == 200
    assert read_tile(reply.body, GEOGRAPHIC.box(level, x, y)).header[4] > 300.0


def test_a_terrain_of_an_earlier_release_is_served_as_its_files_are(place: Any, wsgi_client: Any) -> None:
    """Without a recipe nothing can be made, and nothing breaks."""
    settings, registry, _ = place
    collection = registry.collection("beijing", "hills")
    folder = collection.path_of(RepresentationKind.TERRAIN).parent
    recipe = folder / "terrain.json"
    content = recipe.read_bytes()
    recipe.unlink()
    try:
        from server.http.ogc import terrain_sources

        terrain_sources._terrains.clear()
        client = wsgi_client(create_app(settings))
        assert client.get(f"{BASE}/hills/terrain/layer.json").status == 200
        assert client.get(f"{BASE}/hills/terrain/0/0/0.terrain").status == 200
        assert client.get(f"{BASE}/hills/terrain-rgb").status == 404
        assert set(GRIDS) == {"WorldCRS84Quad", "WebMercatorQuad"}
    finally:
        recipe.write_bytes(content)
