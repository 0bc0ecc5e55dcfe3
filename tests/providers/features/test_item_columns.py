"""One feature as columns is the feature as the source's own columns have it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely

from providers.features.item_columns import item_columns
from providers.features.query import ItemQuery
from providers.features.schema import FieldDefinition
from providers.features.store import FeatureStoreWriter, open_store

SHAPES = [shapely.Point(394_000.25, 2_500_000.5), shapely.Point(394_100, 2_500_200, 12.5), None]


@pytest.mark.parametrize("crs", ["EPSG:4547", "EPSG:32650"])
def test_geometry_and_values(tmp_path: Path, crs: str) -> None:
    path = tmp_path / "features.gpkg"
    with FeatureStoreWriter(path, fields=[FieldDefinition("name", "string")], storage_crs=crs) as writer:
        writer.add(np.array(SHAPES, dtype=object), {"name": ["a", "b", None]})
        writer.finish()
    store = open_store(path)
    whole = store.columns(ItemQuery(limit=10)).columns
    for place, feature_id in enumerate(whole.ids):
        one = item_columns(store, feature_id)
        assert one is not None
        assert one.columns["name"] == [whole.columns["name"][place]]
        expected = whole.geometries[place]
        if expected is None:
            assert one.geometries[0] is None
        else:
            assert shapely.equals_exact(one.geometries[0], expected, tolerance=1e-3)
            assert shapely.has_z(one.geometries[0]) == shapely.has_z(expected)
    assert item_columns(store, "none") is None
