"""A cascade in the whole server: its images in our protocols, and what happens to everything else when its upstream is broken."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from server.http.app import create_app
from server.publish.registering import RegisterRequest, register
from server.registry.registry import open_registry
from server.settings import load_settings

TILE = "/ogc/collections/demo.base/map/tiles/WebMercatorQuad/10/445/836?f=png"


class Upstream:
    """A server of tiles of one colour; broken when told so."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.broken = False
        buffer = io.BytesIO()
        Image.new("RGBA", (256, 256), (10, 120, 200, 255)).save(buffer, "PNG")
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                upstream.asked.append(self.path)
                body = b"<html>down for maintenance</html>" if upstream.broken else buffer.getvalue()
                self.send_response(200)
                self.send_header("Content-Type", "text/html" if upstream.broken else "image/png")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A server of tiles."""
    found = Upstream()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def client(upstream: Upstream, tmp_path: Path, wsgi_client: Any) -> Any:
    """A server with one cascade, kept for no time at all."""
    settings = load_settings(
        (), None, {"data.home": tmp_path / "home", "sources.allowed_hosts": [upstream.host]}
    )
    with open_registry(settings) as registry:
        registry.add_tenant("demo", "Demo", "示例")
        request = RegisterRequest(
            source=f"xyz:http://{upstream.host}/{{z}}/{{x}}/{{y}}.png",
            tenant="demo",
            id="base",
            titles={"en": "Base"},
            max_age=0,
        )
        register(request, registry, settings)
    upstream.asked.clear()
    return wsgi_client(create_app(settings))


def _pixels(body: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(body)).convert("RGBA"))


def test_a_cascade_is_answered_in_our_protocols(client: Any, upstream: Upstream) -> None:
    documents = (
        "/ogc/collections?f=json",
        "/ogc/collections/demo.base?f=json",
        "/maps/service?SERVICE=WMS&REQUEST=GetCapabilities&VERSION=1.3.0",
        "/maps/service?SERVICE=WMTS&REQUEST=GetCapabilities",
        "/ogc/api?f=json",
        "/ogc/conformance?f=json",
    )
    for url in documents:
        assert client.request("GET", url).status == 200, url
    assert upstream.asked == []  # no document waits for another server
    answer = client.request("GET", TILE)
    assert answer.status == 200
    assert (_pixels(answer.body) == (10, 120, 200, 255)).all()
    assert upstream.asked == ["/10/836/445.png"]
    wms = client.request(
        "GET",
        "/maps/service?SERVICE=WMS&REQUEST=GetMap&VERSION=1.3.0&LAYERS=demo.base&STYLES=&CRS=EPSG:4326&BBOX=22,113,23,114"
        "&WIDTH=100&HEIGHT=100&FORMAT=image/png",
    )
    assert wms.status == 200
    assert (abs(_pixels(wms.body).astype(int) - (10, 120, 200, 255)) <= 1).all()


def test_a_broken_upstream_harms_its_own_collection_only(client: Any, upstream: Upstream) -> None:
    upstream.broken = True
    answer = client.request("GET", TILE)
    assert answer.status == 503
    assert b"text/html" in answer.body
    assert client.request("GET", "/ogc/collections?f=json").status == 200
    assert client.request("GET", "/health/ready").status == 200


def test_the_last_good_tile_is_given_while_the_upstream_is_broken(client: Any, upstream: Upstream) -> None:
    assert client.request("GET", TILE).status == 200
    upstream.broken = True
    answer = client.request("GET", TILE)
    assert answer.status == 200
    assert (_pixels(answer.body) == (10, 120, 200, 255)).all()
    warning = {name.lower(): value for name, value in answer.headers.items()}.get("warning", "")
    assert warning.startswith("110")
