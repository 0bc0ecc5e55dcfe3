"""Out of core on real scans, and on files that break while they are read."""

import laspy
import numpy as np
import pytest

from pointclouds.build.build import build_copc
from pointclouds.build.out_of_core import Limits
from pointclouds.copc.check import check_copc
from pointclouds.copc.octree import OctreeRules
from pointclouds.errors import UnreadablePointCloudError
from pointclouds.sources import LasSource

NAMES = ["x", "y", "z", "gps_time", "intensity", "return_number", "classification", "point_source_id"]


@pytest.mark.parametrize(
    ("names", "crs"),
    [
        (["delft/ahn3/ahn3_cropped_2.laz"], "EPSG:7415"),
        (["pointcloud/autzen_trim.laz"], None),
    ],
)
def test_real_scans_have_the_nodes_of_one_sort(
    tmp_path, sample_data, sorted_points, build_small, nodes_of, names, crs
):
    paths = [sample_data / name for name in names]
    sources = [LasSource(path, crs) for path in paths]
    memory = build_copc(sources, tmp_path / "memory.copc.laz")
    disk = build_small(sources, tmp_path / "disk.copc.laz", Limits(70_000, 60_000, 1), rules=OctreeRules())
    assert nodes_of(tmp_path / "disk.copc.laz") == nodes_of(tmp_path / "memory.copc.laz")
    assert check_copc(tmp_path / "disk.copc.laz") == []
    scans = [laspy.read(path) for path in paths]
    codes, counts = np.unique(np.concatenate([scan.classification for scan in scans]), return_counts=True)
    assert disk.classes == memory.classes == dict(zip(codes.tolist(), counts.tolist(), strict=True))
    rows = np.concatenate([sorted_points(scan, NAMES) for scan in scans])
    assert np.array_equal(rows[np.lexsort(rows.T)], sorted_points(tmp_path / "disk.copc.laz", NAMES))


@pytest.fixture(scope="module")
def legacy(tmp_path_factory, make_scan):
    """A LAZ of points of 28 bytes, in one layer: the codec finds damage only where it stands."""
    return make_scan(tmp_path_factory.mktemp("legacy") / "legacy.laz", 60_000, point_format=1)


@pytest.mark.parametrize("processes", [0, 1])
@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_a_file_cut_while_it_is_read(tmp_path, legacy, build_small, left_behind, quarter, processes):
    """Opened whole, then cut, as a copy that is still running or a disk that fails. No processes: in memory."""
    path = tmp_path / "cut.laz"
    path.write_bytes(legacy.read_bytes())
    source = LasSource(path)
    path.write_bytes(legacy.read_bytes()[: path.stat().st_size * quarter // 4])
    out = tmp_path / "out.copc.laz"
    build = build_small if processes else build_copc
    with pytest.raises(UnreadablePointCloudError, match=r"cut\.laz"):
        build([source], out)
    assert left_behind(tmp_path) == ["cut.laz"]


def test_random_damage_ends_in_an_error_or_a_sound_file(tmp_path, legacy, build_small, left_behind):
    raw = legacy.read_bytes()
    random = np.random.default_rng(17)
    path, out = tmp_path / "bad.laz", tmp_path / "out.copc.laz"
    for position in random.integers(400, len(raw), 12):
        bad = bytearray(raw)
        bad[position : position + 4] = random.bytes(4)
        path.write_bytes(bad)
        try:
            build_small([LasSource(path)], out, Limits(30_000, 30_000, 1))
        except UnreadablePointCloudError:
            assert left_behind(tmp_path) == ["bad.laz"]
        else:
            assert check_copc(out) == []
            for name in ("out.copc.laz", "out.copc.laz.nodes"):
                (tmp_path / name).unlink()
