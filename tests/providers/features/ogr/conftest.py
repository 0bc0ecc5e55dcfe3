"""Vector files of known content, written by GDAL."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyogrio
import pytest
import shapely

COUNT = 60


@pytest.fixture
def write_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes 60 points along a line through Shenzhen: `write_file("a.gpkg", "GPKG", crs="EPSG:4547", geometries=...)`."""

    def write(
        name: str,
        driver: str,
        *,
        crs: str | None = "EPSG:4326",
        geometries: Any = None,
        columns: dict[str, Any] | None = None,
        geometry_type: str = "Point",
        **options: Any,
    ) -> Path:
        shapes = geometries
        if shapes is None:
            shapes = shapely.points(113.9 + 0.001 * np.arange(COUNT), 22.6 + 0.001 * np.arange(COUNT))
        numbers = range(len(shapes))
        given = columns or {
            "code": pa.array([f"k{i}" for i in numbers]),
            "name": pa.array([None if i % 10 == 9 else f"楼 {i}" for i in numbers]),
            "height": pa.array([None if i % 7 == 6 else i / 4 for i in numbers], pa.float64()),
            "floors": pa.array([i % 5 for i in numbers], pa.int32()),
            "built": pa.array([date(2000, 1, 1) + timedelta(days=i) for i in numbers]),
            "updated": pa.array(
                [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=i) for i in numbers],
                pa.timestamp("ms", "UTC"),
            ),
        }
        if driver == "FlatGeobuf" and "built" in given:  # the format has instants, no dates
            given["built"] = given["built"].cast(pa.string())
        table = pa.table({**given, "geom": pa.array(shapely.to_wkb(shapes), pa.binary())})
        path = tmp_path / name
        pyogrio.write_arrow(
            table, path, driver=driver, geometry_name="geom", geometry_type=geometry_type, crs=crs, **options
        )
        return path

    return write
