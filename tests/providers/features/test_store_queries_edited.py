"""Queries of a store that is being edited: of the present, by another opener of the file, and of the past."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pytest
import shapely

from providers.features.cql2 import parse_filter
from providers.features.query import BBox, ItemQuery, SortKey
from providers.features.schema import FieldDefinition
from providers.features.source import Edit, EditKind, FeatureSource, HistorySource
from providers.features.store import FeatureStore

FIELDS = (FieldDefinition("name", "string"), FieldDefinition("height", "number"))
BOX = BBox(113.9, 22.7, 114.0, 22.8)


@pytest.fixture
def store(build_store: Callable[..., Any], sample_of: Callable[..., Any]) -> FeatureStore:
    random = np.random.default_rng(8)
    x, y = random.uniform(113.8, 114.1, 300), random.uniform(22.65, 22.85, 300)
    shapes = shapely.box(x, y, x + 1e-3, y + 1e-3).tolist()
    names = [f"name {i % 50}" for i in range(300)]
    heights = [None if i % 7 == 0 else float(i % 40) for i in range(300)]
    store: FeatureStore = build_store(sample_of(shapes, name=names, height=heights), fields=FIELDS).store
    return store


def queries(store: FeatureStore) -> list[ItemQuery]:
    tall = parse_filter("height > 20 AND CASEI(name) LIKE 'name%'", "cql2-text", store.schema)
    near = parse_filter("S_INTERSECTS(geometry, BBox(113.9,22.7,114,22.8))", "cql2-text", store.schema)
    return [
        ItemQuery(),
        ItemQuery(bbox=BOX),
        ItemQuery(bbox=BOX, sortby=(SortKey("height", True),)),
        ItemQuery(sortby=(SortKey("height"),)),
        ItemQuery(sortby=(SortKey("name", True), SortKey("height"))),
        ItemQuery(filter=tall),
        ItemQuery(filter=near, sortby=(SortKey("name"),)),
        ItemQuery(equals={"name": "name 7"}),
        ItemQuery(q=("name 3",)),
        ItemQuery(q=("NAME 3",), bbox=BOX),
    ]


def answers(source: FeatureStore, asof: str | None = None) -> list[list[bytes]]:
    """Every query, a small page after the other."""
    result = []
    for query in queries(source):
        found: list[bytes] = []
        part = dataclasses.replace(query, limit=23, asof=asof)
        while True:
            page = source.page(part)
            found += page.bodies
            if page.cursor is None:
                break
            part = dataclasses.replace(part, cursor=page.cursor)
        hits = source.page(dataclasses.replace(query, hits_only=True, asof=asof)).number_matched
        assert hits == len(found)
        result.append(found)
    return result


def edit_many(store: FeatureStore) -> None:
    shape = shapely.box(113.95, 22.75, 113.96, 22.76)
    store.edit([Edit(EditKind.UPDATE, str(i), properties={"height": 99.0}) for i in range(1, 300, 9)])
    store.edit([Edit(EditKind.DELETE, str(i)) for i in range(5, 300, 17)])
    store.edit(
        [
            Edit(EditKind.UPDATE, str(i), shapely.box(113.95, 22.701, 113.951, 22.702))
            for i in range(3, 300, 51)
        ]
    )
    store.edit([Edit(EditKind.CREATE, None, shape, {"name": "name 3", "height": 12.5}) for _ in range(5)])


def test_it_is_a_source(store: FeatureStore) -> None:
    assert isinstance(store, FeatureSource)
    assert isinstance(store, HistorySource)
    assert store.kind == "embedded"


def test_another_opener_sees_edits_in_every_kind_of_query(store: FeatureStore) -> None:
    other = FeatureStore(store.path)
    before = answers(other)
    edit_many(store)
    after = answers(other)
    assert after == answers(store)
    assert all(one != two for one, two in zip(before, after, strict=True))
    assert other.count() == len(after[0])
    assert other.change() == store.change() > 0
    assert other.columns(ItemQuery(limit=1000)).number_matched == len(after[0])


def test_the_past_answers_every_kind_of_query(store: FeatureStore) -> None:
    before = answers(store)
    then = datetime.now(UTC).isoformat()
    edit_many(store)
    assert answers(store) != before
    assert answers(store, then) == before
    query = ItemQuery(limit=1000, asof=then, sortby=(SortKey("height"),))
    columns = store.columns(query).columns
    assert columns.ids == [orjson.loads(body)["id"] for body in store.page(query).bodies]
    assert store.item("5") is None
    assert store.item("5", asof=then) is not None


def test_before_the_first_state_there_was_nothing(store: FeatureStore) -> None:
    page = store.page(ItemQuery(asof="1999-01-01T00:00:00Z"))
    assert (page.bodies, page.cursor, page.number_matched) == ([], None, 0)
    assert len(store.columns(ItemQuery(asof="1999-01-01T00:00:00Z")).columns) == 0
    assert store.item("5", asof="1999-01-01T00:00:00Z") is None


def test_the_extent_grows_with_edits(store: FeatureStore) -> None:
    other = FeatureStore(store.path)
    assert other.bbox[2] < 114.2
    store.edit([Edit(EditKind.CREATE, None, shapely.box(120, 30, 121, 31), {"name": None, "height": None})])
    assert other.bbox[2:] == (121.0, 31.0)
    assert other.page(ItemQuery(bbox=BBox(119, 29, 120.5, 30.5))).number_returned == 1
