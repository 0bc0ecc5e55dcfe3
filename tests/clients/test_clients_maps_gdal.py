"""GDAL on maps and rasters: WMS, WMTS and OGCAPI drivers, ranges of a COG, coverages as GeoTIFF and NetCDF, vector tiles."""

import json
import re

import numpy as np
import pytest
import rasterio
from rasterio.windows import from_bounds

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

LAYERS = ("photo", "far-wms", "far-wmts", "far-xyz")
EDGE = 20037508.342789244
TILES = """<GDAL_WMS>
<Service name="{service}"><ServerUrl>{url}</ServerUrl></Service>
<DataWindow><UpperLeftX>-{edge}</UpperLeftX><UpperLeftY>{edge}</UpperLeftY><LowerRightX>{edge}</LowerRightX>
<LowerRightY>-{edge}</LowerRightY><TileLevel>18</TileLevel><TileCountX>1</TileCountX><TileCountY>1</TileCountY>
<YOrigin>{origin}</YOrigin></DataWindow>
<Projection>EPSG:3857</Projection><BlockSizeX>256</BlockSizeX><BlockSizeY>256</BlockSizeY><BandsCount>4</BandsCount>
<ZeroBlockHttpCodes>204,404</ZeroBlockHttpCodes>
</GDAL_WMS>"""


@pytest.fixture(scope="module")
def city(every_map):
    return every_map


@pytest.fixture
def window(city, run, look, tmp_path):
    """`window(source)`: the box of the photo in web Mercator, 300 x 240, read by the programs of Debian's GDAL."""
    box = city.photo.bounds("EPSG:3857", -100)

    def read(source, *options, size=(300, 240), crs="EPSG:3857"):
        west, south, east, north = city.photo.bounds(crs, -100)
        picture = tmp_path / "window.png"
        run(
            *("gdal_translate", "-q", "-of", "PNG", "-r", "bilinear"),
            *("-outsize", *map(str, size)),
            *("-projwin", *map(str, (west, north, east, south))),
            *options,
            source,
            str(picture),
        )
        return look(picture)

    read.box = box
    return read


def share(city, pixels, crs="EPSG:3857"):
    return city.photo.wrong(pixels, city.photo.bounds(crs, -100), crs)


@pytest.mark.parametrize("layer", LAYERS)
def test_wms_driver(city, window, layer):
    service = f"{city.maps}/service?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetMap&LAYERS={layer}&CRS=EPSG:3857"
    pixels = window(f"WMS:{service}&BBOX={','.join(map(str, window.box))}&TRANSPARENT=TRUE")
    assert share(city, pixels) < 0.03


@pytest.mark.parametrize(
    ("version", "key"), [("1.1.1", "SRS=EPSG:4326"), ("1.3.0", "CRS=EPSG:4326"), ("1.3.0", "CRS=EPSG:4490")]
)
def test_wms_driver_and_the_axes_of_degrees(city, window, version, key):
    crs = key.partition("=")[2]
    west, south, east, north = city.photo.bounds(crs, -100)
    service = f"{city.maps}/service?SERVICE=WMS&VERSION={version}&REQUEST=GetMap&LAYERS=photo&{key}"
    sides = (west, south, east, north) if version == "1.1.1" else (south, west, north, east)
    pixels = window(f"WMS:{service}&BBOX={','.join(map(str, sides))}&TRANSPARENT=TRUE", crs=crs)
    assert share(city, pixels, crs) < 0.03


def test_wms_driver_at_a_time(city, window):
    for day, ramp in city.series.items():
        service = f"{city.maps}/service?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetMap&LAYERS=series&CRS=EPSG:3857"
        pixels = window(
            f"WMS:{service}&BBOX={','.join(map(str, window.box))}&TIME={day}T00:00:00Z&TRANSPARENT=TRUE"
        )
        assert ramp.wrong(pixels, window.box, "EPSG:3857") < 0.03


@pytest.mark.parametrize("layer", LAYERS)
def test_xyz(city, window, tmp_path, layer):
    address = f"{city.collection(layer)}/map/tiles/WebMercatorQuad/${{z}}/${{y}}/${{x}}?f=png"
    file = tmp_path / "xyz.xml"
    file.write_text(TILES.format(service="TMS", url=address, edge=EDGE, origin="top"))
    assert share(city, window(str(file))) < 0.03


@pytest.mark.parametrize("layer", LAYERS)
def test_tms(city, window, tmp_path, layer):
    file = tmp_path / "tms.xml"
    address = f"{city.maps}/tms/1.0.0/{layer}/WebMercatorQuad/${{z}}/${{x}}/${{y}}.png"
    file.write_text(TILES.format(service="TMS", url=address, edge=EDGE, origin="bottom"))
    assert share(city, window(str(file))) < 0.03


@pytest.mark.parametrize("grid", ["WebMercatorQuad", "CGCS2000Quad", "CGCS2000GK3CM117E"])
@pytest.mark.parametrize("layer", LAYERS)
def test_wmts_driver(city, window, layer, grid):
    crs = {"WebMercatorQuad": "EPSG:3857", "CGCS2000Quad": "EPSG:4490"}.get(grid, "EPSG:4548")
    source = f"WMTS:{city.maps}/wmts/1.0.0/WMTSCapabilities.xml,layer={layer},tilematrixset={grid}"
    assert share(city, window(source, crs=crs), crs) < 0.03


def test_wmts_driver_with_a_style(city, window):
    base = f"WMTS:{city.maps}/wmts/1.0.0/WMTSCapabilities.xml,layer=photo,tilematrixset=WebMercatorQuad"
    grey = window(f"{base},style=grey").astype(int)
    assert (grey[..., 0] == grey[..., 1]).all()
    assert share(city, window(f"{base},style=ortho")) < 0.03


def test_the_gdal_of_rasterio_reads_wms_wmts_and_tiles(city, tmp_path):
    """GDAL 3.12."""
    file = tmp_path / "xyz.xml"
    address = f"{city.collection('photo')}/map/tiles/WebMercatorQuad/${{z}}/${{y}}/${{x}}?f=png"
    file.write_text(TILES.format(service="TMS", url=address, edge=EDGE, origin="top"))
    box = city.photo.bounds("EPSG:3857", 150)  # a window must lie within the extent
    service = f"{city.maps}/service?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetMap&LAYERS=photo&CRS=EPSG:3857"
    sources = (
        str(file),
        f"WMTS:{city.maps}/wmts/1.0.0/WMTSCapabilities.xml,layer=photo,tilematrixset=WebMercatorQuad",
        f"WMS:{service}&BBOX={','.join(map(str, box))}&TRANSPARENT=TRUE",
    )
    for source in sources:
        with rasterio.open(source) as opened:
            assert opened.crs.to_epsg() == 3857
            pixels = opened.read(
                window=from_bounds(*box, opened.transform), out_shape=(opened.count, 240, 300)
            )
        wrong = city.photo.wrong(np.moveaxis(pixels, 0, -1), box, "EPSG:3857")
        assert wrong < 0.05, source


def test_ogcapi_driver_draws_maps(city, run, look, tmp_path):
    picture = tmp_path / "map.png"
    for layer in LAYERS[:2]:
        source = f"OGCAPI:{city.collection(layer)}"
        run(
            *("gdal_translate", "-q", "-of", "PNG", "-oo", "API=MAP", "-outsize", "256", "256"),
            *(source, str(picture)),
        )
        assert look(picture)[..., :3].std() > 20


def test_the_download_is_a_cog_to_read_by_ranges(city, http):
    """Only the tile under the window is fetched."""
    source = f"{city.collection('photo')}/download/photo.tif"
    part = http.get(source, headers={"Range": "bytes=0-63"}, timeout=20)
    assert (part.status_code, len(part.content)) == (206, 64)
    with rasterio.open(f"/vsicurl/{source}") as opened:
        assert opened.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert opened.read(3)[200, 200] == city.photo.blue
        left = opened.read(1, window=((300, 301), (0, opened.width)))[0].astype(int)
    assert (np.diff(left) >= 0).all()
    assert (left[0], left[-1]) == (20, 220)


@pytest.mark.parametrize(("form", "driver"), [("gtiff", "GTiff"), ("netcdf", "netCDF")])
def test_a_part_of_a_coverage_is_a_file_of_gdal(city, run, http, tmp_path, form, driver):
    file = tmp_path / ("part.tif" if form == "gtiff" else "part.nc")
    query = {"f": form, "subset": "Lat(39.91:39.915),Lon(116.39:116.395)"}
    reply = http.get(f"{city.collection('heights')}/coverage", params=query, timeout=60)
    assert reply.status_code == 200, reply.text
    file.write_bytes(reply.content)
    told = json.loads(run("gdalinfo", "-json", "-stats", str(file)))
    assert told["driverShortName"] == driver
    assert told["size"] == [10, 10]
    upper_left, lower_right = told["cornerCoordinates"]["upperLeft"], told["cornerCoordinates"]["lowerRight"]
    assert upper_left == pytest.approx([116.39, 39.915], abs=1e-6)
    assert lower_right == pytest.approx([116.395, 39.91], abs=1e-6)
    assert told["bands"][0]["minimum"] == pytest.approx(20.2, abs=0.001)
    assert told["bands"][0]["maximum"] == pytest.approx(29.29, abs=0.001)


@pytest.mark.parametrize("name", ["blocks", "towers"])
def test_mvt_driver(city, run, name):
    """The tile of each store over its first feature."""
    west, south = (116.39, 39.90) if name == "blocks" else city.towers.geometries[0].bounds[:2]
    z = 14
    column = int((west + 180.0) / 360.0 * 2**z + 1e-9)
    merc = np.log(np.tan(np.pi / 4 + np.radians(south) / 2))
    row = int((1 - merc / np.pi) / 2 * 2**z)
    source = f"MVT:/vsicurl/{city.collection(name)}/tiles/WebMercatorQuad/{z}/{row}/{column}?f=mvt"
    place = ("-oo", f"X={column}", "-oo", f"Y={row}", "-oo", f"Z={z}")
    text = run("ogr2ogr", "-f", "GeoJSON", *place, "/vsistdout/", source, name)
    features = json.loads(text)["features"]
    assert features
    assert {feature["geometry"]["type"] for feature in features} <= {"Polygon", "MultiPolygon"}


def test_wms_subdatasets_are_those_of_the_collections(city, run):
    text = run("gdalinfo", f"WMS:{city.maps}/service?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetCapabilities")
    names = set(re.findall(r"SUBDATASET_\d+_NAME=WMS:.*?LAYERS=([^&]+)&", text))
    assert names == {"blocks", "photo", "heights", "series", "towers", *city.cascades}
