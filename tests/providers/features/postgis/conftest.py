"""A PostGIS database with one table of known content beside the embedded store of the same content."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
import shapely
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from providers.features.postgis import PostgisSource, close_pools, open_postgis
from providers.features.schema import FieldDefinition
from providers.features.sources import SourceSettings
from providers.features.store import FeatureStore, FeatureStoreWriter, open_store

FIELDS = (
    FieldDefinition("名称", "string"),
    FieldDefinition("height", "number"),
    FieldDefinition("floors", "integer"),
    FieldDefinition("listed", "boolean"),
    FieldDefinition("built", "string", "date"),
    FieldDefinition("updated", "string", "date-time"),
    FieldDefinition("tags", "string"),
)
_TYPES = "名称 text, height float8, floors int, listed boolean, built date, updated timestamptz, tags text"
_NAMES = [
    "人民大厦",
    "Größe",
    "GRÖSSE",
    "Straße 5",
    "ΟΔΟΣ",
    "οδος",
    "Café",
    "cafe\u0301",
    "50%_off",
    "a\\b",
    "İstanbul",
    "ı",
    "",
    "O'Brien",
]


@dataclass(frozen=True)
class Content:
    """What both stores hold: geometries in CRS84."""

    ids: list[str]
    geometries: Any
    columns: dict[str, list[Any]]


def _content(count: int = 400, seed: int = 11) -> Content:
    random = np.random.default_rng(seed)
    x, y = random.uniform(113.8, 114.1, count), random.uniform(22.65, 22.85, count)
    size = np.where(
        random.random(count) < 0.1, random.uniform(0.01, 0.08, count), random.uniform(1e-4, 6e-4, count)
    )
    shapes = np.asarray(shapely.box(x - size, y - size / 2, x + size, y + size / 2), dtype=object)
    kinds = random.integers(0, 3, count)
    lines = shapely.linestrings(np.stack([np.stack([x, y], 1), np.stack([x + size, y - size], 1)], 1))
    shapes = np.where(
        kinds == 1, lines, np.where(kinds == 2, shapely.points(np.round(x, 7), np.round(y, 7)), shapes)
    )
    shapes[7] = None
    shapes[70] = shapely.box(178.0, 10.0, 179.5, 11.0)
    shapes[71] = shapely.Point(-179.0, 10.5)
    columns: dict[str, list[Any]] = {
        "名称": [None if i % 9 == 0 else f"{_NAMES[i % len(_NAMES)]}{i % 5 or ''}" for i in range(count)],
        "height": [
            None if i % 13 == 0 else round(float(v), 1) for i, v in enumerate(random.uniform(-5, 90, count))
        ],
        "floors": [None if i % 10 == 3 else int(v) for i, v in enumerate(random.integers(-3, 30, count))],
        "listed": [None if i % 17 == 0 else bool(i % 2) for i in range(count)],
        "built": [None if i % 19 == 0 else f"{1950 + i % 70}-06-{1 + i % 28:02}" for i in range(count)],
        "updated": [
            f"2025-{1 + i % 12:02}-03T{i % 24:02}:30:00{'.250' if i % 3 else ''}+08:00" for i in range(count)
        ],
        "tags": [
            ['["a", "b"]', "[1, 2.0]", "[]", "no json", None, "[true]", '["a", null]'][i % 7]
            for i in range(count)
        ],
    }
    return Content([str(i + 1) for i in range(count)], shapes, columns)


@pytest.fixture(scope="session")
def gis(postgresql_server: str) -> Iterator[str]:
    """Connection string of an empty database with PostGIS."""
    server = conninfo_to_dict(postgresql_server.replace("+psycopg", ""))
    name = "chengtu_features_test"
    with psycopg.connect(make_conninfo(**server), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
        connection.execute(f"CREATE DATABASE {name}".encode())
    given = make_conninfo(**{**server, "dbname": name})
    with psycopg.connect(given, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION postgis")
    yield given
    close_pools()
    with psycopg.connect(make_conninfo(**server), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(scope="session")
def run_sql(gis: str) -> Callable[..., list[tuple[Any, ...]]]:
    """Run statements as the owner; the rows of the last one."""

    def run(text: str, *arguments: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(gis, autocommit=True) as connection:
            cursor = connection.execute(text.encode(), arguments or None)
            return cursor.fetchall() if cursor.description else []

    return run


@pytest.fixture(scope="session")
def open_table(gis: str) -> Callable[..., PostgisSource]:
    """Open a table as a source."""

    def make(table: str, connection: str = gis, **members: Any) -> PostgisSource:
        description = {"store": "postgis", "connection": "city", "table": table, **members}
        return open_postgis(description, SourceSettings(connections={"city": connection}))

    return make


@pytest.fixture(scope="session")
def content() -> Content:
    """What the tables hold."""
    return _content()


def _load(gis: str, table: str, content: Content, srid: int) -> None:
    with psycopg.connect(gis, autocommit=True) as connection:
        connection.execute(
            f"CREATE TABLE {table} (gid int PRIMARY KEY, {_TYPES}, geom geometry(Geometry, {srid}))".encode()
        )
        marks = ", ".join(["%s"] * len(content.columns))
        insert = f"INSERT INTO {table} VALUES (%s, {marks}, ST_Transform(ST_GeomFromWKB(%s, 4326), {srid}))".encode()
        rows = zip(
            content.ids, *content.columns.values(), map(shapely.to_wkb, content.geometries), strict=True
        )
        connection.cursor().executemany(insert, list(rows))
        connection.execute(f"CREATE INDEX ON {table} USING gist (geom)".encode())
        connection.execute(f"ANALYZE {table}".encode())


@pytest.fixture(scope="session")
def city(gis: str, content: Content, open_table: Callable[..., PostgisSource]) -> PostgisSource:
    """The content in EPSG:4326."""
    _load(gis, "city", content, 4326)
    return open_table("city", time="updated")


@pytest.fixture(scope="session")
def projected(gis: str, content: Content, open_table: Callable[..., PostgisSource]) -> PostgisSource:
    """The content that lies in Shenzhen, in EPSG:4547 (CGCS2000, 3-degree zone 114E)."""
    near = [
        i
        for i, shape in enumerate(content.geometries)
        if shape is None or 110 < shapely.get_coordinates(shape)[0, 0] < 118
    ]
    part = Content(
        [content.ids[i] for i in near],
        content.geometries[near],
        {name: [values[i] for i in near] for name, values in content.columns.items()},
    )
    _load(gis, "projected", part, 4547)
    return open_table("projected", time="updated")


@pytest.fixture(scope="session")
def embedded(content: Content, tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """The same content in the embedded store."""
    path = tmp_path_factory.mktemp("embedded") / "features.gpkg"
    with FeatureStoreWriter(
        path, fields=FIELDS, storage_crs="EPSG:4326", time_field="updated", title="城"
    ) as writer:
        writer.add(content.geometries, content.columns, content.ids)
        writer.finish()
    return open_store(Path(path))


def _protobuf(data: bytes) -> Iterator[tuple[int, Any]]:
    """Field numbers and values of a message: whole numbers, or bytes."""
    at = 0

    def number() -> int:
        nonlocal at
        result = shift = 0
        while True:
            byte = data[at]
            at += 1
            result |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return result

    while at < len(data):
        key = number()
        if key & 7 == 0:
            yield key >> 3, number()
            continue
        size = {1: 8, 5: 4}.get(key & 7) or number()
        yield key >> 3, data[at : at + size]
        at += size


def _value(message: bytes) -> Any:
    ((kind, value),) = _protobuf(message)
    if kind == 1:
        return value.decode()
    if kind in (2, 3):
        return struct.unpack("<f" if kind == 2 else "<d", value)[0]
    if kind == 6:
        return (value >> 1) ^ -(value & 1)
    return bool(value) if kind == 7 else value


def _decode_layer(layer: bytes) -> tuple[str, list[dict[str, Any]]]:
    parts = list(_protobuf(layer))
    (name,) = [value.decode() for field, value in parts if field == 1]
    keys = [value.decode() for field, value in parts if field == 3]
    values = [_value(value) for field, value in parts if field == 4]
    features = []
    for message in [value for field, value in parts if field == 2]:
        found = dict(_protobuf(message))
        tags = list(_packed(found.get(2, b"")))
        features.append(
            {
                "id": found.get(1),
                "geometry": found[4],
                "properties": {keys[k]: values[v] for k, v in zip(tags[::2], tags[1::2], strict=True)},
            }
        )
    return name, features


def _packed(data: bytes) -> Iterator[int]:
    result = shift = 0
    for byte in data:
        result |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield result
            result = shift = 0


@pytest.fixture(scope="session")
def decode_tile() -> Callable[[bytes], dict[str, list[dict[str, Any]]]]:
    """Layers of a Mapbox vector tile by name: ids, properties and the commands of the geometry."""

    def decode(data: bytes) -> dict[str, list[dict[str, Any]]]:
        return dict(_decode_layer(layer) for field, layer in _protobuf(data) if field == 3)

    return decode
