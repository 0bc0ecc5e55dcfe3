"""Reading rasters: what a box of pixels holds in its own CRS and in others, and which of it is data."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp, Resampling
from rasterio.transform import from_bounds, from_origin
from rasterio.warp import reproject

from tiles.crs import transformer
from tiles.errors import RasterError, UnknownInstant
from tiles.rasters import Bounds, CogSource, open_raster
from tiles.rasters.statistics import file_statistics, joined_statistics

PLACE = from_origin(500_000, 4_400_000, 10, 10)


def write(
    path: Path, values: np.ndarray[Any, Any], *, crs: str | None = "EPSG:32650", **options: Any
) -> Path:
    count, height, width = values.shape
    overviews, mask = options.pop("overviews", ()), options.pop("mask", None)
    profile = {
        "driver": "GTiff",
        "transform": PLACE,
        "tiled": True,
        "blockxsize": 64,
        "blockysize": 64,
    } | options
    with (
        warnings.catch_warnings(action="ignore"),
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", width=width, height=height, count=count, dtype=values.dtype, crs=crs, **profile
        ) as file,
    ):
        file.write(values)
        if mask is not None:
            file.write_mask(mask)
        if overviews:
            file.build_overviews(overviews, Resampling.average)
    return path


def smooth(bands: int = 3, size: int = 300, dtype: str = "uint8") -> np.ndarray[Any, Any]:
    rows, columns = np.mgrid[0:size, 0:size]
    layers = [100 + 60 * np.sin(rows / (20 + band)) * np.cos(columns / (25 + band)) for band in range(bands)]
    return np.stack(layers).astype(dtype)


def test_a_box_of_its_own_pixels_is_exact(tmp_path: Path) -> None:
    values = np.arange(200 * 300, dtype=np.int32).reshape(1, 200, 300)
    source = CogSource(write(tmp_path / "a.tif", values, overviews=(2, 4)))
    assert source.description.bounds == (500_000, 4_398_000, 503_000, 4_400_000)
    block = source.read(Bounds(500_100, 4_399_000, 500_600, 4_399_500), (50, 50), [1])
    assert block.valid.all()
    assert np.array_equal(block.values[0], values[0, 50:100, 10:60])
    outside = source.read(Bounds(499_900, 4_399_900, 500_100, 4_400_100), (20, 20), [1])
    assert outside.valid[0, 10:, 10:].all()
    assert outside.valid.sum() == 100
    assert not source.read(Bounds(0, 0, 10, 10), (4, 4), [1]).valid.any()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("crs", ["EPSG:3857", "OGC:CRS84", "EPSG:4547"])
def test_warped_as_gdal_warps(tmp_path: Path, dtype: str, crs: str) -> None:
    values = smooth(dtype=dtype)
    source = CogSource(write(tmp_path / "a.tif", values))
    box = transformer("EPSG:32650", crs).transform_bounds(500_300, 4_397_400, 502_700, 4_399_700)
    found = source.warp(Bounds(*box), crs, (256, 256), [1, 2, 3])
    assert found is not None
    expected = np.zeros((3, 256, 256), dtype=dtype)
    reproject(
        values, expected, src_transform=PLACE, src_crs="EPSG:32650", dst_transform=from_bounds(*box, 256, 256), dst_crs=crs,
        resampling=Resampling.bilinear, XSCALE=1, YSCALE=1,
    )  # fmt: skip
    apart = np.abs(found.values.astype(float) - expected)[:, 4:-4, 4:-4]
    assert found.valid.all()
    assert apart.max() <= 2
    assert apart.mean() < 0.5


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic", "average"])
@pytest.mark.parametrize("kind", ["nodata", "mask", "alpha", "nan"])
def test_what_is_no_data_is_not_valid(tmp_path: Path, kind: str, resampling: Any) -> None:
    values = np.full((1, 128, 128), 50, dtype="float32" if kind == "nan" else "uint8")
    hole = np.zeros((128, 128), dtype=bool)
    hole[:64, :64] = True
    options: dict[str, Any] = {}
    if kind == "nan":
        values[0, hole] = np.nan
    elif kind == "nodata":
        values[0, hole], options["nodata"] = 255, 255
    elif kind == "mask":
        values[0, hole], options["mask"] = 0, ~hole
    else:
        values = np.concatenate([values, np.where(hole, 0, 255).astype(np.uint8)[None]])
        options |= {"photometric": "MINISBLACK", "alpha": "YES"}
    source = CogSource(write(tmp_path / "a.tif", values, **options))
    assert [band.number for band in source.description.bands] == [1]
    bounds = source.description.bounds
    for block in (
        source.read(bounds, (64, 64), [1], resampling=resampling),
        source.warp(bounds, "EPSG:32650", (64, 64), [1], resampling=resampling),
    ):
        assert block is not None
        assert not block.valid[0, :30, :30].any()
        assert block.valid[0, 34:, :].all()
        assert set(np.unique(block.values[block.valid]).tolist()) == {50}
    found, valid = source.sample(
        np.array([500_005.0, 501_000.0, 0.0]), np.array([4_399_995.0, 4_399_000.0, 0.0]), [1]
    )
    assert valid.tolist() == [[False, True, False]]
    assert found[0, 1] == 50


def test_points_are_sampled_block_by_block(tmp_path: Path) -> None:
    values = np.arange(200 * 300, dtype=np.float64).reshape(1, 200, 300)
    source = CogSource(write(tmp_path / "a.tif", values))
    generator = np.random.default_rng(3)
    column, row = generator.integers(0, 300, 500), generator.integers(0, 200, 500)
    found, valid = source.sample(500_005 + 10.0 * column, 4_399_995 - 10.0 * row, [1])
    assert valid.all()
    assert np.array_equal(found[0], values[0, row, column])


def test_palettes_names_and_units(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", smooth(3))
    with rasterio.open(path, "r+") as file:
        file.set_band_description(1, "B04")
        file.set_band_description(2, "not a plain name")
        file.set_band_unit(1, "m")
    bands = CogSource(path).description.bands
    assert [band.name for band in bands][:2] == ["B04", "green"] or [band.name for band in bands] == [
        "B04",
        "2",
        "3",
    ]
    assert bands[0].unit == "m"
    coded = write(tmp_path / "b.tif", smooth(1) % 4)
    with rasterio.open(coded, "r+") as file:
        file.write_colormap(1, {1: (9, 8, 7, 255)})
        file.colorinterp = [ColorInterp.palette]
    (band,) = CogSource(coded).description.bands
    assert band.colours is not None
    assert dict(band.colours)[1] == (9, 8, 7, 255)


def test_a_grid_of_longitudes_to_360(tmp_path: Path) -> None:
    values = np.tile(np.arange(36, dtype=np.float32), (1, 18, 1))
    path = write(
        tmp_path / "a.tif", values, crs="EPSG:4326", transform=from_origin(0, 90, 10, 10), tiled=False
    )
    turned = CogSource(path).warp(
        Bounds(-2226389, -1118889, 2226389, 1118889), "EPSG:3857", (2, 4), [1], resampling="nearest"
    )
    assert turned is not None
    assert turned.valid.all()
    assert turned.values[0, 0].tolist() == [34, 35, 0, 1]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("absent", "cannot be read"),
        ("text", "cannot be read"),
        ("no crs", "no CRS"),
        ("turned", "north up"),
        ("torn", "cannot be read"),
    ],
)
def test_what_cannot_be_read_says_so(tmp_path: Path, broken: str, said: str) -> None:
    path = tmp_path / "x.tif"
    if broken == "text":
        path.write_text("hello", encoding="utf-8")
    elif broken == "no crs":
        write(path, smooth(), crs=None)
    elif broken == "turned":
        write(path, smooth(), transform=PLACE @ rasterio.Affine.rotation(10))
    elif broken == "torn":
        write(path, np.random.default_rng(1).integers(0, 255, (3, 300, 300)).astype(np.uint8))
        path.write_bytes(path.read_bytes()[:150_000])
    source = CogSource(path)
    with pytest.raises(RasterError, match=said):
        source.read(source.description.bounds, (300, 300), [1, 2, 3])


def test_bands_and_instants_that_are_not_there(tmp_path: Path) -> None:
    source = CogSource(write(tmp_path / "a.tif", smooth()))
    for bands in ([], [0], [4], [-1]):
        with pytest.raises(RasterError, match="3 bands"):
            source.read(source.description.bounds, (4, 4), bands)
    with pytest.raises(UnknownInstant, match="no time"):
        source.read(source.description.bounds, (4, 4), [1], instant="2024-05-01T00:00:00Z")
    with pytest.raises(RasterError, match=r"known are cog(, mosaic| and mosaic)"):
        open_raster(tmp_path, "a.tif", {"store": "cube"})
    assert open_raster(tmp_path, "a.tif", {}) is open_raster(tmp_path, "a.tif", {})


def test_nothing_but_nan(tmp_path: Path) -> None:
    source = CogSource(write(tmp_path / "a.tif", np.full((1, 20, 20), np.nan, dtype=np.float32)))
    assert source.span([1]) == (0.0, 1.0)
    assert not source.read(source.description.bounds, (5, 5), [1]).valid.any()
    (known,) = file_statistics(tmp_path / "a.tif")
    assert (known["count"], known["minimum"], known["valid_share"]) == (0, None, 0)


def test_statistics_of_parts_are_those_of_the_whole(tmp_path: Path) -> None:
    values = np.random.default_rng(4).normal(500, 30, (1, 200, 200)).astype(np.float32)
    whole = file_statistics(write(tmp_path / "a.tif", values))[0]
    parts = [
        file_statistics(write(tmp_path / f"{number}.tif", values[:, rows]))[0]
        for number, rows in enumerate((slice(0, 60), slice(60, 200)))
    ]
    joined = joined_statistics(parts)
    for key in ("count", "pixels", "minimum", "maximum", "valid_share"):
        assert joined[key] == whole[key]
    for key in ("mean", "deviation", "percentile_2", "percentile_98"):
        assert joined[key] == pytest.approx(whole[key], rel=0.02)
    assert whole["deviation"] == pytest.approx(values.std(dtype=np.float64), rel=1e-6)
    assert sum(joined["histogram"]["counts"]) == pytest.approx(values.size, rel=0.01)


def test_threads_read_what_they_were_asked(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{n}.tif", np.full((1, 64, 64), n, dtype=np.uint8)) for n in range(6)]
    wrong: list[int] = []

    def work(number: int) -> None:
        source = CogSource(paths[number])
        for _ in range(20):
            if (source.read(source.description.bounds, (16, 16), [1]).values != number).any():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number % 6,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
