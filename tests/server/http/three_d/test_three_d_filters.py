"""3D tilesets of some features, and as they were at an instant."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from providers.features.source import Edit, EditKind


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def test_the_tileset_as_it_was(town: Any) -> None:
    town.publish("history")
    other = town.store("history")
    published = town.walk("history").features
    moments = [(now(), published)]
    for turn in range(3):
        town.random_edits(other, 6, 100 + turn)
        moments.append((now(), town.walk("history").features))
    for instant, expected in moments:
        town.same_features(town.walk("history", f"tileset.json?asof={instant}").features, expected)
    assert town.client.get(town.url("history", "tileset.json?asof=2001-01-01T00:00:00Z")).status == 400
    filtered = town.walk("history", f"tileset.json?asof={moments[1][0]}&kind=shop").features
    assert filtered.keys() == {key for key, one in moments[1][1].items() if one["kind"] == "shop"}
    town.publish("history", count=10, replace=True, seed=5)
    assert len(town.walk("history").features) == 10
    for instant, expected in moments:
        town.same_features(town.walk("history", f"tileset.json?asof={instant}").features, expected)


@pytest.mark.parametrize(
    "query",
    [
        "kind=shop",
        "filter=height%20%3E%2040%20AND%20kind%20%3C%3E%20%27flat%27",
        "filter=height%3E40&filter-lang=cql2-text",
        "bbox=24.91,60.155,24.92,60.165",
        "datetime=2010-01-01/2014-12-31",
        "filter=%7B%22op%22%3A%22%3D%22%2C%22args%22%3A%5B%7B%22property%22%3A%22kind%22%7D%2C%22shop%22%5D%7D&filter-lang=cql2-json",
        "filter=S_INTERSECTS(geometry,BBOX(24.91,60.155,24.93,60.165))",
        "q=楼 17",
        "bbox=24.91,60.155,24.93,60.17&kind=flat",
        "kind=nothing",
    ],
)
def test_a_filter_chooses_the_same_features_as_items(town: Any, query: str) -> None:
    items = town.client.json(
        f"/t/demo/ogc/collections/houses/items?limit=1000&{query}", accept="application/geo+json"
    )
    walked = town.walk("houses", f"tileset.json?{query}")
    assert walked.features.keys() == {str(one["id"]) for one in items["features"]}
    if walked.contents:
        name, reply = next(iter(walked.contents.items()))
        assert town.client.get(town.url("houses", name), if_none_match=reply.headers["ETag"]).status == 304


@pytest.mark.parametrize(
    "query",
    [
        "x=1",
        "filter=height%20%3E",
        "filter=nothing%20%3D%201",
        "bbox=1,2,3",
        "datetime=yesterday",
        "limit=3",
        "asof=then",
        "kind=shop&kind=flat",
        "filter=height%3E1&filter-lang=sql",
    ],
)
@pytest.mark.parametrize(
    "path", ["tileset.json", "subtrees/0/0/0.subtree", "content/0/0/0.glb", "explicit/tileset.json"]
)
def test_bad_filters_are_refused(town: Any, path: str, query: str) -> None:
    reply = town.client.get(town.url("houses", f"{path}?{query}"))
    assert reply.status == 400, reply.body
    assert reply.headers["Content-Type"] == "application/problem+json"


def test_a_filtered_tile_follows_edits(town: Any) -> None:
    town.publish("chosen", count=60)
    other = town.store("chosen")
    before = town.walk("chosen", "tileset.json?kind=shop").features
    flat = next(key for key, one in town.walk("chosen").features.items() if one["kind"] == "flat")
    other.edit([Edit(EditKind.UPDATE, flat, properties={"kind": "shop"})])
    after = town.walk("chosen", "tileset.json?kind=shop").features
    assert after.keys() == before.keys() | {flat}
