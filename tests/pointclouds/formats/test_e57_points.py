"""E57: scans with poses, spherical coordinates, invalid points, damage."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
from pye57 import libe57

from pointclouds.errors import MissingCrsError, UnreadablePointCloudError, UnusableCrsError
from pointclouds.formats.e57 import E57Source
from pointclouds.formats.guarded import Limits
from pointclouds.formats.opening import SourceOptions, open_source

UTM = pyproj.CRS("EPSG:32650")
COUNT = 4_000


def scan(seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {
        "cartesianX": random.uniform(0, 30, COUNT),
        "cartesianY": random.uniform(0, 30, COUNT),
        "cartesianZ": random.uniform(0, 5, COUNT),
        "intensity": random.uniform(0, 1, COUNT).astype(np.float32),
        **{
            f"color{name}": random.integers(0, 256, COUNT).astype(np.uint8)
            for name in ("Red", "Green", "Blue")
        },
        "rowIndex": np.arange(COUNT, dtype=np.uint16),
        "columnIndex": np.zeros(COUNT, np.uint16),
        "cartesianInvalidState": (np.arange(COUNT) % 10 == 0).astype(np.int8),
    }


TURN = (np.cos(np.pi / 4), 0.0, 0.0, np.sin(np.pi / 4))
"""A quarter turn about z: x becomes y, y becomes -x."""


@pytest.fixture(scope="module")
def two_scans(tmp_path_factory: pytest.TempPathFactory, write_e57: Callable[..., Path]) -> Path:
    scans = [
        (scan(1), (1.0, 0.0, 0.0, 0.0), (500_000.0, 4_000_000.0, 10.0)),
        (scan(2), TURN, (500_100.0, 4_000_000.0, 0.0)),
    ]
    return write_e57(tmp_path_factory.mktemp("e57") / "two.e57", scans)


@pytest.fixture(scope="module")
def source(two_scans: Path) -> E57Source:
    return E57Source(two_scans, UTM)


def test_scans_are_brought_together_by_their_poses(source: E57Source) -> None:
    given, records = source.description, np.concatenate(list(source.chunks(1_000)))
    assert given.count == len(records) == 2 * COUNT * 9 // 10
    assert given.point_format == 7
    x, y, z = (records[name] * given.scale[axis] + given.offset[axis] for axis, name in enumerate("XYZ"))
    second = records["PointSourceId"] == 2
    one, other = scan(1), scan(2)
    valid = one["cartesianInvalidState"] == 0
    np.testing.assert_allclose(x[~second], one["cartesianX"][valid] + 500_000, atol=1e-3)
    np.testing.assert_allclose(z[~second], one["cartesianZ"][valid] + 10, atol=1e-3)
    np.testing.assert_allclose(x[second], 500_100 - other["cartesianY"][valid], atol=1e-3)
    np.testing.assert_allclose(y[second], 4_000_000 + other["cartesianX"][valid], atol=1e-3)
    assert (records["Red"][~second] == one["colorRed"][valid].astype(int) * 257).all()
    np.testing.assert_allclose(records["Intensity"][~second] / 65_535, one["intensity"][valid], atol=1e-4)
    assert given.dropped == ("row and column indexes",)
    assert any("800 points that the scanner marked as invalid" in note for note in given.notes)


def test_ranges_and_copies_read_the_unpacked_points(source: E57Source) -> None:
    everything = np.concatenate(list(source.chunks()))
    copied = pickle.loads(pickle.dumps(source))
    assert (np.concatenate(list(copied.chunks(100, 3_500, 3_700))) == everything[3_500:3_700]).all()


def test_progress_is_reported(two_scans: Path) -> None:
    heard: list[tuple[str, float]] = []
    E57Source(two_scans, UTM, report=lambda stage, part: heard.append((stage, part)))
    parts = [part for _, part in heard]
    assert {stage for stage, _ in heard} == {"e57"}
    assert parts == sorted(parts)
    assert parts[-1] == pytest.approx(1.0)


def test_unpacked_points_go_with_the_source(two_scans: Path, tmp_path: Path) -> None:
    made = open_source(two_scans, UTM, SourceOptions(workspace=tmp_path))
    assert len(list(tmp_path.iterdir())) == 1
    del made
    assert not list(tmp_path.iterdir())


def write_fields(path: Path, fields: dict[str, np.ndarray[Any, Any]], metadata: str, start: float) -> Path:
    """A scan of any fields, as doubles."""
    image = libe57.ImageFile(str(path), "w")
    image.extensionsAdd("", libe57.E57_V1_0_URI)
    root = image.root()
    for name, value in (
        ("formatName", "ASTM E57 3D Imaging Data File"),
        ("guid", "{0}"),
        ("coordinateMetadata", metadata),
    ):
        root.set(name, libe57.StringNode(image, value))
    root.set("versionMajor", libe57.IntegerNode(image, 1))
    root.set("versionMinor", libe57.IntegerNode(image, 0))
    scans = libe57.VectorNode(image, True)
    root.set("data3D", scans)
    node, prototype = libe57.StructureNode(image), libe57.StructureNode(image)
    scans.append(node)
    node.set("guid", libe57.StringNode(image, "{1}"))
    begun = libe57.StructureNode(image)
    node.set("acquisitionStart", begun)
    begun.set("dateTimeValue", libe57.FloatNode(image, start))
    for name in fields:
        prototype.set(name, libe57.FloatNode(image, 0.0))
    points = libe57.CompressedVectorNode(image, prototype, libe57.VectorNode(image, True))
    node.set("points", points)
    buffers = libe57.VectorSourceDestBuffer()
    count = len(next(iter(fields.values())))
    kept = {name: values.astype(np.float64) for name, values in fields.items()}
    for name, values in kept.items():
        buffers.append(libe57.SourceDestBuffer(image, name, values, count, True, True))
    writer = points.writer(buffers)
    writer.write(count)
    writer.close()
    image.close()
    return path


def test_spherical_points_with_times_and_returns(tmp_path: Path) -> None:
    fields = {
        "sphericalRange": np.array([10.0, 20.0, 5.0]),
        "sphericalAzimuth": np.array([0.0, np.pi / 2, 0.0]),
        "sphericalElevation": np.array([0.0, 0.0, np.pi / 2]),
        "sphericalInvalidState": np.zeros(3),
        "returnIndex": np.array([0, 1, 1]),
        "returnCount": np.array([2, 2, 2]),
        "timeStamp": np.array([0.5, 1.5, 2.5]),
        "isColorInvalid": np.array([0, 1, 0]),
        **{f"color{name}": np.array([255, 255, 7]) for name in ("Red", "Green", "Blue")},
    }
    path = write_fields(tmp_path / "in.e57", fields, UTM.to_wkt(), 1_300_000_000.0)
    made = open_source(path)
    assert made.description.crs == UTM
    (records,) = made.chunks()
    given = made.description
    places = [records[name] * given.scale[axis] + given.offset[axis] for axis, name in enumerate("XYZ")]
    np.testing.assert_allclose(np.stack(places, 1), [[10, 0, 0], [0, 20, 0], [0, 0, 5]], atol=1e-3)
    assert records["GpsTime"].tolist() == [300_000_000.5, 300_000_001.5, 300_000_002.5]
    assert given.global_encoding == 1
    assert (records["Returns"] == [0x21, 0x22, 0x22]).all()
    assert records["Red"].tolist() == [65_535, 0, 7 * 257]


def test_nan_coordinates_are_left_out(tmp_path: Path) -> None:
    fields = {f"cartesian{axis}": np.array([1.0, 2.0, 3.0]) for axis in "XYZ"}
    fields["cartesianX"][1] = np.nan
    made = E57Source(write_fields(tmp_path / "in.e57", fields, "", 0.0), UTM)
    assert made.description.count == 2
    assert any("1 points without finite" in note for note in made.description.notes)


def test_crs_is_missing_or_not_understood(two_scans: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingCrsError, match=r"two\.e57 names no coordinate reference system"):
        open_source(two_scans)
    fields = {f"cartesian{axis}": np.arange(3.0) for axis in "XYZ"}
    path = write_fields(tmp_path / "in.e57", fields, "somewhere near the harbour", 0.0)
    with pytest.raises(UnusableCrsError, match="coordinateMetadata"):
        open_source(path)
    assert open_source(path, UTM).description.count == 3


@pytest.mark.parametrize("part", [0.02, 0.5, 0.999])
def test_cut_off_files(two_scans: Path, tmp_path: Path, part: float) -> None:
    raw = two_scans.read_bytes()
    path = tmp_path / "cut.e57"
    path.write_bytes(raw[: int(len(raw) * part)])
    with pytest.raises(UnreadablePointCloudError, match=r"cut\.e57"):
        E57Source(path, UTM)


def test_time_and_memory_are_bounded(two_scans: Path, tmp_path: Path) -> None:
    for limits, message in (
        (Limits(seconds=0.01), "longer than"),
        (Limits(memory_bytes=60 << 20), "memory|crash"),
    ):
        with pytest.raises(UnreadablePointCloudError, match=message):
            open_source(two_scans, UTM, SourceOptions(workspace=tmp_path, limits=limits))
        assert not list(tmp_path.iterdir())
