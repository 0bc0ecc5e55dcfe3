"""OWSLib on maps and rasters: every operation of WMS and WMTS, and its OGC API classes, compared with what is really there."""

import io
import json

import numpy as np
import pytest
import rasterio
from owslib.ogcapi.coverages import Coverages
from owslib.ogcapi.edr import EnvironmentalDataRetrieval
from owslib.ogcapi.features import Features
from owslib.ogcapi.maps import Maps
from owslib.wms import WebMapService
from owslib.wmts import WebMapTileService

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

VERSIONS = pytest.mark.parametrize("version", ["1.1.1", "1.3.0"])
GRIDS = {
    "WebMercatorQuad": "EPSG:3857",
    "WorldCRS84Quad": "EPSG:4326",
    "CGCS2000Quad": "EPSG:4490",
    "CGCS2000GK3CM117E": "EPSG:4548",
}
DAY = "2024-05-02"


@pytest.fixture(scope="module")
def city(every_map):
    return every_map


def get_map(service, layer, box, crs, size=(240, 200), **more):
    asked = {"styles": [""], "format": "image/png", "transparent": True} | more
    return service.getmap(layers=[layer], srs=crs, bbox=box, size=size, **asked).read()


@VERSIONS
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:4490", "EPSG:3857", "EPSG:4548"])
@pytest.mark.parametrize("layer", ["photo", "far-wms", "far-wmts", "far-xyz"])
def test_wms_shows_every_place_where_it_is(city, look, version, crs, layer):
    service = WebMapService(f"{city.maps}/service", version=version)
    box = city.photo.bounds(crs, -150)
    pixels = look(get_map(service, layer, box, crs))
    # A cascade is drawn by two servers in turn, each with a kernel of its own: a level or two of a colour.
    assert city.photo.wrong(pixels, box, crs) < (0.001 if layer == "photo" else 0.02)


@VERSIONS
def test_wms_times(city, look, version):
    service = WebMapService(f"{city.maps}/service", version=version)
    layer = service["series"]
    assert [one[:10] for one in layer.timepositions] == list(city.series)
    box = city.series[DAY].bounds("EPSG:4326", -50)
    for day, ramp in city.series.items():
        pixels = look(get_map(service, "series", box, "EPSG:4326", time=day))
        assert ramp.wrong(pixels, box, "EPSG:4326") < 0.001
    newest = look(get_map(service, "series", box, "EPSG:4326"))
    assert city.series[layer.defaulttimeposition[:10]].wrong(newest, box, "EPSG:4326") < 0.001


@VERSIONS
def test_wms_styles_and_legends_of_rasters(city, look, http, version):
    service = WebMapService(f"{city.maps}/service", version=version)
    layer = service["heights"]
    pictures = {
        name: (get_map(service, "heights", layer.boundingBoxWGS84, "EPSG:4326", styles=[name]))
        for name in layer.styles
    }
    assert {"dem", "grey", "hillshade"} <= set(pictures)
    assert len({pictures[name] for name in ("dem", "grey", "hillshade")}) == 3
    assert "ortho" not in pictures, "it asks for three bands"
    for name in ("dem", "grey"):
        look(pictures[name])
    for name, style in layer.styles.items():
        legend = http.get(style["legend"], timeout=20)
        assert legend.headers["Content-Type"] == "image/png", name
        # Only a colour ramp has a legend of many colours.
        if name == "dem":
            look(legend.content)


@VERSIONS
@pytest.mark.parametrize("layer", ["photo", "series"])
def test_wms_tells_the_values_of_a_pixel(city, version, layer):
    service = WebMapService(f"{city.maps}/service", version=version)
    ramp = city.photo if layer == "photo" else city.series[DAY]
    box, size, at = ramp.bounds("EPSG:4326"), (200, 200), (60, 150)
    more = {"time": DAY} if layer == "series" else {}
    reply = service.getfeatureinfo(
        layers=[layer],
        query_layers=[layer],
        styles=[""],
        srs="EPSG:4326",
        bbox=box,
        size=size,
        format="image/png",
        info_format="application/json",
        xy=at,
        **more,
    )
    found = json.loads(reply.read())["features"][0]
    red, green, blue = ramp.colours(box, "EPSG:4326", size)[at[1], at[0]]
    values = found["properties"]
    assert (values["red"], values["green"]) == pytest.approx((red, green), abs=2)
    assert values["blue"] == blue == ramp.blue


@VERSIONS
def test_wms_tells_the_features_of_a_postgis_table(city, look, version):
    service = WebMapService(f"{city.maps}/service", version=version)
    centre = city.towers.geometries[7].representative_point()
    box = (centre.x - 0.002, centre.y - 0.002, centre.x + 0.002, centre.y + 0.002)
    look(get_map(service, "towers", box, "EPSG:4326"))
    reply = service.getfeatureinfo(
        layers=["towers"],
        query_layers=["towers"],
        styles=[""],
        srs="EPSG:4326",
        bbox=box,
        size=(200, 200),
        format="image/png",
        info_format="application/json",
        feature_count=20,
        xy=(100, 100),
    )
    found = {one["properties"]["secret"] for one in json.loads(reply.read())["features"]}
    assert city.towers.secrets[7] in found


@pytest.fixture(scope="module", params=["KVP", "REST"])
def wmts(city, request):
    rest = "/1.0.0/WMTSCapabilities.xml" if request.param == "REST" else ""
    return WebMapTileService(f"{city.maps}/wmts{rest}")


def tile_under(service, grid, crs, ramp):
    """Level, column, row and box (x first) of a tile a third as wide as a ramp, in its middle; from the capabilities alone."""
    matrices = service.tilematrixsets[grid].tilematrix
    west, south, east, north = ramp.bounds(crs)
    metres = 111_319.49 if crs in ("EPSG:4326", "EPSG:4490") else 1.0
    name, matrix = min(
        matrices.items(),
        key=lambda one: abs(one[1].scaledenominator * 0.00028 / metres * 256 - (east - west) / 3),
    )
    cell = matrix.scaledenominator * 0.00028 / metres
    left, top = matrix.topleftcorner
    if crs in ("EPSG:4490", "EPSG:4548"):
        left, top = top, left  # northing or latitude first, as these CRS say
    edge = cell * matrix.tilewidth
    column, row = int(((west + east) / 2 - left) / edge), int((top - (south + north) / 2) / edge)
    box = (left + column * edge, top - (row + 1) * edge, left + (column + 1) * edge, top - row * edge)
    return name, column, row, box


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("layer", ["photo", "far-wms", "far-wmts", "far-xyz"])
def test_wmts_tiles_lie_where_the_capabilities_say(city, look, wmts, grid, layer):
    matrix, column, row, box = tile_under(wmts, grid, GRIDS[grid], city.photo)
    reply = wmts.gettile(
        layer=layer, tilematrixset=grid, tilematrix=matrix, row=row, column=column, format="image/png"
    )
    wrong = city.photo.wrong(look(reply.read()), box, GRIDS[grid])
    assert wrong < (0.001 if layer == "photo" else 0.03)


def test_wmts_dimension_and_styles(city, look, wmts):
    layer = wmts["series"]
    (dimension,) = layer.dimensions
    assert [one[:10] for one in layer.dimensions[dimension]["values"]] == list(city.series)
    matrix, column, row, box = tile_under(wmts, "WebMercatorQuad", "EPSG:3857", city.photo)
    place = {"tilematrixset": "WebMercatorQuad", "tilematrix": matrix, "row": row, "column": column}
    for instant in layer.dimensions[dimension]["values"]:
        reply = wmts.gettile(layer="series", format="image/png", **place, **{dimension: instant})
        assert city.series[instant[:10]].wrong(look(reply.read()), box, "EPSG:3857") < 0.001
    pictures = set()
    for style in ("ortho", "grey"):
        reply = wmts.gettile(layer="photo", style=style, format="image/png", **place)
        pictures.add(look(reply.read()).tobytes())
    assert len(pictures) == 2


def test_maps(city, look):
    maps = Maps(city.ogc)
    names = {"blocks", "photo", "heights", "series", "towers", *city.cascades}
    assert set(maps.maps()) == names
    box = city.photo.bounds("OGC:CRS84", -100)
    for name in ("photo", *city.cascades):
        pixels = look(maps.map(name, bbox=list(box), width=300, height=240, transparent=True).read())
        assert city.photo.wrong(pixels, box, "OGC:CRS84") < (0.001 if name == "photo" else 0.02), name
    for day, ramp in city.series.items():
        pixels = look(maps.map("series", bbox=list(box), width=300, height=240, datetime_=day).read())
        assert ramp.wrong(pixels[..., :3], box, "OGC:CRS84") < 0.001


def test_coverages(city):
    coverages = Coverages(city.ogc)
    assert set(coverages.coverages()) == {"photo", "heights", "series"}
    part = coverages.coverage("heights", subset={"Lat": (39.910, 39.915), "Lon": (116.390, 116.395)})
    with rasterio.open(io.BytesIO(part.read())) as raster:
        assert (raster.width, raster.height) == (10, 10)
        assert raster.crs.to_epsg() == 4490
        assert raster.read(1)[0, 0] == pytest.approx(10 + 10 + 20 / 100)
    whole = coverages.coverage("heights", bbox=[116.385, 39.905, 116.415, 39.925])
    with rasterio.open(io.BytesIO(whole.read())) as raster:
        values = raster.read(1, masked=True)
        assert values.mask[-5:, -5:].all()
        assert values.mask.sum() == 25
    small = coverages.coverage("photo", scale_factor=4, properties=["green"])
    with rasterio.open(io.BytesIO(small.read())) as raster:
        assert (raster.width, raster.count) == (128, 1)
        assert np.ptp(raster.read(1, masked=True)) > 180
    day = coverages.coverage("series", scale_factor=8, properties=["blue"], datetime=f"{DAY}T00:00:00Z")
    with rasterio.open(io.BytesIO(day.read())) as raster:
        assert set(np.unique(raster.read(1, masked=True).compressed())) == {city.series[DAY].blue}


def test_edr_on_rasters(city):
    edr = EnvironmentalDataRetrieval(city.ogc)
    point = edr.query_data("heights", "position", coords="POINT(116.39025 39.91475)")
    (value,) = point["ranges"]["height"]["values"]
    assert value == pytest.approx(10 + 10 + 20 / 100, abs=0.6)
    centre = (city.photo.bounds("OGC:CRS84")[0] + 0.012, city.photo.bounds("OGC:CRS84")[1] + 0.008)
    times = edr.query_data("series", "position", coords=f"POINT({centre[0]} {centre[1]})")
    assert times["ranges"]["blue"]["values"] == [ramp.blue for ramp in city.series.values()]
    assert [one[:10] for one in times["domain"]["axes"]["t"]["values"]] == list(city.series)
    box = edr.query_data("heights", "cube", bbox=[116.390, 39.910, 116.395, 39.915])
    assert box["ranges"]["height"]["shape"][-2:] == [10, 10]
    ring = "POLYGON((116.390 39.910,116.395 39.910,116.395 39.915,116.390 39.910))"
    area = edr.query_data("heights", "area", coords=ring)
    values = area["ranges"]["height"]["values"]
    assert any(value is None for value in values)
    assert any(value is not None for value in values)


def test_features_of_the_same_collections(city):
    features = Features(city.ogc)
    assert set(features.feature_collections()) == {"blocks", "towers"}
    assert len(features.collection_items("towers", limit=100)["features"]) == 60
    assert features.collection_items("blocks", limit=1)["numberMatched"] == 3
