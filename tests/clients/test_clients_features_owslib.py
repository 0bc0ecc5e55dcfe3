"""OWSLib on the same towers in every store: reading, filters as text and as JSON, and edits by Part 4."""

import json
from typing import Any

import pytest
from owslib.ogcapi.features import Features
from owslib.util import Authentication

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]  # the first test builds the city

STORES = ("embedded", "postgis", "parquet", "ogr", "features", "wfs", "arcgis")
EDITABLE = ("embedded", "postgis")
TEXT = "height > 60 AND name LIKE 'Tower%'"
JSON = {
    "op": "and",
    "args": [
        {"op": ">", "args": [{"property": "height"}, 60]},
        {"op": "like", "args": [{"property": "name"}, "Tower%"]},
    ],
}
NEAR = "S_INTERSECTS(geometry, POLYGON((113.85 22.7, 113.95 22.7, 113.95 22.8, 113.85 22.8, 113.85 22.7)))"
SHAPE = {"type": "Polygon", "coordinates": [[[114, 22.7], [114.001, 22.7], [114.001, 22.701], [114, 22.7]]]}


@pytest.fixture
def features(every_store) -> Features:
    """A client whose headers are its own: OWSLib shares one dictionary between all of them."""
    client = Features(every_store.ogc)
    client.headers = dict(client.headers)
    return client


@pytest.fixture
def operator(features, every_store) -> Features:
    """The same with the operator's token."""
    features.headers |= every_store.bearer
    return features


def keys(document: dict[str, Any]) -> set[str]:
    return {feature["properties"]["secret"] for feature in document["features"]}


def expected(towers: Any) -> set[str]:
    return {
        secret
        for secret, name, height in zip(towers.secrets, towers.names, towers.heights, strict=True)
        if height is not None and height > 60 and name is not None and name.startswith("Tower")
    }


def test_every_store_is_a_collection(features):
    assert set(STORES) <= set(features.feature_collections())


@pytest.mark.parametrize("name", STORES)
def test_collection_queryables_and_schema(features, name):
    assert features.collection(name)["itemType"] == "feature"
    fields = {"name", "height", "floors", "secret", "updated"}
    assert fields <= set(features.collection_queryables(name)["properties"])
    schema = features.collection_schema(name)["properties"]
    assert fields <= set(schema)
    assert (schema["height"]["type"], schema["updated"]["format"]) == ("number", "date-time")


@pytest.mark.parametrize("name", STORES)
def test_items_and_one_item(features, every_store, name):
    page = features.collection_items(name, limit=100)
    assert keys(page) == set(every_store.towers.secrets)
    boxed = features.collection_items(name, limit=100, bbox=[113.85, 22.7, 113.95, 22.8])
    assert 0 < len(keys(boxed)) < 60
    one = features.collection_item(name, page["features"][3]["id"])
    assert one["properties"] == page["features"][3]["properties"]
    assert one["geometry"] == page["features"][3]["geometry"]


@pytest.mark.parametrize("name", STORES)
def test_filter_as_text(features, every_store, name):
    found = features.collection_items(name, limit=100, filter=TEXT)
    assert keys(found) == expected(every_store.towers)
    assert every_store.asked_of(name)[-1].query["filter"] == TEXT


@pytest.mark.parametrize("name", STORES)
def test_spatial_filter(features, name):
    assert keys(features.collection_items(name, limit=100, filter=NEAR)) == keys(
        features.collection_items(name, limit=100, bbox=[113.85, 22.7, 113.95, 22.8])
    )


@pytest.mark.parametrize("name", STORES)
def test_filter_as_json_by_post(features, every_store, name):
    """OWSLib says no media type of its own for a query; it takes one from its headers."""
    features.headers["Content-Type"] = "application/query-cql-json"
    found = features.collection_items(name, limit=100, cql=json.dumps(JSON))
    assert keys(found) == expected(every_store.towers)
    assert every_store.asked_of(name)[-1].method == "POST"


@pytest.mark.parametrize("name", STORES)
def test_a_query_without_its_media_type_is_no_feature(operator, name):
    with pytest.raises(RuntimeError, match="400"):
        operator.collection_items(name, limit=100, cql=json.dumps(JSON))


@pytest.mark.parametrize("name", STORES)
def test_time_search_and_order(features, every_store, name):
    march = features.collection_items(name, limit=100, datetime_="2025-03-01T00:00:00Z/2025-03-31T23:59:59Z")
    assert keys(march) == {
        secret
        for secret, moment in zip(every_store.towers.secrets, every_store.towers.updated, strict=True)
        if str(moment).startswith("2025-03")
    }
    assert keys(features.collection_items(name, limit=100, q="NEIL")) == {
        "s10",
        "s20",
        "s30",
        "s40",
        "s50",
        "s60",
    }
    ordered = features.collection_items(name, limit=100, sortby=("floors", "desc"))
    floors = [feature["properties"]["floors"] for feature in ordered["features"]]
    assert floors == sorted(every_store.towers.floors, reverse=True)


@pytest.mark.parametrize("name", EDITABLE)
def test_create_update_delete(operator, every_store, name):
    feature = {
        "type": "Feature",
        "geometry": SHAPE,
        "properties": {"name": "新楼", "height": 12.5, "floors": 4, "secret": f"s-owslib-{name}"},
    }
    assert operator.collection_item_create(name, feature)
    feature_id = operator.response_headers["Location"].rpartition("/")[2]
    version = operator.response_headers["ETag"]
    changed = feature | {"properties": feature["properties"] | {"floors": 5}}
    # OWSLib sends no If-Match of its own; without one the collection refuses, with one in its headers it is edited.
    with pytest.raises(RuntimeError, match="If-Match"):
        operator.collection_item_update(name, feature_id, changed)
    operator.headers["If-Match"] = version
    operator.headers["Content-Type"] = "application/geo+json"
    assert operator.collection_item_update(name, feature_id, json.dumps(changed))
    newer = operator.response_headers["ETag"]
    with pytest.raises(RuntimeError, match="412"):
        operator.collection_item_update(name, feature_id, json.dumps(feature))
    operator.headers["If-Match"] = newer
    assert operator.collection_item(name, feature_id)["properties"]["floors"] == 5
    assert operator.collection_item_delete(name, feature_id)
    del operator.headers["If-Match"]
    with pytest.raises(RuntimeError, match="404"):
        operator.collection_item(name, feature_id)


@pytest.mark.parametrize("name", EDITABLE)
def test_who_has_no_token_edits_nothing(features, name):
    with pytest.raises(RuntimeError, match="401"):
        features.collection_item_create(name, {"type": "Feature", "geometry": SHAPE, "properties": {}})


@pytest.mark.parametrize("name", sorted(set(STORES) - set(EDITABLE)))
def test_stores_that_are_only_read_say_so(operator, name):
    with pytest.raises(RuntimeError, match="405"):
        operator.collection_item_create(name, {"type": "Feature", "geometry": SHAPE, "properties": {}})


def test_a_token_by_owslibs_own_authentication(every_store):
    """A wrong token is told, not ignored."""
    client = Features(every_store.ogc, auth=Authentication())
    client.headers = dict(client.headers) | {"Authorization": "Bearer wrong"}
    with pytest.raises(RuntimeError, match="401"):
        client.collection_items("embedded", limit=1)
