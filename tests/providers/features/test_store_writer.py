"""Building a store: what goes in comes out, in GeoPackage too; what cannot go in is said; nothing half-made is left."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fiona
import numpy as np
import orjson
import pyproj
import pytest
import shapely

from providers.errors import (
    StoreCorrupt,
    StoreMissing,
)
from providers.features.query import BBox, ItemQuery
from providers.features.schema import FieldDefinition
from providers.features.store import FeatureStoreWriter, open_store, waiting
from providers.features.store.geopackage import register_functions

EPSG = "http://www.opengis.net/def/crs/EPSG/0/"


def features(store: Any, **query: Any) -> list[dict[str, Any]]:
    return [orjson.loads(body) for body in store.page(ItemQuery(limit=10_000, **query)).bodies]


def test_the_file_is_a_geopackage_that_gdal_reads_whole(built: Any) -> None:
    with fiona.open(built.store.path) as layer:
        assert layer.name == "feature"
        assert len(layer) == 2000
        assert layer.crs.to_epsg() == 4326
        assert list(layer.schema["properties"]) == [
            "id",
            "version",
            "名称",
            *list(layer.schema["properties"])[3:],
        ]
        assert layer.schema["properties"]["floors"].startswith("int")
        by_id = {row["properties"]["id"]: row for row in layer}
    index = 77
    row = by_id[f"b{index}"]
    assert row["properties"]["名称"] is None  # every eleventh
    assert row["properties"]["id_2"] == f"source {index}"
    assert shapely.from_geojson(orjson.dumps(row["geometry"].__geo_interface__)).equals_exact(
        built.sample.geometries[index], 1e-12
    )
    assert by_id["b5"]["geometry"] is None


def test_gdal_lists_one_layer_and_says_nothing_else(built: Any) -> None:
    ogrinfo = shutil.which("ogrinfo")
    if ogrinfo is None:
        pytest.fail("ogrinfo is missing: install gdal-bin (scripts/packages.txt)")
    done = subprocess.run(
        [ogrinfo, "-ro", str(built.store.path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    assert [line for line in done.stdout.splitlines() if line[:1].isdigit()] == ["1: feature"]


def test_indexes_and_pages_are_sound(built: Any) -> None:
    connection = sqlite3.connect(built.store.path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        for name in ("rtree_feature_geom", "big"):
            assert connection.execute("SELECT rtreecheck(?)", (name,)).fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM rtree_feature_geom").fetchone() == (1997,)
        assert 0 < connection.execute("SELECT count(*) FROM big").fetchone()[0] <= 40
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    finally:
        connection.close()
    # Bytes 18 and 19: the file format that WAL readers alone could open would be 2.
    assert built.store.path.read_bytes()[18:20] == b"\x01\x01"
    for suffix in ("-journal", "-wal", "-shm"):
        assert not built.store.path.with_name(built.store.path.name + suffix).exists()


def test_the_rtree_finds_what_an_ordinary_one_would(built: Any) -> None:
    bounds = shapely.bounds(built.sample.geometries)
    connection = sqlite3.connect(f"file:{built.store.path}?mode=ro", uri=True)
    box = (113.9, 22.7, 113.95, 22.75)
    found = connection.execute(
        "SELECT count(*) FROM rtree_feature_geom WHERE maxx >= ? AND minx <= ? AND maxy >= ? AND miny <= ?",
        (box[0], box[2], box[1], box[3]),
    ).fetchone()[0]
    connection.close()
    exact = (
        (bounds[:, 2] >= box[0])
        & (bounds[:, 0] <= box[2])
        & (bounds[:, 3] >= box[1])
        & (bounds[:, 1] <= box[3])
    )
    assert int(exact.sum()) <= found <= int(exact.sum()) + 2  # float32, rounded outwards


def test_triggers_keep_the_rtree_right_after_an_edit(
    build_store: Callable[..., Any], sample_of: Callable[..., Any]
) -> None:
    built = build_store(sample_of([shapely.box(0, 0, 1, 1), shapely.box(5, 5, 6, 6)]), fields=())
    connection = sqlite3.connect(built.store.path)
    register_functions(connection)
    moved = connection.execute("SELECT geom FROM feature WHERE id = '1'").fetchone()[0]
    connection.execute("UPDATE feature SET geom = ? WHERE id = '0'", (moved,))
    rows = connection.execute("SELECT minx, maxx FROM rtree_feature_geom").fetchall()
    assert rows == [(5.0, 6.0), (5.0, 6.0)]
    connection.execute("UPDATE feature SET geom = NULL WHERE id = '0'")
    connection.execute("DELETE FROM feature WHERE id = '1'")
    assert connection.execute("SELECT count(*) FROM rtree_feature_geom").fetchone() == (0,)
    connection.close()


def test_summary(built: Any) -> None:
    summary = built.summary
    assert summary.count == 2000
    assert summary.geometry_type == "Geometry"
    assert summary.interval == ("2025-01-02T16:30:00Z", "2025-12-03T15:30:00Z")
    served = np.round(shapely.total_bounds(built.sample.geometries), 7)
    assert np.allclose(summary.bbox, served, rtol=0, atol=1e-9)
    assert [field.column for field in summary.fields][-1] == "id_2"
    assert built.store.schema.fields == summary.fields


def test_no_write_ahead_log_is_left(tmp_path: Path, sample_of: Callable[..., Any]) -> None:
    path = tmp_path / "features.gpkg"
    with FeatureStoreWriter(path, fields=(), storage_crs="OGC:CRS84") as writer:
        writer.add([shapely.Point(1, 2)], {})
        writer.finish()
    assert [item.name for item in tmp_path.iterdir()] == ["features.gpkg"]
    assert open_store(path).item("1").version == 1


def test_a_store_on_a_read_only_volume_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "features.gpkg"
    with FeatureStoreWriter(path, fields=(), storage_crs="OGC:CRS84") as writer:
        writer.add([shapely.Point(1, 2)], {})
        writer.finish()
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    store = open_store(path)
    assert len(features(store)) == 1
    assert [item.name for item in tmp_path.iterdir()] == ["features.gpkg"]


_READ = """
import sys
from pathlib import Path
from providers.features.query import ItemQuery
from providers.features.store import open_store
store = open_store(Path(sys.argv[1]))
for _ in sys.stdin:
    print(len(store.page(ItemQuery(limit=10)).bodies), store.change(), flush=True)
"""


def test_readers_of_several_processes_follow_a_store_that_becomes_editable(tmp_path: Path) -> None:
    path = tmp_path / "features.gpkg"
    with FeatureStoreWriter(path, fields=(), storage_crs="OGC:CRS84") as writer:
        writer.add([shapely.Point(1, 2)], {})
        writer.finish()
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", _READ, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]

    def answers() -> list[str]:
        told = []
        for reader in readers:
            assert reader.stdin is not None
            assert reader.stdout is not None
            reader.stdin.write("\n")
            reader.stdin.flush()
            told.append(reader.stdout.readline())
        return told

    try:
        store = open_store(path)
        assert answers() == ["1 0\n"] * 2
        assert store.change() == 0
        editor = sqlite3.connect(path, isolation_level=None)
        try:
            assert editor.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
            editor.execute("UPDATE chengtu_state SET value = 1 WHERE name = 'change'")
            assert answers() == ["1 1\n"] * 2
            assert store.change() == 1
        finally:
            editor.close()
        assert answers() == ["1 1\n"] * 2
    finally:
        for reader in readers:
            reader.communicate()


def test_leaving_without_finish_removes_everything(tmp_path: Path) -> None:
    path = tmp_path / "features.gpkg"
    with FeatureStoreWriter(path, fields=(), storage_crs="OGC:CRS84") as writer:
        writer.add([shapely.Point(1, 2)], {})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StoreMissing, match="no feature store"):
        open_store(path)


_KILLED = """
import sys
from pathlib import Path
import numpy as np, shapely
from providers.features.store import FeatureStoreWriter
from providers.features.store import build, writer
module = build if sys.argv[2] == "_total" else writer
with FeatureStoreWriter(Path(sys.argv[1]), fields=(), storage_crs="OGC:CRS84") as building:
    building.add(shapely.points(np.random.default_rng(1).uniform(0, 10, (500, 2))), {})
    def stop(path):
        print("now", flush=True)
        sys.stdin.read()
    setattr(module, sys.argv[2], stop)
    building.finish()
"""


@pytest.mark.parametrize("place", ["_total", "_flush"])
def test_a_killed_build_leaves_no_file_under_the_name(tmp_path: Path, place: str) -> None:
    path = tmp_path / "features.gpkg"
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(path), place],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "now\n"
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    assert not path.exists()
    assert list(tmp_path.iterdir())  # the aside files, which the sweep of the staging folder removes


def test_a_large_build_deals_its_rows_out_and_is_the_same(
    tmp_path: Path, built: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that are more than fit the memory are read in one pass; the store is the same to the last row."""
    sample = built.sample
    monkeypatch.setattr(waiting, "AT_ONCE", 50_000)
    path = tmp_path / "dealt.gpkg"
    dealt: list[int] = []
    deal = waiting._deal

    def dealing(*given: Any) -> None:
        dealt.append(len(given[-1]))
        deal(*given)

    monkeypatch.setattr(waiting, "_deal", dealing)
    with FeatureStoreWriter(
        path, fields=built.store.schema.fields, storage_crs="EPSG:4326", time_field="updated"
    ) as writer:
        for part in (slice(0, 700), slice(700, 701), slice(701, None)):
            columns = {name: values[part] for name, values in sample.columns.items()}
            writer.add(sample.geometries[part], columns, sample.ids[part])
        writer.finish()
    assert dealt[0] > 10
    assert list(tmp_path.iterdir()) == [path]
    held = []
    for file in (path, built.store.path):
        with contextlib.closing(sqlite3.connect(file)) as connection:
            rows = [
                connection.execute(f"SELECT * FROM {name}").fetchall() for name in ("feature", "fragment")
            ]
            heads = connection.execute(
                "SELECT heads FROM tile_part WHERE band = 100 ORDER BY first"
            ).fetchall()
        held.append((rows, b"".join(blob for (blob,) in heads)))
    assert held[0] == held[1]
    assert len(held[0][0][0]) == len(sample.ids)


def test_an_older_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "features.gpkg"
    for count in (1, 3):
        with FeatureStoreWriter(path, fields=(), storage_crs="OGC:CRS84") as writer:
            writer.add(shapely.points([[i, i] for i in range(count)]), {})
            if count == 3:
                connection = sqlite3.connect(path)
                assert connection.execute("SELECT count(*) FROM feature").fetchone() == (1,)
                connection.close()
            writer.finish()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM feature").fetchone() == (3,)
    connection.close()


def test_heights_are_kept_and_the_extent_has_them(
    build_store: Callable[..., Any], sample_of: Callable[..., Any]
) -> None:
    shapes = [
        shapely.Point(114, 22, 3.25),
        shapely.LineString([(114, 22, -1), (114.1, 22.1, 7.12345)]),
        shapely.Point(114, 22),
    ]
    built = build_store(sample_of(shapes, n=[1, 2, 3]), fields=(FieldDefinition("n", "integer"),))
    assert built.summary.bbox == (114.0, 22.0, -1.0, 114.1, 22.1, 7.12345)
    stored = {item["id"]: item["geometry"]["coordinates"] for item in features(built.store)}
    assert stored == {"0": [114, 22, 3.25], "1": [[114, 22, -1], [114.1, 22.1, 7.123]], "2": [114, 22]}
    encoded = {
        item["id"]: item["geometry"]["coordinates"] for item in features(built.store, properties=("n",))
    }
    assert encoded == stored
    west, south = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:4547").transform(22, 114)
    mercator = {
        item["id"]: item["geometry"]["coordinates"] for item in features(built.store, crs=EPSG + "4547")
    }
    assert mercator["0"] == pytest.approx([west, south, 3.25], abs=1e-4)
    assert len(mercator["2"]) == 2
    with fiona.open(built.store.path) as layer:
        assert next(iter(layer))["geometry"]["coordinates"]
    assert built.store.schema.supported_crs[0].endswith("CRS84h")


def test_cgcs2000_is_stored_east_first_and_served_as_its_authority_says(
    build_store: Callable[..., Any], sample_of: Callable[..., Any]
) -> None:
    east, north = 506_123.4567, 2_495_678.9012  # EPSG:4547, 114 degrees east
    built = build_store(
        sample_of([shapely.Point(east, north)], 名称=["界桩"]),
        fields=(FieldDefinition("名称", "string"),),
        crs="EPSG:4547",
    )
    longitude, latitude = pyproj.Transformer.from_crs("EPSG:4547", "OGC:CRS84", always_xy=True).transform(
        east, north
    )
    (feature,) = features(built.store)
    assert feature["geometry"]["coordinates"] == [round(longitude, 7), round(latitude, 7)]
    assert feature["properties"] == {"名称": "界桩"}
    (feature,) = features(built.store, crs=EPSG + "4547")
    assert feature["geometry"]["coordinates"] == [north, east]
    (feature,) = features(built.store, crs=EPSG + "4490")
    assert feature["geometry"]["coordinates"] == pytest.approx([latitude, longitude], abs=1e-7)
    assert built.store.schema.storage_crs == EPSG + "4547"
    with fiona.open(built.store.path) as layer:
        assert layer.crs.to_epsg() == 4547
        assert tuple(next(iter(layer))["geometry"]["coordinates"]) == (east, north)


def test_a_crs_without_a_code(build_store: Callable[..., Any], sample_of: Callable[..., Any]) -> None:
    crs = pyproj.CRS.from_proj4(
        "+proj=tmerc +lat_0=0 +lon_0=114.05 +k=1 +x_0=50000 +y_0=0 +ellps=GRS80 +units=m +no_defs"
    )
    built = build_store(sample_of([shapely.Point(50_000, 2_500_000)]), fields=(), crs=crs)
    (feature,) = features(built.store)
    assert feature["geometry"]["coordinates"][0] == pytest.approx(114.05, abs=1e-5)
    assert built.store.schema.storage_crs == ""
    columns = built.store.read(BBox(114, 22, 115, 23), [])
    assert shapely.get_coordinates(columns.geometries).tolist() == [[50_000, 2_500_000]]


@pytest.mark.parametrize("count", [0, 1, 51, 52, 44 * 51 + 1])
def test_sizes_around_the_nodes_of_the_rtree(
    build_store: Callable[..., Any], sample_of: Callable[..., Any], count: int
) -> None:
    built = build_store(sample_of([shapely.Point(i % 50, i // 50) for i in range(count)]), fields=())
    connection = sqlite3.connect(built.store.path)
    assert connection.execute("SELECT rtreecheck('rtree_feature_geom')").fetchone() == ("ok",)
    assert connection.execute("SELECT count(*) FROM rtree_feature_geom WHERE maxx >= 0").fetchone() == (
        count,
    )
    connection.close()
    assert built.store.count() == count
    assert len(features(built.store, bbox=BBox(-180, -90, 180, 90))) == count
    assert built.store.bbox == (() if count == 0 else built.store.bbox)


def test_all_features_in_one_place(build_store: Callable[..., Any], sample_of: Callable[..., Any]) -> None:
    built = build_store(sample_of([shapely.Point(7, 8)] * 200), fields=())
    assert len(features(built.store, bbox=BBox(7, 8, 7, 8))) == 200
    assert features(built.store, bbox=BBox(7.0000001, 8, 8, 9)) == []


def test_files_that_are_no_store(tmp_path: Path) -> None:
    path = tmp_path / "text.gpkg"
    path.write_text("not a database at all, but long enough to look like one " * 50)
    with pytest.raises(StoreCorrupt, match=r"text\.gpkg"):
        open_store(path)
    other = tmp_path / "other.gpkg"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE t (a)")
    connection.close()
    with pytest.raises(StoreCorrupt, match="not a feature store"):
        open_store(other)
    later = tmp_path / "later.gpkg"
    with FeatureStoreWriter(later, fields=(), storage_crs="OGC:CRS84") as writer:
        writer.finish()
    connection = sqlite3.connect(later)
    connection.execute("""UPDATE chengtu_meta SET value = replace(value, '"format":2', '"format":99')""")
    connection.commit()
    connection.close()
    with pytest.raises(StoreCorrupt, match="format 99"):
        open_store(later)
