"""A point cloud as raster data: boxes, pixels, positions and statistics over known surfaces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from providers.coverages.opening import source_at
from providers.errors import AnswerTooLarge
from providers.points.coverage import PointRasterSource
from providers.points.coverage_properties import coverage_properties
from providers.points.opening import STORE, register_point_rasters
from tiles.crs import transformer
from tiles.errors import RasterError, UnknownInstant
from tiles.raster_stores import register_store, store_kinds
from tiles.rasters import Bounds, open_raster
from tiles.rasters.cog import span_of

WEST, SOUTH = 85_000.0, 447_600.0
COUNT = 256 * 256
NAMES = ("dtm", "dsm", "height", "intensity", "density", "classification", "red", "green", "blue")


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory, write_points: Callable[..., Path]) -> Path:
    """A board of 64 x 64 m: each point stands on the step of its 8 m square; the east half is 5 m higher and no ground."""
    random = np.random.default_rng(3)
    # Four points in each cell of half a metre.
    column, row = np.divmod(np.arange(COUNT), 256)
    x = WEST + (column + random.uniform(0.01, 0.99, COUNT)) / 4
    y = SOUTH + (row + random.uniform(0.01, 0.99, COUNT)) / 4
    step = np.floor((y - SOUTH) / 8)
    east = x >= WEST + 32
    return write_points(
        tmp_path_factory.mktemp("steps") / "pointcloud.copc.laz",
        x, y, np.where(east, step + 5.0, step), classification=np.where(east, 6, 2), point_format=7,
        intensity=np.where(east, 100, 300), red=65_000, green=random.integers(0, 65_535, COUNT), blue=7,
    )  # fmt: skip


@pytest.fixture(scope="module")
def source(steps: Path) -> PointRasterSource:
    return PointRasterSource(steps, coverage_properties(steps, "http://www.opengis.net/def/crs/EPSG/0/28992"))


def numbers(*names: str) -> list[int]:
    return [NAMES.index(name) + 1 for name in names]


def test_what_it_says_of_itself(source: PointRasterSource, steps: Path) -> None:
    found = source.description
    assert tuple(band.name for band in found.bands) == NAMES
    assert found.resolution == (0.5, 0.5)
    assert found.bounds.west == WEST
    assert (found.width, found.height) == (128, 128)
    assert {band.name: band.unit for band in found.bands if band.unit} == {
        "dtm": "m", "dsm": "m", "height": "m", "density": "m-2"}  # fmt: skip
    codes = found.bands[5]
    assert codes.dtype == "uint8"
    assert dict(codes.colours or ())[2] == (166, 124, 82, 255)
    red = found.bands[6]
    assert (red.minimum, red.maximum) == (65_000, 65_000)
    assert found.bands[1].percentiles == pytest.approx((0.0, 12.0), abs=0.5)
    # Without properties the cloud decides alike.
    bare = PointRasterSource(steps).description
    assert bare.bounds == found.bounds
    assert [band.name for band in bare.bands] == [band.name for band in found.bands]
    assert source_at(steps).description.resolution == (0.5, 0.5)


def test_cells_of_its_own_are_read_as_they_are(source: PointRasterSource) -> None:
    bounds = Bounds(WEST + 8, SOUTH + 16, WEST + 16, SOUTH + 24)
    block = source.read(bounds, (16, 16), numbers("dsm", "dtm", "intensity", "classification", "red", "blue"))
    assert block.values.dtype == np.float32
    assert block.valid.all()
    expected = [2.0, 2.0, 300.0, 2.0, 65_000.0, 7.0]
    np.testing.assert_allclose(
        block.values, np.broadcast_to(np.array(expected)[:, None, None], block.values.shape)
    )
    codes = source.read(bounds, (16, 16), numbers("classification"))
    assert codes.values.dtype == np.uint8


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic", "average"])
def test_codes_stay_codes_whatever_the_resampling(source: PointRasterSource, resampling: Any) -> None:
    bounds = Bounds(WEST + 4, SOUTH + 4, WEST + 60.3, SOUTH + 60.3)
    block = source.read(bounds, (57, 57), numbers("dsm", "classification"), resampling=resampling)
    assert set(np.unique(block.values[1][block.valid[1]])) <= {2.0, 6.0}
    assert block.values[0][block.valid[0]].max() <= 12.5


def test_a_map_in_another_crs(source: PointRasterSource) -> None:
    middle = transformer("EPSG:28992", "EPSG:3857").transform(WEST + 48, SOUTH + 28)
    box = Bounds(middle[0] - 2, middle[1] - 2, middle[0] + 2, middle[1] + 2)
    block = source.warp(box, "EPSG:3857", (20, 20), numbers("dsm", "dtm", "height"))
    assert block is not None
    # The east half is no ground: its terrain is filled from the west half, 16 m away.
    np.testing.assert_allclose(block.values[0], 8.0, atol=1e-3)
    np.testing.assert_allclose(block.values[2], 8.0 - block.values[1], atol=1e-3)
    assert source.warp(Bounds(0, 0, 10, 10), "EPSG:3857", (4, 4), numbers("dsm")) is None
    north_pole = Bounds(-2e7, 2e7, 2e7, 4e7)
    assert source.warp(north_pole, "EPSG:3857", (4, 4), numbers("dsm")) is None


def test_far_away_and_very_long_pixels_cost_little(source: PointRasterSource) -> None:
    wide = Bounds(WEST - 1e6, SOUTH - 1e6, WEST + 1e6, SOUTH + 1e6)
    assert source.read(wide, (3, 3), numbers("dsm")).valid.sum() <= 4
    flat = Bounds(WEST, SOUTH, WEST + 64, SOUTH + 64)
    assert source.read(flat, (100_000, 1), numbers("dsm")).valid.mean() > 0.99
    nowhere = source.read(Bounds(0, 0, 10, 10), (5, 5), numbers("dsm", "classification"))
    assert not nowhere.valid.any()


def test_positions(source: PointRasterSource) -> None:
    x = np.array([WEST + 4, WEST + 60, WEST - 1, np.nan])
    y = np.array([SOUTH + 4, SOUTH + 60, SOUTH, SOUTH])
    values, valid = source.sample(x, y, numbers("dsm", "classification"))
    assert values[:, :2].tolist() == [[0.0, 12.0], [2.0, 6.0]]
    assert valid.tolist() == [[True, True, False, False]] * 2


def test_spans_of_bands(source: PointRasterSource, steps: Path) -> None:
    low, high = source.span(numbers("dsm"))
    assert (low, high) == source.description.bands[1].percentiles
    assert source.span(numbers("red")) == (65_000.0, 65_001.0)
    assert PointRasterSource(steps).span(numbers("dsm")) == pytest.approx(span_of(low, high), abs=0.6)


def test_what_it_refuses(source: PointRasterSource, steps: Path, tmp_path: Path) -> None:
    box = Bounds(WEST, SOUTH, WEST + 64, SOUTH + 64)
    for bands in ([], [0], [10]):
        with pytest.raises(RasterError, match="gives 9 bands"):
            source.read(box, (4, 4), bands)
    with pytest.raises(UnknownInstant, match="no time axis"):
        source.read(box, (4, 4), [1], instant="2020-01-01T00:00:00Z")
    small = PointRasterSource(steps, {"most_points": COUNT - 1, "ground_classes": [3]})
    with pytest.raises(AnswerTooLarge, match="at most 65535 are read"):
        small.read(box, (128, 128), [1])
    (tmp_path / "bad.copc.laz").write_bytes(b"LASF" * 200)
    with pytest.raises(RasterError, match="bad"):
        PointRasterSource(tmp_path / "bad.copc.laz").read(box, (4, 4), [1])


def test_the_registry_opens_it(steps: Path) -> None:
    register_point_rasters()
    register_point_rasters()
    assert STORE in store_kinds()
    opened = open_raster(steps.parent, steps.name, {"store": STORE})
    assert isinstance(opened, PointRasterSource)
    for kind in (STORE, "cog"):
        with pytest.raises(ValueError, match="is taken"):
            register_store(kind, lambda path, properties: opened)
    with pytest.raises(RasterError, match="'cloudy'; known are cog, mosaic"):
        open_raster(steps.parent, steps.name, {"store": "cloudy"})
