"""WMS GetFeatureInfo: what lies under a pixel, told as text, HTML and GeoJSON; and every way to ask for it wrongly."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from defusedxml import ElementTree
from owslib.map.wms130 import WebMapService_1_3_0

from tiles.mapproxy import MapLayer, ServiceMetadata
from tiles.mapproxy.service import MapService, build_map_service
from tiles.errors import MapSourceError
from tiles.maps.source import Box, Pixels


class Blank:
    def render(self, bbox: Box, crs: str, width: int, height: int) -> Pixels:
        return np.zeros((height, width, 4), dtype=np.uint8)


def square(feature_id: str, west: float, south: float, size: float, **properties: Any) -> dict[str, Any]:
    east, north = west + size, south + size
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "id": feature_id, "geometry": geometry, "properties": properties}


# An L whose envelope holds the small square, a shape without an area of its own, and one without a place.
CORNER = {
    "type": "Feature",
    "id": "corner",
    "geometry": {
        "type": "Polygon",
        "coordinates": [
            [
                [24.9, 60.1],
                [25.0, 60.1],
                [25.0, 60.11],
                [24.91, 60.11],
                [24.91, 60.2],
                [24.9, 60.2],
                [24.9, 60.1],
            ]
        ],
    },
    "properties": {"name": "<b>corner</b>"},
}
SMALL = square("small", 24.94, 60.14, 0.02, name="城 & small", storeys=3, height=None)
BOW = square("bow", 24.98, 60.18, 0.01, name="bow")
BOW["geometry"]["coordinates"] = [
    [[24.98, 60.18], [24.99, 60.19], [24.99, 60.18], [24.98, 60.19], [24.98, 60.18]]
]
NOWHERE = {"type": "Feature", "id": "nowhere", "geometry": None, "properties": {}}
ASKED: list[tuple[Box, int]] = []


def everything(environ: dict[str, Any], box: Box, most: int) -> Sequence[Mapping[str, Any]]:
    ASKED.append((box, most))
    return [CORNER, SMALL, BOW, NOWHERE] if "HTTP_AUTHORIZATION" in environ else [CORNER, SMALL]


def broken(environ: dict[str, Any], box: Box, most: int) -> Sequence[Mapping[str, Any]]:
    raise MapSourceError("buildings.gpkg cannot be read: it is gone")


def layer(name: str, **changes: Any) -> MapLayer:
    values: dict[str, Any] = {
        "name": name,
        "title": "Houses <of> the city",
        "bbox84": (24.9, 60.1, 25.0, 60.2),
        "source": Blank(),
        "cache_key": f"{name}/g1",
        "crs": "EPSG:3879",
        "keywords": ("houses", "a<b"),
    }
    return MapLayer(**(values | changes))


@pytest.fixture
def service(tmp_path: Path) -> MapService:
    layers = [
        layer("houses", features_at=everything),
        layer("photo"),
        layer("broken", features_at=broken),
        layer("secret", features_at=everything),
    ]
    return build_map_service(
        layers, tmp_path, ServiceMetadata("City"), lambda environ, names: {*names} - {"secret"}
    )


def ask(service: MapService, query: dict[str, Any], **environ: str) -> tuple[int, str, bytes]:
    request: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "/maps",
        "PATH_INFO": "/service",
        "QUERY_STRING": urlencode({name: value for name, value in query.items() if value is not None}),
        "HTTP_HOST": "city.example",
        "SERVER_NAME": "city.example",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
    } | environ
    begun: list[Any] = []
    body = b"".join(service(request, lambda status, headers, exc_info=None: begun.extend((status, headers))))
    return int(begun[0][:3]), {name.lower(): value for name, value in begun[1]}["content-type"], body


def info(**changes: Any) -> dict[str, Any]:
    """By default the pixel in the middle of the small square, on a map of the whole city."""
    query = {
        "SERVICE": "WMS",
        "VERSION": "1.3.0",
        "REQUEST": "GetFeatureInfo",
        "LAYERS": "houses",
        "QUERY_LAYERS": "houses",
        "STYLES": "",
        "CRS": "CRS:84",
        "BBOX": "24.9,60.1,25.0,60.2",
        "WIDTH": "100",
        "HEIGHT": "100",
        "FORMAT": "image/png",
        "INFO_FORMAT": "application/json",
        "FEATURE_COUNT": "10",
        "I": "50",
        "J": "50",
    }
    return query | changes


def found(service: MapService, **changes: Any) -> list[str]:
    status, media_type, body = ask(service, info(**changes))
    assert (status, media_type) == (200, "application/json"), body
    return [feature["id"] for feature in json.loads(body)["features"]]


def test_only_what_is_really_under_the_pixel_answers(service: MapService) -> None:
    assert found(service) == ["small"]
    assert found(service, I="5", J="50") == ["corner"]
    assert found(service, I="70", J="20") == []


def test_pixels_count_from_the_upper_left_and_reach_a_few_pixels(service: MapService) -> None:
    ASKED.clear()
    assert found(service, I="0", J="0") == ["corner"]
    (west, south, east, north), most = ASKED[0]
    assert (west + east) / 2 == pytest.approx(24.9005)
    assert (south + north) / 2 == pytest.approx(60.1995)
    assert east - west == pytest.approx(0.007)
    assert most == 500
    # The small square starts at column 40: three pixels beside it still answer, four do not.
    assert found(service, I="37") == ["small"]
    assert found(service, I="36") == []


@pytest.mark.parametrize(
    ("version", "crs", "box"),
    [
        ("1.3.0", "EPSG:4326", "60.1,24.9,60.2,25.0"),
        ("1.3.0", "EPSG:4490", "60.1,24.9,60.2,25.0"),
        ("1.1.1", "EPSG:4326", "24.9,60.1,25.0,60.2"),
        ("1.3.0", "EPSG:3857", "2771855.32,8422035.52,2782987.27,8444400.93"),
        ("1.3.0", "EPSG:3879", "6664500,25494500,6675500,25500000"),
    ],
)
def test_every_crs_and_version_finds_the_same(service: MapService, version: str, crs: str, box: str) -> None:
    names = ("I", "J", "CRS") if version == "1.3.0" else ("X", "Y", "SRS")
    plain = {"I": None, "J": None, "CRS": None}
    assert found(
        service, **plain | dict(zip(names, ("50", "50", crs), strict=True)), VERSION=version, BBOX=box
    ) == ["small"]


def test_nearest_first_and_no_more_than_asked(service: MapService) -> None:
    wide = {"BBOX": "24,59.5,26,60.5", "I": "47", "J": "35"}
    assert found(service, **wide) == ["small", "corner"]
    assert found(service, **wide, FEATURE_COUNT="1") == ["small"]
    assert found(service, **wide, FEATURE_COUNT=None) == ["small"]


def test_a_shape_that_crosses_itself_and_one_without_a_place_do_no_harm(service: MapService) -> None:
    status, _, body = ask(service, info(I="85", J="12"), HTTP_AUTHORIZATION="Bearer good")
    assert status == 200
    assert [one["id"] for one in json.loads(body)["features"]] == ["bow"]


def test_text_and_html_are_escaped_and_utf_8(service: MapService) -> None:
    status, media_type, body = ask(service, info(INFO_FORMAT="text/plain"))
    assert (status, media_type) == (200, "text/plain; charset=utf-8")
    assert body.decode() == "houses small\n  name = 城 & small\n  storeys = 3\n  height = \n"
    status, media_type, body = ask(service, info(INFO_FORMAT="text/html", I="5"))
    assert (status, media_type) == (200, "text/html; charset=utf-8")
    assert b"&lt;b&gt;corner&lt;/b&gt;" in body
    assert b"Houses &lt;of&gt; the city" in body
    assert b"&amp;lt;" not in body
    for media_type in ("text/plain", "text/html"):
        assert b"no features" in ask(service, info(INFO_FORMAT=media_type, I="70", J="20"))[2]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"QUERY_LAYERS": None}, None),
        ({"QUERY_LAYERS": "nothing"}, "LayerNotDefined"),
        ({"QUERY_LAYERS": "secret"}, "LayerNotDefined"),
        ({"QUERY_LAYERS": "photo"}, "LayerNotQueryable"),
        ({"QUERY_LAYERS": "houses,photo"}, "LayerNotQueryable"),
        ({"INFO_FORMAT": "application/vnd.ogc.gml"}, "InvalidFormat"),
        ({"I": None}, "InvalidPoint"),
        ({"I": "100"}, "InvalidPoint"),
        ({"J": "-1"}, "InvalidPoint"),
        ({"J": "1.5"}, "InvalidPoint"),
        ({"FEATURE_COUNT": "0"}, None),
        ({"FEATURE_COUNT": "many"}, None),
        ({"CRS": "EPSG:2154"}, "InvalidCRS"),
        ({"BBOX": "1,2,3"}, None),
        ({"WIDTH": "0"}, None),
        ({"CRS": "EPSG:3879"}, None),
    ],
)
def test_what_cannot_be_answered_is_refused(
    service: MapService, changes: dict[str, Any], code: str | None
) -> None:
    status, _, body = ask(service, info(**changes))
    assert status == 400
    assert ElementTree.fromstring(body)[0].get("code") == code


def test_data_that_is_gone_is_one_clear_error(service: MapService) -> None:
    status, _, body = ask(service, info(QUERY_LAYERS="broken"))
    assert status == 500
    assert b"it is gone" in body


@pytest.mark.parametrize("version", ["1.1.1", "1.3.0"])
def test_capabilities_say_which_layers_can_be_queried(service: MapService, version: str) -> None:
    _, _, body = ask(service, {"SERVICE": "WMS", "REQUEST": "GetCapabilities", "VERSION": version})
    root = ElementTree.fromstring(body)
    queryable = {}
    for entry in root.iter():
        if entry.tag.rpartition("}")[2] == "Layer":
            names = [part.text for part in entry if part.tag.rpartition("}")[2] == "Name"]
            queryable |= {name: entry.get("queryable") for name in names}
    assert queryable["houses"] == "1"
    assert queryable["photo"] in (None, "0")
    assert "secret" not in queryable


def test_owslib_reads_the_formats_and_keywords(service: MapService) -> None:
    _, _, body = ask(service, {"SERVICE": "WMS", "REQUEST": "GetCapabilities", "VERSION": "1.3.0"})
    wms = WebMapService_1_3_0("http://city.example/maps/service", xml=body)
    assert set(wms.getOperationByName("GetFeatureInfo").formatOptions) == {
        "text/plain",
        "text/html",
        "application/json",
    }
    assert wms.contents["houses"].keywords == ["houses", "a<b"]
