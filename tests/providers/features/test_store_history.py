"""Past states of an embedded store: whatever it answered at an instant, it answers again when asked as of that instant."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pytest
import shapely

from providers.errors import InvalidParameter, ReadOnlySource
from providers.features.cql2 import parse_filter
from providers.features.crs import crs_uri
from providers.features.query import BBox, ItemQuery, SortKey, TimeInterval
from providers.features.schema import CollectionSchema, FieldDefinition
from providers.features.source import Edit, EditKind, FeatureColumns
from providers.features.store import FeatureStore

FIELDS = (
    FieldDefinition("名称", "string"),
    FieldDefinition("height", "number"),
    FieldDefinition("floors", "integer"),
)
QUERIES = (
    ItemQuery(limit=70),
    ItemQuery(limit=5000),
    ItemQuery(bbox=BBox(113.85, 22.6, 114.0, 22.8), limit=40),
    ItemQuery(bbox=BBox(113.95, 22.7, 113.96, 22.71), limit=1000),
    ItemQuery(bbox=BBox(179.0, -10.0, 114.0, 22.7), limit=300),
    ItemQuery(equals={"floors": "7"}, limit=20),
    ItemQuery(equals={"名称": "改 3"}, bbox=BBox(113.5, 22.4, 114.4, 23.1), limit=20),
    ItemQuery(datetime=TimeInterval("2025-03-01T00:00:00Z", "2025-05-31T00:00:00Z"), limit=60),
    ItemQuery(sortby=(SortKey("height", True), SortKey("名称")), limit=90),
    ItemQuery(sortby=(SortKey("floors"),), bbox=BBox(113.85, 22.6, 114.0, 22.8), limit=50),
    ItemQuery(q=("改 5",), limit=30),
    ItemQuery(
        filter=parse_filter(
            "height > 30 AND CASEI(名称) LIKE '%3%' AND S_INTERSECTS(geometry, BBOX(113.8, 22.6, 114.1, 22.8))",
            "cql2-text",
            CollectionSchema(FIELDS),
        ),
        sortby=(SortKey("floors"),),
        limit=7,
    ),
    ItemQuery(offset=150, limit=30),
    ItemQuery(properties=("名称",), skip_geometry=True, limit=60),
    ItemQuery(crs=crs_uri("EPSG:4547"), bbox=BBox(113.9, 22.7, 113.95, 22.75), limit=60),
)
HITS = (
    ItemQuery(hits_only=True),
    ItemQuery(hits_only=True, bbox=BBox(113.85, 22.6, 114.0, 22.8)),
    ItemQuery(hits_only=True, equals={"listed": "true"}),
)


@dataclass
class State:
    """What a store answered at a moment."""

    moment: str
    change: int
    pages: list[list[bytes]] = field(default_factory=list)
    hits: list[int | None] = field(default_factory=list)
    columns: FeatureColumns | None = None


@dataclass
class Life:
    """A store that was edited, and what it answered after each batch."""

    store: FeatureStore
    states: list[State]


def now() -> str:
    """An instant that lies between the transactions before and after."""
    time.sleep(0.002)
    moment = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    time.sleep(0.002)
    return moment


def walk(store: FeatureStore, query: ItemQuery) -> list[bytes]:
    """The bodies of every page, by cursor."""
    found: list[bytes] = []
    for _ in range(1000):
        page = store.page(query)
        found += page.bodies
        if page.cursor is None:
            return found
        query = dataclasses.replace(query, cursor=page.cursor, offset=0)
    raise AssertionError("paging never ends")


def look(store: FeatureStore, moment: str) -> State:
    return State(
        moment,
        store.change(),
        [walk(store, query) for query in QUERIES],
        [store.page(query).number_matched for query in HITS],
        store.read(BBox(113.8, 22.6, 114.2, 22.9), zoom=10),
    )


def batch(random: np.random.Generator, present: list[str]) -> list[Edit]:
    edits: list[Edit] = []
    for feature_id in random.permutation(present)[:40].tolist():
        x, y = random.uniform(113.7, 114.2), random.uniform(22.55, 22.9)
        size = 10 ** random.uniform(-4, -0.7)
        shape = [shapely.Point(x, y), shapely.box(x, y, x + size, y + size), None][int(random.integers(0, 3))]
        values = {
            "floors": int(random.integers(1, 30)),
            "名称": f"改 {random.integers(0, 9)}",
            "height": float(x),
        }
        edits.append(
            [
                Edit(EditKind.DELETE, feature_id),
                Edit(EditKind.REPLACE, feature_id, shape, values),
                Edit(EditKind.UPDATE, feature_id, shape),
                Edit(EditKind.UPDATE, feature_id, properties=values),
                Edit(EditKind.CREATE, f"n{random.integers(0, 1 << 40)}", shape, values),
            ][int(random.integers(0, 5))]
        )
    return edits


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Life:
    """Some batches on 600 features of all kinds; every state is remembered."""
    import shutil

    from providers.features.store import open_store

    path = tmp_path_factory.mktemp("life") / "features.gpkg"
    shutil.copy(request.getfixturevalue("built").store.path, path)
    store = open_store(path)
    random = np.random.default_rng(5)
    states = [look(store, now())]
    for _ in range(5):
        store.edit(batch(random, store.read().ids), "planner")
        states.append(look(store, now()))
    return Life(store, states)


@pytest.mark.parametrize("number", range(6))
def test_a_past_state_answers_as_it_did(life: Life, number: int) -> None:
    state = life.states[number]
    for query, expected in zip(QUERIES, state.pages, strict=True):
        assert walk(life.store, dataclasses.replace(query, asof=state.moment)) == expected, query
    for query, matched in zip(HITS, state.hits, strict=True):
        assert life.store.page(dataclasses.replace(query, asof=state.moment)).number_matched == matched
    past = life.store.at(state.moment)
    assert past is not None
    assert (past.change(), past.count()) == (state.change, len(state.pages[1]))
    found = past.read(BBox(113.8, 22.6, 114.2, 22.9), zoom=10)
    assert state.columns is not None
    assert sorted(found.ids) == sorted(state.columns.ids)


@pytest.mark.parametrize("number", range(6))
def test_items_and_columns_of_a_past_state(life: Life, number: int) -> None:
    state = life.states[number]
    bodies = {orjson.loads(body)["id"]: body for body in state.pages[1]}
    later = {orjson.loads(body)["id"] for other in life.states for body in other.pages[1]}
    for feature_id in sorted(later)[::7]:
        item = life.store.item(feature_id, asof=state.moment)
        assert (None if item is None else item.body) == bodies.get(feature_id)
    columns = life.store.columns(ItemQuery(limit=5000, asof=state.moment)).columns
    assert columns.ids == [orjson.loads(body)["id"] for body in state.pages[1]]


def test_before_the_first_state_there_was_nothing(life: Life) -> None:
    before = "2001-01-01T00:00:00Z"
    assert life.store.at(before) is None
    page = life.store.page(ItemQuery(asof=before))
    assert (page.bodies, page.cursor, page.number_matched) == ([], None, 0)
    assert len(life.store.columns(ItemQuery(asof=before)).columns) == 0
    assert life.store.item("b1", asof=before) is None


def test_an_instant_to_come_is_the_present(life: Life) -> None:
    assert walk(life.store, ItemQuery(limit=5000, asof="2999-01-01T00:00:00Z")) == life.states[-1].pages[1]


def test_zones_of_asof_are_understood(life: Life) -> None:
    moment = datetime.fromisoformat(life.states[2].moment)
    for text in (moment.isoformat(), moment.astimezone(datetime.now().astimezone().tzinfo).isoformat()):
        past = life.store.at(text)
        assert past is not None
        assert past.change() == life.states[2].change


@pytest.mark.parametrize(
    "asof", ["", "yesterday", "2025-01-01T00:00:00", "2025-13-01T00:00:00Z", "0001-01-01T00:00:00+14:00"]
)
def test_an_asof_that_is_no_instant_is_refused(life: Life, asof: str) -> None:
    with pytest.raises(InvalidParameter, match="asof"):
        life.store.at(asof)


def test_a_past_state_cannot_be_edited(life: Life) -> None:
    past = life.store.at(life.states[1].moment)
    assert past is not None
    with pytest.raises(ReadOnlySource):
        past.edit([Edit(EditKind.DELETE, "b1")])


def test_pages_of_the_past_cost_a_search_not_a_scan(life: Life) -> None:
    """Both halves of a past state are read by their keys, and merged without sorting."""
    past = life.store.at(life.states[3].moment)
    assert past is not None
    with past.snapshot() as connection:
        plan = connection.execute(
            "EXPLAIN QUERY PLAN SELECT f.key, f.body FROM fragment f WHERE f.key BETWEEN ? AND ? ORDER BY f.key LIMIT ?",
            (0, 1 << 62, 10),
        ).fetchall()
    steps = " | ".join(row[3] for row in plan)
    assert "MERGE (UNION ALL)" in steps
    assert "TEMP B-TREE" not in steps
    assert "SCAN" not in steps


def test_the_history_of_a_feature(
    build_store: Callable[..., Any], sample_of: Callable[..., Any], built: Any
) -> None:
    store = build_store(built.sample).store
    (only,) = store.history("b1")
    assert (only.version, only.until, only.author) == (1, None, "")
    assert only.body == store.item("b1").body
    first = store.item("b1").body
    store.edit([Edit(EditKind.UPDATE, "b1", properties={"floors": 3})], "甲")
    store.edit([Edit(EditKind.DELETE, "b1")], "乙")
    store.edit([Edit(EditKind.CREATE, "b1", shapely.Point(114, 22.7), {"floors": 9})], "丙")
    found = store.history("b1")
    assert [(entry.version, entry.author) for entry in found] == [(3, "丙"), (None, "乙"), (2, "甲"), (1, "")]
    assert [entry.until for entry in found] == [None, *(entry.since for entry in found[:-1])]
    assert sorted(entry.since for entry in found) == [entry.since for entry in reversed(found)]
    assert (found[0].body, found[1].body, found[3].body) == (store.item("b1").body, None, first)
    for entry in found:
        item = store.item("b1", asof=entry.since)
        assert (None if item is None else item.version) == entry.version
    assert store.history("none") == []


def test_history_in_another_crs_without_hidden_fields(life: Life) -> None:
    feature_id = next(
        orjson.loads(body)["id"]
        for body in life.states[-1].pages[1]
        if life.store.item(orjson.loads(body)["id"]).version > 1 and orjson.loads(body)["geometry"]
    )
    crs = crs_uri("EPSG:4547")
    versions = life.store.history(feature_id, crs, frozenset({"height"}))
    assert len(versions) == life.store.item(feature_id).version
    assert versions[0].body == life.store.item(feature_id, crs, frozenset({"height"})).body
    assert all("height" not in orjson.loads(entry.body)["properties"] for entry in versions if entry.body)


def test_dirty_areas_hold_all_that_differs(life: Life) -> None:
    """Whoever renews everything within the boxes has renewed every feature that is not as it was."""
    last = {orjson.loads(body)["id"]: body for body in life.states[-1].pages[1]}
    for state in life.states:
        boxes = life.store.dirty_since(state.change)
        then = {orjson.loads(body)["id"]: body for body in state.pages[1]}
        differing = [
            body
            for feature_id in then.keys() | last.keys()
            if then.get(feature_id) != last.get(feature_id)
            for body in (then.get(feature_id), last.get(feature_id))
            if body is not None and orjson.loads(body)["geometry"] is not None
        ]
        assert bool(boxes) == bool(differing)
        for body in differing:
            west, south, east, north = shapely.bounds(
                shapely.from_geojson(orjson.dumps(orjson.loads(body)["geometry"]))
            )
            assert any(
                box.west <= west and box.south <= south and box.east >= east and box.north >= north
                for box in boxes
            )
            assert life.store.touched_since(state.change, BBox(west, south, east, north))


def test_dirty_areas_are_bounded(life: Life) -> None:
    assert 200 > len(life.store.dirty_since(life.states[-2].change)) > 0
    assert 0 < len(life.store.dirty_since(0)) <= 256
    assert life.store.dirty_since(life.store.change()) == []
    assert not life.store.touched_since(0, BBox(0, 0, 1, 1))
    assert not life.store.touched_since(life.store.change(), BBox(-180, -90, 180, 90))


def test_a_clock_set_back_does_not_turn_transactions_round(
    build_store: Callable[..., Any], built: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = build_store(built.sample).store
    store.edit([Edit(EditKind.UPDATE, "b1", properties={"floors": 3})])

    class Earlier(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime(2020, 1, 1, tzinfo=tz)

    monkeypatch.setattr("providers.features.store.history_tables.datetime", Earlier)
    store.edit([Edit(EditKind.UPDATE, "b1", properties={"floors": 4})])
    with contextlib.closing(sqlite3.connect(store.path)) as connection:
        times = [row[0] for row in connection.execute("SELECT time FROM chengtu_transaction ORDER BY change")]
    assert times == sorted(times)
    assert times[0] > "2020-01-02"
