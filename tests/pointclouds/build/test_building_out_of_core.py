"""Out of core: the same nodes as in memory, whatever the sources promise, and nothing left when it ends."""

import resource
from dataclasses import replace

import laspy
import numpy as np
import pytest

from pointclouds.build import division
from pointclouds.build.build import build_copc
from pointclouds.build.out_of_core import Limits, limits_for
from pointclouds.cloud.nodes import compute_nodes, load_nodes, nodes_path
from pointclouds.copc.check import check_copc
from pointclouds.copc.octree import OctreeRules
from pointclouds.copc.reader import CopcFile
from pointclouds.errors import (
    BuildCancelledError,
    EmptyPointCloudError,
    OutputError,
    UnreadablePointCloudError,
)
from pointclouds.sources import LasSource

TINY = Limits(10_000, 8_000, 1)


@pytest.fixture(scope="module")
def in_memory(tmp_path_factory, scan_source, small_rules):
    """The scan built in memory by the rules of the small builds."""
    out = tmp_path_factory.mktemp("memory") / "scan.copc.laz"
    assert (small_rules.leaf_points, small_rules.grid_depth) == (3_000, 5)
    from pointclouds.build import build as module

    layout = module.common_layout([scan_source])
    facts = module._facts([scan_source], layout, small_rules)
    module._build_in_memory([scan_source], out, facts, module.quiet, module.never)
    return out


@pytest.fixture(scope="module")
def out_of_core(tmp_path_factory, scan_source, build_small):
    """The scan built out of core: folder and summary."""
    folder = tmp_path_factory.mktemp("disk")
    return folder / "scan.copc.laz", build_small([scan_source], folder / "scan.copc.laz")


def test_the_nodes_are_those_of_one_sort_in_memory(in_memory, out_of_core, nodes_of):
    nodes = nodes_of(out_of_core[0])
    assert len(nodes) > 20
    assert nodes == nodes_of(in_memory)


def test_points_and_classes_are_those_of_the_source(out_of_core, scan, sorted_points):
    path, summary = out_of_core
    assert check_copc(path) == []
    source = laspy.read(scan)
    codes, counts = np.unique(source.classification, return_counts=True)
    assert summary.count == 60_000
    assert summary.classes == dict(zip(codes.tolist(), counts.tolist(), strict=True))
    assert summary.gps_range == (source.gps_time.min(), source.gps_time.max())
    names = ["X", "Y", "Z", "gps_time", "intensity", "return_number", "classification", "red", "user_data"]
    assert np.array_equal(sorted_points(scan, names), sorted_points(path, names))


def test_the_table_of_nodes_is_that_of_the_file(out_of_core):
    path, _ = out_of_core
    with CopcFile(path) as copc:
        computed = compute_nodes(copc)
        assert np.array_equal(load_nodes(nodes_path(path)).entries, copc.entries)
    saved = load_nodes(nodes_path(path))
    assert saved.classes == computed.classes
    assert saved.dimensions == computed.dimensions
    for name in ("class_counts", "return_counts", "lowest", "highest", "sums", "squares"):
        assert np.array_equal(getattr(saved, name), getattr(computed, name), equal_nan=True), name


def test_nothing_but_the_file_and_its_table_is_left(out_of_core, left_behind):
    assert left_behind(out_of_core[0].parent) == ["scan.copc.laz", "scan.copc.laz.nodes"]


def test_several_processes_make_the_same_file(tmp_path, scan_source, build_small, out_of_core):
    summary = build_small([scan_source], tmp_path / "out.copc.laz", replace(TINY, processes=2))
    assert summary.nodes == out_of_core[1].nodes
    assert (tmp_path / "out.copc.laz").read_bytes() == out_of_core[0].read_bytes()


@pytest.mark.parametrize("promise", ["nothing", "too small", "elsewhere"])
def test_a_wrong_promise_of_the_box_changes_nothing(
    tmp_path, scan_source, scan_records, array_source, build_small, nodes_of, in_memory, promise
):
    box = np.array(scan_source.description.box)
    boxes = {
        "nothing": None,
        "too small": (*(box[:3] + 20), *(box[3:] - 2)),
        "elsewhere": tuple(box + 2_000),
    }
    source = array_source(scan_records, scan_source.description, box=boxes[promise])
    build_small([source], tmp_path / "out.copc.laz")
    assert nodes_of(tmp_path / "out.copc.laz") == nodes_of(in_memory)


def test_the_order_of_sources_of_different_layouts(tmp_path, make_scan, sorted_points, build_small):
    a = make_scan(tmp_path / "a.laz", 9_000, 1, scale=0.01)
    b = make_scan(
        tmp_path / "b.las", 12_000, 7, "1.4", origin=(85000.0, 447500.0, 5.0), extra=[("extra", "uint8")]
    )
    out = tmp_path / "out.copc.laz"
    summary = build_small([LasSource(a), LasSource(b)], out)
    assert (summary.count, summary.point_format, summary.scale) == (21_000, 7, (0.001, 0.001, 0.001))
    assert summary.dimensions[-1] == "extra"
    assert check_copc(out) == []
    names = ["x", "y", "z", "gps_time"]
    both = np.concatenate([sorted_points(path, names) for path in (a, b)])
    assert np.abs(both[np.lexsort(both.T)] - sorted_points(out, names)).max() < 1e-6


def _placed(records, count, place, spread):
    """Some records, at one place or within `spread` steps of it."""
    found = records[:count].copy()
    random = np.random.default_rng(5)
    for name, at in zip("XYZ", place, strict=True):
        found[name] = at + random.integers(0, spread + 1, count)
    return found


@pytest.mark.parametrize(("spread", "far"), [(0, 0), (0, 1), (3, 1), (60, 1), (200, 1)])
def test_points_at_one_place(tmp_path, scan_source, scan_records, array_source, build_small, spread, far):
    """More than a bucket's points closer together than any cell of the index, alone or with others far away."""
    dense = _placed(scan_records, 20_000, (5_000, 5_000, 500), spread)
    records = np.concatenate((dense, scan_records[20_000 : 20_000 + 5_000 * far]))
    source = array_source(records, scan_source.description, box=None)
    out = tmp_path / "out.copc.laz"
    assert build_small([source], out).count == len(records)
    assert check_copc(out) == []
    again = tmp_path / "again.copc.laz"
    build_small([source], again, Limits(100_000, 100_000, 1))
    with CopcFile(out) as one, CopcFile(again) as other:
        keys = ["level", "x", "y", "z", "point_count"]
        # A bucket far below the size that limits_for allows may leave a node undivided; its points are the same.
        if spread in (0, 3):
            assert sorted(one.entries[keys].tolist()) == sorted(other.entries[keys].tolist())


def test_too_many_points_at_one_place(
    tmp_path, scan_source, scan_records, array_source, build_small, monkeypatch, left_behind
):
    records = _placed(scan_records, 20_000, (5_000, 5_000, 500), 0)
    source = array_source(records, scan_source.description, box=None)
    monkeypatch.setattr(division, "LARGEST_NODE", 20_000)
    build_small([source], tmp_path / "out.copc.laz")
    monkeypatch.setattr(division, "LARGEST_NODE", 19_999)
    with pytest.raises(UnreadablePointCloudError, match=r"20000 points lie within .* units of one place"):
        build_small([source], tmp_path / "other.copc.laz")
    with pytest.raises(UnreadablePointCloudError, match="20000 points lie within"):
        build_copc([source], tmp_path / "other.copc.laz", leaf_points=1_000)
    assert left_behind(tmp_path) == ["out.copc.laz", "out.copc.laz.nodes"]


@pytest.mark.parametrize("count", [1, 2])
def test_few_points(tmp_path, scan_source, scan_records, array_source, build_small, count):
    source = array_source(scan_records[:count], scan_source.description, box=None)
    assert build_small([source], tmp_path / "out.copc.laz").count == count
    assert check_copc(tmp_path / "out.copc.laz") == []


def test_no_points(tmp_path, scan_source, scan_records, array_source, build_small, left_behind):
    source = array_source(scan_records[:0], scan_source.description, box=None)
    for build in (build_small, build_copc):
        with pytest.raises(EmptyPointCloudError, match="no points"):
            build([source], tmp_path / "out.copc.laz")
    with pytest.raises(EmptyPointCloudError, match="no point cloud"):
        build_copc([], tmp_path / "out.copc.laz")
    assert left_behind(tmp_path) == []


def test_numbers_that_are_none_break_nothing(tmp_path, make_scan, build_small):
    path = make_scan(
        tmp_path / "in.laz", 9_000, 6, "1.4", extra=[("height", "float32"), ("other", "float64")]
    )
    las = laspy.read(path)
    las.gps_time[:4_000] = np.nan
    las.gps_time[4_000] = np.inf
    las.height[:] = np.nan
    las.other[1::2] = np.nan
    las.write(path)
    las.gps_time[:] = np.nan
    las.write(tmp_path / "no times.laz")
    known = las.gps_time
    for build in (build_small, build_copc):
        summary = build([LasSource(path)], tmp_path / "out.copc.laz")
        assert np.isfinite(summary.gps_range).all()
        assert summary.gps_range[0] > 1e5
        table = load_nodes(nodes_path(tmp_path / "out.copc.laz"))
        assert np.isnan(table.lowest[:, table.column("height")]).all()
        assert np.isfinite(np.nanmax(table.highest[:, table.column("other")]))
        assert check_copc(tmp_path / "out.copc.laz") == []
        assert build([LasSource(tmp_path / "no times.laz")], tmp_path / "b.copc.laz").gps_range == (0.0, 0.0)
        assert check_copc(tmp_path / "b.copc.laz") == []
    assert np.isnan(known).all()


@pytest.mark.parametrize("after", [0, 3, 9, 16])
def test_a_cancelled_build_leaves_nothing(tmp_path, scan_source, build_small, left_behind, after):
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > after

    with pytest.raises(BuildCancelledError, match="cancelled"):
        build_small([scan_source], tmp_path / "out.copc.laz", cancelled=cancelled)
    assert left_behind(tmp_path) == []


def test_a_cancelled_build_in_memory_leaves_nothing(tmp_path, scan_source, left_behind):
    answers = iter([False, False, False, True])
    with pytest.raises(BuildCancelledError, match=r"out\.copc\.laz was cancelled"):
        build_copc([scan_source], tmp_path / "out.copc.laz", cancelled=lambda: next(answers))
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(("room", "processes"), [(1_000, 1), (200_000, 2), (400_000, 1)])
def test_a_full_disk_leaves_nothing(tmp_path, scan_source, build_small, left_behind, room, processes):
    """No room for the runs, for a branch, for the file: the limit of a file's size stands for the disk's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(OutputError, match="free space"):
            build_small([scan_source], tmp_path / "out.copc.laz", Limits(5_000, 8_000, processes))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert left_behind(tmp_path) == []


def test_progress_runs_to_the_end_of_every_stage(tmp_path, scan_source, build_small):
    told = []
    build_small(
        [scan_source], tmp_path / "out.copc.laz", report=lambda stage, part: told.append((stage, part))
    )
    stages = list(dict.fromkeys(stage for stage, _ in told))
    assert stages == ["read", "octree", "write"]
    for stage in stages:
        parts = [part for name, part in told if name == stage]
        assert parts == sorted(parts)
        assert parts[-1] == 1.0


def test_little_memory_goes_through_the_workspace(tmp_path, scan_source, left_behind):
    seen = []

    def report(stage: str, _part: float) -> None:
        seen.append((stage, (tmp_path / "work").is_dir()))

    summary = build_copc(
        [scan_source],
        tmp_path / "out.copc.laz",
        memory_bytes=1 << 20,
        processes=1,
        workspace=tmp_path / "work",
        report=report,
    )
    assert summary.count == 60_000
    assert all(there for _, there in seen)
    assert left_behind(tmp_path) == ["out.copc.laz", "out.copc.laz.nodes"]


def test_grids_that_can_be_chosen(tmp_path, scan_source):
    sizes = []
    for cells in (128, 64, 32):
        out = tmp_path / f"{cells}.copc.laz"
        build_copc([scan_source], out, grid_cells=cells, leaf_points=5_000)
        assert check_copc(out) == []
        with CopcFile(out) as copc:
            assert copc.info.spacing == pytest.approx(2 * copc.info.halfsize / cells)
            sizes.append(int(copc.entries["point_count"][0]))
    assert sizes[0] > 3 * sizes[1] > 9 * sizes[2]
    with pytest.raises(ValueError, match="128, 64, 32"):
        build_copc([scan_source], tmp_path / "out.copc.laz", grid_cells=100)


@pytest.mark.parametrize("memory", [1 << 20, 1 << 28, 1 << 30, 1 << 34])
@pytest.mark.parametrize("processes", [1, 2, 64])
def test_limits_share_the_memory(scan_source, memory, processes):
    from pointclouds.build import build as module

    layout = module.common_layout([scan_source])
    frame = module._facts([scan_source], layout, OctreeRules()).frame
    limits = limits_for(memory, processes, frame)
    assert 1 <= limits.processes <= processes
    assert limits.run_points % 50_000 == 0
    assert limits.bucket_points >= 50_000 + 64**3
    if memory >= 1 << 28 and limits.bucket_points > 500_000:
        each = (2 * frame.dtype.itemsize + 90) * limits.bucket_points
        assert each * limits.processes <= memory
