"""Filters on the embedded store: every kind of node, against an evaluation of the same tree on what was written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
import pytest
import shapely

from providers.errors import UnsupportedQuery
from providers.features.cql2 import matches_query, parse_filter, parse_filter_document
from providers.features.query import BBox, Filter, ItemQuery
from providers.features.schema import FieldDefinition
from providers.features.source import FeatureColumns
from providers.features.store import FeatureStore, plan

WORDS = [
    "Straße",
    "STRASSE",
    "café",
    "Cafe",
    "100%",
    "a_b",
    "a\\b",
    "学校大楼",
    "",
    "zebra",
    "Zebra",
    "İz",
    "é",
    None,
]
FIELDS = (
    FieldDefinition("word", "string"),
    FieldDefinition("other", "string"),
    FieldDefinition("height", "number"),
    FieldDefinition("floors", "integer"),
    FieldDefinition("listed", "boolean"),
    FieldDefinition("built", "string", "date"),
    FieldDefinition("updated", "string", "date-time"),
    FieldDefinition("tags", "string"),
)
TRIANGLE = "POLYGON((113.85 22.66,114.05 22.7,113.95 22.84,113.85 22.66))"
HOLE = (
    "POLYGON((113.85 22.7,114.05 22.7,114.05 22.8,113.85 22.8,113.85 22.7),"
    "(113.9 22.72,114 22.72,114 22.78,113.9 22.78,113.9 22.72))"
)


def columns_of(count: int) -> dict[str, list[Any]]:
    random = np.random.default_rng(41)
    return {
        "word": [WORDS[i % len(WORDS)] for i in range(count)],
        "other": [WORDS[i * 5 % len(WORDS)] for i in range(count)],
        "height": [
            None if i % 9 == 0 else round(float(v), 1) for i, v in enumerate(random.uniform(-9, 90, count))
        ],
        "floors": [None if i % 10 == 3 else int(v) for i, v in enumerate(random.integers(-3, 30, count))],
        "listed": [None if i % 7 == 0 else bool(i % 2) for i in range(count)],
        "built": [None if i % 8 == 0 else f"{2000 + i % 20}-06-{1 + i % 28:02}" for i in range(count)],
        "updated": [
            None if i % 8 == 1 else f"2025-{1 + i % 12:02}-03T12:30:00.{i % 3:03}Z" for i in range(count)
        ],
        "tags": [["[1, 2]", '["a", "b"]', '["a"]', "[]", "no array", None][i % 6] for i in range(count)],
    }


@pytest.fixture(scope="module", params=["EPSG:4326", "EPSG:4547"])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, built: Any
) -> FeatureStore:
    from providers.features.store import FeatureStoreWriter, open_store

    count = 600
    random = np.random.default_rng(5)
    x, y = random.uniform(113.8, 114.1, count), random.uniform(22.65, 22.85, count)
    size = random.uniform(1e-4, 2e-3, count)
    shapes = np.where(
        np.arange(count) % 3 == 0,
        shapely.points(x, y),
        np.where(
            np.arange(count) % 3 == 1,
            shapely.box(x - size, y - size, x + size, y + size),
            shapely.linestrings(np.stack([np.stack([x, y], 1), np.stack([x + size, y - size], 1)], 1)),
        ),
    )
    shapes[[4, 40, 400]] = [None, shapely.Point(), shapely.box(113.7, 22.6, 114.2, 22.9)]
    if request.param != "EPSG:4326":
        import pyproj

        here = pyproj.Transformer.from_crs(4326, request.param, always_xy=True).transform
        shapes = shapely.transform(shapes, lambda pairs: np.column_stack(here(pairs[:, 0], pairs[:, 1])))
    path = tmp_path_factory.mktemp("filtered") / "features.gpkg"
    with FeatureStoreWriter(path, fields=FIELDS, storage_crs=request.param, time_field="updated") as writer:
        writer.add(shapes, columns_of(count), [f"f{i}" for i in range(count)])
        writer.finish()
    return open_store(path)


def found(store: FeatureStore, query: ItemQuery) -> list[str]:
    """Ids of all pages."""
    ids: list[str] = []
    while True:
        page = store.page(query)
        ids += [orjson.loads(body)["id"] for body in page.bodies]
        if page.cursor is None:
            return ids
        query = dataclasses.replace(query, cursor=page.cursor)


@lru_cache(maxsize=4)
def served(store: FeatureStore) -> FeatureColumns:
    """All features, with the geometries that a client sees."""
    features = [orjson.loads(body) for body in store.page(ItemQuery(limit=10_000)).bodies]
    columns = store.columns(ItemQuery(limit=10_000)).columns
    assert columns.ids == [item["id"] for item in features]
    texts = [None if item["geometry"] is None else orjson.dumps(item["geometry"]) for item in features]
    return dataclasses.replace(columns, geometries=np.asarray(shapely.from_geojson(texts), dtype=object))


def expected(store: FeatureStore, query: ItemQuery) -> set[str]:
    """Ids by the evaluation in Python."""
    columns = served(store)
    mask = matches_query(query, columns, store.schema)
    return {feature_id for feature_id, passes in zip(columns.ids, mask.tolist(), strict=True) if passes}


FILTERS = [
    "word = 'zebra'",
    "word <> 'zebra'",
    "word < 'a'",
    "word >= '学'",
    "word = other",
    "NOT (word = 'zebra' AND height > 5)",
    "word = 'zebra' AND height > 50",
    "word = 'zebra' OR height > 85",
    "(word = 'zebra' OR word = 'Zebra') AND (floors = 3 OR floors = 5 OR floors IS NULL)",
    "height IS NULL AND floors IS NOT NULL",
    "NOT (height BETWEEN 10 AND 80)",
    "height BETWEEN floors AND 40",
    "floors IN (1, 2, 3, 29)",
    "NOT (floors IN (1, 2, 3, 29))",
    "height = 12345678901234567890123",
    "floors < 99999999999999999999",
    f"floors IN ({', '.join(map(str, range(3, 90)))})",
    f"word IN ('é', {', '.join(f"'{i}%'" for i in range(200))})",
    f"height IN ({', '.join(str(i / 10) for i in range(300))})",
    "listed = TRUE",
    "listed <> TRUE",
    "built = DATE('2005-06-06')",
    "built > DATE('2015-01-01') AND built <= DATE('2018-06-30')",
    "updated >= TIMESTAMP('2025-03-03T12:30:00.001Z')",
    "updated = TIMESTAMP('2025-04-03T12:30:00Z')",
    "T_DURING(updated, INTERVAL('2025-02-01','2025-05-30'))",
    "T_AFTER(updated, DATE('2025-10-03'))",
    "built < TIMESTAMP('2005-06-06T12:00:00Z')",
    "word LIKE 'z%'",
    "word LIKE 'zebra'",
    "word LIKE '%eb%'",
    "word LIKE '_ebra'",
    "word LIKE '100\\%'",
    "word LIKE 'a\\_b'",
    "word LIKE 'a_b'",
    "word LIKE '学%楼'",
    "NOT (word LIKE 'z%')",
    "CASEI(word) LIKE CASEI('STRASSE')",
    "CASEI(word) = CASEI('CAFÉ')",
    "ACCENTI(word) = ACCENTI('cafe')",
    "CASEI(ACCENTI(word)) IN (CASEI(ACCENTI('CAFE')), 'e')",
    "floors + 2 * height > 100",
    "height / 2 > floors",
    "floors / 0 = 1",
    "floors % 7 = 2",
    "floors DIV 7 = -0",
    "height ^ 2 > 400",
    "height - floors < -5",
    "length(word) = 4",
    "abs(floors) = 3",
    "floor(height) = ceiling(height)",
    "upper(word) = 'ZEBRA'",
    "maximum(height, floors) < 5",
    f"S_INTERSECTS(geometry, {TRIANGLE})",
    f"NOT S_INTERSECTS(geometry, {TRIANGLE})",
    f"S_DISJOINT(geometry, {HOLE})",
    f"S_WITHIN(geometry, {HOLE})",
    f"S_CROSSES(geometry, {TRIANGLE})",
    f"S_OVERLAPS(geometry, {TRIANGLE})",
    "S_CONTAINS(geometry, POINT(113.9 22.7))",
    "S_CONTAINS(POLYGON((113.85 22.7,114.05 22.7,114.05 22.8,113.85 22.8,113.85 22.7)), geometry)",
    "S_INTERSECTS(geometry, BBOX(113.9,22.7,113.95,22.75)) AND height > 20",
    "S_INTERSECTS(geometry, LINESTRING(113.8 22.65,114.1 22.85))",
    f"S_INTERSECTS(geometry, {TRIANGLE}) AND S_INTERSECTS(geometry, POINT(114 22.72))",
    f"S_INTERSECTS(geometry, POINT(113.95 22.75)) OR S_WITHIN(geometry, {TRIANGLE})",
    f"S_INTERSECTS(geometry, {TRIANGLE}) OR floors = 4",
    "geometry IS NULL",
    "geometry IS NOT NULL AND floors = 4",
    "S_INTERSECTS(geometry, geometry) AND floors = 4",
    "NOT S_TOUCHES(geometry, geometry) AND floors = 4",
    "A_CONTAINS(tags, ('a'))",
    "A_EQUALS(tags, (2, 1))",
    "NOT A_OVERLAPS(tags, ('a', 'x'))",
    "A_CONTAINEDBY(tags, ('a', 'b', 'c'))",
]


@pytest.mark.parametrize("text", FILTERS)
def test_filter_finds_what_the_evaluation_finds(store: FeatureStore, text: str) -> None:
    checked = parse_filter(text, "cql2-text", store.schema)
    query = ItemQuery(limit=67, filter=checked)
    ids = found(store, query)
    assert len(ids) == len(set(ids))
    assert set(ids) == expected(store, query)
    assert store.page(dataclasses.replace(query, hits_only=True)).number_matched == len(ids)
    boxed = dataclasses.replace(query, bbox=BBox(113.88, 22.68, 114.0, 22.8), limit=13)
    assert set(found(store, boxed)) == expected(store, boxed)


def test_answers_do_not_hang_on_the_plan(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = [ItemQuery(limit=31, filter=parse_filter(text, "cql2-text", store.schema)) for text in FILTERS]
    before = [found(store, query) for query in queries]
    monkeypatch.setattr(plan, "_MOST_CANDIDATES", 0)
    monkeypatch.setattr(plan, "_FIRST_STEP", 3)
    monkeypatch.setattr(plan, "_LONGEST_STEP", 50)
    assert [found(store, query) for query in queries] == before


def test_equality_with_what_was_served(store: FeatureStore) -> None:
    for feature_id in ("f1", "f3", "f5"):
        geometry = shapely.from_geojson(orjson.dumps(orjson.loads(store.item(feature_id).body)["geometry"]))
        checked = parse_filter(f"S_EQUALS(geometry, {geometry.wkt})", "cql2-text", store.schema)
        assert found(store, ItemQuery(filter=checked)) == [feature_id]


@pytest.mark.parametrize(("answer", "count"), [(True, 600), (False, 0)])
def test_a_filter_folded_to_a_constant(store: FeatureStore, answer: bool, count: int) -> None:
    folded = Filter(answer, str(answer))
    assert len(found(store, ItemQuery(filter=folded, limit=999))) == count
    assert store.page(ItemQuery(filter=folded, hits_only=True)).number_matched == count


def test_a_node_nobody_knows_is_refused(store: FeatureStore) -> None:
    from pygeofilter import ast

    with pytest.raises(UnsupportedQuery, match="Exists"):
        store.page(ItemQuery(filter=Filter(ast.Exists(ast.Attribute("word"), False), "?")))


@pytest.mark.parametrize("name", ['a"b', "a'b; DROP TABLE feature", "a.b", "f.x", "select", "x]"])
def test_names_and_values_are_never_sql(
    build_store: Callable[..., Any], sample_of: Callable[..., Any], name: str
) -> None:
    shapes = [shapely.Point(113, 22), shapely.Point(114, 23)]
    sample = sample_of(shapes, **{name: ["x' OR '1'='1", "y"]})
    built = build_store(sample, fields=(FieldDefinition(name, "string"),))
    document = {"op": "=", "args": [{"property": name}, "x' OR '1'='1"]}
    checked = parse_filter_document(document, built.store.schema)
    assert found(built.store, ItemQuery(filter=checked)) == ["0"]
    assert found(built.store, ItemQuery(q=("' OR '",))) == ["0"]
