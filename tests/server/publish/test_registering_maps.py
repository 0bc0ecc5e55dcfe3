"""`chengtu register` of maps: cascades become collections with a map, and features in place get one."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely
from PIL import Image

from server.publish.errors import OptionError
from server.publish.registering import RegisterRequest, SourceNotUsable, describe_source, register
from server.publish.registering_maps import MAXIMUM_AGE
from server.registry.catalogue import RepresentationKind
from server.registry.registry import Registry, open_registry
from server.settings import Settings, load_settings

Kind = RepresentationKind


class Tiles:
    """A server of tiles that counts."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        buffer = io.BytesIO()
        Image.new("RGBA", (256, 256), (1, 2, 3, 255)).save(buffer, "PNG")
        tiles = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                tiles.asked.append(self.path)
                self.send_response(200)
                self.send_header("Content-Type", "image/png")
                self.end_headers()
                self.wfile.write(buffer.getvalue())

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()


@pytest.fixture
def tiles() -> Iterator[Tiles]:
    """A server of tiles."""
    found = Tiles()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def settings(tmp_path: Path, tiles: Tiles) -> Settings:
    """Settings that allow it."""
    (tmp_path / "shared").mkdir()
    return load_settings(
        (),
        None,
        {
            "data.home": tmp_path / "home",
            "sources.allowed_hosts": [tiles.host],
            "sources.file_roots": [tmp_path / "shared"],
            "sources.connections": {"key": "query tk=s3cret"},
        },
    )


@pytest.fixture
def registry(settings: Settings) -> Iterator[Registry]:
    """A registry with the tenant demo."""
    with open_registry(settings) as opened:
        opened.add_tenant("demo", "Demo", "示例")
        yield opened


def asked(source: str, **more: Any) -> RegisterRequest:
    return RegisterRequest(source=source, tenant="demo", id="base", titles={"en": "Base"}, **more)


def test_a_cascade_becomes_a_collection_with_a_map(
    settings: Settings, registry: Registry, tiles: Tiles
) -> None:
    request = asked(
        f"xyz:http://{tiles.host}/{{z}}/{{x}}/{{y}}.png",
        max_age=60,
        credentials="key",
        attribution="Bureau",
        options={"bbox": "113,22,115,24", "max_zoom": "17"},
    )
    result = register(request, registry, settings)
    assert set(result.kinds) == {Kind.MAP, Kind.RECORD}
    assert result.count is None
    found = registry.collection("demo", "base")
    assert found is not None
    assert found.bbox == (113.0, 22.0, 115.0, 24.0)
    assert found.attribution == "Bureau"
    assert found.storage_crs.endswith("EPSG/0/3857")
    properties = found.representations[Kind.MAP].properties
    assert properties["max_age"] == 60
    assert properties["remote"]["credentials"] == "key"
    assert "s3cret" not in repr(found)
    assert len(properties["conformance"]) > 3
    assert all("?tk=s3cret" in path for path in tiles.asked)


def test_features_in_place_get_a_map(settings: Settings, registry: Registry, tmp_path: Path) -> None:
    shapes = shapely.box(np.array([113.9, 114.0]), 22.6, np.array([113.95, 114.05]), 22.7)
    path = tmp_path / "shared" / "parks.fgb"
    names = np.array(["a", "b"], dtype=object)
    pyogrio.raw.write(
        path, shapely.to_wkb(shapes), [names], ["name"], geometry_type="Polygon", crs="EPSG:4326"
    )
    result = register(asked(f"ogr:{path}"), registry, settings)
    assert set(result.kinds) == {Kind.FEATURES, Kind.TILES, Kind.MAP, Kind.RECORD}
    properties = result.collection.representations[Kind.MAP].properties
    assert properties["style"] == "polygon"
    assert "max_age" not in properties
    assert len(properties["conformance"]) > 3
    styled = register(asked(f"ogr:{path}", style="line", replace=True), registry, settings)
    assert styled.collection.representations[Kind.MAP].properties["style"] == "line"
    with pytest.raises(OptionError, match="--max-age"):
        register(asked(f"ogr:{path}", max_age=5, replace=True), registry, settings)
    with pytest.raises(OptionError, match="rasters"):
        register(asked(f"ogr:{path}", style="ortho", replace=True), registry, settings)


@pytest.mark.parametrize(
    ("source", "more", "message"),
    [
        ("wms:ftp://maps.example/wms", {}, "http or https"),
        ("wms:https://me:word@maps.example/wms", {}, "without user or password"),
        ("wms:https://[bad/wms", {}, "http or https"),
        ("wms:https://maps.example/wms#a", {"layer": "b"}, "twice"),
        ("wms:https://maps.example/wms#a", {"id_field": "x"}, "no fields"),
        ("wms:https://maps.example/wms#a", {"time_field": "x"}, "no fields"),
        ("wms:https://maps.example/wms#a", {"credentials": "unknown"}, "no connection 'unknown'"),
        ("mapserver:https://maps.example/wms", {}, "names no source"),
    ],
)
def test_what_names_no_map_service_is_refused(
    settings: Settings, source: str, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        describe_source(asked(source, **more), settings)
    assert "word" not in str(caught.value).replace("password", "")


def test_the_layer_stands_after_the_hash(settings: Settings) -> None:
    described = describe_source(asked("wms:https://maps.example/wms?map=x#a,b"), settings)
    assert described == {"store": "wms", "url": "https://maps.example/wms?map=x", "layer": "a,b"}


@pytest.mark.parametrize("age", [-1, MAXIMUM_AGE + 1])
def test_ages_beyond_the_limits_are_refused(
    settings: Settings, registry: Registry, tiles: Tiles, age: int
) -> None:
    with pytest.raises(OptionError, match="max-age"):
        register(asked(f"xyz:http://{tiles.host}/{{z}}/{{x}}/{{y}}.png", max_age=age), registry, settings)


def test_a_style_of_ours_is_refused_for_a_cascade(
    settings: Settings, registry: Registry, tiles: Tiles
) -> None:
    with pytest.raises(OptionError, match="own styles"):
        register(asked(f"xyz:http://{tiles.host}/{{z}}/{{x}}/{{y}}.png", style="line"), registry, settings)


def test_a_service_that_is_none_is_told(settings: Settings, registry: Registry, tiles: Tiles) -> None:
    with pytest.raises(SourceNotUsable, match="image/png"):
        register(asked(f"wms:http://{tiles.host}/wms#roads"), registry, settings)
    assert registry.collection("demo", "base") is None
