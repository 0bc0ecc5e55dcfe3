"""Points of a cloud by box, area, resolution and budget, against a plain filter over all points; synthetic and real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import laspy
import numpy as np
import pytest
import shapely

from pointclouds.build.build import build_copc
from pointclouds.cloud.cloud import Cloud, open_cloud
from pointclouds.cloud.counting import count, statistics
from pointclouds.cloud.node_cache import NODE_CACHE, NodeCache
from pointclouds.cloud.query import PointQuery, plan, read
from pointclouds.las.dimensions import coordinates
from pointclouds.sources import LasSource
from pointclouds.writing.las import write_las
from pointclouds.writing.layout import output_layout

INFINITE = np.inf


def _found(cloud: Cloud, query: PointQuery) -> Any:
    """x, y, z, class of the answer, sorted."""
    parts = [
        np.column_stack(
            [coordinates(batch.records, cloud.scale, cloud.offset), batch.records["Classification"]]
        )
        for batch in read(cloud, query)
    ]
    rows = np.concatenate(parts) if parts else np.empty((0, 4))
    return rows[np.lexsort(rows.T)]


def _expected(las: laspy.LasData, mask: Any) -> Any:
    rows = np.column_stack([las.x, las.y, las.z, las.classification])[mask]
    return rows[np.lexsort(rows.T)]


def _agrees(cloud: Cloud, las: laspy.LasData, query: PointQuery, mask: Any) -> None:
    found, wanted = _found(cloud, query), _expected(las, mask)
    assert found.shape == wanted.shape
    assert np.allclose(found, wanted, rtol=0, atol=1e-9)
    assert count(cloud, query)[:2] == (len(wanted), True)
    told = statistics(cloud, query)
    codes, numbers = np.unique(wanted[:, 3], return_counts=True)
    assert dict(told.classes) == dict(zip(codes.astype(int).tolist(), numbers.tolist(), strict=True))


@pytest.mark.parametrize(
    "box",
    [
        (84910, 447510, -INFINITE, 84930, 447520, INFINITE),
        (84910, 447510, 3, 84960, 447590, 6),
        (84000, 447000, -INFINITE, 84905, 447505, INFINITE),
        (-INFINITE, -INFINITE, -INFINITE, INFINITE, INFINITE, INFINITE),
        (0, 0, 0, 1, 1, 1),
    ],
)
def test_boxes(copc: Path, box: Any) -> None:
    cloud, las = open_cloud(copc), laspy.read(copc)
    points = np.column_stack([las.x, las.y, las.z])
    mask = ((points >= box[:3]) & (points <= box[3:])).all(axis=1)
    _agrees(cloud, las, PointQuery(box=box), mask)
    _agrees(cloud, las, PointQuery(box=box, dimensions=("Classification",)), mask)


def test_the_border_belongs_to_the_box(copc: Path) -> None:
    cloud, las = open_cloud(copc), laspy.read(copc)
    point = (float(las.x[17]), float(las.y[17]), float(las.z[17]))
    assert count(cloud, PointQuery(box=(*point, *point))).points >= 1
    between = tuple(value + 0.0004 for value in point), tuple(value + 0.0006 for value in point)
    assert count(cloud, PointQuery(box=(*between[0], *between[1]))).points == 0


def test_areas_with_holes(copc: Path) -> None:
    cloud, las = open_cloud(copc), laspy.read(copc)
    ring = shapely.Point(84950, 447550).buffer(40).difference(shapely.Point(84955, 447545).buffer(15))
    _agrees(cloud, las, PointQuery(area=ring), shapely.intersects_xy(ring, las.x, las.y))
    box = (84940, 447500, -INFINITE, 85000, 447600, INFINITE)
    mask = shapely.intersects_xy(ring, las.x, las.y) & (np.asarray(las.x) >= 84940)
    _agrees(cloud, las, PointQuery(area=ring, box=box), mask)


def test_resolution_reads_only_coarse_levels(copc: Path) -> None:
    cloud = open_cloud(copc)
    counts = [count(cloud, PointQuery(resolution=metres)).points for metres in (1e9, 1.0, 1e-6)]
    assert counts[0] == counts[1] < counts[2] == 60_000


def test_only_what_is_needed_is_decoded(copc: Path) -> None:
    """A node that was decoded with few fields answers no question for more."""
    cloud = open_cloud(copc)
    NODE_CACHE.limit(0)
    NODE_CACHE.limit(1 << 26)
    assert all(len(batch.records) == batch.count for batch in read(cloud, PointQuery(dimensions=())))
    full = np.concatenate([batch.records for batch in read(cloud, PointQuery())])
    assert full["Intensity"].sum() == np.asarray(laspy.read(copc).intensity).sum()
    assert NODE_CACHE.bytes > 0


def test_the_cache_is_bounded() -> None:
    cache = NodeCache(1000)
    records = [np.zeros(10, "V20") for _ in range(10)]
    for row, one in enumerate(records):
        cache.put("a", row, 3, one)
        assert cache.bytes <= 1000
    assert cache.get("a", 9, 1) is records[9]
    assert cache.get("a", 9, 4) is None
    assert cache.get("a", 0, 1) is None
    cache.put("a", 20, 3, np.zeros(100, "V20"))
    assert cache.get("a", 20, 3) is None
    cache.limit(0)
    assert cache.bytes == 0


@pytest.mark.parametrize("source", ["pointcloud/autzen_trim.laz", "delft/ahn3/ahn3_cropped_1.laz"])
def test_real_scans(sample_data: Path, tmp_path: Path, source: str) -> None:
    """The real ones: every point, a part of them, and a LAZ of the part, equal to the source."""
    las = laspy.read(sample_data / source)
    file = tmp_path / "pointcloud.copc.laz"
    build_copc(
        [LasSource(sample_data / source, None if "autzen" in source else "EPSG:7415")],
        file,
        processes=1,
        leaf_points=20_000,
    )
    cloud = open_cloud(file)
    _agrees(cloud, las, PointQuery(), np.ones(len(las), bool))
    points = np.column_stack([las.x, las.y, las.z])
    low, high = np.quantile(points, 0.3, axis=0), np.quantile(points, 0.6, axis=0)
    box = (*low.tolist(), *high.tolist())
    mask = ((points >= low) & (points <= high)).all(axis=1)
    _agrees(cloud, las, PointQuery(box=box), mask)
    area = shapely.Point(*points[:, :2].mean(axis=0)).buffer(float(np.ptp(points[:, 0])) / 4)
    _agrees(cloud, las, PointQuery(area=area), shapely.intersects_xy(area, las.x, las.y))
    written = tmp_path / "part.laz"
    assert (
        write_las(written, cloud, read(cloud, PointQuery(box=box)), output_layout(cloud, None)) == mask.sum()
    )
    again = laspy.read(written)
    assert np.allclose(_expected(again, np.ones(len(again), bool)), _expected(las, mask), rtol=0, atol=1e-9)
    assert sorted(again.gps_time) == sorted(las.gps_time[mask])
    assert again.header.maxs.tolist() == pytest.approx(points[mask].max(axis=0).tolist())


def test_everything_copied_has_the_header_of_its_points(copc: Path, tmp_path: Path) -> None:
    cloud, source = open_cloud(copc), laspy.read(copc)
    write_las(tmp_path / "all.laz", cloud, read(cloud, PointQuery()), output_layout(cloud, None))
    assert plan(cloud, PointQuery()).is_exact
    made = laspy.read(tmp_path / "all.laz")
    assert made.header.point_count == source.header.point_count
    assert (
        made.header.number_of_points_by_return.tolist() == source.header.number_of_points_by_return.tolist()
    )
    assert made.header.mins.tolist() == pytest.approx(source.header.mins.tolist())
    assert made.header.parse_crs() == source.header.parse_crs()
    assert np.array_equal(np.sort(made.gps_time), np.sort(source.gps_time))
