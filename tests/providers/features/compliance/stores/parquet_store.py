"""GeoParquet 1.1 with a bbox column, in row groups of ten, read in place by DuckDB."""

from __future__ import annotations

import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from providers.features.parquet import open_parquet
from providers.features.source import FeatureSource
from providers.features.sources import SourceSettings

NAME = "parquet"
_TYPES = {"string": pa.string(), "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}


def build(sample: Any, folder: Path, request: pytest.FixtureRequest) -> FeatureSource:
    """The sample as other programs write it."""
    columns: dict[str, Any] = {"feature": pa.array(sample.ids)}
    for field in sample.fields:
        values = sample.columns[field.name]
        if field.format == "date":
            columns[field.name] = pa.array(
                [value and date.fromisoformat(value) for value in values], pa.date32()
            )
        elif field.format == "date-time":
            moments = [value and datetime.fromisoformat(value) for value in values]
            columns[field.name] = pa.array(moments, pa.timestamp("us", "UTC"))
        else:
            columns[field.name] = pa.array(values, _TYPES[field.type])
    columns["geometry"] = pa.array(shapely.to_wkb(sample.geometries), pa.binary())
    sides = ("xmin", "ymin", "xmax", "ymax")
    bounds = [pa.array(side, from_pandas=True) for side in shapely.bounds(sample.geometries).T]
    columns["bbox"] = pa.StructArray.from_arrays(bounds, names=sides)
    covering = {"bbox": {side: ["bbox", side] for side in sides}}
    described = {"encoding": "WKB", "geometry_types": [], "covering": covering}
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": described}}
    table = pa.table(columns).replace_schema_metadata({"geo": json.dumps(geo)})
    path = folder / "sample.parquet"
    pq.write_table(table, path, row_group_size=10)
    description = {"store": "parquet", "path": str(path), "id": "feature", "time": sample.time_field}
    return open_parquet(description, SourceSettings())
