"""Rasters of a mosaic are those of one cloud; and those of the real AHN3 against brute force."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import pytest

from pointclouds.cloud.cloud import (
    INDEX_FILE,
    OVERVIEW,
    CloudDescription,
    CloudTile,
    open_cloud,
    open_file,
    write_index,
)
from pointclouds.copc.writer import write_copc
from pointclouds.rasters import CellWindow, PointRaster
from pointclouds.rasters.points import overview_fits

WEST, SOUTH = 84_900.3, 447_500.7


@pytest.fixture(scope="module")
def mosaic(tmp_path_factory: pytest.TempPathFactory, write_points: Callable[..., Path], slope: Any) -> Path:
    """The slope cut in two between two metres, and every fortieth point as its overview."""
    folder = tmp_path_factory.mktemp("mosaic")
    (folder / "points").mkdir()
    parts = {
        "west": slope.x < WEST + 33.3,
        "east": slope.x >= WEST + 33.3,
        OVERVIEW: np.arange(len(slope.x)) % 40 == 0,
    }
    tiles = []
    for name, chosen in parts.items():
        path = write_points(
            folder / "points" / f"{name}.copc.laz", slope.x[chosen], slope.y[chosen], slope.z[chosen],
            classification=slope.codes[chosen], intensity=slope.intensity[chosen], return_number=slope.returns[chosen],
            number_of_returns=2, withheld=slope.withheld[chosen].astype(int),
        )  # fmt: skip
        header = open_file(path).header
        facts = {"spacing": 1.4} if name == OVERVIEW else {}
        tiles.append(CloudTile(name, path, header.count, header.bbox, None, None, (0.0, 0.0), facts))
    description = CloudDescription("EPSG:28992", 6, (0.001,) * 3, (0.0,) * 3, ())
    write_index(folder / INDEX_FILE, description, tiles)
    return folder / INDEX_FILE


def test_a_mosaic_gives_the_values_of_one_cloud(mosaic: Path, slope: Any) -> None:
    whole, parts = slope.raster(resolution=0.5), PointRaster(open_cloud(mosaic), resolution=0.5)
    window = CellWindow.around(0.5, WEST, SOUTH, WEST + 80, SOUTH + 80)
    bands = ("dsm", "intensity", "density", "classification")
    expected, found = whole.cells(0, window, bands), parts.cells(0, window, bands)
    for band in bands:
        # Each file rounds heights to millimetres from an offset of its own.
        np.testing.assert_allclose(found[band], expected[band], rtol=1e-6, atol=1.1e-3, err_msg=band)
    ground = whole.cells(0, window, ["dtm"])["dtm"] - parts.cells(0, window, ["dtm"])["dtm"]
    assert np.abs(ground).max() < 0.1


def test_the_overview_is_read_where_it_is_dense_enough_and_never_counted(mosaic: Path, slope: Any) -> None:
    cloud = open_cloud(mosaic)
    assert [overview_fits(cloud, spacing) for spacing in (None, 0.9, 1.0, 8.0)] == [False, False, True, True]
    assert not overview_fits(open_cloud(slope.path), 8.0)
    raster = PointRaster(cloud, resolution=0.5)
    for level in (1, 2, 3):
        cell = raster.cell(level)
        window = CellWindow.around(cell, WEST - cell, SOUTH - cell, WEST + 80 + cell, SOUTH + 80 + cell)
        found = raster.cells(level, window, ["density", "dsm"])
        total = float(np.nansum(found["density"])) * cell**2
        # Every point once, withheld ones where only counts are known.
        assert total == pytest.approx(len(slope.x), rel=0.005)
        # This overview is a random one: real ones are even.
        assert np.isfinite(found["dsm"]).sum() * cell**2 == pytest.approx(80 * 80, rel=0.2)


def test_ahn3_against_brute_force(sample_data: Path, tmp_path: Path) -> None:
    source = sample_data / "delft" / "ahn3" / "ahn3_cropped_2.laz"
    write_copc(source, tmp_path / "ahn3.copc.laz", crs="EPSG:7415")
    raster = PointRaster(open_cloud(tmp_path / "ahn3.copc.laz"), resolution=1.0)
    points = laspy.read(source)
    x, y, z = np.asarray(points.x), np.asarray(points.y), np.asarray(points.z)
    codes = np.asarray(points.classification)
    box = raster.cloud.box
    window = CellWindow.around(1.0, box[0], box[1], box[3], box[4])
    place = (np.floor(-y).astype(int) - window.row) * window.columns + np.floor(x).astype(int) - window.column
    found = raster.cells(0, window, ["dsm", "dtm", "density"])
    order = np.lexsort((z, place))
    first = (np.asarray(points.return_number) <= 1) & ~np.isin(codes, (7, 18))
    tops = order[first[order]]
    last = np.flatnonzero(np.diff(place[tops], append=-1))
    assert len(last) > 10_000
    np.testing.assert_allclose(found["dsm"].ravel()[place[tops[last]]], z[tops[last]], atol=1e-4)
    ground = codes == 2
    count = np.bincount(place[ground], minlength=window.size)
    mean = np.bincount(place[ground], z[ground], window.size)[count > 0] / count[count > 0]
    np.testing.assert_allclose(found["dtm"].ravel()[count > 0], mean, atol=1e-4)
    assert np.nansum(found["density"]) == len(x)
    # Every cell within reach of ground has a terrain, and it lies where the ground does.
    assert np.isfinite(found["dtm"]).mean() > 0.99
    assert np.nanmin(found["dtm"]) > z[ground].min() - 2
    assert np.nanmax(found["dtm"]) < z[ground].max() + 2
