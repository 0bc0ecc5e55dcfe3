"""Building a store: what goes in comes out, in GeoPackage too; what cannot go in is said; nothing half-made is left."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import fiona
import numpy as np
import orjson
import pyproj
import pytest
import shapely

from providers.errors import (
    DuplicateFeatureId,
    InvalidGeometry,
    InvalidValue,
    StoreBuildError,
    StoreCorrupt,
    StoreMissing,
)
from providers.features.query import BBox, ItemQuery
from providers.features.schema import FieldDefinition
from providers.features.store import FeatureStoreWriter, open_store
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
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    finally:
        connection.close()
    assert not built.store.path.with_name(built.store.path.name + "-journal").exists()


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
from providers.features.store import writer as module
with FeatureStoreWriter(Path(sys.argv[1]), fields=(), storage_crs="OGC:CRS84") as writer:
    writer.add(shapely.points(np.random.default_rng(1).uniform(0, 10, (500, 2))), {})
    def stop(path):
        print("now", flush=True)
        sys.stdin.read()
    setattr(module, sys.argv[2], stop)
    writer.finish()
"""


@pytest.mark.parametrize("place", ["_settle", "_flush"])
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


HOSTILE = [
    "../../etc/passwd",
    "a/b?c#d",
    "quote\"'`;--",
    "空 格",
    "🏙️",
    "%2e%2e",
    " ",
    "0",
    "-1",
    "1e3",
    "\u0000nul",
    "x" * 3000,
]


def test_hostile_ids_and_names(build_store: Callable[..., Any], sample_of: Callable[..., Any]) -> None:
    names = [
        '"; DROP TABLE feature; --',
        "key",
        "ID",
        "Id",
        "geom",
        "VERSION",
        "rowid",
        "_rowid_",
        "a]b",
        "body",
        "名称",
        "é",
        "É",
        " ",
        "",
    ]
    fields = tuple(FieldDefinition(name, "string") for name in names)
    columns = {name: [f"{name}={i}" for i in range(len(HOSTILE))] for name in names}
    shapes = [shapely.Point(i, i) for i in range(len(HOSTILE))]
    built = build_store(sample_of(shapes, HOSTILE, **columns), fields=fields)
    for i, feature_id in enumerate(HOSTILE):
        feature = orjson.loads(built.store.item(feature_id).body)
        assert feature["id"] == feature_id
        assert feature["properties"] == {name: f"{name}={i}" for name in names}
        (found,) = features(built.store, equals={names[0]: f"{names[0]}={i}"})
        assert found["id"] == feature_id
    assert len({field.column.encode().lower() for field in built.store.schema.fields}) == len(names)
    assert not built.store.facts.integer_ids
    subset = features(built.store, properties=tuple(names[:3]))
    assert list(subset[0]["properties"]) == names[:3]


def test_ids_made_by_us_count_from_one(tmp_path: Path) -> None:
    path = tmp_path / "own.gpkg"
    with FeatureStoreWriter(path, fields=(), storage_crs="OGC:CRS84") as writer:
        for _ in range(3):
            writer.add(shapely.points([[1, 1], [2, 2]]), {})
        writer.finish()
    store = open_store(path)
    assert sorted(item["id"] for item in features(store)) == ["1", "2", "3", "4", "5", "6"]
    assert store.facts.integer_ids


@pytest.mark.parametrize(
    ("field", "given", "expected"),
    [
        (FieldDefinition("v", "integer"), [1, None, np.int32(3), 4.0, float("nan")], [1, None, 3, 4, None]),
        (FieldDefinition("v", "integer"), np.array([1, 2, 3, 4, 5], dtype="int16"), [1, 2, 3, 4, 5]),
        (
            FieldDefinition("v", "number"),
            np.array([1.5, np.nan, np.inf, 0.1, -0.0]),
            [1.5, None, None, 0.1, -0.0],
        ),
        (
            FieldDefinition("v", "number"),
            [1, "2.5", None, float("-inf"), np.float32(0.5)],
            [1.0, 2.5, None, None, 0.5],
        ),
        (FieldDefinition("v", "string"), ["a", "", None, 5, "雪"], ["a", "", None, "5", "雪"]),
        (
            FieldDefinition("v", "boolean"),
            [True, False, None, 1, np.bool_(False)],
            [True, False, None, True, False],
        ),
        (
            FieldDefinition("v", "string", "date"),
            [
                "2024-02-29",
                date(2024, 1, 2),
                datetime(2024, 1, 3, 5),
                None,
                np.datetime64("2024-01-04").item(),
            ],
            ["2024-02-29", "2024-01-02", "2024-01-03", None, "2024-01-04"],
        ),
        (
            FieldDefinition("v", "string", "date-time"),
            [
                "2024-02-29T12:00:00+08:00",
                datetime(2024, 1, 2, 3, 4, 5, 678_900, UTC),
                "2024-01-02",
                None,
                date(2024, 1, 9),
            ],
            [
                "2024-02-29T04:00:00Z",
                "2024-01-02T03:04:05.678Z",
                "2024-01-02T00:00:00Z",
                None,
                "2024-01-09T00:00:00Z",
            ],
        ),
        (
            FieldDefinition("v", "string", "date-time"),
            [
                "2024-02-29T12:00:00",
                "0999-01-02T03:04:05",
                "2024-12-31T23:59:59",
                "2024-01-01T00:00:00",
                "2024-01-01T00:00:00",
            ],
            [
                "2024-02-29T12:00:00Z",
                "0999-01-02T03:04:05Z",
                "2024-12-31T23:59:59Z",
                "2024-01-01T00:00:00Z",
                "2024-01-01T00:00:00Z",
            ],
        ),
        (
            FieldDefinition("v", "string", "date-time"),
            np.array(
                ["2024-02-29T12:00:00.5", "NaT", "1969-12-31", "2024-01-01", "2024-01-01"], dtype="M8[ms]"
            ),
            [
                "2024-02-29T12:00:00.500Z",
                None,
                "1969-12-31T00:00:00Z",
                "2024-01-01T00:00:00Z",
                "2024-01-01T00:00:00Z",
            ],
        ),
    ],
)
def test_values(
    build_store: Callable[..., Any],
    sample_of: Callable[..., Any],
    field: FieldDefinition,
    given: Any,
    expected: list[Any],
) -> None:
    built = build_store(sample_of([shapely.Point(i, 0) for i in range(5)], v=given), fields=(field,))
    for shown in (features(built.store), features(built.store, properties=("v",))):
        assert [
            item["properties"]["v"] for item in sorted(shown, key=lambda item: int(item["id"]))
        ] == expected
    columns = built.store.read(fields=["v"])
    assert [columns.columns["v"][columns.ids.index(str(i))] for i in range(5)] == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (FieldDefinition("v", "integer"), 1.5),
        (FieldDefinition("v", "integer"), 1 << 63),
        (FieldDefinition("v", "integer"), "seven"),
        (FieldDefinition("v", "number"), "wide"),
        (FieldDefinition("v", "string"), "\ud800"),
        (FieldDefinition("v", "string"), {"a": 1}),
        (FieldDefinition("v", "string"), b"bytes"),
        (FieldDefinition("v", "boolean"), "yes"),
        (FieldDefinition("v", "boolean"), 2),
        (FieldDefinition("v", "string", "date"), "2024-02-30"),
        (FieldDefinition("v", "string", "date-time"), "2024-02-30T00:00:00"),
        (FieldDefinition("v", "string", "date-time"), "soon"),
        (FieldDefinition("v", "string", "date-time"), 5),
    ],
)
def test_values_that_do_not_fit_are_named(tmp_path: Path, field: FieldDefinition, value: Any) -> None:
    with FeatureStoreWriter(tmp_path / "x.gpkg", fields=(field,), storage_crs="OGC:CRS84") as writer:
        writer.add([None] * 3, {"v": [None] * 3})
        with pytest.raises(InvalidValue, match="Row 5, 'v'"):
            writer.add([None] * 3, {"v": [None, value, None]})


def test_geometries_that_cannot_be_kept_are_named(tmp_path: Path) -> None:
    with FeatureStoreWriter(tmp_path / "x.gpkg", fields=(), storage_crs="EPSG:4326") as writer:
        writer.add([shapely.Point(0, 0)], {})
        for shape, message in (
            (shapely.Point(np.inf, 1), "Row 3: a coordinate is not a finite number"),
            (shapely.LineString([(0, 0, 1), (1, 1, np.nan)]), "Row 3: a coordinate is not a finite number"),
            (shapely.Point(22.5, 114), "Row 3: .* not on Earth; is 'WGS 84' the right CRS"),
        ):
            with pytest.raises(InvalidGeometry, match=message):
                writer.add([None, shape], {})
    with (
        FeatureStoreWriter(tmp_path / "y.gpkg", fields=(), storage_crs="EPSG:4547") as writer,
        pytest.raises(InvalidGeometry, match="not on Earth"),
    ):
        writer.add([shapely.Point(1e12, 1e12)], {})


def test_measures_are_dropped_and_heights_beside_them_kept(
    build_store: Callable[..., Any], sample_of: Callable[..., Any]
) -> None:
    shapes = [
        shapely.from_wkt("POINT M (1 2 9)"),
        shapely.from_wkt("POINT ZM (1 2 3 9)"),
        shapely.from_wkt("POINT (1 2)"),
    ]
    built = build_store(sample_of(shapes), fields=())
    assert sorted(item["geometry"]["coordinates"] for item in features(built.store)) == [
        [1, 2],
        [1, 2],
        [1, 2, 3],
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([FieldDefinition("a", "string"), FieldDefinition("a", "number")], "must differ"),
        ([FieldDefinition("a", "object")], "has the type 'object'"),
        ([FieldDefinition(f"f{i}", "string") for i in range(1901)], "1900 are possible"),
        ([FieldDefinition("a\ud800", "string")], "not valid Unicode"),
        ([FieldDefinition("", "string"), FieldDefinition("", "string")], "must differ"),
    ],
)
def test_fields_that_cannot_be_kept(tmp_path: Path, fields: list[FieldDefinition], message: str) -> None:
    with pytest.raises(StoreBuildError, match=message):
        FeatureStoreWriter(tmp_path / "x.gpkg", fields=fields, storage_crs="OGC:CRS84")
    years = [FieldDefinition("year", "integer")]
    for name in ("when", "year"):
        with pytest.raises(StoreBuildError, match="time field"):
            FeatureStoreWriter(tmp_path / "x.gpkg", fields=years, storage_crs="OGC:CRS84", time_field=name)
    for crs in ("EPSG:4978", "EPSG:5773", "EPSG:0"):
        with pytest.raises(StoreBuildError, match="storage CRS"):
            FeatureStoreWriter(tmp_path / "x.gpkg", fields=[], storage_crs=crs)
    assert list(tmp_path.iterdir()) == []


def test_ids_are_checked(tmp_path: Path) -> None:
    def writer() -> FeatureStoreWriter:
        return FeatureStoreWriter(tmp_path / "x.gpkg", fields=(), storage_crs="OGC:CRS84")

    with writer() as target:
        target.add([None, None], {}, ["a", "b"])
        target.add([None], {}, ["a"])
        with pytest.raises(DuplicateFeatureId, match="'a' 2 times"):
            target.finish()
    for bad in ("", 1.5, True, None, "\udfff"):
        with writer() as target, pytest.raises(InvalidValue):
            target.add([None], {}, [bad])
    with writer() as target:
        target.add([None], {}, [7])
        with pytest.raises(StoreBuildError, match="every batch or for none"):
            target.add([None], {})
        with pytest.raises(StoreBuildError, match="1 geometries came with 2 ids"):
            target.add([None], {}, ["a", "b"])
    with FeatureStoreWriter(
        tmp_path / "x.gpkg", fields=[FieldDefinition("v", "string")], storage_crs="OGC:CRS84"
    ) as target:
        with pytest.raises(StoreBuildError, match="no column 'v'"):
            target.add([None], {})
        with pytest.raises(StoreBuildError, match="1 geometries came with 2 values"):
            target.add([None], {"v": ["a", "b"]})
    assert list(tmp_path.iterdir()) == []


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
    connection.execute("""UPDATE chengtu_meta SET value = replace(value, '"format":1', '"format":99')""")
    connection.commit()
    connection.close()
    with pytest.raises(StoreCorrupt, match="format 99"):
        open_store(later)
