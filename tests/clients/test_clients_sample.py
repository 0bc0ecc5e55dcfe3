"""First tier: one small client of each kind on a served city of three buildings. The whole set is `make clients`."""

import json
import re

import pytest
from owslib.ogcapi.features import Features
from owslib.wms import WebMapService
from owslib.wmts import WebMapTileService

NAMES = {"人民公园", "北京路小学", "中山大楼"}
BOX = (116.389, 39.899, 116.412, 39.922)


@pytest.fixture(scope="module")
def beijing(block):
    return f"{block}/t/beijing"


def test_gdal_reads_every_feature_page_by_page(beijing, run):
    text = run(
        "ogr2ogr", "-f", "GeoJSON", "-oo", "PAGE_SIZE=1", "/vsistdout/", f"OAPIF:{beijing}/ogc/", "blocks"
    )
    features = json.loads(text)["features"]
    assert len(features) == 3
    assert {feature["properties"]["name"] for feature in features} == NAMES
    assert {feature["properties"]["built"] for feature in features} == {
        "2001-05-01",
        "2002-05-01",
        "2003-05-01",
    }


def test_gdal_asks_for_a_box(beijing, run):
    corner = ("-spat", "116.3995", "39.9095", "116.402", "39.912")
    text = run("ogr2ogr", "-f", "GeoJSON", *corner, "/vsistdout/", f"OAPIF:{beijing}/ogc/", "blocks")
    assert [feature["properties"]["name"] for feature in json.loads(text)["features"]] == ["北京路小学"]


def test_gdal_draws_a_wmts_layer(beijing, run, tmp_path, http):
    capabilities = f"{beijing}/maps/wmts/1.0.0/WMTSCapabilities.xml"
    listed = run("gdalinfo", f"WMTS:{capabilities},layer=blocks,tilematrixset=WorldCRS84Quad")
    assert re.search(r"^Band 4 .*ColorInterp=Alpha", listed, re.MULTILINE)
    window = ("-projwin", "116.3895", "39.9015", "116.3915", "39.8995")
    picture = tmp_path / "map.png"
    source = f"WMTS:{capabilities},layer=blocks,tilematrixset=WorldCRS84Quad"
    run("gdal_translate", "-q", "-of", "PNG", "-outsize", "64", "64", *window, source, str(picture))
    assert picture.stat().st_size > 150


def test_owslib_reads_items(beijing):
    features = Features(f"{beijing}/ogc/")
    assert features.feature_collections() == ["blocks"]
    assert features.collection_items("blocks", limit=2)["numberMatched"] == 3
    assert features.collection_items("blocks", name="人民公园")["features"][0]["properties"]["floors"] == 1


@pytest.mark.parametrize("version", ["1.1.1", "1.3.0"])
def test_owslib_draws_a_wms_layer(beijing, look, version):
    service = WebMapService(f"{beijing}/maps/service", version=version)
    assert set(service.contents) == {"blocks"}
    assert service["blocks"].boundingBoxWGS84 == pytest.approx((116.39, 39.90, 116.411, 39.921), abs=1e-4)
    # A box about the first building alone: it is in the middle of the picture, and nothing is at its corner.
    reply = service.getmap(
        layers=["blocks"],
        styles=[""],
        srs="EPSG:4326",
        bbox=(116.3895, 39.8995, 116.3915, 39.9015),
        size=(200, 200),
        format="image/png",
        transparent=True,
    )
    pixels = look(reply.read())
    assert pixels[100, 100, 3] > 0
    assert pixels[5, 5, 3] == 0


@pytest.mark.parametrize("capabilities", ["", "/1.0.0/WMTSCapabilities.xml"], ids=["KVP", "REST"])
def test_owslib_gets_a_wmts_tile(beijing, look, capabilities):
    service = WebMapTileService(f"{beijing}/maps/wmts{capabilities}")
    layer = service["blocks"]
    assert list(service.tilematrixsets["WebMercatorQuad"].tilematrix)[15:17] == ["15", "16"]
    reply = service.gettile(
        layer="blocks",
        tilematrixset="WebMercatorQuad",
        tilematrix="16",
        row=24834,
        column=53956,
        format=layer.formats[0],
    )
    look(reply.read())
