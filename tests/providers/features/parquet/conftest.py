"""GeoParquet files of known content."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from providers.features.parquet.database import run

SIDES = ("xmin", "ymin", "xmax", "ymax")
COUNT = 60


def geo_metadata(**described: Any) -> dict[str, Any]:
    """Metadata of one geometry column in WKB, changed by `described`."""
    column = {"encoding": "WKB", "geometry_types": ["Point"], **described}
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}


def values_of(count: int = COUNT) -> dict[str, Any]:
    """Columns of every kind that Parquet has, with their hard values in front."""
    numbers = list(range(count))
    moments = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=i, microseconds=500_000) for i in numbers]
    heights: list[float | None] = [float("nan"), float("inf"), None, *[i / 4 for i in numbers[3:]]]
    return {
        "key": pa.array([f"k{i}" for i in numbers]),
        "name": pa.array([None if i % 10 == 9 else f"楼 {i}" for i in numbers]),
        "height": pa.array(heights, pa.float64()),
        "price": pa.array([Decimal(i) / 4 for i in numbers], pa.decimal128(12, 2)),
        "serial": pa.array([2**63 + i for i in numbers], pa.uint64()),
        "built": pa.array([date(2000, 1, 1) + timedelta(days=i) for i in numbers]),
        "updated": pa.array(moments, pa.timestamp("us", "Asia/Shanghai")),
        "local": pa.array([moment.replace(tzinfo=None) for moment in moments], pa.timestamp("ns")),
        "tags": pa.array([None if i == 1 else ["a", f"t{i}"] for i in numbers]),
        "owner": pa.array([{"name": f"o{i}", "age": i} for i in numbers]),
        "kind": pa.array([f"kind {i % 3}" for i in numbers]).dictionary_encode(),
        "raw": pa.array([b"\x00\x01"] * count),
    }


def points(count: int = COUNT) -> np.ndarray[Any, Any]:
    """Points along a line through Shenzhen; the fifth is missing, the sixth empty."""
    made = shapely.points(113.9 + 0.001 * np.arange(count), 22.6 + 0.001 * np.arange(count))
    made[4], made[5] = None, shapely.Point()
    return made


@pytest.fixture(scope="session", autouse=True)
def _one_database(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Made for the folder of all tests at once: each further folder would make another one."""
    run(tmp_path_factory.getbasetemp(), "SELECT 1")


@pytest.fixture
def write_parquet(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file in the test's own folder: `write_parquet("a.parquet", geometries=..., geo=..., covering=True)`."""

    def write(
        name: str = "sample.parquet",
        *,
        columns: dict[str, Any] | None = None,
        geometries: Any = None,
        geo: dict[str, Any] | str | None = None,
        covering: bool = False,
        row_group_size: int = 20,
    ) -> Path:
        columns = values_of() if columns is None else dict(columns)
        shapes = points() if geometries is None else geometries
        if not isinstance(shapes, pa.Array):
            if covering:
                sides = [pa.array(side, from_pandas=True) for side in shapely.bounds(shapes).T]
                columns["bbox"] = pa.StructArray.from_arrays(sides, names=SIDES)
            shapes = pa.array(shapely.to_wkb(shapes), pa.binary())
        columns["geometry"] = shapes
        if geo is None:
            geo = geo_metadata()
        if covering and isinstance(geo, dict):
            geo["columns"]["geometry"]["covering"] = {"bbox": {side: ["bbox", side] for side in SIDES}}
        metadata = {} if geo == "" else {"geo": geo if isinstance(geo, str) else json.dumps(geo)}
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(
            pa.table(columns).replace_schema_metadata(metadata), path, row_group_size=row_group_size
        )
        return path

    return write


@pytest.fixture
def describe_geo() -> Callable[..., dict[str, Any]]:
    """Metadata to give to `write_parquet`."""
    return geo_metadata
