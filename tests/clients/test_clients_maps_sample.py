"""First tier: OWSLib and GDAL on the maps of an image, a height model and a time series. The rest is `make clients`."""

import io
import json

import numpy as np
import pytest
import rasterio
from owslib.ogcapi.coverages import Coverages
from owslib.ogcapi.edr import EnvironmentalDataRetrieval
from owslib.ogcapi.maps import Maps
from owslib.wms import WebMapService
from owslib.wmts import WebMapTileService


@pytest.fixture(scope="module")
def city(few_maps):
    return few_maps


def test_wms_in_cgcs2000_shows_every_place_and_every_day(city, look):
    service = WebMapService(f"{city.maps}/service", version="1.3.0")
    box = city.photo.bounds("EPSG:4490", -150)
    asked = {"styles": [""], "srs": "EPSG:4490", "bbox": box, "size": (240, 200), "format": "image/png"}
    photo = look(service.getmap(layers=["photo"], transparent=True, **asked).read())
    assert city.photo.wrong(photo, box, "EPSG:4490") < 0.001
    for day, ramp in city.series.items():
        picture = look(service.getmap(layers=["series"], transparent=True, time=day, **asked).read())
        assert ramp.wrong(picture, box, "EPSG:4490") < 0.001


def test_wms_offers_only_styles_that_draw(city):
    service = WebMapService(f"{city.maps}/service", version="1.1.1")
    for name in ("heights", "photo"):
        layer = service[name]
        for style in layer.styles:
            reply = service.getmap(
                layers=[name],
                styles=[style],
                srs="EPSG:4326",
                bbox=layer.boundingBoxWGS84,
                size=(60, 60),
                format="image/png",
            )
            assert reply.info()["Content-Type"] == "image/png", (name, style)
    assert "dem" in service["heights"].styles
    assert "ortho" not in service["heights"].styles


def test_wms_tells_the_values_of_a_pixel(city):
    service = WebMapService(f"{city.maps}/service", version="1.3.0")
    box = city.photo.bounds("EPSG:4326")
    reply = service.getfeatureinfo(
        layers=["photo"],
        query_layers=["photo"],
        styles=[""],
        srs="EPSG:4326",
        bbox=box,
        size=(200, 200),
        format="image/png",
        info_format="application/json",
        xy=(60, 150),
    )
    values = json.loads(reply.read())["features"][0]["properties"]
    expected = city.photo.colours(box, "EPSG:4326", (200, 200))[150, 60]
    assert [values["red"], values["green"], values["blue"]] == pytest.approx(list(expected), abs=2)


def test_wmts_takes_a_time(city, look):
    service = WebMapTileService(f"{city.maps}/wmts/1.0.0/WMTSCapabilities.xml")
    (dimension,) = service["series"].dimensions
    west, south, east, north = city.photo.bounds("EPSG:3857")
    edge = 40075016.685578488 / 2**15
    column = int((west + east) / 2 // edge) + 2**14
    row = 2**14 - 1 - int((south + north) / 2 // edge)
    left, top = (column - 2**14) * edge, (2**14 - row) * edge
    for day, ramp in city.series.items():
        reply = service.gettile(
            layer="series",
            tilematrixset="WebMercatorQuad",
            tilematrix="15",
            row=row,
            column=column,
            format="image/png",
            **{dimension: f"{day}T00:00:00Z"},
        )
        assert ramp.wrong(look(reply.read()), (left, top - edge, left + edge, top), "EPSG:3857") < 0.001


@pytest.mark.parametrize("grid", ["CGCS2000Quad", "CGCS2000GK3CM117E"])
def test_gdal_draws_wmts_where_it_is(city, run, look, tmp_path, grid):
    crs = "EPSG:4490" if grid == "CGCS2000Quad" else "EPSG:4548"
    west, south, east, north = city.photo.bounds(crs, -100)
    picture = tmp_path / "map.png"
    run(
        *("gdal_translate", "-q", "-of", "PNG", "-r", "bilinear", "-outsize", "300", "240"),
        *("-projwin", str(west), str(north), str(east), str(south)),
        f"WMTS:{city.maps}/wmts/1.0.0/WMTSCapabilities.xml,layer=photo,tilematrixset={grid}",
        str(picture),
    )
    assert city.photo.wrong(look(picture), (west, south, east, north), crs) < 0.03


def test_gdal_reads_ranges_of_the_cog(city):
    with rasterio.open(f"/vsicurl/{city.collection('photo')}/download/photo.tif") as opened:
        assert opened.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        row = opened.read(1, window=((300, 301), (0, opened.width)))[0].astype(int)
    assert (row[0], row[-1]) == (20, 220)


def test_owslib_draws_ogc_maps_of_a_day(city, look):
    box = city.photo.bounds("OGC:CRS84", -100)
    day, ramp = next(iter(city.series.items()))
    reply = Maps(city.ogc).map("series", bbox=list(box), width=300, height=240, datetime_=day)
    assert ramp.wrong(look(reply.read()), box, "OGC:CRS84") < 0.001


def test_owslib_reads_coverages_and_data_of_rasters(city):
    part = Coverages(city.ogc).coverage(
        "heights", subset={"Lat": (39.910, 39.915), "Lon": (116.390, 116.395)}
    )
    with rasterio.open(io.BytesIO(part.read())) as raster:
        assert raster.read(1)[0, 0] == pytest.approx(20.2)
    west, south, *_ = city.photo.bounds("OGC:CRS84")
    edr = EnvironmentalDataRetrieval(city.ogc)
    times = edr.query_data("series", "position", coords=f"POINT({west + 0.012} {south + 0.008})")
    assert times["ranges"]["blue"]["values"] == [ramp.blue for ramp in city.series.values()]
    assert np.shape(times["domain"]["axes"]["t"]["values"]) == (3,)
