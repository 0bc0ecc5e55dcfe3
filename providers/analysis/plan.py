"""Which flat features a place lies in: parcels, zones, districts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyproj
import shapely

from providers.analysis.scene import SceneObject
from providers.errors import ProviderError
from providers.features.crs import reference_system
from providers.features.query import CRS84, BBox
from providers.processes.sources import ProcessSource, opened

MOST_FEATURES = 20


def features_at(sources: Sequence[ProcessSource], longitude: float, latitude: float) -> list[SceneObject]:
    """The polygons of these collections in which the place (degrees) lies, at most twenty of each.

    A collection that cannot be read now is left out: the others still answer.
    """
    found: list[SceneObject] = []
    for source in sources:
        if source.features is not None:
            try:
                found += _of(source, longitude, latitude)
            except ProviderError:
                continue
    return found


def _of(source: ProcessSource, longitude: float, latitude: float) -> list[SceneObject]:
    assert source.features is not None
    store = opened(source.features)
    shown = [field.name for field in store.schema.fields if field.name not in source.hidden]
    columns = store.read(BBox(longitude, latitude, longitude, latitude), shown, MOST_FEATURES * 5)
    if not len(columns):
        return []
    place = pyproj.Transformer.from_crs(
        reference_system(CRS84).horizontal, store.storage.horizontal, always_xy=True
    ).transform(longitude, latitude)
    polygons = shapely.get_dimensions(columns.geometries) == 2
    inside = np.flatnonzero(polygons & shapely.intersects_xy(columns.geometries, *place))[:MOST_FEATURES]
    return [
        SceneObject(
            source.id,
            source.title,
            "features",
            columns.ids[row],
            {name: values[row] for name, values in columns.columns.items()},
        )
        for row in inside.tolist()
    ]
