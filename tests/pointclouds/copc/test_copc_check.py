"""The checker finds what is wrong; the reader refuses it; neither loops nor crashes."""

import struct

import numpy as np
import pytest

from pointclouds.copc.check import Finding, check_copc
from pointclouds.copc.reader import CopcFile
from pointclouds.errors import InvalidCopcError, PointCloudError
from pointclouds.las.structures import COPC_INFO_OFFSET, HIERARCHY_ENTRY


def root_page(raw: bytes) -> tuple[int, int]:
    offset, size = struct.unpack_from("<QQ", raw, COPC_INFO_OFFSET + 40)
    return offset, size


def entry_at(number: int, field: str):
    """Where a field of an entry of the root page is, given the file."""
    inside = HIERARCHY_ENTRY.fields[field][1]
    return lambda raw: root_page(raw)[0] + number * HIERARCHY_ENTRY.itemsize + inside


def at(position: int):
    return lambda raw: position


DAMAGE = {
    "info record renamed": (at(377), b"cops", "first variable length record"),
    "half size zero": (at(COPC_INFO_OFFSET + 24), struct.pack("<d", 0.0), "half size"),
    "centre NaN": (at(COPC_INFO_OFFSET), struct.pack("<d", float("nan")), "half size"),
    "centre moved": (at(COPC_INFO_OFFSET), struct.pack("<d", 84000.0), "lie outside it"),
    "root page past the end": (at(COPC_INFO_OFFSET + 40), struct.pack("<Q", 1 << 60), "the file ends"),
    "root page of odd size": (at(COPC_INFO_OFFSET + 48), struct.pack("<Q", 33), "the file ends"),
    "root page empty": (at(COPC_INFO_OFFSET + 48), struct.pack("<Q", 0), "the file ends"),
    "GPS range zero": (at(485), bytes(16), "GPS times"),
    "node outside the octree": (entry_at(1, "x"), struct.pack("<i", 2), "outside the octree"),
    "negative level": (entry_at(1, "level"), struct.pack("<i", -1), "outside the octree"),
    "no root": (entry_at(0, "level"), struct.pack("<i", 3), "no root node"),
    "node twice": (entry_at(1, "level"), bytes(16), "more than once"),
    "fewer points": (entry_at(0, "point_count"), struct.pack("<i", 5), "header says"),
    "negative count": (entry_at(0, "point_count"), struct.pack("<i", -7), "points in"),
    "chunk past the end": (entry_at(1, "offset"), struct.pack("<Q", 1 << 40), "lie at bytes"),
    "chunks overlap": (entry_at(1, "byte_size"), struct.pack("<i", 999_999_9), "at bytes"),
    "chunk without bytes": (entry_at(1, "byte_size"), struct.pack("<i", 0), "points in 0 bytes"),
    "WKT flag": (at(6), b"\0\0", "WKT flag"),
    "counts by return": (at(255), struct.pack("<Q", 1), "by return"),
    "box too large": (at(179), struct.pack("<d", 85_100.0), "box of the points"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found(tmp_path, copc, name):
    place, data, message = DAMAGE[name]
    raw = bytearray(copc.read_bytes())
    position = place(raw)
    raw[position : position + len(data)] = data
    bad = tmp_path / "bad.copc.laz"
    bad.write_bytes(raw)
    findings = check_copc(bad)
    assert any(message in finding.message for finding in findings), findings


def test_a_loop_of_pages_ends(tmp_path, copc):
    raw = bytearray(copc.read_bytes())
    offset, size = root_page(raw)
    page = np.frombuffer(bytes(raw[offset : offset + size]), HIERARCHY_ENTRY).copy()
    page[-1]["offset"], page[-1]["byte_size"], page[-1]["point_count"] = offset, size, -1
    raw[offset : offset + size] = page.tobytes()
    bad = tmp_path / "loop.copc.laz"
    bad.write_bytes(raw)
    assert any("loop" in finding.message for finding in check_copc(bad))
    with pytest.raises(InvalidCopcError, match="loop"):
        CopcFile(bad)


def test_a_las_file_is_not_copc(tmp_path, make_scan):
    path = make_scan(tmp_path / "plain.laz", 10)
    assert [finding.severity for finding in check_copc(path)] == ["error"]
    with pytest.raises(InvalidCopcError, match="is not COPC"):
        CopcFile(path)


def test_damaged_points_are_found(tmp_path, copc):
    raw = bytearray(copc.read_bytes())
    with CopcFile(copc) as file:
        place = int(file.entries[0]["offset"])
    raw[place : place + 200] = bytes(200)
    bad = tmp_path / "bad.copc.laz"
    bad.write_bytes(raw)
    assert check_copc(bad, decode=False) == []
    assert any(finding.severity == "error" for finding in check_copc(bad))


def test_cut_at_every_quarter(tmp_path, copc):
    raw = copc.read_bytes()
    bad = tmp_path / "cut.copc.laz"
    for part in range(4):
        bad.write_bytes(raw[: len(raw) * part // 4])
        assert [finding.severity for finding in check_copc(bad)] == ["error"]
        with pytest.raises(PointCloudError):
            CopcFile(bad)


def test_random_damage_of_structure_ends_in_findings_or_nothing(tmp_path, copc):
    """400 flips in header, records and hierarchy: the checker always returns, the reader only raises its own errors."""
    raw = copc.read_bytes()
    random = np.random.default_rng(11)
    offset, size = root_page(raw)
    places = np.concatenate((random.integers(0, 700, 250), random.integers(offset - 60, offset + size, 150)))
    bad = tmp_path / "bad.copc.laz"
    for position in places:
        flipped = bytearray(raw)
        flipped[position] ^= 1 << int(random.integers(0, 8))
        bad.write_bytes(flipped)
        findings = check_copc(bad, decode=False)
        assert all(isinstance(finding, Finding) for finding in findings)
        try:
            with CopcFile(bad):
                pass
        except PointCloudError:
            assert any(finding.severity == "error" for finding in findings), int(position)


def test_a_foreign_file_passes(sample_data):
    findings = check_copc(sample_data / "pointcloud/simple.copc.laz")
    assert [finding.severity for finding in findings] == ["warning"]


def test_findings_read_well():
    assert str(Finding("error", "node 0-0-0-0", "is missing")) == "error: node 0-0-0-0: is missing"
