"""Edits of a store that only says that something changed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from providers.errors import SourceUnavailable
from providers.features.schema import FieldDefinition
from providers.features.source import Edit, EditKind
from providers.features.store import FeatureStore, FeatureStoreWriter
from providers.three_d import compared_edits
from providers.three_d.compared_edits import ComparedEdits
from providers.three_d.snapshot import SnapshotFeatures, key_of, take_snapshot
from tiles.three_d.errors import ThreeDError


class Foreign:
    """A store of another kind over an embedded one: its change is a text that tells nothing, and may differ for nothing."""

    kind = "postgis"

    def __init__(self, store: FeatureStore) -> None:
        self.store, self.noise, self.read, self.down = store, 0, 0, False
        self.schema, self.storage = store.schema, store.storage

    @property
    def bbox(self) -> tuple[float, ...]:
        return self.store.bbox

    def count(self) -> int:
        return self.store.count()

    def change(self) -> str:
        if self.down:
            raise SourceUnavailable("the database is away")
        return f"{self.store.change()}:{self.noise}"

    def columns(self, query: Any, hidden: frozenset[str] = frozenset()) -> Any:
        self.read += 1
        return self.store.columns(query, hidden)


@pytest.fixture
def foreign(tmp_path: Path) -> Foreign:
    path = tmp_path / "features.gpkg"
    fields = (FieldDefinition("name", "string"), FieldDefinition("height", "number"))
    with FeatureStoreWriter(path, fields=fields, storage_crs="EPSG:4326") as writer:
        x = 24.9 + 0.001 * np.arange(30)
        columns: dict[str, list[Any]] = {
            "name": [str(number) for number in range(30)],
            "height": [float(number) for number in range(30)],
        }
        writer.add(shapely.box(x, 60.1, x + 0.0005, 60.1002), columns)
        writer.finish()
    return Foreign(FeatureStore(path))


@pytest.fixture
def snapshot(foreign: Any, tmp_path: Path) -> Path:
    path = tmp_path / "objects.sqlite"
    take_snapshot(foreign, path)
    return path


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compared_edits, "_SHORTEST_REST", 0.0)
    monkeypatch.setattr(compared_edits, "_REST_SHARE", 0)


def test_nothing_changed(foreign: Any, snapshot: Path) -> None:
    edits = ComparedEdits(foreign, snapshot)
    foreign.read = 0
    assert edits.change() == 0
    assert edits.changed_keys(0).tolist() == []
    assert foreign.read == 0
    foreign.noise = 1  # another table of the database was written
    assert edits.change() == 0
    read = foreign.read
    assert edits.change() == 0
    assert foreign.read == read


def test_altered_new_and_gone(foreign: Any, snapshot: Path) -> None:
    edits = ComparedEdits(foreign, snapshot)
    assert edits.change() == 0
    ids = foreign.store.read().ids
    foreign.store.edit([Edit(EditKind.UPDATE, ids[3], properties={"height": 99.0})])
    assert edits.change() == 1
    assert edits.changed_keys(0).tolist() == [key_of(ids[3])]
    place = shapely.box(24.95, 60.2, 24.951, 60.201)
    made = foreign.store.edit([Edit(EditKind.CREATE, geometry=place, properties={"height": 5.0})])[
        0
    ].feature_id
    foreign.store.edit([Edit(EditKind.DELETE, ids[5]), Edit(EditKind.UPDATE, ids[7], geometry=place)])
    assert edits.change() == 2
    assert set(edits.changed_keys(1).tolist()) == {key_of(made), key_of(ids[5]), key_of(ids[7])}
    features = SnapshotFeatures(snapshot)
    rows = features.rows(np.array([key_of(name) for name in (ids[3], made, ids[5])]))
    assert rows.ids == [ids[3], made]
    assert list(rows.columns["height"]) == [99.0, 5.0]
    # Another process finds the same, and nothing to compare.
    foreign.read = 0
    assert ComparedEdits(foreign, snapshot).change() == 2
    assert foreign.read == 0


def test_large_collections_are_compared_aside(
    foreign: Any, snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compared_edits, "_SMALL", 29)
    edits = ComparedEdits(foreign, snapshot)
    ids = foreign.store.read().ids
    foreign.store.edit([Edit(EditKind.DELETE, ids[0])])
    deadline = time.monotonic() + 30
    while edits.change() == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert edits.changed_keys(0).tolist() == [key_of(ids[0])]


def test_a_comparison_that_fails_leaves_the_snapshot_as_it_was(
    foreign: Any, snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edits = ComparedEdits(foreign, snapshot)
    foreign.store.edit([Edit(EditKind.DELETE, foreign.store.read().ids[0])])
    before = SnapshotFeatures(snapshot).count()
    real = foreign.columns

    def broken(query: Any, hidden: frozenset[str] = frozenset()) -> Any:
        raise SourceUnavailable("the connection was lost")

    monkeypatch.setattr(foreign, "columns", broken)
    with pytest.raises(ThreeDError, match="connection was lost"):
        edits.change()
    assert SnapshotFeatures(snapshot).count() == before
    monkeypatch.setattr(foreign, "columns", real)
    assert edits.change() == 1
    foreign.down = True
    with pytest.raises(ThreeDError, match="away"):
        edits.change()
