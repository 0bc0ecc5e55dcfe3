"""Filters on dimensions: what nodes' statistics say is never wrong, whatever the filter; clouds of one file and of many."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import pyproj
import pytest
import shapely

from pointclouds.build.build import build_copc
from pointclouds.cloud.cloud import OVERVIEW, Cloud, CloudDescription, CloudTile, open_cloud, write_index
from pointclouds.cloud.counting import count, statistics
from pointclouds.cloud.nodes import nodes_path
from pointclouds.cloud.query import PointQuery, plan, read, read_plan
from pointclouds.errors import QueryError
from pointclouds.sources import LasSource
from providers.errors import InvalidParameter
from providers.points.filters import AreaFilter, all_of, decimals_of_dimensions, dimension_filter
from providers.points.request import PointContext, parse_points

NATIVE = "http://www.opengis.net/def/crs/EPSG/0/28992"
COUNT = 8_000


def write_scan(path: Path, west: float, seed: int) -> Path:
    """Points 100 m wide whose attributes follow their place, so that nodes differ; some amplitudes are no number."""
    header = laspy.LasHeader(point_format=6, version="1.4")
    header.scales, header.offsets = [0.01] * 3, [84900.0, 447500.0, 0.0]
    header.add_extra_dim(laspy.ExtraBytesParams("Amplitude", "f8"))
    header.add_crs(pyproj.CRS("EPSG:28992"))
    las = laspy.LasData(header)
    random = np.random.default_rng(seed)
    x, y = random.uniform(0, 100, COUNT), random.uniform(0, 100, COUNT)
    las.x, las.y, las.z = west + x, 447500 + y, x / 10 + random.uniform(0, 1, COUNT)
    las.classification = np.where(y < 50, 2, np.where(x < 50, 6, 5))
    las.intensity = (x * 10).astype(np.uint16)
    las.number_of_returns = np.full(COUNT, 3, np.uint8)
    las.return_number = 1 + (y // 34).astype(np.uint8)
    las.scan_angle = (x * 100 - 5000).astype(np.int16)
    las.gps_time = 1000 + y
    las["Amplitude"] = np.where((x > 90) & (y > 90), np.nan, x - 50)
    las.write(path)
    return path


def build(source: Path, out: Path) -> Path:
    build_copc([LasSource(source)], out, processes=1, leaf_points=500, grid_cells=32)
    return out


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Cloud:
    folder = tmp_path_factory.mktemp("filters")
    return open_cloud(build(write_scan(folder / "a.las", 84900, 1), folder / "a.copc.laz"))


@pytest.fixture(scope="module")
def mosaic(tmp_path_factory: pytest.TempPathFactory, cloud: Cloud) -> Cloud:
    """Two tiles side by side, and an overview that is a thin copy of the first."""
    folder = tmp_path_factory.mktemp("mosaic")
    (folder / "points").mkdir()
    tiles = []
    for name, time in (("west", "2025-05-01T00:00:00Z"), ("east", "2026-05-01T00:00:00Z")):
        path = folder / "points" / f"{name}.copc.laz"
        if name == "west":
            shutil.copy(cloud.path, path)
            shutil.copy(nodes_path(cloud.path), nodes_path(path))
        else:
            build(write_scan(folder / "east.las", 85000, 2), path)
        one = open_cloud(path)
        tiles.append(CloudTile(name, path, one.count, one.box, time, time, one.tiles[0].gps, {}))
    thin = laspy.read(cloud.path.with_name("a.las"))
    thin.points = laspy.ScaleAwarePointRecord(
        np.ascontiguousarray(thin.points.array[::20]),
        thin.point_format,
        thin.header.scales,
        thin.header.offsets,
    )
    thin.write(folder / "thin.las")
    overview = build(folder / "thin.las", folder / "points" / "overview.copc.laz")
    one = open_cloud(overview)
    tiles.append(CloudTile(OVERVIEW, overview, one.count, one.box, None, None, one.tiles[0].gps, {}))
    description = CloudDescription(cloud.crs.to_wkt(), 6, cloud.scale, cloud.offset, (("Amplitude", "<f8"),))
    write_index(folder / "pointcloud.sqlite", description, tiles)
    return open_cloud(folder / "pointcloud.sqlite")


FILTERS = [
    "Classification = 2", "Classification <> 2", "NOT Classification IN (5, 6)", "Classification = 2 OR Intensity < 100",
    "Classification = 6 AND Intensity > 400", "Z > 5.25", "Z BETWEEN 2 AND 3", "NOT (Z BETWEEN 2 AND 3)", "Intensity = 500",
    "Intensity IN (1, 2, 500, 70000)", "ReturnNumber = 2", "ReturnNumber < NumberOfReturns", "ScanAngle < -20", "GpsTime > 1050.5",
    "GpsTime <= 1000", "Amplitude > 0", "NOT (Amplitude > 0)", "Amplitude IS NULL", "Amplitude IS NOT NULL", "Amplitude <> Amplitude",
    "Intensity / 0 > 1", "Z * 100 - Intensity > 50", "Intensity * Intensity > 250000", "0 - Z < 0 - 8", "ABS(Amplitude) >= 25",
    "FLOOR(Z) = 4", "POW(Z, 2) > 50", "Intensity % 7 = 0", "MINIMUM(Z, Amplitude) > 3", "X > 84950.5 AND Y < 447520",
    "S_INTERSECTS(geometry, POLYGON((84910 447510, 84990 447530, 84950 447590, 84910 447510)))",
    "S_WITHIN(geometry, BBOX(84920, 447520, 84960, 447560))", "S_DISJOINT(geometry, POLYGON((84910 447510, 84990 447530, 84950 447590, 84910 447510)))",
    "NOT S_INTERSECTS(geometry, LINESTRING(84900 447500, 85000 447600))", "S_CROSSES(geometry, LINESTRING(84900 447500, 85000 447600))",
    "S_INTERSECTS(geometry, geometry)", "S_TOUCHES(geometry, geometry)", "geometry IS NULL", "TRUE", "FALSE", "NOT FALSE AND Classification = 5",
    "Classification > 1.5 AND Classification < 2.5", "Classification = 300", "UserData = 0", "PointSourceId = 0 AND Withheld = 0",
]  # fmt: skip


@pytest.mark.parametrize("text", FILTERS)
def test_nodes_tell_the_truth(cloud: Cloud, text: str) -> None:
    """May and all, against the mask of every point of every node; and the mask against the evaluator of features."""
    asked = dimension_filter(text, "cql2-text", cloud, NATIVE)
    table = cloud.nodes(cloud.tiles[0])
    may, every = asked.may_match(table), asked.all_match(table)
    dimensions = {one.name: one for one in cloud.dimensions}
    for row, entry in enumerate(table.entries):
        records = cloud.file(cloud.tiles[0]).read_node(entry)
        found = asked.mask({name: dimensions[name].values(records) for name in asked.fields})
        assert len(found) == entry["point_count"]
        assert may[row] or not found.any()
        assert not every[row] or found.all()
        assert np.array_equal(found, _by_features(cloud, text, records))


def _by_features(cloud: Cloud, text: str, records: Any) -> Any:
    """The same by the evaluator of features, on JSON values and geometries one by one."""
    from providers.features.cql2 import matches
    from providers.features.source import FeatureColumns

    asked = dimension_filter(text, "cql2-text", cloud, NATIVE)
    from providers.points.schema import point_schema

    schema = point_schema(cloud)
    decimals = decimals_of_dimensions(cloud)
    values = {
        one.name: (
            np.round(one.values(records), decimals[one.name]) if one.is_scaled else one.values(records)
        ).tolist()
        for one in cloud.dimensions
    }
    columns = {
        name: [None if isinstance(value, float) and math.isnan(value) else value for value in column]
        for name, column in values.items()
    }
    places = shapely.points(np.array(values["X"]), np.array(values["Y"]))
    made = FeatureColumns(
        [str(number) for number in range(len(records))], np.zeros(len(records), np.int64), places, columns
    )
    return matches(asked.node, made, schema)


def test_values_are_compared_as_they_are_shown(cloud: Cloud) -> None:
    """42316 times 0.01 is not 423.16 in binary, and is it to those who ask."""
    records = np.concatenate([batch.records for batch in read(cloud, PointQuery())])
    for stored in np.unique(records["Z"])[:200].tolist():
        asked = dimension_filter(f"Z = {stored / 100:.2f}", "cql2-text", cloud)
        assert count(cloud, PointQuery(filter=asked)).points == (records["Z"] == stored).sum()


def test_a_cloud_passes_its_self_test(cloud: Cloud) -> None:
    from providers.points.conformance import POINT_CLASSES, self_test

    found = self_test(cloud)
    assert found.failed == {}
    assert set(POINT_CLASSES) - set(found.passed) <= {
        "http://www.opengis.net/spec/cql2/1.0/conf/temporal-functions"
    }


def test_pruning_leaves_nodes_out(cloud: Cloud) -> None:
    whole = len(plan(cloud, PointQuery()).row)
    assert whole >= 5
    for text in ("Intensity < 100", "Classification = 6", "ScanAngle > 20 AND GpsTime < 1020"):
        asked = dimension_filter(text, "cql2-text", cloud, NATIVE)
        assert len(plan(cloud, PointQuery(filter=asked)).row) < whole


def test_classes_are_counted_without_reading(cloud: Cloud) -> None:
    asked = dimension_filter("Classification IN (2, 6)", "cql2-text", cloud)
    found = count(cloud, PointQuery(filter=asked))
    points = np.concatenate([batch.records for batch in read(cloud, PointQuery())])
    assert found == (int(np.isin(points["Classification"], (2, 6)).sum()), True, 0)
    returns = dimension_filter("ReturnNumber > 1", "cql2-text", cloud)
    assert count(cloud, PointQuery(filter=returns))[1:] == (True, 0)
    rough = count(
        cloud, PointQuery(filter=dimension_filter("Intensity = 500", "cql2-text", cloud)), most_read=0
    )
    assert not rough.exact


def test_parts_are_joined(cloud: Cloud) -> None:
    area = shapely.box(84920, 447520, 84960, 447560)
    one = dimension_filter("Classification = 2", "cql2-text", cloud)
    both = all_of([one, AreaFilter(area, 0.01)])
    found = sum(batch.count for batch in read(cloud, PointQuery(filter=both)))
    assert found == sum(batch.count for batch in read(cloud, PointQuery(filter=one, area=area))) > 0
    assert all_of([]) is None


@pytest.mark.parametrize(
    ("text", "language"),
    [("Height > 3", "cql2-text"), ("Intensity > 3", "cql2-text"), ("Classification LIKE 'a%'", "cql2-text"), ("{", "cql2-json"),
     ("Z >", "cql2-text"), ("S_INTERSECTS(geometry, Z)", "cql2-text"), ("datetime > TIMESTAMP('2025-01-01T00:00:00Z')", "cql2-text"),
     ("GpsTime > TIMESTAMP('2025-01-01T00:00:00Z')", "cql2-text"), ("x" * 70_000, "cql2-text")],
)  # fmt: skip
def test_what_cannot_be_asked(cloud: Cloud, text: str, language: str) -> None:
    """`Intensity` is hidden here; GPS weeks are no dates."""
    with pytest.raises(InvalidParameter):
        dimension_filter(text, language, cloud, hidden=frozenset(["Intensity"]))


# --- mosaics -------------------------------------------------------------------------------------------------------------


def test_a_mosaic_is_asked_tile_by_tile(mosaic: Cloud) -> None:
    query = PointQuery(box=(84990, 447500, -math.inf, 85010, 447600, math.inf))
    names = {batch.tile.name for batch in read(mosaic, query)}
    assert names == {"west", "east"}
    points = np.concatenate([batch.records for batch in read(mosaic, PointQuery())])
    assert len(points) == mosaic.count == 2 * COUNT
    x = points["X"] * mosaic.scale[0] + mosaic.offset[0]
    assert sum(batch.count for batch in read(mosaic, query)) == ((x >= 84990) & (x <= 85010)).sum()
    only = PointQuery(tiles=frozenset(["east"]))
    assert {batch.tile.name for batch in read(mosaic, only)} == {"east"}
    assert statistics(mosaic, PointQuery()).count == 2 * COUNT


def test_the_overview_stands_for_coarse_questions_alone(mosaic: Cloud) -> None:
    coarse, fine = plan(mosaic, PointQuery(resolution=500.0)), plan(mosaic, PointQuery(resolution=0.001))
    assert (coarse.from_overview, fine.from_overview) == (True, False)
    assert {batch.tile.name for batch in read_plan(coarse)} == {OVERVIEW}
    assert OVERVIEW not in {batch.tile.name for batch in read_plan(fine)}
    assert plan(mosaic, PointQuery(max_points=50)).from_overview
    assert sum(batch.count for batch in read(mosaic, PointQuery(max_points=50))) == 50
    assert not plan(mosaic, PointQuery(max_points=5000)).from_overview
    assert sum(batch.count for batch in read(mosaic, PointQuery(max_points=5000))) == 5000


@pytest.mark.parametrize("most", [1, 7, 500, 1024, 2000, COUNT - 1, COUNT, COUNT + 1])
def test_a_budget_is_spent_and_kept(cloud: Cloud, most: int) -> None:
    asked = dimension_filter("Intensity >= 0 AND Z > 0", "cql2-text", cloud)
    for query in (PointQuery(max_points=most), PointQuery(max_points=most, filter=asked)):
        batches = list(read(cloud, query))
        assert sum(batch.count for batch in batches) == min(most, COUNT)
        places = [(batch.row, number) for batch in batches for number in batch.numbers.tolist()]
        assert len(set(places)) == len(places)


def test_coarse_nodes_come_first(cloud: Cloud) -> None:
    levels = [int(batch.entry["level"]) for batch in read(cloud, PointQuery())]
    assert levels == sorted(levels)


@pytest.mark.parametrize(
    "query",
    [
        PointQuery(box=(0, 0, 0, -1, 1, 1)),
        PointQuery(box=(math.nan, 0, 0, 1, 1, 1)),
        PointQuery(area=shapely.Point(0, 0)),
        PointQuery(resolution=0.0),
        PointQuery(resolution=math.inf),
        PointQuery(max_points=0),
        PointQuery(dimensions=("Height",)),
    ],
)
def test_questions_without_sense(cloud: Cloud, query: PointQuery) -> None:
    with pytest.raises(QueryError):
        plan(cloud, query)


def test_an_empty_area_holds_nothing(cloud: Cloud) -> None:
    assert list(read(cloud, PointQuery(area=shapely.MultiPolygon()))) == []


# --- requests ------------------------------------------------------------------------------------------------------------


def _tiles(cloud: Cloud, interval: tuple[str | None, str | None] | None = None, **pairs: str) -> set[str]:
    request = parse_points(pairs.items(), cloud, PointContext(interval=interval))
    return {batch.tile.name for batch in read(cloud, request.query)}


def test_times_of_weeks_are_those_of_the_files(mosaic: Cloud) -> None:
    """GPS week time names no day: what was flown when decides."""
    assert _tiles(mosaic, datetime="2025-05-01") == {"west"}
    assert _tiles(mosaic, datetime="2025-06-01/..") == {"east"}
    assert _tiles(mosaic, datetime="../2027-01-01T00:00:00Z") == {"west", "east"}
    assert _tiles(mosaic, datetime="2024-01-01/2024-02-01") == set()


def test_a_cloud_without_times_takes_those_of_its_collection(cloud: Cloud) -> None:
    assert _tiles(cloud, datetime="2025-05-01") == {"a"}
    assert _tiles(cloud, ("2025-01-01T00:00:00Z", None), datetime="2025-05-01") == {"a"}
    assert _tiles(cloud, ("2025-01-01T00:00:00Z", "2025-02-01T00:00:00Z"), datetime="2025-05-01") == set()


def test_rights_and_boxes_are_both_kept(cloud: Cloud) -> None:
    area = "POLYGON((4 51, 4.36645 51, 4.36645 53, 4 53, 4 51))"
    narrow = PointContext(area=area)
    everywhere = count(cloud, parse_points([], cloud, narrow).query).points
    box = {"bbox": "84920,447520,84990,447560", "bbox-crs": NATIVE}
    both = count(cloud, parse_points(box.items(), cloud, narrow).query).points
    plain = count(cloud, parse_points(box.items(), cloud, PointContext()).query).points
    assert 0 < both < plain
    assert both < everywhere < COUNT
    degrees = {"bbox": "4.36,52,4.4,52.02"}
    assert count(cloud, parse_points(degrees.items(), cloud, narrow).query).points == everywhere
    nowhere = PointContext(area="POLYGON((0 0, 1 0, 1 1, 0 0))")
    assert count(cloud, parse_points([], cloud, nowhere).query).points == 0
