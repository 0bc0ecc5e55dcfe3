"""Malformed requests for maps and map tiles: each is refused in words, on every route, and none is a defect of the server."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

ORIGINS = (
    "/ogc/collections/demo.boxes",
    "/t/demo/ogc/collections/boxes",
    "/t/demo/ogc/collections/boxes/styles/polygon",
    "/ogc",
    "/t/demo/ogc/styles/polygon",
)
BAD_QUERIES = (
    # boxes
    "bbox=",
    "bbox=,,,",
    "bbox=1",
    "bbox=1,2,3",
    "bbox=1,2,3,4,5",
    "bbox=1,2,3,4,5,6,7",
    "bbox=a,b,c,d",
    "bbox=nan,0,1,1",
    "bbox=0,0,inf,1",
    "bbox=-inf,0,inf,1",
    "bbox=0,0,1e400,1",
    "bbox=-1e308,-1e308,1e308,1e308",
    "bbox=0,0,1_0,1",
    "bbox=０,0,1,1",
    "bbox=0,0,0,0",
    "bbox=0,1,1,0",
    "bbox=114,23,113,22",
    "bbox=0,0,1,1,",
    "bbox= 0,0,1,1",
    "bbox=0;0;1;1",
    "bbox=0x1,0,1,1",
    "bbox=" + "9" * 5000 + ",0,1,1",
    "bbox=0,0,1,1&bbox=0,0,1,1",
    "bbox=%00,0,1,1",
    "bbox=0,0,1,1%0d%0aX-Evil:1",
    "bbox-crs=EPSG:3857",
    "bbox=0,0,1,1&bbox-crs=",
    "bbox=0,0,1,1&bbox-crs=EPSG:0",
    "bbox=0,0,1,1&bbox-crs=EPSG:4978",
    "bbox=0,0,1,1&bbox-crs=EPSG:5703",
    "bbox=0,0,1,1&bbox-crs=EPSG:999999999",
    "bbox=0,0,1,1&bbox-crs=+proj=merc",
    "bbox=0,0,1,1&bbox-crs=[EPSG:4326",
    "bbox=2e7,2e7,1e7,3e7&bbox-crs=EPSG:3857",
    "bbox=1e9,1e9,2e9,2e9&bbox-crs=EPSG:3857",
    # CRS
    "crs=",
    "crs=EPSG:",
    "crs=EPSG:0",
    "crs=EPSG:²",
    "crs=EPSG:-1",
    "crs=EPSG:" + "9" * 4000,
    "crs=EPSG:5703",
    "crs=EPSG:4978",
    "crs=WGS84",
    "crs=http://example.com/def/crs/EPSG/0/4326",
    "crs=http://www.opengis.net/def/crs/EPSG/0/",
    "crs=http://www.opengis.net/def/crs/OGC/1.3/CRS85",
    "crs=EPSG:3857&crs=EPSG:4326",
    "crs=../../etc/passwd",
    "crs=%00",
    # sizes
    "width=0",
    "height=0",
    "width=-1",
    "width=1.5",
    "width=1e3",
    "width=nan",
    "width=inf",
    "width=",
    "width=²",
    "width=+5",
    "width=4097",
    "width=1000000000",
    "height=1000000000",
    "width=99999999999999999999",
    "width=4096&height=9999",
    "width=10&width=20",
    "width=10,20",
    # scales
    "scale-denominator=0",
    "scale-denominator=-1",
    "scale-denominator=nan",
    "scale-denominator=inf",
    "scale-denominator=",
    "scale-denominator=1e400",
    "scale-denominator=1:5000",
    "scale-denominator=1e-300",
    "scale-denominator=1e13",
    "scale-denominator=1000&bbox=0,0,1,1&width=10",
    "scale-denominator=1000&bbox=0,0,1,1&height=10",
    "scale-denominator=1000&subset=Lat(22:23),Lon(113:114)&width=10",
    "scale-denominator=1&bbox=113,22,114,23",
    "scale-denominator=1e12&width=4096&height=4096&crs=EPSG:4547",
    "mm-per-pixel=0",
    "mm-per-pixel=-0.28",
    "mm-per-pixel=nan",
    "mm-per-pixel=",
    "mm-per-pixel=1e9",
    "mm-per-pixel=a",
    # centers
    "center=",
    "center=1",
    "center=1,2,3",
    "center=a,b",
    "center=nan,nan",
    "center=inf,0",
    "center=0,91",
    "center=1e9,0",
    "center=22.7,114",
    "center=114,22.7&bbox=0,0,1,1",
    "center=114,22.7&subset=Lat(22:23)",
    "center-crs=EPSG:3857",
    "center=114,22.7&center-crs=EPSG:0",
    "center=114,22.7&center=113,22",
    # subsets
    "subset=",
    "subset=Lat",
    "subset=Lat(",
    "subset=Lat()",
    "subset=Lat(22)",
    "subset=Lat(22:23",
    "subset=Lat(22:23))",
    "subset=Lat(22:23),",
    "subset=,Lat(22:23)",
    "subset=Lat(22:23);Lon(113:114)",
    "subset=Lat(22:23:24)",
    "subset=Lat(23:22)",
    "subset=Lat(22:22)",
    "subset=Lat(a:b)",
    "subset=Lat(nan:23)",
    "subset=Lat(1e400:1e401)",
    "subset=Lat(:23)",
    "subset=Lat(22:)",
    "subset=Lat(22:23),Lat(22:23)",
    "subset=Lat(22:23)&subset=Lat(22:23)",
    "subset=height(1:2)",
    "subset=pressure(500)",
    'subset=time("yesterday")',
    'subset=time("2024-01-01")&datetime=2024-01-01',
    'subset=time("2024-13-01T00:00:00Z")',
    "subset=time(2024-01-01T00:00:00Z:2023-01-01T00:00:00Z)",
    'subset=Lat("22":"23)',
    "subset=((((((((((",
    "subset=" + "Lat(1:2)," * 500,
    "subset=Lat(22:23)&bbox=0,0,1,1",
    "subset=Lat(22:23)&subset-crs=EPSG:0",
    "subset-crs=EPSG:4326",
    "subset=%00(1:2)",
    # times
    "datetime=",
    "datetime=now",
    "datetime=2024",
    "datetime=2024-13-01",
    "datetime=2024-02-30",
    "datetime=2024-01-01T25:00:00Z",
    "datetime=2024-01-01/2023-01-01",
    "datetime=2024-01-01/2024-01-02/2024-01-03",
    "datetime=9999-12-31T23:59:59-12:00",
    "datetime=2024-01-01&datetime=2024-01-02",
    # colours and switches
    "bgcolor=",
    "bgcolor=0x12345",
    "bgcolor=0x1234567",
    "bgcolor=0xGGGGGG",
    "bgcolor=nocolour",
    "bgcolor=rgb(1,2,3)",
    "bgcolor=%23",
    "bgcolor=" + "f" * 4000,
    "bgcolor=white&bgcolor=black",
    "void-color=nope",
    "void-color=",
    "transparent=no",
    "transparent=",
    "transparent=1",
    "transparent=true&transparent=false",
    "void-transparent=maybe",
    # parameters
    "unknown=1",
    "BBOX=0,0,1,1",
    "layers=boxes",
    "%00=1",
    "=1",
    "x" * 300 + "=1",
    "f=",
)
BAD_TILE_PATHS = (
    "Nope/0/0/0",
    "WebMercatorQuad/-1/0/0",
    "WebMercatorQuad/0/1/0",
    "WebMercatorQuad/0/0/1",
    "WebMercatorQuad/99/0/0",
    "WebMercatorQuad/1000000000/0/0",
    "WebMercatorQuad/99999999999999999999/0/0",
    "WebMercatorQuad/a/b/c",
    "WebMercatorQuad/0/0/0.5",
    "WebMercatorQuad/0/0/²",
    "WebMercatorQuad/1e1/0/0",
    "WebMercatorQuad/nan/0/0",
    "WebMercatorQuad/ 0/0/0",
    "WebMercatorQuad/%00/0/0",
    "..%2f..%2fetc/0/0/0",
    "WebMercatorQuad/24/16777216/0",
)
BAD_TILE_QUERIES = (
    ("f=gif", 400),
    ("f=tiff", 400),
    ("f=png&f=png", 400),
    ("width=10", 400),
    ("bbox=0,0,1,1", 400),
    ("datetime=now", 400),
    ("datetime=", 400),
    ("datetime=2024-01-01&datetime=2024-01-01", 400),
    ("asof=2024-01-01T00:00:00Z", 400),
    ("transparent=true", 400),
    ("%00=1", 400),
)


def refused(reply: Any, *allowed: int) -> None:
    assert reply.status in allowed, (reply.status, reply.body[:300])
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert json.loads(reply.body)["detail"]


def test_there_are_enough_of_them() -> None:
    assert len(set(BAD_QUERIES)) == len(BAD_QUERIES)
    assert len(BAD_QUERIES) + len(BAD_TILE_PATHS) + len(BAD_TILE_QUERIES) >= 150


@pytest.mark.parametrize("query", BAD_QUERIES, ids=lambda query: query[:60])
def test_a_map_that_cannot_be_asked_for_is_refused_on_every_route(client: Any, query: str) -> None:
    for origin in ORIGINS:
        reply = client.get(f"{origin}/map?{quote(query, safe='=&,:/%()+;')}")
        refused(reply, 400, 406)
        assert b"X-Evil" not in b"".join(value.encode() for value in reply.headers.values())


@pytest.mark.parametrize("path", BAD_TILE_PATHS)
def test_a_tile_that_is_none_is_not_found_on_every_route(client: Any, path: str) -> None:
    for origin in ORIGINS:
        refused(client.get(f"{origin}/map/tiles/{quote(path, safe='/%.')}"), 404)


@pytest.mark.parametrize(("query", "status"), BAD_TILE_QUERIES)
def test_a_tile_with_parameters_that_cannot_be_used_is_refused(client: Any, query: str, status: int) -> None:
    for origin in ORIGINS:
        refused(client.get(f"{origin}/map/tiles/WebMercatorQuad/10/445/835?{query}"), status)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/ogc/map?collections=", 400),
        ("/ogc/map?collections=,", 400),
        ("/ogc/map?collections=demo.nothing", 404),
        ("/ogc/map?collections=demo.secret", 404),
        ("/ogc/map?collections=" + ",".join(f"demo.c{number}" for number in range(21)), 400),
        ("/ogc/map?collections=http://elsewhere.example/ogc/collections/demo.boxes", 404),
        ("/ogc/collections/demo.boxes/map?collections=demo.boxes", 400),
        ("/ogc/collections/demo.boxes/styles/none/map", 404),
        ("/ogc/collections/demo.boxes/styles/dem/map", 404),
        ("/ogc/collections/demo.boxes/styles/..%2fdem/map", 404),
        ("/ogc/styles/none/map", 404),
        ("/ogc/styles/none/map/tiles/WebMercatorQuad/0/0/0", 404),
        ("/ogc/map/tiles/Nope", 404),
        ("/ogc/map/tiles/Nope?f=tilejson", 404),
        ("/ogc/map/tiles?collections=demo.nothing", 404),
        ("/ogc/map/tiles/WebMercatorQuad/0/0/0?collections=demo.nothing", 404),
        ("/ogc/map?f=gif", 406),
        ("/t/nobody/ogc/map", 404),
    ],
)
def test_names_that_are_not_there(client: Any, path: str, status: int) -> None:
    refused(client.get(path), status)


@pytest.mark.parametrize(
    "query", ["subset=Lat(91:95)", "subset=Lon(200:210)", "subset=Lat(-99:-95),Lon(0:1)"]
)
def test_a_subset_outside_its_axis_has_no_content(client: Any, query: str) -> None:
    reply = client.get(f"/ogc/collections/demo.boxes/map?{query}")
    assert (reply.status, reply.body) == (204, b"")


@pytest.mark.parametrize(
    "query",
    [
        "bbox=113.9,22.6,0,114,22.7,1",
        "bbox=170,10,-170,20&width=64",
        "bbox=-180,-90,180,90&width=64&height=32",
        "bbox=-400,-80,400,80&width=64&crs=EPSG:3857",
        "bbox=-180,-90,180,90&crs=EPSG:3857&width=64",
        "bbox=0,0,1e-9,1&width=16",
        "crs=[EPSG:3857]&width=16",
        "crs=urn:ogc:def:crs:EPSG::4490&width=16",
        "center=180,0&width=64&height=64&scale-denominator=1e7",
        "center=0,90&width=64&height=64&scale-denominator=1e7",
        "subset=Lon(170:-170)&subset=Lat(10:20)&width=64",
        "datetime=../..&width=16",
        "datetime=1000-01-01/1001-01-01&width=16",
        "bgcolor=REBECCAPURPLE&width=16",
        "mm-per-pixel=0.14&width=16",
    ],
)
def test_unusual_maps_are_drawn_all_the_same(client: Any, query: str) -> None:
    for origin in ORIGINS:
        assert client.get(f"{origin}/map?{quote(query, safe='=&,:/%()')}").status == 200, query
