"""Columns as Arrow: what the formats made of columns have in common.

Geometries are x = east throughout (GeoParquet, GeoPackage, FlatGeobuf, Shapefile and GeoArrow all say so, whatever the order
of the authority), in the CRS asked for, and not rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyproj
import shapely
from numpy.typing import NDArray

from providers.errors import InvalidParameter
from providers.features.crs import (
    CRS84H,
    ReferenceSystem,
    reference_system,
    transform_between,
    transform_with_heights,
)
from providers.features.query import CRS84
from providers.features.schema import FieldDefinition
from providers.features.source import FeatureColumns
from providers.formatters.registry import WritingContext

type Geometries = NDArray[np.object_]

_ARROW_TYPES = {
    ("integer", None): pa.int64(),
    ("number", None): pa.float64(),
    ("boolean", None): pa.bool_(),
    ("string", "date"): pa.date32(),
    ("string", "date-time"): pa.timestamp("ms", tz="UTC"),
}
_MULTI: dict[str, Callable[[Geometries], Any]] = {
    "MultiPoint": shapely.multipoints,
    "MultiLineString": shapely.multilinestrings,
    "MultiPolygon": shapely.multipolygons,
}


# --- reference systems ---------------------------------------------------------------------------------------------------


def target_of(context: WritingContext) -> ReferenceSystem:
    """The CRS asked for; the storage CRS where the query names none ("")."""
    return reference_system(context.query.crs) if context.query.crs else context.storage


def named_target(context: WritingContext) -> ReferenceSystem:
    """The same for formats that say what their CRS is. Raises InvalidParameter for GCJ-02 and BD-09: they cannot be said."""
    target = target_of(context)
    if target.border:
        raise InvalidParameter(
            "crs", context.query.crs, "a CRS of an authority: this format cannot name shifted coordinates"
        )
    return target


def written_crs(target: ReferenceSystem) -> pyproj.CRS:
    """The CRS as files name it: WGS 84 by its EPSG code, since x = east holds in them anyway."""
    if target.uri == CRS84:
        return pyproj.CRS.from_epsg(4326)
    return pyproj.CRS.from_epsg(4979) if target.uri == CRS84H else target.crs


def moved(geometries: Geometries, source: ReferenceSystem, target: ReferenceSystem) -> Geometries:
    """Geometries in `target`, x = east, at full precision; heights too where PROJ can transform them."""
    if not len(geometries):
        return geometries
    flat, solid = transform_between(source, target), transform_with_heights(source, target)
    if flat is None and solid is None:
        return geometries
    has_z = shapely.has_z(geometries)
    result = geometries.copy()
    for chosen, three in ((~has_z, False), (has_z, True)):
        if not chosen.any():
            continue
        numbers = shapely.get_coordinates(geometries[chosen], include_z=three)
        if three and solid is not None:
            numbers = np.column_stack(solid(*numbers.T.copy()))
        elif flat is not None:
            numbers[:, 0], numbers[:, 1] = flat(numbers[:, 0].copy(), numbers[:, 1].copy())
        result[chosen] = shapely.set_coordinates(geometries[chosen], numbers)
    return result


# --- geometries ----------------------------------------------------------------------------------------------------------


def shapes_of(columns: FeatureColumns, context: WritingContext, target: ReferenceSystem) -> Geometries:
    """The geometries to write: in `target`, of the collection's type where a part makes a whole, None where empty."""
    if context.query.skip_geometry:
        return np.full(len(columns), None, dtype=object)
    shapes = placed(moved(columns.geometries, context.storage, target))
    return _of_type(shapes, context.schema.geometry_type)


def placed(shapes: Geometries) -> Geometries:
    """None in place of geometries that are empty, or that the CRS has no place for (infinite coordinates)."""
    nowhere = ~np.isfinite(shapely.bounds(shapes)).all(axis=1)
    if nowhere.any():
        shapes = shapes.copy()
        shapes[nowhere] = None
    return shapes


def _of_type(shapes: Geometries, declared: str) -> Geometries:
    """Single geometries as collections of one, where the collection's type is a multi-type."""
    make = _MULTI.get(declared)
    if make is None:
        return shapes
    single = shapely.get_type_id(shapes)
    wanted = {"MultiPoint": 0, "MultiLineString": 1, "MultiPolygon": 3}[declared]
    chosen = single == wanted
    if not chosen.any():
        return shapes
    result = shapes.copy()
    result[chosen] = make(shapes[chosen][:, np.newaxis])
    return result


def type_of(context: WritingContext, has_z: bool) -> str:
    """The geometry type as GDAL names it: "Unknown" for any, with " Z" for heights."""
    declared = context.schema.geometry_type
    name = "Unknown" if declared in ("Geometry", "") else declared
    return f"{name} Z" if has_z and name != "Unknown" else name


def has_heights(context: WritingContext, columns: FeatureColumns | None) -> bool:
    """Whether the collection has heights: known beforehand, or seen in its first features."""
    if context.query.skip_geometry:
        return False
    if context.has_z is not None:
        return context.has_z
    return columns is not None and bool(shapely.has_z(columns.geometries).any())


# --- attributes ----------------------------------------------------------------------------------------------------------


def free_names(
    names: Iterable[str], taken: Iterable[str] = (), allowed: Callable[[str], str] = str
) -> list[str]:
    """Names made unique whatever their case, as `allowed` changes them; a number is put behind the later ones."""
    used = {name.casefold() for name in taken}
    result = []
    for name in names:
        wished = allowed(name) or "field"
        found, number = wished, 1
        while found.casefold() in used:
            number += 1
            found = f"{wished}_{number}"
        used.add(found.casefold())
        result.append(found)
    return result


def arrow_type(field: FieldDefinition) -> Any:
    """The Arrow type of a field."""
    return _ARROW_TYPES.get((field.type, field.format)) or _ARROW_TYPES.get((field.type, None)) or pa.string()


def arrow_values(field: FieldDefinition, values: Sequence[Any]) -> Any:
    """JSON values as an Arrow array. A value that is none of the field's type becomes null, in text columns its JSON text."""
    kind = arrow_type(field)
    try:
        if pa.types.is_temporal(kind):
            return pc.cast(pa.array(values, pa.string()), kind)
        return pa.array(values, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        convert = _CONVERTERS[kind]
        return pa.array([None if value is None else convert(value) for value in values], kind)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _integer(value: Any) -> int | None:
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if -(1 << 63) <= number < 1 << 63 else None


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _boolean(value: Any) -> bool | None:
    return bool(value) if isinstance(value, bool | int) and value in (0, 1) else None


def _date(value: Any) -> date | None:
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError:
        return None


def _instant(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


_CONVERTERS: dict[Any, Callable[[Any], Any]] = {
    pa.string(): _text,
    pa.int64(): _integer,
    pa.float64(): _number,
    pa.bool_(): _boolean,
    pa.date32(): _date,
    pa.timestamp("ms", tz="UTC"): _instant,
}


def column_of(columns: FeatureColumns, name: str) -> Sequence[Any]:
    """The values of a field; null throughout where the source left it out."""
    values = columns.columns.get(name)
    return values if values is not None else [None] * len(columns)
