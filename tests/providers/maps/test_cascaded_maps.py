"""Cascaded maps beside what their services draw themselves: WMS of MapServer, WMTS and TMS of MapProxy, tiles by template."""

from __future__ import annotations

import io
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

from providers.errors import StoreError
from providers.features.sources import SourceSettings
from providers.maps.remote import describe_remote_map
from providers.maps.remote.pyramid import quad_key
from providers.maps.remote.source import RemoteMapSource
from tiles.errors import UnknownInstant

Cascade = Callable[..., RemoteMapSource]
BOXES = {
    "EPSG:3857": (12_668_000.0, 2_583_000.0, 12_708_000.0, 2_613_000.0),
    "EPSG:4326": (113.8, 22.65, 114.1, 22.87),
    "CRS:84": (113.8, 22.65, 114.1, 22.87),
    "EPSG:4490": (113.8, 22.65, 114.1, 22.87),
    "EPSG:4547": (479_000.0, 2_506_000.0, 510_000.0, 2_530_000.0),
}
SIZE = (320, 240)


def _direct(url: str, crs: str) -> Any:
    """What MapServer draws: by WMS 1.1.1, where every box is easting first."""
    name = "EPSG:4326" if crs == "CRS:84" else crs
    box = ",".join(map(str, BOXES[crs]))
    asked = (
        f"{url}?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS=squares&STYLES=&SRS={name}&BBOX={box}"
        f"&WIDTH={SIZE[0]}&HEIGHT={SIZE[1]}&FORMAT=image/png&TRANSPARENT=TRUE"
    )
    with urlopen(asked) as answer:
        return np.asarray(Image.open(io.BytesIO(answer.read())).convert("RGBA"))


@pytest.mark.parametrize("version", ["1.3.0", "1.1.1"])
@pytest.mark.parametrize("crs", list(BOXES))
def test_a_wms_in_every_crs_it_offers(
    cascade: Cascade, mapserver: str, difference: Callable[..., float], crs: str, version: str
) -> None:
    source = cascade("wms", mapserver, layer="squares", version=version)
    drawn = source.render(BOXES[crs], crs, *SIZE)
    assert 0.02 < (drawn[..., 3] > 0).mean() < 0.5
    assert difference(drawn, _direct(mapserver, crs)) == 0


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:4547"])
def test_a_wms_is_warped_from_a_crs_it_offers(
    cascade: Cascade,
    mapserver_without_mercator: str,
    mapserver: str,
    difference: Callable[..., float],
    crs: str,
) -> None:
    source = cascade("wms", mapserver_without_mercator, layer="squares", crs="EPSG:4326")
    drawn = source.render(BOXES[crs], crs, *SIZE)
    assert difference(drawn, _direct(mapserver, crs)) < 0.02  # edges: between two pixels


def test_what_a_wms_says_of_itself(mapserver: str, settings_of: Callable[..., SourceSettings]) -> None:
    facts = describe_remote_map(
        {"store": "wms", "url": f"{mapserver}?SERVICE=WMS&request=GetCapabilities", "layer": "squares"},
        settings_of(mapserver),
    )
    assert (facts.title, facts.description, facts.attribution) == (
        "Squares",
        "Squares of the city",
        "Bureau of Works",
    )
    assert facts.bbox == pytest.approx((113.8, 22.6, 114.2, 22.9), abs=1e-4)
    assert set(facts.keywords) == {"square", "city"}
    assert facts.remote["image"]["crs"][0] == "EPSG:3857"
    assert {"EPSG:4490", "EPSG:4547"} <= set(facts.remote["image"]["crs"])
    assert facts.remote["image"]["maximum"] == [2048, 2048]
    assert "nowhere.invalid" not in facts.remote["image"]["url"]
    assert facts.remote["info_formats"]


def test_a_map_larger_than_the_service_draws_is_asked_in_parts(
    serve_maps: Callable[..., str], send: Callable[..., None], png: Callable[..., bytes], settings_of: Any
) -> None:
    from providers.maps.remote import open_remote_map

    asked: list[dict[str, list[str]]] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        query = parse_qs(urlsplit(handler.path).query)
        asked.append(query)
        send(handler, png((len(asked), 0, 0, 255), (int(query["WIDTH"][0]), int(query["HEIGHT"][0]))))

    url = serve_maps(answer)
    image = {"kind": "wms", "url": url, "version": "1.3.0", "layers": "a", "format": "image/png"}
    remote = {"store": "wms", "url": url, "image": image | {"crs": ["EPSG:3857"], "maximum": [100, 100]}}
    drawn = open_remote_map(remote, settings_of(url)).render((0, 0, 250, 150), "EPSG:3857", 250, 150)
    assert len(asked) == 6
    assert asked[0]["BBOX"] == ["0,50,100,150"]
    assert asked[-1]["BBOX"] == ["200,0,250,50"]
    assert drawn[149, 249].tolist() == [6, 0, 0, 255]


def test_feature_info_and_legend_of_a_wms(cascade: Cascade, mapserver: str) -> None:
    source = cascade("wms", mapserver, layer="squares")
    assert source.queryable
    width, height = SIZE
    for crs in BOXES:
        west, south, east, north = BOXES[crs]
        found = source.feature_info(BOXES[crs], crs, width, height, 0, 0, media_type="text/plain")
        assert found is not None
        assert b"no results" in found.body, crs
        if crs in ("EPSG:4326", "CRS:84", "EPSG:4490"):
            column, row = (
                int((113.92 - west) / (east - west) * width),
                int((north - 22.71) / (north - south) * height),
            )
            hit = source.feature_info(BOXES[crs], crs, width, height, column, row, media_type="text/plain")
            assert hit is not None
            assert hit.media_type == "text/plain"
            assert b"Feature 0" in hit.body, crs
    assert source.has_legend is (source.legend() is not None)


@pytest.mark.parametrize(
    ("store", "path", "members"),
    [
        ("wmts", "/service", {"matrix_set": "mercator"}),
        ("wmts", "/service", {"matrix_set": "cgcs"}),
        ("wmts", "/wmts/1.0.0/WMTSCapabilities.xml", {"matrix_set": "mercator"}),
        ("wmts", "/wmts/1.0.0/WMTSCapabilities.xml", {"matrix_set": "cgcs"}),
        ("tms", "/tms/1.0.0/", {"layer": "squares/mercator"}),
        ("tms", "/tms/1.0.0/squares/cgcs", {}),
        ("xyz", "/tiles/1.0.0/squares/mercator/{z}/{x}/{-y}.png?origin=sw", {}),
        ("tms", "/tiles/1.0.0/squares/mercator/{z}/{x}/{y}.png?origin=sw", {}),
        ("xyz", "/tiles/1.0.0/squares/mercator/{z}/{x}/{y}.png?origin=nw", {"max_zoom": "12"}),
    ],
)
@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:4490", "EPSG:4547"])
def test_tiles_of_mapproxy_in_every_crs(
    cascade: Cascade,
    mapproxy: str,
    mapserver: str,
    difference: Callable[..., float],
    store: str,
    path: str,
    members: dict[str, str],
    crs: str,
) -> None:
    layer = {"layer": "squares"} if store == "wmts" else {}
    source = cascade(store, f"{mapproxy}{path}", **(layer | members))
    drawn = source.render(BOXES[crs], crs, *SIZE)
    direct = _direct(mapserver, crs)
    assert (drawn[..., 3] > 0).mean() == pytest.approx((direct[..., 3] > 0).mean(), rel=0.1)
    assert difference(drawn, direct) < 0.03


def test_a_tile_of_the_service_is_handed_on_as_it_is(cascade: Cascade, mapproxy: str) -> None:
    source = cascade("xyz", f"{mapproxy}/tiles/1.0.0/squares/mercator/{{z}}/{{x}}/{{y}}.png?origin=nw")
    from tiles.grids import TileId, grid

    tile = TileId(11, 1672, 891)
    drawn = source.render(grid("WebMercatorQuad").bounds(tile), "EPSG:3857", 256, 256)
    with urlopen(f"{mapproxy}/tiles/1.0.0/squares/mercator/11/1672/891.png?origin=nw") as answer:
        direct = np.asarray(Image.open(io.BytesIO(answer.read())).convert("RGBA"))
    assert direct[..., 3].any()
    assert (drawn == direct).all()


def test_quad_keys() -> None:
    assert quad_key("3", 3, 5) == "213"
    assert quad_key("0", 0, 0) == ""


def test_quad_keys_and_subdomains_are_filled_in(
    serve_maps: Callable[..., str], send: Callable[..., None], png: Callable[..., bytes], cascade: Cascade
) -> None:
    asked: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        send(handler, png())

    url = serve_maps(answer)
    source = cascade("xyz", url + "/{s}/a{q}.png", subdomains="t0,t1", min_zoom="1", max_zoom="3")
    source.render((-1.0, -1.0, 1.0, 1.0), "CRS:84", 512, 512)
    assert (
        sorted(asked) == ["/t0/a033.png", "/t0/a300.png", "/t1/a122.png", "/t1/a211.png"] or len(asked) == 4
    )
    assert {path.split("/")[1] for path in asked} == {"t0", "t1"}


@pytest.mark.parametrize(
    ("store", "path", "members", "message"),
    [
        ("wms", "/service", {"layer": "nothing"}, "no layer 'nothing'; there are: squares"),
        ("wms", "/service", {}, "several layers"),
        ("wms", "/service", {"layer": "squares", "version": "2.0"}, "1.3.0 or 1.1.1"),
        ("wms", "/service", {"layer": "squares", "format": "image/x"}, "draws no 'image/x'"),
        ("wms", "/service", {"layer": "squares", "style": "night"}, "no style 'night'"),
        ("wms", "/service", {"layer": "squares", "crs": "EPSG:1"}, "not offered in 'EPSG:1'"),
        ("wms", "/service", {"layer": "squares", "axes": "zz"}, "xy or yx"),
        ("wms", "/service", {"layer": "squares", "colour": "red"}, "no members"),
        ("wmts", "/service", {"layer": "nothing"}, "no layer 'nothing'"),
        ("wmts", "/service", {"layer": "squares", "matrix_set": "x"}, "no tile matrix set 'x'"),
        ("tms", "/tms/1.0.0/", {}, "name one after #"),
        ("tms", "/tms/1.0.0/", {"layer": "x"}, "no layer 'x'"),
        ("xyz", "/tiles/{z}/{x}.png", {}, "needs"),
        ("xyz", "/tiles", {}, "places in braces"),
        ("xyz", "/{s}/{z}/{x}/{y}.png", {}, "subdomains"),
        ("xyz", "/{z}/{x}/{y}.png", {"max_zoom": "99"}, "max_zoom"),
        ("xyz", "/{z}/{x}/{y}.png", {"grid": "Nowhere"}, "Nowhere"),
        ("xyz", "/{z}/{x}/{y}.png", {"bbox": "1,2"}, "west,south,east,north"),
    ],
)
def test_what_does_not_fit_a_service_is_told(
    mapproxy: str,
    settings_of: Callable[..., SourceSettings],
    store: str,
    path: str,
    members: Any,
    message: str,
) -> None:
    with pytest.raises(StoreError, match=message):
        describe_remote_map({"store": store, "url": mapproxy + path, **members}, settings_of(mapproxy))


_ARCGIS = {
    "mapName": "Layers",
    "copyrightText": "Bureau of Surveying",
    "capabilities": "Map,Query",
    "layers": [{"id": 0, "name": "roads"}, {"id": 1, "name": "rivers"}],
    "supportedImageFormatTypes": "PNG32,PNG24,JPG",
    "fullExtent": {
        "xmin": 113.8,
        "ymin": 22.6,
        "xmax": 114.2,
        "ymax": 22.9,
        "spatialReference": {"wkid": 4490, "latestWkid": 4490},
    },
    "tileInfo": {
        "rows": 256,
        "cols": 256,
        "origin": {"x": -180, "y": 90},
        "spatialReference": {"wkid": 4490},
        "lods": [{"level": n, "resolution": 0.703125 / 2**n, "scale": 1} for n in range(18)],
    },
}


def test_an_arcgis_service_by_tiles_and_by_export(
    serve_maps: Callable[..., str], send: Callable[..., None], png: Callable[..., bytes], cascade: Cascade
) -> None:
    import orjson

    asked: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        if parts.path.endswith("/MapServer"):
            send(handler, orjson.dumps(_ARCGIS), "application/json")
            return
        asked.append(handler.path)
        size = parse_qs(parts.query).get("size", ["256,256"])[0].split(",")
        send(handler, png(size=(int(size[0]), int(size[1]))))

    url = serve_maps(answer) + "/arcgis/rest/services/City/MapServer"
    tiled = cascade("arcgis-map", url)
    drawn = tiled.render((113.9, 22.7, 114.0, 22.8), "EPSG:4490", 200, 200)
    assert (drawn[..., 3] == 255).all()
    assert all("/MapServer/tile/" in path for path in asked)
    level, row, column = map(int, asked[0].split("/tile/")[1].split("/"))
    span = 256 * 0.703125 / 2**level
    assert -180 + column * span <= 113.9 < -180 + (column + 1) * span
    assert 90 - (row + 1) * span <= 22.8 <= 90 - row * span
    asked.clear()
    exported = cascade("arcgis-map", url, layer="0,1")
    exported.render((12_668_000.0, 2_583_000.0, 12_708_000.0, 2_613_000.0), "EPSG:3857", 320, 240)
    query = parse_qs(urlsplit(asked[0]).query)
    assert query["bboxSR"] == query["imageSR"] == ["3857"]
    assert query["size"] == ["320,240"]
    assert query["layers"] == ["show:0,1"]


def test_time_is_handed_on(
    serve_maps: Callable[..., str], send: Callable[..., None], png: Callable[..., bytes], cascade: Cascade
) -> None:
    capabilities = (
        '<?xml version="1.0"?><!DOCTYPE WMT_MS_Capabilities SYSTEM "http://nowhere.invalid/x.dtd" ['
        "<!ELEMENT VendorSpecificCapabilities EMPTY>]><WMT_MS_Capabilities version='1.1.1'><Service/><Capability><Request>"
        "<GetMap><Format>image/png</Format></GetMap></Request><Layer><SRS>EPSG:4326 EPSG:3857</SRS><Layer><Name>rain</Name>"
        "<Title>Rain</Title><LatLonBoundingBox minx='113' miny='22' maxx='115' maxy='23'/><Dimension name='time' units='ISO8601'/>"
        "<Extent name='time'>2025-01-01T00:00:00Z,2025-01-02T00:00:00.000Z</Extent></Layer></Layer></Capability></WMT_MS_Capabilities>"
    )
    asked: list[dict[str, list[str]]] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        query = parse_qs(urlsplit(handler.path).query)
        if query["REQUEST"] == ["GetCapabilities"]:
            send(handler, capabilities.encode(), "application/vnd.ogc.wms_xml")
            return
        asked.append(query)
        send(handler, png(size=(64, 64)))

    source = cascade("wms", serve_maps(answer), layer="rain")
    assert source.times == ("2025-01-01T00:00:00Z", "2025-01-02T00:00:00.000Z")
    box = (113.5, 22.2, 114.0, 22.7)
    source.render(box, "EPSG:4326", 64, 64, instant="2025-01-02T00:00:00Z")
    source.render(box, "EPSG:4326", 64, 64)
    assert asked[0]["TIME"] == ["2025-01-02T00:00:00.000Z"]
    assert "TIME" not in asked[1]
    assert asked[0]["SRS"] == ["EPSG:4326"]
    with pytest.raises(UnknownInstant, match="2030"):
        source.render(box, "EPSG:4326", 64, 64, instant="2030-01-01T00:00:00Z")
