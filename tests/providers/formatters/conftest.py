"""A small collection with everything that is hard to write, in two stores, and what writes it in a format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from providers.features.parquet import open_parquet
from providers.features.query import ItemQuery
from providers.features.schema import FieldDefinition
from providers.features.source import FeatureSource
from providers.features.sources import SourceSettings
from providers.features.store import FeatureStoreWriter, open_store
from providers.formatters.registry import (
    DOWNLOAD_FORMATS,
    Batch,
    ItemFormat,
    WritingContext,
    fields_to_write,
)
from providers.formatters.scratch import configure_scratch

HIDDEN = frozenset({"secret"})
FIELDS = (
    FieldDefinition("名称", "string"),
    FieldDefinition("Floors", "integer"),
    FieldDefinition("height", "number"),
    FieldDefinition("listed", "boolean"),
    FieldDefinition("built", "string", "date"),
    FieldDefinition("updated", "string", "date-time"),
    FieldDefinition('a <b> & "c"', "string"),
    FieldDefinition("id", "string"),
    FieldDefinition("secret", "string"),
)
_HARD = '=1+1, "quoted"\r\n<b>&amp;</b>\t楼🏙'
_RING = [(114.01, 22.51), (114.03, 22.51), (114.03, 22.53), (114.01, 22.53), (114.01, 22.51)]
_HOLE = [(114.015, 22.515), (114.015, 22.52), (114.02, 22.52), (114.02, 22.515), (114.015, 22.515)]
POLYGON = shapely.Polygon(_RING, [_HOLE])
FAR = shapely.Polygon([(x + 1, y + 0.5) for x, y in _RING])


def mixed() -> list[Any]:
    """A geometry of every kind, with holes and heights, and none."""
    return [
        shapely.Point(114.1234567, 22.7654321),
        shapely.LineString([(114.0, 22.5), (114.1, 22.6), (114.2, 22.5)]),
        POLYGON,
        shapely.MultiPoint([(114.0, 22.5), (114.25, 22.5)]),
        shapely.MultiLineString([[(114.0, 22.5), (114.1, 22.5)], [(114.0, 22.6), (114.1, 22.6)]]),
        shapely.MultiPolygon([POLYGON, FAR]),
        None,
    ]


def polygons() -> list[Any]:
    """Polygons alone, of one part and of two."""
    return [POLYGON, FAR, shapely.MultiPolygon([POLYGON, FAR]), None]


def columns_for(count: int) -> dict[str, list[Any]]:
    """Attributes: the first feature has hard values, the last has none."""

    def of(*values: Any) -> list[Any]:
        return [values[i % len(values)] for i in range(count - 1)] + [None]

    return {
        "名称": of(_HARD, "", "Straße"),
        "Floors": of(9007199254740993, -3, 0),
        "height": of(0.1, 1e-7, 2.5e10),
        "listed": of(True, False),
        "built": of("1969-07-20", "2024-02-29"),
        "updated": of("2024-01-01T12:30:00.250Z", "1969-12-31T23:59:59Z"),
        'a <b> & "c"': of("x", "y"),
        "id": of("own", "other"),
        "secret": of("hush"),
    }


IDS = ["a.1", "b/2 ü", "c_3", "7", "-x", "f:6", "g"]


def embedded(folder: Path, shapes: list[Any], storage: str = "EPSG:4490") -> FeatureSource:
    """The collection in the embedded store."""
    path = folder / "features.gpkg"
    with FeatureStoreWriter(path, fields=FIELDS, storage_crs=storage, time_field="updated") as writer:
        writer.add(np.array(shapes, dtype=object), columns_for(len(shapes)), IDS[: len(shapes)])
        writer.finish()
    return open_store(path)


def parquet(folder: Path, shapes: list[Any]) -> FeatureSource:
    """The same in a GeoParquet file read in place."""
    types = {
        "integer": pa.int64(),
        "number": pa.float64(),
        "boolean": pa.bool_(),
        "date": pa.date32(),
        "date-time": pa.timestamp("ms", "UTC"),
    }
    data: dict[str, Any] = {"feature": pa.array(IDS[: len(shapes)])}
    for field in FIELDS:
        values = columns_for(len(shapes))[field.name]
        kind = types.get(field.format or field.type, pa.string())
        array = pa.array(values, pa.string() if pa.types.is_temporal(kind) else kind)
        data[field.name] = array.cast(kind)
    data["geometry"] = pa.array(shapely.to_wkb(np.array(shapes, dtype=object)), pa.binary())
    geo = {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {"geometry": {"encoding": "WKB", "geometry_types": []}},
    }
    path = folder / "features.parquet"
    pq.write_table(pa.table(data).replace_schema_metadata({"geo": orjson.dumps(geo)}), path)
    description = {"store": "parquet", "path": str(path), "id": "feature", "time": "updated"}
    return open_parquet(description, SourceSettings())


@dataclass(frozen=True)
class Writing:
    """Writes what a query selects, in slices of two features."""

    source: FeatureSource

    def features(self, query: ItemQuery | None = None) -> dict[str, dict[str, Any]]:
        """The features by id, as GeoJSON shows them."""
        found: dict[str, dict[str, Any]] = {}
        for batch in self.batches("bodies", query or ItemQuery()):
            found |= {one["id"]: one for one in map(orjson.loads, batch)}  # type: ignore[arg-type] # bodies
        return found

    def context(self, query: ItemQuery | None = None, **members: Any) -> WritingContext:
        """What a writer is told."""
        asked = query or ItemQuery()
        schema = self.source.schema
        fields = fields_to_write(schema, asked, HIDDEN)
        told: dict[str, Any] = {
            "name": "boxes",
            "title": "楼 <boxes>",
            "url": "http://city.example/ogc/collections/boxes",
            "schema": schema,
            "storage": self.source.storage,
            "query": asked,
            "fields": fields,
        }
        return WritingContext(**{**told, **members})

    def batches(self, kind: str, query: ItemQuery) -> Iterator[Batch]:
        """Slices of two features."""
        part = replace(query, limit=2)
        while True:
            if kind == "bodies":
                page = self.source.page(part, HIDDEN)
                batch: Any = page.bodies
            else:
                page = self.source.columns(part, HIDDEN)
                batch = page.columns
            if len(batch):
                yield batch
            if page.cursor is None:
                return
            part = replace(part, cursor=page.cursor, offset=0)

    def write(self, ending: str, query: ItemQuery | None = None, **members: Any) -> bytes:
        """The file."""
        form: ItemFormat = DOWNLOAD_FORMATS[ending]
        asked = query or ItemQuery()
        return b"".join(form.load()(self.context(asked, **members), self.batches(form.batches, asked)))


@pytest.fixture(scope="session", autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where files are made during these tests; empty whenever nothing is written."""
    folder = tmp_path_factory.mktemp("scratch")
    configure_scratch(folder)
    return folder


@pytest.fixture(scope="session", params=["embedded", "parquet"])
def anything(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Writing:
    """Geometries of all kinds, in either store."""
    folder = tmp_path_factory.mktemp(f"mixed_{request.param}")
    make: Callable[..., FeatureSource] = {"embedded": embedded, "parquet": parquet}[request.param]
    return Writing(make(folder, mixed()))


@pytest.fixture(scope="session")
def areas(tmp_path_factory: pytest.TempPathFactory) -> Writing:
    """Polygons, in the embedded store."""
    return Writing(embedded(tmp_path_factory.mktemp("areas"), polygons()))


@pytest.fixture(scope="session")
def solids(tmp_path_factory: pytest.TempPathFactory) -> Writing:
    """Points with heights."""
    shapes = [shapely.Point(114, 22, 5.5), shapely.Point(114.5, 22.5, -1), None]
    return Writing(embedded(tmp_path_factory.mktemp("solids"), shapes, "EPSG:4326"))


@pytest.fixture(scope="session")
def writing() -> type[Writing]:
    """The class, for sources that tests make themselves."""
    return Writing
