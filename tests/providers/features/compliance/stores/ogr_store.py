"""A GeoPackage as GDAL writes it, read in place by fiona."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyogrio
import pytest
import shapely

from providers.features.ogr import open_ogr
from providers.features.source import FeatureSource
from providers.features.sources import SourceSettings

NAME = "ogr"
_TYPES = {"string": pa.string(), "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}


def build(sample: Any, folder: Path, request: pytest.FixtureRequest) -> FeatureSource:
    """The sample in one layer."""
    columns: dict[str, Any] = {"feature": pa.array(sample.ids)}
    for field in sample.fields:
        values = sample.columns[field.name]
        if field.format == "date":
            columns[field.name] = pa.array(
                [value and date.fromisoformat(value) for value in values], pa.date32()
            )
        elif field.format == "date-time":
            moments = [value and datetime.fromisoformat(value) for value in values]
            columns[field.name] = pa.array(moments, pa.timestamp("ms", "UTC"))
        else:
            columns[field.name] = pa.array(values, _TYPES[field.type])
    columns["geom"] = pa.array(shapely.to_wkb(sample.geometries), pa.binary())
    path = folder / "sample.gpkg"
    pyogrio.write_arrow(
        pa.table(columns),
        path,
        driver="GPKG",
        layer="sample",
        geometry_name="geom",
        geometry_type="Unknown",
        crs="EPSG:4326",
    )
    # GDAL's Arrow writer rounds instants before 1970 to the wrong second.
    with closing(sqlite3.connect(path)) as database, database:
        for name in ("ST_IsEmpty", "ST_MinX", "ST_MaxX", "ST_MinY", "ST_MaxY"):
            database.create_function(name, 1, lambda _: 0)  # named by triggers that have nothing to do here
        pairs = zip(sample.columns["updated"], sample.ids, strict=True)
        database.executemany("UPDATE sample SET updated = ? WHERE feature = ?", pairs)
    description = {"store": "ogr", "path": str(path), "id": "feature", "time": sample.time_field}
    return open_ogr(description, SourceSettings(file_roots=(folder,)))
