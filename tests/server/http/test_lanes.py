"""Both lanes answer alike: every kind of request goes through the hot lane and through Flask with pygeoapi."""

from __future__ import annotations

from typing import Any

import pytest

ITEMS = "/t/demo/ogc/collections/boxes/items"
QUERIES = [
    "",
    "?limit=7",
    "?limit=250",
    "?limit=251",
    "?bbox=113.85,22.62,113.95,22.7&limit=20",
    "?bbox=113.85,22.62,0,113.95,22.7,100&limit=20",
    "?bbox=22.62,113.85,22.7,113.95&bbox-crs=http://www.opengis.net/def/crs/EPSG/0/4326",
    "?bbox=0,0,1,1",
    "?bbox=170,-10,-170,80",
    "?kind=office&limit=50",
    "?kind=住宅&bbox=113.8,22.6,114,22.7",
    "?height=45.5",
    "?datetime=2010-01-01&limit=100",
    "?datetime=2010-01-01/2012-12-31&limit=100",
    "?datetime=../2003-01-01",
    "?properties=name,height&limit=3",
    "?skipGeometry=true&limit=3",
    "?crs=http://www.opengis.net/def/crs/EPSG/0/4326&limit=3",
    "?crs=http://www.opengis.net/def/crs/EPSG/0/3857&limit=3",
    "?crs=http://www.opengis.net/def/crs/EPSG/0/4547&limit=3",
    "?offset=10&limit=5",
    "?offset=249",
    "?offset=250",
    "?f=json&limit=2",
    "?lang=zh&limit=2",
    "?filter=height>45.5&limit=20",
    "?filter=kind='office' AND height>10&sortby=-height&limit=7",
    "?filter=S_INTERSECTS(geometry,POLYGON((113.9 22.6,114 22.6,114 22.7,113.9 22.7,113.9 22.6)))",
    '?filter={"op":"<","args":[{"property":"height"},20]}&filter-lang=cql2-json',
    "?filter=CASEI(kind)=CASEI('OFFICE')&limit=3&crs=http://www.opengis.net/def/crs/EPSG/0/4490",
    "?filter=built>DATE('2010-01-01')&filter-lang=cql2-text",
    "?sortby=height",
    "?sortby=kind,-height&limit=12",
    "?q=楼 1&limit=30",
    "?q=office,住宅&limit=30",
    "?asof=2001-01-01T00:00:00Z&limit=3",
    "?resulttype=hits&kind=office",
]
BAD = [
    "?limit=0",
    "?limit=-1",
    "?limit=x",
    "?bbox=1,2,3",
    "?bbox=a,b,c,d",
    "?bbox=nan,0,1,1",
    "?bbox=0,1,1,0",
    "?bbox=0,0,1,1&bbox=0,0,1,1",
    "?bbox-crs=http://www.opengis.net/def/crs/EPSG/0/4326",
    "?crs=http://example.org/crs",
    "?crs=http://www.opengis.net/def/crs/EPSG/0/999999",
    "?datetime=yesterday",
    "?datetime=2020-01-01/2019-01-01",
    "?properties=nothing",
    "?unknown=1",
    "?cursor=x",
    "?offset=-1",
    "?skipGeometry=perhaps",
    "?height=tall",
    "?filter=nothing>1",
    "?filter=height%20GREATER%201",
    "?filter=height>1&filter-lang=sql",
    "?filter-lang=cql2-text",
    "?sortby=nothing",
    "?sortby=geometry",
    "?asof=yesterday",
    "?asof=2199-01-01T00:00:00Z",
    "?q=",
]


def without_time(document: dict[str, Any]) -> dict[str, Any]:
    document.pop("timeStamp")
    return document


@pytest.mark.parametrize("query", QUERIES)
def test_items_are_the_same(client: Any, slow_client: Any, query: str) -> None:
    hot, slow = client.get(ITEMS + query), slow_client.get(ITEMS + query)
    assert hot.status == slow.status == 200, (hot.body, slow.body)
    assert without_time(hot.json) == without_time(slow.json)
    for name in (
        "Content-Type",
        "Content-Crs",
        "OGC-NumberReturned",
        "Cache-Control",
        "Vary",
        "Link",
        "ETag",
    ):
        assert hot.headers.get(name) == slow.headers.get(name), name
    assert hot.headers.get("OGC-NumberMatched") == slow.headers.get("OGC-NumberMatched")


@pytest.mark.parametrize("query", BAD)
def test_bad_queries_are_the_same(client: Any, slow_client: Any, query: str) -> None:
    hot, slow = client.get(ITEMS + query), slow_client.get(ITEMS + query)
    assert hot.status == slow.status == 400, (hot.status, slow.status, hot.body)
    assert hot.json == slow.json
    assert hot.headers["Content-Type"] == "application/problem+json"
    assert hot.json["detail"]


@pytest.mark.parametrize(
    "query", ["", "?crs=http://www.opengis.net/def/crs/EPSG/0/4490", "?f=json", "?lang=zh"]
)
def test_item_is_the_same(client: Any, slow_client: Any, query: str) -> None:
    url = f"{ITEMS}/17{query}"
    hot, slow = client.get(url), slow_client.get(url)
    assert hot.status == slow.status == 200, (hot.body, slow.body)
    assert hot.json == slow.json
    assert hot.headers == slow.headers | {"Content-Length": hot.headers["Content-Length"]}


@pytest.mark.parametrize("feature_id", ["0", "251", "nothing", "1'--", "1%00", "%E6%A5%BC", "17/18", "17 "])
def test_missing_items_are_the_same(client: Any, slow_client: Any, feature_id: str) -> None:
    hot, slow = client.get(f"{ITEMS}/{feature_id}"), slow_client.get(f"{ITEMS}/{feature_id}")
    assert hot.status == slow.status == 404
    assert hot.json == slow.json


@pytest.mark.parametrize(
    "tile",
    [
        "WebMercatorQuad/10/445/835",
        "WebMercatorQuad/14/7124/13380",
        "WorldCRS84Quad/9/191/835",
        "WebMercatorQuad/0/0/0",
        "WebMercatorQuad/10/0/0",
        "WebMercatorQuad/40/0/0",
        "WebMercatorQuad/3/9/0",
        "Nowhere/1/0/0",
        "WebMercatorQuad/a/0/0",
        "WebMercatorQuad/-1/0/0",
    ],
)
def test_vector_tiles_are_the_same(client: Any, slow_client: Any, tile: str) -> None:
    url = f"/t/demo/ogc/collections/boxes/tiles/{tile}?f=mvt"
    hot, slow = client.get(url), slow_client.get(url)
    assert hot.status == slow.status
    assert hot.body == slow.body
    assert hot.headers == slow.headers
    assert hot.status in (200, 204, 400, 404)


def test_the_etag_of_both_lanes_is_honoured(client: Any, slow_client: Any) -> None:
    for url in (ITEMS, f"{ITEMS}/3", "/t/demo/ogc/collections/boxes/tiles/WebMercatorQuad/10/445/835"):
        for lane in (client, slow_client):
            etag = lane.get(url).headers["ETag"]
            again = lane.get(url, if_none_match=etag)
            assert again.status == 304
            assert again.body == b""
            assert again.headers["ETag"] == etag


def test_head_has_no_body(client: Any, slow_client: Any) -> None:
    for lane in (client, slow_client):
        reply = lane.request("HEAD", ITEMS)
        assert (reply.status, reply.body) == (200, b"")
        assert int(reply.headers["Content-Length"]) > 100


@pytest.mark.parametrize("error", ["AnswerTooLarge", "SourceUnavailable"])
def test_costly_failures_are_found_out_once_and_told_alike(
    client: Any, slow_client: Any, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    from providers import errors
    from providers.features.store import FeatureStore

    calls = []

    def fail(*_: Any, **__: Any) -> None:
        calls.append(1)
        raise getattr(errors, error)("it takes too long; ask for less")

    monkeypatch.setattr(FeatureStore, "page", fail)
    hot = client.get(ITEMS)
    assert len(calls) == 1
    slow = slow_client.get(ITEMS)
    assert hot.status == slow.status in (400, 503)
    assert hot.json == slow.json
    assert hot.headers == slow.headers
