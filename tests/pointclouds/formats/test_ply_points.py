"""PLY of every encoding gives the same points; headers that lie are found before anything is made room for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest

from pointclouds.errors import EmptyPointCloudError, UnreadablePointCloudError
from pointclouds.formats import ply
from pointclouds.formats.opening import open_source
from pointclouds.formats.ply import PlySource

RD = pyproj.CRS("EPSG:28992")
ENCODINGS = ["ascii", "binary_little_endian", "binary_big_endian"]


@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_gives_the_points(
    tmp_path: Path,
    points: dict[str, Any],
    write_ply: Callable[..., Path],
    encoding: str,
    lists: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ply, "_BLOCK_BYTES", 20_000)
    source = PlySource(write_ply(tmp_path / "in.ply", encoding, lists=lists), RD)
    given, records = source.description, np.concatenate(list(source.chunks(999)))
    assert (given.count, given.point_format, given.scale) == (3_000, 7, (0.001,) * 3)
    for axis, name in enumerate("xyz"):
        np.testing.assert_allclose(
            records[name.upper()] * 0.001 + given.offset[axis], points[name], atol=1e-6
        )
    assert (records["Intensity"] == points["intensity"]).all()
    assert (records["Red"] == points["red"] * 257).all()
    assert (records["Classification"] == points["classification"]).all()
    assert given.extra == (("quality", np.dtype("<f4")),)
    np.testing.assert_allclose(records["quality"], points["quality"], rtol=1e-6)
    assert given.dropped == (("neighbours",) if lists else ())
    middle = np.concatenate(list(source.chunks(100, 1_111, 2_222)))
    assert (middle == records[1_111:2_222]).all()


def test_elements_around_the_vertices_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "in.ply"
    path.write_bytes(
        b"ply\nformat ascii 1.0\nelement camera 1\nproperty list uchar float view\nelement vertex 2\nproperty float x\nproperty float y\n"
        b"property float z\nelement face 0\nproperty list uchar int vertex_index\nend_header\n2 0.5 0.5\n1 2 3\n4 5 6\n"
    )
    assert PlySource(path, RD).description.count == 2


def test_crs_stands_in_a_comment(tmp_path: Path, write_ply: Callable[..., Path]) -> None:
    source = open_source(write_ply(tmp_path / "in.ply", "binary_little_endian", comment="crs: EPSG:7415"))
    assert source.description.crs == pyproj.CRS("EPSG:7415")


def test_nan_coordinates_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "in.ply"
    values = np.array([[1, 2, 3], [np.nan, 2, 3], [4, 5, np.inf], [7, 8, 9]], "<f4")
    path.write_bytes(
        b"ply\nformat binary_little_endian 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
        + values.tobytes()
    )
    source = PlySource(path, RD)
    assert source.description.count == sum(len(part) for part in source.chunks()) == 2
    assert any("2 points without finite" in note for note in source.description.notes)


HEAD = "ply\nformat {} 1.0\nelement vertex {}\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
BAD = {
    "4 billion vertices": (HEAD.format("binary_little_endian", 4_000_000_000).encode() + bytes(120), "room for 10"),
    "4 billion lines": (HEAD.format("ascii", 4_000_000_000).encode() + b"1 2 3\n" * 10, "room for"),
    "a vertex more": (HEAD.format("binary_little_endian", 11).encode() + bytes(120), "room for 10"),
    "a line less": (HEAD.format("ascii", 3).encode() + b"1.00 2.00 3.00\n" * 2, "cut off"),
    "minus one": (HEAD.format("ascii", -1).encode(), "says -1"),
    "no end of the header": (b"ply\nformat ascii 1.0\n" + b"comment x\n" * 10, "no header"),
    "no format": (b"ply\nelement vertex 1\nproperty float x\nend_header\n1\n", "ascii or binary"),
    "unknown type": (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty quad x\nend_header\n1\n", "makes no sense"),
    "property of nothing": (b"ply\nformat ascii 1.0\nproperty float x\nend_header\n1\n", "makes no sense"),
    "unknown line": (b"ply\nformat ascii 1.0\nhello\nend_header\n1\n", "does not have"),
    "no vertices element": (b"ply\nformat ascii 1.0\nelement face 0\nend_header\n", "no element vertex"),
    "no z": (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nend_header\n1 2\n", "no property z"),
    "q twice": (
        HEAD.format("ascii", 1).replace("float z", "float z\nproperty float q\nproperty float q").encode() + b"1 2 3 4 5\n",
        "twice",
    ),
    "words": (HEAD.format("ascii", 1).encode() + b"one two three\n", "cannot be read"),
    "a list longer than the file": (
        b"ply\nformat binary_little_endian 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\n"
        b"property list uint int l\nend_header\n" + bytes(12) + b"\xff\xff\xff\xff" + bytes(40),
        "cut off",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_one_clear_error(tmp_path: Path, case: str) -> None:
    content, message = BAD[case]
    path = tmp_path / "bad.ply"
    path.write_bytes(content)
    with pytest.raises(UnreadablePointCloudError, match=message) as caught:
        PlySource(path, RD)
    assert len(str(caught.value)) < 400


def test_no_points(tmp_path: Path) -> None:
    path = tmp_path / "bad.ply"
    path.write_bytes(HEAD.format("ascii", 0).encode())
    with pytest.raises(EmptyPointCloudError, match="holds no points"):
        PlySource(path, RD)
