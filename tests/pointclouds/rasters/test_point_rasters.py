"""Rasters of points: known surfaces, brute force, the same values whatever was asked for together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pointclouds.cloud.cloud import open_cloud
from pointclouds.errors import QueryError
from pointclouds.rasters import BANDS, CellWindow, PointRaster, cloud_resolution
from pointclouds.rasters.cells import centres_of
from pointclouds.rasters.ground import CloudGround
from pointclouds.rasters.kept_blocks import forget_blocks

WEST, SOUTH, EDGE = 84_900.3, 447_500.7, 80.0


@pytest.fixture(autouse=True)
def _anew() -> None:
    forget_blocks()


def window_of(raster: PointRaster, level: int) -> CellWindow:
    return CellWindow.around(raster.cell(level), WEST, SOUTH, WEST + EDGE, SOUTH + EDGE)


def binned(slope: Any, raster: PointRaster, level: int, chosen: Any) -> tuple[CellWindow, Any, Any]:
    """The window, the cell of each chosen point, and the points, by plain arithmetic."""
    window, cell = window_of(raster, level), raster.cell(level)
    places = np.flatnonzero(chosen & ~slope.withheld)
    column = np.floor(slope.x[places] / cell).astype(int) - window.column
    row = np.floor(-slope.y[places] / cell).astype(int) - window.row
    return window, row * window.columns + column, places


def test_cells_are_as_large_as_the_points_are_apart(slope: Any) -> None:
    # 20 points a square metre are 0.22 m apart.
    assert cloud_resolution(open_cloud(slope.path)) == 0.5
    raster = slope.raster()
    assert raster.bands == BANDS[:6]
    assert [raster.level(cell) for cell in (0.01, 0.5, 0.7, 0.72, 1.0, 1e9)] == [0, 0, 0, 1, 1, 8]


def test_the_highest_first_return_of_each_cell(slope: Any) -> None:
    raster = slope.raster()
    window, place, points = binned(slope, raster, 0, (slope.codes != 18) & (slope.returns == 1))
    expected = np.full(window.size, -np.inf)
    for at, z in zip(place.tolist(), slope.z[points].tolist(), strict=True):
        expected[at] = max(expected[at], z)
    found = raster.cells(0, window, ["dsm"])["dsm"].ravel()
    known = np.isfinite(expected)
    # Heights are stored to the millimetre.
    np.testing.assert_allclose(found[known], expected[known], atol=1.1e-3)
    # What has no point is closed from its neighbours: among 4,900 cells of five points there are some.
    assert (~known).any()
    assert np.isfinite(found.reshape(window.shape)[3:-3, 3:-3]).all()


@pytest.mark.parametrize("level", [0, 1])
def test_means_counts_and_classes_against_brute_force(slope: Any, level: int) -> None:
    # All points are read at level 0 alone: level 1 is asked of a raster whose cells are twice as large.
    raster = slope.raster(resolution=0.5 * 2**level)
    window, place, points = binned(slope, raster, 0, np.ones(len(slope.x), bool))
    found = raster.cells(0, window, ["intensity", "density", "classification"])
    count = np.bincount(place, minlength=window.size)
    total = np.bincount(place, slope.intensity[points], window.size)
    some = count > 0
    np.testing.assert_allclose(found["intensity"].ravel()[some], (total[some] / count[some]), rtol=1e-5)
    np.testing.assert_allclose(found["density"].ravel()[some], count[some] / raster.resolution**2, rtol=1e-5)
    table = np.zeros((window.size, 32), int)
    np.add.at(table, (place, slope.codes[points]), 1)
    assert (found["classification"].ravel()[some] == table.argmax(axis=1)[some]).all()


def test_the_terrain_is_the_slope_also_under_the_house_and_the_tree(slope: Any) -> None:
    raster = slope.raster()
    window = window_of(raster, 0)
    found = raster.cells(0, window, ["dtm", "dsm", "height"])
    x, y = centres_of(window, raster.cell(0))
    inner = found["dtm"][2:-2, 2:-2] - slope.ground(x[None, :], y[:, None])[2:-2, 2:-2]
    # A cell's ground points lie to one side of its centre by chance: 0.5 m of a slope of 11 %.
    assert np.abs(inner).max() < 0.06
    house = slope.in_house(x[None, :], y[:, None], margin=1.0)
    np.testing.assert_allclose(found["dsm"][house], 20.0, atol=1e-3)
    expected = 20.0 - slope.ground(x[None, :], y[:, None])[house]
    np.testing.assert_allclose(found["height"][house], expected, atol=0.06)
    assert np.isfinite(found["height"][3:-3, 3:-3]).all()
    assert np.nanmin(found["height"]) >= 0


def test_no_ground_is_made_up_beyond_the_reach(slope: Any) -> None:
    raster = slope.raster(reach=0.0)
    window = window_of(raster, 0)
    x, y = centres_of(window, raster.cell(0))
    house = slope.in_house(x[None, :], y[:, None], margin=1.0)
    assert np.isnan(raster.cells(0, window, ["dtm"])["dtm"][house]).all()


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_a_value_does_not_depend_on_what_is_asked_for_with_it(slope: Any, level: int) -> None:
    raster = slope.raster()
    whole = window_of(raster, level).grown(3)
    expected = raster.cells(level, whole, raster.bands)
    random = np.random.default_rng(level)
    for _ in range(6):
        forget_blocks()
        top, left = (int(random.integers(0, edge - 2)) for edge in whole.shape)
        rows, columns = (
            int(random.integers(1, edge - at)) for edge, at in zip(whole.shape, (top, left), strict=True)
        )
        part = CellWindow(whole.row + top, whole.column + left, rows, columns)
        bands = [band for band in raster.bands if random.uniform() < 0.6] or ["height"]
        for band, values in raster.cells(level, part, bands).items():
            # Density is spread by running sums: alike to the last digit of a float32.
            rounding = 3e-7 if band == "density" else 0
            np.testing.assert_allclose(
                values, expected[band][part.within(whole)], rtol=rounding, err_msg=band
            )


@pytest.mark.parametrize("level", [1, 2, 3])
def test_coarse_levels_read_less_and_say_nearly_the_same(slope: Any, level: int) -> None:
    raster = slope.raster()
    window, cell = window_of(raster, level), raster.cell(level)
    exact = slope.raster(resolution=cell).cells(0, window, raster.bands)
    thin = raster.cells(level, window, raster.bands)
    middle = (slice(2, -2), slice(2, -2))
    # Thinned surfaces are never too high. They are too low by little, but for edges that lie one cell beside their place.
    lower = exact["dsm"][middle] - thin["dsm"][middle]
    assert lower.min() > -1e-3
    assert np.median(lower) < 0.1 * cell
    around = np.min([exact["dsm"][1 + down : -1 + down or None, 1 + across : -1 + across or None][1:-1, 1:-1]
                     for down in (-1, 0, 1) for across in (-1, 0, 1)], axis=0)  # fmt: skip
    assert (around - thin["dsm"][middle]).max() <= 1.5 * cell
    assert np.abs(exact["dtm"][middle] - thin["dtm"][middle]).max() < 0.12 * cell
    assert thin["density"][middle].mean() == pytest.approx(exact["density"][middle].mean(), rel=0.02)


def test_positions_outside_and_spread_out(slope: Any) -> None:
    raster = slope.raster()
    x = np.array([WEST + 10.1, WEST - 50, np.nan, WEST + 40.0])
    y = np.array([SOUTH + 10.1, SOUTH, SOUTH, SOUTH + 40.0])
    heights = CloudGround(raster).heights(x, y)
    assert heights[0] == pytest.approx(slope.ground(x[0], y[0]), abs=0.06)
    assert np.isnan(heights[1:3]).all()
    assert heights[3] == pytest.approx(slope.ground(x[3], y[3]), abs=0.06)
    assert CloudGround(raster, "dsm").heights(x, y)[3] == pytest.approx(20.0, abs=1e-3)
    fine = slope.raster(resolution=0.01)
    spread = np.random.default_rng(0).uniform(0, EDGE, (2, 5000))
    with pytest.raises(QueryError, match="at most 400"):
        fine.sample(0, WEST + spread[0], SOUTH + spread[1], ["dsm"])


def test_the_limit_of_points(slope: Any) -> None:
    window = window_of(slope.raster(), 0)
    assert slope.raster(most_points=130_000).cells(0, window, ["dsm"])
    forget_blocks()
    with pytest.raises(QueryError, match="at most 129999 are read"):
        slope.raster(most_points=129_999).cells(0, window, ["dsm"])


def test_a_cloud_without_ground_has_no_terrain(slope: Any) -> None:
    raster = slope.raster(ground_classes=(11,))
    assert "dtm" not in raster.bands
    assert "height" not in raster.bands
    with pytest.raises(QueryError, match="no raster of 'dtm'; it has dsm, intensity"):
        raster.cells(0, CellWindow(0, 0, 1, 1), ["dtm"])
    assert np.isnan(CloudGround(raster).heights(slope.x[:3], slope.y[:3])).all()


@pytest.mark.parametrize("count", [1, 2, 40])
def test_a_point_and_points_at_one_place(tmp_path: Any, write_points: Any, count: int) -> None:
    x, y = np.full(count, 85_000.25), np.full(count, 447_000.25)
    z = np.linspace(5.0, 6.0, count) if count > 1 else np.array([6.0])
    raster = PointRaster(open_cloud(write_points(tmp_path / "one.copc.laz", x, y, z, classification=2)))
    assert raster.resolution == 1.0
    found = raster.cells(0, CellWindow.around(1.0, 84_998, 446_998, 85_003, 447_003), raster.bands)
    assert found["dsm"][2, 2] == 6.0
    assert found["dtm"][2, 2] == pytest.approx(z.mean())
    assert found["density"][2, 2] == count
    assert np.isfinite(found["dsm"]).sum() == 1


def test_cells_of_places() -> None:
    window = CellWindow.around(2.0, -3.0, -5.0, 3.0, 1.0)
    assert window == (-1, -2, 4, 4)
    assert window.bounds(2.0) == (-4.0, -6.0, 4.0, 2.0)
    x, y = np.array([-4.0, 3.999, 4.0, -3.0]), np.array([2.0, -5.999, 0.0, -6.0])
    assert window.places(2.0, x, y).tolist() == [0, 15, -1, -1]
    assert window.coarser().bounds(4.0) == (-4.0, -8.0, 4.0, 4.0)
