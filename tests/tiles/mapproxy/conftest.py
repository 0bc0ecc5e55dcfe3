"""A view of a few coloured layers, and what asks the map services as a WSGI server would."""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from defusedxml import ElementTree
from PIL import Image

from tiles.errors import TilesError
from tiles.grids import TileId, grid
from tiles.mapproxy import InfoPlace, LayerStyle, MapLayer, ServiceMetadata, TileBytes, TimeDimension
from tiles.mapproxy.feature_info import nearest_features
from tiles.mapproxy.service import MapService
from tiles.maps.images import encode_image
from tiles.maps.source import Box, Pixels

HELSINKI = (24.9, 60.1, 25.0, 60.2)
COLOURS = {"buildings": (200, 30, 30, 255), "streets": (0, 0, 200, 255), "ortho": (30, 120, 30, 255)}
INSTANTS = ("2024-01-01T00:00:00Z", "2024-06-01T00:00:00Z", "2025-01-01T00:00:00Z")


@dataclass
class ColourSource:
    """Paints its box in one colour, another one for a style or an instant, and remembers what it was asked."""

    colour: tuple[int, int, int, int]
    asked: list[tuple[Box, str, int, int, str | None]] = field(default_factory=list)
    error: Exception | None = None

    def render(self, bbox: Box, crs: str, width: int, height: int, *, instant: str | None = None) -> Pixels:
        self.asked.append((bbox, crs, width, height, instant))
        if self.error is not None:
            raise self.error
        pixels = np.empty((height, width, 4), dtype=np.uint8)
        pixels[:] = self.colour
        return pixels


@dataclass
class FakeDrawn:
    source: ColourSource
    instant: str | None
    cache: dict[object, bytes]
    key: object
    palette: bool = True
    slow: bool = False
    places: list[str] = field(default_factory=list)

    @contextmanager
    def place(self) -> Iterator[None]:
        self.places.append("slow" if self.slow else "fast")
        yield
        self.places.append("left")

    def tile(self, grid_id: str, tile: TileId, extension: str) -> TileBytes:
        name = (self.key, grid_id, tile, extension)
        if name not in self.cache:
            pyramid = grid(grid_id)
            pixels = self.source.render(
                tuple(pyramid.bounds(tile)), pyramid.authority_code, 256, 256, instant=self.instant
            )
            self.cache[name] = encode_image(pixels, f"image/{extension}")
        body = self.cache[name]
        return TileBytes(body, f'"{hashlib.blake2s(body, digest_size=4).hexdigest()}"')


def feature(feature_id: str, west: float, south: float, size: float, **properties: Any) -> dict[str, Any]:
    east, north = west + size, south + size
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "id": feature_id, "geometry": geometry, "properties": properties}


class FakeView:
    """The layers of a city: buildings and streets, and images with three instants; one may be hidden from this client."""

    def __init__(self) -> None:
        self.metadata = ServiceMetadata(
            "Maps & <plans> of the city",
            "城市地图",
            ("maps", "a<b"),
            "https://city.example/?a=1&b=2",
            "City",
            "A. Person",
            "a@city.example",
        )
        self.url = "http://city.example/maps"
        self.zone_crs: Sequence[str] = ("EPSG:3879",)
        self.hidden: set[str] = set()
        self.sources = {name: ColourSource(colour) for name, colour in COLOURS.items()}
        self.cache: dict[object, bytes] = {}
        self.described = 0
        self.slow: set[str] = set()
        self.places: list[str] = []
        self.features = [
            feature("small", 24.94, 60.14, 0.02, name="城 & <small>", storeys=3, height=None),
            feature("large", 24.90, 60.10, 0.10, name="large"),
        ]
        styles = (LayerStyle("plain", "Plain"), LayerStyle("night", "Night & day"))
        self._layers = {
            "city.buildings": MapLayer(
                "city.buildings",
                'Buildings <of> the "city" & more',
                HELSINKI,
                abstract="建筑 & <b>",
                attribution="© OpenStreetMap <contributors>",
                attribution_url="https://www.openstreetmap.org/copyright?a&b",
                crs="EPSG:3879",
                keywords=("houses",),
                list_styles=lambda: styles,
                time=TimeDimension(start="2000-01-01", end="2020-12-31"),
                queryable=True,
                features=True,
            ),
            "city.streets": MapLayer("city.streets", "Streets", HELSINKI, queryable=True, features=True),
            "city.ortho": MapLayer(
                "city.ortho", "Images", (113.8, 22.5, 114.3, 22.8), time=TimeDimension(INSTANTS), opaque=True
            ),
        }

    @property
    def key(self) -> Hashable:
        return frozenset(self.hidden)

    def layers(self) -> Sequence[MapLayer]:
        self.described += 1
        return [one for name, one in self._layers.items() if name not in self.hidden]

    def allows(self, name: str) -> bool:
        return name in self._layers and name not in self.hidden

    def layer(self, name: str) -> MapLayer | None:
        return self._layers[name] if self.allows(name) else None

    def drawn(self, layer: MapLayer, style: str | None, instant: str | None) -> FakeDrawn:
        assert style is None or style in [one.id for one in layer.styles]
        source = self.sources[layer.name.removeprefix("city.")]
        if style == "night":
            source = ColourSource((10, 10, 10, 255), source.asked, source.error)
        slow = layer.name in self.slow
        return FakeDrawn(source, instant, self.cache, (layer.name, style, instant), True, slow, self.places)

    def info(
        self, layer: MapLayer, style: str | None, instant: str | None, place: InfoPlace
    ) -> Sequence[Mapping[str, Any]]:
        return nearest_features(lambda _box, most: self.features[:most], place)

    def legend(
        self, layer: MapLayer, style: str | None, language: str, rule: str | None, scale: float | None
    ) -> bytes:
        pixels = np.full((20, 40, 4), 255, dtype=np.uint8)
        return encode_image(pixels, "image/png")

    def break_with(self, error: TilesError) -> None:
        for source in self.sources.values():
            source.error = error


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        return self.headers["content-type"].split(";")[0]

    @property
    def image(self) -> Image.Image:
        assert self.status == 200, self.body
        return Image.open(io.BytesIO(self.body)).convert("RGBA")

    @property
    def root(self) -> Any:
        return ElementTree.fromstring(self.body)


type Ask = Callable[..., Answer]


@pytest.fixture
def view() -> FakeView:
    return FakeView()


@pytest.fixture(scope="session")
def service() -> MapService:
    return MapService()


@pytest.fixture
def ask(service: MapService, view: FakeView) -> Ask:
    """Path, query (text or mapping), environ entries -> Answer."""

    def call(path: str, query: str | Mapping[str, Any] = "", **environ: str) -> Answer:
        request: dict[str, Any] = {
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": query if isinstance(query, str) else urlencode(query),
            "SERVER_NAME": "city.example",
            "SERVER_PORT": "80",
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": sys.stderr,
        } | environ
        begun: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]]) -> None:
            begun[:] = [int(status.split()[0]), {name.lower(): value for name, value in headers}]

        body = b"".join(service(request, start_response, view))
        return Answer(begun[0], begun[1], body)

    return call


@pytest.fixture
def get_map() -> Callable[..., dict[str, Any]]:
    """A GetMap that works, with changes; None takes a parameter away."""

    def parameters(**changes: Any) -> dict[str, Any]:
        whole = {
            "SERVICE": "WMS",
            "VERSION": "1.3.0",
            "REQUEST": "GetMap",
            "LAYERS": "city.buildings",
            "STYLES": "",
            "CRS": "CRS:84",
            "BBOX": "24.92,60.12,24.98,60.18",
            "WIDTH": "64",
            "HEIGHT": "48",
            "FORMAT": "image/png",
        } | changes
        return {name: value for name, value in whole.items() if value is not None}

    return parameters


@pytest.fixture
def get_tile() -> Callable[..., dict[str, Any]]:
    """A GetTile that works, with changes."""

    def parameters(**changes: Any) -> dict[str, Any]:
        whole = {
            "SERVICE": "WMTS",
            "VERSION": "1.0.0",
            "REQUEST": "GetTile",
            "LAYER": "city.buildings",
            "STYLE": "default",
            "TILEMATRIXSET": "WebMercatorQuad",
            "TILEMATRIX": "12",
            "TILEROW": "1185",
            "TILECOL": "2331",
            "FORMAT": "image/png",
        } | changes
        return {name: value for name, value in whole.items() if value is not None}

    return parameters
