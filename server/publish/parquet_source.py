"""GeoParquet (1.0 and 1.1, geometry as WKB), through pyarrow: fiona's GDAL has no Parquet driver."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import shapely
from pyproj.exceptions import CRSError

from server.publish.errors import CrsError, DamagedFile, InvalidGeometry, OptionError, UnknownFormat
from server.publish.inputs import Input
from server.publish.request import ReadingOptions
from server.publish.vectors import BATCH_SIZE, Batch, Geometries
from server.registry.catalogue import Field


class ParquetSource:
    """One file. Raises DamagedFile, UnknownFormat, OptionError, CrsError, InvalidGeometry."""

    def __init__(self, item: Input, _options: ReadingOptions) -> None:
        self.name = item.name
        try:
            self._file = pq.ParquetFile(item.path)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(self.name, error) from error
        metadata = _geo_metadata(self._file.schema_arrow, self.name)
        self._geometry = str(metadata.get("primary_column", ""))
        columns: dict[str, Any] = metadata.get("columns") or {}
        description = columns.get(self._geometry)
        if not isinstance(description, dict) or self._geometry not in self._file.schema_arrow.names:
            raise DamagedFile(
                f"The GeoParquet metadata of {self.name} names no geometry column that is there."
            )
        if description.get("encoding") != "WKB":
            raise UnknownFormat(
                f"{self.name} encodes geometry as {description.get('encoding')!r}; only WKB is read. Write it again with the "
                "geometry encoding WKB."
            )
        self.crs = _crs_of(description, self.name)
        self.expected: int | None = self._file.metadata.num_rows
        self.warnings: list[str] = []
        self.fields = self._fields_of(description, [name for name in columns if name != self._geometry])

    def _fields_of(self, description: dict[str, Any], other_geometries: list[str]) -> tuple[Field, ...]:
        covering = description.get("covering", {}).get("bbox", {}).get("xmin", [None])[0]
        fields = []
        for column in self._file.schema_arrow:
            if column.name in (self._geometry, covering) or column.name.startswith("__index_level_"):
                continue
            if (
                column.name in other_geometries
                or pa.types.is_binary(column.type)
                or pa.types.is_large_binary(column.type)
            ):
                self.warnings.append(
                    f"The column {column.name!r} of {self.name} holds binary data and was left out."
                )
                continue
            fields.append(_field(column.name, column.type))
        return tuple(fields)

    def batches(self) -> Iterator[Batch]:
        """Read from the beginning. Raises DamagedFile, InvalidGeometry."""
        names = [self._geometry, *(field.name for field in self.fields)]
        first = 1
        try:
            for part in self._file.iter_batches(batch_size=BATCH_SIZE, columns=names):
                columns = {field.name: _values(part.column(field.name)) for field in self.fields}
                yield Batch(self._geometries(part.column(self._geometry), first), columns)
                first += part.num_rows
        except (pa.ArrowException, OSError) as error:
            raise _damaged(self.name, error) from error

    def _geometries(self, column: Any, first: int) -> Geometries:
        blobs = np.array(column.to_pylist(), dtype=object)
        try:
            made: Geometries = shapely.from_wkb(blobs)
        except (shapely.errors.ShapelyError, TypeError) as error:
            for number, blob in enumerate(blobs, first):
                try:
                    shapely.from_wkb(blob)
                except (shapely.errors.ShapelyError, TypeError) as broken:
                    raise InvalidGeometry(
                        f"The geometry of feature {number} of {self.name} is broken: {broken}."
                    ) from broken
            raise InvalidGeometry(f"A geometry of {self.name} is broken: {error}.") from error
        return made


def _damaged(source: str, error: Exception) -> DamagedFile:
    return DamagedFile(f"{source} is a truncated or damaged Parquet file: {' '.join(str(error).split())}")


def _geo_metadata(schema: Any, source: str) -> dict[str, Any]:
    raw = (schema.metadata or {}).get(b"geo")
    if raw is None:
        raise OptionError(
            f"{source} is Parquet without GeoParquet metadata, so nothing says where its geometry is. Write it again as "
            "GeoParquet 1.0 or 1.1."
        )
    try:
        metadata = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise DamagedFile(f"The GeoParquet metadata of {source} is no JSON: {error}.") from error
    if not isinstance(metadata, dict):
        raise DamagedFile(f"The GeoParquet metadata of {source} is no JSON object.")
    return metadata


def _crs_of(description: dict[str, Any], source: str) -> pyproj.CRS | None:
    """PROJJSON; absent means OGC:CRS84, null means unknown (GeoParquet 1.1, "crs")."""
    if "crs" not in description:
        return pyproj.CRS.from_authority("OGC", "CRS84")
    if description["crs"] is None:
        return None
    try:
        return pyproj.CRS.from_json_dict(description["crs"])
    except (CRSError, AttributeError, TypeError) as error:
        raise CrsError(
            f"The CRS of {source} is not understood: {error}. Name the right one with --crs."
        ) from error


def _field(name: str, kind: Any) -> Field:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_boolean(kind):
        return Field(name, "boolean")
    if pa.types.is_integer(kind):
        return Field(name, "integer")
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return Field(name, "number")
    if pa.types.is_date(kind):
        return Field(name, "string", "date")
    if pa.types.is_timestamp(kind):
        return Field(name, "string", "date-time")
    return Field(name, "string")


def _values(column: Any) -> list[Any]:
    """Plain values of an Arrow column: decimals as floats, nested values as JSON text."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _values(column.dictionary_decode())
    if pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    elif pa.types.is_timestamp(kind) and kind.unit == "ns":
        column = column.cast(pa.timestamp("us", kind.tz), safe=False)
    values: list[Any] = column.to_pylist()
    if pa.types.is_nested(kind):
        return [None if value is None else orjson.dumps(value, default=str).decode() for value in values]
    if pa.types.is_time(kind) or pa.types.is_duration(kind):
        return [None if value is None else str(value) for value in values]
    return values
