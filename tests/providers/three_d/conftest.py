"""Small collections of footprints in an embedded store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import shapely

from providers.features.schema import FieldDefinition
from providers.features.store import close_stores
from providers.features.store.writer import FeatureStoreWriter

type MakeStore = Callable[..., Path]


@pytest.fixture
def make_store(tmp_path: Path) -> Any:
    """`make_store(geometries, columns, fields, crs=..., ids=...)`: the folder of a generation."""

    def make(
        geometries: Sequence[shapely.Geometry | None],
        columns: Mapping[str, Sequence[Any]],
        fields: Sequence[FieldDefinition],
        crs: str = "OGC:CRS84",
        ids: Sequence[str] | None = None,
    ) -> Path:
        generation = tmp_path / "generation"
        generation.mkdir()
        with FeatureStoreWriter(generation / "features.gpkg", fields=fields, storage_crs=crs) as writer:
            writer.add(geometries, columns, ids)
            writer.finish()
        return generation

    yield make
    close_stores()
