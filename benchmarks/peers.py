"""The peers: vanilla pygeoapi on GeoPackage and on PostGIS, and plain MapProxy on a filled file cache."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import yaml

from benchmarks.dataset import EAST, NORTH, SOUTH, WEST
from benchmarks.processes import find_program, free_port, running
from providers.features.postgis import fragment_sql

Row = dict[str, Any]


def environment(root: Path, work: Path, name: str = "peers") -> Path:
    """The `bin` folder of a virtual environment of peers, made when it is not there or its pinned list has changed."""
    folder = work / name
    pinned = root / "benchmarks" / f"{name}.txt"
    mark = folder / "installed.txt"
    if not mark.is_file() or mark.read_bytes() != pinned.read_bytes():
        print("  installing the peers", flush=True)
        venv.create(folder, clear=True, with_pip=True)
        command = [
            str(folder / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "-qq",
            "--disable-pip-version-check",
        ]
        subprocess.run([*command, "--require-hashes", "-r", str(pinned)], check=True)
        mark.write_bytes(pinned.read_bytes())
    return folder / "bin"


def _collection(providers: list[Row]) -> Row:
    crs = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
    return {
        "type": "collection",
        "title": "buildings",
        "description": "buildings",
        "keywords": ["buildings"],
        "links": [],
        "extents": {"spatial": {"bbox": [WEST, SOUTH, EAST, NORTH], "crs": crs}},
        "providers": providers,
    }


def has_spatialite(bin_folder: Path) -> bool:
    """Whether the peers' Python may load SpatiaLite, without which pygeoapi does not read a GeoPackage."""
    attempt = (
        "import sqlite3; c = sqlite3.connect(':memory:'); c.enable_load_extension(True);"
        " c.execute(\"SELECT load_extension('mod_spatialite')\")"
    )
    done = subprocess.run([bin_folder / "python", "-c", attempt], capture_output=True, check=False)
    return done.returncode == 0


def pygeoapi_configuration(work: Path, port: int, database_port: int, with_geopackage: bool) -> Path:
    """Write pygeoapi's configuration: `postgis` with items and vector tiles, and `gpkg` where that is wanted."""
    resources = {}
    if with_geopackage:
        geopackage = {"type": "feature", "name": "SQLiteGPKG", "data": str(work / "buildings.gpkg")}
        resources["gpkg"] = _collection([geopackage | {"id_field": "id", "table": "buildings"}])
    data = {
        "host": "127.0.0.1",
        "port": database_port,
        "dbname": "postgres",
        "user": "postgres",
        "password": "",
        "search_path": ["public"],
    }
    common = {"data": data, "id_field": "id", "table": "buildings", "geom_field": "geom"}
    tiles = common | {
        "type": "tile",
        "name": "MVT-postgresql",
        "storage_crs": "http://www.opengis.net/def/crs/EPSG/0/4326",
        "options": {"zoom": {"min": 0, "max": 20}},
        "format": {"name": "pbf", "mimetype": "application/vnd.mapbox-vector-tile"},
    }
    resources["postgis"] = _collection([common | {"type": "feature", "name": "PostgreSQL"}, tiles])
    url = f"http://127.0.0.1:{port}"
    text = {"title": "peer", "description": "peer", "keywords": ["peer"], "url": url}
    document = {
        "server": {
            "bind": {"host": "127.0.0.1", "port": port},
            "url": url,
            "mimetype": "application/json; charset=UTF-8",
            "encoding": "utf-8",
            "gzip": False,
            "languages": ["en-US"],
            "pretty_print": False,
            "limits": {"default_items": 10, "max_items": 10000},
            "map": {"url": "", "attribution": ""},
        },
        "logging": {"level": "ERROR"},
        "metadata": {
            "identification": text | {"keywords_type": "theme", "terms_of_service": url},
            "license": {"name": "none", "url": url},
            "provider": {"name": "peer", "url": url},
            "contact": {"name": "peer"},
        },
        "resources": resources,
    }
    path = work / "pygeoapi.yml"
    path.write_text(yaml.safe_dump(document))
    return path


@contextlib.contextmanager
def pygeoapi(
    bin_folder: Path, work: Path, database_port: int, with_geopackage: bool
) -> Iterator[tuple[int, int]]:
    """Vanilla pygeoapi under granian, two workers; gives pid and port."""
    port = free_port()
    configuration = pygeoapi_configuration(work, port, database_port, with_geopackage)
    openapi = work / "pygeoapi-openapi.yml"
    variables = {"PYGEOAPI_CONFIG": str(configuration), "PYGEOAPI_OPENAPI": str(openapi)}
    with openapi.open("wb") as output:
        subprocess.run(
            [bin_folder / "pygeoapi", "openapi", "generate", configuration],
            stdout=output,
            check=True,
            env={**os.environ, **variables},
        )
    command = [
        str(bin_folder / "granian"),
        "--interface",
        "wsgi",
        "--workers",
        "2",
        "--blocking-threads",
        "4",
    ]
    command += [
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--log-level",
        "warning",
        "pygeoapi.flask_app:APP",
    ]
    with running(
        command, f"http://127.0.0.1:{port}/conformance?f=json", work / "pygeoapi.log", variables
    ) as pid:
        yield pid, port


def _as_postgres(*command: object) -> list[str]:
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    return [*prefix, *map(str, command)]


@contextlib.contextmanager
def postgis(work: Path) -> Iterator[tuple[int, int]]:
    """A private PostgreSQL cluster with the data set as table `buildings`; gives the postmaster's pid and port."""
    folder = Path("/var/tmp") / f"chengtu-benchmark-{os.getpid()}"
    port = free_port()
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    data = folder / "data"
    try:
        initdb = _as_postgres(
            find_program("initdb"), "-D", data, "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8"
        )
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL)
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c shared_buffers=512MB -c fsync=off"
        start = _as_postgres(
            find_program("pg_ctl"), "-D", data, "-w", "-o", options, "-l", folder / "log", "start"
        )
        subprocess.run(start, check=True, stdout=subprocess.DEVNULL)
        try:
            _load(work, port)
            yield int((data / "postmaster.pid").read_text().split()[0]), port
        finally:
            subprocess.run(
                _as_postgres(find_program("pg_ctl"), "-D", data, "-m", "fast", "stop"),
                check=True,
                stdout=subprocess.DEVNULL,
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _load(work: Path, port: int) -> None:
    address = f"host=127.0.0.1 port={port} dbname=postgres user=postgres"
    subprocess.run(["psql", "-q", address, "-c", "CREATE EXTENSION postgis"], check=True)
    command = ["ogr2ogr", "-f", "PostgreSQL", f"PG:{address}", str(work / "buildings.gpkg"), "buildings"]
    command += [
        "-nln",
        "buildings",
        "-lco",
        "GEOMETRY_NAME=geom",
        "-lco",
        "FID=id",
        "--config",
        "PG_USE_COPY",
        "YES",
    ]
    subprocess.run(command, check=True)
    subprocess.run(["psql", "-q", address, "-c", "VACUUM ANALYZE buildings"], check=True)


def add_fragments(port: int) -> None:
    """Give the table a column of encoded features, as docs/how-to/publish-postgis.md tells."""
    script = fragment_sql(f"postgresql://postgres@127.0.0.1:{port}/postgres", "public", "buildings")
    address = f"host=127.0.0.1 port={port} dbname=postgres user=postgres"
    subprocess.run(
        ["psql", "-q", "-v", "ON_ERROR_STOP=1", address],
        input=script,
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    subprocess.run(["psql", "-q", address, "-c", "VACUUM FULL ANALYZE buildings"], check=True)


def drop_fragments(port: int) -> None:
    """Take the column away again: the peers get the table as it was."""
    address = f"host=127.0.0.1 port={port} dbname=postgres user=postgres"
    for statement in (
        "DROP TRIGGER chengtu_fragment ON buildings",
        "ALTER TABLE buildings DROP COLUMN fragment",
        "VACUUM FULL ANALYZE buildings",
    ):
        subprocess.run(["psql", "-q", "-v", "ON_ERROR_STOP=1", address, "-c", statement], check=True)


_BARE_TILE = """
SELECT ST_AsMVT(tile, 'buildings', 4096, 'geom', 'id') FROM (
  SELECT ST_AsMVTGeom(ST_Transform(b.geom, 3857), ST_TileEnvelope(%(z)s, %(x)s, %(y)s), 4096, 64, true) AS geom,
         b.id, name, address, kind, height, floors, year_built, energy, updated::text
  FROM buildings b
  WHERE b.geom && ST_Transform(ST_TileEnvelope(%(z)s, %(x)s, %(y)s, margin => 64.0 / 4096), 4326)
) AS tile"""


@contextlib.contextmanager
def bare_tiles(port: int) -> Iterator[Callable[[int, int, int], int]]:
    """Gives a function (zoom, x, y) -> bytes of the tile that ST_AsMVT makes of the table."""
    with psycopg.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres", autocommit=True) as connection:

        def make(z: int, x: int, y: int) -> int:
            cursor = connection.execute(_BARE_TILE, {"z": z, "x": x, "y": y}, prepare=True, binary=True)
            row = cursor.fetchone()
            return len(row[0]) if row else 0

        yield make


@contextlib.contextmanager
def mapproxy(bin_folder: Path, work: Path, wms: str, layer: str) -> Iterator[tuple[int, int]]:
    """Plain MapProxy under granian in front of a WMS, with a file cache; gives pid and port."""
    port = free_port()
    shutil.rmtree(work / "mapproxy", ignore_errors=True)
    (work / "mapproxy").mkdir()
    document = {
        "services": {"wmts": {"restful": True, "kvp": True, "md": {"title": "peer"}}},
        "layers": [{"name": "buildings", "title": "buildings", "sources": ["cache"]}],
        "caches": {
            "cache": {
                "grids": ["mercator"],
                "sources": ["wms"],
                "format": "image/png",
                "meta_size": [4, 4],
                "meta_buffer": 0,
                "cache": {"type": "file", "directory_layout": "tms"},
            }
        },
        "sources": {
            "wms": {
                "type": "wms",
                "req": {"url": wms, "layers": layer, "transparent": True},
                "supported_srs": ["EPSG:3857"],
            }
        },
        "grids": {"mercator": {"base": "GLOBAL_WEBMERCATOR", "origin": "nw"}},
        "globals": {"cache": {"base_dir": str(work / "mapproxy" / "cache")}},
    }
    configuration = work / "mapproxy" / "mapproxy.yaml"
    configuration.write_text(yaml.safe_dump(document))
    application = work / "mapproxy" / "peer_mapproxy.py"
    application.write_text(
        "from mapproxy.wsgiapp import make_wsgi_app\n"
        f"application = make_wsgi_app({str(configuration)!r}, reloader=False)\n"
    )
    command = [
        str(bin_folder / "granian"),
        "--interface",
        "wsgi",
        "--workers",
        "2",
        "--blocking-threads",
        "4",
    ]
    command += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
    command += ["--working-dir", str(work / "mapproxy"), "peer_mapproxy:application"]
    ready = f"http://127.0.0.1:{port}/wmts/1.0.0/WMTSCapabilities.xml"
    with running(command, ready, work / "mapproxy.log") as pid:
        yield pid, port
