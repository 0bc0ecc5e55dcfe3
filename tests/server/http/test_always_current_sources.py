"""Tiles of data that others keep follow it: SQL in a PostGIS table, files exchanged in place, scenes of a mosaic; two workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyogrio
import pytest
import rasterio
import shapely
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from rasterio.transform import from_origin

from server.registry.registry import open_registry
from server.settings import load_settings
from tiles.grids import tile_range

ZOOMS = (0, 8, 12, 14)


def chengtu(home: Path, variables: dict[str, str], *arguments: object) -> None:
    command = [str(Path(sys.executable).with_name("chengtu")), *map(str, arguments), "--home", str(home)]
    environment = {**os.environ, **{f"CHENGTU_{name}": text for name, text in variables.items()}}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def write_file(path: Path, boxes: list[Any]) -> None:
    """A GeoParquet or FlatGeobuf file that takes the place of another one at once."""
    part = path.with_name(f"new-{path.name}")
    names = np.array([f"box {number}" for number in range(len(boxes))], dtype=object)
    driver = {".fgb": "FlatGeobuf", ".parquet": "Parquet"}[path.suffix]
    if driver == "Parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        geo = {
            "version": "1.0.0",
            "primary_column": "geometry",
            "columns": {"geometry": {"encoding": "WKB", "geometry_types": ["Polygon"]}},
        }
        table = pa.table({"name": list(names), "geometry": [shapely.to_wkb(one) for one in boxes]})
        pq.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), part)
    else:
        shapes = np.array([shapely.to_wkb(one) for one in boxes], dtype=object)
        pyogrio.raw.write(
            part, shapes, [names], ["name"], geometry_type="Polygon", crs="EPSG:4326", driver=driver
        )
    part.replace(path)


def write_raster(path: Path, west: float, north: float, value: int) -> None:
    profile = {
        "driver": "GTiff",
        "width": 200,
        "height": 200,
        "count": 3,
        "dtype": "uint8",
        "crs": "EPSG:4326",
    }
    with rasterio.open(path, "w", transform=from_origin(west, north, 0.0002, 0.0002), **profile) as target:
        target.write(np.full((3, 200, 200), value, dtype=np.uint8))


@pytest.fixture(scope="module")
def gis(postgresql_server: str) -> Iterator[str]:
    server = conninfo_to_dict(postgresql_server.replace("+psycopg", ""))
    name = "chengtu_current_test"
    with psycopg.connect(make_conninfo(**server), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
        connection.execute(f"CREATE DATABASE {name}".encode())
    given = make_conninfo(**{**server, "dbname": name})
    with psycopg.connect(given, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION postgis")
        connection.execute(
            "CREATE TABLE parcels (gid int PRIMARY KEY, name text, geom geometry(Polygon, 4326))"
        )
        connection.execute(
            "INSERT INTO parcels SELECT n, 'p' || n, ST_MakeEnvelope(113.9 + n * 0.001, 22.7, 113.9005 + n * 0.001,"
            " 22.7005, 4326) FROM generate_series(1, 50) n"
        )
    yield given
    with psycopg.connect(make_conninfo(**server), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(scope="module")
def served(
    gis: str,
    serving: Callable[..., AbstractContextManager[Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Any, Path, str]]:
    """The server, the folder of the files, and the database."""
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("shared")
    variables = {
        "SOURCES_CONNECTIONS": json.dumps({"city": gis}),
        "SOURCES_FILE_ROOTS": json.dumps([str(folder)]),
    }
    with open_registry(load_settings((), {"CHENGTU_DATA_HOME": str(home)})) as registry:
        registry.add_tenant("demo", "Demo", "示例")
    boxes = [shapely.box(113.9 + n * 0.002, 22.7, 113.901 + n * 0.002, 22.701) for n in range(20)]
    for name in ("squares.fgb", "squares.parquet"):
        write_file(folder / name, boxes)
    for number in range(2):
        write_raster(folder / f"scene{number}.tif", 113.88 + number * 0.04, 22.72, 60 + 40 * number)
    write_raster(folder / "more.tif", 113.90, 22.71, 250)
    here = ("--tenant", "demo", "--title", "T")
    chengtu(home, variables, "register", "postgis:city/parcels", "--id", "parcels", *here)
    chengtu(home, variables, "register", f"ogr:{folder / 'squares.fgb'}", "--id", "ogr", *here)
    chengtu(home, variables, "register", f"parquet:{folder / 'squares.parquet'}", "--id", "parquet", *here)
    chengtu(home, variables, "publish", folder / "scene0.tif", folder / "scene1.tif", "--id", "mosaic", *here)
    with serving(home, **variables) as server:
        yield server, folder, gis


def tiles_of(collection: str, vector: bool) -> list[str]:
    found = []
    for zoom in ZOOMS:
        one = tile_range("WebMercatorQuad", (113.9105, 22.7003, 113.9105, 22.7003), zoom)
        place = f"WebMercatorQuad/{zoom}/{one.min_row}/{one.min_column}"
        base = f"/t/demo/ogc/collections/{collection}"
        found += [f"{base}/map/tiles/{place}", *([f"{base}/tiles/{place}"] if vector else [])]
    return found


def follows(server: Any, urls: list[str], change: Callable[[], None], until: Callable[..., float]) -> None:
    """Both workers show another tile at each address after a change, the same one."""

    def tags() -> list[list[str]]:
        found = []
        for connection in server.connect():
            answers = [connection.get(url) for url in urls]
            assert {status for status, _, _ in answers} <= {200, 204}, [body[:200] for _, _, body in answers]
            found.append([headers["etag"] for _, headers, _ in answers])
        return found

    tags()
    before = tags()
    assert before[0] == before[1]
    change()
    last = len(urls) - 1
    taken = until(
        lambda: all(server.connect()[n].get(urls[last])[1]["etag"] != before[n][last] for n in (0, 1))
    )
    print(f"{urls[last]}: changed on both workers after {taken * 1e3:.0f} ms")
    until(
        lambda: all(
            new != old
            for one, past in zip(tags(), before, strict=True)
            for new, old in zip(one, past, strict=True)
        )
    )
    after = tags()
    assert after[0] == after[1]
    assert tags() == after, "tiles are drawn again that nobody has changed"


def test_sql_in_a_table(served: Any, until: Callable[..., float]) -> None:
    server, _, gis = served

    def run(text: str) -> Callable[[], None]:
        def change() -> None:
            with psycopg.connect(gis, autocommit=True) as connection:
                connection.execute(text.encode())

        return change

    urls = tiles_of("parcels", vector=True)
    follows(server, urls, run("UPDATE parcels SET name = 'other' WHERE gid = 10"), until)
    follows(server, urls, run("DELETE FROM parcels WHERE gid = 10"), until)


@pytest.mark.parametrize("name", ["ogr", "parquet"])
def test_a_file_that_is_exchanged(name: str, served: Any, until: Callable[..., float]) -> None:
    server, folder, _ = served
    suffix = {"ogr": "fgb", "parquet": "parquet"}[name]
    boxes = [shapely.box(113.9 + n * 0.002, 22.6995, 113.9015 + n * 0.002, 22.702) for n in range(15)]
    follows(
        server, tiles_of(name, vector=True), lambda: write_file(folder / f"squares.{suffix}", boxes), until
    )


def test_scenes_that_come_and_go(served: Any, until: Callable[..., float]) -> None:
    server, folder, _ = served
    urls = tiles_of("mosaic", vector=False)
    before = [server.connect()[0].get(url)[2] for url in urls]
    follows(
        server,
        urls,
        lambda: chengtu(server.home, {}, "scenes", "add", "demo.mosaic", folder / "more.tif"),
        until,
    )
    assert server.connect()[1].get(urls[-1])[2] != before[-1]
    follows(server, urls, lambda: chengtu(server.home, {}, "scenes", "remove", "demo.mosaic", "more"), until)
    assert [server.connect()[1].get(url)[2] for url in urls] == before
