"""Queries of a PostGIS table: the same answers as the embedded store, and as plain Python over the same features."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pygeofilter import ast

from providers.errors import InvalidParameter, StoreError, UnsupportedQuery
from providers.features.cql2 import matches_query, parse_filter
from providers.features.crs import reference_system
from providers.features.postgis import PostgisSource
from providers.features.query import CRS84, BBox, Filter, ItemQuery, SortKey, TimeInterval
from providers.features.source import EditableSource, FeatureColumns, FeatureSource, TileSource
from providers.features.store import FeatureStore
from providers.features.store.encoding import geometries_in

CGCS2000 = "http://www.opengis.net/def/crs/EPSG/0/4547"
EVERYTHING = 1000


def _in_crs84(source: Any) -> FeatureColumns:
    found = source.columns(ItemQuery(limit=EVERYTHING)).columns
    moved = geometries_in(found.geometries, source.storage, reference_system(CRS84))
    return FeatureColumns(found.keys, found.ids, moved, found.columns)


def _ids(source: Any, query: ItemQuery) -> list[str]:
    return [json.loads(body)["id"] for body in source.page(query).bodies]


QUERIES: list[dict[str, Any]] = [
    {},
    {"bbox": BBox(113.9, 22.7, 113.95, 22.75)},
    {"bbox": BBox(113.9, 22.7, 113.9, 22.7)},
    {"bbox": BBox(-180, -90, 180, 90)},
    {"bbox": BBox(170, 5, -170, 20)},
    {"bbox": BBox(179.5, 11, 180, 12)},
    {"bbox": BBox(0, 0, 1, 1)},
    {"datetime": TimeInterval("2025-03-01T00:00:00Z", "2025-06-02T19:30:00.250Z")},
    {"datetime": TimeInterval(None, "2025-02-03T00:30:00Z")},
    {"datetime": TimeInterval("2025-11-03T00:00:00Z", None)},
    {"datetime": TimeInterval(None, None)},
    {"equals": {"名称": "Größe1"}},
    {"equals": {"height": "24.7"}},
    {"equals": {"floors": "7", "listed": "true"}},
    {"equals": {"floors": "99999999999999999999"}},
    {"equals": {"built": "1950-06-01"}},
    {"equals": {"updated": "2025-01-02T16:30:00Z"}},
    {"equals": {"名称": "a\x00b"}},
    {"q": ("GRÖSSE",)},
    {"q": ("strasse", "οδοσ")},
    {"q": ("50%_",)},
    {"q": ("a\\b", "o'b")},
    {"q": ("ı",)},
    {
        "bbox": BBox(113.85, 22.7, 114.0, 22.8),
        "q": ("caf",),
        "datetime": TimeInterval("2025-02-01T00:00:00Z", None),
    },
]
FILTERS = [
    "height > 20", "NOT (height > 20 AND floors < 5)", "height = 24.7", "floors <> 3", "height BETWEEN 10 AND 20.5",
    "NOT (height BETWEEN 10 AND 20.5)", "floors IN (1, 2, 3)", "NOT (名称 IN ('Größe1', 'x'))", "名称 LIKE 'Gr%'", "名称 LIKE '50\\%\\__ff%'",
    "名称 LIKE '%\\\\b%'", "CASEI(名称) LIKE CASEI('STRASSE%')", "CASEI(名称) = CASEI('ΟΔΟΣ')", "ACCENTI(名称) LIKE 'Cafe%'",
    "CASEI(ACCENTI(名称)) LIKE 'istanbul%'", "CASEI(名称) = 'GRÖSSE'", "名称 < 'O'", "名称 >= 'cafe'", "名称 IS NULL", "height IS NOT NULL OR 名称 = ''",
    "listed = TRUE", "listed <> TRUE", "NOT (listed = TRUE AND floors > 2)", "built < DATE('1970-01-01')", "built = DATE('1960-06-11')",
    "updated >= TIMESTAMP('2025-05-02T18:30:00Z')", "updated = TIMESTAMP('2025-01-02T16:30:00Z')", "updated > TIMESTAMP('2025-01-02T16:30:00Z')",
    "NOT (updated <= TIMESTAMP('2025-08-02T18:30:00.250Z') AND floors > 0)", "height + floors * 2 > 60", "height / floors > 3", "floors / 2 = 1.5",
    "floors % 4 = -1", "floors DIV 4 = 2", "floors ^ 2 > 100", "10 ^ (floors * 100) > 0", "1 / floors < 1", "height > floors", "floors = floors",
    "height * 1e308 * 10 > 0", "round(height) = 25", "abs(floors) = 2", "floor(height) = 20", "ceiling(height) = 21", "length(名称) > 4",
    "upper(名称) = 'GRÖSSE1'", "lower(名称) LIKE 'gr%'", "minimum(height, floors) < 0", "maximum(floors, 3, height) = 3",
    "S_INTERSECTS(geometry, POLYGON((113.9 22.7, 114 22.7, 113.95 22.8, 113.9 22.7)))",
    "S_DISJOINT(geometry, BBOX(113.9, 22.7, 114, 22.8))", "NOT (S_INTERSECTS(geometry, BBOX(113.9, 22.7, 114, 22.8)))",
    "S_WITHIN(geometry, BBOX(113.9, 22.7, 114, 22.8))", "S_CONTAINS(geometry, POINT(113.95 22.75))", "S_CROSSES(geometry, LINESTRING(113.8 22.65, 114.1 22.85))",
    "S_OVERLAPS(geometry, BBOX(113.9, 22.7, 114, 22.8))", "S_TOUCHES(geometry, BBOX(113.9, 22.7, 114, 22.8))", "S_EQUALS(geometry, geometry)",
    "geometry IS NULL", "T_DURING(updated, INTERVAL('2025-03-01T00:00:00Z', '2025-06-01T00:00:00Z'))",
    "A_CONTAINS(tags, ('a'))", "A_EQUALS(tags, (1, 2))", "A_OVERLAPS(tags, ('a', 'z'))", "A_CONTAINEDBY(tags, ('a', 'b', 'c'))", "NOT (A_CONTAINS(tags, ('a')))",
]  # fmt: skip


@pytest.mark.parametrize("table", ["city", "projected"])
@pytest.mark.parametrize("parts", QUERIES, ids=str)
def test_queries_answer_as_plain_python(
    table: str, parts: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    source: PostgisSource = request.getfixturevalue(table)
    everything = _in_crs84(source)
    query = ItemQuery(limit=EVERYTHING, **parts)
    wanted = np.asarray(everything.ids)[matches_query(query, everything, source.schema)].tolist()
    page = source.page(query)
    assert [json.loads(body)["id"] for body in page.bodies] == wanted
    assert page.number_matched == len(wanted)
    assert page.cursor is None
    assert source.page(ItemQuery(hits_only=True, **parts)).number_matched == len(wanted)


@pytest.mark.parametrize("table", ["city", "projected"])
@pytest.mark.parametrize("text", FILTERS)
def test_filters_answer_as_plain_python(table: str, text: str, request: pytest.FixtureRequest) -> None:
    source: PostgisSource = request.getfixturevalue(table)
    everything = _in_crs84(source)
    query = ItemQuery(limit=EVERYTHING, filter=parse_filter(text, "cql2-text", source.schema))
    wanted = np.asarray(everything.ids)[matches_query(query, everything, source.schema)].tolist()
    assert _ids(source, query) == wanted


@pytest.mark.parametrize("parts", QUERIES[:6], ids=str)
@pytest.mark.parametrize(
    "shape", [{}, {"crs": CGCS2000}, {"properties": ("floors", "updated")}, {"skip_geometry": True}], ids=str
)
def test_bodies_are_those_of_the_embedded_store(
    city: PostgisSource, embedded: FeatureStore, parts: dict[str, Any], shape: dict[str, Any]
) -> None:
    query = ItemQuery(limit=EVERYTHING, **parts, **shape)

    def bodies(source: Any) -> dict[str, Any]:
        parsed = [json.loads(body) for body in source.page(query, frozenset({"listed"})).bodies]
        return {body["id"]: body for body in parsed}

    ours, theirs = bodies(city), bodies(embedded)
    assert ours == theirs
    assert all(list(ours[key]["properties"]) == list(theirs[key]["properties"]) for key in ours)


SORTS = [
    (SortKey("height"),),
    (SortKey("height", True),),
    (SortKey("名称"),),
    (SortKey("名称", True), SortKey("floors")),
    (SortKey("floors"), SortKey("height", True)),
    (SortKey("listed", True), SortKey("built"), SortKey("updated", True)),
    (SortKey("updated"),),
]


def _sorted(source: PostgisSource, keys: tuple[SortKey, ...]) -> list[str]:
    found = source.columns(ItemQuery(limit=EVERYTHING)).columns
    order = list(range(len(found)))
    for key in reversed(keys):
        values = found.columns[key.field]
        present = sorted(
            (i for i in order if values[i] is not None), key=lambda i: values[i], reverse=key.descending
        )
        if key.descending:  # stable the other way round
            present = sorted((i for i in order if values[i] is not None), key=lambda i: _Reversed(values[i]))
        order = present + [i for i in order if values[i] is None]
    return [found.ids[i] for i in order]


class _Reversed:
    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: _Reversed) -> bool:
        return bool(other.value < self.value)


@pytest.mark.parametrize("keys", SORTS, ids=str)
@pytest.mark.parametrize("limit", [7, 399, 400, 401])
def test_pages_follow_each_other_in_order(city: PostgisSource, keys: tuple[SortKey, ...], limit: int) -> None:
    wanted = _sorted(city, keys)
    found: list[str] = []
    cursor = None
    for _ in range(len(wanted) // limit + 2):
        page = city.page(ItemQuery(limit=limit, sortby=keys, cursor=cursor))
        found += [json.loads(body)["id"] for body in page.bodies]
        cursor = page.cursor
        if cursor is None:
            break
    assert found == wanted
    for offset in (1, 380, 399, 400, 500):
        assert (
            _ids(city, ItemQuery(limit=limit, sortby=keys, offset=offset)) == wanted[offset : offset + limit]
        )


def test_keyset_paging_without_sorting(city: PostgisSource) -> None:
    first = city.page(ItemQuery(limit=400))
    assert first.cursor is None
    assert first.number_matched == 400
    page = city.page(ItemQuery(limit=399))
    assert page.cursor == (399,)
    assert page.number_matched is None
    assert _ids(city, ItemQuery(limit=399, cursor=page.cursor)) == ["400"]
    assert _ids(city, ItemQuery(limit=5, cursor=(400,))) == []


@pytest.mark.parametrize("cursor", [("1",), (1.5,), (None,), (1, 2), (True,), (1 << 63,), ()])
def test_foreign_cursors_are_refused(city: PostgisSource, cursor: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidParameter, match="cursor"):
        city.page(ItemQuery(cursor=cursor))


@pytest.mark.parametrize(
    "cursor", [("no number", 1), (True, 1), (None,), (1.5, "1"), ("1'; DROP TABLE city; --", 1)]
)
def test_foreign_cursors_of_a_sorted_query_are_refused(city: PostgisSource, cursor: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidParameter, match="cursor"):
        city.page(ItemQuery(cursor=cursor, sortby=(SortKey("height"),)))


@pytest.mark.parametrize(
    "feature_id", ["0", "401", "01", "+1", "1.0", "", "x", "1; SELECT 1", "９", "9" * 30, "\x00"]
)
def test_an_id_nobody_has(city: PostgisSource, feature_id: str) -> None:
    assert city.item(feature_id) is None


def test_an_item_is_the_feature_of_the_page(city: PostgisSource) -> None:
    page = city.page(ItemQuery(limit=1))
    found = city.item("1")
    assert found is not None
    assert found.body == page.bodies[0]
    assert found.version
    moved = city.item("1", CGCS2000, frozenset({"tags"}))
    assert moved is not None
    assert "tags" not in json.loads(moved.body)["properties"]


def test_hidden_fields_are_not_searched(city: PostgisSource) -> None:
    assert _ids(city, ItemQuery(limit=EVERYTHING, q=("no json",)))
    found = city.page(ItemQuery(limit=EVERYTHING, q=("no json",)), frozenset({"tags"}))
    assert found.bodies == []


def test_read_gives_columns_for_maps(city: PostgisSource, embedded: FeatureStore) -> None:
    box = BBox(113.9, 22.7, 114.0, 22.8)
    ours, theirs = city.read(box, ["height"]), embedded.read(box, ["height"])
    assert sorted(ours.ids) == sorted(theirs.ids)
    assert list(ours.columns) == ["height"]
    assert len(city.read(box, limit=3)) == 3
    assert len(city.read(BBox(0, 0, 1, 1))) == 0
    assert 0 < len(city.read(box, zoom=8)) < len(ours)
    with pytest.raises(StoreError, match="nothing"):
        city.read(fields=["nothing"])


def test_it_is_every_kind_of_source(city: PostgisSource) -> None:
    assert isinstance(city, FeatureSource)
    assert isinstance(city, EditableSource)
    assert isinstance(city, TileSource)
    with pytest.raises(UnsupportedQuery, match=r"asof.*postgis"):
        city.page(ItemQuery(asof="2025-01-01T00:00:00Z"))


HOSTILE = [
    "'; DROP TABLE city; --",
    '"; DROP TABLE city; --',
    "%s",
    "%(x)s",
    "%",
    "$1",
    "\\",
    "a\x00b",
    "\ud800",
    "{}",
    "1 OR 1=1",
]


@pytest.mark.parametrize("value", HOSTILE)
def test_values_are_bound(city: PostgisSource, value: str) -> None:
    assert _ids(city, ItemQuery(equals={"名称": value})) == []
    assert _ids(city, ItemQuery(q=(value + "x",))) == []
    assert city.item(value) is None
    name = ast.Attribute("名称")
    for node in (
        ast.Equal(name, value),
        ast.In(name, [value, "x"], False),
        ast.Like(name, value + "x", False, "%", "_", "\\", False),
        ast.Equal(ast.Function("casei", [name]), value),
        ast.Between(name, value, value, False),
    ):
        assert _ids(city, ItemQuery(filter=Filter(node, "x"))) == []
    assert city.count() == 400


def test_names_of_every_kind_are_quoted(
    run_sql: Callable[..., Any], open_table: Callable[..., PostgisSource]
) -> None:
    odd = 'x"; DROP TABLE city; -- %s %(a)s'
    quoted = '"' + odd.replace('"', '""') + '"'
    run_sql(f"CREATE SCHEMA {quoted}")
    table = f"{quoted}.{quoted}"
    key, shape = '"k%d"', '"g%s\'"'
    run_sql(f"CREATE TABLE {table} ({key} text PRIMARY KEY, {quoted} text, {shape} geometry(Point, 4326))")
    run_sql(f"INSERT INTO {table} VALUES ('a b', 'v', ST_SetSRID(ST_MakePoint(1, 2), 4326))")
    source = open_table(odd, schema=odd)
    query = ItemQuery(
        bbox=BBox(0, 0, 3, 3),
        equals={odd: "v"},
        q=("V",),
        sortby=(SortKey(odd),),
        filter=Filter(ast.Equal(ast.Attribute(odd), "v"), "x"),
    )
    assert _ids(source, query) == ["a b"]
    assert source.item("a b") is not None
    assert source.bbox == (1, 2, 1, 2)
    assert source.change()
    from providers.features.source import Edit, EditKind

    source.edit([Edit(EditKind.UPDATE, "a b", properties={odd: "w'"})])
    assert json.loads(source.page(ItemQuery()).bodies[0])["properties"] == {odd: "w'"}
