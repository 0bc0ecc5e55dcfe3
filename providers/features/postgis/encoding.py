"""Rows of PostGIS as GeoJSON Feature bytes, the same as those of the embedded store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import orjson
import shapely
from numpy.typing import NDArray

from providers.features.postgis.columns import Column


def shown_values(column: Column, values: Sequence[Any]) -> Sequence[Any]:
    """A column as psycopg loads it, as JSON values."""
    if column.is_instant:
        return [None if value is None else instant_text(value) for value in values]
    return values


def instant_text(value: datetime) -> str:
    """An instant in UTC (without zone), RFC 3339, without milliseconds that are zero."""
    text = value.isoformat(timespec="milliseconds")
    return f"{text[:-4]}Z" if text.endswith(".000") else f"{text}Z"


def geometries_of(values: Sequence[bytes | None]) -> NDArray[np.object_]:
    """Shapely geometries of WKB or EWKB."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return np.asarray(shapely.from_wkb(array), dtype=object)


def encode_texts(
    ids: Sequence[str],
    geometries: Sequence[str | None],
    names: Sequence[str],
    columns: Sequence[Sequence[Any]],
) -> list[bytes]:
    """Feature bytes of geometries that PostGIS has already written as GeoJSON, rounded."""
    dumps, fragment = orjson.dumps, orjson.Fragment
    rows = zip(*columns, strict=True) if columns else iter([()] * len(ids))
    return [
        dumps(
            {
                "type": "Feature",
                "id": feature_id,
                "geometry": None if text is None else fragment(text),
                "properties": dict(zip(names, row, strict=True)),
            }
        )
        for feature_id, text, row in zip(ids, geometries, rows, strict=True)
    ]
