"""The simulated survey in CGCS2000: inside the area of use of EPSG:4547, Chinese fields through a GBK Shapefile."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import fiona
import pyproj
import shapely
from shapely.geometry import shape

from server.demo.survey import (
    CONTROL_COLUMNS,
    PARCEL_COLUMNS,
    control_point_features,
    parcel_features,
    write_control_points,
    write_parcels,
)


def test_parcels_are_apart_and_measured() -> None:
    features = list(parcel_features())
    parcels = [geometry for geometry, _ in features]
    assert len(parcels) == 80
    assert all(parcel.is_valid for parcel in parcels)
    first, second = shapely.STRtree(parcels).query(parcels, predicate="overlaps")
    areas = [parcels[a].intersection(parcels[b]).area for a, b in zip(first, second, strict=True)]
    assert max(areas, default=0) < 0.1  # neighbours share an edge, rounded to millimetres
    assert all(abs(geometry.area - properties["面积"]) < 0.01 for geometry, properties in features)


def test_everything_lies_in_the_area_of_use() -> None:
    area = pyproj.CRS("EPSG:4547").area_of_use
    assert area is not None
    places = [geometry for geometry, _ in (*parcel_features(), *control_point_features())]
    transformer = pyproj.Transformer.from_crs("EPSG:4547", "EPSG:4490", always_xy=True)
    x, y = shapely.get_coordinates(places).T
    longitude, latitude = transformer.transform(x, y)
    assert area.west < longitude.min() < longitude.max() < area.east
    assert area.south < latitude.min() < latitude.max() < area.north


def test_the_shapefile_is_gbk_and_keeps_every_character(tmp_path: Path) -> None:
    path = tmp_path / "survey.zip"
    assert write_parcels(path) == 80
    with ZipFile(path) as archive:
        table = archive.read("parcels.dbf")
        assert {"parcels.shp", "parcels.dbf", "parcels.prj", "parcels.cpg"} <= set(archive.namelist())
    assert "宗地号".encode("gbk") in table
    assert "宗地号".encode() not in table
    with fiona.open(f"zip://{path}") as layer:
        assert layer.crs.to_epsg() == 4547
        assert list(layer.schema["properties"]) == [column.name for column in PARCEL_COLUMNS]
        read = [dict(feature["properties"]) for feature in layer]
    assert [one["坐落"] for one in read] == [properties["坐落"] for _, properties in parcel_features()]


def test_control_points(tmp_path: Path) -> None:
    path = tmp_path / "control.gpkg"
    assert write_control_points(path) == 15
    with fiona.open(path) as layer:
        assert list(layer.schema["properties"]) == [column.name for column in CONTROL_COLUMNS]
        points = [shape(feature["geometry"]) for feature in layer]
    parcels = shapely.union_all([geometry for geometry, _ in parcel_features()])
    assert not shapely.intersects(points, parcels).any()
