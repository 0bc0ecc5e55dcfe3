"""The embedded store beside a real PostGIS: the same features in a box, and the same tile from ST_AsMVT."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import fiona
import numpy as np
import psycopg
import pytest
import shapely

from providers.features.query import BBox, ItemQuery
from providers.features.schema import FieldDefinition
from providers.features.store import FeatureStore, FeatureStoreWriter, open_store
from providers.tiles.vector import vector_tile
from tiles.grids import TileId, tile_bounds

COUNT = 400
ZOOM, ROW, COLUMN = 13, 3566, 6689


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    generator = np.random.default_rng(3)
    x, y = generator.uniform(113.90, 114.02, COUNT), generator.uniform(22.60, 22.72, COUNT)
    size = generator.uniform(0.0002, 0.004, COUNT)
    path = tmp_path_factory.mktemp("store") / "features.gpkg"
    fields = [FieldDefinition("name", "string"), FieldDefinition("floors", "integer")]
    with FeatureStoreWriter(path, fields=fields, storage_crs="EPSG:4326") as writer:
        names = [f"楼 {n}" for n in range(COUNT)]
        writer.add(shapely.box(x, y, x + size, y + size), {"name": names, "floors": list(range(COUNT))})
        writer.finish()
    return open_store(path)


@pytest.fixture(scope="module")
def postgis(store: FeatureStore, postgresql_server: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """The same features in PostGIS."""
    address = postgresql_server.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS postgis")
        connection.execute("DROP TABLE IF EXISTS boxes")
        connection.execute(
            "CREATE TABLE boxes (id integer PRIMARY KEY, name text, floors integer, geom geometry(Polygon, 4326))"
        )
        features = store.read()
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO boxes VALUES (%s, %s, %s, ST_GeomFromWKB(%s, 4326))",
                [
                    (int(id_), name, floors, shapely.to_wkb(geometry))
                    for id_, name, floors, geometry in zip(
                        features.ids,
                        features.columns["name"],
                        features.columns["floors"],
                        features.geometries,
                        strict=True,
                    )
                ],
            )
        connection.execute("CREATE INDEX ON boxes USING gist (geom)")
        yield connection
        connection.execute("DROP TABLE boxes")


@pytest.mark.parametrize("seed", range(8))
def test_a_box_finds_the_same_features(
    store: FeatureStore, postgis: psycopg.Connection[tuple[object, ...]], seed: int
) -> None:
    chosen = random.Random(seed)
    west, south = chosen.uniform(113.89, 114.0), chosen.uniform(22.59, 22.7)
    box = BBox(west, south, west + chosen.uniform(0, 0.05), south + chosen.uniform(0, 0.05))
    page = store.page(ItemQuery(bbox=box, limit=1000, properties=(), skip_geometry=True))
    query = "SELECT count(*) FROM boxes WHERE geom && ST_MakeEnvelope(%s, %s, %s, %s, 4326)"
    row = postgis.execute(query, tuple(box)).fetchone()
    assert row == (page.number_returned,)


def read_tile(tile: bytes, folder: Path) -> dict[int, tuple[str, int, float]]:
    """What GDAL reads of a tile: name, floors and area in square tile units by feature id."""
    file = folder / "tile.pbf"
    file.write_bytes(tile)
    target = folder / "tile.geojson"
    command = ["ogr2ogr", "-f", "GeoJSON", "-lco", "RFC7946=NO", str(target), f"MVT:{file}", "boxes"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with fiona.open(target) as source:
        result = {}
        for feature in source:
            shape = shapely.geometry.shape(feature.geometry)
            values = feature.properties
            result[values["floors"]] = (values["name"], values["floors"], shape.area)
    target.unlink()
    return result


def test_the_tile_is_that_of_postgis(
    store: FeatureStore, postgis: psycopg.Connection[tuple[object, ...]], tmp_path: Path
) -> None:
    bounds = tile_bounds("WebMercatorQuad", TileId(ZOOM, COLUMN, ROW))
    query = """
        WITH tile AS (
          SELECT id, name, floors, ST_AsMVTGeom(
            ST_Transform(geom, 3857), ST_MakeEnvelope(%s, %s, %s, %s, 3857)::box2d, 4096, 64) AS geom
          FROM boxes)
        SELECT ST_AsMVT(tile, 'boxes', 4096, 'geom', 'id') FROM tile WHERE geom IS NOT NULL
    """
    row = postgis.execute(query, tuple(bounds)).fetchone()
    assert row is not None
    theirs = read_tile(bytes(row[0]), tmp_path)  # type: ignore[arg-type]  # bytea
    ours = read_tile(vector_tile(store, "WebMercatorQuad", ZOOM, ROW, COLUMN, "boxes"), tmp_path)
    assert len(theirs) > 30
    assert ours.keys() == theirs.keys()
    for key, (name, floors, area) in theirs.items():
        assert ours[key][:2] == (name, floors)
        # Both round corners to whole units; one unit along each edge is the most they may differ.
        assert ours[key][2] == pytest.approx(area, abs=8 * area**0.5 + 16)
