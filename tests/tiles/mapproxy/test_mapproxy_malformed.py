"""Malformed requests of every map protocol: each is refused in the protocol's own words, and none is the server's fault."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tiles.mapproxy.wms_requests import MAXIMUM_LAYERS

LONG = "x" * 5000

WMS: list[tuple[dict[str, Any], str]] = [
    ({"LAYERS": None}, ""),
    ({"LAYERS": ""}, ""),
    ({"LAYERS": ","}, "LayerNotDefined"),
    ({"LAYERS": "city.nothing"}, "LayerNotDefined"),
    ({"LAYERS": "city.buildings,"}, "LayerNotDefined"),
    ({"LAYERS": LONG}, "LayerNotDefined"),
    ({"LAYERS": ",".join(["city.buildings"] * (MAXIMUM_LAYERS + 1))}, ""),
    ({"LAYERS": "../../etc/passwd"}, "LayerNotDefined"),
    ({"LAYERS": "<script>"}, "LayerNotDefined"),
    ({"LAYERS": "l0"}, "LayerNotDefined"),
    ({"STYLES": "nothing"}, "StyleNotDefined"),
    ({"STYLES": "plain,night"}, "StyleNotDefined"),
    ({"STYLES": ",,"}, "StyleNotDefined"),
    ({"LAYERS": "city.streets", "STYLES": "night"}, "StyleNotDefined"),
    ({"CRS": None}, ""),
    ({"CRS": ""}, ""),
    ({"CRS": "EPSG:99999"}, "InvalidCRS"),
    ({"CRS": "EPSG:27700"}, "InvalidCRS"),
    ({"CRS": "EPSG:4512"}, "InvalidCRS"),
    ({"CRS": "EPSG:4555"}, "InvalidCRS"),
    ({"CRS": "AUTO2:42001,1,0,0"}, "InvalidCRS"),
    ({"CRS": LONG}, "InvalidCRS"),
    ({"VERSION": "1.1.1", "SRS": "EPSG:99999", "CRS": None}, "InvalidSRS"),
    ({"BBOX": None}, ""),
    ({"BBOX": ""}, ""),
    ({"BBOX": "1,2,3"}, ""),
    ({"BBOX": "1,2,3,4,5"}, ""),
    ({"BBOX": "a,b,c,d"}, ""),
    ({"BBOX": "nan,0,1,1"}, ""),
    ({"BBOX": "0,0,inf,1"}, ""),
    ({"BBOX": "1e400,0,1,1"}, ""),
    ({"BBOX": "25,60,24,61"}, ""),
    ({"BBOX": "24,61,25,60"}, ""),
    ({"BBOX": "24,60,24,60"}, ""),
    ({"BBOX": "24_0,60,25,61"}, ""),
    ({"CRS": "EPSG:3857", "BBOX": "2e9,2e9,3e9,3e9"}, ""),
    ({"WIDTH": None}, ""),
    ({"WIDTH": "0"}, ""),
    ({"WIDTH": "-5"}, ""),
    ({"WIDTH": "1.5"}, ""),
    ({"WIDTH": "8193"}, ""),
    ({"HEIGHT": "99999999999999999999"}, ""),
    ({"HEIGHT": "٣"}, ""),
    ({"WIDTH": "8192", "HEIGHT": "8192"}, ""),
    ({"HEIGHT": "ten"}, ""),
    ({"FORMAT": None}, ""),
    ({"FORMAT": "image/gif"}, "InvalidFormat"),
    ({"FORMAT": "text/html"}, "InvalidFormat"),
    ({"FORMAT": LONG}, "InvalidFormat"),
    ({"TRANSPARENT": "maybe"}, ""),
    ({"BGCOLOR": "red"}, ""),
    ({"BGCOLOR": "0xGGGGGG"}, ""),
    ({"BGCOLOR": "0xFFFFFFF"}, ""),
    ({"VERSION": "one"}, ""),
    ({"VERSION": "1.3.0.0"}, ""),
    ({"SERVICE": "WFS"}, ""),
    ({"REQUEST": None}, "OperationNotSupported"),
    ({"REQUEST": "GetStyles"}, "OperationNotSupported"),
    ({"REQUEST": "PutStyles"}, "OperationNotSupported"),
    ({"REQUEST": LONG}, "OperationNotSupported"),
    ({"SLD": "http://elsewhere.example/a.sld"}, "OperationNotSupported"),
    ({"TIME": "yesterday"}, "InvalidDimensionValue"),
    ({"TIME": "2010-13-01"}, "InvalidDimensionValue"),
    ({"TIME": "2012/2010"}, "InvalidDimensionValue"),
    ({"TIME": "2010,2011"}, "InvalidDimensionValue"),
    ({"TIME": LONG}, "InvalidDimensionValue"),
    ({"TIME": "0000"}, "InvalidDimensionValue"),
    ({"LAYERS": "city.ortho", "TIME": "1999"}, "InvalidDimensionValue"),
    ({"LAYERS": "city.ortho", "TIME": "2030-01-01"}, "InvalidDimensionValue"),
    ({"REQUEST": "GetFeatureInfo", "I": "1", "J": "1"}, ""),
    ({"REQUEST": "GetFeatureInfo", "QUERY_LAYERS": "city.ortho", "I": "1", "J": "1"}, "LayerNotQueryable"),
    ({"REQUEST": "GetFeatureInfo", "QUERY_LAYERS": "city.nothing", "I": "1", "J": "1"}, "LayerNotDefined"),
    ({"REQUEST": "GetFeatureInfo", "QUERY_LAYERS": "city.buildings", "I": "64", "J": "1"}, "InvalidPoint"),
    ({"REQUEST": "GetFeatureInfo", "QUERY_LAYERS": "city.buildings", "I": "1", "J": "-1"}, "InvalidPoint"),
    ({"REQUEST": "GetFeatureInfo", "QUERY_LAYERS": "city.buildings", "I": "x", "J": "1"}, "InvalidPoint"),
    ({"REQUEST": "GetFeatureInfo", "QUERY_LAYERS": "city.buildings", "I": "1"}, "InvalidPoint"),
    (
        {
            "REQUEST": "GetFeatureInfo",
            "QUERY_LAYERS": "city.buildings",
            "I": "1",
            "J": "1",
            "INFO_FORMAT": "a/b",
        },
        "InvalidFormat",
    ),
    (
        {
            "REQUEST": "GetFeatureInfo",
            "QUERY_LAYERS": "city.buildings",
            "I": "1",
            "J": "1",
            "FEATURE_COUNT": "0",
        },
        "",
    ),
    ({"REQUEST": "GetLegendGraphic"}, ""),
    ({"REQUEST": "GetLegendGraphic", "LAYER": "city.nothing"}, "LayerNotDefined"),
    ({"REQUEST": "GetLegendGraphic", "LAYER": "city.buildings", "STYLE": "no"}, "StyleNotDefined"),
    ({"REQUEST": "GetLegendGraphic", "LAYER": "city.buildings", "FORMAT": "image/gif"}, "InvalidFormat"),
    ({"REQUEST": "GetLegendGraphic", "LAYER": "city.buildings", "SCALE": "-1"}, ""),
    ({"REQUEST": "GetLegendGraphic", "LAYER": "city.buildings", "LANGUAGE": "<"}, ""),
    ({"REQUEST": "DescribeLayer", "LAYERS": "city.nothing"}, "LayerNotDefined"),
]

WMTS: list[tuple[dict[str, Any], str]] = [
    ({"REQUEST": None}, "MissingParameterValue"),
    ({"REQUEST": "GetStyles"}, "OperationNotSupported"),
    ({"VERSION": "2.0.0"}, "InvalidParameterValue"),
    ({"REQUEST": "GetCapabilities", "ACCEPTVERSIONS": "2.0.0"}, "VersionNegotiationFailed"),
    ({"LAYER": None}, "MissingParameterValue"),
    ({"LAYER": "nothing"}, "InvalidParameterValue"),
    ({"STYLE": "nothing"}, "InvalidParameterValue"),
    ({"FORMAT": "image/gif"}, "InvalidParameterValue"),
    ({"TILEMATRIXSET": None}, "MissingParameterValue"),
    ({"TILEMATRIXSET": "nothing"}, "InvalidParameterValue"),
    ({"TILEMATRIXSET": LONG}, "InvalidParameterValue"),
    ({"TILEMATRIX": "-1"}, "TileOutOfRange"),
    ({"TILEMATRIX": "23"}, "TileOutOfRange"),
    ({"TILEMATRIX": "EPSG:3857:12"}, "InvalidParameterValue"),
    ({"TILEMATRIX": "9" * 30}, "TileOutOfRange"),
    ({"TILEROW": "4096"}, "TileOutOfRange"),
    ({"TILEROW": "-1"}, "TileOutOfRange"),
    ({"TILECOL": "4096"}, "TileOutOfRange"),
    ({"TILECOL": "x"}, "InvalidParameterValue"),
    ({"TILECOL": None}, "MissingParameterValue"),
    ({"TILEROW": "1.0"}, "InvalidParameterValue"),
    ({"TIME": "2010"}, "InvalidParameterValue"),
    ({"LAYER": "city.ortho", "TIME": "1999"}, "InvalidParameterValue"),
    ({"REQUEST": "GetFeatureInfo", "I": "1", "J": "1"}, "MissingParameterValue"),
    ({"REQUEST": "GetFeatureInfo", "I": "256", "J": "1", "INFOFORMAT": "text/plain"}, "InvalidPoint"),
    ({"REQUEST": "GetFeatureInfo", "I": "1", "J": "1", "INFOFORMAT": "a/b"}, "InvalidParameterValue"),
]

PATHS = [
    "/",
    "/nothing",
    "/service/more",
    "/wmts/1.0.0/",
    "/wmts/1.0.0/city.buildings",
    "/wmts/1.0.0/city.nothing/default/WebMercatorQuad/0/0/0.png",
    "/wmts/1.0.0/city.buildings/nothing/WebMercatorQuad/0/0/0.png",
    "/wmts/1.0.0/city.buildings/default/Nothing/0/0/0.png",
    "/wmts/1.0.0/city.buildings/default/WebMercatorQuad/0/0/1.png",
    "/wmts/1.0.0/city.buildings/default/WebMercatorQuad/a/0/0.png",
    "/wmts/1.0.0/city.buildings/default/WebMercatorQuad/0/0/0.gif",
    "/wmts/1.0.0/city.buildings/default/2010/WebMercatorQuad/0/0/0.png",
    "/wmts/1.0.0/city.ortho/default/never/WebMercatorQuad/0/0/0.png",
    "/wmts/1.0.0/city.buildings/default/WebMercatorQuad/0/0/0/256/0.json",
    "/wmts/1.0.0/city.buildings/default/WebMercatorQuad/0/0/0/1/1.gml",
    "/wmts/1.0.0/../../../etc/passwd/0/0/0.png",
    "/wmts/2.0.0/WMTSCapabilities.xml",
    "/tms/2.0.0",
    "/tms/1.0.0/city.nothing/WebMercatorQuad",
    "/tms/1.0.0/city.buildings/Nothing",
    "/tms/1.0.0/city.buildings/WebMercatorQuad/0/0/1.png",
    "/tms/1.0.0/city.buildings/WebMercatorQuad/0/0/0.gif",
    "/tms/1.0.0/city.buildings/WebMercatorQuad/-1/0/0.png",
    "/tms/1.0.0/city.buildings/WebMercatorQuad/0/0",
    "/xyz/city.buildings/WebMercatorQuad/30/0/0.png",
    "/xyz/city.buildings/WebMercatorQuad/0/0/0",
    "/tiles/city.buildings",
    "/kml",
    "/kml/city.buildings",
    "/kml/city.nothing/WebMercatorQuad",
    "/kml/city.buildings/CGCS2000Quad",
    "/kml/city.buildings/WebMercatorQuad/0/0/1.kml",
    "/kml/city.buildings/WebMercatorQuad/0/0/0.gif",
    "/kml/city.buildings/WebMercatorQuad/x/y/z.kml",
]


@pytest.mark.parametrize(("changes", "code"), WMS)
@pytest.mark.parametrize("version", ["1.3.0", "1.1.1"])
def test_wms(ask: Any, view: Any, get_map: Any, changes: dict[str, Any], code: str, version: str) -> None:
    answer = ask("/service", get_map(**({"VERSION": version} | changes)))
    assert 400 <= answer.status < 500, answer.body
    assert answer.root.tag.rpartition("}")[2] == "ServiceExceptionReport"
    [exception] = answer.root
    said = exception.get("code") or ""
    assert said == code or (said, code) == ("InvalidSRS", "InvalidCRS")
    assert exception.text
    assert len(answer.body) < 2500
    assert not any(source.asked for source in view.sources.values())


@pytest.mark.parametrize(("changes", "code"), WMTS)
def test_wmts(ask: Any, get_tile: Any, changes: dict[str, Any], code: str) -> None:
    answer = ask("/wmts", get_tile(**changes))
    assert 400 <= answer.status < 500, answer.body
    assert answer.root.tag == "{http://www.opengis.net/ows/1.1}ExceptionReport"
    assert answer.root[0].get("exceptionCode") == code


@pytest.mark.parametrize("path", PATHS)
def test_paths(ask: Any, path: str) -> None:
    answer = ask(path)
    assert 400 <= answer.status < 500, answer.body
    roots = {"/wmts": "ExceptionReport", "/tms": "TileMapServerError", "/xyz": "TileMapServerError"}
    wanted = next((root for start, root in roots.items() if path.startswith(start)), None)
    if wanted is not None:
        assert answer.root.tag.rpartition("}")[2] == wanted


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/service", "/wmts", "/tms/1.0.0", "/kml/city.buildings/WebMercatorQuad"])
def test_other_methods(ask: Any, method: str, path: str) -> None:
    answer = ask(path, "SERVICE=WMS&REQUEST=GetCapabilities", REQUEST_METHOD=method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


def test_queries_that_are_none(ask: Any) -> None:
    for query in (
        "%FF=%FE",
        "a=%00",
        "REQUEST=Get\x01Map",
        "&".join(f"a{n}=1" for n in range(200)),
        "=&=&&",
        "%",
    ):
        for path in ("/service", "/wmts"):
            assert 400 <= ask(path, query).status < 500


def test_random_requests_are_never_the_servers_fault(ask: Any, get_map: Any, get_tile: Any) -> None:
    chance = random.Random(4)
    values = [
        "",
        "0",
        "-1",
        "1e9",
        "nan",
        "∞",
        "a,b",
        "city.ortho",
        "EPSG:4326",
        "image/tiff",
        "%",
        "\\",
        LONG[:300],
    ]
    for _ in range(300):
        parameters = chance.choice((get_map, get_tile))()
        for _ in range(chance.randint(1, 4)):
            parameters[chance.choice(sorted(parameters))] = chance.choice(values)
        answer = ask(chance.choice(("/service", "/wmts")), parameters)
        assert answer.status < 500, parameters
