"""3D tilesets of footprints, pipes and CityJSON, and point clouds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import pyproj
import pytest
import rasterio
from rasterio.transform import from_origin

from server.publish.errors import CrsError, EmptyDataset, OptionError
from server.publish.features import tile_zooms
from server.publish.scenes import numbers_of
from server.registry.catalogue import RepresentationKind
from tiles.three_d.build import read_options
from tiles.three_d.check import check_tileset
from tiles.three_d.read_glb import read_glb

PIPES = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "geometry": {"type": "LineString", "coordinates": [[116.39, 39.90], [116.391, 39.90]]},
            "properties": {"管径": diameter, "depth": 1.5, "材质": "PE"},
        }
        for diameter in (0.3, 0.6, None)
    ],
}


def flat_dem(path: Path, height: float) -> Path:
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=50,
        height=50,
        count=1,
        dtype="float32",
        crs="EPSG:4326",
        transform=from_origin(116.38, 39.93, 0.001, 0.001),
    ) as file:
        file.write(np.full((50, 50), height, dtype="float32"), 1)
    return path


def tileset(result: Any) -> tuple[Any, dict[str, Any]]:
    representation = result.collection.representations[RepresentationKind.TILESET_3D]
    path = result.collection.path_of(RepresentationKind.TILESET_3D)
    return representation.properties, json.loads(path.read_text())


def test_footprints_with_a_height(publisher: Any, data: Path) -> None:
    result = publisher.publish(data / "blocks.geojson", scene={"height_field": "height"})
    properties, document = tileset(result)
    assert (properties["content"], properties["feature_count"]) == ("buildings", 3)
    assert document["asset"]["version"] == "1.1"
    bbox = result.collection.bbox
    assert len(bbox) == 6
    assert (bbox[2], bbox[5]) == pytest.approx((0.0, 42.0), abs=0.1)
    assert RepresentationKind.FEATURES in result.kinds


def test_storeys_stand_in_for_heights_on_the_ground_of_a_dem(
    publisher: Any, data: Path, tmp_path: Path
) -> None:
    result = publisher.publish(
        data / "blocks.geojson",
        scene={"levels_field": "floors", "ground": flat_dem(tmp_path / "dem.tif", 50.0)},
    )
    bbox = result.collection.bbox
    assert (bbox[2], bbox[5]) == pytest.approx((50.0, 50.0 + 12 * 3.2), abs=0.1)


def test_a_footprint_without_height_is_told(publisher: Any, data: Path, tmp_path: Path) -> None:
    read = json.loads((data / "blocks.geojson").read_text())
    read["features"][0]["properties"]["height"] = None
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps(read))
    result = publisher.publish(path, scene={"height_field": "height"})
    assert tileset(result)[0]["feature_count"] == 2
    assert any("1 objects are not in the 3D tileset" in warning for warning in result.warnings)
    result = publisher.publish(
        path, collection="all", scene={"height_field": "height", "default_height": 5.0}
    )
    assert tileset(result)[0]["feature_count"] == 3


def test_pipes_below_a_dem(publisher: Any, tmp_path: Path) -> None:
    path = tmp_path / "pipes.geojson"
    path.write_text(json.dumps(PIPES))
    result = publisher.publish(
        path,
        scene={
            "diameter_field": "管径",
            "default_diameter": 0.2,
            "depth_field": "depth",
            "ground": flat_dem(tmp_path / "dem.tif", 20.0),
        },
        field_titles={"管径": "diameter"},
    )
    properties, _ = tileset(result)
    assert (properties["content"], properties["feature_count"]) == ("pipes", 3)
    # The box leaves room for mitres: at most one more radius (0.3 m) around the axis, which is 1.5 m below 20 m.
    bottom, top = result.collection.bbox[2], result.collection.bbox[5]
    assert 20 - 1.5 - 0.65 < bottom < 20 - 1.5 - 0.25
    assert 20 - 1.5 + 0.25 < top < 20 - 1.5 + 0.65


@pytest.mark.parametrize(
    ("scene", "message"),
    [
        ({"height_field": "hoogte"}, "no field 'hoogte'"),
        ({"diameter_field": "height", "depth_field": "floors"}, "needs lines or points; these are Polygon"),
        ({"height_field": "height", "vertical": "moon"}, "cannot count from 'moon'"),
    ],
)
def test_scene_options_that_do_not_fit(
    publisher: Any, data: Path, scene: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        publisher.publish(data / "blocks.geojson", scene=scene)
    assert publisher.leftovers() == []


def test_a_style_of_ones_own(publisher: Any, data: Path) -> None:
    named = publisher.publish(data / "blocks.geojson", style="buildings")
    assert named.collection.representations[RepresentationKind.MAP].properties["style"] == "buildings"
    with pytest.raises(OptionError, match="style"):
        publisher.publish(data / "blocks.geojson", collection="other", style="no-such-style")


def test_numbers_in_text() -> None:
    assert numbers_of(["6", "12.5 m", "3,5", "3;4", "-2", None, "high", 7, 1.5]).tolist()[:5] == [
        6,
        12.5,
        3.5,
        3,
        -2,
    ]
    assert np.isnan(numbers_of([None, "high"])).all()


@pytest.mark.parametrize(
    ("box", "kind", "full", "zooms"),
    [
        ((24.9, 60.1, 25.0, 60.2), "Polygon", 15, (8, 16)),
        ((24.9, 60.1, 25.0, 60.2), "Point", 3, (8, 14)),
        ((-180, -90, 180, 90), "MultiPolygon", 16, (0, 16)),
        ((5.0, 5.0, 5.0, 5.0), "Point", 0, (12, 14)),
        ((179.9, 0, -179.9, 0.1), "LineString", 0, (7, 16)),
    ],
)
def test_zooms_of_tiles(box: Any, kind: str, full: int, zooms: tuple[int, int]) -> None:
    assert tile_zooms(box, kind, full) == zooms


def las_file(path: Path, *, crs: str | None = "EPSG:32650", count: int = 500) -> Path:
    header = laspy.LasHeader(point_format=6, version="1.4")
    header.scales, header.offsets = np.full(3, 0.01), np.array([500000.0, 4400000.0, 0.0])
    if crs:
        header.add_crs(pyproj.CRS(crs))
    cloud = laspy.LasData(header)
    random = np.random.default_rng(3)
    cloud.x, cloud.y = 500000 + random.uniform(0, 50, count), 4400000 + random.uniform(0, 50, count)
    cloud.z = random.uniform(30, 60, count)
    cloud.classification = random.integers(1, 7, count).astype("uint8")
    cloud.write(path)
    return path


def test_a_point_cloud(publisher: Any, tmp_path: Path) -> None:
    result = publisher.publish(las_file(tmp_path / "a.las"), las_file(tmp_path / "b.laz"))
    assert result.count == 1000
    assert set(result.kinds) == {
        RepresentationKind.POINT_CLOUD,
        RepresentationKind.TILESET_3D,
        RepresentationKind.COVERAGE,
        RepresentationKind.MAP,
        RepresentationKind.RECORD,
    }
    cloud = result.collection.representations[RepresentationKind.POINT_CLOUD]
    assert (result.collection.directory / cloud.path).name == "pointcloud.copc.laz"
    assert cloud.properties["count"] == 1000
    assert result.collection.bbox[0] == pytest.approx(117.0, abs=0.001)
    plain = publisher.publish(las_file(tmp_path / "c.las"), collection="plain", scene={"point_tiles": False})
    assert RepresentationKind.TILESET_3D not in plain.kinds


def test_point_clouds_that_cannot_be_placed(publisher: Any, tmp_path: Path) -> None:
    path = las_file(tmp_path / "a.las", crs=None)
    with pytest.raises(CrsError, match="--crs"):
        publisher.publish(path)
    with pytest.raises(CrsError, match="outside"):
        publisher.publish(path, reading={"crs": "EPSG:28992"})
    with pytest.raises(OptionError, match="coloured by 'mood'"):
        publisher.publish(path, reading={"crs": "EPSG:32650"}, scene={"point_colour": "mood"})
    with pytest.raises(EmptyDataset):
        publisher.publish(las_file(tmp_path / "b.las", count=0))
    assert publisher.leftovers() == []


CUBE = {
    "type": "CityJSON",
    "version": "2.0",
    "metadata": {"referenceSystem": "https://www.opengis.net/def/crs/EPSG/0/7415"},
    "transform": {"scale": [0.001, 0.001, 0.001], "translate": [85000.0, 447500.0, 0.0]},
    "CityObjects": {
        "house": {
            "type": "Building",
            "attributes": {"storeys": 3, "用途": "住宅"},
            "geometry": [
                {
                    "type": "Solid",
                    "lod": "1",
                    "boundaries": [
                        [
                            [[0, 3, 2, 1]],
                            [[4, 5, 6, 7]],
                            [[0, 1, 5, 4]],
                            [[1, 2, 6, 5]],
                            [[2, 3, 7, 6]],
                            [[3, 0, 4, 7]],
                        ]
                    ],
                }
            ],
        }
    },
    "vertices": [
        [x * 10000, y * 10000, z * 9000] for z in (0, 1) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))
    ],
}


def test_cityjson(publisher: Any, tmp_path: Path) -> None:
    path = tmp_path / "house.json"
    path.write_text(json.dumps(CUBE))
    result = publisher.publish(path)
    assert (result.count, tileset(result)[0]["content"]) == (1, "cityobjects")
    rows = publisher.columns(result)
    assert rows["house"]["storeys"] == 3
    assert rows["house"]["用途"] == "住宅"
    assert result.collection.bbox[5] - result.collection.bbox[2] == pytest.approx(9, abs=0.2)


@pytest.mark.parametrize("kind", ["buildings", "pipes", "cityobjects"])
def test_tiles_by_draco(publisher: Any, data: Path, tmp_path: Path, kind: str) -> None:
    """The meshes are compressed, say the same when they are read, and tiles made later will be like them."""
    paths = {"buildings": data / "blocks.geojson", "pipes": tmp_path / "pipes.geojson"}
    path = paths.get(kind, tmp_path / "house.json")
    if not path.exists():
        path.write_text(json.dumps(PIPES if kind == "pipes" else CUBE))
    scenes = {
        "buildings": {"height_field": "height"},
        "pipes": {"diameter_field": "管径", "default_diameter": 0.2, "depth_field": "depth"},
    }
    found = {}
    for compression in ("none", "draco"):
        scene = {**scenes.get(kind, {}), "compression": compression}
        result = publisher.publish(path, collection=compression, scene=scene)
        folder = result.collection.path_of(RepresentationKind.TILESET_3D).parent
        assert check_tileset(folder) == []
        assert read_options(folder.parent / "scene").glb.compression == compression
        (content,) = (file.read_bytes() for file in folder.rglob("*.glb"))
        assert (b"KHR_draco_mesh_compression" in content) == (compression == "draco")
        found[compression] = read_glb(content)
    plain, packed = found["none"], found["draco"]
    assert plain.table is not None
    assert packed.table is not None
    assert [column.schema for column in packed.table.columns] == [
        column.schema for column in plain.table.columns
    ]
    (there, ids), (expected, expected_ids) = packed.triangles(), plain.triangles()
    assert np.bincount(ids).tolist() == np.bincount(expected_ids).tolist()
    for axis in range(3):
        assert np.sort(there[..., axis].ravel()) == pytest.approx(
            np.sort(expected[..., axis].ravel()), abs=0.03
        )


@pytest.mark.parametrize(
    ("scene", "message"),
    [
        ({"height_field": "height", "compression": "zip"}, "--compress-3d is 'zip'. Allowed: none, draco"),
        ({"compression": "draco"}, "--compress-3d does nothing alone"),
    ],
)
def test_compressions_that_do_nothing(
    publisher: Any, data: Path, scene: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        publisher.publish(data / "blocks.geojson", scene=scene)
