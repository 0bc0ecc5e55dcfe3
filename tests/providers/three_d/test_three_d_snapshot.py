"""The copy of features that are stored elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from providers.errors import StoreCorrupt, StoreMissing, UnsupportedQuery
from providers.features.schema import FieldDefinition
from providers.features.source import Edit, EditKind, FeatureSource
from providers.features.store import open_store
from providers.three_d.footprints import FootprintRecipe
from providers.three_d.object_features import SNAPSHOT, FeaturesAt
from providers.three_d.snapshot import key_of, refresh_snapshot, take_snapshot
from tiles.three_d.build import BuildOptions, build_tileset
from tiles.three_d.check import check_tileset

FIELDS = (
    FieldDefinition("height", "number"),
    FieldDefinition("listed", "boolean"),
    FieldDefinition("name", "string"),
)


@pytest.fixture
def source(make_store: Any) -> FeatureSource:
    """Any source: what is asked of it is what every feature source answers."""
    count = 25
    shapes = [shapely.box(24.9 + n * 1e-3, 60.1, 24.9002 + n * 1e-3, 60.1002) for n in range(count)]
    values = {
        "height": [5.0 + n for n in range(count)],
        "listed": [n % 2 == 0 for n in range(count)],
        "name": [None, *(f"house {n}" for n in range(1, count))],
    }
    generation = make_store(shapes, values, FIELDS, ids=[f"h{n}" for n in range(count)])
    return open_store(generation / "features.gpkg")


def test_a_snapshot_answers_as_the_source_does(
    source: FeatureSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("providers.three_d.snapshot.CHUNK", 10)
    heard: list[int] = []
    assert take_snapshot(source, tmp_path / SNAPSHOT, heard.append) == 25
    assert heard == [10, 20, 25]
    features = FeaturesAt(tmp_path, SNAPSHOT).open()
    assert (features.count(), features.fields, features.bbox) == (25, source.schema.fields, source.bbox)
    found = {name: row for part in features.chunks() for row, name in enumerate(part.ids)}
    assert len(found) == 25
    rows = features.rows(np.array([key_of("h7"), 5, key_of("h0")]))
    assert rows.ids == ["h7", "h0"]
    assert rows.columns == {"height": [12.0, 5.0], "listed": [False, True], "name": ["house 7", None]}
    assert rows.geometries[0].bounds == pytest.approx((24.907, 60.1, 24.9072, 60.1002))
    assert sorted(features.values("height")) == [5.0 + n for n in range(25)]
    assert len(features.rows(np.array([1, 2]))) == 0


def test_a_snapshot_of_the_same_state_is_kept(source: Any, tmp_path: Path) -> None:
    path = tmp_path / SNAPSHOT
    take_snapshot(source, path)
    stamp = path.stat().st_mtime_ns
    take_snapshot(source, path)
    assert path.stat().st_mtime_ns == stamp
    source.edit([Edit(EditKind.DELETE, "h3")])
    assert take_snapshot(source, path) == 24
    assert path.stat().st_mtime_ns != stamp


def test_some_features_again(source: Any, tmp_path: Path) -> None:
    path = tmp_path / SNAPSHOT
    take_snapshot(source, path)
    source.edit(
        [
            Edit(EditKind.DELETE, "h3"),
            Edit(
                EditKind.UPDATE,
                "h4",
                geometry=shapely.box(25.0, 60.0, 25.1, 60.1),
                properties={"height": 1.0},
            ),
        ]
    )
    keys = refresh_snapshot(source, path, ["h3", "h4"])
    rows = FeaturesAt(tmp_path, SNAPSHOT).open().rows(keys)
    assert rows.ids == ["h4"]
    assert rows.columns["height"] == [1.0]
    assert rows.geometries[0].bounds == pytest.approx((25.0, 60.0, 25.1, 60.1))


def test_a_stopped_copy_leaves_the_one_before(source: Any, tmp_path: Path) -> None:
    path = tmp_path / SNAPSHOT
    take_snapshot(source, path)
    content = path.read_bytes()
    source.edit([Edit(EditKind.DELETE, "h3")])

    def stop(_done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take_snapshot(source, path, stop)
    assert path.read_bytes() == content


def test_a_tileset_of_a_snapshot(source: FeatureSource, tmp_path: Path) -> None:
    take_snapshot(source, tmp_path / SNAPSHOT)
    recipe = FootprintRecipe(FeaturesAt(tmp_path, SNAPSHOT), height_field="height")
    summary = build_tileset(tmp_path / "3dtiles", tmp_path / "scene", recipe, BuildOptions(processes=1))
    assert summary.feature_count == 25
    assert check_tileset(tmp_path / "3dtiles") == []
    assert FootprintRecipe.from_json(recipe.to_json(), tmp_path) == recipe
    with pytest.raises(UnsupportedQuery, match="past"):
        replace(recipe, features=replace(recipe.features, asof="2026-01-01T00:00:00Z")).open()


def test_what_is_no_snapshot(tmp_path: Path) -> None:
    with pytest.raises(StoreMissing, match="chengtu build-3d"):
        FeaturesAt(tmp_path, SNAPSHOT).open()
    (tmp_path / "scene").mkdir()
    (tmp_path / SNAPSHOT).write_text("no database, but long enough to be looked at as one")
    with pytest.raises(StoreCorrupt, match="not a snapshot"):
        FeaturesAt(tmp_path, SNAPSHOT).open()


def test_keys_are_positive_and_stay() -> None:
    keys = [key_of(f"id {number}") for number in range(1000)]
    assert len(set(keys)) == 1000
    assert min(keys) >= 0
    assert max(keys) < 2**63
    assert key_of("建筑 1") == key_of("建筑 1")
