"""Records: one is filled from its collection, and the catalogue finds it by box, words, time and ids."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from providers.errors import InvalidParameter, ItemNotFound, StoreMissing, UnsupportedQuery
from providers.records.catalogue import register_catalogue, unregister_catalogue
from providers.records.provider import ChengtuRecordProvider
from providers.records.query import MAXIMUM_LIMIT, parse_record_query, query_records
from providers.records.record import record_of

URL = "http://127.0.0.1:8000/t/helsinki/ogc"
KEY = "test-records"


def _collection(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "tenant": "helsinki",
        "id": name,
        "view_id": name,
        "titles": {"en": name.title(), "zh": "建筑物"},
        "descriptions": {"en": f"All the {name}", "zh": "赫尔辛基的建筑物"},
        "keywords": ("buildings", "建筑物"),
        "bbox": (24.93, 60.16, 24.96, 60.18),
        "interval": None,
        "storage_crs": "http://www.opengis.net/def/crs/OGC/1.3/CRS84",
        "attribution": "© OpenStreetMap contributors",
        "licence": "ODbL-1.0",
        "licence_url": "https://opendatacommons.org/licenses/odbl/1-0/",
        "simulated": False,
        "created": "2026-01-01T00:00:00Z",
        "updated": "2026-01-02T00:00:00Z",
        "representations": {"features": None, "tiles": None, "map": None, "3dtiles": None, "record": None},
        **changes,
    }


def test_a_record_is_filled_from_its_collection() -> None:
    record = record_of(_collection("buildings"), URL, "zh")
    properties = record["properties"]
    assert (record["type"], record["id"]) == ("Feature", "buildings")
    assert record["conformsTo"] == ["http://www.opengis.net/spec/ogcapi-records-1/1.0/conf/record-core"]
    assert record["geometry"]["coordinates"][0][2] == [24.96, 60.18]
    assert record["time"] is None
    assert (properties["type"], properties["title"]) == ("dataset", "建筑物")
    assert properties["language"]["code"] == "zh"
    assert [one["code"] for one in properties["languages"]] == ["en", "zh"]
    assert (properties["license"], properties["rights"]) == ("ODbL-1.0", "© OpenStreetMap contributors")
    assert properties["created"] == "2026-01-01T00:00:00Z"
    assert [one["roles"] for one in properties["contacts"]] == [["author"], ["publisher"]]
    assert properties["themes"][0]["concepts"] == [{"id": "structure"}]
    assert {one["name"] for one in properties["formats"]} == {
        "GeoJSON",
        "Mapbox Vector Tiles",
        "PNG",
        "3D Tiles",
    }
    json.dumps(record)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("features", "items?f=json"),
        ("tiles", "tiles"),
        ("map", "map?f=png"),
        ("coverage", "coverage?f=gtiff"),
        ("3dtiles", "3dtiles/tileset.json"),
        ("terrain", "terrain/layer.json"),
        ("pointcloud", "pointcloud.copc.laz"),
        ("series", "locations?f=json"),
    ],
)
def test_every_representation_is_linked(kind: str, path: str) -> None:
    record = record_of(_collection("one", representations={kind: None, "record": None}), URL)
    assert f"{URL}/collections/one/{path}" in [link["href"] for link in record["links"]]
    bare = record_of(_collection("one", representations={"record": None}), URL)
    assert f"{URL}/collections/one/{path}" not in [link["href"] for link in bare["links"]]


def test_extents_of_every_shape() -> None:
    assert record_of(_collection("a", bbox=(1, 2, 0, 3, 4, 9)), URL)["geometry"]["coordinates"][0][2] == [
        3,
        4,
    ]
    across = record_of(_collection("a", bbox=(170, -20, -170, -10)), URL)["geometry"]
    assert [part[0][0][0] for part in across["coordinates"]] == [170, -180]
    assert record_of(_collection("a", bbox=()), URL)["geometry"] is None
    assert record_of(_collection("a", interval=("2020-01-01", None)), URL)["time"] == {
        "interval": ["2020-01-01", ".."]
    }


def test_what_is_not_known_is_left_out() -> None:
    collection = _collection(
        "a", licence="", licence_url=None, attribution="", keywords=(), titles={"en": "A"}
    )
    record = record_of(collection, URL, "zh")
    assert not {"license", "rights", "keywords"} & set(record["properties"])
    assert record["properties"]["title"] == "A"
    assert "license" not in [link["rel"] for link in record["links"]]


@pytest.fixture
def records() -> list[dict[str, Any]]:
    return [
        record_of(one, URL)
        for one in (
            _collection("buildings"),
            _collection(
                "counts",
                bbox=(174.0, -37.0, 175.0, -36.0),
                interval=("2019-01-01T00:00:00Z", "2025-12-31T00:00:00Z"),
            ),
            _collection(
                "fiji",
                bbox=(179.0, -18.0, -179.0, -16.0),
                keywords=("islands",),
                interval=("2020-06-01", "2020-06-30"),
            ),
            _collection("pipes", titles={"en": "Pipes", "zh": "地下管线"}, keywords=("water main",), bbox=()),
        )
    ]


@pytest.mark.parametrize(
    ("asked", "ids"),
    [
        ({}, ["buildings", "counts", "fiji", "pipes"]),
        ({"bbox": "24.95,60.17,25,61"}, ["buildings"]),
        ({"bbox": "24.95,60.17,-5,25,61,5"}, ["buildings"]),
        ({"bbox": "24.96,60.18,25,61"}, ["buildings"]),
        ({"bbox": "24.961,60.181,25,61"}, []),
        ({"bbox": "170,-40,-170,-10"}, ["counts", "fiji"]),
        ({"bbox": "-179.5,-17,-178,-16.5"}, ["fiji"]),
        ({"q": "管线"}, ["pipes"]),
        ({"q": "PIPES"}, ["pipes"]),
        ({"q": "main,islands"}, ["fiji", "pipes"]),
        ({"q": "main islands"}, []),
        ({"q": "water main"}, ["pipes"]),
        ({"type": "dataset"}, ["buildings", "counts", "fiji", "pipes"]),
        ({"type": "service"}, []),
        ({"ids": "pipes,fiji,none"}, ["fiji", "pipes"]),
        ({"externalIds": "helsinki.counts"}, ["counts"]),
        ({"datetime": "2020-06-30T23:59:59Z"}, ["buildings", "counts", "fiji", "pipes"]),
        ({"datetime": "2020-07-01/.."}, ["buildings", "counts", "pipes"]),
        ({"datetime": "../2018-12-31"}, ["buildings", "pipes"]),
        ({"q": "建筑物", "bbox": "24,60,25,61", "type": "dataset"}, ["buildings"]),
    ],
)
def test_queries(records: list[dict[str, Any]], asked: dict[str, str], ids: list[str]) -> None:
    answer = query_records(records, parse_record_query(asked))
    assert [one["id"] for one in answer["features"]] == ids
    assert answer["numberMatched"] == answer["numberReturned"] == len(ids)


def test_pages(records: list[dict[str, Any]]) -> None:
    def ids(limit: int, offset: int) -> list[str]:
        answer = query_records(records, parse_record_query({"limit": str(limit), "offset": str(offset)}))
        assert answer["numberMatched"] == 4
        return [one["id"] for one in answer["features"]]

    assert [ids(3, 0), ids(3, 3), ids(3, 4)] == [["buildings", "counts", "fiji"], ["pipes"], []]


def test_a_limit_beyond_the_highest_is_the_highest() -> None:
    assert parse_record_query({"limit": str(MAXIMUM_LIMIT)}).limit == MAXIMUM_LIMIT
    assert parse_record_query({"limit": str(MAXIMUM_LIMIT + 1)}).limit == MAXIMUM_LIMIT


@pytest.mark.parametrize(
    "asked",
    [
        {"bbox": "1,2,3"},
        {"bbox": "1,2,3,x"},
        {"bbox": "1,5,3,4"},
        {"bbox": "nan,0,1,1"},
        {"limit": "0"},
        {"limit": "ten"},
        {"offset": "-1"},
        {"datetime": "soon"},
        {"q": ",".join("abcdefghijklmnopqrstu")},
    ],
)
def test_bad_queries(records: list[dict[str, Any]], asked: dict[str, str]) -> None:
    with pytest.raises(InvalidParameter):
        query_records(records, parse_record_query(asked))


@pytest.fixture
def plugin(records: list[dict[str, Any]]) -> Iterator[ChengtuRecordProvider]:
    register_catalogue(KEY, lambda: records)
    yield ChengtuRecordProvider({"name": "r", "type": "record", "data": KEY})
    unregister_catalogue(KEY)


def test_plugin_passes_every_parameter_on(plugin: ChengtuRecordProvider) -> None:
    def ids(**asked: Any) -> list[str]:
        return [one["id"] for one in plugin.query(**asked)["features"]]

    assert ids(bbox=[24, 60, 25, 61]) == ["buildings"]
    assert ids(q="管线") == ["pipes"]
    assert ids(properties=[("ids", "fiji"), ("type", "dataset")]) == ["fiji"]
    assert ids(datetime_="../2018-12-31") == ["buildings", "pipes"]
    assert ids(limit=1, offset=1) == ["counts"]
    assert plugin.query(resulttype="hits")["numberMatched"] == 4
    assert plugin.query(resulttype="hits")["features"] == []


def test_plugin_refuses_what_it_does_not_do(plugin: ChengtuRecordProvider) -> None:
    with pytest.raises(InvalidParameter, match="colour"):
        plugin.query(properties=[("colour", "red")])
    with pytest.raises(UnsupportedQuery):
        plugin.query(sortby=[{"property": "title", "order": "+"}])
    with pytest.raises(UnsupportedQuery):
        plugin.query(filterq=object())


def test_plugin_gives_one_record(plugin: ChengtuRecordProvider) -> None:
    assert plugin.get("pipes")["id"] == "pipes"
    with pytest.raises(ItemNotFound):
        plugin.get("nothing")
    unregister_catalogue(KEY)
    with pytest.raises(StoreMissing):
        plugin.get("pipes")
