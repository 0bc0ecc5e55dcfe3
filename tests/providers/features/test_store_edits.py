"""Edits of an embedded store: what each leaves, what is refused, and that everything beside the features is kept in step."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import shapely

from providers.errors import (
    EditError,
    InvalidFeature,
    ItemExists,
    ItemNotFound,
    ReadOnlySource,
    SourceUnavailable,
    StoreError,
    VersionConflict,
)
from providers.features.query import BBox, ItemQuery
from providers.features.schema import FieldDefinition
from providers.features.source import Edit, EditableSource, EditKind, HistorySource
from providers.features.store import FeatureStore, open_store
from providers.features.store.zorder import SEQUENCE_BITS

NAME = (FieldDefinition("name", "string"),)
POINTS = [shapely.Point(114 + number / 100, 22.5) for number in range(10)]


@pytest.fixture
def points(build_store: Callable[..., Any], sample_of: Callable[..., Any]) -> FeatureStore:
    """Ten points with the ids 0 to 9."""
    store = build_store(sample_of(POINTS, name=[f"n{i}" for i in range(10)]), fields=NAME).store
    assert isinstance(store, EditableSource)
    assert isinstance(store, HistorySource)
    return store


@pytest.fixture
def mixed(build_store: Callable[..., Any], built: Any) -> FeatureStore:
    """2,000 features of all kinds."""
    return build_store(built.sample).store


def update(feature_id: str, version: int | str | None = None, **properties: Any) -> Edit:
    return Edit(EditKind.UPDATE, feature_id, properties=properties, version=version)


def create(feature_id: str | None = None, geometry: Any = None, **properties: Any) -> Edit:
    return Edit(EditKind.CREATE, feature_id, geometry, properties)


def delete(feature_id: str, version: int | None = None) -> Edit:
    return Edit(EditKind.DELETE, feature_id, version=version)


def body(store: FeatureStore, feature_id: str) -> dict[str, Any]:
    item = store.item(feature_id)
    assert item is not None
    return orjson.loads(item.body)


def ids(store: FeatureStore, **query: Any) -> list[str]:
    return [orjson.loads(item)["id"] for item in store.page(ItemQuery(limit=10_000, **query)).bodies]


def test_each_kind_of_edit(points: FeatureStore) -> None:
    (made,) = points.edit([create(None, shapely.Point(114.5, 22.6), name="new")])
    assert (made.feature_id, made.version) == ("10", 1)
    (changed,) = points.edit([update("3", name="x")])
    assert (changed.feature_id, changed.version) == ("3", 2)
    assert body(points, "3")["geometry"]["coordinates"] == [114.03, 22.5]
    assert body(points, "3")["properties"] == {"name": "x"}
    (replaced,) = points.edit([Edit(EditKind.REPLACE, "3", shapely.Point(1, 2), {}, 2)])
    assert replaced.version == 3
    assert (body(points, "3")["geometry"]["coordinates"], body(points, "3")["properties"]) == (
        [1, 2],
        {"name": None},
    )
    (gone,) = points.edit([delete("3", 3)])
    assert gone.version is None
    assert points.item("3") is None
    assert (points.change(), points.count(), len(ids(points))) == (4, 10, 10)
    assert points.edit([]) == []
    assert points.change() == 4


def test_a_batch_is_all_or_nothing(points: FeatureStore) -> None:
    with pytest.raises(ItemNotFound) as caught:
        points.edit([update("1", name="x"), create("20"), delete("2"), update("no", name="y")])
    assert caught.value.index == 3
    assert (points.change(), points.count(), body(points, "1")["properties"]["name"]) == (0, 10, "n1")
    assert points.item("20") is None
    assert points.history("2")[0].version == 1


def test_a_later_edit_of_a_batch_sees_the_earlier(points: FeatureStore) -> None:
    results = points.edit(
        [
            update("1", name="a"),
            update("1", 2, name="b"),
            delete("1", 3),
            create("1", name="c"),
            create(),
            delete("10"),
            create("10"),
        ]
    )
    assert [result.version for result in results] == [2, 3, None, 4, 1, None, 2]
    assert body(points, "1")["properties"]["name"] == "c"
    # What never was a committed state is no version of the past.
    assert [entry.version for entry in points.history("1")] == [4, 1]
    assert [entry.version for entry in points.history("10")] == [2]


@pytest.mark.parametrize(
    ("edit", "error", "message"),
    [
        (update("99", name="x"), ItemNotFound, "99"),
        (delete("99"), ItemNotFound, "99"),
        (delete(""), ItemNotFound, "id"),
        (update("1", 2, name="x"), VersionConflict, "version 1, the edit was made on version 2"),
        (update("1", 0, name="x"), VersionConflict, "read it again"),
        (update("1", "1", name="x"), VersionConflict, "version 1"),
        (delete("1", 7), VersionConflict, "version 7"),
        (create("3"), ItemExists, "'3' already"),
        (create("abc"), InvalidFeature, "/id: 'abc'"),
        (create("007"), InvalidFeature, "/id"),
        (create("-1"), InvalidFeature, "/id"),
        (create("9" * 16), InvalidFeature, "/id"),
        (create(""), InvalidFeature, "/id"),
        (create("a\0b"), InvalidFeature, "/id"),
        (update("1", none="x"), InvalidFeature, "/properties/none"),
        (update("1", name=["x"]), InvalidFeature, "/properties/name"),
        (update("1", name="\ud800"), InvalidFeature, "/properties/name"),
        (create(None, shapely.box(0, 0, 1, 1)), InvalidFeature, "/geometry/type: Polygon does not fit"),
        (create(None, shapely.Point(1, 2, 3)), InvalidFeature, "no heights"),
        (create(None, shapely.Point(float("inf"), 2)), InvalidFeature, "finite"),
        (create(None, shapely.Point(1, 91)), InvalidFeature, "not on Earth"),
    ],
)
def test_what_cannot_be_done_says_why_and_changes_nothing(
    points: FeatureStore, edit: Edit, error: type[EditError], message: str
) -> None:
    with pytest.raises(error) as caught:
        points.edit([create(), edit])
    assert message in str(caught.value)
    assert caught.value.index == 1
    assert (points.change(), points.count()) == (0, 10)


def test_ids_are_given_once(points: FeatureStore) -> None:
    given = [points.edit([create()])[0].feature_id for _ in range(3)]
    points.edit([delete(given[-1]), create("100")])
    given += [points.edit([create()])[0].feature_id for _ in range(2)]
    assert given == ["10", "11", "12", "101", "102"]


def test_ids_of_texts_are_random(build_store: Callable[..., Any], sample_of: Callable[..., Any]) -> None:
    store = build_store(sample_of(POINTS[:2], ids=["甲", "乙"], name=["1", "2"]), fields=NAME).store
    first, second = store.edit([create(), create()])
    assert len({first.feature_id, second.feature_id}) == 2
    assert len(first.feature_id) == 36
    assert store.edit([create("丙 3")])[0].feature_id == "丙 3"


def test_versions_go_on_after_a_delete(points: FeatureStore) -> None:
    points.edit([update("1", name="x")])
    points.edit([delete("1")])
    assert points.edit([create("1")])[0].version == 3
    with pytest.raises(VersionConflict):
        points.edit([update("1", 1, name="late")])


def test_unique_values_are_judged_by_what_a_batch_leaves(
    build_store: Callable[..., Any], sample_of: Callable[..., Any]
) -> None:
    fields = (FieldDefinition("name", "string", constraints={"unique": True}),)
    store = build_store(sample_of(POINTS[:3], name=["a", "b", None]), fields=fields).store
    store.edit([update("0", name="b"), update("1", name="a"), create(name=None)])
    with pytest.raises(
        InvalidFeature, match="/properties/name: 'a' is the value of item '1' already"
    ) as caught:
        store.edit([create(name="z"), create(name="a")])
    assert caught.value.index == 1
    with pytest.raises(InvalidFeature):
        store.edit([create(name="y"), create(name="y")])
    assert (store.change(), store.count()) == (3, 4)


def random_edits(random: np.random.Generator, present: list[str], count: int) -> list[Edit]:
    """Edits of all kinds on distinct features; some move far, some become large or lose their geometry."""
    chosen = random.permutation(present)[:count].tolist()
    edits: list[Edit] = []
    for feature_id in chosen:
        x, y = random.uniform(113.6, 114.3), random.uniform(22.5, 23.0)
        size = 10 ** random.uniform(-5, -0.5)
        shape = [shapely.Point(x, y), shapely.box(x, y, x + size, y + size), None][int(random.integers(0, 3))]
        kind = int(random.integers(0, 5))
        values = {"height": float(random.integers(0, 90)), "名称": f"改 {random.integers(0, 9)}"}
        if kind == 0:
            edits.append(delete(feature_id))
        elif kind == 1:
            edits.append(Edit(EditKind.REPLACE, feature_id, shape, values))
        elif kind == 2:
            edits.append(Edit(EditKind.UPDATE, feature_id, shape))
        elif kind == 3:
            edits.append(Edit(EditKind.UPDATE, feature_id, properties=values))
        else:
            edits.append(create(f"n{random.integers(0, 1 << 40)}", shape, **values))
    return edits


def test_an_edited_store_is_as_one_built_of_the_same_features(
    mixed: FeatureStore, build_store: Callable[..., Any], sample_of: Callable[..., Any]
) -> None:
    random = np.random.default_rng(11)
    for _ in range(5):
        mixed.edit(random_edits(random, ids(mixed), 60))
    found = mixed.read()
    sample = sample_of(list(found.geometries), found.ids, **found.columns)
    fresh = build_store(sample, fields=mixed.facts.fields).store
    assert {id_: mixed.item(id_).body for id_ in found.ids} == {
        id_: fresh.item(id_).body for id_ in found.ids
    }
    assert mixed.count() == fresh.count() == len(found)
    west, south, east, north = fresh.bbox
    assert (mixed.bbox[0] <= west, mixed.bbox[1] <= south, mixed.bbox[2] >= east, mixed.bbox[3] >= north) == (
        True,
    ) * 4
    for _ in range(60):
        x, y = random.uniform(113.5, 114.4), random.uniform(22.4, 23.1)
        scale = 10 ** random.uniform(-4, 0)
        box = BBox(x, y, x + scale, y + scale)
        assert sorted(ids(mixed, bbox=box)) == sorted(ids(fresh, bbox=box))


def test_tables_beside_the_features_are_in_step(mixed: FeatureStore) -> None:
    random = np.random.default_rng(12)
    for _ in range(3):
        mixed.edit(random_edits(random, ids(mixed), 60))
    facts = mixed.facts
    with contextlib.closing(sqlite3.connect(mixed.path)) as connection:
        one = lambda sql: connection.execute(sql).fetchall()  # noqa: E731 - six short questions
        assert one("PRAGMA integrity_check") == [("ok",)]
        for tree in ("rtree_feature_geom", "big"):
            assert one(f"SELECT rtreecheck('{tree}')") == [("ok",)]
        assert one("SELECT key FROM feature ORDER BY key") == one("SELECT key FROM fragment ORDER BY key")
        placed = one("SELECT key FROM fragment WHERE minx IS NOT NULL ORDER BY key")
        assert one("SELECT id FROM rtree_feature_geom ORDER BY id") == placed
        wide = one(
            f"SELECT key FROM fragment WHERE maxx - minx > {2 * facts.half_width!r}"
            f" OR maxy - miny > {2 * facts.half_height!r} ORDER BY key"
        )
        assert one("SELECT id FROM big ORDER BY id") == wide
        rows = one("SELECT key, (minx + maxx) / 2, (miny + maxy) / 2 FROM fragment WHERE minx IS NOT NULL")
        keys, x, y = (np.array(column) for column in zip(*rows, strict=True))
        assert (facts.space.numbers(x, y) == keys >> SEQUENCE_BITS).all()
        assert one("SELECT key FROM chengtu_edited EXCEPT SELECT key FROM feature") == []


def test_a_key_never_belongs_to_two_features(points: FeatureStore) -> None:
    place = shapely.Point(114.5, 22.5)
    points.edit([create("50", place)])
    points.edit([delete("50")])
    points.edit([create("51", place), create("52", place)])
    points.edit([Edit(EditKind.UPDATE, "52", POINTS[0])])
    points.edit([Edit(EditKind.UPDATE, "1", place)])
    with contextlib.closing(sqlite3.connect(points.path)) as connection:
        owners = connection.execute(
            "SELECT key, id FROM feature UNION SELECT key, id FROM feature_past"
        ).fetchall()
    assert len({key for key, _ in owners}) == len(owners)


def test_an_empty_collection_can_be_filled(
    build_store: Callable[..., Any], sample_of: Callable[..., Any]
) -> None:
    store = build_store(sample_of([], name=[]), fields=NAME).store
    assert (store.bbox, store.count()) == ((), 0)
    shapes = [
        shapely.Point(114, 22.5),
        shapely.box(113, 22, 113.5, 22.5),
        shapely.LineString([(120, 30), (121, 31)]),
    ]
    made = store.edit([create(None, shape, name="a") for shape in shapes])
    assert [result.feature_id for result in made] == ["1", "2", "3"]
    assert store.bbox == (113.0, 22.0, 121.0, 31.0)
    assert ids(store, bbox=BBox(113.1, 22.1, 113.2, 22.2)) == ["2"]
    assert sorted(ids(store, bbox=BBox(113, 22, 121, 31))) == ["1", "2", "3"]


def test_heights_and_projected_storage(
    build_store: Callable[..., Any], sample_of: Callable[..., Any]
) -> None:
    shapes = [shapely.Point(500_000 + i, 2_500_000, float(i)) for i in range(3)]
    store = build_store(sample_of(shapes, name=["a", "b", "c"]), fields=NAME, crs="EPSG:4547").store
    store.edit([create(None, shapely.Point(500_100, 2_500_100, 40.0))])
    x, y, z = body(store, "3")["geometry"]["coordinates"]
    assert (x, y, z) == (pytest.approx(114.001, abs=1e-3), pytest.approx(22.599, abs=1e-3), 40.0)
    assert (store.bbox[2], store.bbox[5]) == (0.0, 40.0)


def test_a_closed_store_takes_no_edits_until_it_is_opened(points: FeatureStore) -> None:
    assert points.close_to_edits() == 0
    assert not Path(f"{points.path}-wal").exists()
    with pytest.raises(SourceUnavailable, match="published anew"):
        points.edit([create()])
    assert points.page(ItemQuery(limit=100)).number_returned == 10
    points.open_to_edits()
    points.edit([create()])
    points.close_to_edits()
    with pytest.raises(SourceUnavailable):
        points.edit([create()])
    assert (points.open_to_edits(), points.count()) == (1, 11)


def test_other_processes_see_an_edit_at_once(points: FeatureStore) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom providers.features.store import open_store\n"
        "store = open_store(Path(sys.argv[1]))\n"
        "for _ in sys.stdin: print(store.change(), store.item('1').version, flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(points.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None

        def seen() -> str:
            reader.stdin.write("\n")
            reader.stdin.flush()
            return reader.stdout.readline().strip()

        assert seen() == "0 1"
        for number in range(1, 4):
            points.edit([update("1", name=str(number))])
            assert seen() == f"{number} {number + 1}"
        reader.stdin.close()


def test_a_file_that_may_not_be_written_is_read_only(
    points: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tests may run as root, whom no mode of a file stops.
    monkeypatch.setattr("providers.features.store.editor_connection.os.access", lambda path, mode: False)
    with pytest.raises(ReadOnlySource, match="read-only"):
        points.edit([create()])
    assert points.close_to_edits() == 0


def test_a_copy_holds_the_present_state_and_no_history(points: FeatureStore, tmp_path: Path) -> None:
    points.edit([update("1", name="秘密")], author="somebody")
    points.edit([update("1", name="open"), delete("2")], author="somebody")
    copy = tmp_path / "copy.gpkg"
    points.copy_to(copy)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("copy")] == ["copy.gpkg"]
    content = copy.read_bytes()
    assert "秘密".encode() not in content
    assert b"somebody" not in content
    store = open_store(copy)
    assert (store.change(), store.count(), ids(store)) == (3, 9, ids(points))
    store.edit([update("1", 3, name="on")])
    assert [entry.version for entry in store.history("1")] == [4, 3]
    with pytest.raises(StoreError, match="exists"):
        points.copy_to(copy)
