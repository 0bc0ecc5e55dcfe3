"""A COPC kept byte for byte: checked and counted in one pass."""

import struct

import numpy as np
import pytest

from pointclouds.build import taking_over
from pointclouds.build.taking_over import take_over_copc
from pointclouds.cloud.nodes import compute_nodes, load_nodes, nodes_path
from pointclouds.cloud.summary import summarize
from pointclouds.copc.reader import CopcFile
from pointclouds.errors import BuildCancelledError, InvalidCopcError, OutputError, PointCloudError
from pointclouds.las.structures import COPC_INFO_OFFSET


@pytest.fixture
def copy(tmp_path, copc):
    """The session's COPC, without its table."""
    path = tmp_path / "own.copc.laz"
    path.write_bytes(copc.read_bytes())
    return path


@pytest.mark.parametrize("processes", [1, 2])
def test_the_file_stays_and_its_table_is_right(copy, copc, monkeypatch, processes):
    monkeypatch.setattr(taking_over, "_TASK_POINTS", 20_000)
    monkeypatch.setattr(taking_over, "_PROCESS_POINTS", 20_000)
    told = []
    summary = take_over_copc(copy, crs="EPSG:7415", processes=processes, report=lambda *one: told.append(one))
    assert copy.read_bytes() == copc.read_bytes()
    assert summary == summarize(copy)
    assert told[-1] == ("read", 1.0)
    with CopcFile(copy) as file:
        computed = compute_nodes(file)
    saved = load_nodes(nodes_path(copy))
    for name in ("entries", "class_counts", "return_counts", "lowest", "highest", "sums", "squares"):
        assert np.array_equal(getattr(saved, name), getattr(computed, name)), name


def _damaged(path, position, data):
    raw = bytearray(path.read_bytes())
    raw[position : position + len(data)] = data
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("position", "data", "message"),
    [
        (COPC_INFO_OFFSET, struct.pack("<d", 84_000.0), "of its points lie outside it"),
        (COPC_INFO_OFFSET + 40, struct.pack("<Q", 1 << 60), "the file ends"),
        (255, struct.pack("<Q", 1), "by return"),
        (179, struct.pack("<d", 85_100.0), "box of the points"),
        (6, b"\0\0", "WKT flag"),
    ],
)
def test_a_file_that_breaks_the_standard_is_refused(copy, position, data, message):
    _damaged(copy, position, data)
    with pytest.raises(InvalidCopcError, match=rf"own\.copc\.laz breaks COPC 1\.0: .*{message}"):
        take_over_copc(copy)
    assert not nodes_path(copy).exists()


def test_points_that_do_not_decode_are_refused(copy):
    with CopcFile(copy) as file:
        place = int(file.entries[0]["offset"])
    _damaged(copy, place, bytes(200))
    with pytest.raises(PointCloudError):
        take_over_copc(copy)
    assert not nodes_path(copy).exists()


def test_another_crs_cancelling_and_a_folder_that_is_gone(copy, tmp_path):
    with pytest.raises(InvalidCopcError, match="has to be built anew"):
        take_over_copc(copy, crs="EPSG:28992")
    with pytest.raises(BuildCancelledError):
        take_over_copc(copy, cancelled=lambda: True)
    nodes_path(copy).with_name(nodes_path(copy).name + ".part").mkdir()
    with pytest.raises(OutputError, match="free space"):
        take_over_copc(copy)


def test_a_foreign_file_is_taken_over(tmp_path, sample_data):
    """Its info record says GPS times of 0 to 0, as copclib writes them; ours are those of the points."""
    path = tmp_path / "simple.copc.laz"
    path.write_bytes((sample_data / "pointcloud/simple.copc.laz").read_bytes())
    summary = take_over_copc(path)
    assert summary.count == 1065
    assert summary.gps_range[1] > summary.gps_range[0] > 0
