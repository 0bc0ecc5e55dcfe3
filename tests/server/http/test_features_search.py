"""Queries by POST: the same answers as by GET, links that lead on, and CQL2 as a media type."""

from __future__ import annotations

import json
from typing import Any

import pytest

C = "/t/demo/ogc/collections/boxes"
ITEMS, SEARCH = f"{C}/items", f"{C}/search"
JSON = "application/json"
CQL2 = "application/query-cql-json"
HIGH: dict[str, Any] = {"op": ">", "args": [{"property": "height"}, 45.5]}


def post(client: Any, url: str, document: Any, kind: str = JSON, **headers: str) -> Any:
    return client.request("POST", url, json.dumps(document).encode(), content_type=kind, **headers)


def ids(reply: Any) -> list[str]:
    assert reply.status == 200, reply.body[:500]
    return [feature["id"] for feature in reply.json["features"]]


def path_of(href: str) -> str:
    return href.partition("city.example:8000")[2]


SAME: list[tuple[dict[str, Any], str]] = [
    ({}, ""),
    ({"limit": 3}, "limit=3"),
    ({"bbox": [113.85, 22.62, 113.95, 22.7], "limit": 50}, "bbox=113.85,22.62,113.95,22.7&limit=50"),
    ({"datetime": "2010-01-01/2012-12-31", "limit": 100}, "datetime=2010-01-01/2012-12-31&limit=100"),
    ({"filter": HIGH, "limit": 250}, "filter=height>45.5&limit=250"),
    ({"filter": "kind='office'", "filter-lang": "cql2-text"}, "kind=office"),
    ({"sortby": ["-height"], "limit": 9}, "sortby=-height&limit=9"),
    ({"sortby": [{"field": "height", "direction": "desc"}], "limit": 9}, "sortby=-height&limit=9"),
    ({"q": "office", "limit": 9}, "q=office&limit=9"),
]


@pytest.mark.parametrize(("document", "query"), SAME)
def test_a_search_answers_as_get_does(client: Any, document: dict[str, Any], query: str) -> None:
    found, expected = post(client, SEARCH, document), client.get(f"{ITEMS}?{query}")
    assert ids(found) == ids(expected)
    assert found.json.get("numberMatched") == expected.json.get("numberMatched")
    assert found.headers["Content-Crs"] == expected.headers["Content-Crs"]


def test_next_links_of_a_search_lead_through_everything_by_get(client: Any) -> None:
    reply = post(client, SEARCH, {"filter": HIGH, "sortby": ["-height"], "limit": 40})
    seen = ids(reply)
    while True:
        following = [link for link in reply.json["links"] if link["rel"] == "next"]
        if not following:
            break
        assert "method" not in following[0]
        reply = client.get(path_of(following[0]["href"]))
        seen += ids(reply)
    assert seen == ids(client.get(f"{ITEMS}?filter=height>45.5&sortby=-height&limit=250"))


def test_a_query_too_long_for_a_url_goes_on_by_post(client: Any) -> None:
    names = [f"楼 {number}" for number in range(250)] + ["无" * 40 + str(number) for number in range(200)]
    document = {"filter": {"op": "in", "args": [{"property": "name"}, names]}, "limit": 100}
    reply = post(client, SEARCH, document)
    seen = ids(reply)
    for _ in range(2):
        (link,) = [link for link in reply.json["links"] if link["rel"] == "next"]
        assert link["method"] == "POST"
        assert len(json.dumps(reply.headers.get("Link", ""))) < 4000
        reply = post(client, path_of(link["href"]), link["body"])
        seen += ids(reply)
    assert len(set(seen)) == 250
    assert not [link for link in reply.json["links"] if link["rel"] == "next"]


@pytest.mark.parametrize(
    "kind", [CQL2, "application/cql2+json", "application/vnd.ogc.cql2+json", f"{CQL2}; charset=utf-8"]
)
def test_cql2_posted_to_items_is_a_filter(client: Any, kind: str) -> None:
    reply = post(client, f"{ITEMS}?limit=250", HIGH, kind)
    assert ids(reply) == ids(client.get(f"{ITEMS}?filter=height>45.5&limit=250"))


def test_cql2_posted_to_items_pages(client: Any) -> None:
    names = [f"楼 {number}" for number in range(250)] + ["无" * 40 + str(number) for number in range(200)]
    document = {"op": "in", "args": [{"property": "name"}, names]}
    first = post(client, f"{ITEMS}?limit=200&crs=http://www.opengis.net/def/crs/EPSG/0/4490", document, CQL2)
    (link,) = [link for link in first.json["links"] if link["rel"] == "next"]
    assert (link["method"], link["headers"]) == ("POST", {"Content-Type": CQL2})
    second = post(client, path_of(link["href"]), link["body"], CQL2)
    assert len(set(ids(first) + ids(second))) == 250
    assert second.headers["Content-Crs"] == "<http://www.opengis.net/def/crs/EPSG/0/4490>"


def test_other_bodies_posted_to_items_are_no_queries(client: Any) -> None:
    assert post(client, ITEMS, HIGH, JSON).status == 401  # a feature it would be, and nobody may make one


def test_a_search_of_another_media_type_is_refused(client: Any) -> None:
    reply = post(client, SEARCH, {}, "text/plain")
    assert reply.status == 415
    assert reply.headers["Accept-Post"] == JSON


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [("text/csv", "text/csv"), ("text/html", "text/html"), ("", "application/geo+json")],
)
def test_a_search_in_other_formats(client: Any, accept: str, media_type: str) -> None:
    reply = post(client, SEARCH, {"filter": HIGH, "limit": 3}, accept=accept)
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith(media_type)


def test_a_private_collection_is_not_searched(client: Any) -> None:
    assert post(client, "/t/demo/ogc/collections/secret/search", {}).status == 404
