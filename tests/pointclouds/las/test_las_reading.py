"""Good headers are understood; damaged files end in one clear error, never in a crash or a silent half."""

import struct
from pathlib import Path

import laspy
import numpy as np
import pytest

from pointclouds.errors import CrsError, EmptyPointCloudError, PointCloudError, UnreadablePointCloudError
from pointclouds.las.point_set import load_points
from pointclouds.las.reader import inspect, read_chunks


def quiet(stage: str, part: float) -> None:
    """Nobody listens."""


def load(path: Path, crs: str = "EPSG:28992"):
    return load_points([path], crs, quiet)


@pytest.mark.parametrize("suffix", ["las", "laz"])
@pytest.mark.parametrize(("version", "point_format"), [("1.2", 1), ("1.3", 3), ("1.4", 7)])
def test_header_is_read(tmp_path, make_scan, suffix, version, point_format):
    header = inspect(make_scan(tmp_path / f"in.{suffix}", 100, point_format, version))
    assert (header.version, header.point_format, header.count) == (version, point_format, 100)
    assert header.compressed == (suffix == "laz")
    assert header.crs is not None
    assert header.crs.to_authority() == ("EPSG", "28992")
    assert header.scale == (0.001, 0.001, 0.001)
    assert header.bbox[0] < header.bbox[3]


@pytest.mark.parametrize("minor", [0, 1])
def test_early_versions_are_read(tmp_path, make_scan, minor):
    path = make_scan(tmp_path / "in.las", 100, 1)
    raw = bytearray(path.read_bytes())
    raw[25] = minor
    path.write_bytes(raw)
    assert inspect(path).version == f"1.{minor}"
    assert len(load(path).records) == 100


def test_chunks_are_bounded_and_complete(scan):
    sizes = [len(chunk) for chunk in read_chunks(inspect(scan), 7_000)]
    assert max(sizes) == 7_000
    assert sum(sizes) == 60_000


def test_crs_given_wins_over_the_file(scan):
    header = inspect(scan, "EPSG:25831")
    assert header.crs is not None
    assert header.crs.to_authority() == ("EPSG", "25831")


def geo_keys(path: Path, keys: dict[int, int]) -> Path:
    """Replace the CRS of a file by a GeoTIFF key directory."""
    las = laspy.read(path)
    data = struct.pack("<4H", 1, 1, 0, len(keys)) + b"".join(
        struct.pack("<4H", k, 0, 1, v) for k, v in keys.items()
    )
    las.header.vlrs.append(laspy.VLR("LASF_Projection", 34735, "", data))
    las.write(path)
    return path


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({3072: 28992}, "Amersfoort / RD New"),
        ({3072: 28992, 4096: 5709}, "Amersfoort / RD New + NAP height"),
        ({3072: 28992, 4096: 5030}, "Amersfoort / RD New"),
        ({2048: 4326}, "WGS 84"),
        ({2048: 4326, 3072: 32767}, None),
        ({3072: 32767}, None),
        ({1024: 1}, None),
    ],
)
def test_geotiff_keys(tmp_path, make_scan, keys, expected):
    crs = inspect(geo_keys(make_scan(tmp_path / "in.las", 10, crs=None), keys)).crs
    assert (crs.name if crs is not None else None) == expected


def test_unknown_codes_and_broken_wkt_are_named(tmp_path, make_scan):
    with pytest.raises(CrsError, match="GeoTIFF"):
        inspect(geo_keys(make_scan(tmp_path / "keys.las", 10, crs=None), {3072: 1025}))
    path = make_scan(tmp_path / "wkt.las", 10, 6, "1.4")
    path.write_bytes(path.read_bytes().replace(b"PROJCR", b"PROGCR", 1).replace(b"PROJCS", b"PROGCS", 1))
    with pytest.raises(CrsError, match="WKT"):
        inspect(path)
    assert inspect(path, "EPSG:28992").count == 10


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "LASF"),
        (b"LASF", "LASF"),
        (b"<html></html>" * 100, "LASF"),
        (b"LASF" + bytes(400), "version 0.0"),
    ],
)
def test_not_a_point_cloud(tmp_path, content, message):
    path = tmp_path / "in.laz"
    path.write_bytes(content)
    with pytest.raises(UnreadablePointCloudError, match=message):
        inspect(path)


def test_zero_points_and_folders(tmp_path, make_scan):
    with pytest.raises(EmptyPointCloudError, match=r"empty\.las holds no points"):
        inspect(make_scan(tmp_path / "empty.las", 0))
    with pytest.raises(UnreadablePointCloudError, match="directory"):
        inspect(tmp_path)


@pytest.mark.parametrize("suffix", ["las", "laz"])
@pytest.mark.parametrize("point_format", [1, 7])
def test_cut_anywhere_is_one_error(tmp_path, make_scan, suffix, point_format):
    whole = make_scan(
        tmp_path / f"in.{suffix}", 5_000, point_format, "1.4" if point_format > 5 else "1.2"
    ).read_bytes()
    cut = tmp_path / f"cut.{suffix}"
    start = struct.unpack_from("<I", whole, 96)[0]
    quarters = [len(whole) * part // 4 for part in range(4)]
    for length in [*quarters, 100, 226, start - 1, start, start + 1, start + 9, len(whole) - 9]:
        cut.write_bytes(whole[:length])
        with pytest.raises(UnreadablePointCloudError, match="cut"):
            load(cut)


HEADER_LIES = {
    "version": (25, "<B", 9),
    "header size": (94, "<H", 100),
    "points before the header's end": (96, "<I", 10),
    "points after the end": (96, "<I", 1 << 31),
    "4 billion records": (100, "<I", 0xFFFFFFFF),
    "point format": (104, "<B", 0x80 | 22),
    "record too short": (105, "<H", 8),
    "too many points": (107, "<I", 5_001_000),
    "4 billion points": (107, "<I", 0xFFFFFFFF),
    "one point fewer": (107, "<I", 4_999),
    "scale 0": (131, "<d", 0.0),
    "scale NaN": (131, "<d", float("nan")),
    "scale 1e300": (139, "<d", 1e300),
    "scale negative": (131, "<d", -0.01),
    "scale ten times too large": (131, "<d", 0.01),
    "offset infinite": (155, "<d", float("inf")),
    "offset elsewhere": (155, "<d", 0.0),
    "box NaN": (179, "<d", float("nan")),
    "box upside down": (179, "<d", -1e6),
    "box beyond the Earth": (179, "<d", 1e12),
}


@pytest.mark.parametrize("suffix", ["las", "laz"])
@pytest.mark.parametrize("lie", HEADER_LIES)
def test_header_lies_are_found(tmp_path, make_scan, suffix, lie):
    position, form, value = HEADER_LIES[lie]
    raw = bytearray(make_scan(tmp_path / f"good.{suffix}", 5_000).read_bytes())
    struct.pack_into(form, raw, position, value)
    bad = tmp_path / f"bad.{suffix}"
    bad.write_bytes(raw)
    with pytest.raises(PointCloudError, match=r"bad\.la") as caught:
        load(bad)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("suffix", "point_format", "version"), [("las", 1, "1.2"), ("laz", 3, "1.2"), ("laz", 7, "1.4")]
)
def test_any_flipped_header_byte_is_refused_or_harmless(tmp_path, make_scan, suffix, point_format, version):
    """Either an error, or the same points within a hundredth of their extent."""
    good = make_scan(tmp_path / f"good.{suffix}", 300, point_format, version)
    truth = load(good)
    raw = good.read_bytes()
    bad = tmp_path / f"bad.{suffix}"
    start = struct.unpack_from("<H", raw, 94)[0]
    refused = 0
    for position in range(start):
        flipped = bytearray(raw)
        flipped[position] ^= 0xFF
        bad.write_bytes(flipped)
        try:
            points = load(bad)
        except PointCloudError:
            refused += 1
            continue
        assert len(points.records) == 300, position
        for axis, name in enumerate("XYZ"):
            here = points.records[name] * points.scale[axis] + points.offset[axis]
            there = truth.records[name] * truth.scale[axis] + truth.offset[axis]
            assert np.abs(here - there).max() <= 1.1, position
    assert refused > 40


@pytest.mark.parametrize("point_format", [3, 7])
def test_flipped_bytes_in_the_points_never_crash(tmp_path, make_scan, point_format):
    """Damage inside compressed points may decode to something else; it must end in an error or in all points."""
    version = "1.4" if point_format > 5 else "1.2"
    raw = make_scan(tmp_path / "good.laz", 2_000, point_format, version).read_bytes()
    start = struct.unpack_from("<I", raw, 96)[0]
    random = np.random.default_rng(1)
    bad = tmp_path / "bad.laz"
    for position in random.integers(start, len(raw), 60):
        flipped = bytearray(raw)
        flipped[position] ^= 1 << int(random.integers(0, 8))
        bad.write_bytes(flipped)
        try:
            points = load(bad)
        except PointCloudError:
            continue
        assert len(points.records) == 2_000


def test_points_outside_the_box_are_refused(tmp_path, make_scan):
    las = laspy.read(make_scan(tmp_path / "in.las", 1000))
    path = tmp_path / "in.las"
    raw = bytearray(path.read_bytes())
    struct.pack_into("<i", raw, las.header.offset_to_point_data, 2_000_000_000)
    path.write_bytes(raw)
    with pytest.raises(UnreadablePointCloudError, match="the header says its points lie in"):
        load(path)
