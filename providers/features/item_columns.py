"""One feature as columns, for writers that take columns."""

from __future__ import annotations

import numpy as np
import orjson
import shapely

from providers.features.crs import reference_system, transform_between
from providers.features.query import CRS84
from providers.features.source import NO_FIELDS, FeatureColumns, FeatureSource


def item_columns(
    source: FeatureSource, feature_id: str, hidden: frozenset[str] = NO_FIELDS, asof: str | None = None
) -> FeatureColumns | None:
    """The feature with its geometry in the storage CRS (x = east), None where there is none."""
    uri = source.storage.uri or CRS84
    found = source.item(feature_id, uri, hidden, asof)
    if found is None:
        return None
    feature = orjson.loads(found.body)
    shape = feature.get("geometry")
    geometry = None if shape is None else shapely.from_geojson(orjson.dumps(shape))
    if geometry is not None:
        given = reference_system(uri)
        if given.swap:
            geometry = shapely.transform(geometry, lambda x, y: (y, x), interleaved=False)
        move = transform_between(given, source.storage)
        if move is not None:
            geometry = shapely.transform(geometry, move, interleaved=False)
    geometries = np.empty(1, dtype=object)
    geometries[0] = geometry
    columns = {name: [value] for name, value in feature["properties"].items()}
    return FeatureColumns([0], [feature_id], geometries, columns)
