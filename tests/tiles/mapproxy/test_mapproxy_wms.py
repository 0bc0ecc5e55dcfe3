"""WMS 1.1.1 and 1.3.0: documents, maps in every CRS, styles, times, legends and information."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import pytest
import rasterio
from owslib.map.wms111 import WebMapService_1_1_1
from owslib.map.wms130 import WebMapService_1_3_0

from tiles.errors import MapSourceError, RenderingBusy
from tiles.grids import crs84_to_mercator
from tiles.mapproxy.engine import Engine
from tiles.maps.images import encode_image

_URL = "http://city.example/maps/service"


@pytest.mark.parametrize("version", ["1.1.1", "1.3.0"])
def test_owslib_reads_the_capabilities(ask: Any, view: Any, version: str) -> None:
    answer = ask("/service", f"SERVICE=WMS&REQUEST=GetCapabilities&VERSION={version}")
    reader = {"1.1.1": WebMapService_1_1_1, "1.3.0": WebMapService_1_3_0}[version]
    wms = reader(_URL, xml=answer.body)
    assert set(wms.contents) == {"city.buildings", "city.streets", "city.ortho"}
    assert wms.identification.title == view.metadata.title
    entry = wms.contents["city.buildings"]
    assert entry.title == 'Buildings <of> the "city" & more'
    assert entry.abstract == "建筑 & <b>"
    assert entry.boundingBoxWGS84 == pytest.approx((24.9, 60.1, 25.0, 60.2))
    assert set(entry.styles) == {"plain", "night"}
    assert "GetLegendGraphic" in entry.styles["night"]["legend"]
    assert {"EPSG:3857", "EPSG:4326", "EPSG:4490", "EPSG:3879"} <= set(entry.crsOptions)
    assert wms.getOperationByName("GetMap").methods[0]["url"] == f"{_URL}?"
    assert {"image/png", "image/jpeg", "image/webp", "image/tiff"} <= set(
        wms.getOperationByName("GetMap").formatOptions
    )
    assert wms.contents["city.ortho"].timepositions[0].startswith("2024-01-01T00:00:00Z")
    # The zones of CGCS2000 that a layer reaches into, and no others.
    assert {"EPSG:4526", "EPSG:4547"} <= set(wms.contents["city.ortho"].crsOptions)
    assert "EPSG:4547" not in entry.crsOptions


def test_documents_are_made_once_and_for_each_client_of_its_own(ask: Any, view: Any) -> None:
    url = "SERVICE=WMS&REQUEST=GetCapabilities"
    view.hidden = {"city.streets", "only in this test"}
    first = ask("/service", url)
    made = view.described
    assert ask("/service", url).body == first.body
    assert view.described == made
    assert b"city.streets" not in first.body
    packed = ask("/service", url, HTTP_ACCEPT_ENCODING="gzip, br")
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == "Accept-Encoding"
    view.hidden = set()
    assert b"city.streets" in ask("/service", url).body


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
        ("EPSG:4547", "2500000,400000,2600000,500000", "1.3.0"),
        ("EPSG:4547", "400000,2500000,500000,2600000", "1.1.1"),
        ("EPSG:4526", "2500000,38400000,2600000,38500000", "1.3.0"),
        ("EPSG:3879", "6660000,25490000,6670000,25500000", "1.3.0"),
    ],
)
def test_every_crs_in_the_axis_order_of_the_version(
    ask: Any, view: Any, get_map: Any, crs: str, bbox: str, version: str
) -> None:
    key = "CRS" if version == "1.3.0" else "SRS"
    answer = ask("/service", get_map(VERSION=version, CRS=None, BBOX=bbox) | {key: crs})
    assert answer.image.size == (64, 48)
    assert answer.image.getpixel((32, 24)) == (200, 30, 30, 255)
    [(asked, asked_crs, width, height, _)] = view.sources["buildings"].asked
    assert (asked_crs, width, height) == (crs, 64, 48)
    values = list(map(float, bbox.split(",")))
    swapped = version == "1.3.0" and crs not in ("CRS:84", "EPSG:3857")
    expected = (values[1], values[0], values[3], values[2]) if swapped else tuple(values)
    assert asked == pytest.approx(expected)


def test_layers_lie_over_each_other_each_in_its_style(ask: Any, get_map: Any) -> None:
    both = get_map(LAYERS="city.buildings,city.streets", STYLES="night,")
    assert ask("/service", both).image.getpixel((32, 24)) == (0, 0, 200, 255)
    twice = get_map(LAYERS="city.buildings,city.buildings", STYLES="plain,night")
    assert ask("/service", twice).image.getpixel((32, 24)) == (10, 10, 10, 255)
    default = get_map(STYLES="default")
    assert ask("/service", default).image.getpixel((32, 24)) == (200, 30, 30, 255)


def test_background_transparency_and_formats(ask: Any, view: Any, get_map: Any) -> None:
    view.sources["buildings"].colour = (0, 0, 0, 0)
    assert ask("/service", get_map(BGCOLOR="0x00FF00")).image.getpixel((5, 5)) == (0, 255, 0, 255)
    assert ask("/service", get_map(TRANSPARENT="TRUE")).image.getpixel((5, 5))[3] == 0
    see_through = get_map(TRANSPARENT="TRUE", FORMAT="image/jpeg", BGCOLOR="0x0000FF")
    assert ask("/service", see_through).image.getpixel((5, 5))[2] > 240, "a JPEG stands on its background"
    harmless = {
        "DPI": "96",
        "MAP_RESOLUTION": "96",
        "FORMAT_OPTIONS": "dpi:96",
        "TILED": "true",
        "ELEVATION": "3",
    }
    for asked, answered in (
        ("image/png", "image/png"),
        ("image/png8", "image/png"),
        ("image/png; mode=8bit", "image/png"),
        ("image/jpeg", "image/jpeg"),
        ("image/webp", "image/webp"),
        ("IMAGE/PNG", "image/png"),
    ):
        answer = ask("/service", get_map(FORMAT=asked, **harmless))
        assert answer.media_type == answered
        assert answer.image.size == (64, 48)


def test_a_tiff_knows_its_place(ask: Any, get_map: Any) -> None:
    answer = ask("/service", get_map(FORMAT="image/tiff", CRS="EPSG:4326", BBOX="60.12,24.92,60.18,24.98"))
    assert answer.media_type == "image/tiff"
    with rasterio.MemoryFile(answer.body) as memory, memory.open() as file:
        assert (file.width, file.height, file.count) == (64, 48, 4)
        assert tuple(file.bounds) == pytest.approx((24.92, 60.12, 24.98, 60.18))
        assert file.crs.to_epsg() == 4326
        assert file.read()[:, 24, 32].tolist() == [200, 30, 30, 255]


@pytest.mark.parametrize(
    ("value", "instant", "note"),
    [
        ("", None, "Default value used: time=2025-01-01T00:00:00Z ISO8601"),
        ("current", None, None),
        ("2024-06-01T00:00:00Z", "2024-06-01T00:00:00Z", None),
        ("2024-06", "2024-06-01T00:00:00Z", "Nearest value used: time=2024-06-01T00:00:00Z ISO8601"),
        ("2024-02-01", "2024-01-01T00:00:00Z", "Nearest value used: time=2024-01-01T00:00:00Z ISO8601"),
        (
            "2024-05-20T12:00:00Z",
            "2024-06-01T00:00:00Z",
            "Nearest value used: time=2024-06-01T00:00:00Z ISO8601",
        ),
        ("2024-06-01T02:00:00+02:00", "2024-06-01T00:00:00Z", None),
        ("2025-01-01T00:00:00Z", None, None),
    ],
)
def test_times_of_a_series(
    ask: Any, view: Any, get_map: Any, value: str, instant: str | None, note: str | None
) -> None:
    answer = ask("/service", get_map(LAYERS="city.ortho", BBOX="114,22.6,114.1,22.7", TIME=value))
    assert answer.status == 200, answer.body
    assert view.sources["ortho"].asked[0][4] == instant
    assert answer.headers.get("warning") == (None if note is None else f'99 - "{note}"')


@pytest.mark.parametrize(
    ("value", "interval"),
    [
        ("2010-05-01T12:00:00Z", "2010-05-01T12:00:00Z"),
        ("2010", "2010-01-01T00:00:00Z/2010-12-31T23:59:59.999999Z"),
        ("2008-02", "2008-02-01T00:00:00Z/2008-02-29T23:59:59.999999Z"),
        ("2010-01-01/2012-01-01/P1D", "2010-01-01T00:00:00Z/2012-01-01T23:59:59.999999Z"),
    ],
)
def test_times_of_features(ask: Any, view: Any, get_map: Any, value: str, interval: str) -> None:
    assert ask("/service", get_map(TIME=value)).status == 200
    assert view.sources["buildings"].asked[0][4] == interval


def test_information_as_json_text_and_page(ask: Any, get_map: Any) -> None:
    question = get_map(
        REQUEST="GetFeatureInfo", QUERY_LAYERS="city.buildings,city.streets", I=32, J=24, FEATURE_COUNT=9
    )
    answer = ask("/service", question | {"INFO_FORMAT": "application/json"})
    assert answer.media_type == "application/json"
    assert answer.body.count(b'"id":"small"') == 2, "once for each layer"
    assert answer.body.index(b'"small"') < answer.body.index(b'"large"')
    text = ask("/service", question | {"INFO_FORMAT": "text/plain"}).body.decode()
    assert "name = 城 & <small>" in text
    page = ask("/service", question | {"INFO_FORMAT": "text/html"}).body.decode()
    assert "城 &amp; &lt;small&gt;" in page
    old = question | {"VERSION": "1.1.1", "SRS": "EPSG:4326", "X": 32, "Y": 24}
    for name in ("CRS", "I", "J"):
        del old[name]
    assert "storeys = 3" in ask("/service", old).body.decode()


def test_legends_and_descriptions(ask: Any) -> None:
    legend = ask("/service", "REQUEST=GetLegendGraphic&LAYER=city.buildings&STYLE=night&FORMAT=image/png")
    assert legend.image.size == (40, 20)
    root = ask("/service", "REQUEST=DescribeLayer&LAYERS=city.buildings,city.ortho&SLD_VERSION=1.1.0").root
    assert [one.get("owsType") for one in root.iter("LayerDescription")] == ["WFS", None]
    for name in ("SLD", "SLD_BODY"):
        refused = ask("/service", {"REQUEST": "GetMap", "LAYERS": "city.buildings", name: "<x/>"})
        assert refused.status == 400
        assert b"OperationNotSupported" in refused.body


@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [(RenderingBusy("all places are taken", 7), 503, "7"), (MapSourceError("the file is gone"), 503, "10")],
)
def test_what_cannot_be_drawn_now_says_when_to_come_back(
    ask: Any, view: Any, get_map: Any, get_tile: Any, error: Any, status: int, retry: str
) -> None:
    view.break_with(error)
    for path, query, root in (
        ("/service", get_map(), "ServiceExceptionReport"),
        ("/service", get_map(VERSION="1.1.1", SRS="EPSG:4326"), "ServiceExceptionReport"),
        ("/wmts", get_tile(), "ExceptionReport"),
        ("/tms/1.0.0/city.buildings/WebMercatorQuad/12/2331/2910.png", {}, "TileMapServerError"),
    ):
        answer = ask(path, query)
        assert (answer.status, answer.headers["retry-after"]) == (status, retry)
        assert answer.root.tag.rpartition("}")[2] == root
        assert str(error) in "".join(answer.root.itertext())


def test_mapproxys_own_ogc_api_is_not_there() -> None:
    assert Engine().services == {"service", "ows", "wms", "wmts", "kml"}


def test_mapproxy_asks_again_who_may_see_a_layer(service: Any, view: Any, get_map: Any) -> None:
    from tiles.mapproxy.engine import Request

    def asked(allows: Any) -> int:
        drawn = view.drawn(view.layer("city.buildings"), None, None)
        request = Request({"l0": drawn}, {"l0": "city.buildings"})
        query = (
            "SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS=l0&STYLES=&SRS=EPSG:4326&BBOX=24.9,60.1,25,60.2&WIDTH=9&HEIGHT=9"
            "&FORMAT=image/png&TRANSPARENT=TRUE&BGCOLOR=0xffffff"
        )
        environ = {"wsgi.errors": io.StringIO()}
        return int(service._engine.answer("/service", query, view.url, request, environ, allows).status)

    assert asked(lambda _name: True) == 200
    assert asked(lambda _name: False) == 403
    assert len(view.sources["buildings"].asked) == 1


def test_a_map_of_several_layers_is_drawn_and_written_in_one_place(
    ask: Any, view: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What encodes outside of it has as many images in memory as there are threads."""
    written: list[list[str]] = []

    def encoded(pixels: Any, media_type: str) -> bytes:
        written.append(list(view.places))
        return encode_image(pixels, media_type)

    monkeypatch.setattr("tiles.mapproxy.engine.encode_image", encoded)
    url = (
        "SERVICE=WMS&VERSION=1.3.0&REQUEST=GetMap&LAYERS=city.buildings,city.streets&STYLES=,&CRS=CRS:84"
        "&BBOX=24.9,60.1,25,60.2&WIDTH=40&HEIGHT=40&FORMAT=image/png"
    )
    assert ask("/service", url).status == 200
    assert written == [["fast"]]
    assert view.places == ["fast", "left"]
    view.slow = {"city.streets"}
    assert ask("/service", url).status == 200
    assert view.places[2:] == ["slow", "left"]


def test_a_document_is_made_by_one_for_all_who_ask(ask: Any, view: Any) -> None:
    begun, go_on = threading.Event(), threading.Event()
    layers = view.layers

    def slowly() -> Any:
        begun.set()
        assert go_on.wait(20)
        return layers()

    view.hidden = {"only for this test of documents"}
    view.layers = slowly
    url = "SERVICE=WMS&REQUEST=GetCapabilities"
    with ThreadPoolExecutor(10) as pool:
        # One makes it, eight wait; the tenth finds no room to wait.
        answers = [pool.submit(ask, "/service", url) for _ in range(10)]
        assert begun.wait(20)
        first = next(as_completed(answers, timeout=20)).result()
        assert (first.status, first.headers["retry-after"]) == (503, "5")
        go_on.set()
        assert sorted(one.result(20).status for one in answers) == [200] * 9 + [503]
    assert view.described == 1


def test_a_document_that_could_not_be_made_is_tried_again(ask: Any, view: Any) -> None:
    view.hidden = {"only for this other test of documents"}
    layers, view.layers = view.layers, lambda: 1 // 0
    url = "SERVICE=WMS&REQUEST=GetCapabilities"
    with pytest.raises(ZeroDivisionError):
        ask("/service", url)
    view.layers = layers
    assert ask("/service", url).status == 200
