"""Two more peers on the same PostGIS: tipg under uvicorn, and MapServer behind nginx as FastCGI, two processes each."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.dataset import EAST, NORTH, SOUTH, WEST
from benchmarks.processes import find_program, free_port, running


def _database(port: int) -> str:
    return f"host=127.0.0.1 port={port} dbname=postgres user=postgres"


@contextlib.contextmanager
def tipg(bin_folder: Path, work: Path, database_port: int) -> Iterator[tuple[int, int]]:
    """tipg under uvicorn, two workers; gives pid and port."""
    port = free_port()
    variables = {
        "DATABASE_URL": f"postgresql://postgres@127.0.0.1:{database_port}/postgres",
        "TIPG_DB_SCHEMAS": '["public"]',
        "TIPG_MAX_FEATURES_PER_QUERY": "10000",
        "TIPG_MAX_FEATURES_PER_TILE": "10000",
        "DB_MIN_CONN_SIZE": "2",
        "DB_MAX_CONN_SIZE": "10",
    }
    command = [str(bin_folder / "uvicorn"), "tipg.main:app", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "2", "--log-level", "warning", "--no-access-log"]
    with running(command, f"http://127.0.0.1:{port}/healthz", work / "tipg.log", variables) as pid:
        yield pid, port


_MAP = """MAP
  NAME "peer"
  EXTENT {west} {south} {east} {north}
  SIZE 256 256
  PROJECTION "init=epsg:4326" END
  OUTPUTFORMAT
    NAME "geojson" DRIVER "OGR/GEOJSON" MIMETYPE "application/json; subtype=geojson; charset=utf-8"
    FORMATOPTION "STORAGE=stream" FORMATOPTION "FORM=SIMPLE"
  END
  WEB METADATA
    "ows_title" "peer" "ows_onlineresource" "{url}/peer" "ows_srs" "EPSG:4326" "ows_enable_request" "*"
    "oga_onlineresource" "{url}/peer/ogcapi" "oga_enable_request" "*" "oga_max_limit" "10000"
    "oga_html_template_directory" "/usr/share/mapserver/ogcapi/templates/html-bootstrap4/"
  END END
  LAYER
    NAME "buildings" TYPE POLYGON STATUS ON
    CONNECTIONTYPE POSTGIS CONNECTION "{database}"
    PROCESSING "CLOSE_CONNECTION=DEFER"
    DATA "geom FROM buildings USING UNIQUE id USING srid=4326"
    EXTENT {west} {south} {east} {north}
    PROJECTION "init=epsg:4326" END
    TEMPLATE "none"
    METADATA "ows_title" "buildings" "gml_featureid" "id" "gml_include_items" "all" "ows_include_items" "all" END
  END
END
"""
_NGINX = """worker_processes 2; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 512; }}
http {{
  access_log off;
  {temporary}
  upstream peer {{ server unix:{folder}/mapserver.sock; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      fastcgi_pass peer; include /etc/nginx/fastcgi_params;
      fastcgi_param SCRIPT_NAME ""; fastcgi_param PATH_INFO $uri;
    }}
  }}
}}
"""


@contextlib.contextmanager
def mapserver(work: Path, database_port: int) -> Iterator[tuple[list[int], int]]:
    """MapServer's OGC API - Features behind nginx; gives the pids of all its processes and the port."""
    port, folder = free_port(), work / "mapserver"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    url = f"http://127.0.0.1:{port}"
    (folder / "peer.map").write_text(
        _MAP.format(
            west=WEST, south=SOUTH, east=EAST, north=NORTH, url=url, database=_database(database_port)
        )
    )
    (folder / "mapserver.conf").write_text(
        f'CONFIG\n  ENV MS_MAP_PATTERN "." END\n  MAPS "peer" "{folder / "peer.map"}" END\nEND\n'
    )
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, port=port, temporary=temporary))
    listener = socket.socket(socket.AF_UNIX)
    path = folder / "mapserver.sock"
    path.unlink(missing_ok=True)
    listener.bind(str(path))
    path.chmod(0o666)
    listener.listen(256)
    with (folder / "mapserver.log").open("wb") as log:
        # FastCGI (its specification, 2.2): the listening socket is the process's file descriptor 0.
        processes = [
            subprocess.Popen(
                [find_program("mapserv") or "/usr/lib/cgi-bin/mapserv"],
                stdin=listener,
                stdout=log,
                stderr=log,
                env={**os.environ, "MAPSERVER_CONFIG_FILE": str(folder / "mapserver.conf")},
            )
            for _ in range(2)
        ]
    listener.close()
    try:
        command = [find_program("nginx") or "/usr/sbin/nginx", "-c", str(folder / "nginx.conf")]
        with running(command, f"{url}/peer/ogcapi/?f=json", folder / "nginx-start.log") as pid:
            yield [pid, *(process.pid for process in processes)], port
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 5
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
            process.kill()
            process.wait()
