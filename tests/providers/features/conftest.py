"""Small collections of known content, and the stores built from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray

from providers.features.schema import FieldDefinition
from providers.features.store import FeatureStore, FeatureStoreWriter, StoreSummary, close_stores, open_store

FIELDS = (
    FieldDefinition("名称", "string"),
    FieldDefinition("height", "number"),
    FieldDefinition("floors", "integer"),
    FieldDefinition("listed", "boolean"),
    FieldDefinition("built", "string", "date"),
    FieldDefinition("updated", "string", "date-time"),
    FieldDefinition("id", "string"),
)


@dataclass(frozen=True)
class Sample:
    """What was given to the writer."""

    geometries: NDArray[np.object_]
    columns: dict[str, list[Any]]
    ids: list[str]


@dataclass(frozen=True)
class Built:
    """A sample and the store made from it."""

    sample: Sample
    store: FeatureStore
    summary: StoreSummary


def make_sample(count: int = 2000, seed: int = 7) -> Sample:
    """Small polygons, some lines and points, a few large shapes, and three features without a geometry."""
    random = np.random.default_rng(seed)
    x, y = random.uniform(113.8, 114.1, count), random.uniform(22.65, 22.85, count)
    size = random.uniform(1e-4, 6e-4, count)
    large = random.random(count) < 0.01
    size[large] *= 200
    shapes = shapely.box(x - size, y - size / 2, x + size, y + size / 2)
    kinds = random.integers(0, 4, count)
    lines = shapely.linestrings(np.stack([np.stack([x, y], 1), np.stack([x + size, y + size], 1)], 1))
    shapes = np.where(kinds == 1, lines, np.where(kinds == 2, shapely.points(x, y), shapes))
    shapes = np.where(
        kinds == 3,
        shapely.multipolygons([[shape] for shape in shapely.box(x, y, x + size, y + size)]),
        shapes,
    )
    shapes[[5, 50, 500]] = [None, shapely.Point(), shapely.from_wkt("POLYGON EMPTY")]
    columns: dict[str, list[Any]] = {
        "名称": [None if i % 11 == 0 else f"楼 {i}" for i in range(count)],
        "height": [
            float("nan") if i % 13 == 0 else round(float(v), 2)
            for i, v in enumerate(random.uniform(0, 90, count))
        ],
        "floors": random.integers(1, 30, count).tolist(),
        "listed": [None if i % 17 == 0 else bool(i % 2) for i in range(count)],
        "built": [f"{1950 + i % 70}-06-{1 + i % 28:02}" for i in range(count)],
        "updated": [f"2025-{1 + i % 12:02}-03T{i % 24:02}:30:00+08:00" for i in range(count)],
        "id": [f"source {i}" for i in range(count)],
    }
    return Sample(shapes, columns, [f"b{i}" for i in range(count)])


def build(
    path: Path,
    sample: Sample,
    fields: tuple[FieldDefinition, ...] = FIELDS,
    crs: str = "EPSG:4326",
    batch: int = 700,
) -> Built:
    """Write a sample in batches and open it."""
    names = [field.name for field in fields]
    time_field = "updated" if "updated" in names else None
    with FeatureStoreWriter(
        path, fields=fields, storage_crs=crs, time_field=time_field, title="样本"
    ) as writer:
        for start in range(0, len(sample.ids), batch):
            part = slice(start, start + batch)
            columns = {name: sample.columns[name][part] for name in names}
            writer.add(sample.geometries[part], columns, sample.ids[part])
        summary = writer.finish()
    return Built(sample, open_store(path), summary)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """2,000 features of all kinds around Shenzhen."""
    return build(tmp_path_factory.mktemp("store") / "features.gpkg", make_sample())


@pytest.fixture
def build_store(tmp_path: Path) -> Callable[..., Built]:
    """Builds stores in the test's own folder."""
    numbers = iter(range(100))

    def make(sample: Sample, **options: Any) -> Built:
        return build(tmp_path / f"store{next(numbers)}.gpkg", sample, **options)

    return make


@pytest.fixture
def sample_of() -> Callable[..., Sample]:
    """A sample from shapes alone."""

    def make(shapes: list[Any], ids: list[str] | None = None, **columns: list[Any]) -> Sample:
        array = np.empty(len(shapes), dtype=object)
        array[:] = shapes
        return Sample(array, columns, ids or [str(i) for i in range(len(shapes))])

    return make


@pytest.fixture(autouse=True, scope="session")
def _closed_stores() -> Iterator[None]:
    yield
    close_stores()
