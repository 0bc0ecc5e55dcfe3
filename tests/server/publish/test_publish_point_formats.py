"""Which files are point clouds, told by content; folders and archives of them give all their tiles."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import pytest

from pointclouds.cloud.cloud import open_cloud
from server.publish.archives import ArchiveLimits
from server.publish.errors import OptionError, UnknownFormat
from server.publish.formats import recognise_format
from server.publish.inputs import find_inputs
from server.publish.point_cloud_options import PointCloudOptions
from server.registry.catalogue import RepresentationKind

VERTICES = b"element vertex 1\nproperty float x\nproperty float y\nproperty float z\n"
EPT = {
    "bounds": [0] * 6,
    "dataType": "laszip",
    "hierarchyType": "json",
    "points": 1,
    "schema": [],
    "version": "1.0.0",
}


@pytest.mark.parametrize(
    ("name", "content", "key"),
    [
        ("a.dat", b"LASF" + bytes(300), "las"),
        ("a.dat", b"ASTM-E57" + bytes(100), "e57"),
        ("ept.json", json.dumps(EPT).encode(), "ept"),
        ("a.ply", b"ply\nformat ascii 1.0\n" + VERTICES + b"end_header\n1 2 3\n", "pointply"),
        ("a.ply", b"ply\nformat ascii 1.0\n" + VERTICES + b"element face 0\nend_header\n1 2 3\n", "pointply"),
        ("a.ply", b"ply\r\nformat ascii 1.0\r\n" + VERTICES + b"element face 12\r\nend_header\r\n", "ply"),
        ("a.xyz", b"84900.5 447500.25 3\n84912.5 447507.25 4\n84913 447505 5\n", "xyz"),
        ("a.pts", b"2\n1 2 3 -5 1 2 3\n4 5.5 6 7 1 2 3\n", "xyz"),
        ("a.txt", b"x,y,z,intensity\n1,2,3,4\n1.5,2,3,4\n", "xyz"),
        ("a.txt", "x,y,z,备注\n1,2,3,4\n".encode("gb18030"), "xyz"),
        ("a.csv", b"x,y,z,intensity\n1,2,3,4\n", "csv"),
        ("a.txt", b"name,lon,lat\nhere,4.3,52\n", "csv"),
    ],
)
def test_formats_by_content(tmp_path: Path, name: str, content: bytes, key: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert recognise_format(path).key == key


@pytest.mark.parametrize("content", [b"a note\nof two lines\n", b"1 2\n3 4\n"])
def test_other_text_is_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(UnknownFormat):
        recognise_format(path)


@pytest.fixture
def limits() -> ArchiveLimits:
    """The usual ones."""
    return ArchiveLimits()


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """A folder of two LAZ tiles and what describes them."""
    folder = tmp_path / "flight"
    folder.mkdir()
    for name in ("b", "a"):
        las = laspy.LasData(laspy.LasHeader(point_format=1, version="1.2"))
        las.x = las.y = las.z = np.arange(10.0)
        las.write(folder / f"{name}.laz")
    (folder / "readme.txt").write_text("Flown in spring.")
    (folder / "overview.csv").write_text("tile,lon,lat\na,4.3,52\n")
    return folder


def test_a_folder_and_a_zip_give_all_tiles(tiles: Path, tmp_path: Path, limits: ArchiveLimits) -> None:
    found = find_inputs([tiles], tmp_path / "w1", limits)
    assert [(item.name, item.format.key) for item in found] == [("a.laz", "las"), ("b.laz", "las")]
    packed = tmp_path / "flight.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in tiles.iterdir():
            archive.write(path, f"flight/{path.name}")
    found = find_inputs([packed], tmp_path / "w2", limits)
    assert sorted((item.path.name, item.format.key) for item in found) == [("a.laz", "las"), ("b.laz", "las")]


def test_an_ept_is_one_input(tmp_path: Path, limits: ArchiveLimits) -> None:
    folder = tmp_path / "ept"
    (folder / "ept-data").mkdir(parents=True)
    (folder / "ept.json").write_text(json.dumps(EPT))
    (folder / "ept-data/0-0-0-0.laz").write_bytes(b"LASF" + bytes(300))
    packed = tmp_path / "packed.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in folder.rglob("*.*"):
            archive.write(path, f"inside/{path.relative_to(folder)}")
    for given in (folder, packed):
        (found,) = find_inputs([given], tmp_path / f"w-{given.name}", limits)
        assert found.format.key == "ept"
        assert (found.path / "ept.json").is_file()


def test_text_of_points_in_a_zip_when_asked(tmp_path: Path, limits: ArchiveLimits) -> None:
    packed = tmp_path / "packed.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.txt", "1 2 3\n4 5 6\n")
    (found,) = find_inputs([packed], tmp_path / "w", limits, format_key="xyz")
    assert found.format.key == "xyz"


def test_degrees_as_text_are_published_in_a_projection_with_a_report(publisher: Any, tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    rows = np.column_stack(
        [random.uniform(116.30, 116.31, 600), random.uniform(39.90, 39.91, 600), random.uniform(0, 50, 600)]
    )
    path = tmp_path / "survey.xyz"
    np.savetxt(path, np.append(rows, [[np.nan, 39.9, 1.0]], axis=0), "%.9f %.9f %.3f")
    result = publisher.publish(
        path, reading={"crs": "EPSG:4490"}, points=PointCloudOptions(vertical="EPSG:5737", columns="x y z")
    )
    assert result.count == 600
    properties = result.collection.representations[RepresentationKind.POINT_CLOUD].properties
    assert properties["vertical_reference"] == "Yellow Sea 1985 height"
    cloud = open_cloud(result.collection.path_of(RepresentationKind.POINT_CLOUD))
    assert [part.to_epsg() for part in cloud.crs.sub_crs_list] == [4548, 5737]
    assert properties["report"]["count"] == 600
    assert "unclassified" in {one["code"] for one in properties["report"]["warnings"]}
    for words in ("reprojected from", "1 points without finite coordinates"):
        assert any(words in warning for warning in result.warnings), result.warnings


def test_options_of_one_format_are_refused_for_another(publisher: Any, tiles: Path) -> None:
    with pytest.raises(OptionError, match="--point-columns is for point clouds as text"):
        publisher.publish(
            tiles / "a.laz", reading={"crs": "EPSG:28992"}, points=PointCloudOptions(columns="x y z")
        )
