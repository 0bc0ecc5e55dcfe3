"""Pages of a feature store, against brute force over what was written."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pyproj
import pytest
import shapely

from providers.features.query import BBox, ItemQuery, TimeInterval
from providers.features.store import FeatureStore
from providers.features.store.zorder import KeySpace

EPSG = "http://www.opengis.net/def/crs/EPSG/0/"


def ids_of(bodies: list[bytes]) -> list[str]:
    return [orjson.loads(body)["id"] for body in bodies]


def all_ids(store: FeatureStore, query: ItemQuery) -> list[str]:
    """Every page after the other, by cursor."""
    found: list[str] = []
    while True:
        page = store.page(query)
        assert page.number_returned <= query.limit
        found += ids_of(page.bodies)
        if page.cursor is None:
            return found
        assert page.number_returned == query.limit
        query = dataclasses.replace(query, cursor=page.cursor)


def brute_force(sample: Any, *boxes: BBox) -> set[str]:
    """Ids whose envelope, rounded as it is served, meets a box."""
    bounds = np.round(shapely.bounds(sample.geometries), 7)
    met = np.zeros(len(bounds), dtype=bool)
    for west, south, east, north in boxes:
        met |= (
            (bounds[:, 2] >= west)
            & (bounds[:, 0] <= east)
            & (bounds[:, 3] >= south)
            & (bounds[:, 1] <= north)
        )
    return {feature_id for feature_id, is_met in zip(sample.ids, met, strict=True) if is_met}


@pytest.mark.parametrize("limit", [1, 7, 100, 1999, 2000, 2001])
def test_paging_visits_every_feature_once(built: Any, limit: int) -> None:
    query = ItemQuery(limit=limit) if limit > 1 else ItemQuery(limit=1, bbox=BBox(113.9, 22.7, 113.92, 22.72))
    found = all_ids(built.store, query)
    expected = set(built.sample.ids) if limit > 1 else brute_force(built.sample, query.bbox)
    assert len(found) == len(set(found))
    assert set(found) == expected


def test_bbox_is_exact_for_random_boxes(built: Any) -> None:
    random = np.random.default_rng(3)
    for _ in range(150):
        west, south = random.uniform(113.75, 114.1), random.uniform(22.6, 22.85)
        scale = 10 ** random.uniform(-4, -0.3)
        box = BBox(west, south, west + scale * random.random(), south + scale * random.random())
        found = all_ids(built.store, ItemQuery(bbox=box, limit=int(random.integers(1, 60))))
        assert len(found) == len(set(found))
        assert set(found) == brute_force(built.sample, box)
        assert built.store.page(ItemQuery(bbox=box, hits_only=True)).number_matched == len(found)


def test_a_box_that_only_touches_an_envelope_finds_it(built: Any) -> None:
    index = 20
    body = orjson.loads(built.store.item(f"b{index}").body)
    west, south, east, north = shapely.bounds(shapely.from_geojson(orjson.dumps(body["geometry"]))).tolist()
    for box in (BBox(east, south, east, north), BBox(west - 1e-9, north, west, north)):
        assert f"b{index}" in all_ids(built.store, ItemQuery(bbox=box, limit=50))
    beside = BBox(float(np.nextafter(east, 200)), south, east + 1e-6, north)
    assert f"b{index}" not in all_ids(built.store, ItemQuery(bbox=beside, limit=50))


def test_boxes_outside_and_around_everything(built: Any) -> None:
    assert all_ids(built.store, ItemQuery(bbox=BBox(-10, -10, 10, 10))) == []
    everything = all_ids(built.store, ItemQuery(bbox=BBox(-180, -90, 180, 90), limit=300))
    assert set(everything) == set(built.sample.ids) - {"b5", "b50", "b500"}


def test_pages_come_in_key_order_with_and_without_a_box(built: Any) -> None:
    everything = all_ids(built.store, ItemQuery(limit=500))
    position = {feature_id: i for i, feature_id in enumerate(everything)}
    found = all_ids(built.store, ItemQuery(limit=13, bbox=BBox(113.85, 22.7, 114.0, 22.8)))
    assert [position[i] for i in found] == sorted(position[i] for i in found)


@pytest.mark.parametrize("offset", [0, 1, 99, 1999, 2000, 5000])
def test_offset_is_the_same_as_walking(built: Any, offset: int) -> None:
    everything = all_ids(built.store, ItemQuery(limit=500))
    page = built.store.page(ItemQuery(limit=5, offset=offset))
    assert ids_of(page.bodies) == everything[offset : offset + 5]
    assert page.number_matched == 2000
    box = BBox(113.85, 22.7, 114.0, 22.8)
    inside = all_ids(built.store, ItemQuery(limit=500, bbox=box))
    page = built.store.page(ItemQuery(limit=5, offset=offset, bbox=box))
    assert ids_of(page.bodies) == inside[offset : offset + 5]
    assert page.number_matched in (None, len(inside))


def test_number_matched_is_exact_or_absent(built: Any) -> None:
    box = BBox(113.9, 22.7, 113.95, 22.75)
    total = len(brute_force(built.sample, box))
    assert built.store.page(ItemQuery(bbox=box, limit=total)).number_matched == total
    assert built.store.page(ItemQuery(bbox=box, limit=total)).cursor is None
    assert built.store.page(ItemQuery(bbox=box, limit=total - 1)).number_matched == total
    wide = BBox(113.82, 22.66, 114.09, 22.84)
    assert built.store.page(ItemQuery(bbox=wide, limit=3)).number_matched is None
    middle = BBox(113.88, 22.7, 113.99, 22.78)
    total = len(brute_force(built.sample, middle))
    assert built.store.page(ItemQuery(bbox=middle, limit=total - 200)).number_matched == total
    assert built.store.page(ItemQuery(bbox=middle, limit=total - 201)).number_matched is None
    assert built.store.page(ItemQuery(limit=3)).number_matched == 2000
    assert built.store.count() == 2000


def test_antimeridian_box(build_store: Callable[..., Any], sample_of: Callable[..., Any]) -> None:
    random = np.random.default_rng(5)
    shapes = [
        shapely.Point(x, y).buffer(0.3)
        for x, y in zip(random.uniform(-179, 179, 400), random.uniform(-60, 60, 400), strict=True)
    ]
    shapes += [shapely.box(-179.9, 0, 179.9, 1), shapely.Point(180, 2), shapely.Point(-180, 2)]
    built = build_store(sample_of(shapes), fields=())
    halves = (BBox(150, -40, 180, 40), BBox(-180, -40, -120, 40))
    found = all_ids(built.store, ItemQuery(bbox=BBox(150, -40, -120, 40), limit=9))
    assert set(found) == brute_force(built.sample, *halves)
    assert len(found) == len(set(found))
    assert {"400", "401", "402"} <= set(found)


def test_equality_by_type(built: Any) -> None:
    columns, ids = built.sample.columns, built.sample.ids
    cases: list[tuple[str, str, list[bool]]] = [
        ("floors", "7", [v == 7 for v in columns["floors"]]),
        ("名称", "楼 42", [v == "楼 42" for v in columns["名称"]]),
        ("listed", "true", [v is True for v in columns["listed"]]),
        ("height", str(columns["height"][1]), [v == columns["height"][1] for v in columns["height"]]),
        ("built", "1990-06-13", [v == "1990-06-13" for v in columns["built"]]),
        ("id", "source 9", [v == "source 9" for v in columns["id"]]),
    ]
    box = BBox(113.85, 22.7, 114.0, 22.8)
    inside = brute_force(built.sample, box)
    for name, text, matches in cases:
        expected = {feature_id for feature_id, match in zip(ids, matches, strict=True) if match}
        assert set(all_ids(built.store, ItemQuery(equals={name: text}, limit=10))) == expected
        assert (
            set(all_ids(built.store, ItemQuery(equals={name: text}, limit=10, bbox=box))) == expected & inside
        )
    both = ItemQuery(equals={"floors": "7", "listed": "true"}, limit=10, bbox=box)
    wanted = {
        i for i, f, v in zip(ids, columns["floors"], columns["listed"], strict=True) if f == 7 and v is True
    }
    assert set(all_ids(built.store, both)) == wanted & inside


def test_many_matches_are_searched_for_along_the_key_order(
    built: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same answers where candidates are too many to be sorted."""
    from providers.features.store import plan

    box = BBox(113.85, 22.7, 114.0, 22.8)
    queries = [
        ItemQuery(equals={"listed": "true"}, bbox=box, limit=17),
        ItemQuery(datetime=TimeInterval("2025-03-01T00:00:00Z", "2025-06-30T00:00:00Z"), limit=17),
        ItemQuery(datetime=TimeInterval("2025-03-01T00:00:00Z", None), bbox=box, limit=17),
    ]
    before = [all_ids(built.store, query) for query in queries]
    monkeypatch.setattr(plan, "_MOST_CANDIDATES", 1)
    assert [all_ids(built.store, query) for query in queries] == before
    assert all(len(found) > 100 for found in before)


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (TimeInterval("2025-03-02T18:00:00Z", "2025-03-02T19:00:00Z"), ["2025-03-02T18:30:00Z"]),
        (TimeInterval("2025-03-02T18:30:00Z", "2025-03-02T18:30:00Z"), ["2025-03-02T18:30:00Z"]),
        (TimeInterval("2025-03-02T18:30:00.001Z", "2025-03-02T18:31:00Z"), []),
        (TimeInterval(None, "2024-12-31T00:00:00Z"), []),
        (TimeInterval("2026-01-01T00:00:00Z", None), []),
    ],
)
def test_datetime(built: Any, interval: TimeInterval, expected: list[str]) -> None:
    page = built.store.page(ItemQuery(datetime=interval, limit=1000))
    assert sorted({orjson.loads(body)["properties"]["updated"] for body in page.bodies}) == expected
    if expected:
        wanted = built.sample.columns["updated"].count(
            "2025-03-03T02:30:00+08:00"
        )  # 18:30 UTC on the day before
        assert page.number_returned == wanted


def test_fragments_and_encoding_on_the_fly_give_the_same(built: Any) -> None:
    names = tuple(field.name for field in built.store.schema.fields)
    query = ItemQuery(limit=2000)
    stored = [orjson.loads(body) for body in built.store.page(query).bodies]
    encoded = [
        orjson.loads(body) for body in built.store.page(dataclasses.replace(query, properties=names)).bodies
    ]
    assert stored == encoded
    without = built.store.page(dataclasses.replace(query, skip_geometry=True)).bodies
    assert [orjson.loads(body) for body in without] == [item | {"geometry": None} for item in stored]


def test_bodies_hold_what_was_written(built: Any) -> None:
    for i in (0, 1, 5, 50, 17, 1234):
        feature = orjson.loads(built.store.item(f"b{i}").body)
        shape = built.sample.geometries[i]
        if shape is None or shape.is_empty:
            assert feature["geometry"] is None
        else:
            served = shapely.from_geojson(orjson.dumps(feature["geometry"]))
            assert served.geom_type == shape.geom_type
            assert (
                np.abs(shapely.get_coordinates(served) - shapely.get_coordinates(shape)).max() <= 0.5000001e-7
            )
        columns = built.sample.columns
        height = columns["height"][i]
        assert feature["properties"]["height"] == (None if math.isnan(height) else height)
        assert feature["properties"]["listed"] is columns["listed"][i]
        assert feature["properties"]["名称"] == columns["名称"][i]
        assert feature["properties"]["id"] == f"source {i}"
        assert feature["properties"]["updated"].endswith(":30:00Z")


def test_hidden_fields_and_chosen_properties(built: Any) -> None:
    page = built.store.page(ItemQuery(limit=3), frozenset({"height", "名称"}))
    assert list(orjson.loads(page.bodies[0])["properties"]) == ["floors", "listed", "built", "updated", "id"]
    page = built.store.page(ItemQuery(limit=3, properties=("floors", "height")), frozenset({"height"}))
    assert list(orjson.loads(page.bodies[0])["properties"]) == ["floors"]
    item = built.store.item("b3", hidden=frozenset({"id"}))
    assert "id" not in orjson.loads(item.body)["properties"]
    assert orjson.loads(item.body)["id"] == "b3"
    assert orjson.loads(built.store.page(ItemQuery(limit=1, properties=())).bodies[0])["properties"] == {}


@pytest.mark.parametrize("code", ["4326", "3857", "4490", "4547", "32650", "2326"])
def test_other_crs_have_the_axis_order_of_their_authority(built: Any, code: str) -> None:
    here = pyproj.Transformer.from_crs("EPSG:4326", f"EPSG:{code}", always_xy=False)
    page = built.store.page(ItemQuery(limit=30, crs=EPSG + code, bbox=BBox(113.9, 22.7, 114, 22.8)))
    assert page.crs == EPSG + code
    assert page.bodies
    for body in page.bodies:
        feature = orjson.loads(body)
        shape = built.sample.geometries[built.sample.ids.index(feature["id"])]
        x, y = shapely.get_coordinates(shape)[0]
        served = shapely.get_coordinates(shapely.from_geojson(orjson.dumps(feature["geometry"])))[0]
        tolerance = 1e-7 if pyproj.CRS(f"EPSG:{code}").is_geographic else 1e-4
        assert np.allclose(served, here.transform(y, x), rtol=0, atol=tolerance)
        assert body == built.store.item(feature["id"], EPSG + code).body


def test_item_that_is_not_there(built: Any) -> None:
    assert built.store.item("nobody") is None
    assert built.store.item("b3").version == 1
    assert built.store.change() == 0


def test_read_and_slices_give_columns(built: Any) -> None:
    box = BBox(113.9, 22.7, 113.95, 22.75)
    columns = built.store.read(box, ["floors", "名称"])
    assert set(columns.ids) == brute_force(built.sample, box)
    assert len(columns) == len(columns.geometries) == len(columns.columns["floors"])
    index = built.sample.ids.index(columns.ids[0])
    assert columns.columns["名称"][0] == built.sample.columns["名称"][index]
    assert columns.geometries[0].equals_exact(built.sample.geometries[index], 0)
    assert len(built.store.read(box, [], 3)) == 3
    assert len(built.store.read(BBox(0, 0, 1, 1))) == 0
    parts = list(built.store.slices(size=999))
    assert [len(part) for part in parts] == [999, 999, 2]
    assert sorted(i for part in parts for i in part.ids) == sorted(built.sample.ids)


def test_overview_shows_the_largest_first_and_everything_in_the_end(
    build_store: Callable[..., Any], sample_of: Any
) -> None:
    random = np.random.default_rng(11)
    shapes = shapely.points(random.uniform(113.9, 113.95, 9000), random.uniform(22.6, 22.65, 9000)).tolist()
    shapes += [shapely.box(113.9, 22.6, 113.95, 22.65), shapely.box(112, 20, 116, 24)]
    built = build_store(sample_of(shapes), fields=())
    box = BBox(113.8, 22.5, 114, 22.7)
    full = built.summary.full_zoom
    assert 8 < full <= 16
    sizes = [len(built.store.read(box, [], zoom=zoom)) for zoom in range(full + 1)]
    assert sizes == sorted(sizes)
    assert sizes[full] == 9002
    assert sizes[4] < 100
    low = built.store.read(box, [], zoom=6)
    assert {"9000", "9001"} <= set(low.ids)
    assert len(set(low.ids)) == len(low)
    assert set(built.store.read(box, [], 2, zoom=6).ids) == {"9000", "9001"}


def test_key_ranges_cover_every_cell_of_a_box() -> None:
    space = KeySpace(10.0, 20.0, 11.0, 20.5)
    random = np.random.default_rng(2)
    for _ in range(60):
        west, east = np.sort(random.uniform(9.9, 11.1, 2)).tolist()
        south, north = np.sort(random.uniform(19.9, 20.6, 2)).tolist()
        x, y = random.uniform(west, east, 50), random.uniform(south, north, 50)
        keys = (space.numbers(x, y) << 22).tolist()
        ranges = space.ranges(BBox(west, south, east, north), 0, 0)
        assert ranges == sorted(ranges)
        assert len(ranges) <= 128
        assert all(any(first <= key <= last for first, last in ranges) for key in keys)
        for finest in (20, 15, 12):
            fine = list(space.fine_ranges(BBox(west, south, east, north), 0, 0, finest, -1))
            assert fine == sorted(fine)
            assert all(one.last + 1 < two.first for one, two in itertools.pairwise(fine))
            assert all(any(first <= key <= last for first, last in fine) for key in keys)
            assert sum(last - first for first, last in fine) <= sum(last - first for first, last in ranges)
            middle = keys[0]
            rest = list(space.fine_ranges(BBox(west, south, east, north), 0, 0, finest, middle))
            assert all(any(first <= key <= last for first, last in rest) == (key > middle) for key in keys)
