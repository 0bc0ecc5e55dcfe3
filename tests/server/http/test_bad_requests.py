"""What a hostile or broken client sends: every answer is a status that says so, in the form its protocol wants."""

from __future__ import annotations

import io
import json
import threading
import time
from typing import Any
from urllib.parse import quote

import pytest

from server.http.errors import Overloaded, PayloadTooLarge, RequestTimeout
from server.http.places import Places
from server.http.request_body import BodyReader

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
