"""The pygeoapi plugin answers like the store, and refuses what it would otherwise ignore."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread
from typing import Any

import orjson
import pytest
from pygeoapi.crs import create_crs_transform_spec, transform_bbox
from pygeoapi.plugin import load_plugin
from pygeoapi.provider.base import (
    ProviderConnectionError,
    ProviderInvalidQueryError,
    ProviderItemNotFoundError,
    SchemaType,
)

from providers.features.collection_json import feature_bytes, feature_collection_bytes
from providers.features.context import current_hidden, current_query
from providers.features.crs import reference_system
from providers.features.parser import parse_item_query
from providers.features.query import CRS84, BBox, ItemQuery
from providers.features.store import FeaturePage, open_store

EPSG = "http://www.opengis.net/def/crs/EPSG/0/"


@pytest.fixture
def definition(built: Any) -> dict[str, Any]:
    return {
        "type": "feature",
        "name": "providers.features.provider.ChengtuFeatureProvider",
        "data": str(built.store.path),
        "id_field": "id",
        "storage_crs": EPSG + "4326",
        "crs": [CRS84, EPSG + "4326", EPSG + "4547"],
        "generation": 4,
    }


@pytest.fixture
def provider(definition: dict[str, Any]) -> Any:
    return load_plugin("provider", definition)


@pytest.fixture
def hidden_height() -> Iterator[None]:
    token = current_hidden.set(frozenset({"height"}))
    yield
    current_hidden.reset(token)


def test_query_with_pygeoapis_own_arguments(built: Any, definition: dict[str, Any], provider: Any) -> None:
    box = BBox(113.9, 22.7, 114.0, 22.8)
    spec = create_crs_transform_spec(definition, CRS84)
    found = provider.query(
        offset=2,
        limit=5,
        bbox=transform_bbox(list(box), CRS84, EPSG + "4326"),
        properties=[("listed", "true")],
        select_properties=["floors"],
        crs_transform_spec=spec,
    )
    expected = built.store.page(
        ItemQuery(bbox=box, offset=2, limit=5, equals={"listed": "true"}, properties=("floors",))
    )
    assert found["features"] == [orjson.loads(body) for body in expected.bodies]
    assert found["numberReturned"] == 5
    assert found["cursor"] == expected.cursor


def test_the_output_is_transformed_once(built: Any, definition: dict[str, Any], provider: Any) -> None:
    spec = create_crs_transform_spec(definition, EPSG + "4547")
    found = provider.query(limit=3, crs_transform_spec=spec)
    assert found["features"] == [
        orjson.loads(b) for b in built.store.page(ItemQuery(limit=3, crs=EPSG + "4547")).bodies
    ]
    item = provider.get("b8", crs_transform_spec=spec)
    assert item == orjson.loads(built.store.item("b8", EPSG + "4547").body)
    # No specification means that the storage CRS was asked for: EPSG:4326, latitude first.
    latitude, longitude = _first_pair(provider.get("b2")["geometry"]["coordinates"])
    assert 22 < latitude < 23
    assert 113 < longitude < 115


def _first_pair(coordinates: Any) -> list[float]:
    while not isinstance(coordinates[0], float):
        coordinates = coordinates[0]
    return list(coordinates)


def test_current_query_wins(built: Any, provider: Any) -> None:
    first = built.store.page(ItemQuery(limit=7))
    query = ItemQuery(limit=7, cursor=first.cursor)
    token = current_query.set(query)
    try:
        found = provider.query(limit=3, offset=50)
    finally:
        current_query.reset(token)
    assert found["features"] == [orjson.loads(body) for body in built.store.page(query).bodies]


def test_current_query_stays_in_its_thread(provider: Any) -> None:
    sizes: dict[int, list[int]] = {}

    def ask(limit: int) -> None:
        token = current_query.set(ItemQuery(limit=limit))
        sizes[limit] = [provider.query()["numberReturned"] for _ in range(30)]
        current_query.reset(token)

    threads = [Thread(target=ask, args=(limit,)) for limit in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sizes == {limit: [limit] * 30 for limit in range(1, 9)}


@pytest.mark.usefixtures("hidden_height")
def test_hidden_fields_are_nowhere(provider: Any) -> None:
    assert "height" not in provider.fields
    assert "height" not in provider.get("b1")["properties"]
    assert "height" not in provider.query(limit=1)["features"][0]["properties"]
    with pytest.raises(ProviderInvalidQueryError, match="height"):
        provider.query(properties=[("height", "3")])
    with pytest.raises(ProviderInvalidQueryError, match="height"):
        provider.query(select_properties=["height"])


def test_hidden_fields_of_the_definition(definition: dict[str, Any]) -> None:
    provider = load_plugin("provider", {**definition, "hidden": ["floors"]})
    assert "floors" not in provider.fields


def test_fields_and_schema(provider: Any) -> None:
    assert provider.fields["floors"] == {"type": "integer", "title": "floors"}
    assert provider.fields["updated"] == {"type": "string", "title": "updated", "format": "date-time"}
    provider.fields["floors"].clear()  # pygeoapi writes into what it gets
    assert provider.fields["floors"]["type"] == "integer"
    media_type, schema = provider.get_schema(SchemaType.item)
    assert media_type == "application/geo+json"
    assert schema["properties"]["properties"]["properties"] == provider.fields
    assert provider.time_field == "updated"


@pytest.mark.parametrize(
    "arguments",
    [
        {"sortby": [{"property": "depth", "order": "+"}]},
        {"q": ","},
        {"filterq": object()},
        {"properties": [("depth", "1")]},
        {"properties": [("floors", "many")]},
        {"datetime_": "yesterday"},
        {"select_properties": ["depth"]},
    ],
)
def test_what_cannot_be_answered_is_refused(provider: Any, arguments: dict[str, Any]) -> None:
    with pytest.raises(ProviderInvalidQueryError) as caught:
        provider.query(**arguments)
    assert caught.value.http_status_code == 400
    assert caught.value.message != caught.value.default_msg


def test_sorting_and_text_search_are_answered(provider: Any) -> None:
    for order, reverse in (("+", False), ("-", True)):
        found = provider.query(sortby=[{"property": "floors", "order": order}], limit=50)
        floors = [feature["properties"]["floors"] for feature in found["features"]]
        present = [number for number in floors if number is not None]
        assert present == sorted(present, reverse=reverse)
        assert floors[: len(present)] == present  # missing ones last
    assert provider.query(q="no such words anywhere")["features"] == []


def test_hits_and_datetime(built: Any, provider: Any) -> None:
    found = provider.query(resulttype="hits", datetime_="2025-03-02/2025-03-02")
    query = parse_item_query([("datetime", "2025-03-02"), ("resulttype", "hits")], built.store.schema)
    assert found["features"] == []
    assert found["numberMatched"] == built.store.page(query).number_matched > 0


def test_items_that_are_not_there_and_stores_that_are_not(
    definition: dict[str, Any], provider: Any, tmp_path: Any
) -> None:
    with pytest.raises(ProviderItemNotFoundError, match="nobody"):
        provider.get("nobody")
    with pytest.raises(ProviderConnectionError, match="publish the collection again"):
        load_plugin("provider", {**definition, "data": str(tmp_path / "gone.gpkg")})


def test_documents_are_joined_as_bytes(built: Any) -> None:
    page = built.store.page(ItemQuery(limit=3))
    links = [{"rel": "self", "href": "http://localhost/x?名=1"}]
    document = orjson.loads(feature_collection_bytes(page, links, "2026-01-01T00:00:00Z"))
    assert list(document) == ["type", "timeStamp", "numberReturned", "numberMatched", "links", "features"]
    assert document["features"] == [orjson.loads(body) for body in page.bodies]
    assert (document["numberReturned"], document["numberMatched"]) == (3, 2000)
    empty = orjson.loads(feature_collection_bytes(FeaturePage([], None, None), [], "2026-01-01T00:00:00Z"))
    assert "numberMatched" not in empty
    assert empty["features"] == []
    assert orjson.loads(feature_bytes(page.bodies[0], links)) == {**document["features"][0], "links": links}


def test_stores_are_opened_once_and_the_cache_is_bounded(built: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from providers.features.store import handles

    assert open_store(built.store.path) is open_store(str(built.store.path))
    monkeypatch.setattr(handles, "_MAXIMUM", 1)
    with pytest.raises(Exception, match="no feature store"):
        open_store("/nowhere/features.gpkg")
    assert len(handles._stores) >= 1


def test_a_store_serves_many_threads(built: Any) -> None:
    boxes = [BBox(113.8 + i / 100, 22.65, 113.9 + i / 100, 22.8) for i in range(8)]
    expected = [built.store.page(ItemQuery(bbox=box, limit=50)).bodies for box in boxes]
    failures: list[int] = []

    def ask(index: int) -> None:
        for _ in range(20):
            if built.store.page(ItemQuery(bbox=boxes[index], limit=50)).bodies != expected[index]:
                failures.append(index)

    threads = [Thread(target=ask, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize(
    "code", ["4326", "4490", "4547", "3857", "2326", "32661", "5041", "3031", "3995", "2193", "3879", "27700"]
)
def test_axis_order_is_that_of_proj(code: str) -> None:
    """Our rule against what PROJ does when it is told to keep, or to normalise, the order of axes."""
    import pyproj

    system = reference_system(EPSG + code)
    area = system.crs.area_of_use
    longitude, latitude = (area.west + area.east) / 2 + 0.37, (area.south + area.north) / 2 + 0.11
    kept = pyproj.Transformer.from_crs("OGC:CRS84", system.crs, always_xy=False).transform(
        longitude, latitude
    )
    normal = pyproj.Transformer.from_crs("EPSG:4326", system.crs, always_xy=True).transform(
        longitude, latitude
    )
    assert kept == pytest.approx(normal[::-1] if system.swap else normal, abs=1e-6)
