"""Features as CSV (RFC 4180, UTF-8), with nothing lost on the way.

The header names the fields of all features, not of the first alone. Texts are quoted and null is empty without quotes, so
null and the empty text stay different. Points become columns x, y (and z); any other geometry is WKT.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
import shapely
from pygeoapi.formatter.base import BaseFormatter

from providers.features.crs import ReferenceSystem
from providers.features.source import FeatureColumns
from providers.features.store.encoding import geometries_in
from providers.formatters.columns import arrow_values, column_of, has_heights, placed, target_of
from providers.formatters.registry import Batch, WritingContext, columns_of, first_columns

_AXES = ("x", "y", "z")
type Feature = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Columns:
    """The header: the id's column, the fields, then x, y (, z) for points or one column of WKT."""

    identifier: str
    fields: tuple[str, ...]
    geometry: tuple[str, ...]
    is_point: bool

    def header(self) -> list[str]:
        return [self.identifier, *self.fields, *self.geometry]


def csv_bytes(features: Iterable[Feature]) -> bytes:
    """GeoJSON features (dicts) as one CSV document; with no features it is the header alone."""
    known = list(features)
    fields = tuple(dict.fromkeys(name for feature in known for name in feature.get("properties") or ()))
    geometries = [feature["geometry"] for feature in known if feature.get("geometry")]
    only_points = bool(geometries) and all(item["type"] == "Point" for item in geometries)
    solid = only_points and any(len(item["coordinates"]) > 2 for item in geometries)
    columns = _columns(fields, is_point=only_points, has_z=solid)
    return _encode([columns.header()]) + _encode(_rows(known, columns))


def write_csv(context: WritingContext, batches: Iterator[Batch]) -> Iterator[bytes]:
    """The writer of `providers.formatters.registry`: the header, then the rows of each batch."""
    first, batches = first_columns(batches)
    is_point = context.schema.geometry_type == "Point" and not context.query.skip_geometry
    has_z = is_point and has_heights(context, first)
    names = tuple(field.name for field in context.fields)
    layout = _columns(names, is_point=is_point, has_z=has_z)
    yield _encode([layout.header()])
    target = target_of(context)
    for batch in batches:
        yield _rows_of(context, columns_of(batch), layout, target)


def _rows_of(
    context: WritingContext, columns: FeatureColumns, layout: _Columns, target: ReferenceSystem
) -> bytes:
    """A batch, column by column: texts in quotes, null as nothing."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    arrays = [pa.array(columns.ids, pa.string())]
    for field in context.fields:
        text = replace(field, format=None)  # dates are the texts that they are
        arrays.append(arrow_values(text, column_of(columns, field.name)))
    arrays += _places(context, columns, layout, target)
    names = [str(number) for number in range(len(arrays))]
    options = arrow_csv.WriteOptions(include_header=False, quoting_style="needed", eol="\r\n")
    sink = io.BytesIO()
    arrow_csv.write_csv(pa.RecordBatch.from_arrays(arrays, names=names), sink, options)
    return sink.getvalue()


def _places(
    context: WritingContext, columns: FeatureColumns, layout: _Columns, target: ReferenceSystem
) -> list[Any]:
    """The columns of the geometry, in the axis order of the CRS asked for."""
    import pyarrow as pa

    if context.query.skip_geometry:
        return [pa.nulls(len(columns), pa.string())]
    shapes = placed(geometries_in(columns.geometries, context.storage, target))
    if not layout.is_point:
        return [pa.array(shapely.to_wkt(shapes, rounding_precision=-1, output_dimension=3), pa.string())]
    points = shapes.copy()
    points[shapely.get_type_id(shapes) != 0] = None
    numbers = [shapely.get_x(points), shapely.get_y(points), shapely.get_z(points)]
    return [pa.array(values, pa.float64(), from_pandas=True) for values in numbers[: len(layout.geometry)]]


def _columns(fields: tuple[str, ...], *, is_point: bool, has_z: bool) -> _Columns:
    taken = set(fields)
    identifier = _free("id", taken)
    names = _AXES[: 3 if has_z else 2] if is_point else ("geometry",)
    return _Columns(identifier, fields, tuple(_free(name, taken) for name in names), is_point)


def _free(name: str, taken: set[str]) -> str:
    """`name`, with underscores in front where a field has it already."""
    while name in taken:
        name = f"_{name}"
    taken.add(name)
    return name


def _rows(features: Sequence[Feature], columns: _Columns) -> Iterator[list[Any]]:
    places = _coordinates(features, len(columns.geometry)) if columns.is_point else _texts(features)
    for feature, place in zip(features, places, strict=True):
        properties = feature.get("properties") or {}
        yield [feature.get("id"), *(_cell(properties.get(name)) for name in columns.fields), *place]


def _coordinates(features: Sequence[Feature], count: int) -> Iterator[list[Any]]:
    for feature in features:
        geometry = feature.get("geometry")
        numbers = list(geometry["coordinates"][:count]) if geometry else []
        yield numbers + [None] * (count - len(numbers))


def _texts(features: Sequence[Feature]) -> Iterator[list[str | None]]:
    shapes = [feature.get("geometry") for feature in features]
    geometries = shapely.from_geojson([None if shape is None else orjson.dumps(shape) for shape in shapes])
    for text in shapely.to_wkt(geometries, rounding_precision=-1):
        yield [text]


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return orjson.dumps(value).decode()
    return value


def _encode(rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_STRINGS).writerows(rows)
    return text.getvalue().encode()


class ChengtuCSVFormatter(BaseFormatter):  # type: ignore[misc] # pygeoapi carries no types
    """The same as a pygeoapi formatter plugin."""

    def __init__(self, formatter_def: dict[str, Any]) -> None:
        super().__init__({"name": "csv", **formatter_def})
        self.mimetype = "text/csv; charset=utf-8"
        self.f = "csv"
        self.extension = "csv"

    def write(self, options: Mapping[str, Any] | None = None, data: Mapping[str, Any] | None = None) -> bytes:
        """A FeatureCollection (or one Feature) as CSV."""
        if not data:
            return csv_bytes([])
        return csv_bytes(data.get("features", [data]))

    def __repr__(self) -> str:
        return f"<ChengtuCSVFormatter> {self.name}"
