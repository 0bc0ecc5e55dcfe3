"""WMS, WMTS and TMS through MapProxy: what clients read, what is kept on disk, and that no request can break it."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from defusedxml import ElementTree
from owslib.map.wms111 import WebMapService_1_1_1
from owslib.map.wms130 import WebMapService_1_3_0
from owslib.wmts import WebMapTileService
from PIL import Image

from tiles.mapproxy import MapLayer, ServiceMetadata, cached_tile_path
from tiles.mapproxy.service import MapService, build_map_service
from tiles.errors import MapServiceError, MapSourceError, TileOutOfRange
from tiles.grids import TileId, crs84_to_mercator, grid_ids, tile_bounds, tile_bounds_crs84, tile_range
from tiles.maps.source import Box, Pixels

HELSINKI = (24.9, 60.1, 25.0, 60.2)
METADATA = ServiceMetadata(
    "Maps & <plans> of the city",
    "城市地图",
    ("maps", "a<b"),
    "https://city.example/?a=1&b=2",
    "City",
    "A. Person",
    "a@city.example",
)


class ColourSource:
    """Paints its box in one colour and remembers what it was asked."""

    def __init__(self, colour: tuple[int, int, int, int] = (200, 30, 30, 255)) -> None:
        self.colour = colour
        self.asked: list[tuple[Box, str, int, int]] = []

    def render(self, bbox: Box, crs: str, width: int, height: int) -> Pixels:
        self.asked.append((bbox, crs, width, height))
        pixels = np.empty((height, width, 4), dtype=np.uint8)
        pixels[:] = self.colour
        return pixels


class BrokenSource:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def render(self, bbox: Box, crs: str, width: int, height: int) -> Pixels:
        raise self.error


def layer(name: str = "helsinki.buildings", **changes: Any) -> MapLayer:
    values: dict[str, Any] = {
        "name": name,
        "title": 'Buildings <of> the "city" & more',
        "abstract": "建筑 & <b>",
        "bbox84": HELSINKI,
        "source": ColourSource(),
        "cache_key": f"{name.replace('.', '/')}/g000001/default",
        "attribution": "© OpenStreetMap <contributors>",
        "attribution_url": "https://www.openstreetmap.org/copyright?a&b",
        "crs": "EPSG:3879",
    }
    return MapLayer(**(values | changes))


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


type Get = Callable[..., Answer]


def ask(service: Any, path: str, query: str | dict[str, Any] = "", **environ: str) -> Answer:
    request: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "/maps",
        "PATH_INFO": path,
        "QUERY_STRING": query if isinstance(query, str) else urlencode(query),
        "HTTP_HOST": "city.example",
        "SERVER_NAME": "city.example",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
    } | environ
    begun: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        begun[:] = [int(status.split()[0]), {name.lower(): value for name, value in headers}]

    body: Iterable[bytes] = service(request, start_response)
    content = b"".join(body)
    return Answer(begun[0], begun[1], content)


@pytest.fixture
def service(tmp_path: Path) -> MapService:
    return build_map_service(
        [layer(), layer("helsinki.streets", source=ColourSource((0, 0, 200, 255)))], tmp_path, METADATA
    )


def get_map(**changes: Any) -> dict[str, Any]:
    parameters = {
        "SERVICE": "WMS",
        "VERSION": "1.3.0",
        "REQUEST": "GetMap",
        "LAYERS": "helsinki.buildings",
        "STYLES": "",
        "CRS": "CRS:84",
        "BBOX": "24.92,60.12,24.98,60.18",
        "WIDTH": "64",
        "HEIGHT": "48",
        "FORMAT": "image/png",
    } | changes
    return {name: value for name, value in parameters.items() if value is not None}


def get_tile(**changes: Any) -> dict[str, Any]:
    tiles = tile_range("WebMercatorQuad", HELSINKI, 12)
    parameters = {
        "SERVICE": "WMTS",
        "VERSION": "1.0.0",
        "REQUEST": "GetTile",
        "LAYER": "helsinki.buildings",
        "STYLE": "default",
        "TILEMATRIXSET": "WebMercatorQuad",
        "TILEMATRIX": "12",
        "TILEROW": str(tiles.min_row),
        "TILECOL": str(tiles.min_column),
        "FORMAT": "image/png",
    } | changes
    return {name: value for name, value in parameters.items() if value is not None}


def test_owslib_reads_wms_111(service: MapService) -> None:
    answer = ask(service, "/service", "SERVICE=WMS&REQUEST=GetCapabilities&VERSION=1.1.1")
    wms = WebMapService_1_1_1("http://city.example/maps/service", xml=answer.body)
    assert set(wms.contents) == {"helsinki.buildings", "helsinki.streets"}
    entry = wms.contents["helsinki.buildings"]
    assert entry.title == 'Buildings <of> the "city" & more'
    assert entry.boundingBoxWGS84 == pytest.approx(HELSINKI)
    assert wms.getOperationByName("GetMap").methods[0]["url"].startswith("http://city.example/maps/service?")


def test_owslib_reads_wms_130(service: MapService) -> None:
    answer = ask(service, "/service", "SERVICE=WMS&REQUEST=GetCapabilities&VERSION=1.3.0")
    wms = WebMapService_1_3_0("http://city.example/maps/service", xml=answer.body)
    assert wms.identification.title == METADATA.title
    assert wms.identification.abstract == METADATA.abstract
    assert wms.identification.keywords == ["maps", "a<b"]
    assert wms.provider.contact.organization == "City"
    entry = wms.contents["helsinki.streets"]
    assert entry.abstract == "建筑 & <b>"
    assert {"EPSG:3857", "EPSG:4326", "CRS:84", "EPSG:4490", "EPSG:3879"} <= set(entry.crsOptions)
    assert entry.attribution["title"] == "© OpenStreetMap <contributors>"
    assert {"image/png", "image/jpeg", "image/webp"} <= set(wms.getOperationByName("GetMap").formatOptions)


def test_owslib_reads_wmts(service: MapService) -> None:
    for path, query in (
        ("/wmts", "SERVICE=WMTS&REQUEST=GetCapabilities"),
        ("/wmts/1.0.0/WMTSCapabilities.xml", ""),
    ):
        answer = ask(service, path, query)
        wmts = WebMapTileService("http://city.example/maps/wmts", xml=answer.body)
        assert set(wmts.contents) == {"helsinki.buildings", "helsinki.streets"}
        entry = wmts.contents["helsinki.buildings"]
        assert entry.abstract == "建筑 & <b>"
        assert set(entry.tilematrixsetlinks) == set(grid_ids())
        assert set(wmts.tilematrixsets) == set(grid_ids())
        mercator = wmts.tilematrixsets["WebMercatorQuad"].tilematrix["3"]
        assert (mercator.matrixwidth, mercator.tilewidth) == (8, 256)
        assert mercator.scaledenominator == pytest.approx(559082264.0287178 / 8)
        degrees = wmts.tilematrixsets["WorldCRS84Quad"].tilematrix["0"]
        assert (degrees.matrixwidth, degrees.matrixheight) == (2, 1)
        assert degrees.scaledenominator == pytest.approx(279541132.0143589)
        crs, corner = wmts.tilematrixsets["WorldCRS84Quad"].crs, degrees.topleftcorner
        assert (crs, corner) in (
            ("urn:ogc:def:crs:OGC:1.3:CRS84", (-180.0, 90.0)),
            ("urn:ogc:def:crs:EPSG::4326", (90.0, -180.0)),
        )


def test_the_rest_template_leads_to_a_tile(service: MapService) -> None:
    wmts = WebMapTileService(
        "http://city.example/maps/wmts", xml=ask(service, "/wmts/1.0.0/WMTSCapabilities.xml").body
    )
    [resource] = wmts.contents["helsinki.buildings"].resourceURLs
    tiles = tile_range("WebMercatorQuad", HELSINKI, 12)
    path = (
        resource["template"]
        .removeprefix("http://city.example/maps")
        .replace("{TileMatrixSet}", "WebMercatorQuad")
        .replace("{TileMatrix}", "12")
        .replace("{TileRow}", str(tiles.min_row))
        .replace("{TileCol}", str(tiles.min_column))
    )
    assert ask(service, path).image.getpixel((128, 128)) == (200, 30, 30, 255)


def test_tms_documents_describe_the_tiles_as_they_are_served(service: MapService) -> None:
    listed = ask(service, "/tms/1.0.0").root.iter("TileMap")
    hrefs = [entry.get("href").removeprefix("http://city.example/maps") for entry in listed]
    assert len(hrefs) == 4
    for href in hrefs:
        root = ask(service, href).root
        assert root.findtext("Title") == 'Buildings <of> the "city" & more'
        zero = next(entry for entry in root.iter("TileSet") if entry.get("order") == "0")
        resolution = float(zero.get("units-per-pixel"))
        assert resolution == pytest.approx(0.703125 if "84" in href else 156543.03392804097)


@pytest.mark.parametrize("tms_id", grid_ids())
def test_a_tile_is_drawn_for_its_box_and_found_on_disk(tmp_path: Path, tms_id: str) -> None:
    source = ColourSource()
    entry = layer(source=source)
    service = build_map_service([entry], tmp_path, METADATA)
    tiles = tile_range(tms_id, HELSINKI, 13)
    tile = TileId(13, tiles.min_column, tiles.min_row)
    answer = ask(service, f"/wmts/1.0.0/{entry.name}/default/{tms_id}/{tile.z}/{tile.y}/{tile.x}.png")
    assert answer.media_type == "image/png"
    path = cached_tile_path(tmp_path, entry.cache_key, tms_id, tile)
    assert path.read_bytes() == answer.body
    [(bbox, _crs, width, height)] = source.asked
    bounds = tile_bounds(tms_id, tile)
    # Drawn in a block of 4 x 4 tiles that holds the tile, at the tile's resolution.
    assert (width, height) == (1024, 1024)
    assert bbox[0] - 1e-6 <= bounds.minx < bounds.maxx <= bbox[2] + 1e-6
    assert (bbox[2] - bbox[0]) / width == pytest.approx((bounds.maxx - bounds.minx) / 256)
    # The other protocols answer the same tile from the cache.
    again = ask(
        service, "/wmts", get_tile(TILEMATRIXSET=tms_id, TILEMATRIX=13, TILEROW=tile.y, TILECOL=tile.x)
    )
    rows = {"WebMercatorQuad": 2**13, "WorldCRS84Quad": 2**13}[tms_id]
    from_below = ask(service, f"/tms/1.0.0/{entry.name}/{tms_id}/13/{tile.x}/{rows - 1 - tile.y}.png")
    from_above = ask(service, f"/tiles/1.0.0/{entry.name}/{tms_id}/13/{tile.x}/{tile.y}.png")
    assert answer.body == again.body == from_below.body == from_above.body
    assert len(source.asked) == 1


def test_the_hot_path_for_a_tile_cannot_leave_the_cache(tmp_path: Path) -> None:
    for key in (
        "../up",
        "a/../../b",
        "/etc",
        "a//b",
        "",
        "a/.hidden",
        "a\\b",
        "a/b\n",
        "x" * 200,
        "/".join("a" * 9),
    ):
        with pytest.raises(MapServiceError):
            cached_tile_path(tmp_path, key, "WebMercatorQuad", TileId(0, 0, 0))
    with pytest.raises(TileOutOfRange):
        cached_tile_path(tmp_path, "a", "WebMercatorQuad", TileId(0, 1, 0))


def test_nothing_is_kept_outside_the_box_and_nothing_written_elsewhere(tmp_path: Path) -> None:
    source = ColourSource()
    cache = tmp_path / "cache"
    service = build_map_service([layer(source=source)], cache, METADATA)
    answer = ask(service, "/wmts/1.0.0/helsinki.buildings/default/WebMercatorQuad/12/0/0.png")
    assert answer.image.getextrema()[3] == (0, 0)
    assert source.asked == []
    assert not list(cache.rglob("*.png"))
    assert [path.name for path in tmp_path.iterdir()] in ([], ["cache"])


def test_zoom_limits_of_a_layer(tmp_path: Path) -> None:
    source = ColourSource()
    service = build_map_service([layer(source=source, min_zoom=12, max_zoom=13)], tmp_path, METADATA)
    for zoom, drawn in ((11, False), (12, True), (13, True), (14, False)):
        source.asked.clear()
        tiles = tile_range("WebMercatorQuad", HELSINKI, zoom)
        path = f"/wmts/1.0.0/helsinki.buildings/default/WebMercatorQuad/{zoom}/{tiles.min_row}/{tiles.min_column}.png"
        assert ask(service, path).status == 200
        assert bool(source.asked) == drawn, zoom


@pytest.mark.parametrize(
    ("crs", "bbox", "version"),
    [
        ("CRS:84", "24.92,60.12,24.98,60.18", "1.3.0"),
        ("EPSG:4326", "60.12,24.92,60.18,24.98", "1.3.0"),
        ("EPSG:4326", "24.92,60.12,24.98,60.18", "1.1.1"),
        ("EPSG:4490", "60.12,24.92,60.18,24.98", "1.3.0"),
        (
            "EPSG:3857",
            ",".join(map(str, (*crs84_to_mercator(24.92, 60.12), *crs84_to_mercator(24.98, 60.18)))),
            "1.3.0",
        ),
    ],
)
def test_wms_gives_every_crs_in_its_axis_order(tmp_path: Path, crs: str, bbox: str, version: str) -> None:
    source = ColourSource()
    service = build_map_service([layer(source=source)], tmp_path, METADATA)
    key = "CRS" if version == "1.3.0" else "SRS"
    answer = ask(service, "/service", get_map(VERSION=version, CRS=None, BBOX=bbox) | {key: crs})
    assert answer.image.size == (64, 48)
    assert answer.image.getpixel((32, 24)) == (200, 30, 30, 255)
    [(asked, asked_crs, *size)] = source.asked
    assert asked_crs == crs
    assert size == [64, 48]
    expected = tuple(map(float, bbox.split(","))) if crs == "EPSG:3857" else (24.92, 60.12, 24.98, 60.18)
    assert asked == pytest.approx(expected)


def test_wms_lays_layers_over_each_other(service: MapService) -> None:
    answer = ask(service, "/service", get_map(LAYERS="helsinki.buildings,helsinki.streets", STYLES=","))
    assert answer.image.getpixel((32, 24)) == (0, 0, 200, 255)


def test_wms_background_and_formats(service: MapService) -> None:
    outside = {"BBOX": "10,10,11,11"}
    assert ask(service, "/service", get_map(**outside, BGCOLOR="0x00FF00")).image.getpixel((5, 5)) == (
        0,
        255,
        0,
        255,
    )
    assert ask(service, "/service", get_map(**outside, TRANSPARENT="TRUE")).image.getpixel((5, 5))[3] == 0
    for media_type in ("image/png", "image/jpeg", "image/webp"):
        answer = ask(service, "/service", get_map(FORMAT=media_type))
        assert answer.media_type == media_type
        assert answer.image.size == (64, 48)


def test_lower_case_names_and_a_missing_version_are_understood(service: MapService) -> None:
    lower = {
        name.lower(): value for name, value in get_map(VERSION=None, REQUEST="getmap", SERVICE="wms").items()
    }
    assert ask(service, "/service", lower).image.size == (64, 48)
    # ogc-client leaves out VERSION in GetTile.
    assert ask(service, "/wmts", get_tile(VERSION=None)).status == 200
    assert ask(service, "/service", get_tile(VERSION=None)).status == 200
    assert ask(service, "/wmts", get_tile(STYLE=None, FORMAT=None)).status == 200


def test_caching_headers_are_left_to_the_server(service: MapService) -> None:
    ask(service, "/wmts", get_tile())
    answer = ask(service, "/wmts", get_tile())
    assert "cache-control" not in answer.headers
    assert "etag" in answer.headers


class OnlyStreets:
    """Lets requests with a token see everything, and all others the streets."""

    def __init__(self) -> None:
        self.asked: list[Sequence[str]] = []

    def __call__(self, environ: dict[str, Any], names: Sequence[str]) -> Collection[str]:
        self.asked.append(names)
        return names if environ.get("HTTP_AUTHORIZATION") == "Bearer good" else ["helsinki.streets"]


def test_what_is_not_allowed_does_not_exist(tmp_path: Path) -> None:
    authorize = OnlyStreets()
    secret = layer("helsinki.secret")
    service = build_map_service([secret, layer("helsinki.streets")], tmp_path, METADATA, authorize)
    documents = (
        ("/service", "SERVICE=WMS&REQUEST=GetCapabilities&VERSION=1.3.0"),
        ("/service", "SERVICE=WMS&REQUEST=GetCapabilities&VERSION=1.1.1"),
        ("/wmts", "SERVICE=WMTS&REQUEST=GetCapabilities"),
        ("/wmts/1.0.0/WMTSCapabilities.xml", ""),
        ("/tms/1.0.0", ""),
    )
    for path, query in documents:
        seen = ask(service, path, query)
        assert seen.status == 200
        assert b"helsinki.streets" in seen.body
        assert b"helsinki.secret" not in seen.body
        assert b"helsinki.secret" in ask(service, path, query, HTTP_AUTHORIZATION="Bearer good").body
    tile = f"{get_tile()['TILEROW']}/{get_tile()['TILECOL']}.png"
    requests = (
        ("/service", get_map(LAYERS="{}")),
        ("/service", get_map(LAYERS="helsinki.streets,{}")),
        ("/wmts", get_tile(LAYER="{}")),
        (f"/wmts/1.0.0/{{}}/default/WebMercatorQuad/12/{tile}", {}),
        ("/tms/1.0.0/{}/WebMercatorQuad", {}),
        ("/tms/1.0.0/{}/WebMercatorQuad/12/2331/2909.png", {}),
        ("/tiles/1.0.0/{}/WebMercatorQuad/12/2331/1186.png", {}),
    )
    # Twice: the second time the allowed answer lies in the cache.
    for _ in range(2):
        for path, query in requests:

            def asked(name: str, path: str = path, query: dict[str, Any] = query, **more: str) -> Answer:
                filled = {key: str(value).replace("{}", name) for key, value in query.items()}
                return ask(service, path.replace("{}", name), filled, **more)

            assert asked("helsinki.secret", HTTP_AUTHORIZATION="Bearer good").status == 200
            refused, unknown = asked("helsinki.secret"), asked("helsinki.nothing")
            assert refused.status == unknown.status
            assert refused.status in (400, 404)
            assert refused.body.replace(b"secret", b"nothing") == unknown.body
    assert authorize.asked[0] == ("helsinki.secret", "helsinki.streets")


TILE = "/wmts/1.0.0/helsinki.buildings/default/WebMercatorQuad"
MALFORMED: list[tuple[str, Any]] = [
    ("/service", ""),
    ("/service", "%FF%FE=%80"),
    ("/service", "&".join(f"a{i}=1" for i in range(200))),
    ("/service", {"SERVICE": "WFS", "REQUEST": "GetCapabilities"}),
    ("/service", {"SERVICE": "WMS"}),
    ("/service", {"SERVICE": "WMS", "REQUEST": "GetNothing"}),
    ("/service", {"SERVICE": "WMS", "REQUEST": "GetCapabilities", "VERSION": "x"}),
    ("/service", {"SERVICE": "WMS", "REQUEST": "GetFeatureInfo", "VERSION": "1.3.0"}),
    ("/service", {"SERVICE": "WMS", "REQUEST": "GetLegendGraphic", "LAYER": "nothing"}),
    ("/service", get_map(VERSION="1..3")),
    ("/service", get_map(VERSION="9" * 400)),
    *[
        ("/service", get_map(**{name: None}))
        for name in ("LAYERS", "CRS", "BBOX", "WIDTH", "HEIGHT", "FORMAT")
    ],
    ("/service", get_map(LAYERS="nothing")),
    ("/service", get_map(LAYERS=",,,")),
    ("/service", get_map(LAYERS=",".join(["helsinki.buildings"] * 51))),
    ("/service", get_map(LAYERS="helsinki.buildings\x00")),
    ("/service", get_map(STYLES="pink")),
    ("/service", get_map(STYLES="default,default")),
    ("/service", get_map(CRS="EPSG:0")),
    ("/service", get_map(CRS="EPSG:2154")),
    ("/service", get_map(CRS="' OR 1=1")),
    ("/service", get_map(BBOX="1,2,3")),
    ("/service", get_map(BBOX="1,2,3,4,5")),
    ("/service", get_map(BBOX="a,b,c,d")),
    ("/service", get_map(BBOX="nan,0,1,1")),
    ("/service", get_map(BBOX="0,0,inf,1")),
    ("/service", get_map(BBOX="1e308,0,1e309,1")),
    ("/service", get_map(BBOX="2,2,1,1")),
    ("/service", get_map(BBOX="1,1,1,1")),
    ("/service", get_map(BBOX="0,0,1e10,1")),
    ("/service", get_map(BBOX="1_0,0,20,1")),
    ("/service", get_map(WIDTH="0")),
    ("/service", get_map(WIDTH="-5")),
    ("/service", get_map(WIDTH="1.5")),
    ("/service", get_map(WIDTH="8193")),
    ("/service", get_map(WIDTH="8000", HEIGHT="8000")),
    ("/service", get_map(WIDTH="9" * 5000)),
    ("/service", get_map(HEIGHT="ten")),
    ("/service", get_map(FORMAT="image/bmp")),
    ("/service", get_map(FORMAT="text/html")),
    ("/service", get_map(TRANSPARENT="perhaps")),
    ("/service", get_map(BGCOLOR="red")),
    ("/service", get_map(BGCOLOR="0xZZZZZZ")),
    ("/service/more", get_map()),
    ("/wmts", ""),
    ("/wmts", {"SERVICE": "WMTS", "REQUEST": "GetMap"}),
    ("/wmts", {"SERVICE": "WMTS", "REQUEST": "GetFeatureInfo"}),
    *[
        ("/wmts", get_tile(**{name: None}))
        for name in ("LAYER", "TILEMATRIXSET", "TILEMATRIX", "TILEROW", "TILECOL")
    ],
    ("/wmts", get_tile(VERSION="2.0.0")),
    ("/wmts", get_tile(LAYER="nothing")),
    ("/wmts", get_tile(STYLE="pink")),
    ("/wmts", get_tile(TILEMATRIXSET="GoogleMaps")),
    ("/wmts", get_tile(TILEMATRIX="a")),
    ("/wmts", get_tile(TILEMATRIX="-1")),
    ("/wmts", get_tile(TILEMATRIX="23")),
    ("/wmts", get_tile(TILEMATRIX="99999999999999999999")),
    ("/wmts", get_tile(TILEMATRIX="EPSG:3857:12")),
    ("/wmts", get_tile(TILECOL="4096")),
    ("/wmts", get_tile(TILEROW="4096")),
    ("/wmts", get_tile(TILEROW="-1")),
    ("/wmts", get_tile(TILEROW="1e3")),
    ("/wmts", get_tile(FORMAT="image/jpeg")),
    ("/service", get_tile(TILEROW="x")),
    ("/wmts/2.0.0/WMTSCapabilities.xml", ""),
    ("/wmts/1.0.0/", ""),
    (f"{TILE}/12/1186/2331.jpeg", ""),
    (f"{TILE}/12/1186/9999.png", ""),
    (f"{TILE}/12/a/2331.png", ""),
    (f"{TILE}/12/1186/2331.png/more", ""),
    (f"{TILE}/../../../../etc/passwd", ""),
    ("/wmts/1.0.0/helsinki.buildings/pink/WebMercatorQuad/12/1186/2331.png", ""),
    ("/wmts/1.0.0/helsinki.buildings/default/Nothing/12/1186/2331.png", ""),
    ("/tms/2.0.0", ""),
    ("/tms/1.0.0/nothing/WebMercatorQuad", ""),
    ("/tms/1.0.0/helsinki.buildings", ""),
    ("/tms/1.0.0/helsinki.buildings/Nothing", ""),
    ("/tms/1.0.0/helsinki.buildings/WebMercatorQuad/12/2331/1186.gif", ""),
    ("/tms/1.0.0/helsinki.buildings/WebMercatorQuad/12/2331/4096.png", ""),
    ("/tms/1.0.0/helsinki.buildings/WebMercatorQuad/99/0/0.png", ""),
    ("/tms/1.0.0/helsinki.buildings/WebMercatorQuad/-1/0/0.png", ""),
    ("/tms/1.0.0/helsinki.buildings/WebMercatorQuad/x/0/0.png", ""),
    ("/tiles/1.0.0/helsinki.buildings/WebMercatorQuad/12/2331", ""),
    ("/tms/1.0.0/../../x/WebMercatorQuad/1/0/0.png", ""),
    ("/demo/", ""),
    ("/", ""),
    ("", ""),
    ("/ogcapi/collections", ""),
    ("/kml/helsinki.buildings/0/0/0.kml", ""),
]


@pytest.mark.parametrize(("path", "query"), MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_requests_are_refused_in_the_words_of_their_protocol(
    service: MapService, path: str, query: Any
) -> None:
    answer = ask(service, path, query)
    assert answer.status in (400, 404)
    root = answer.root
    if path.startswith(("/tms", "/tiles")):
        assert root.tag == "TileMapServerError"
    elif path.startswith("/wmts") or (isinstance(query, dict) and query.get("SERVICE") == "WMTS"):
        assert root.tag == "{http://www.opengis.net/ows/1.1}ExceptionReport"
        assert root[0].get("exceptionCode")
    else:
        assert root.tag.endswith("ServiceExceptionReport")
    assert len("".join(root.itertext()).strip()) > 10


def test_wms_errors_follow_the_version(service: MapService) -> None:
    old = ask(service, "/service", get_map(VERSION="1.1.1", LAYERS="nothing"))
    assert old.media_type == "application/vnd.ogc.se_xml"
    assert old.root.tag == "ServiceExceptionReport"
    new = ask(service, "/service", get_map(LAYERS="<nothing>"))
    assert new.media_type == "text/xml"
    assert new.root.tag == "{http://www.opengis.net/ogc}ServiceExceptionReport"
    assert new.root[0].get("code") == "LayerNotDefined"
    assert "<nothing>" in new.root[0].text


@pytest.mark.parametrize("path", ["/service", "/wmts", "/tms/1.0.0"])
def test_only_get_and_head_are_answered(service: MapService, path: str) -> None:
    answer = ask(service, path, "", REQUEST_METHOD="POST")
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("host", ['x"><script>', "a b", "a/b", "", "[::1"])
def test_a_host_header_that_is_none_never_reaches_a_document(service: MapService, host: str) -> None:
    answer = ask(service, "/tms/1.0.0", "", HTTP_HOST=host, SERVER_NAME="<x>")
    assert answer.status == 400
    assert b"script" not in answer.body


def test_forwarding_headers_of_a_client_are_not_believed(service: MapService) -> None:
    forged = {
        "HTTP_X_SCRIPT_NAME": "/evil",
        "HTTP_X_FORWARDED_HOST": "evil.example",
        "HTTP_X_FORWARDED_PROTO": "ftp",
    }
    answer = ask(service, "/service", "SERVICE=WMS&REQUEST=GetCapabilities", **forged)
    assert b"evil" not in answer.body
    assert b"ftp:" not in answer.body


def test_a_source_that_cannot_be_read_is_one_clear_error(tmp_path: Path) -> None:
    broken = BrokenSource(MapSourceError("buildings.gpkg cannot be read: it is gone"))
    service = build_map_service([layer(source=broken), layer("ok.ok")], tmp_path, METADATA)
    for path, query in (("/service", get_map()), ("/wmts", get_tile())):
        answer = ask(service, path, query)
        assert "it is gone" in "".join(answer.root.itertext())
    assert not list(tmp_path.rglob("*.png"))
    assert ask(service, "/service", get_map(LAYERS="ok.ok")).status == 200


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/service", get_map()),
        ("/wmts", get_tile()),
        ("/tiles/1.0.0/helsinki.buildings/WebMercatorQuad/12/2331/1186.png", ""),
    ],
)
def test_an_unforeseen_failure_shows_nothing_of_the_inside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], path: str, query: Any
) -> None:
    service = build_map_service(
        [layer(source=BrokenSource(ZeroDivisionError("secret words")))], tmp_path, METADATA
    )
    answer = ask(service, path, query)
    assert answer.status == 500
    assert b"secret words" not in answer.body
    assert answer.root is not None
    assert "secret words" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "a/b"},
        {"name": "a b"},
        {"name": ".hidden"},
        {"cache_key": "../x"},
        {"bbox84": (25.0, 60.1, 24.9, 60.2)},
        {"bbox84": (0.0, 0.0, 181.0, 1.0)},
        {"tile_format": "image/gif"},
        {"min_zoom": 5, "max_zoom": 4},
        {"max_zoom": 23},
    ],
)
def test_layers_are_checked(changes: dict[str, Any]) -> None:
    with pytest.raises(MapServiceError):
        layer(**changes)


def test_layers_of_one_service_need_names_and_caches_of_their_own(tmp_path: Path) -> None:
    one = layer()
    for other in (replace(one, cache_key="other/key"), replace(one, name="other")):
        with pytest.raises(MapServiceError, match="share"):
            build_map_service([one, other], tmp_path, METADATA)
    with pytest.raises(MapServiceError, match="at least one"):
        build_map_service([], tmp_path, METADATA)


def test_a_point_can_be_a_layer(tmp_path: Path) -> None:
    source = ColourSource()
    service = build_map_service([layer(bbox84=(24.9, 60.1, 24.9, 60.1), source=source)], tmp_path, METADATA)
    tiles = tile_range("WebMercatorQuad", (24.9, 60.1, 24.9, 60.1), 12)
    answer = ask(service, "/wmts", get_tile(TILEROW=tiles.min_row, TILECOL=tiles.min_column))
    assert answer.status == 200
    assert source.asked


def test_tile_formats(tmp_path: Path) -> None:
    for media_type, extension in (("image/jpeg", "jpeg"), ("image/webp", "webp")):
        entry = layer(tile_format=media_type, cache_key=f"photo/{extension}")
        service = build_map_service([entry], tmp_path, METADATA)
        answer = ask(service, "/wmts", get_tile(FORMAT=media_type))
        assert answer.media_type == media_type
        tile = TileId(12, int(get_tile()["TILECOL"]), int(get_tile()["TILEROW"]))
        path = cached_tile_path(tmp_path, entry.cache_key, "WebMercatorQuad", tile, extension)
        assert path.read_bytes() == answer.body


def test_threads_get_the_tiles_they_asked_for(tmp_path: Path) -> None:
    colours = {f"t.l{number}": (number * 20, 250 - number * 20, 99, 255) for number in range(8)}
    service = build_map_service(
        [layer(name, source=ColourSource(colour)) for name, colour in colours.items()], tmp_path, METADATA
    )
    wrong: list[str] = []

    def work(name: str) -> None:
        for zoom in range(11, 15):
            tiles = tile_range("WebMercatorQuad", HELSINKI, zoom)
            path = f"/wmts/1.0.0/{name}/default/WebMercatorQuad/{zoom}/{tiles.min_row}/{tiles.min_column}.png"
            answer = ask(service, path)
            if answer.image.getpixel((128, 128)) != colours[name]:
                wrong.append(f"{name} {zoom}")

    threads = [threading.Thread(target=work, args=(name,)) for name in colours for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_tile_shows_the_place_its_number_says(tmp_path: Path) -> None:
    """North up, east right: a source that paints the north-east quarter of Helsinki."""

    class NorthEast:
        def render(self, bbox: Box, crs: str, width: int, height: int) -> Pixels:
            pixels = np.zeros((height, width, 4), dtype=np.uint8)
            x = bbox[0] + (np.arange(width) + 0.5) * (bbox[2] - bbox[0]) / width
            y = bbox[3] - (np.arange(height) + 0.5) * (bbox[3] - bbox[1]) / height
            pixels[np.ix_(y > 60.15, x > 24.95)] = (10, 20, 30, 255)
            return pixels

    service = build_map_service([layer(source=NorthEast())], tmp_path, METADATA)
    for longitude, latitude, shown in ((24.97, 60.17, True), (24.92, 60.17, False), (24.97, 60.12, False)):
        box = (longitude, latitude, longitude, latitude)
        tiles = tile_range("WorldCRS84Quad", box, 14)
        tile = TileId(14, tiles.min_column, tiles.min_row)
        answer = ask(
            service, f"/wmts/1.0.0/helsinki.buildings/default/WorldCRS84Quad/14/{tile.y}/{tile.x}.png"
        )
        west, south, east, north = tile_bounds_crs84("WorldCRS84Quad", tile)
        pixel = (
            int((longitude - west) / (east - west) * 256),
            int((north - latitude) / (north - south) * 256),
        )
        assert (answer.image.getpixel(pixel)[3] == 255) == shown


CHINA = (116.0, 39.0, 117.0, 40.0)
IMPOSSIBLE = [
    # Degrees, in both orders, where metres are wanted; swapped metres; a box on the far side of the Earth.
    ("EPSG:3879", "60.16,24.93,60.18,24.95", "1.3.0"),
    ("EPSG:3879", "24.93,60.16,24.95,60.18", "1.3.0"),
    ("EPSG:3879", "60.16,24.93,60.18,24.95", "1.1.1"),
    ("EPSG:3879", "-180,-90,180,90", "1.3.0"),
    ("EPSG:3879", "25490000,6670000,25500000,6680000", "1.3.0"),
    ("EPSG:3879", "6670000,25490000,6680000,25500000", "1.1.1"),
    ("EPSG:4547", "1e8,1e8,2e8,2e8", "1.3.0"),
    ("EPSG:4547", "2e7,2e7,3e7,3e7", "1.1.1"),
]
DRAWABLE = [
    *[(crs, "-90,-180,90,180", "1.3.0") for crs in ("EPSG:4326", "EPSG:4490")],
    *[(crs, "89.9,-180,90,180", "1.3.0") for crs in ("EPSG:4326", "EPSG:4490")],
    *[(crs, "-180,-90,180,90", "1.1.1") for crs in ("EPSG:4326", "EPSG:4490")],
    ("CRS:84", "-180,-90,180,90", "1.3.0"),
    ("CRS:84", "0,89.99,1,90", "1.3.0"),
    ("CRS:84", "-720,-400,720,400", "1.3.0"),
    ("EPSG:3857", "-1e9,-1e9,1e9,1e9", "1.3.0"),
    ("EPSG:4547", "0,0,1,1", "1.3.0"),
    ("EPSG:4547", "-2e7,-2e7,2e7,2e7", "1.3.0"),
    ("EPSG:3879", "0,0,2e7,5e7", "1.3.0"),
]


@pytest.fixture
def far_apart(tmp_path: Path) -> MapService:
    cities = [layer(), layer("beijing.streets", bbox84=CHINA, crs="EPSG:4547")]
    return build_map_service(cities, tmp_path, METADATA)


def placed(name: str, crs: str, box: str, version: str) -> dict[str, Any]:
    query = get_map(LAYERS=name, BBOX=box, VERSION=version, CRS=None)
    return query | {"CRS" if version == "1.3.0" else "SRS": crs}


@pytest.mark.parametrize("name", ["helsinki.buildings", "beijing.streets"])
@pytest.mark.parametrize(("crs", "box", "version"), IMPOSSIBLE)
def test_a_box_that_is_nowhere_on_earth_is_the_clients_error(
    far_apart: MapService, name: str, crs: str, box: str, version: str
) -> None:
    answer = ask(far_apart, "/service", placed(name, crs, box, version))
    assert answer.status == 400
    assert answer.root.tag.endswith("ServiceExceptionReport")
    assert f"outside the area of {crs}" in "".join(answer.root.itertext())


@pytest.mark.parametrize("name", ["helsinki.buildings", "beijing.streets"])
@pytest.mark.parametrize(("crs", "box", "version"), DRAWABLE)
def test_a_box_that_is_partly_on_earth_is_drawn(
    far_apart: MapService, name: str, crs: str, box: str, version: str
) -> None:
    answer = ask(far_apart, "/service", placed(name, crs, box, version))
    assert answer.image.size == (64, 48)


def test_a_box_wider_than_its_zone_still_shows_the_city(tmp_path: Path) -> None:
    source = ColourSource()
    service = build_map_service([layer(source=source)], tmp_path, METADATA)
    query = placed("helsinki.buildings", "EPSG:3879", "0,0,13400000,51000000", "1.3.0")
    query |= {"WIDTH": "1024", "HEIGHT": "256"}
    assert ask(service, "/service", query).status == 200
    assert len(source.asked) == 1
