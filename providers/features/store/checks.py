"""What a batch of features has to be before it is stored. Rows are counted from 1 over all batches, in messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import shapely
from numpy.typing import NDArray

from providers.errors import InvalidGeometry, InvalidValue, StoreBuildError
from providers.features.schema import FieldDefinition
from providers.features.store.layout import OWN_COLUMNS
from providers.features.store.values import SQL_TYPES, check_text

_MAXIMUM_FIELDS = 1900
_JSON_INTEGER_DIGITS = 15  # always below 2**53


def with_columns(fields: Sequence[FieldDefinition], time_field: str | None) -> tuple[FieldDefinition, ...]:
    """The fields with SQL columns: their names, with a suffix where one is taken (SQLite ignores the case of ASCII)."""
    names = [field.name for field in fields]
    if len(set(names)) != len(names):
        raise StoreBuildError(
            f"Field names must differ; found {sorted({n for n in names if names.count(n) > 1})} twice"
        )
    if len(names) > _MAXIMUM_FIELDS:
        raise StoreBuildError(f"{len(names)} fields; {_MAXIMUM_FIELDS} are possible")
    _check_time_field(fields, time_field)
    check_text("field name", names, 0)
    taken = set(OWN_COLUMNS)
    result = []
    for field in fields:
        if (field.type, field.format) not in SQL_TYPES:
            raise StoreBuildError(
                f"Field {field.name!r} has the type {field.type!r}; possible are {sorted(SQL_TYPES, key=str)}"
            )
        base = field.name.replace("\0", "") or "field"
        column, number = base, 2
        while _folded(column) in taken:
            column, number = f"{base}_{number}", number + 1
        taken.add(_folded(column))
        result.append(replace(field, column=column))
    return tuple(result)


def _check_time_field(fields: Sequence[FieldDefinition], name: str | None) -> None:
    possible = [field.name for field in fields if field.format in ("date", "date-time")]
    if name is not None and name not in possible:
        raise StoreBuildError(
            f"The time field {name!r} is not one of the fields that hold dates or instants: {possible}"
        )


def _folded(name: str) -> str:
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)


def checked_shapes(geometries: NDArray[np.object_] | Sequence[Any], first_row: int) -> NDArray[np.object_]:
    """Geometries as the store keeps them: empty ones are None, measures are dropped. Raises InvalidGeometry."""
    shapes = np.empty(len(geometries), dtype=object)
    shapes[:] = geometries
    shapes[shapely.is_empty(shapes)] = None
    measured = shapely.has_m(shapes)
    if measured.any():
        flat = measured & ~shapely.has_z(shapes)
        shapes[flat] = shapely.force_2d(shapes[flat])
        solid = measured & ~flat
        shapes[solid] = shapely.from_wkb(shapely.to_wkb(shapes[solid], output_dimension=3))
    has_z = bool(shapely.has_z(shapes).any())
    coordinates, owners = shapely.get_coordinates(shapes, include_z=has_z, return_index=True)
    bad = ~np.isfinite(coordinates[:, :2]).all(axis=1)
    if has_z:
        bad |= ~np.isfinite(coordinates[:, 2]) & shapely.has_z(shapes)[owners]
    if bad.any():
        row = first_row + int(owners[bad][0]) + 1
        found = coordinates[bad][0].tolist()
        raise InvalidGeometry(f"Row {row}: a coordinate is not a finite number: {found}")
    return shapes


def checked_bounds(served: NDArray[np.object_], crs_name: str, first_row: int) -> NDArray[np.float64]:
    """Envelopes (n, 4) of geometries in CRS84, NaN for None. Raises InvalidGeometry for what is not on Earth."""
    bounds = np.asarray(shapely.bounds(served), dtype=np.float64)
    absent = shapely.is_missing(served)
    bad = ~absent & are_outside_earth(bounds)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InvalidGeometry(
            f"Row {first_row + row + 1}: in longitude and latitude its box would be {bounds[row].tolist()}, which is not "
            f"on Earth; is {crs_name!r} the right CRS of the source, and x = east, y = north its axis order?"
        )
    return bounds


def are_outside_earth(bounds: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the envelopes (n, 4) in CRS84 leave the range of longitudes and latitudes, or are not finite (NaN too)."""
    latitudes, longitudes = np.abs(bounds[:, [1, 3]]), np.abs(bounds[:, [0, 2]])
    return np.asarray(~((latitudes <= 90.0) & (longitudes <= 360.0)).all(axis=1))


def checked_ids(ids: Sequence[str | int], first_row: int) -> list[str]:
    """Ids as texts. Raises InvalidValue for what is neither a text nor an integer, or is empty."""
    if set(map(type, ids)) == {str} and all(ids):
        names = cast("list[str]", list(ids))
    else:
        names = [_id_text(value, first_row + i) for i, value in enumerate(ids)]
    check_text("id", names, first_row)
    return names


def _id_text(value: str | int, row: int) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | np.integer) or value == "":
        raise InvalidValue(f"Row {row + 1}: the id {value!r} is neither a text nor an integer")
    return str(value)


def are_small_integers(names: list[str]) -> bool:
    """Whether every id is the usual text of an integer that JSON readers keep exactly."""
    digits = "".join(names)
    if not (digits.isascii() and digits.isdecimal()) and names:
        return False
    return all(len(name) <= _JSON_INTEGER_DIGITS and (name[0] != "0" or name == "0") for name in names)
