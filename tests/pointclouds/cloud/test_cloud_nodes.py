"""The statistics of nodes, and a cloud of one file or of many."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import laspy
import numpy as np
import pytest

from pointclouds.cloud.cloud import (
    OVERVIEW,
    CloudDescription,
    CloudTile,
    open_cloud,
    read_description,
    write_index,
)
from pointclouds.cloud.nodes import compute_nodes, load_nodes, nodes_path
from pointclouds.copc.reader import CopcFile
from pointclouds.copc.writer import write_copc
from pointclouds.errors import InvalidCopcError


def test_nodes_say_what_the_points_say(copc: Path, tmp_path: Path) -> None:
    with CopcFile(copc) as file:
        compute_nodes(file).save(tmp_path / "x.nodes")
        table = load_nodes(tmp_path / "x.nodes")
        assert np.array_equal(table.entries, file.entries)
    las = laspy.read(copc)
    assert table.count == len(las)
    classes = dict(zip(table.classes, table.class_counts.sum(axis=0).tolist(), strict=True))
    assert classes == {
        code: int((las.classification == code).sum()) for code in np.unique(las.classification)
    }
    returns = np.bincount(las.return_number, minlength=16)
    assert table.return_counts.sum(axis=0).tolist() == returns.tolist()
    for name, values in {"X": las.x, "Z": las.z, "Intensity": las.intensity, "GpsTime": las.gps_time, "ScanAngle": np.asarray(las.scan_angle) * 0.006}.items():  # fmt: skip
        column, numbers = table.column(name), np.asarray(values, np.float64)
        assert table.lowest[:, column].min() == pytest.approx(numbers.min(), abs=1e-9)
        assert table.highest[:, column].max() == pytest.approx(numbers.max(), abs=1e-9)
        assert table.sums[:, column].sum() == pytest.approx(numbers.sum(), rel=1e-9)
        assert table.squares[:, column].sum() == pytest.approx(numbers @ numbers, rel=1e-9)
    with pytest.raises(KeyError):
        table.column("Nothing")


def test_extra_dimensions_in_natural_units(tmp_path: Path, make_scan: Callable[..., Path]) -> None:
    source = make_scan(tmp_path / "a.laz", 500, 6, "1.4", extra=[("Amplitude", "uint16"), ("normal", "3f4")])
    write_copc(source, tmp_path / "a.copc.laz")
    with CopcFile(tmp_path / "a.copc.laz") as file:
        table = compute_nodes(file)
    assert "Amplitude" in table.dimensions
    assert "normal" not in table.dimensions
    cloud = open_cloud(tmp_path / "a.copc.laz")
    assert {one.name: one.members for one in cloud.dimensions}["normal"] == 3


@pytest.mark.parametrize("damage", ["empty", "cut", "signature", "header", "row"])
def test_a_damaged_table_is_refused(copc: Path, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x.nodes"
    with CopcFile(copc) as file:
        compute_nodes(file).save(path)
    data = path.read_bytes()
    changed = {
        "empty": b"",
        "cut": data[:20],
        "signature": b"X" + data[1:],
        "header": data[:12] + b"[" + data[13:],
        "row": data[:-3],
    }[damage]
    path.write_bytes(changed)
    with pytest.raises(InvalidCopcError):
        load_nodes(path)


def test_one_file_is_a_cloud(copc: Path) -> None:
    cloud = open_cloud(copc)
    assert open_cloud(copc) is cloud
    assert (cloud.is_mosaic, cloud.overview, len(cloud.tiles)) == (False, None, 1)
    assert cloud.count == 60_000
    low, high = np.array(cloud.box[:3]), np.array(cloud.box[3:])
    assert cloud.meeting(high, high + 1) == list(cloud.tiles)
    assert cloud.meeting(high + 0.1, high + 1) == []
    assert cloud.meeting(np.full(3, -np.inf), low) == list(cloud.tiles)
    assert cloud.nodes(cloud.tiles[0]).count == 60_000


def test_a_mosaic_by_its_index(copc: Path, tmp_path: Path) -> None:
    cloud = open_cloud(copc)
    (tmp_path / "points").mkdir()
    tiles = []
    for name in ("b", "a", OVERVIEW):
        path = tmp_path / "points" / f"{name}.copc.laz"
        shutil.copy(copc, path)
        tiles.append(
            CloudTile(
                name, path, 60_000, cloud.box, "2026-01-01T00:00:00Z", None, (0.0, 1.0), {"source": "x"}
            )
        )
    description = CloudDescription(
        cloud.crs.to_wkt(), cloud.point_format, cloud.scale, cloud.offset, (("A", "<u2"),)
    )
    index = tmp_path / "pointcloud.sqlite"
    write_index(index, description, tiles)
    assert read_description(index) == description
    mosaic = open_cloud(index)
    assert [tile.name for tile in mosaic.tiles] == ["a", "b"]
    assert mosaic.overview is not None
    assert mosaic.tile(OVERVIEW) is mosaic.overview
    assert (mosaic.tile("c"), mosaic.count, mosaic.is_mosaic) == (None, 120_000, True)
    assert nodes_path(tiles[0].path).name == "b.copc.laz.nodes"


def test_no_index(tmp_path: Path) -> None:
    (tmp_path / "pointcloud.sqlite").write_bytes(b"nothing")
    with pytest.raises(InvalidCopcError, match="publish it again"):
        open_cloud(tmp_path / "pointcloud.sqlite")
