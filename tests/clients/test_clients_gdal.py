"""GDAL's own drivers and tools on the demo city: OGC API - Features, OGCAPI, WMS, WMTS, MVT, /vsicurl."""

import json
import re
import sqlite3

import pytest
import shapely
from shapely.geometry import shape

from server.registry.catalogue import RepresentationKind as Kind

pytestmark = pytest.mark.clients

FEATURES = (
    "addresses",
    "buildings",
    "pipes",
    "places",
    "streets",
    "survey-cgcs2000",
    "survey-control-points",
)
NO_FEATURES = ("HTTP error code : 404", "has no features; it has:")
# GDAL's OAPIF driver takes every collection for a layer and asks each for items.


@pytest.fixture
def items(helsinki, run):
    """`items("streets", "-spat", ...)`: features as GDAL reads them from OGC API - Features, as GeoJSON."""

    def read(layer, *options):
        text = run("ogr2ogr", "-f", "GeoJSON", *options, "/vsistdout/", f"OAPIF:{helsinki}/ogc/", layer)
        return json.loads(text)["features"]

    return read


def maps(published):
    """Ids of the collections that are drawn: features, rasters, and the lidar by its heights."""
    return {
        one.id for one in published.values() if one.tenant == "helsinki" and Kind.MAP in one.representations
    }


def count_of(published, name):
    return published[f"helsinki.{name}"].representations[Kind.FEATURES].properties["count"]


def test_oapif_lists_every_collection(helsinki, published, run):
    text = run("ogrinfo", "-ro", "-q", f"OAPIF:{helsinki}/ogc/", allowed=NO_FEATURES)
    listed = dict(re.findall(r"^\d+: (\S+) \(title: (.+?)\)(?: \(|$)", text, re.MULTILINE))
    of_helsinki = [one for one in published.values() if one.tenant == "helsinki"]
    assert set(listed) == {one.id for one in of_helsinki}
    assert listed["buildings"] == "Buildings"


@pytest.mark.parametrize("name", FEATURES)
def test_oapif_pages_through_every_feature(items, published, name):
    count = count_of(published, name)
    read = items(name, "-oo", f"PAGE_SIZE={max(10, count // 7)}")
    assert len(read) == count
    assert len({feature["properties"]["id"] for feature in read}) == count
    assert all(feature["geometry"] for feature in read)


def test_oapif_reads_the_city_view(city, published, run):
    text = run("ogrinfo", "-ro", "-so", f"OAPIF:{city}/ogc/", "helsinki.places")
    assert f"Feature Count: {count_of(published, 'places')}" in text


def test_oapif_reads_chinese_fields(items):
    first = items("survey-cgcs2000", "-where", "\"宗地号\" = '420111000001'")
    assert [feature["properties"]["id"] for feature in first] == ["420111000001"]
    properties = first[0]["properties"]
    assert properties["坐落"] == "武汉市洪山区珞喻路2号(模拟)"
    assert properties["面积"] == 1564.02
    assert properties["登记日期"] == "2018-07-19"


def test_oapif_filters_by_bbox(items):
    """The features that GDAL gets for a box are those that meet it when all are looked at."""
    box = (24.940, 60.168, 24.944, 60.171)
    inside = {f["properties"]["id"] for f in items("buildings", "-spat", *map(str, box))}
    every = items("buildings")
    meets = {
        f["properties"]["id"] for f in every if shapely.intersects(shape(f["geometry"]), shapely.box(*box))
    }
    assert 0 < len(meets) < len(every)
    assert inside == meets


def test_oapif_has_the_extent_and_crs_of_the_registry(helsinki, published, run):
    text = run("ogrinfo", "-ro", "-so", f"OAPIF:{helsinki}/ogc/", "streets")
    found = re.search(r"Extent: \(([\d.]+), ([\d.]+)\) - \(([\d.]+), ([\d.]+)\)", text)
    assert found is not None
    assert [float(value) for value in found.groups()] == pytest.approx(
        published["helsinki.streets"].bbox, abs=2e-6
    )
    # GDAL 3.6 names CRS84 as EPSG:4326 with its axes swapped.
    assert 'ID["EPSG",4326]' in text
    assert "axis mapping: 2,1" in text


def test_oapif_keeps_heights_of_pipes(items):
    pipes = items("pipes", "-limit", "20")
    heights = [point[2] for pipe in pipes for point in pipe["geometry"]["coordinates"]]
    assert len(pipes) == 20
    assert all(0 < height < 40 for height in heights)


@pytest.mark.parametrize("name", ["addresses", "places", "streets"])
def test_ogcapi_driver_reads_items(helsinki, published, run, name):
    text = run(
        "ogr2ogr",
        "-f",
        "GeoJSON",
        "-oo",
        "API=ITEMS",
        "/vsistdout/",
        f"OGCAPI:{helsinki}/ogc/collections/{name}",
    )
    assert len(json.loads(text)["features"]) == count_of(published, name)


def test_ogcapi_driver_draws_a_map(helsinki, run, look, tmp_path):
    """Its COVERAGE speaks an older draft (`scaleSize`) and its TILES an older JSON of tile matrix sets."""
    picture = tmp_path / "ortho.png"
    source = f"OGCAPI:{helsinki}/ogc/collections/ortho"
    run(
        "gdal_translate", "-q", "-of", "PNG", "-oo", "API=MAP", "-outsize", "256", "256", source, str(picture)
    )
    assert look(picture)[..., :3].std() > 5


@pytest.mark.parametrize("grid", ["WebMercatorQuad", "WorldCRS84Quad"])
@pytest.mark.parametrize(
    "capabilities", ["?SERVICE=WMTS&REQUEST=GetCapabilities", "/1.0.0/WMTSCapabilities.xml"]
)
def test_wmts_lists_every_map_on_both_grids(helsinki, published, run, capabilities, grid):
    text = run("gdalinfo", f"WMTS:{helsinki}/maps/wmts{capabilities}")
    listed = re.findall(rf"layer=([^,]+),tilematrixset={grid}(?:,style=[^,\n]+)?\n", text)
    assert set(listed) == maps(published) >= {*FEATURES, "lidar", "ortho", "terrain"}


@pytest.mark.parametrize("grid", ["WebMercatorQuad", "WorldCRS84Quad"])
@pytest.mark.parametrize("layer", ["ortho", "buildings", "terrain"])
def test_wmts_draws(helsinki, run, look, tmp_path, layer, grid):
    picture = tmp_path / "map.png"
    source = f"WMTS:{helsinki}/maps/wmts/1.0.0/WMTSCapabilities.xml,layer={layer},tilematrixset={grid}"
    run("gdal_translate", "-q", "-of", "PNG", "-outsize", "300", "400", source, str(picture))
    pixels = look(picture)
    assert pixels.shape[:2] == (400, 300)
    assert (pixels[..., 3] > 0).mean() > 0.2


def test_wms_draws_every_layer(helsinki, published, run, look, tmp_path):
    """WMS 1.3.0: the subdatasets that GDAL makes of the capabilities, each drawn."""
    text = run("gdalinfo", f"WMS:{helsinki}/maps/service?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetCapabilities")
    sources = dict(re.findall(r"SUBDATASET_\d+_NAME=(WMS:.*?LAYERS=([^&]+)&.*)", text))
    assert set(sources.values()) == maps(published)
    for source, layer in sources.items():
        picture = tmp_path / f"{layer}.png"
        run("gdal_translate", "-q", "-of", "PNG", "-outsize", "300", "400", source, str(picture))
        assert look(picture).shape[:2] == (400, 300), layer


def test_the_same_ground_on_wms_and_wmts(helsinki, run, look, tmp_path):
    """One window of the orthophoto by both protocols: the same picture."""
    window = ("2775900", "8438500", "2776700", "8437700")
    by_wmts, by_wms = tmp_path / "wmts.png", tmp_path / "wms.png"
    common = (
        "gdal_translate",
        "-q",
        "-of",
        "PNG",
        "-r",
        "bilinear",
        "-outsize",
        "400",
        "400",
        "-projwin",
        *window,
    )
    run(
        *common,
        f"WMTS:{helsinki}/maps/wmts/1.0.0/WMTSCapabilities.xml,layer=ortho,tilematrixset=WebMercatorQuad",
        str(by_wmts),
    )
    service = f"{helsinki}/maps/service?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetMap&LAYERS=ortho&CRS=EPSG:3857"
    run(*common, f"WMS:{service}&BBOX=2775900,8437700,2776700,8438500", str(by_wms))
    difference = abs(look(by_wmts)[..., :3].astype(float) - look(by_wms)[..., :3].astype(float))
    assert difference.mean() < 12


def test_mvt_driver_reads_a_vector_tile(helsinki, run):
    source = f"MVT:/vsicurl/{helsinki}/ogc/collections/buildings/tiles/WebMercatorQuad/14/4742/9327?f=mvt"
    place = ("-oo", "X=9327", "-oo", "Y=4742", "-oo", "Z=14")
    text = run("ogr2ogr", "-f", "GeoJSON", *place, "/vsistdout/", source, "buildings")
    features = json.loads(text)["features"]
    assert len(features) > 100
    assert {feature["geometry"]["type"] for feature in features} <= {"Polygon", "MultiPolygon"}
    assert {"name", "height", "levels"} <= {key for feature in features for key in feature["properties"]}


@pytest.mark.parametrize(("name", "bands"), [("ortho", 3), ("terrain", 1)])
def test_the_coverage_download_is_a_cog_to_read_by_ranges(helsinki, published, run, name, bands):
    source = f"/vsicurl/{helsinki}/ogc/collections/{name}/download/{name}.tif"
    told = json.loads(run("gdalinfo", "-json", "-stats", source))
    coverage = published[f"helsinki.{name}"].representations[Kind.COVERAGE].properties
    assert told["size"] == [coverage["width"], coverage["height"]]
    assert told["metadata"]["IMAGE_STRUCTURE"]["LAYOUT"] == "COG"
    assert '"EPSG",3879' in told["coordinateSystem"]["wkt"]
    assert len(told["bands"]) == bands
    assert all(band["stdDev"] > 0 for band in told["bands"])


def test_the_coverage_itself_is_a_geotiff(helsinki, run, http, tmp_path):
    file = tmp_path / "terrain.tif"
    reply = http.get(f"{helsinki}/ogc/collections/terrain/coverage", timeout=60)
    file.write_bytes(reply.content)
    told = json.loads(run("gdalinfo", "-json", "-stats", str(file)))
    assert told["driverShortName"] == "GTiff"
    assert '"EPSG",3879' in told["coordinateSystem"]["wkt"]
    band = told["bands"][0]
    assert -5 < band["minimum"] < band["maximum"] < 60


@pytest.mark.parametrize("name", FEATURES)
def test_the_geopackage_download_opens_by_ranges_and_as_a_file(
    helsinki, published, run, http, tmp_path, name
):
    source = f"{helsinki}/ogc/collections/{name}/download/{name}.gpkg"
    told = run("ogrinfo", "-ro", "-so", "-al", f"/vsicurl/{source}")
    assert f"Feature Count: {count_of(published, name)}" in told
    file = tmp_path / f"{name}.gpkg"
    file.write_bytes(http.get(source, timeout=60).content)
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM gpkg_contents").fetchone()[0] >= 1
    connection.close()
    run("ogr2ogr", "-f", "FlatGeobuf", str(tmp_path / "copy.fgb"), str(file), "feature")
