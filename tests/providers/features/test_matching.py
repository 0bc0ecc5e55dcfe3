"""Which of some features a query holds for, and which features edits have changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from providers.errors import AnswerTooLarge
from providers.features import matching
from providers.features.matching import matching_ids
from providers.features.parser import parse_item_query
from providers.features.schema import FieldDefinition
from providers.features.source import Edit, EditKind
from providers.features.store import FeatureStore, FeatureStoreWriter

COUNT = 60


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    path = tmp_path / "features.gpkg"
    fields = (FieldDefinition("kind", "string"), FieldDefinition("height", "number"))
    with FeatureStoreWriter(path, fields=fields, storage_crs="EPSG:4326") as writer:
        x = 113.8 + 0.001 * np.arange(COUNT)
        columns: dict[str, list[Any]] = {
            "kind": ["a" if number % 2 else "b" for number in range(COUNT)],
            "height": [float(number) for number in range(COUNT)],
        }
        writer.add(shapely.box(x, 22.6, x + 0.0005, 22.6005), columns)
        writer.finish()
    return FeatureStore(path)


def ids_of(source: Any) -> list[str]:
    return list(source.read().ids)


QUERIES = (
    {"kind": "a"},
    {"filter": "height > 12.5 AND kind = 'b'"},
    {"bbox": "113.81,22.5,113.82,22.7"},
    {"filter": "S_INTERSECTS(geometry, BBOX(113.81,22.5,113.82,22.7))", "kind": "a"},
    {"q": "a"},
    {},
)


@pytest.mark.parametrize("given", QUERIES)
def test_same_features_as_items(store: FeatureStore, given: dict[str, str]) -> None:
    query = parse_item_query({**given, "limit": "1000"}, store.schema)
    asked = ids_of(store)[::3]
    expected = set(store.columns(query).columns.ids) & set(asked)
    assert matching_ids(store, query, asked) == expected


class Foreign:
    """Another kind of store over the same features."""

    kind = "ogr"

    def __init__(self, store: FeatureStore) -> None:
        self.store, self.asked = store, 0

    def change(self) -> int:
        return self.store.change()

    def columns(self, query: Any, hidden: frozenset[str] = frozenset()) -> Any:
        self.asked += 1
        return self.store.columns(query, hidden)


@pytest.mark.parametrize("given", QUERIES)
def test_other_stores_are_asked_once(
    store: FeatureStore, given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "_PAGE", 25)
    query = parse_item_query(given, store.schema)
    foreign: Any = Foreign(store)
    asked = ids_of(store)[::3]
    assert matching_ids(foreign, query, asked) == matching_ids(store, query, asked)
    before = foreign.asked
    assert matching_ids(foreign, query, asked[:3]) == matching_ids(store, query, asked[:3])
    assert foreign.asked == before
    store.edit([Edit(EditKind.UPDATE, asked[0], properties={"height": 99.0, "kind": "b"})])
    assert matching_ids(foreign, query, asked) == matching_ids(store, query, asked)
    assert foreign.asked > before


def test_an_endless_answer_is_refused(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "_PAGE", 10)
    monkeypatch.setattr(matching, "MOST_MATCHED", 19)
    with pytest.raises(AnswerTooLarge, match="narrow it"):
        matching_ids(Foreign(store), parse_item_query({}, store.schema), ["1"])  # type: ignore[arg-type]


def test_changed_keys(store: FeatureStore) -> None:
    assert store.changed_keys(0).tolist() == []
    columns = store.read()
    by_id = dict(zip(columns.ids, columns.keys, strict=True))
    first, second, third = columns.ids[3], columns.ids[10], columns.ids[20]
    store.edit([Edit(EditKind.UPDATE, first, properties={"height": 7.5})])
    store.edit([Edit(EditKind.DELETE, second)])
    (made,) = store.edit(
        [Edit(EditKind.CREATE, geometry=shapely.box(113.9, 22.61, 113.901, 22.611), properties={})]
    )
    store.edit([Edit(EditKind.UPDATE, third, geometry=shapely.box(113.7, 22.61, 113.701, 22.611))])
    after = store.read()
    now = dict(zip(after.ids, after.keys, strict=True))
    everything = {by_id[first], by_id[second], now[made.feature_id], by_id[third], now[third]}
    assert set(store.changed_keys(0).tolist()) == everything
    assert store.changed_keys(0).tolist() == sorted(everything)
    assert store.changed_keys(0, 1).tolist() == [by_id[first]]
    assert store.changed_keys(1, 2).tolist() == [by_id[second]]
    assert set(store.changed_keys(3).tolist()) == {by_id[third], now[third]}
    assert store.changed_keys(4).tolist() == []
    # What was edited before and after an instant counts up to that instant.
    store.edit([Edit(EditKind.UPDATE, first, properties={"height": 8.5})])
    assert by_id[first] in store.changed_keys(0, 1)
    assert by_id[first] in store.changed_keys(4)


def test_change_at(store: FeatureStore) -> None:
    assert store.change_at("2000-01-01T00:00:00Z") is None
    assert store.change_at("2999-01-01T00:00:00Z") == 0
    store.edit([Edit(EditKind.DELETE, store.read().ids[0])])
    assert store.change_at("2999-01-01T00:00:00Z") == 1
    assert store.change_at("2000-01-01T00:00:00Z") is None
