"""What can be stored and what is refused: ids, names, values, geometries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import shapely

from providers.errors import DuplicateFeatureId, InvalidGeometry, InvalidValue, StoreBuildError
from providers.features.query import ItemQuery
from providers.features.schema import FieldDefinition
from providers.features.store import FeatureStoreWriter, open_store


def features(store: Any, **query: Any) -> list[dict[str, Any]]:
    return [orjson.loads(body) for body in store.page(ItemQuery(limit=10_000, **query)).bodies]


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
