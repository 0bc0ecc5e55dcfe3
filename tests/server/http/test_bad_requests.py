"""What a hostile or broken client sends: every answer is a status that says so, in the form its protocol wants."""

from __future__ import annotations

import io
import json
import random
import threading
import time
from typing import Any
from urllib.parse import quote

import pytest

from server.http.errors import Overloaded, PayloadTooLarge, RequestTimeout
from server.http.places import Places
from server.http.request_body import BodyReader
from server.registry.catalogue import Access

BOXES = "/ogc/collections/demo.boxes"
AREA = {
    "type": "Polygon",
    "coordinates": [[[113.85, 22.65], [113.9, 22.65], [113.9, 22.7], [113.85, 22.65]]],
}


def assert_problem(reply: Any, status: int) -> None:
    """A problem document with a detail (RFC 9457)."""
    assert reply.status == status, (reply.status, reply.body[:300])
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.json["status"] == status
    assert reply.json["detail"]


# --- paths ------------------------------------------------------------------------------------------------------------

STRANGE_NAMES = [
    "%00",
    "a%00b",
    "%ff",
    "%ED%A0%80",
    "a" * 300,
    "a/" * 2500 + "a",
    "..%2f..%2fregistry.sqlite",
    "%2e%2e/features.gpkg",
    "%252e%252e%252ffeatures.gpkg",
    "..\\features.gpkg",
    "%2fetc%2fpasswd",
    ".",
    "9" * 5000,
]


@pytest.mark.parametrize("name", STRANGE_NAMES)
@pytest.mark.parametrize(
    "prefix",
    [
        "/static/",
        "/vendor/cesium/",
        "/vendor/",
        "/t/",
        "/ogc/collections/",
        f"{BOXES}/items/",
        f"{BOXES}/download/",
        f"{BOXES}/tiles/",
        "/ogc/tileMatrixSets/",
        "/ogc/processes/",
        "/ogc/collections/catalogue/items/",
    ],
)
def test_strange_names_are_not_found(client: Any, prefix: str, name: str) -> None:
    assert_problem(client.get(prefix + name), 404)


@pytest.mark.parametrize("name", ["\0", "a\0b", "a" * 300, "a/" * 2500, "../x", "..", "", "/etc/passwd"])
def test_files_of_a_generation_stay_in_it(tmp_path: Any, name: str) -> None:
    from server.http.errors import NotFound
    from server.http.files import contained

    (tmp_path / "x").write_text("outside")
    (tmp_path / "in").mkdir()
    with pytest.raises(NotFound):
        contained(tmp_path / "in", name)


def test_doubled_slashes_do_not_redirect(client: Any) -> None:
    assert_problem(client.get("/ogc//collections"), 404)


# --- headers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["<script>", "a b", "[zz]", "a:b", "a:999999", "a/b", "user@host", "a" * 300]
)
@pytest.mark.parametrize("accept", ["*/*", "text/html"])
@pytest.mark.parametrize("path", ["/", "/ogc", "/nope", f"{BOXES}/items"])
def test_a_host_that_is_none(client: Any, host: str, accept: str, path: str) -> None:
    reply = client.get(path, host=host, accept=accept)
    assert_problem(reply, reply.status)
    assert reply.status in ((400, 404) if path == "/nope" else (400,))


def test_a_wrong_token_with_a_tenant_that_is_not_there(client: Any) -> None:
    reply = client.get("/t/nope/", accept="text/html", authorization="Bearer wrong")
    assert_problem(reply, 404)


@pytest.mark.parametrize(
    ("range_", "status"),
    [
        ("bytes=0-" + "9" * 4500, 200),
        ("bytes=" + "9" * 4500 + "-", 200),
        ("bytes=" + "9" * 18 + "-", 416),
        ("bytes=-0", 416),
        ("bytes=5-2", 200),
        ("bytes=１-２", 200),
        ("bytes=0-0,2-3", 200),
        ("items=0-1", 200),
        ("bytes=0-0", 206),
    ],
)
def test_ranges(client: Any, range_: str, status: int) -> None:
    reply = client.get(f"{BOXES}/download/boxes.gpkg", range=range_)
    assert reply.status == status
    if status == 416:
        size = client.request("HEAD", f"{BOXES}/download/boxes.gpkg").headers["Content-Length"]
        assert reply.headers["Content-Range"] == f"bytes */{size}"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", ["/", "/ogc", f"{BOXES}/items", "/ogc/processes/buffer-clip/execution"])
def test_methods_that_are_not_offered(client: Any, method: str, path: str) -> None:
    reply = client.request(method, path)
    assert_problem(reply, 405)
    assert reply.headers["Allow"]


# --- numbers ----------------------------------------------------------------------------------------------------------

BAD_QUERIES = [
    ("items", "bbox=nan,0,1,1"),
    ("items", "bbox=1e400,0,1,1"),
    ("items", "bbox=0,0,1,1&bbox-crs=EPSG:4978"),
    ("items", "crs=EPSG:5703"),
    ("items", "crs=EPSG:0"),
    ("items", "crs=http://www.opengis.net/def/crs/EPSG/0/1000000000"),
    ("items", "limit=²"),
    ("items", "limit=1&limit=2"),
    ("items", "datetime=9999-12-31T23:59:59-12:00"),
    ("items", "height=" + "9" * 5000),
    ("items", "cursor=AAAAAAAAAAH__________w"),
    ("map", "bbox=0,0,1e-320,1e-320&width=99999"),
    ("map", "bbox=-1e308,-1e308,1e308,1e308"),
    ("map", "bbox=0,0,1e-300,1e300"),
    ("map", "bbox=nan,0,1,1"),
    ("map", "bbox=0,0,1,1&bbox-crs=EPSG:4978"),
    ("map", "crs=EPSG:5703"),
    ("map", "crs=EPSG:" + "9" * 4000),
    ("map", "width=4097"),
    ("map", "width=²"),
    ("schema", "x=1"),
    ("tiles", "%00=1"),
]


@pytest.mark.parametrize(("resource", "query"), BAD_QUERIES)
def test_parameters_that_cannot_be_used(client: Any, resource: str, query: str) -> None:
    assert_problem(client.get(f"{BOXES}/{resource}?{quote(query, safe='=&,:/%')}"), 400)


@pytest.mark.parametrize("box", ["0,0,1e-320,1", "0,0,1e-9,1", "0,0,1,1e-320", "0,0,180,1e-7"])
def test_maps_of_extreme_aspect_have_an_edge_of_one_pixel_at_least(client: Any, box: str) -> None:
    assert client.get(f"{BOXES}/map?bbox={box}&width=16").status == 200
    assert client.get(f"{BOXES}/map?bbox={box}").status == 200


@pytest.mark.parametrize("query", ["bbox=1_0,2,3,4", "bbox=１,2,3,4", "bbox=1,2,3", "bbox=,,,", "offset=-1"])
def test_collections_with_numbers_that_are_none(client: Any, query: str) -> None:
    assert_problem(client.get(f"/ogc/collections?{quote(query, safe='=,')}"), 400)


# --- bodies -----------------------------------------------------------------------------------------------------------


def execution(**more: Any) -> dict[str, Any]:
    return {"inputs": {"collection": "demo.boxes", "area": AREA}, **more}


def nested(levels: int) -> bytes:
    return b'{"inputs":{"area":' + b"[" * levels + b"]" * levels + b"}}"


BAD_BODIES = {
    "nothing": b"",
    "null": b"null",
    "list": b"[]",
    "inputs-list": b'{"inputs":[]}',
    "not-utf8": b'{"inputs":{"collection":"\xff"}}',
    "surrogate": b'{"inputs":{"collection":"\\ud800"}}',
    "deep": nested(100_000),
    "deep-900": nested(900),
    "deep-33": nested(33),
    "big-number": b'{"inputs":{"area":' + b"9" * 5000 + b"}}",
    "subscriber": json.dumps(execution(subscriber=5)).encode(),
    "subscriber-text": json.dumps(execution(subscriber="x")).encode(),
    "outputs": json.dumps(execution(outputs="x")).encode(),
    "coordinates-object": json.dumps(
        {"inputs": {"collection": "demo.boxes", "area": {"type": "Polygon", "coordinates": {"a": 1}}}}
    ).encode(),
    "world": json.dumps(
        {
            "inputs": {
                "collection": "demo.boxes",
                "area": {
                    "type": "Polygon",
                    "coordinates": [[[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]],
                },
            }
        }
    ).encode(),
    "too-many-vertices": json.dumps(
        {
            "inputs": {
                "collection": "demo.boxes",
                "area": {"type": "Polygon", "coordinates": [[[0, 0]] * 20_001]},
            }
        }
    ).encode(),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_bodies_that_are_no_execution(client: Any, name: str) -> None:
    reply = client.request(
        "POST",
        "/ogc/processes/area-statistics/execution",
        BAD_BODIES[name],
        content_type="application/json",
    )
    assert_problem(reply, 400)


class Trickle:
    """A body of which nothing comes until `go` is set."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def read(self, size: int, /) -> bytes:
        self.go.wait()
        return b""


def test_bodies_at_the_limit_and_one_above() -> None:
    bodies = BodyReader(5)
    assert bodies.read(io.BytesIO(b"12345"), None) == b"12345"
    with pytest.raises(PayloadTooLarge):
        bodies.read(io.BytesIO(b"123456"), None)
    with pytest.raises(PayloadTooLarge):
        bodies.read(io.BytesIO(b""), 6)
    with pytest.raises(RequestTimeout):
        bodies.read(io.BytesIO(b"123"), 5)


def test_slow_senders_hold_places_for_bodies_and_nothing_else() -> None:
    bodies = BodyReader(5, seconds=0.01, places=2)
    slow = [Trickle(), Trickle()]
    for source in slow:
        with pytest.raises(RequestTimeout):
            bodies.read(source, 5)
    with pytest.raises(Overloaded):
        bodies.read(io.BytesIO(b"1"), 1)
    for source in slow:
        source.go.set()
    until = time.monotonic() + 10
    while True:  # the places come back when the senders are gone
        try:
            assert bodies.read(io.BytesIO(b"1"), 1) == b"1"
            return
        except Overloaded:
            assert time.monotonic() < until
            time.sleep(0.01)


def test_places_are_given_back_and_refused_when_all_are_taken() -> None:
    places = Places(1, seconds=0.01)
    with places.taken(), pytest.raises(Overloaded), places.taken():
        raise AssertionError("there was only one place")
    with places.taken():
        pass


# --- what is private --------------------------------------------------------------------------------------------------

PUBLIC_PATHS = [
    "/",
    "/t/hidden/",
    "/t/hidden/ogc/collections",
    "/ogc",
    "/ogc/collections",
    "/ogc/collections/catalogue/items",
    "/ogc/collections/demo.boxes",
    "/ogc/api",
    "/health/ready",
    "/metrics",
    "/maps/service?SERVICE=WMS&REQUEST=GetCapabilities",
    "/maps/wmts/1.0.0/WMTSCapabilities.xml",
    "/maps/tms/1.0.0",
    "/t/hidden/maps/service?SERVICE=WMS&REQUEST=GetCapabilities",
    "/t/hidden/maps/tms/1.0.0",
]


def visible(client: Any) -> list[Any]:
    """What anyone sees of these paths, without the parts that are new in every answer."""
    seen = []
    for path in PUBLIC_PATHS:
        reply = client.get(path)
        body = b"\n".join(
            line for line in reply.body.split(b"\n") if b"nonce" not in line and b"timeStamp" not in line
        )
        headers = {k: v for k, v in reply.headers.items() if k != "Content-Security-Policy"}
        seen.append((path, reply.status, body, headers))
    return seen


def test_publishing_something_private_changes_nothing_that_others_see(city: Any, client: Any) -> None:
    city.registry.add_tenant("hidden", "Hidden", "隐")
    before = visible(client)
    city.publish("hush", tenant="hidden", access=Access.PRIVATE, count=5)
    assert visible(client) == before
    token = f"Bearer {city.token}"
    reply = client.get("/t/hidden/maps/service?SERVICE=WMS&REQUEST=GetCapabilities", authorization=token)
    assert reply.status == 200
    assert b"hush" in reply.body
    assert reply.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/items",
        "/items?x=1",
        "/items/1",
        "/schema",
        "/tiles",
        "/tiles/WebMercatorQuad/0/0/0",
        "/map",
        "/map?width=x",
        "/map/tiles/WebMercatorQuad/0/0/0",
        "/coverage",
        "/locations",
        "/3dtiles/tileset.json",
        "/pointcloud.copc.laz",
        "/download/x.gpkg",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_private_and_absent_are_answered_alike(client: Any, method: str, path: str) -> None:
    answers = []
    for name in ("secret", "absent"):
        reply = client.request(method, f"/ogc/collections/demo.{name}{path}", if_none_match="*")
        answers.append((reply.status, reply.body.replace(name.encode(), b"?")))
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    "path", ["/tiles", "/schema", "/download/secret.geojson", "/items?f=csv", "/map?width=4"]
)
def test_private_answers_are_kept_out_of_shared_caches(city: Any, client: Any, path: str) -> None:
    reply = client.get(f"/ogc/collections/demo.secret{path}", authorization=f"Bearer {city.token}")
    assert reply.status == 200
    assert "no-store" in reply.headers["Cache-Control"] or "private" in reply.headers["Cache-Control"]


# --- random requests --------------------------------------------------------------------------------------------------

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
    body = chance.choice([b"", b"x", b"{}", *BAD_BODIES.values()]) if method == "POST" else b""
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
