"""What sources that read files in place share: the state of files, what a file holds, and pages made of columns."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj

from providers.errors import InvalidParameter, StoreError, StoreMissing, UnknownReferenceSystem
from providers.features.crs import ReferenceSystem, describe_crs, reference_system, transform_between
from providers.features.query import CRS84, ItemQuery
from providers.features.schema import CollectionSchema, FieldDefinition
from providers.features.source import FeatureColumns
from providers.features.store.encoding import encode_features, geometries_in

QUERY_SECONDS = 5.0
"""What one answer may take: longer ones end as AnswerTooLarge."""
_SERVED_CRS = ("EPSG:4326", "EPSG:3857", "EPSG:4490")


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What a file holds, for the one who registers it.

    `count` None: only reading all of it would tell. `bbox` is in CRS84 (west, south, east, north), () without any geometry.
    `storage_crs` is a CRS URI, "" where the CRS has no code; `storage_wkt` always says it. `time_interval` holds RFC 3339
    instants or dates, (None, None) without a time field. `layer` is None for formats that have none.
    """

    fields: tuple[FieldDefinition, ...]
    count: int | None
    bbox: tuple[float, ...]
    storage_crs: str
    storage_wkt: str
    geometry_type: str
    id_field: str | None
    time_field: str | None
    time_interval: tuple[str | None, str | None]
    layer: str | None = None


def identity_of(files: Sequence[Path]) -> str:
    """A value that differs when one of the files was written or replaced. Raises StoreMissing."""
    seen = []
    for file in files:
        try:
            found = file.stat()
        except OSError as error:
            raise StoreMissing(f"{file.name!r} cannot be read: {error.strerror or error}") from error
        seen.append(f"{file.name}:{found.st_ino}:{found.st_mtime_ns}:{found.st_size}")
    return hashlib.blake2b("\n".join(seen).encode(), digest_size=10).hexdigest()


def absolute_path(description: Mapping[str, Any], store: str) -> Path:
    """The member `path` of a description. Raises StoreError where it is missing or relative."""
    path = description.get("path")
    if not isinstance(path, str) or "\x00" in path or not Path(path).is_absolute():
        raise StoreError(
            f"The description of a {store} source needs the member 'path', an absolute path; found {path!r}"
        )
    return Path(path)


def optional_name(description: Mapping[str, Any], member: str) -> str | None:
    """A member that names a field or a layer, None where it is null or absent. Raises StoreError for other types."""
    value = description.get(member)
    if value is not None and not isinstance(value, str):
        raise StoreError(f"The member {member!r} of a source description is a name or null; found {value!r}")
    return value or None


def stated_crs(description: Mapping[str, Any]) -> ReferenceSystem | None:
    """The CRS that the member `crs` of a description states in place of the file's own. Raises StoreError."""
    code = optional_name(description, "crs")
    if code is None:
        return None
    try:
        return reference_system(code)
    except UnknownReferenceSystem as error:
        raise StoreError(f"The member 'crs' of a source description: {error}") from error


def storage_of(crs: pyproj.CRS, name: str) -> ReferenceSystem:
    """The reference system of a file's CRS. Raises StoreError where features cannot be given in it."""
    try:
        return describe_crs(crs)
    except UnknownReferenceSystem as error:
        raise StoreError(f"{name!r}: {error}") from error


def make_schema(
    fields: tuple[FieldDefinition, ...], storage: ReferenceSystem, time_field: str | None, geometry_type: str
) -> CollectionSchema:
    """The schema of a collection read in place."""
    uris = [CRS84, *(reference_system(code).uri for code in _SERVED_CRS)]
    if storage.uri:
        uris.append(storage.uri)
    return CollectionSchema(fields, storage.uri, time_field, geometry_type, tuple(dict.fromkeys(uris)))


def check_named_fields(
    names: Sequence[str],
    id_field: str | None,
    time_field: str | None,
    fields: Sequence[FieldDefinition],
    name: str,
) -> None:
    """Raise StoreError where the id or time field is not there, or the time field holds no dates."""
    if id_field is not None and id_field not in names:
        raise StoreError(f"{name!r} has no field {id_field!r} to take ids from; it has: {', '.join(names)}")
    if time_field is None:
        return
    found = next((field for field in fields if field.name == time_field), None)
    dated = [field.name for field in fields if field.format in ("date", "date-time")]
    if found is None or found.name not in dated:
        raise StoreError(
            f"{name!r} has no field {time_field!r} that holds dates or instants; those are: {', '.join(dated) or 'none'}"
        )


def visible_fields(
    schema: CollectionSchema, properties: Sequence[str] | None, hidden: frozenset[str]
) -> tuple[FieldDefinition, ...]:
    """The fields to show, in schema order."""
    return tuple(
        field
        for field in schema.fields
        if field.name not in hidden and (properties is None or field.name in properties)
    )


def feature_bodies(
    columns: FeatureColumns, storage: ReferenceSystem, crs: str, *, skip_geometry: bool = False
) -> list[bytes]:
    """GeoJSON Feature bytes in the CRS asked for."""
    if not len(columns):
        return []
    geometries = None if skip_geometry else geometries_in(columns.geometries, storage, reference_system(crs))
    return encode_features(columns.ids, geometries, list(columns.columns), list(columns.columns.values()))


def bounds_in_crs84(bounds: Sequence[float], storage: ReferenceSystem) -> tuple[float, float, float, float]:
    """A box of the storage CRS (x = east) as a CRS84 box around it. Raises StoreError where it cannot be placed."""
    west, south, east, north = (float(number) for number in bounds)
    wgs84 = reference_system(CRS84)
    transform = transform_between(storage, wgs84)
    if transform is None:
        return west, south, east, north
    # A grid of points rather than the edges alone: it serves every transformation that `transform_between` knows.
    x, y = np.meshgrid(np.linspace(west, east, 22), np.linspace(south, north, 22))
    moved_x, moved_y = transform(x.ravel(), y.ravel())
    if not (np.isfinite(moved_x).all() and np.isfinite(moved_y).all()):
        raise StoreError(
            f"The extent ({west:g}, {south:g}, {east:g}, {north:g}) lies outside the area of its CRS {storage.crs.name!r}"
        )
    return float(moved_x.min()), float(moved_y.min()), float(moved_x.max()), float(moved_y.max())


def cursor_key(query: ItemQuery, highest: int) -> int | None:
    """The unique key at the end of a cursor. Raises InvalidParameter for a cursor of another order or store."""
    if query.cursor is None:
        return None
    key = query.cursor[-1] if query.cursor else None
    if (
        len(query.cursor) != len(query.sortby) + 1
        or not isinstance(key, int)
        or isinstance(key, bool)
        or not 0 <= key <= highest
    ):
        raise InvalidParameter(
            "cursor", str(query.cursor), "a cursor taken from a next link of the same query"
        )
    return key
