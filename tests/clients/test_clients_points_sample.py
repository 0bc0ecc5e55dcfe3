"""First tier: the COPC of a cloud and of a tile, read by HTTP ranges as clients do, holds every point with its class."""

import json

import laspy
import numpy as np
import pytest


@pytest.fixture(scope="module")
def files(few_clouds):
    """Addresses of COPC files with what they hold together, by collection."""
    flights = few_clouds.url("flights", "pointcloud")
    return {
        "scan": [few_clouds.url("scan", "pointcloud.copc.laz")],
        "flights": [f"{flights}/half{half}.copc.laz" for half in (0, 1)],
    }


@pytest.mark.parametrize("name", ["scan", "flights"])
def test_laspy_reads_every_point_and_its_class(few_clouds, files, clouds, name):
    codes = []
    for url in files[name]:
        with laspy.CopcReader(clouds.HttpFile(url)) as reader:
            codes.append(np.asarray(reader.query().classification))
    found, counts = np.unique(np.concatenate(codes), return_counts=True)
    assert dict(zip(found.tolist(), counts.tolist(), strict=True)) == few_clouds.classes[name]


def test_a_box_is_a_few_ranges(files, clouds):
    with laspy.CopcReader(clouds.HttpFile(files["scan"][0])) as reader:
        low = reader.header.mins
        points = reader.query(bounds=laspy.Bounds(mins=low[:2], maxs=low[:2] + 20))
        assert 0 < len(points) < reader.header.point_count
        assert points.x.max() <= low[0] + 20
        assert set(np.asarray(points.classification)) == {2}  # the south-western field
        assert reader.source.ranges < 40


def test_npm_copc_reads_every_point_and_its_class(few_clouds, files, root, run):
    told = json.loads(
        run("node", str(root / "tests" / "clients" / "copc_read.mjs"), files["scan"][0], "--decode")
    )
    classes = {str(code): count for code, count in few_clouds.classes["scan"].items()}
    assert told["classes"] == classes
    assert told["pointCount"] == told["nodePoints"] == told["decoded"] == sum(classes.values())
