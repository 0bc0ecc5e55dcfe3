"""The embedded store: a GeoPackage with encoded fragments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from providers.features.source import FeatureSource
from providers.features.store import FeatureStoreWriter, open_store

NAME = "embedded"


def build(sample: Any, folder: Path, request: pytest.FixtureRequest) -> FeatureSource:
    """The sample as publishing writes it."""
    path = folder / "features.gpkg"
    with FeatureStoreWriter(
        path, fields=sample.fields, storage_crs="EPSG:4326", time_field=sample.time_field, title="sample"
    ) as writer:
        writer.add(sample.geometries, sample.columns, sample.ids)
        writer.finish()
    return open_store(path)
