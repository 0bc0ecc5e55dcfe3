"""One feature as columns, for writers that take columns."""

from __future__ import annotations

import numpy as np
import orjson
import shapely

from providers.features.crs import ReferenceSystem, reference_system, transform_between
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
    geometries = np.empty(1, dtype=object)
    geometries[0] = None if geometry is None else _stored(geometry, reference_system(uri), source.storage)
    columns = {name: [value] for name, value in feature["properties"].items()}
    return FeatureColumns([0], [feature_id], geometries, columns)


def _stored(geometry: shapely.Geometry, given: ReferenceSystem, storage: ReferenceSystem) -> shapely.Geometry:
    """A geometry as it came on the wire in `given`, in the storage CRS with x = east."""
    coordinates = shapely.get_coordinates(geometry, include_z=bool(shapely.has_z(geometry)))
    first, second = (1, 0) if given.swap else (0, 1)
    x, y = coordinates[:, first].copy(), coordinates[:, second].copy()
    move = transform_between(given, storage)
    if move is not None:
        x, y = move(x, y)
    coordinates[:, 0], coordinates[:, 1] = x, y
    return shapely.set_coordinates(geometry, coordinates)
