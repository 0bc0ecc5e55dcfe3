"""The geometry column of a GeoParquet file as DuckDB SQL: its metadata, encodings, and conditions on it.

GeoParquet 1.1: "geo" metadata, encodings WKB and the native ones (struct and list columns), bbox covering columns. A missing
"crs" is OGC:CRS84; null is unknown and has to be stated by the one who registers the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyproj
import shapely
from numpy.typing import NDArray
from pyproj.exceptions import CRSError

from providers.errors import StoreCorrupt, StoreError
from providers.features.crs import ReferenceSystem, reference_system
from providers.features.in_place import storage_of
from providers.features.parquet.columns import quote
from providers.features.query import CRS84

_NATIVE = ("point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon")
_SIDES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True, slots=True)
class GeoMetadata:
    """What the "geo" metadata say of the primary geometry column.

    `covering`: SQL of xmin, ymin, xmax, ymax in the storage CRS, None without a bbox column; `covering_column` is left out of
    the fields. `others` are further geometry columns, left out as well.
    """

    column: str
    encoding: str
    geometry_type: str
    storage: ReferenceSystem
    covering: tuple[str, str, str, str] | None
    covering_column: str | None
    others: frozenset[str]


def read_geo_metadata(
    raw: bytes | None, columns: Mapping[str, str], name: str, stated: ReferenceSystem | None
) -> GeoMetadata:
    """Of the metadata value "geo"; `columns` are DuckDB types by name. Raises StoreError, StoreCorrupt."""
    if raw is None:
        raise StoreError(
            f"{name!r} is Parquet without GeoParquet metadata, so nothing says where its geometry is; write it again as "
            "GeoParquet 1.0 or 1.1"
        )
    try:
        metadata = orjson.loads(raw)
        primary = metadata["primary_column"]
        described = metadata["columns"]
        description = described[primary]
        encoding = description["encoding"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise StoreCorrupt(
            f"The GeoParquet metadata of {name!r} do not describe a geometry column: {error}"
        ) from error
    if not (isinstance(primary, str) and isinstance(description, dict) and primary in columns):
        raise StoreCorrupt(
            f"The GeoParquet metadata of {name!r} name the geometry column {primary!r}, which is not there"
        )
    if encoding != "WKB" and encoding not in _NATIVE:
        raise StoreError(
            f"{name!r} encodes geometry as {encoding!r}; readable are: WKB, {', '.join(_NATIVE)}"
        )
    storage = stated or _storage(description, name)
    covering, covering_column = _covering(description, columns)
    return GeoMetadata(
        primary,
        encoding,
        _geometry_type(description),
        storage,
        covering,
        covering_column,
        frozenset(other for other in described if other != primary),
    )


def _storage(description: Mapping[str, Any], name: str) -> ReferenceSystem:
    if "crs" not in description:
        return reference_system(CRS84)
    if description["crs"] is None:
        raise StoreError(
            f"{name!r} says that its CRS is unknown; state it with the member 'crs' of the description"
        )
    try:
        crs = pyproj.CRS.from_json_dict(description["crs"])
    except (CRSError, AttributeError, TypeError) as error:
        raise StoreCorrupt(f"The CRS of {name!r} is no PROJJSON that PROJ understands: {error}") from error
    return storage_of(crs, name)


def _geometry_type(description: Mapping[str, Any]) -> str:
    kinds = description.get("geometry_types")
    if not isinstance(kinds, list):
        return "Geometry"
    plain = {str(kind).removesuffix(" Z") for kind in kinds}
    return plain.pop() if len(plain) == 1 else "Geometry"


def _covering(
    description: Mapping[str, Any], columns: Mapping[str, str]
) -> tuple[tuple[str, str, str, str] | None, str | None]:
    try:
        paths = [tuple(description["covering"]["bbox"][side]) for side in _SIDES]
    except (KeyError, TypeError):
        return None, None
    column = paths[0][0] if paths[0] else None
    sound = all(len(path) == 2 and path[0] == column and isinstance(path[1], str) for path in paths)
    if not (sound and isinstance(column, str) and columns.get(column, "").startswith("STRUCT")):
        return None, None
    if any(quote(path[1]) not in columns[column] and f"{path[1]} " not in columns[column] for path in paths):
        return None, None
    west, south, east, north = (f"{quote(column)}.{quote(path[1])}" for path in paths)
    return (west, south, east, north), column


def geometry_sql(metadata: GeoMetadata, kind: str) -> str:
    """The geometry (DuckDB's GEOMETRY, in the storage CRS) of a row; `kind` is the column's DuckDB type."""
    column = quote(metadata.column)
    if kind.startswith("GEOMETRY"):
        return f"CAST({column} AS GEOMETRY)"
    if metadata.encoding == "WKB":
        if kind != "BLOB":
            raise StoreCorrupt(
                f"The geometry column {metadata.column!r} is said to hold WKB, and is of the type {kind}"
            )
        return f"ST_GeomFromWKB({column})"
    return f"CASE WHEN {column} IS NOT NULL THEN {_native(metadata.encoding, column, kind)} END"


def geometry_output(metadata: GeoMetadata, kind: str) -> str:
    """What `decode_column` makes geometries of."""
    column = quote(metadata.column)
    return f"ST_AsWKB(CAST({column} AS GEOMETRY))" if kind.startswith("GEOMETRY") else column


def decode_column(column: Any, encoding: str, name: str) -> NDArray[np.object_]:
    """Geometries (or None) of an Arrow column that `geometry_output` gave. Raises StoreCorrupt."""
    try:
        if column.type in (pa.binary(), pa.large_binary()):
            made: NDArray[np.object_] = shapely.from_wkb(column.to_numpy(zero_copy_only=False))
            return made
        return _decode_native(column.combine_chunks(), encoding)
    except (shapely.errors.ShapelyError, TypeError, ValueError, pa.ArrowException) as error:
        raise StoreCorrupt(f"A geometry of {name!r} is broken: {error}") from error


def _decode_native(column: Any, encoding: str) -> NDArray[np.object_]:
    present = np.asarray(column.is_valid())
    inside = column.filter(column.is_valid())
    offsets = []
    while pa.types.is_list(inside.type) or pa.types.is_large_list(inside.type):
        offsets.append(np.asarray(inside.offsets))
        inside = inside.values
    names = [name for name in ("x", "y", "z") if inside.type.get_field_index(name) >= 0]
    coordinates = np.stack([np.asarray(inside.field(name), dtype=np.float64) for name in names], axis=1)
    result = np.full(len(present), None, dtype=object)
    kind = shapely.GeometryType[encoding.upper()]
    made = shapely.from_ragged_array(
        kind, np.ascontiguousarray(coordinates), tuple(reversed(offsets)) or None
    )
    if encoding == "point":
        made[~np.isfinite(coordinates[:, 0])] = None
    result[present] = made
    return result


def _native(encoding: str, column: str, kind: str) -> str:
    """In two dimensions. Points are structs of x, y and maybe z; rings and lines are lists of them, and so on."""
    depth = {
        "point": 0,
        "linestring": 1,
        "multipoint": 1,
        "polygon": 2,
        "multilinestring": 2,
        "multipolygon": 3,
    }
    names = _struct_members(kind)
    if kind.count("[]") != depth[encoding] or not {"x", "y"} <= names or names - {"x", "y", "z"}:
        raise StoreError(
            f"A geometry column of the encoding {encoding!r} has the type {kind}; readable are nested lists of structs of "
            "x, y and maybe z"
        )
    return _BUILDERS[encoding](column)


def _struct_members(kind: str) -> set[str]:
    inside = kind[kind.find("(") + 1 : kind.rfind(")")]
    return {part.strip().split(" ", 1)[0].strip('"') for part in inside.split(",")}


def _points(sql: str) -> str:
    return f"list_transform({sql}, lambda p: ST_Point(p.x, p.y))"


def _line(sql: str) -> str:
    return f"ST_MakeLine({_points(sql)})"


def _polygon(sql: str) -> str:
    holes = f"list_transform({sql}[2:], lambda r: {_line('r')})"
    return f"ST_MakePolygon({_line(sql + '[1]')}, {holes})"


def _collected(items: str) -> str:
    return f"ST_Multi(ST_Collect({items}))"


_BUILDERS: Mapping[str, Callable[[str], str]] = {
    "point": lambda sql: f"CASE WHEN isfinite({sql}.x) THEN ST_Point({sql}.x, {sql}.y) END",
    "linestring": _line,
    "polygon": _polygon,
    "multipoint": lambda sql: _collected(_points(sql)),
    "multilinestring": lambda sql: _collected(f"list_transform({sql}, lambda l: {_line('l')})"),
    "multipolygon": lambda sql: _collected(f"list_transform({sql}, lambda g: {_polygon('g')})"),
}


def extent_sql(geometry: str) -> tuple[str, str, str, str]:
    """xmin, ymin, xmax, ymax of a geometry."""
    return f"ST_XMin({geometry})", f"ST_YMin({geometry})", f"ST_XMax({geometry})", f"ST_YMax({geometry})"


def meets_sql(sides: Sequence[str], box: Sequence[str]) -> str:
    """Whether two closed boxes meet: SQL of the sides of each."""
    return f"({sides[2]} >= {box[0]} AND {sides[0]} <= {box[2]} AND {sides[3]} >= {box[1]} AND {sides[1]} <= {box[3]})"
