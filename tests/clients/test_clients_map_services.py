"""WMS, WMTS and TMS as clients use them: styles, times, legends, information and tile grids; a small city, in the first tier."""

import io
import json
import re

import pytest
from owslib.wms import WebMapService
from owslib.wmts import WebMapTileService
from PIL import Image

BOX = (116.389, 39.899, 116.412, 39.922)
PLACE = {"layers": ["blocks"], "srs": "EPSG:4326", "bbox": BOX, "size": (300, 300)}


@pytest.fixture(scope="module")
def maps(block):
    return f"{block}/t/beijing/maps"


def drawn(reply):
    return (Image.open(io.BytesIO(reply.read())).convert("RGBA").getchannel("A").histogram())[0]


@pytest.mark.parametrize("version", ["1.1.1", "1.3.0"])
def test_owslib_finds_and_draws_every_style(maps, look, http, version):
    service = WebMapService(f"{maps}/service", version=version)
    layer = service["blocks"]
    assert len(layer.styles) > 1
    pictures = set()
    for name, style in layer.styles.items():
        reply = service.getmap(styles=[name], format="image/png", **PLACE)
        pictures.add(look(reply.read()).tobytes())
        legend = http.get(style["legend"], timeout=20)
        assert legend.headers["Content-Type"] == "image/png"
        assert Image.open(io.BytesIO(legend.content)).size > (10, 10)
    assert len(pictures) > 1


def test_owslib_asks_a_time_of_the_capabilities(maps):
    service = WebMapService(f"{maps}/service", version="1.3.0")
    layer = service["blocks"]
    start, end, _ = layer.timepositions[0].split("/")
    assert layer.defaulttimeposition == f"{start}/{end}"

    def empty(**time):
        return drawn(service.getmap(styles=[""], format="image/png", transparent=True, **PLACE, **time))

    assert empty() == empty(time=f"{start}/{end}") < empty(time=start) < 300 * 300
    assert empty(time="1700") == 300 * 300


@pytest.mark.parametrize("version", ["1.1.1", "1.3.0"])
def test_owslib_asks_what_is_there(maps, version):
    service = WebMapService(f"{maps}/service", version=version)
    place = PLACE | {"bbox": (116.3895, 39.8995, 116.3915, 39.9015), "xy": (150, 150)}
    reply = service.getfeatureinfo(
        query_layers=["blocks"], info_format="application/json", feature_count=5, styles=[""], **place
    )
    assert [one["layer"] for one in json.loads(reply.read())["features"]] == ["blocks"]


@pytest.mark.parametrize("grid", ["WebMercatorQuad", "WorldCRS84Quad", "CGCS2000Quad", "CGCS2000GK3CM117E"])
def test_gdal_draws_every_grid_of_the_capabilities(maps, run, look, tmp_path, grid):
    source = f"WMTS:{maps}/wmts/1.0.0/WMTSCapabilities.xml,layer=blocks,tilematrixset={grid}"
    listed = run("gdalinfo", source)
    assert re.search(r"^Band 4 .*ColorInterp=Alpha", listed, re.MULTILINE)
    picture = tmp_path / "map.png"
    window = ("-projwin", "116.3895", "39.9015", "116.3915", "39.8995", "-projwin_srs", "OGC:CRS84")
    run("gdal_translate", "-q", "-of", "PNG", "-outsize", "200", "200", *window, source, str(picture))
    pixels = look(picture)
    assert pixels[90:110, 90:110, 3].any(), "the first building is in the middle"
    assert not pixels[0:8, 0:8, 3].any()


def test_gdal_reads_tms(maps, run, look, tmp_path):
    # GDAL takes the documents of TMS by their address.
    listed = run("gdalinfo", f"{maps}/tms/1.0.0/blocks/WebMercatorQuad")
    assert "Driver: WMS" in listed
    assert re.search(r"ID\[\"EPSG\",3857\]", listed)


def test_owslib_reads_wmts_with_styles_and_information(maps, http):
    service = WebMapTileService(f"{maps}/wmts/1.0.0/WMTSCapabilities.xml")
    layer = service["blocks"]
    pictures = set()
    for style in layer.styles:
        reply = service.gettile(
            layer="blocks",
            style=style,
            tilematrixset="WebMercatorQuad",
            tilematrix="16",
            row=24834,
            column=53956,
            format="image/png",
        )
        pictures.add(reply.read())
    assert len(pictures) == len(layer.styles)
    template = next(one["template"] for one in layer.resourceURLs if one["resourceType"] == "FeatureInfo")
    values = {"Style": "default", "TileMatrixSet": "WebMercatorQuad", "TileMatrix": "16", "I": "9", "J": "9"}
    values |= {"TileRow": "24834", "TileCol": "53956"}
    url = re.sub(r"\{(\w+)\}", lambda match: values[match[1]], template)
    assert http.get(url, timeout=20).status_code == 200
