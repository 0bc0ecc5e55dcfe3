"""Map services on the loopback: MapServer, MapProxy in a process of its own, and small ones of every fault."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from providers.features.sources import SourceSettings
from providers.maps.remote import describe_remote_map, open_remote_map
from providers.maps.remote.source import RemoteMapSource

_MAPFILE = """
MAP
  NAME "city"
  SIZE 100 100
  MAXSIZE 2048
  EXTENT 113.8 22.6 114.2 22.9
  PROJECTION "init=epsg:4326" END
  IMAGETYPE "rgba"
  OUTPUTFORMAT
    NAME "rgba"
    DRIVER "AGG/PNG"
    MIMETYPE "image/png"
    IMAGEMODE RGBA
    TRANSPARENT ON
  END
  WEB
    METADATA
      "wms_title" "City"
      "wms_onlineresource" "http://nowhere.invalid/wms?"
      "wms_srs" "EPSG:4326 EPSG:4490 EPSG:4547 {mercator}"
      "wms_attribution_title" "Bureau of Works"
      "wms_enable_request" "*"
      "wms_feature_info_mime_type" "text/plain"
    END
  END
  LAYER
    NAME "squares"
    TYPE POLYGON
    STATUS ON
    TEMPLATE "x.html"
    EXTENT 113.8 22.6 114.2 22.9
    METADATA
      "wms_title" "Squares"
      "wms_abstract" "Squares of the city"
      "wms_include_items" "all"
      "wms_keywordlist" "square,city"
    END
    PROJECTION "init=epsg:4326" END
    FEATURE POINTS 113.90 22.70 113.95 22.70 113.95 22.72 113.90 22.72 113.90 22.70 END TEXT "a" END
    FEATURE POINTS 114.05 22.75 114.06 22.75 114.06 22.85 114.05 22.85 114.05 22.75 END TEXT "b" END
    FEATURE POINTS 113.85 22.80 113.90 22.80 113.90 22.84 113.85 22.80 END TEXT "c" END
    CLASS NAME "squares" STYLE COLOR 200 30 30 END END
  END
END
"""


@pytest.fixture(scope="session")
def serve_maps() -> Iterator[Callable[[Callable[[BaseHTTPRequestHandler], None]], str]]:
    """Serves what a function does with a GET request on a free port of the loopback; gives its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Callable[[BaseHTTPRequestHandler], None]) -> str:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                try:
                    answer(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Nothing: clients that give up are what is tested."""

        server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def _send(
    handler: BaseHTTPRequestHandler,
    body: bytes,
    media_type: str = "image/png",
    status: int = 200,
    **headers: str,
) -> None:
    handler.send_response(status)
    if media_type:
        handler.send_header("Content-Type", media_type)
    handler.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture(scope="session")
def send() -> Callable[..., None]:
    """Answers a request: handler, body, media type, status, headers."""
    return _send


def _png(colour: tuple[int, ...] = (10, 120, 200, 255), size: tuple[int, int] = (256, 256)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGBA", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def png() -> Callable[..., bytes]:
    """A PNG of one colour."""
    return _png


@pytest.fixture
def settings_of(tmp_path: Path) -> Callable[..., SourceSettings]:
    """Settings that allow these addresses, with a folder for what is kept."""

    def make(*urls: str, **others: Any) -> SourceSettings:
        values: dict[str, Any] = {"timeout": 5.0, "cache_directory": tmp_path / "kept"} | others
        return SourceSettings(allowed_hosts=frozenset(urlsplit(url).netloc for url in urls), **values)

    return make


@pytest.fixture
def cascade(settings_of: Callable[..., SourceSettings]) -> Callable[..., RemoteMapSource]:
    """Registers a service and opens what is kept of it."""

    def make(
        store: str, url: str, *, max_age: int = 86_400, timeout: float = 5.0, **members: Any
    ) -> RemoteMapSource:
        settings = settings_of(url, timeout=timeout)
        facts = describe_remote_map({"store": store, "url": url, "max_age": max_age, **members}, settings)
        return open_remote_map(facts.remote, settings)

    return make


def _mapserver(folder: Path, mercator: str) -> Callable[[BaseHTTPRequestHandler], None]:
    mapfile = folder / f"city{len(mercator)}.map"
    mapfile.write_text(_MAPFILE.format(mercator=mercator))
    config = folder / f"mapserver{len(mercator)}.conf"
    config.write_text(f'CONFIG MAPS CITY "{mapfile}" END END')

    def answer(handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        variables = {
            "PATH": os.environ["PATH"],
            "MAPSERVER_CONFIG_FILE": str(config),
            "MS_MAPFILE": str(mapfile),
            "REQUEST_METHOD": "GET",
            "QUERY_STRING": parts.query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "80",
            "SCRIPT_NAME": "/",
        }
        done = subprocess.run(["mapserv"], env=variables, capture_output=True, check=False, timeout=30)
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        media_type = head.partition(b":")[2].strip().decode().splitlines()[0]
        _send(handler, body, media_type)

    return answer


@pytest.fixture(scope="session")
def mapserver(serve_maps: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """MapServer with a layer `squares`, in degrees, CGCS2000 and web Mercator."""
    return serve_maps(_mapserver(tmp_path_factory.mktemp("mapserver"), "EPSG:3857")) + "/wms"


@pytest.fixture(scope="session")
def mapserver_without_mercator(
    serve_maps: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The same without web Mercator."""
    return serve_maps(_mapserver(tmp_path_factory.mktemp("degrees"), "")) + "/wms"


_MAPPROXY = """
import sys
from wsgiref.simple_server import make_server, WSGIRequestHandler
from mapproxy.wsgiapp import make_wsgi_app
class Quiet(WSGIRequestHandler):
    def log_message(self, *arguments): pass
server = make_server("127.0.0.1", 0, make_wsgi_app(sys.argv[1]), handler_class=Quiet)
print(server.server_port, flush=True)
server.serve_forever()
"""
_MAPPROXY_CONFIG = """
services:
  tms: {{use_grid_names: true}}
  wmts: {{kvp: true, restful: true}}
  wms: {{md: {{title: City}}}}
layers:
  - {{name: squares, title: Squares, sources: [kept]}}
caches:
  kept:
    grids: [mercator, cgcs]
    sources: [upstream]
    cache: {{type: file}}
sources:
  upstream:
    type: wms
    req: {{url: "{upstream}", layers: squares, transparent: true}}
    supported_srs: ["EPSG:3857", "EPSG:4326"]
grids:
  mercator: {{base: GLOBAL_WEBMERCATOR}}
  cgcs: {{srs: "EPSG:4490", bbox: [-180, -90, 180, 90], origin: nw, res_factor: 2, min_res: 0.703125, num_levels: 16}}
globals:
  cache: {{base_dir: {folder}/cache, lock_dir: {folder}/locks}}
"""


@pytest.fixture(scope="session")
def mapproxy(mapserver: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """MapProxy over MapServer: WMTS by KVP and REST, and TMS, in web Mercator and CGCS2000."""
    folder = tmp_path_factory.mktemp("mapproxy")
    config = folder / "mapproxy.yaml"
    config.write_text(_MAPPROXY_CONFIG.format(folder=folder, upstream=f"{mapserver}?"))
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _MAPPROXY, str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as child:
        assert child.stdout is not None
        port = child.stdout.readline().strip()
        assert port, "MapProxy did not start"
        yield f"http://127.0.0.1:{port}"
        child.terminate()


def _difference(one: Any, other: Any) -> float:
    """The share of pixels that differ by more than an eighth of the range in any channel, opacity weighed in."""

    def weighed(pixels: Any) -> Any:
        values = pixels.astype(float)
        values[..., :3] *= values[..., 3:] / 255
        return values

    return float((np.abs(weighed(one) - weighed(other)).max(axis=-1) > 32).mean())


@pytest.fixture(scope="session")
def difference() -> Callable[[Any, Any], float]:
    """How much two images differ, from 0 to 1."""
    return _difference


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Waits until something is so."""

    def wait(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.02)

    return wait
