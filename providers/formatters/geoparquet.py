"""Features as GeoParquet 1.1: WKB, a covering column of envelopes, the CRS as PROJJSON.

Row groups of up to 65,536 features or 16 MB go out as they are full; the metadata stand at the end of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from providers.features.source import FeatureColumns
from providers.formatters.arrow_batches import ArrowLayout, Outlet, arrow_layout
from providers.formatters.columns import Geometries, free_names, named_target
from providers.formatters.registry import Batch, WritingContext, columns_of

_GROUP_ROWS = 65_536
_GROUP_BYTES = 16 << 20
_EDGES = ("xmin", "ymin", "xmax", "ymax")
_COVERING = pa.struct([pa.field(edge, pa.float64()) for edge in _EDGES])


def write_geoparquet(context: WritingContext, batches: Iterator[Batch]) -> Iterator[bytes]:
    """A GeoParquet file; without geometry it is a Parquet file. Raises InvalidParameter for a CRS it cannot name."""
    layout = arrow_layout(context, named_target(context))
    file = _File(layout)
    try:
        yield file.taken()
        for batch in batches:
            file.add(columns_of(batch))
            if file.is_full:
                file.flush()
                yield file.taken()
        file.finish()
        yield file.taken()
    finally:
        file.close()


class _File:
    def __init__(self, layout: ArrowLayout) -> None:
        self._layout = layout
        self._outlet = Outlet()
        self._waiting: list[Any] = []
        self._rows = self._bytes = 0
        self._types: set[str] = set()
        self._bounds = np.array([np.inf, np.inf, -np.inf, -np.inf])
        schema = layout.schema
        self._covering = free_names(["bbox"], schema.names)[0]
        if layout.geometry is not None:
            schema = schema.append(pa.field(self._covering, _COVERING))
        self._schema = schema
        self._writer = pq.ParquetWriter(self._outlet, schema, compression="zstd", compression_level=1)

    @property
    def is_full(self) -> bool:
        return self._rows >= _GROUP_ROWS or self._bytes >= _GROUP_BYTES

    def add(self, columns: FeatureColumns) -> None:
        batch, shapes = self._layout.batch_and_shapes(columns)
        if self._layout.geometry is not None:
            batch = pa.RecordBatch.from_arrays([*batch.columns, self._envelopes(shapes)], schema=self._schema)
        self._waiting.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes

    def _envelopes(self, shapes: Geometries) -> Any:
        self._types |= _types(shapes)
        boxes = shapely.bounds(shapes)
        missing = np.isnan(boxes[:, 0])
        if not missing.all():
            self._bounds[:2] = np.minimum(self._bounds[:2], np.nanmin(boxes[:, :2], axis=0))
            self._bounds[2:] = np.maximum(self._bounds[2:], np.nanmax(boxes[:, 2:], axis=0))
        edges = [pa.array(np.ascontiguousarray(boxes[:, edge])) for edge in range(4)]
        return pa.StructArray.from_arrays(edges, fields=list(_COVERING), mask=pa.array(missing))

    def flush(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting, self._schema)
            self._writer.write_table(table, row_group_size=_GROUP_ROWS)
            self._waiting.clear()
            self._rows = self._bytes = 0

    def finish(self) -> None:
        self.flush()
        if self._layout.geometry is not None:
            self._writer.add_key_value_metadata({"geo": orjson.dumps(self._metadata()).decode()})
        self._writer.close()

    def _metadata(self) -> dict[str, Any]:
        geometry = self._layout.geometry
        column: dict[str, Any] = {
            "encoding": "WKB",
            "geometry_types": sorted(self._types),
            "crs": self._layout.target.crs.to_json_dict(),
            "covering": {"bbox": {edge: [self._covering, edge] for edge in _EDGES}},
        }
        if np.isfinite(self._bounds).all():
            column["bbox"] = self._bounds.tolist()
        return {"version": "1.1.0", "primary_column": geometry, "columns": {geometry: column}}

    def taken(self) -> bytes:
        return self._outlet.take()

    def close(self) -> None:
        self._writer.close()


_NAMES = np.array(
    [
        "Point",
        "LineString",
        "LineString",  # a linear ring; WKB knows it as a line string
        "Polygon",
        "MultiPoint",
        "MultiLineString",
        "MultiPolygon",
        "GeometryCollection",
    ]
)


def _types(shapes: Geometries) -> set[str]:
    """The geometry types as GeoParquet names them."""
    there = shapely.get_type_id(shapes)
    codes = np.unique(there[there >= 0] * 2 + shapely.has_z(shapes[there >= 0]))
    return {f"{_NAMES[code // 2]}{' Z' if code % 2 else ''}" for code in codes}
