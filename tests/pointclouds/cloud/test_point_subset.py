"""Points by box, resolution and budget, against a plain filter over all points."""

import laspy
import numpy as np
import pyproj
import pytest

from pointclouds.cloud.subset import read_points
from pointclouds.errors import QueryError


@pytest.fixture(scope="module")
def everything(copc):
    las = laspy.read(copc)
    return np.stack((las.x, las.y, las.z), axis=1), np.asarray(las.classification)


def test_without_limits_it_is_the_whole_cloud(copc, everything):
    points, classes = everything
    subset = read_points(copc)
    assert (subset.count, subset.complete) == (60_000, True)
    assert np.isclose(np.sort(subset.x), np.sort(points[:, 0]), atol=1e-9).all()
    assert np.bincount(subset.columns["Classification"]).tolist() == np.bincount(classes).tolist()
    assert {"Intensity", "ReturnNumber", "GpsTime", "Red"} <= set(subset.columns)
    assert subset.crs is not None
    assert subset.crs.to_authority() == ("EPSG", "7415")


@pytest.mark.parametrize(
    "bbox",
    [
        (84910, 447510, 84930, 447520),
        (84910, 447510, 3, 84960, 447590, 6),
        (84000, 447000, 84905, 447505),
        (-np.inf, -np.inf, np.inf, np.inf),
    ],
)
def test_boxes_agree_with_a_plain_filter(copc, everything, bbox):
    points, classes = everything
    low = np.array(bbox[:2] + ((bbox[2],) if len(bbox) == 6 else (-np.inf,)))
    high = np.array(bbox[3:] if len(bbox) == 6 else (*bbox[2:], np.inf))
    inside = ((points >= low) & (points <= high)).all(axis=1)
    subset = read_points(copc, bbox, dimensions=["Classification"])
    assert subset.count == inside.sum() > 0
    assert np.isclose(subset.z.sum(), points[inside, 2].sum())
    assert subset.columns["Classification"].sum() == classes[inside].sum()
    assert list(subset.columns) == ["Classification"]


def test_the_border_belongs_to_the_box(copc, everything):
    point = everything[0][17]
    assert read_points(copc, [*point, *point]).count >= 1
    assert read_points(copc, [*(point + 0.0004), *(point + 0.0006)]).count == 0


def test_boxes_in_degrees_select_in_degrees(copc, everything):
    points, _ = everything
    to_degrees = pyproj.Transformer.from_crs("EPSG:28992", "OGC:CRS84", always_xy=True)
    longitude, latitude = to_degrees.transform(points[:, 0], points[:, 1])
    bbox = (4.3662, 52.0118, 4.3668, 52.0121)
    inside = (longitude >= bbox[0]) & (longitude <= bbox[2]) & (latitude >= bbox[1]) & (latitude <= bbox[3])
    assert 100 < inside.sum() < 60_000
    assert read_points(copc, bbox, bbox_crs="CRS84").count == inside.sum()


def test_resolution_reads_only_coarse_levels(copc):
    coarse = read_points(copc, resolution=1.0)
    assert coarse.levels == 1
    assert coarse.complete
    assert coarse.count < 60_000
    assert read_points(copc, resolution=1e-6).count == 60_000
    assert read_points(copc, resolution=1e9).levels == 1


@pytest.mark.parametrize("budget", [1, 2, 999, 59_999, 60_000, 60_001])
def test_budget_is_a_cap_that_is_met(copc, budget):
    subset = read_points(copc, max_points=budget)
    assert subset.count == min(budget, 60_000)
    assert subset.complete == (budget >= 60_000)
    assert len(subset.columns["Intensity"]) == subset.count


def test_outside_is_empty_and_typed(copc):
    subset = read_points(copc, (0, 0, 1, 1))
    assert (subset.count, subset.levels, subset.complete) == (0, 0, True)
    assert subset.columns["GpsTime"].dtype == np.float64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bbox": (1, 2, 3)}, "four or six"),
        ({"bbox": (1, 2, 3, float("nan"))}, "four or six"),
        ({"bbox": (2, 0, 1, 1)}, "lies above"),
        ({"bbox": (0, 0, 5, 1, 1, 4)}, "lies above"),
        ({"resolution": 0}, "resolution"),
        ({"resolution": float("nan")}, "resolution"),
        ({"max_points": 0}, "budget"),
        ({"bbox": (0, 0, 1, 1), "bbox_crs": "EPSG:1"}, "CRS84"),
        ({"dimensions": ["Colour"]}, "no dimension Colour; the point cloud has X, Y, Z, Intensity"),
        ({"bbox": (0, 91, 1, 95), "bbox_crs": "CRS84"}, "outside the area"),
    ],
)
def test_nonsense_is_refused(copc, arguments, message):
    with pytest.raises(QueryError, match=message):
        read_points(copc, **arguments)
