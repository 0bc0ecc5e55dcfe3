"""A store that has been edited is the GeoPackage it was: GDAL lists one layer and reads what the store serves."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely

from providers.features.source import Edit, EditKind
from providers.features.store import FeatureStore


@pytest.fixture
def edited(build_store: Callable[..., Any], built: Any) -> FeatureStore:
    """2,000 features, some changed, moved, created and deleted."""
    store: FeatureStore = build_store(built.sample).store
    store.edit(
        [
            Edit(EditKind.UPDATE, "b1", shapely.box(113.0, 22.0, 113.1, 22.1), {"名称": "外"}),
            Edit(EditKind.UPDATE, "b2", None),
            Edit(EditKind.UPDATE, "b5", shapely.Point(114, 22.7), {"listed": True}),
            Edit(EditKind.DELETE, "b3"),
            Edit(EditKind.CREATE, "新", shapely.Point(114.9, 23.5), {"updated": "2026-01-02T03:04:05.678Z"}),
        ]
    )
    return store


def test_gdal_sees_one_layer_with_the_present_features(edited: FeatureStore) -> None:
    assert pyogrio.list_layers(edited.path).tolist() == [["feature", "Unknown"]]
    _, _, geometries, fields = pyogrio.raw.read(edited.path, layer="feature", columns=["id"])
    ids = fields[0].tolist()
    found = edited.read()
    assert sorted(ids) == sorted(found.ids)
    shapes = dict(zip(ids, shapely.from_wkb(geometries), strict=True))
    for feature_id, shape in zip(found.ids, found.geometries, strict=True):
        assert shapely.equals(shapes[feature_id], shape) or (shape is None and shapes[feature_id] is None)


def test_gdal_finds_edited_features_by_place(edited: FeatureStore) -> None:
    _, _, _, fields = pyogrio.raw.read(edited.path, bbox=(112.9, 21.9, 113.1, 22.1), columns=["id"])
    assert fields[0].tolist() == ["b1"]
    assert pyogrio.read_info(edited.path, force_total_bounds=True)["total_bounds"] == pytest.approx(
        shapely.total_bounds(edited.read().geometries)
    )


def test_extent_and_date_of_the_layer_follow(edited: FeatureStore) -> None:
    with contextlib.closing(sqlite3.connect(edited.path)) as connection:
        (box, last_change) = connection.execute(
            "SELECT min_x || ' ' || min_y || ' ' || max_x || ' ' || max_y, last_change FROM gpkg_contents"
        ).fetchone()
        (transaction,) = connection.execute("SELECT max(time) FROM chengtu_transaction").fetchone()
        foreign = connection.execute("PRAGMA foreign_key_check").fetchall()
        # Every table is of the standard, of SQLite, or listed with the extension it belongs to (clause 2.3).
        listed = {row[0] for row in connection.execute("SELECT table_name FROM gpkg_extensions")}
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    assert np.allclose([float(number) for number in box.split()][:2], [113.0, 22.0])
    assert np.allclose([float(number) for number in box.split()][2:], [114.9, 23.5])
    assert last_change == transaction[:23] + "Z"
    assert foreign == []
    own = {name for name in tables if not name.startswith(("gpkg_", "sqlite_", "rtree_"))}
    shadows = {f"{tree}_{part}" for tree in own for part in ("node", "rowid", "parent")}
    assert own - shadows - {"feature"} <= listed


def test_gdal_reads_a_copy_for_download(edited: FeatureStore, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gpkg"
    edited.copy_to(copy)
    copy.chmod(0o444)
    assert pyogrio.list_layers(copy).tolist() == [["feature", "Unknown"]]
    assert pyogrio.read_info(copy)["features"] == edited.count()
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() != ("wal",)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute(
            "SELECT count(*) FROM gpkg_extensions WHERE table_name LIKE '%past'"
        ).fetchone() == (0,)
