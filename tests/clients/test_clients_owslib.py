"""OWSLib on the demo city: WMS 1.1.1 and 1.3.0, WMTS by KVP and REST, and its OGC API classes."""

import io

import numpy as np
import pytest
import rasterio
from owslib.ogcapi.coverages import Coverages
from owslib.ogcapi.edr import EnvironmentalDataRetrieval
from owslib.ogcapi.features import Features
from owslib.ogcapi.maps import Maps
from owslib.ogcapi.processes import Processes
from owslib.ogcapi.records import Records
from owslib.util import ServiceException
from owslib.wms import WebMapService
from owslib.wmts import WebMapTileService

from server.registry.catalogue import RepresentationKind as Kind

pytestmark = pytest.mark.clients


def of_kind(published, tenant, kind):
    """Ids of a tenant's collections with that representation."""
    return {one.id for one in published.values() if one.tenant == tenant and kind in one.representations}


@pytest.mark.parametrize(("version", "crs84"), [("1.1.1", "EPSG:4326"), ("1.3.0", "CRS:84")])
def test_wms_capabilities_and_every_layer(helsinki, published, look, version, crs84):
    service = WebMapService(f"{helsinki}/maps/service", version=version)
    assert set(service.contents) == of_kind(published, "helsinki", Kind.MAP)
    for name, layer in service.contents.items():
        collection = published[f"helsinki.{name}"]
        assert layer.title == collection.title("en")
        west, south, *_, east, north = (
            *collection.bbox[:2],
            *collection.bbox[len(collection.bbox) // 2 :][:2],
        )
        assert layer.boundingBoxWGS84 == pytest.approx((west, south, east, north), abs=1e-4)
        assert {"EPSG:3857", "EPSG:4326", "EPSG:4490"} <= set(layer.crsOptions)
        reply = service.getmap(
            layers=[name],
            styles=[""],
            srs=crs84,
            bbox=layer.boundingBoxWGS84,
            size=(300, 400),
            format="image/png",
            transparent=True,
        )
        assert reply.info()["Content-Type"] == "image/png"
        assert look(reply.read()).shape[:2] == (400, 300)


def test_wms_axis_order_of_4326(helsinki, look):
    """The same map by 1.3.0 in latitude, longitude and by 1.1.1 in longitude, latitude; OWSLib swaps for 1.3.0."""
    pictures = []
    for version in ("1.1.1", "1.3.0"):
        service = WebMapService(f"{helsinki}/maps/service", version=version)
        box = service["ortho"].boundingBoxWGS84
        reply = service.getmap(
            layers=["ortho"], styles=[""], srs="EPSG:4326", bbox=box, size=(200, 300), format="image/png"
        )
        pictures.append(look(reply.read()))
    assert (pictures[0] == pictures[1]).all()


@pytest.mark.parametrize(
    "crs", ["EPSG:3857", "EPSG:4490", "EPSG:3879"], ids=["web mercator", "CGCS2000", "the city's own grid"]
)
def test_wms_in_other_reference_systems(helsinki, look, crs):
    from pyproj import Transformer

    service = WebMapService(f"{helsinki}/maps/service", version="1.1.1")
    west, south, east, north = service["buildings"].boundingBoxWGS84
    box = Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform_bounds(west, south, east, north)
    reply = service.getmap(
        layers=["buildings", "streets"],
        styles=["", ""],
        srs=crs,
        bbox=box,
        size=(300, 400),
        format="image/png",
    )
    look(reply.read())


def test_wms_says_what_is_wrong(helsinki):
    service = WebMapService(f"{helsinki}/maps/service", version="1.1.1")
    with pytest.raises(ServiceException, match="nothing"):
        service.getmap(
            layers=["nothing"],
            styles=[""],
            srs="EPSG:4326",
            bbox=(24.9, 60.1, 25.0, 60.2),
            size=(64, 64),
            format="image/png",
        )


@pytest.mark.parametrize("capabilities", ["", "/1.0.0/WMTSCapabilities.xml"], ids=["KVP", "REST"])
def test_wmts_tiles(helsinki, published, look, capabilities):
    service = WebMapTileService(f"{helsinki}/maps/wmts{capabilities}")
    assert set(service.contents) == of_kind(published, "helsinki", Kind.MAP)
    # Beside those of the world, the zones of CGCS2000 that a layer lies in.
    assert set(service.tilematrixsets) >= {"WebMercatorQuad", "WorldCRS84Quad", "CGCS2000Quad"}
    assert all(
        "CGCS2000" in one for one in set(service.tilematrixsets) - {"WebMercatorQuad", "WorldCRS84Quad"}
    )
    for grid, row, column in (("WebMercatorQuad", 9484, 18654), ("WorldCRS84Quad", 5429, 37308)):
        matrix = list(service.tilematrixsets[grid].tilematrix)[15]
        reply = service.gettile(
            layer="ortho",
            tilematrixset=grid,
            tilematrix=matrix,
            row=row,
            column=column,
            format=service["ortho"].formats[0],
        )
        assert look(reply.read()).shape[:2] == (256, 256)


@pytest.fixture
def features(helsinki):
    return Features(f"{helsinki}/ogc/")


def test_features(features, published):
    # Points of a cloud are items too.
    listed = of_kind(published, "helsinki", Kind.FEATURES) | of_kind(published, "helsinki", Kind.POINT_CLOUD)
    assert set(features.feature_collections()) == listed
    count = published["helsinki.addresses"].representations[Kind.FEATURES].properties["count"]
    page = features.collection_items("addresses", limit=10, bbox=[24.94, 60.165, 24.95, 60.17])
    assert page["numberReturned"] == 10
    assert 10 < page.get("numberMatched", 11) < count
    assert features.collection_items("addresses", limit=1)["numberMatched"] == count
    one = features.collection_item("addresses", page["features"][0]["id"])
    assert one["geometry"] == page["features"][0]["geometry"]


def test_features_by_attribute(features):
    parcel = features.collection_items("survey-cgcs2000", 宗地号="420111000001")
    assert [feature["id"] for feature in parcel["features"]] == ["420111000001"]
    mapped = features.collection_items("buildings", height_source="levels", limit=1000)["features"]
    assert mapped
    assert {feature["properties"]["height_source"] for feature in mapped} == {"levels"}


def test_schema_queryables_conformance_and_api(features):
    queryables = features.collection_queryables("survey-cgcs2000")["properties"]
    assert {"宗地号", "面积", "登记日期"} <= set(queryables)
    assert features.collection_schema("buildings")["properties"]["height"]["type"] == "number"
    assert (
        "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson"
        in features.conformance()["conformsTo"]
    )
    assert features.api()["openapi"].startswith("3.")


@pytest.fixture
def coverages(helsinki):
    return Coverages(f"{helsinki}/ogc/")


def test_coverage_whole(coverages, published):
    assert set(coverages.coverages()) == of_kind(published, "helsinki", Kind.COVERAGE)
    stated = published["helsinki.terrain"].representations[Kind.COVERAGE].properties
    with rasterio.open(io.BytesIO(coverages.coverage("terrain").read())) as raster:
        assert (raster.width, raster.height) == (stated["width"], stated["height"])
        assert raster.crs.to_epsg() == 3879
        assert np.ptp(raster.read(1, masked=True)) > 5


def test_coverage_subset_and_scale(coverages, published):
    west, _, east, _ = 25496400, 6672362, 25497416, 6674030
    part = coverages.coverage("terrain", subset={"E": (west + 100, west + 300), "N": (6673000, 6673400)})
    with rasterio.open(io.BytesIO(part.read())) as raster:
        assert raster.bounds == pytest.approx((west + 100, 6673000, west + 300, 6673400), abs=2)
    small = coverages.coverage("terrain", scale_factor=4)
    with rasterio.open(io.BytesIO(small.read())) as raster:
        assert raster.width == pytest.approx((east - west) / 2 / 4, abs=1)


def test_maps(helsinki, published, look):
    maps = Maps(f"{helsinki}/ogc/")
    assert set(maps.maps()) == of_kind(published, "helsinki", Kind.MAP)
    assert look(maps.map("ortho", width=200, height=300).read()).shape[:2] == (300, 200)


def test_records_describe_every_collection(helsinki, published):
    records = Records(f"{helsinki}/ogc/")
    found = records.collection_items("catalogue", limit=100)
    expected = {one.id for one in published.values() if one.tenant == "helsinki"}
    assert {feature["id"] for feature in found["features"]} == expected
    one = records.collection_item("catalogue", "pipes")["properties"]
    assert one["title"] == published["helsinki.pipes"].title("en")
    assert one["license"] == published["helsinki.pipes"].licence
    searched = records.collection_items("catalogue", q="lidar")
    assert "lidar" in {feature["id"] for feature in searched["features"]}
    assert searched["numberMatched"] < len(expected)


def test_edr_gives_the_counts_of_a_street(city):
    edr = EnvironmentalDataRetrieval(f"{city}/t/auckland/ogc/")
    assert edr.data() == ["pedestrian-counts"]
    assert len(edr.query_data("pedestrian-counts", "locations")["features"]) == 21
    day = "2024-01-01T00:00:00Z/2024-01-01T23:00:00Z"
    # OWSLib has no parameter for a location's id; it is part of the path.
    coverage = edr.query_data("pedestrian-counts", "locations/107-quay-street", datetime_=day)
    coverage = coverage["coverages"][0] if coverage["type"] == "CoverageCollection" else coverage
    values = coverage["ranges"]["pedestrians"]["values"]
    assert len(values) == 24
    assert sum(values) > 100


def test_processes(helsinki):
    processes = Processes(f"{helsinki}/ogc/")
    names = {one["id"] for one in processes.processes()}
    assert {"area-statistics", "cut-and-fill", "viewshed"} <= names  # OWSLib reads the first page
    for name in (*names, "point-cloud-profile"):
        assert processes.process(name)["inputs"]
