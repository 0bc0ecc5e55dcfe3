"""GDAL on the same towers in every store: what it reads, what it asks for, in which CRS, and what it cannot edit."""

import json
import sys

import numpy as np
import pytest
import shapely
from pyproj import Transformer
from shapely.geometry import shape

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]  # the first test builds the city

STORES = ("embedded", "postgis", "parquet", "ogr", "features", "wfs", "arcgis")
BOX = (113.85, 22.70, 113.95, 22.80)
WHERE = "height > 60 AND name LIKE 'Tower%'"
DRAWN = 2e-6  # degrees; MapServer's GeoJSON has six decimals


@pytest.fixture
def read(every_store, run):
    """`read("postgis", "-where", ...)`: features as Debian's GDAL reads them, by their key."""

    def features(name, *options):
        text = run("ogr2ogr", "-f", "GeoJSON", *options, "/vsistdout/", f"OAPIF:{every_store.ogc}", name)
        found = json.loads(text)["features"]
        keyed = {feature["properties"]["secret"]: feature for feature in found}
        assert len(keyed) == len(found)
        return keyed

    return features


@pytest.fixture
def newer(root, every_store, run):
    """`newer("postgis", where=...)`: CRS, keys and geometries as the GDAL of pyogrio reads them."""

    def columns(name, **options):
        script = str(root / "tests" / "clients" / "pyogrio_features.py")
        source = f"OAPIF:{every_store.ogc}"
        told = json.loads(run(sys.executable, script, "read", source, name, json.dumps(options)))
        return told["crs"], told["keys"], shapely.from_wkb(told["shapes"])

    return columns


def expected(towers):
    """Keys of the towers that WHERE takes."""
    return {
        secret
        for secret, name, height in zip(towers.secrets, towers.names, towers.heights, strict=True)
        if height is not None and height > 60 and name is not None and name.startswith("Tower")
    }


@pytest.mark.parametrize("name", STORES)
def test_every_feature_comes_page_by_page(every_store, read, name):
    towers, start = every_store.towers, len(every_store.recorder.requests)
    found = read(name, "-oo", "PAGE_SIZE=7")
    assert set(found) == set(towers.secrets)
    assert len([one for one in every_store.asked_of(name, start) if one.query.get("limit") == "7"]) >= 9
    for row, secret in enumerate(towers.secrets):
        properties = found[secret]["properties"]
        assert properties["name"] == towers.names[row]
        assert properties["height"] == towers.heights[row]
        assert properties["floors"] == towers.floors[row]
        assert properties["updated"].startswith(str(towers.updated[row])[:19].replace("T", " ").split(" ")[0])
        assert shapely.equals_exact(
            shapely.normalize(shape(found[secret]["geometry"])),
            shapely.normalize(towers.geometries[row]),
            tolerance=DRAWN,
        )


@pytest.mark.parametrize("name", STORES)
def test_a_box_is_answered_by_the_store(every_store, read, name):
    start = len(every_store.recorder.requests)
    found = read(name, "-spat", *map(str, BOX))
    met = shapely.intersects(every_store.towers.geometries, shapely.box(*BOX))
    assert set(found) == set(np.array(every_store.towers.secrets)[met])
    asked = [one for one in every_store.asked_of(name, start) if "bbox" in one.query]
    assert asked
    assert [float(part) for part in asked[0].query["bbox"].split(",")] == pytest.approx(BOX)


@pytest.mark.parametrize("name", STORES)
def test_a_condition_is_evaluated_by_gdal(every_store, read, newer, name):
    """GDAL takes queryables from an API definition with a path for each collection, or from a draft of CQL; ours has neither."""
    start = len(every_store.recorder.requests)
    assert set(read(name, "-where", WHERE)) == expected(every_store.towers)
    assert set(newer(name, where=WHERE)[1]) == expected(every_store.towers)
    assert not any("filter" in one.query for one in every_store.asked_of(name, start))


@pytest.mark.parametrize("name", STORES)
def test_one_feature_by_its_id_is_one_request(every_store, newer, fetch_json, name):
    feature = fetch_json(every_store.items(name), limit="1")["features"][0]
    start = len(every_store.recorder.requests)
    _, keys, _ = newer(name, where=f"id = '{feature['id']}'")
    assert keys == [feature["properties"]["secret"]]
    assert [one.path.rpartition("/")[2] for one in every_store.asked_of(name, start)] == [
        "items",
        str(feature["id"]),
    ]


@pytest.mark.parametrize("name", STORES)
def test_a_filter_in_the_address_is_answered_by_the_store(every_store, run, name):
    """The way round: a page of items is GeoJSON, which GDAL reads from its address, filter and all."""
    address = (
        f"{every_store.items(name)}?limit=10000&filter=height%20%3E%2060%20AND%20name%20LIKE%20%27Tower%25%27"
    )
    text = run("ogr2ogr", "-f", "GeoJSON", "/vsistdout/", f"GeoJSON:{address}")
    found = {feature["properties"]["secret"] for feature in json.loads(text)["features"]}
    assert found == expected(every_store.towers)


@pytest.mark.parametrize("code", [4490, 4547])
@pytest.mark.parametrize("name", STORES)
def test_reference_systems_of_cgcs2000(every_store, newer, name, code):
    """GDAL asks the server for the CRS, and puts the axes the way it has them in files: x before y."""
    start = len(every_store.recorder.requests)
    crs, keys, shapes = newer(name, CRS=f"EPSG:{code}")
    assert crs == f"EPSG:{code}"
    uri = f"http://www.opengis.net/def/crs/EPSG/0/{code}"
    assert uri in [one.query.get("crs") for one in every_store.asked_of(name, start)]
    transform = Transformer.from_crs("OGC:CRS84", code, always_xy=True).transform
    wanted = shapely.transform(every_store.towers.geometries, transform, interleaved=False)
    rows = [every_store.towers.secrets.index(key) for key in keys]
    tolerance = DRAWN if code == 4490 else DRAWN * 111_000
    assert shapely.equals_exact(shapely.normalize(shapes), shapely.normalize(wanted[rows]), tolerance).all()


def test_the_storage_crs_is_that_of_the_layer(newer):
    """From 3.7 on GDAL reads a collection in its storage CRS, and takes boxes in it."""
    crs, keys, shapes = newer("postgis", bbox=(484600, 2511000, 494900, 2522100))
    assert crs == "EPSG:4547"
    assert 0 < len(keys) < 60
    assert (shapely.bounds(shapes)[:, 0] > 484_000).all()


def keys_of(run, source):
    text = run("ogr2ogr", "-f", "GeoJSON", "/vsistdout/", source)
    return {feature["properties"]["secret"] for feature in json.loads(text)["features"]}


@pytest.mark.parametrize("ending", ["fgb", "geojson", "geojsons", "kml", "csv"])
@pytest.mark.parametrize("name", STORES)
def test_streamed_downloads(every_store, run, name, ending):
    """Made while they are sent: no ranges, so GDAL reads them from the start to the end."""
    source = f"/vsicurl_streaming/{every_store.ogc}collections/{name}/download/{name}.{ending}"
    assert keys_of(run, source) == set(every_store.towers.secrets)


@pytest.mark.parametrize("name", STORES)
def test_the_geopackage_download(every_store, run, name):
    """GDAL fetches the whole file. By ranges it reads that of an embedded collection alone, until the first edit."""
    source = f"{every_store.ogc}collections/{name}/download/{name}.gpkg"
    assert keys_of(run, source) == set(every_store.towers.secrets)


@pytest.mark.parametrize("name", STORES)
def test_the_geoparquet_download(every_store, http, tmp_path, name):
    import duckdb

    file = tmp_path / "towers.parquet"
    reply = http.get(f"{every_store.ogc}collections/{name}/download/{name}.parquet", timeout=60)
    assert reply.status_code == 200, reply.text
    file.write_bytes(reply.content)
    with duckdb.connect() as connection:
        rows = connection.execute("SELECT secret, geometry FROM read_parquet(?)", [str(file)]).fetchall()
    assert {secret for secret, _ in rows} == set(every_store.towers.secrets)


@pytest.mark.parametrize("name", STORES)
def test_wfs_sends_the_condition_to_the_store(every_store, run, name):
    start = len(every_store.recorder.requests)

    def read(*options):
        source = f"WFS:{every_store.tenant}/wfs"
        text = run("ogr2ogr", "-f", "GeoJSON", *options, "/vsistdout/", source, f"chengtu:{name}")
        return {feature["properties"]["secret"] for feature in json.loads(text)["features"]}

    assert read() == set(every_store.towers.secrets)
    assert read("-where", WHERE) == expected(every_store.towers)
    asked = [
        {key.lower(): value for key, value in one.query.items()}
        for one in every_store.recorder.requests[start:]
    ]
    assert any("PropertyIsLike" in one.get("filter", "") for one in asked)


@pytest.mark.parametrize("name", STORES)
def test_gdal_does_not_edit_by_oapif(root, every_store, run, name):
    """Its driver only reads, 3.12 too: written here so that a version that learns it is noticed."""
    source, start = f"OAPIF:{every_store.ogc}", len(every_store.recorder.requests)
    script = str(root / "tests" / "clients" / "pyogrio_features.py")
    told = json.loads(run(sys.executable, script, "append", source, name, '{"driver": "OAPIF"}'))
    assert told["written"] is False
    assert {one.method for one in every_store.recorder.requests[start:]} <= {"GET"}
