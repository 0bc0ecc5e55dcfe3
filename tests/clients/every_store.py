"""One small collection in every store that Chengtu serves, put there by the command line: what the clients are let loose on.

The remote services are MapServer (WFS), a FeatureServer of the tests (ArcGIS REST), and a second Chengtu (OGC API -
Features, WFS). A recorder stands before the server: it passes everything on, and keeps what the clients asked.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import shapely
from psycopg.conninfo import conninfo_to_dict, make_conninfo

GRID = 4547
"""CGCS2000 / 3-degree Gauss-Kruger CM 114E: what the PostGIS table is kept in."""

_SERVICES = Path(__file__).parents[1] / "providers" / "features" / "remote" / "services.py"


def remote_services() -> Any:
    """The module of the remote services that the tests of cascading use too: tests are no packages."""
    spec = importlib.util.spec_from_file_location("clients_remote_services", _SERVICES)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def environment() -> dict[str, str]:
    """The environment of the server's programs: without what is said to the tests alone, which is no setting of a server."""
    ours = ("CHENGTU_CITY", "CHENGTU_CITY_HOME", "CHENGTU_PICTURES")
    return {name: value for name, value in os.environ.items() if name not in ours}


def chengtu(command: str, *options: str, config: Path) -> str:
    """What `chengtu COMMAND ...` says; it must succeed."""
    program = [str(Path(sys.executable).parent / "chengtu"), *command.split(), *options]
    done = subprocess.run(
        [*program, "--config", str(config)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{program}: {done.stderr}{done.stdout}"
    return done.stdout + done.stderr


@dataclass(frozen=True)
class Asked:
    """One request as it arrived, and the status of its answer."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    status: int


class Recorder(ThreadingHTTPServer):
    """Passes every request on to `port` of the loopback as it came, and keeps it in `requests`.

    The Host header stays that of the client, so links of the answers lead back here. Answers are passed on whole.
    """

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.port = port
        self.requests: list[Asked] = []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def end(self) -> None:
        """Stops it."""
        self.shutdown()
        self.server_close()


class _Passing(BaseHTTPRequestHandler):
    server: Recorder
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def pass_on(self) -> None:
        """Ask the server the same, keep what was asked, and answer the same."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        upstream = HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        try:
            upstream.request(self.command, self.path, body or None, headers)
            answer = upstream.getresponse()
            content = answer.read()
        finally:
            upstream.close()
        asked = urlsplit(self.path)
        query = dict(parse_qsl(asked.query, keep_blank_values=True))
        self.server.requests.append(Asked(self.command, asked.path, query, headers, answer.status))
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        if answer.headers.get("Transfer-Encoding"):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = pass_on  # noqa: N815  # as http.server calls them


@dataclass(frozen=True)
class EveryStore:
    """The served city. `address` leads through the recorder; every store is a collection of the tenant `stores`.

    `database` is the connection string of the PostGIS database, `far` the address of the Chengtu that is cascaded.
    """

    address: str
    token: str
    recorder: Recorder
    names: tuple[str, ...]
    towers: Any
    folder: Path
    database: str = ""
    far: str = ""

    @property
    def tenant(self) -> str:
        """The address of the tenant."""
        return f"{self.address}/t/stores"

    @property
    def ogc(self) -> str:
        """The landing page of the tenant's OGC APIs, with a slash as clients are given it."""
        return f"{self.tenant}/ogc/"

    @property
    def bearer(self) -> dict[str, str]:
        """The header of the operator."""
        return {"Authorization": f"Bearer {self.token}"}

    def items(self, name: str) -> str:
        """The address of a store's items."""
        return f"{self.ogc}collections/{name}/items"

    def asked_of(self, name: str, start: int = 0) -> list[Asked]:
        """What was asked of a store's items since `start` requests had been made."""
        return [one for one in self.recorder.requests[start:] if f"/collections/{name}/items" in one.path]


def write_geojson(towers: Any, path: Path) -> None:
    """The towers as GeoJSON, for `chengtu publish`."""
    columns = towers.columns()
    features = [
        {
            "type": "Feature",
            "id": f"T{fid}",
            "geometry": shapely.geometry.mapping(geometry),
            "properties": {"ident": f"T{fid}"}
            | {name: values[row] for name, values in columns.columns.items()},
        }
        for row, (fid, geometry) in enumerate(zip(towers.fids, towers.geometries, strict=True))
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}, ensure_ascii=False))


def write_parquet(towers: Any, path: Path) -> None:
    """The towers as GeoParquet 1.1 with a bbox column, in CRS84."""
    columns = towers.columns().columns
    arrays: dict[str, Any] = {
        "ident": pa.array([f"T{fid}" for fid in towers.fids]),
        "name": pa.array(columns["name"], pa.string()),
        "height": pa.array(columns["height"], pa.float64()),
        "floors": pa.array(columns["floors"], pa.int64()),
        "secret": pa.array(columns["secret"], pa.string()),
        "updated": pa.array(np.array(towers.updated), pa.timestamp("ms")).cast(pa.timestamp("ms", "UTC")),
        "geometry": pa.array(shapely.to_wkb(towers.geometries), pa.binary()),
    }
    sides = ("xmin", "ymin", "xmax", "ymax")
    bounds = [pa.array(side) for side in shapely.bounds(towers.geometries).T]
    arrays["bbox"] = pa.StructArray.from_arrays(bounds, names=sides)
    covering = {"bbox": {side: ["bbox", side] for side in sides}}
    described = {"encoding": "WKB", "geometry_types": ["Polygon"], "covering": covering}
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": described}}
    table = pa.table(arrays).replace_schema_metadata({"geo": json.dumps(geo)})
    pq.write_table(table, path, row_group_size=20)


def write_table(towers: Any, server: str, database: str = "chengtu_clients") -> str:
    """The towers as the PostGIS table `towers` in GRID, in a database of its own; gives its connection string."""
    given = conninfo_to_dict(server.replace("+psycopg", ""))
    with psycopg.connect(make_conninfo("", **given), autocommit=True) as connection:
        connection.execute(f"DROP database IF EXISTS {database} WITH (FORCE)".encode())
        connection.execute(f"CREATE database {database}".encode())
    to_grid = pyproj.Transformer.from_crs("OGC:CRS84", GRID, always_xy=True)
    shapes = shapely.transform(towers.geometries, to_grid.transform, interleaved=False)
    columns = towers.columns().columns
    rows = zip(
        [f"T{fid}" for fid in towers.fids], *columns.values(), map(shapely.to_wkb, shapes), strict=True
    )
    with psycopg.connect(make_conninfo("", **{**given, "dbname": database})) as connection:
        connection.execute("CREATE EXTENSION postgis")
        connection.execute(
            "CREATE TABLE towers (ident text PRIMARY KEY DEFAULT gen_random_uuid()::text, name text, "
            "height double precision, floors integer CHECK (floors < 200), secret text, updated timestamptz, "
            f"geom geometry(Polygon, {GRID}))".encode()
        )
        insert = f"INSERT INTO towers VALUES (%s, %s, %s, %s, %s, %s, ST_GeomFromWKB(%s, {GRID}))"
        connection.cursor().executemany(insert.encode(), list(rows))
        connection.execute("CREATE INDEX ON towers USING gist (geom)")
    rest = f"host={given['host']}" + (f"&port={given['port']}" if "port" in given else "")
    secret = f":{given['password']}" if given.get("password") else ""
    return f"postgresql://{given.get('user', 'chengtu')}{secret}@/{database}?{rest}"


_MAPFILE = """
MAP
  NAME "towers"
  SIZE 100 100
  EXTENT 113 22 115 23
  PROJECTION "init=epsg:4326" END
  WEB
    METADATA
      "wfs_title" "Towers"
      "wfs_onlineresource" "http://nowhere.invalid/wfs?"
      "wfs_srs" "EPSG:4326 EPSG:4490 EPSG:3857"
      "ows_enable_request" "*"
    END
  END
  OUTPUTFORMAT
    NAME "geojson"
    DRIVER "OGR/GEOJSON"
    MIMETYPE "application/json; subtype=geojson"
    FORMATOPTION "STORAGE=stream"
    FORMATOPTION "FORM=simple"
    FORMATOPTION "USE_FEATUREID=true"
  END
  LAYER
    NAME "towers"
    TYPE POLYGON
    STATUS ON
    CONNECTIONTYPE OGR
    CONNECTION "{data}"
    DATA "towers"
    PROJECTION "init=epsg:4326" END
    METADATA
      "wfs_title" "Towers"
      "gml_include_items" "all"
      "gml_featureid" "ident"
      "gml_types" "auto"
      "wfs_getfeature_formatlist" "geojson"
    END
    TEMPLATE "none.html"
  END
END
"""


def mapserver(data: Path, folder: Path) -> Callable[[dict[str, Any], Any], list[bytes]]:
    """MapServer's CGI program as a WSGI application that serves the layer `towers` of a GeoPackage by WFS."""
    mapfile = folder / "towers.map"
    mapfile.write_text(_MAPFILE.format(data=data))
    return mapserver_of(mapfile, folder)


def mapserver_of(mapfile: Path, folder: Path) -> Callable[[dict[str, Any], Any], list[bytes]]:
    """MapServer's CGI program as a WSGI application over a mapfile; its settings are written into `folder`."""
    config = folder / "mapserver.conf"
    config.write_text("CONFIG END")

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        variables = {
            "PATH": os.environ["PATH"],
            "MAPSERVER_CONFIG_FILE": str(config),
            "MS_MAPFILE": str(mapfile),
            "SCRIPT_NAME": "/",
            "CONTENT_LENGTH": str(len(body)),
            **{name: str(environ.get(name, "")) for name in ("QUERY_STRING", "CONTENT_TYPE", "SERVER_PORT")},
            "REQUEST_METHOD": environ["REQUEST_METHOD"],
            "SERVER_NAME": "127.0.0.1",
        }
        done = subprocess.run(
            ["mapserv"], input=body, env=variables, capture_output=True, check=False, timeout=30
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
        start_response(headers.pop("Status", "200 OK"), list(headers.items()))
        return [content]

    return application


def settings_file(path: Path, home: Path, **sources: Any) -> Path:
    """A settings file (JSON is YAML) for a home, and what its sources may reach."""
    path.write_text(json.dumps({"data": {"home": str(home)}, "sources": sources}))
    return path


def port_of(address: str) -> int:
    """The port of an address."""
    port = urlsplit(address).port
    assert port is not None
    return port


def host_of(address: str) -> str:
    """HOST:PORT of an address, as `sources.allowed_hosts` names it."""
    return urlsplit(address).netloc


def publish_towers(config: Path, file: Path, tenant: str, name: str, *options: str) -> None:
    """A tenant, and in it the towers as an embedded collection."""
    chengtu("tenants add", tenant, "--title", tenant, config=config)
    chengtu(
        "publish",
        str(file),
        *("--tenant", tenant, "--id", name, "--title", "Towers", "--title-zh", "楼"),
        *("--id-field", "ident", "--time-field", "updated"),
        *options,
        config=config,
    )


def register_towers(config: Path, name: str, source: str, options: Iterable[str]) -> str:
    """The towers of a source, as a collection of the tenant `stores`."""
    return chengtu(
        "register",
        source,
        *("--tenant", "stores", "--id", name, "--title", f"Towers in {name}", "--title-zh", "楼"),
        *options,
        config=config,
    )


def write_in_place(towers: Any, folder: Path) -> None:
    """The towers as files that are served where they are."""
    folder.mkdir()
    write_parquet(towers, folder / "towers.parquet")
    towers.write(folder / "towers.gpkg")


def by_key(features: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Features by `secret`, which every store has and no two towers share (ids are each store's own)."""
    return {feature["properties"]["secret"]: feature for feature in features}


def keys_in_box(towers: Any, box: tuple[float, float, float, float]) -> set[str]:
    """Keys of the towers whose envelope meets a box."""
    met = shapely.intersects(towers.geometries, shapely.box(*box))
    return {towers.secrets[row] for row in np.flatnonzero(met)}
