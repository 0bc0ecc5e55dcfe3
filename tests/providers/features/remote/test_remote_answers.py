"""The same questions to every kind of remote service: each answer is compared with what the data says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
import shapely

from providers.errors import UnsupportedQuery
from providers.features.cql2 import parse_filter
from providers.features.query import BBox, ItemQuery, SortKey, TimeInterval
from providers.features.remote import open_arcgis, open_features, open_wfs
from providers.features.remote.source import RemoteSource
from providers.features.source import Ability, FeatureSource

BOX = BBox(113.9, 22.7, 114.0, 22.8)
SHAPE = "POLYGON((113.9 22.7,114 22.7,114 22.8,113.9 22.8,113.9 22.7))"
KINDS = ["arcgis", "features", "wfs 2.0.0 json", "wfs 1.1.0 gml"]


@pytest.fixture(params=KINDS, scope="module")
def remote(request: pytest.FixtureRequest, settings_for: Callable[..., Any]) -> RemoteSource:
    """A source over each kind of service."""
    kind = request.param
    if kind == "arcgis":
        url, _ = request.getfixturevalue("arcgis")()
        return open_arcgis({"store": "arcgis", "url": url, "layer": "0"}, settings_for(url))
    if kind == "features":
        url, _ = request.getfixturevalue("ogc_api")()
        return open_features({"store": "features", "url": url, "layer": "towers"}, settings_for(url))
    _, version, form = kind.split()
    url = request.getfixturevalue("mapserver")[form]
    description = {"store": "wfs", "url": url, "layer": "towers", "version": version}
    return open_wfs(description, settings_for(url))


def numbers_of(bodies: list[bytes]) -> list[int]:
    """The numbers in ids: "7", "towers.T7"."""
    return [int(orjson.loads(body)["id"].removeprefix("towers.T")) for body in bodies]


def everything(source: FeatureSource, limit: int = 60, **conditions: Any) -> set[int]:
    """All pages of a query."""
    found: list[int] = []
    cursor = None
    while True:
        page = source.page(ItemQuery(limit=limit, cursor=cursor, **conditions))
        found += numbers_of(page.bodies)
        cursor = page.cursor
        if cursor is None:
            assert len(set(found)) == len(found)
            return set(found)


def test_is_a_feature_source(remote: RemoteSource) -> None:
    assert isinstance(remote, FeatureSource)
    assert remote.facts.title.lower() == "towers"
    assert remote.attribution == "Bureau of Works"
    assert remote.schema.time_field == "updated"
    assert {"name", "height", "floors", "secret", "updated"} <= {item.name for item in remote.schema.fields}
    kinds = {item.name: (item.type, item.format) for item in remote.schema.fields}
    assert kinds["height"] == ("number", None)
    assert kinds["floors"] == ("integer", None)
    assert kinds["updated"] == ("string", "date-time")


def test_every_page_has_its_features_and_no_other(remote: RemoteSource, city: Any) -> None:
    assert everything(remote, 17) == set(city.fids)
    assert remote.count() == len(city.fids)
    assert remote.page(ItemQuery(hits_only=True)).number_matched == len(city.fids)


def test_page_of_all_and_of_one_more(remote: RemoteSource, city: Any) -> None:
    count = len(city.fids)
    whole = remote.page(ItemQuery(limit=count))
    assert (len(whole.bodies), whole.cursor) == (count, None)
    assert remote.page(ItemQuery(limit=count + 1)).cursor is None
    almost = remote.page(ItemQuery(limit=count - 1))
    assert almost.cursor is not None
    last = remote.page(ItemQuery(limit=count - 1, cursor=almost.cursor))
    assert (len(last.bodies), last.cursor) == (1, None)


def test_feature_is_ours(remote: RemoteSource, city: Any) -> None:
    feature = orjson.loads(remote.page(ItemQuery(limit=1)).bodies[0])
    number = numbers_of([orjson.dumps(feature)])[0]
    properties = feature["properties"]
    assert list(properties) == [item.name for item in remote.schema.fields]
    assert properties["name"] == city.names[number - 1]
    assert properties["height"] == city.heights[number - 1]
    assert properties["floors"] == city.floors[number - 1]
    assert properties["updated"] == f"{str(city.updated[number - 1])[:19]}Z"
    shape = shapely.from_geojson(orjson.dumps(feature["geometry"]))
    # MapServer writes six decimals.
    assert np.allclose(shape.bounds, city.geometries[number - 1].bounds, atol=1e-6)


def test_item_is_the_feature_of_the_page(remote: RemoteSource) -> None:
    page = remote.page(ItemQuery(limit=3))
    for body in page.bodies:
        found = remote.item(orjson.loads(body)["id"])
        assert found is not None
        assert found.body == body
        again = remote.item(orjson.loads(body)["id"], crs="http://www.opengis.net/def/crs/EPSG/0/3857")
        assert again is not None
        assert again.version == found.version


@pytest.mark.parametrize(
    "feature_id", ["", "nothing", "towers.T999", "9999", "../0", "1,2", "1 OR 1=1", "x" * 5000, "\n"]
)
def test_no_item(remote: RemoteSource, feature_id: str) -> None:
    assert remote.item(feature_id) is None


def test_hidden_fields_are_neither_shown_nor_searched(remote: RemoteSource) -> None:
    hidden = frozenset({"secret"})
    page = remote.page(ItemQuery(limit=2), hidden)
    assert all("secret" not in orjson.loads(body)["properties"] for body in page.bodies)
    assert "secret" not in remote.columns(ItemQuery(limit=2), hidden).columns.columns
    item = remote.item(orjson.loads(page.bodies[0])["id"], hidden=hidden)
    assert item is not None
    assert b"secret" not in item.body
    assert remote.page(ItemQuery(limit=2, q=("s1",))).bodies
    assert not remote.page(ItemQuery(limit=2, q=("s1",)), hidden).bodies


CONDITIONS: list[tuple[dict[str, Any], Callable[[Any, int], bool]]] = [
    ({"bbox": BOX}, lambda city, i: city.geometries[i].intersects(shapely.box(*BOX))),
    ({"equals": {"floors": "9"}}, lambda city, i: city.floors[i] == 9),
    ({"equals": {"name": "Tower 7"}}, lambda city, i: city.names[i] == "Tower 7"),
    ({"equals": {"name": "楼 10 O'Neil 50%"}}, lambda city, i: city.names[i] == "楼 10 O'Neil 50%"),
    ({"equals": {"name": "' OR '1'='1"}}, lambda city, i: False),
    (
        {"datetime": TimeInterval("2025-03-01T00:00:00Z", "2025-04-03T03:30:00Z")},
        lambda city, i: (
            np.datetime64("2025-03-01") <= city.updated[i] <= np.datetime64("2025-04-03T03:30:00")
        ),
    ),
    (
        {"datetime": TimeInterval("2025-06-01T00:00:00Z", None)},
        lambda city, i: city.updated[i] >= np.datetime64("2025-06-01"),
    ),
    (
        {"q": ("TOWER 2", "o 楼 3")},
        lambda city, i: "tower 2" in (city.names[i] or "").lower() or "o 楼 3" in (city.names[i] or ""),
    ),
    (
        {"bbox": BOX, "equals": {"floors": "9"}},
        lambda city, i: city.floors[i] == 9 and city.geometries[i].intersects(shapely.box(*BOX)),
    ),
]


@pytest.mark.parametrize(
    ("conditions", "is_met"),
    CONDITIONS,
    ids=[str(list(item[0])) + str(n) for n, item in enumerate(CONDITIONS)],
)
def test_parameters(
    remote: RemoteSource, city: Any, conditions: dict[str, Any], is_met: Callable[[Any, int], bool]
) -> None:
    expected = {fid for i, fid in enumerate(city.fids) if is_met(city, i)}
    assert everything(remote, **conditions) == expected
    assert remote.page(ItemQuery(hits_only=True, **conditions)).number_matched == len(expected)


def _high(city: Any, i: int) -> float:
    return float("nan") if city.heights[i] is None else city.heights[i]


FILTERS: list[tuple[str, Callable[[Any, int], bool]]] = [
    ("floors > 15", lambda city, i: city.floors[i] > 15),
    ("floors <> 9 AND height >= 40.5", lambda city, i: city.floors[i] != 9 and _high(city, i) >= 40.5),
    ("NOT (floors > 15 OR height < 20)", lambda city, i: city.floors[i] <= 15 and _high(city, i) >= 20),
    ("floors BETWEEN 3 AND 8", lambda city, i: 3 <= city.floors[i] <= 8),
    ("name IN ('Tower 1', 'Tower 2')", lambda city, i: city.names[i] in ("Tower 1", "Tower 2")),
    (
        "name LIKE 'Tower 1_'",
        lambda city, i: (city.names[i] or "").startswith("Tower 1") and len(city.names[i]) == 8,
    ),
    ("name LIKE 'tower%'", lambda city, i: False),
    ("CASEI(name) LIKE CASEI('TOWER 3%')", lambda city, i: (city.names[i] or "").startswith("Tower 3")),
    (
        "updated > TIMESTAMP('2025-06-01T00:00:00Z')",
        lambda city, i: city.updated[i] > np.datetime64("2025-06-01"),
    ),
    (
        f"S_INTERSECTS(geometry, {SHAPE})",
        lambda city, i: city.geometries[i].intersects(shapely.from_wkt(SHAPE)),
    ),
    (
        f"S_WITHIN(geometry, {SHAPE}) AND floors > 10",
        lambda city, i: city.geometries[i].within(shapely.from_wkt(SHAPE)) and city.floors[i] > 10,
    ),
    ("name = 'x'' OR 1=1 --'", lambda city, i: False),
]


@pytest.mark.parametrize(("text", "is_met"), FILTERS, ids=[item[0] for item in FILTERS])
def test_filters(remote: RemoteSource, city: Any, text: str, is_met: Callable[[Any, int], bool]) -> None:
    filter_ = parse_filter(text, "cql2-text", remote.schema)
    expected = {fid for i, fid in enumerate(city.fids) if is_met(city, i)}
    assert everything(remote, filter=filter_) == expected


@pytest.mark.parametrize("descending", [False, True])
def test_sorting(remote: RemoteSource, city: Any, descending: bool) -> None:
    page = remote.page(ItemQuery(limit=20, sortby=(SortKey("floors", descending),)))
    second = remote.page(ItemQuery(limit=20, sortby=(SortKey("floors", descending),), cursor=page.cursor))
    values = [orjson.loads(body)["properties"]["floors"] for body in page.bodies + second.bodies]
    assert values == sorted(city.floors, reverse=descending)[:40]


def test_offset(remote: RemoteSource) -> None:
    whole = remote.page(ItemQuery(limit=10)).bodies
    part = remote.page(ItemQuery(limit=3, offset=4))
    assert part.bodies == whole[4:7]
    assert remote.page(ItemQuery(limit=3, cursor=part.cursor)).bodies == whole[7:10]


def test_properties_skip_geometry_and_crs(remote: RemoteSource, city: Any) -> None:
    body = orjson.loads(remote.page(ItemQuery(limit=1, properties=("floors",), skip_geometry=True)).bodies[0])
    assert body["geometry"] is None
    assert list(body["properties"]) == ["floors"]
    page = remote.page(ItemQuery(limit=1, crs="http://www.opengis.net/def/crs/EPSG/0/4490"))
    latitude, longitude = orjson.loads(page.bodies[0])["geometry"]["coordinates"][0][0]
    assert 22 < latitude < 23
    assert 113 < longitude < 115
    assert page.crs.endswith("/4490")


def test_columns_and_read(remote: RemoteSource, city: Any) -> None:
    page = remote.columns(ItemQuery(limit=5))
    assert len(page.columns) == 5
    assert all(isinstance(value, int) for value in page.columns.columns["floors"])
    found = remote.read(BOX, ["floors"])
    assert len(found) == sum(shape.intersects(shapely.box(*BOX)) for shape in city.geometries)
    assert list(found.columns) == ["floors"]
    assert len(remote.read(limit=4)) == 4


def test_what_it_cannot_is_refused(remote: RemoteSource) -> None:
    with pytest.raises(UnsupportedQuery, match=rf"'asof'.*\({remote.kind}\)"):
        remote.page(ItemQuery(asof="2025-01-01T00:00:00Z"))
    assert Ability.ASOF not in remote.abilities
    function = parse_filter("pow(floors, 2) > 100", "cql2-text", remote.schema)
    if remote.kind != "features":
        with pytest.raises(UnsupportedQuery, match=rf"'filter'.*\({remote.kind}\)"):
            remote.page(ItemQuery(filter=function))


def test_always_and_never(remote: RemoteSource, city: Any) -> None:
    assert everything(remote, filter=parse_filter("1 = 1", "cql2-text", remote.schema)) == set(city.fids)
    assert everything(remote, filter=parse_filter("1 = 2", "cql2-text", remote.schema)) == set()


def test_long_queries_are_sent_as_a_form(remote: RemoteSource, city: Any) -> None:
    names = ", ".join(f"'Tower {i}{'x' * 150}'" for i in range(45 if remote.kind == "features" else 25))
    filter_ = parse_filter(f"name IN ({names}, 'Tower 7')", "cql2-text", remote.schema)
    if remote.kind == "features":
        with pytest.raises(UnsupportedQuery, match="'filter'"):
            remote.page(ItemQuery(filter=filter_))
    else:
        assert everything(remote, filter=filter_) == {7}


def test_ogc_api_of_another_make(
    mapserver: dict[str, str], settings_for: Callable[..., Any], city: Any
) -> None:
    """MapServer's: no schema, no filters, links of its own, ids that a field holds, and next links to the first page again."""
    url = f"{mapserver['json']}/CITY/ogcapi"
    description = {"store": "features", "url": url, "layer": "towers", "id_field": "ident"}
    source = open_features(description, settings_for(url))
    assert not {Ability.FILTER, Ability.SORTBY, Ability.Q, Ability.CURSOR, Ability.OFFSET} & source.abilities
    ids = [orjson.loads(body)["id"] for body in source.page(ItemQuery(limit=60)).bodies]
    assert sorted(ids) == sorted(f"T{fid}" for fid in city.fids)
    with pytest.raises(UnsupportedQuery, match=r"'limit'.*pages repeat"):
        source.page(ItemQuery(limit=25))
    item = source.item("T13")
    assert item is not None
    assert orjson.loads(item.body)["properties"]["height"] is None
    box = source.page(ItemQuery(bbox=BOX, limit=60))
    assert len(box.bodies) == sum(shape.intersects(shapely.box(*BOX)) for shape in city.geometries)
    with pytest.raises(UnsupportedQuery, match=r"'filter'.*\(features\)"):
        source.page(ItemQuery(filter=parse_filter("floors > 3", "cql2-text", source.schema)))
