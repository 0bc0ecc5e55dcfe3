"""LAS/LAZ -> COPC: the points are the same, the structure is COPC 1.0, and other readers agree."""

import resource
import struct

import copclib
import laspy
import numpy as np
import pytest

from pointclouds.cloud.summary import summarize
from pointclouds.copc.check import check_copc
from pointclouds.copc.hierarchy import pack_pages, read_pages
from pointclouds.copc.reader import CopcFile
from pointclouds.copc.writer import write_copc
from pointclouds.errors import (
    EmptyPointCloudError,
    MissingCrsError,
    OutputError,
    UnreadablePointCloudError,
    UnusableCrsError,
)
from pointclouds.las.structures import HIERARCHY_ENTRY

COMMON = [
    "X",
    "Y",
    "Z",
    "intensity",
    "return_number",
    "number_of_returns",
    "classification",
    "synthetic",
    "withheld",
    "scan_direction_flag",
    "edge_of_flight_line",
    "user_data",
    "point_source_id",
]


@pytest.mark.parametrize(
    "case",
    [
        (0, "1.2", "las", 6),
        (1, "1.2", "laz", 6),
        (2, "1.2", "laz", 7),
        (3, "1.2", "laz", 7),
        (3, "1.3", "las", 7),
        (4, "1.3", "las", 6),
        (5, "1.3", "las", 7),
        (1, "1.4", "laz", 6),
        (6, "1.4", "laz", 6),
        (7, "1.4", "laz", 7),
        (8, "1.4", "laz", 8),
        (9, "1.4", "las", 6),
        (10, "1.4", "las", 8),
    ],
)
def test_every_point_format_keeps_its_points(tmp_path, make_scan, sorted_points, case):
    point_format, version, suffix, expected = case
    source = make_scan(tmp_path / f"in.{suffix}", 1500, point_format, version)
    out = tmp_path / "out.copc.laz"
    summary = write_copc(source, out)
    assert check_copc(out) == []
    assert summary.point_format == expected
    assert summary.count == 1500
    assert bool(summary.dropped) == (point_format in {4, 5, 9, 10})
    names = COMMON + [
        name
        for name in ("gps_time", "red", "green", "blue", "nir")
        if name in laspy.read(source).point_format.dimension_names
    ]
    assert np.array_equal(sorted_points(source, names), sorted_points(out, names))


def test_scan_angles_become_finer_units(tmp_path, make_scan):
    source = make_scan(tmp_path / "in.laz", 500, 1)
    write_copc(source, tmp_path / "out.copc.laz")
    before = np.sort(laspy.read(source).scan_angle_rank.astype(float))
    after = np.sort(np.asarray(laspy.read(tmp_path / "out.copc.laz").scan_angle) * 0.006)
    assert np.abs(before - after).max() <= 0.003


def test_header_and_info_say_what_the_points_are(copc, scan):
    source = laspy.read(scan)
    with laspy.open(copc) as reader:
        header = reader.header
    assert header.version == laspy.header.Version(1, 4)
    assert header.global_encoding.wkt
    assert np.array_equal(header.scales, source.header.scales)
    assert np.array_equal(header.offsets, source.header.offsets)
    assert header.parse_crs().to_authority() == ("EPSG", "7415")
    raw = copc.read_bytes()
    assert struct.unpack_from("<2d", raw, 485) == (source.gps_time.min(), source.gps_time.max())
    assert raw[377:393].rstrip(b"\0") == b"copc"
    assert struct.unpack_from("<6I", raw, 107) == (0,) * 6
    returns = np.bincount(source.return_number, minlength=16)[1:]
    assert list(header.number_of_points_by_return) == list(returns)


def test_laspy_and_copclib_read_the_octree(copc, scan, sorted_points):
    with laspy.CopcReader.open(copc) as reader:
        assert np.array_equal(sorted_points(reader.query(), COMMON), sorted_points(scan, COMMON))
        overview = reader.query(level=0)
        assert 10_000 < len(overview) < 128 * 128 * 3
    reader = copclib.FileReader(str(copc))
    nodes = reader.GetAllNodes()
    assert sum(node.point_count for node in nodes) == 60_000
    assert sum(len(reader.GetPoints(node)) for node in nodes) == 60_000


def test_summary_written_and_read_again_agree(copc, scan):
    source = laspy.read(scan)
    summary = summarize(copc)
    assert summary.count == 60_000
    assert summary.classes == {
        int(c): int(n) for c, n in zip(*np.unique(source.classification, return_counts=True), strict=True)
    }
    assert summary.crs_identifier == "http://www.opengis.net/def/crs/EPSG/0/7415"
    assert summary.vertical_reference == "NAP height"
    west, south, bottom, east, north, top = summary.bbox84
    assert 4.36 < west < east < 4.37
    assert 52.01 < south < north < 52.02
    assert (bottom, top) == (summary.bbox[2], summary.bbox[5])
    assert summary.properties()["classes"] == {"2": summary.classes[2], "6": summary.classes[6]}
    assert "GpsTime" in summary.dimensions
    again = write_copc(copc, copc.with_name("again.copc.laz"))
    fields = ("count", "bbox", "bbox84", "classes", "dimensions", "gps_range", "scale", "offset", "nodes")
    assert all(getattr(again, field) == getattr(summary, field) for field in fields)


@pytest.mark.parametrize("point_format", [3, 7])
def test_extra_dimensions_survive(tmp_path, make_scan, sorted_points, point_format):
    extra = [("amplitude", "uint16"), ("normal", "3f4"), ("deviation", "int8")]
    version = "1.4" if point_format > 5 else "1.2"
    source = make_scan(tmp_path / "in.laz", 3000, point_format, version, extra=extra)
    summary = write_copc(source, tmp_path / "out.copc.laz")
    assert summary.dimensions[-3:] == ("amplitude", "normal", "deviation")
    assert check_copc(tmp_path / "out.copc.laz") == []
    names = ["X", "Y", "Z", "amplitude", "deviation"]
    assert np.array_equal(sorted_points(source, names), sorted_points(tmp_path / "out.copc.laz", names))
    sums = [np.asarray(laspy.read(path).normal).sum(axis=0) for path in (source, tmp_path / "out.copc.laz")]
    assert np.array_equal(*sums)


def test_several_files_become_one(tmp_path, make_scan, sorted_points):
    a = make_scan(tmp_path / "a.laz", 1000, 1)
    b = make_scan(
        tmp_path / "b.las", 2000, 7, "1.4", origin=(85000.0, 447500.0, 5.0), extra=[("extra", "uint8")]
    )
    stages = []
    summary = write_copc(
        [a, b], tmp_path / "out.copc.laz", report=lambda stage, part: stages.append((stage, part))
    )
    assert summary.count == 3000
    assert summary.point_format == 7
    assert check_copc(tmp_path / "out.copc.laz") == []
    both = np.concatenate([sorted_points(path, ["x", "y", "z", "gps_time"]) for path in (a, b)])
    out = sorted_points(tmp_path / "out.copc.laz", ["x", "y", "z", "gps_time"])
    assert np.abs(both[np.lexsort(both.T)] - out).max() < 1e-6
    assert [stage for stage, part in stages if part == 1.0] == ["read", "octree", "write"]


def test_finest_scale_wins_where_files_differ(tmp_path, make_scan):
    a = make_scan(tmp_path / "a.laz", 500, scale=0.01)
    b = make_scan(tmp_path / "b.laz", 500, scale=0.001, seed=8)
    assert write_copc([a, b], tmp_path / "out.copc.laz").scale == (0.001, 0.001, 0.001)
    assert check_copc(tmp_path / "out.copc.laz") == []


@pytest.mark.parametrize(("count", "size"), [(1, 100.0), (2, 100.0), (3000, 0.0), (120_000, 0.0)])
def test_few_points_and_points_at_one_place(tmp_path, make_scan, count, size):
    source = make_scan(tmp_path / "in.laz", count, size=size or 1e-9)
    summary = write_copc(source, tmp_path / "out.copc.laz")
    assert summary.count == count
    assert check_copc(tmp_path / "out.copc.laz") == []
    with laspy.CopcReader.open(tmp_path / "out.copc.laz") as reader:
        assert len(reader.query()) == count


def test_crs_has_to_be_known_and_projected(tmp_path, make_scan):
    bare = make_scan(tmp_path / "bare.laz", 10, crs=None)
    with pytest.raises(MissingCrsError, match=r"bare\.laz .*--crs EPSG:28992"):
        write_copc(bare, tmp_path / "out.copc.laz")
    with pytest.raises(UnusableCrsError, match="not projected"):
        write_copc(bare, tmp_path / "out.copc.laz", crs="EPSG:4326")
    with pytest.raises(UnusableCrsError, match="EPSG:0"):
        write_copc(bare, tmp_path / "out.copc.laz", crs="EPSG:0")
    far = make_scan(tmp_path / "far.laz", 10, origin=(9e8, 9e8, 0.0), scale=1.0)
    with pytest.raises(UnusableCrsError, match=r"outside .*GK25FIN"):
        write_copc(far, tmp_path / "out.copc.laz", crs="EPSG:3879")
    with pytest.raises(UnusableCrsError, match=r"longitude .* outside China"):
        write_copc(bare, tmp_path / "out.copc.laz", crs="EPSG:4547")
    other = make_scan(tmp_path / "other.laz", 10, crs="EPSG:25831")
    named = make_scan(tmp_path / "named.laz", 10)
    with pytest.raises(UnusableCrsError, match="share one CRS"):
        write_copc([named, other], tmp_path / "out.copc.laz")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bare.laz",
        "far.laz",
        "named.laz",
        "other.laz",
    ]


def test_nothing_to_write(tmp_path, make_scan):
    with pytest.raises(EmptyPointCloudError, match="no points"):
        write_copc(make_scan(tmp_path / "empty.las", 0), tmp_path / "out.copc.laz")
    with pytest.raises(EmptyPointCloudError, match="no point cloud file"):
        write_copc([], tmp_path / "out.copc.laz")
    with pytest.raises(UnreadablePointCloudError, match="absent"):
        write_copc(tmp_path / "absent.laz", tmp_path / "out.copc.laz")


def test_a_failed_write_leaves_the_old_file(tmp_path, make_scan):
    out = tmp_path / "out.copc.laz"
    write_copc(make_scan(tmp_path / "small.laz", 100), out)
    before = out.read_bytes()
    big = make_scan(tmp_path / "big.laz", 50_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OutputError, match="free space"):
            write_copc(big, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert out.read_bytes() == before
    assert not list(tmp_path.glob("*.part"))
    with pytest.raises(OutputError):
        write_copc(big, tmp_path / "no such folder" / "out.copc.laz")


def test_conflicting_extra_dimensions_are_refused(tmp_path, make_scan):
    a = make_scan(tmp_path / "a.laz", 10, extra=[("quality", "uint8")])
    b = make_scan(tmp_path / "b.laz", 10, extra=[("quality", "uint16")])
    with pytest.raises(UnreadablePointCloudError, match="quality"):
        write_copc([a, b], tmp_path / "out.copc.laz")
    named = make_scan(tmp_path / "c.laz", 10, 3, extra=[("Red", "uint8")])
    with pytest.raises(UnreadablePointCloudError, match="standard"):
        write_copc(named, tmp_path / "out.copc.laz")


def test_a_large_tree_is_written_in_pages():
    keys = [(0, 0, 0, 0)]
    for level in range(1, 6):
        keys += [(level, x, y, 0) for x in range(1 << level) for y in range(1 << level)]
    entries = np.zeros(len(keys), HIERARCHY_ENTRY)
    for column, name in enumerate(("level", "x", "y", "z")):
        entries[name] = [key[column] for key in keys]
    entries["point_count"], entries["byte_size"] = np.arange(1, len(keys) + 1), 100
    data, root_size = pack_pages(entries, 1000)
    assert root_size < len(data)
    reads = []

    def read(offset: int, size: int) -> bytes:
        reads.append((offset, size))
        return data[offset - 1000 : offset - 1000 + size]

    found, problems = read_pages(read, 1000, root_size, 1000 + len(data))
    assert problems == []
    assert sum(size for _, size in reads) == len(data)
    assert len(reads) == 1 + 4**4
    order = np.argsort(found["point_count"])
    assert np.array_equal(found[order], entries)


def test_real_scans_keep_counts_and_classes(tmp_path, sample_data, sorted_points):
    cases = [
        ("delft/ahn3/ahn3_cropped_2.laz", "EPSG:7415"),
        ("pointcloud/autzen_trim.laz", None),
        ("pointcloud/simple.copc.laz", None),
    ]
    for name, crs in cases:
        source = sample_data / name
        out = tmp_path / "out.copc.laz"
        summary = write_copc(source, out, crs=crs)
        assert check_copc(out) == []
        las = laspy.read(source)
        codes, counts = np.unique(las.classification, return_counts=True)
        assert summary.classes == dict(zip(codes.tolist(), counts.tolist(), strict=True))
        names = [*COMMON, "gps_time"]
        assert np.array_equal(sorted_points(source, names), sorted_points(out, names))


def test_the_two_delft_tiles_become_one(tmp_path, sample_data):
    out = tmp_path / "delft.copc.laz"
    sources = [sample_data / f"delft/ahn3/ahn3_cropped_{part}.laz" for part in (1, 2)]
    assert write_copc(sources, out, crs="EPSG:28992").count == 640_510 + 208_432
    with CopcFile(out) as copc:
        assert int(copc.entries["point_count"].sum()) == 848_942
