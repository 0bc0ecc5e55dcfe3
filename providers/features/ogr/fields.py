"""Fields and values of a layer: from what fiona and GDAL's Arrow stream give to JSON values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import shapely
from numpy.typing import NDArray

from providers.errors import InvalidValue, StoreCorrupt
from providers.features.schema import FieldDefinition
from providers.features.store.values import shown_values, stored_values

_TYPES: Mapping[str, tuple[str, str | None]] = {
    "int": ("integer", None),
    "int16": ("integer", None),
    "int32": ("integer", None),
    "int64": ("integer", None),
    "float": ("number", None),
    "bool": ("boolean", None),
    "date": ("string", "date"),
    "datetime": ("string", "date-time"),
}


def field_of(name: str, kind: str) -> FieldDefinition | None:
    """The field of a fiona property type, None for binary ones. Lists and JSON become JSON text."""
    if kind == "bytes":
        return None
    json_type, json_format = _TYPES.get(kind.split(":", maxsplit=1)[0], ("string", None))
    return FieldDefinition(name, json_type, json_format, column=name)


def json_values(field: FieldDefinition, values: Sequence[Any]) -> list[Any]:
    """A column as GeoJSON shows it. Raises StoreCorrupt where a value does not fit its field."""
    if field.type == "string" and field.format is None:
        return [value if value is None or isinstance(value, str) else _text(value) for value in values]
    if field.type == "number":
        return [None if value is None or not math.isfinite(value) else float(value) for value in values]
    try:
        return list(shown_values(field, stored_values(field, values, 0)))
    except InvalidValue as error:
        raise StoreCorrupt(f"A value of the file does not fit its field: {error}") from error


def _text(value: Any) -> str | None:
    if isinstance(value, list | tuple | dict | np.ndarray):
        return orjson.dumps(value, default=str, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    return None if isinstance(value, float) and math.isnan(value) else str(value)


def geometries_of(features: Sequence[Any], name: str) -> NDArray[np.object_]:
    """Shapely geometries (or None) of fiona features. Raises StoreCorrupt."""
    made = np.full(len(features), None, dtype=object)
    try:
        for number, feature in enumerate(features):
            geometry = feature.geometry
            if geometry is not None:
                made[number] = shapely.geometry.shape(geometry.__geo_interface__)
    except (shapely.errors.ShapelyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise StoreCorrupt(f"A geometry of {name!r} is broken: {error}") from error
    return made
