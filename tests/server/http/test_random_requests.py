"""Random requests from fixed seeds: no failure of the server, and every refusal in the form its protocol wants."""

from __future__ import annotations

import random
from typing import Any
from urllib.parse import quote

import pytest

BODIES = [
    b"null",
    b"[]",
    b'{"inputs":[]}',
    b'{"inputs":{"a":"\xff"}}',
    b"[" * 5000,
    b'{"inputs":{"area":{"type":"Polygon"}}}',
]

TEXTS = [
    *(
        "",
        "0",
        "-0",
        "1",
        "-1",
        "1e400",
        "nan",
        "inf",
        "²",
        "١",
        "9" * 30,
        "\0",
        "\ud7ff",
        "城",
        "x" * 2000,
        "../x",
    ),
    *(
        "EPSG:4326",
        "EPSG:0",
        "EPSG:4978",
        "EPSG:5703",
        "http://www.opengis.net/def/crs/EPSG/0/4547",
        "CRS:84",
    ),
    *(
        "113.8,22.6,114.1,22.8",
        "170,-10,-170,10",
        "-180,-90,180,90",
        "1,1,1,1",
        "1,2,3,4,5,6",
        "0,0,1e-320,1",
    ),
    *(
        "2020-01-01",
        "../..",
        "9999-12-31T23:59:59-14:00",
        "2020-13-01",
        "demo.boxes",
        "demo.secret",
        "html",
        "json",
    ),
    *(
        "POINT(1 1)",
        "POINT(nan nan)",
        "POLYGON EMPTY",
        "GEOMETRYCOLLECTION(" * 50,
        "x(5)",
        "true",
        "name",
        "mvt",
    ),
]
NAMES = [
    *(
        "bbox",
        "bbox-crs",
        "crs",
        "limit",
        "offset",
        "cursor",
        "datetime",
        "properties",
        "skipGeometry",
        "f",
        "lang",
    ),
    *(
        "q",
        "width",
        "height",
        "transparent",
        "name",
        "kind",
        "built",
        "coords",
        "within",
        "subset",
        "ids",
        "type",
    ),
]
WMS_NAMES = [
    "SERVICE",
    "REQUEST",
    "VERSION",
    "LAYERS",
    "STYLES",
    "CRS",
    "SRS",
    "BBOX",
    "WIDTH",
    "HEIGHT",
    "FORMAT",
]
SEGMENTS = [
    *(
        "ogc",
        "t",
        "demo",
        "maps",
        "service",
        "wmts",
        "tms",
        "1.0.0",
        "collections",
        "demo.boxes",
        "boxes",
        "items",
    ),
    *(
        "tiles",
        "map",
        "WebMercatorQuad",
        "WorldCRS84Quad",
        "0",
        "1",
        "14",
        "99",
        "-1",
        "queryables",
        "schema",
        "api",
    ),
    *(
        "processes",
        "buffer-clip",
        "execution",
        "jobs",
        "catalogue",
        "download",
        "boxes.csv",
        "3dtiles",
        "terrain",
    ),
    *(
        "coverage",
        "locations",
        "position",
        "radius",
        "static",
        "vendor",
        "cesium",
        "health",
        "ready",
        "metrics",
    ),
    *(
        "%00",
        "%ff",
        "..",
        ".",
        "%2e%2e",
        "%2f",
        "a" * 300,
        "%E5%9F%8E",
        "scene",
        "conformance",
        "0.png",
        "secret",
    ),
]
STARTS = [
    *(
        "/ogc/collections/demo.boxes/items",
        "/ogc/collections/demo.boxes/map",
        "/ogc/collections/demo.boxes/tiles",
    ),
    *(
        "/ogc/collections",
        "/ogc/collections/catalogue/items",
        "/maps/service",
        "/maps/wmts",
        "/maps/tms/1.0.0",
    ),
    *("/ogc/collections/demo.boxes", "/t/demo/ogc/collections/boxes/items", "/ogc/processes", "/", ""),
]
HEADERS = (
    "accept",
    "accept_language",
    "accept_encoding",
    "if_none_match",
    "range",
    "host",
    "authorization",
    "cookie",
)
HEADER_TEXTS = [
    *(
        "*/*",
        "text/html",
        "*",
        "",
        ",;q=",
        "text/html;q=nan",
        "bytes=0-0",
        "bytes=-0",
        "gzip;q=0",
        "[::1]:80",
    ),
    *("Bearer x", "Basic x", 'W/"x"', "zh-CN;q=1e400", "a" * 5000, "\xff\xfe", "a=b; chengtu_language=zh"),
]


def random_request(chance: random.Random) -> tuple[str, str, bytes, dict[str, str]]:
    """Method, address, body and headers of one request."""
    path = chance.choice(STARTS)
    path += "".join(f"/{chance.choice(SEGMENTS)}" for _ in range(chance.choice((0, 0, 0, 0, 1, 2, 5)))) or "/"
    names = WMS_NAMES if path.startswith("/maps") else NAMES
    pairs = (
        f"{quote(chance.choice(names))}={quote(chance.choice([*TEXTS, *SEGMENTS]), safe=',:/')}"
        for _ in range(chance.choice((0, 1, 1, 2, 3, 8)))
    )
    query = "&".join(pairs)
    method = chance.choice(("GET",) * 8 + ("HEAD", "POST", "OPTIONS", "PUT", "DELETE"))
    body = chance.choice([b"", b"x", b"{}", *BODIES]) if method == "POST" else b""
    headers = {
        chance.choice(HEADERS): chance.choice(HEADER_TEXTS) for _ in range(chance.choice((0, 0, 1, 2)))
    }
    return method, f"{path}?{query}" if query else path, body, headers


def check_answer(method: str, url: str, reply: Any) -> None:
    """The rule every answer keeps."""
    said = (method, url[:300], reply.status, reply.body[:300])
    assert reply.status < 500 or reply.status == 503, said
    if reply.status < 400 or method == "HEAD":
        return
    media_type = reply.headers.get("Content-Type", "")
    assert reply.body, said
    if "xml" in media_type:
        assert "/maps" in url, said
    elif not media_type.startswith("text/html"):
        assert media_type == "application/problem+json", said
        assert reply.json["detail"], said


def fuzz(client: Any, seed: int, count: int) -> None:
    chance = random.Random(seed)
    for _ in range(count):
        method, url, body, headers = random_request(chance)
        check_answer(method, url, client.request(method, url, body, **headers))


def test_random_requests(client: Any) -> None:
    fuzz(client, seed=20260101, count=300)


@pytest.mark.acceptance
@pytest.mark.parametrize("seed", range(10))
def test_many_random_requests(client: Any, seed: int) -> None:
    fuzz(client, seed, count=2_000)
