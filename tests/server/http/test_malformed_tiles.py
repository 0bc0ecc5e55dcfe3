"""Malformed requests for tiles, at every address tiles have: refused in words, never an error of the server."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

BOXES = "/t/demo/ogc/collections/boxes"
GRID = "WebMercatorQuad"
_PLACES = (
    "-1/0/0",
    "0/-1/0",
    "0/0/-1",
    "0/0/1",
    "0/1/0",
    "25/0/0",
    "99999999999/0/0",
    "0/0/99999999999999999999",
    "a/0/0",
    "0/b/0",
    "0/0/c",
    "0/0/0.5",
    "0/0/0x0",
    "0/0/%00",
    "0/0/%F0%9F%92%A5",
    "0/0/%D9%A3",  # a digit of another script
    "0/0/%C2%B2",  # a superscript: isdigit() says yes, int() no
    "1e1/0/0",
    "%20/0/0",
    "0//0",
    "../0/0",
    "0/0/0/0",
    "0/0/",
)
_OGC = tuple(f"{BOXES}/{kind}/{GRID}/{place}" for kind in ("tiles", "map/tiles") for place in _PLACES)
_WMTS = tuple(f"/t/demo/maps/wmts/1.0.0/boxes/default/{GRID}/{place}.png" for place in _PLACES)
_TMS = tuple(f"/t/demo/maps/tms/1.0.0/boxes/{GRID}/{place}.png" for place in _PLACES)
_QUERIES = (
    "f=",
    "f=exe",
    "f=png&f=png",
    "f=png%00",
    "%FF=%FE",
    "asof=x",
    "asof=2025-13-01T00:00:00Z",
    "bbox=1,2,3,4",
    "&".join(f"a{number}=1" for number in range(65)),
    "f=" + "x" * 9000,
)
_ASKED = tuple(
    f"{BOXES}/{kind}/{GRID}/10/835/445?{query}" for kind in ("tiles", "map/tiles") for query in _QUERIES
)
_ELSEWHERE = (
    f"{BOXES}/tiles/{GRID}/+1/0/0",
    f"{BOXES}/map/tiles/{GRID}/+1/0/0",
    f"{BOXES}/tiles/MoonQuad/0/0/0",
    f"{BOXES}/map/tiles/MoonQuad/0/0/0",
    f"{BOXES}/map/tiles/%2e%2e/0/0/0",
    f"{BOXES}/styles/nothing/map/tiles/{GRID}/0/0/0",
    f"{BOXES}/styles/..%2f../map/tiles/{GRID}/0/0/0",
    f"/t/demo/ogc/collections/nothing/tiles/{GRID}/0/0/0",
    f"/t/nobody/ogc/collections/boxes/tiles/{GRID}/0/0/0",
    f"/ogc/collections/boxes/tiles/{GRID}/0/0/0",
    f"/ogc/collections/demo./tiles/{GRID}/0/0/0",
    f"/ogc/collections/.boxes/tiles/{GRID}/0/0/0",
    f"/t/demo/maps/wmts/9.9.9/boxes/default/{GRID}/0/0/0.png",
    f"/t/demo/maps/wmts/1.0.0/nothing/default/{GRID}/0/0/0.png",
    f"/t/demo/maps/wmts/1.0.0/boxes/nothing/{GRID}/0/0/0.png",
    f"/t/demo/maps/wmts/1.0.0/boxes/default/{GRID}/0/0/0.gif",
    "/t/demo/maps/tms/1.0.0/boxes/MoonQuad/0/0/0.png",
    "/internal/tiles/demo/secret/tiles",
    "/internal/tiles/demo/secret/map",
    "/internal/tiles/demo/boxes/styles/nothing",
    "/internal/tiles/demo/boxes/styles/..",
    "/internal/tiles/",
    "/internal/tiles/demo",
    "/internal/tiles/demo/boxes/map/more",
    f"{BOXES}/tiles/MoonQuad.pmtiles",
    f"{BOXES}/tiles/.pmtiles",
)
_GOOD = {
    "SERVICE": "WMTS",
    "REQUEST": "GetTile",
    "VERSION": "1.0.0",
    "LAYER": "boxes",
    "STYLE": "default",
    "FORMAT": "image/png",
    "TILEMATRIXSET": GRID,
    "TILEMATRIX": "10",
    "TILEROW": "445",
    "TILECOL": "835",
}
_BAD = (
    ("TILEROW", "-1"),
    ("TILEROW", "1024"),
    ("TILEROW", "%C2%B2"),
    ("TILECOL", "x"),
    ("TILECOL", "9" * 40),
    ("TILEMATRIX", "99"),
    ("TILEMATRIX", ""),
    ("TILEMATRIXSET", "../.."),
    ("TILEMATRIXSET", "MoonQuad"),
    ("LAYER", "nothing"),
    ("LAYER", "a/b"),
    ("LAYER", "%00"),
    ("STYLE", "nothing"),
    ("FORMAT", "image/exe"),
    ("VERSION", "7"),
    ("REQUEST", "GetNothing"),
)
_KVP = tuple(
    "/t/demo/maps/wmts?" + "&".join(f"{key}={value}" for key, value in {**_GOOD, name: bad}.items())
    for name, bad in _BAD
)
_ALL = (*_OGC, *_WMTS, *_TMS, *_ASKED, *_ELSEWHERE, *_KVP)


def test_there_are_enough_of_them() -> None:
    assert len(set(_ALL)) >= 150


@pytest.mark.parametrize("url", _ALL, ids=lambda url: url[:90])
def test_malformed_requests_are_refused(client: Any, url: str) -> None:
    reply = client.get(url)
    assert 400 <= reply.status < 500, (reply.status, reply.body[:300])
    assert b"Traceback" not in reply.body


def test_they_are_refused_alike_where_the_tile_is_kept(client: Any) -> None:
    """What the hot lane remembers of an address must not let another one through."""
    good = "/t/demo/maps/wmts?" + "&".join(f"{key}={value}" for key, value in _GOOD.items())
    for _ in range(2):
        assert client.get(good).status == 200
    for url, method in itertools.product(_KVP, ("GET", "HEAD")):
        assert 400 <= client.request(method, url).status < 500, url
