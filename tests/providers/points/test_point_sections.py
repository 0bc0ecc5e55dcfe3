"""Sections, changes, volumes and heights of footprints: brute force, and shapes whose volumes are known."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from PIL import Image

from pointclouds.cloud.cloud import Cloud, open_cloud
from pointclouds.cloud.query import PointQuery
from pointclouds.errors import QueryError
from pointclouds.rasters import PointRaster
from providers.errors import AnswerTooLarge, InvalidParameter
from providers.points.areas import area_cells, native_area
from providers.points.change import compare, geotiff, polygons_of, summarized
from providers.points.errors import TooManyPoints
from providers.points.profile import along, ground_profile, profile_points
from providers.points.profile_answer import columns_of, csv_bytes, geojson_bytes, picture
from providers.points.volume import plane_of_border, surface_in, volume_between
from providers.points.zonal import ground_around, heights_of

WEST, SOUTH, EDGE = 85_000.0, 447_600.0, 60.0
COUNT = 90_000


def ground(x: Any, y: Any) -> Any:
    return 2.0 + 0.05 * (x - WEST) + 0.02 * (y - SOUTH)


def pit(x: Any, y: Any) -> Any:
    """How deep the pit is: 10 x 10 m, 2 m."""
    return np.where((np.abs(x - WEST - 15) < 5) & (np.abs(y - SOUTH - 15) < 5), 2.0, 0.0)


def cone(x: Any, y: Any) -> Any:
    """How high the heap is: a cone of 8 m radius and 4 m height."""
    return np.maximum(0.0, 4.0 - np.hypot(x - WEST - 42, y - SOUTH - 42) / 2)


@pytest.fixture(scope="module")
def surveys(
    tmp_path_factory: pytest.TempPathFactory, write_points: Callable[..., Path]
) -> tuple[Cloud, Cloud]:
    """A slope, and the same later with a pit and a heap; both scatter by 2 cm."""
    folder, found = tmp_path_factory.mktemp("surveys"), []
    for number, changed in enumerate((0.0, 1.0)):
        random = np.random.default_rng(number)
        x, y = WEST + random.uniform(0, EDGE, COUNT), SOUTH + random.uniform(0, EDGE, COUNT)
        z = ground(x, y) + changed * (cone(x, y) - pit(x, y)) + random.normal(0, 0.02, COUNT)
        codes = np.where((y > SOUTH + 50) & (x > WEST + 50), 6, 2)
        path = write_points(
            folder / f"{number}.copc.laz", x, y, np.where(codes == 6, 20.0 + 0.1 * (x - WEST), z),
            classification=codes, intensity=np.arange(COUNT) % 1000,
        )  # fmt: skip
        found.append(open_cloud(path))
    return found[0], found[1]


def everything(cloud: Cloud) -> Any:
    file = cloud.file(cloud.tiles[0])
    return np.concatenate([file.read_node(entry) for entry in file.entries])


# --- along a line --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "distance", "offset"),
    [
        ((5, 0), 5, 0),
        ((5, 2), 5, 2),  # left of the way
        ((5, -2), 5, -2),
        ((-3, 0), 0, 3),  # before its beginning
        ((12, 5), 15, -2),
        ((9, 5), 15, 1),
        ((11, -1), 10, -math.sqrt(2)),  # outside of the corner
        ((10, 13), 20, 3),
    ],
)
def test_distance_along_a_line_and_from_it(place: Any, distance: float, offset: float) -> None:
    line = np.array([[0, 0], [10, 0], [10, 0], [10, 10]], np.float64)
    found = along(line, np.array([place], np.float64))
    assert found[0][0] == pytest.approx(distance)
    assert abs(found[1][0]) == pytest.approx(abs(offset))
    assert distance in (0, 20) or found[1][0] == pytest.approx(offset)


def test_a_line_of_many_turns_is_compared_near_by() -> None:
    random = np.random.default_rng(7)
    turns = np.column_stack([np.tile([0.0, 200.0], 100), np.linspace(0, 200, 200)])
    places = random.random((3_000, 2)) * 220 - 10
    distance, offset = along(turns, places)
    line = shapely.LineString(turns)
    np.testing.assert_allclose(np.abs(offset), shapely.distance(line, shapely.points(places)), atol=1e-9)
    reached = shapely.line_interpolate_point(line, distance)
    np.testing.assert_allclose(shapely.distance(reached, shapely.points(places)), np.abs(offset), atol=1e-9)


def test_points_that_are_as_near_to_every_turn_are_refused_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("providers.points.profile._MOST_COMPARED", 300_000)
    random = np.random.default_rng(7)
    knot, places = random.random((100, 2)), random.random((5_000, 2)) * 100
    with pytest.raises(QueryError, match="fewer positions"):
        along(knot, places)


def test_a_profile_has_the_points_of_the_corridor_and_no_others(surveys: tuple[Cloud, Cloud]) -> None:
    cloud = surveys[1]
    line = np.array([[WEST + 5, SOUTH + 5], [WEST + 30, SOUTH + 12], [WEST + 42, SOUTH + 42]])
    dimensions = tuple(one for one in cloud.dimensions if one.name in ("Classification", "Intensity"))
    found = profile_points(cloud, line, 0.8, PointQuery(), dimensions, 10**6)
    records = everything(cloud)
    x = records["X"] * cloud.scale[0] + cloud.offset[0]
    y = records["Y"] * cloud.scale[1] + cloud.offset[1]
    corridor = shapely.buffer(shapely.LineString(line), 0.8, cap_style="flat")
    inside = shapely.contains_xy(corridor, x, y)
    assert len(found) == int(inside.sum()) > 500
    assert found.complete
    assert sorted(found.columns["Intensity"].tolist()) == sorted(records["Intensity"][inside].tolist())
    whole = shapely.LineString(line)
    expected = np.sort(shapely.line_locate_point(whole, shapely.points(x[inside], y[inside])))
    np.testing.assert_allclose(found.distance, expected, atol=1e-6)
    np.testing.assert_allclose(
        np.abs(found.offset), shapely.distance(whole, shapely.points(found.x, found.y)), atol=1e-6
    )
    assert found.length == pytest.approx(whole.length)


def test_a_budget_thins_a_profile_and_a_limit_refuses_it(surveys: tuple[Cloud, Cloud]) -> None:
    cloud = surveys[0]
    line = np.array([[WEST, SOUTH + 30], [WEST + 60, SOUTH + 30]])
    whole = profile_points(cloud, line, 1.0, PointQuery(), (), 10**6)
    count = len(whole)
    for budget, complete in ((count, True), (count - 1, False), (10, False)):
        found = profile_points(cloud, line, 1.0, PointQuery(max_points=budget), (), 10**6)
        assert (len(found), found.complete) == (budget, complete)
    assert found.distance[0] < 15
    assert found.distance[-1] > 45
    with pytest.raises(TooManyPoints):
        profile_points(cloud, line, 1.0, PointQuery(), (), 100)
    away = profile_points(cloud, line + 1000.0, 1.0, PointQuery(), (), 10**6)
    assert len(away) == 0
    assert away.length == pytest.approx(60.0)


def test_the_ground_along_a_line(surveys: tuple[Cloud, Cloud]) -> None:
    raster = PointRaster(surveys[1])
    line = np.array([[WEST - 5, SOUTH + 42], [WEST + 55, SOUTH + 42]])
    found = ground_profile(raster, line, 1.0)
    assert found.distance.tolist() == pytest.approx(list(range(61)))
    assert np.isnan(found.terrain[:3]).all()
    x = line[0, 0] + found.distance
    expected = ground(x, SOUTH + 42.0) + cone(x, SOUTH + 42.0)
    np.testing.assert_allclose(found.terrain[7:], expected[7:], atol=0.5)
    assert found.surface[47] == pytest.approx(expected[47], abs=0.3)


def test_forms_of_a_profile(surveys: tuple[Cloud, Cloud]) -> None:
    cloud = surveys[1]
    line = np.array([[WEST + 5, SOUTH + 42], [WEST + 55, SOUTH + 42]])
    dimensions = tuple(one for one in cloud.dimensions if one.name == "Classification")
    found = profile_points(cloud, line, 0.5, PointQuery(max_points=300), dimensions, 10**6)
    columns = columns_of(found, 1.0)
    lines = csv_bytes(columns).decode().split("\r\n")
    assert lines[0] == "distance,offset,Z,Classification"
    assert len(lines) == 302
    assert float(lines[1].split(",")[2]) == pytest.approx(found.z[0], abs=1e-3)
    document = json.loads(geojson_bytes(columns, found.x, found.y, found.z, b'"complete":false,'))
    assert len(document["features"]) == 300
    assert document["features"][7]["properties"]["Classification"] == found.columns["Classification"][7]
    empty = profile_points(cloud, line + 500, 0.5, PointQuery(), dimensions, 10**6)
    assert json.loads(geojson_bytes(columns_of(empty, 1.0), empty.x, empty.y, empty.z, b""))["features"] == []
    assert csv_bytes(columns_of(empty, 1.0)) == b"distance,offset,Z,Classification\r\n"
    ground_line = ground_profile(PointRaster(cloud), line)
    image = np.asarray(Image.open(io.BytesIO(picture(found, ground_line, 1.0))))
    assert image.shape == (420, 1200, 3)
    assert ((image == (166, 124, 82)).all(axis=2)).sum() > 300  # ground points
    assert ((image == (120, 60, 20)).all(axis=2)).sum() > 500  # the line of the terrain
    blank = np.asarray(Image.open(io.BytesIO(picture(empty, None, 1.0))))
    assert not ((blank == (166, 124, 82)).all(axis=2)).any()


# --- change --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("surface", ["dsm", "dtm"])
def test_a_pit_and_a_heap_are_found_with_their_volumes(surveys: tuple[Cloud, Cloud], surface: Any) -> None:
    before, after = (PointRaster(cloud, resolution=0.5) for cloud in surveys)
    area = shapely.box(WEST + 2, SOUTH + 2, WEST + 58, SOUTH + 49)
    change = compare(before, after, area_cells(area, 0.5), surface, 0.1)
    found = summarized(change)
    assert found.lost == pytest.approx(200.0, rel=0.04)
    assert found.gained == pytest.approx(math.pi * 64 * 4 / 3, rel=0.06)
    assert found.lost_area == pytest.approx(100.0, rel=0.08)
    assert found.compared == pytest.approx(56 * 47, rel=0.01)
    assert found.net == pytest.approx(found.gained - found.lost)
    assert 0 < found.uncertainty < 10
    assert found.mean_unchanged == pytest.approx(0.0, abs=0.02)
    shapes, rows = polygons_of(change, 5.0)
    assert [row["change"] for row in rows] == ["gained", "lost"]
    assert rows[1]["extreme"] == pytest.approx(-2.0, abs=0.15)
    assert shapely.contains(shapes[1], shapely.Point(WEST + 15, SOUTH + 15))
    assert shapely.area(shapes[1]) == pytest.approx(100.0, rel=0.1)
    # Side by side they account for all.
    assert sum(row["volume"] for row in polygons_of(change, 0.0)[1]) == pytest.approx(
        found.gained + found.lost
    )


def test_what_scatters_is_no_change(surveys: tuple[Cloud, Cloud]) -> None:
    before, after = (PointRaster(cloud, resolution=1.0) for cloud in surveys)
    quiet = area_cells(shapely.box(WEST + 25, SOUTH + 2, WEST + 58, SOUTH + 20), 1.0)
    assert compare(before, after, quiet, "dtm", 0.1).counts.sum() == 0
    loud = compare(before, after, quiet, "dtm", 0.0)
    # Only the scatter counts now: about one in twenty cells differs by more than it explains.
    assert 0.01 < loud.counts.mean() < 0.12
    assert summarized(compare(before, before, quiet, "dsm", 0.0)).net == 0


def test_a_change_as_geotiff(surveys: tuple[Cloud, Cloud]) -> None:
    before, after = (PointRaster(cloud, resolution=1.0) for cloud in surveys)
    change = compare(
        before, after, area_cells(shapely.box(WEST + 5, SOUTH + 5, WEST + 25, SOUTH + 25), 1.0), "dsm", 0.3
    )
    with rasterio.MemoryFile(geotiff(change, surveys[0].crs.to_wkt())) as memory, memory.open() as found:
        assert found.descriptions == ("difference", "least", "significant")
        assert found.crs.to_epsg() == 28992
        assert tuple(found.bounds) == (WEST + 5, SOUTH + 5, WEST + 25, SOUTH + 25)
        significant = found.read(3)
    assert np.nansum(significant) == pytest.approx(-200.0, rel=0.05)


def test_areas_are_refused_where_there_is_nothing_or_too_much(surveys: tuple[Cloud, Cloud]) -> None:
    with pytest.raises(InvalidParameter, match="meets the point cloud"):
        native_area(shapely.box(10, 50, 10.1, 50.1), surveys[0])
    box = shapely.box(WEST, SOUTH, WEST + 100, SOUTH + 100)
    assert area_cells(box, 1.0, 10_000).window.size == 10_000
    with pytest.raises(AnswerTooLarge, match="at most 9999"):
        area_cells(box, 1.0, 9_999)
    half = area_cells(shapely.Polygon([(WEST, SOUTH), (WEST + 9, SOUTH), (WEST, SOUTH + 9)]), 1.0)
    assert half.share.sum() == pytest.approx(40.5, rel=0.04)


# --- volumes -------------------------------------------------------------------------------------------------------------


def test_volumes_above_planes(surveys: tuple[Cloud, Cloud]) -> None:
    raster = PointRaster(surveys[1], resolution=0.25)
    around = area_cells(shapely.Point(WEST + 42, SOUTH + 42).buffer(10, 64), 0.25)
    top = surface_in(raster, around, "dsm")
    border = volume_between(top, plane_of_border(raster, around, "dsm"), around)
    assert border.above == pytest.approx(math.pi * 64 * 4 / 3, rel=0.04)
    assert border.area == pytest.approx(math.pi * 100, rel=0.01)
    assert border.missing == pytest.approx(0, abs=0.5)
    assert border.highest == pytest.approx(4.0, abs=0.3)
    earlier = surface_in(PointRaster(surveys[0], resolution=0.25), around, "dsm")
    assert volume_between(top, earlier, around).net == pytest.approx(border.net, rel=0.03)
    level = volume_between(top, np.full(top.shape, 100.0), around)
    assert (level.above, level.net) == (0, -level.below)
    nothing = volume_between(np.full(top.shape, np.nan), top, around)
    assert (nothing.area, nothing.base, nothing.net) == (0, None, 0)
    with pytest.raises(InvalidParameter, match="border lies on points"):
        plane_of_border(
            raster, area_cells(shapely.box(WEST - 900, SOUTH, WEST - 800, SOUTH + 9), 0.25), "dsm"
        )


# --- footprints ----------------------------------------------------------------------------------------------------------


def test_heights_of_footprints_against_brute_force(surveys: tuple[Cloud, Cloud]) -> None:
    cloud = surveys[0]
    areas = np.array(
        [
            shapely.box(WEST + 50, SOUTH + 50, WEST + 60, SOUTH + 60),
            shapely.box(WEST + 48, SOUTH + 48, WEST + 52, SOUTH + 52),  # half on the roof, over the first
            shapely.box(WEST - 90, SOUTH, WEST - 80, SOUTH + 5),  # beside the cloud
            shapely.Point(WEST + 15, SOUTH + 15).buffer(3),
        ],
        dtype=object,
    )
    found = heights_of(cloud, areas, None, None, 10**6)
    roofs = heights_of(cloud, areas, None, frozenset({6}), 10**6)
    records = everything(cloud)
    x = records["X"] * cloud.scale[0] + cloud.offset[0]
    y = records["Y"] * cloud.scale[1] + cloud.offset[1]
    z = records["Z"] * cloud.scale[2] + cloud.offset[2]
    for number, area in enumerate(areas):
        inside = shapely.intersects_xy(area, x, y)
        for rows, chosen in ((found, inside), (roofs, inside & (records["Classification"] == 6))):
            assert rows.points[number] == chosen.sum()
            if not chosen.any():
                assert np.isnan([rows.lowest[number], rows.mean[number], rows.percentiles[number, 2]]).all()
                continue
            assert rows.highest[number] == pytest.approx(z[chosen].max())
            assert rows.lowest[number] == pytest.approx(z[chosen].min())
            assert rows.mean[number] == pytest.approx(z[chosen].mean())
            np.testing.assert_allclose(
                rows.percentiles[number], np.percentile(z[chosen], (50, 70, 95), method="nearest"), atol=2e-3
            )
    around = ground_around(PointRaster(cloud), areas)
    assert around[3] == pytest.approx(ground(WEST + 15, SOUTH + 15), abs=0.1)
    assert np.isnan(around[2])
    with pytest.raises(TooManyPoints):
        heights_of(cloud, areas, None, None, 100)
