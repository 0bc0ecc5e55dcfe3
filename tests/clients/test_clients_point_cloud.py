"""The served COPC by HTTP ranges: laspy's CopcReader, npm `copc`, and the classes the registry has."""

import json

import laspy
import numpy as np
import pytest

from server.registry.catalogue import RepresentationKind as Kind

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def url(helsinki):
    return f"{helsinki}/ogc/collections/lidar/pointcloud.copc.laz"


@pytest.fixture(scope="module")
def stated(published):
    """What was published."""
    return published["helsinki.lidar"].representations[Kind.POINT_CLOUD].properties


def classes_of(points):
    codes, counts = np.unique(points.classification, return_counts=True)
    return {str(code): int(count) for code, count in zip(codes, counts, strict=True)}


def test_laspy_reads_every_point(url, stated):
    with laspy.CopcReader.open(url) as reader:
        assert reader.header.point_count == stated["count"]
        points = reader.query()
    assert len(points) == stated["count"]
    assert classes_of(points) == {str(code): count for code, count in stated["classes"].items()}


def test_laspy_reads_a_box_and_a_level(url):
    with laspy.CopcReader.open(url) as reader:
        low, high = reader.header.mins, reader.header.maxs
        middle = (low + high) / 2
        corner = reader.query(bounds=laspy.Bounds(mins=low[:2], maxs=middle[:2]))
        coarse = reader.query(level=0)
        assert 0 < len(coarse) < len(corner) < reader.header.point_count
    assert corner.x.max() <= middle[0]
    assert corner.y.max() <= middle[1]


def test_npm_copc_reads_every_point(root, run, url, stated):
    told = json.loads(run("node", str(root / "tests" / "clients" / "copc_read.mjs"), url, "--decode"))
    assert told["pointCount"] == told["nodePoints"] == told["decoded"] == stated["count"]
    assert told["classes"] == {str(code): count for code, count in stated["classes"].items()}
    assert told["pointFormat"] == stated["point_format"]
    assert "3879" in told["wkt"] or "ETRS89 / GK25FIN" in told["wkt"]


@pytest.mark.parametrize(
    ("asked", "status", "length"),
    [
        ("bytes=0-3", 206, 4),
        ("bytes=-16", 206, 16),
        ("bytes=10-10", 206, 1),
        ("bytes=999999999999-", 416, None),
    ],
)
def test_ranges(http, url, asked, status, length):
    reply = http.get(url, headers={"Range": asked}, timeout=30)
    assert reply.status_code == status
    if length is not None:
        assert len(reply.content) == length
        assert reply.headers["Content-Range"].startswith("bytes ")
    assert asked != "bytes=0-3" or reply.content == b"LASF"
