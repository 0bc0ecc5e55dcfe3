"""Many rasters, many instants: one collection that is a mosaic of COGs."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from rio_cogeo.cogeo import cog_validate

from server.publish.errors import CrsError, DamagedFile, EmptyDataset, OptionError, SchemaMismatch
from server.registry.catalogue import Interval, RepresentationKind
from tiles.rasters import Bounds, RasterSource, open_raster

SIZE = 64


def scene(path: Path, value: float, column: int = 0, row: int = 0, **options: Any) -> Path:
    """A square scene of 640 m of one value; its place in a lattice of such."""
    count, dtype = options.pop("count", 1), options.pop("dtype", "uint8")
    crs, tags = options.pop("crs", "EPSG:32650"), options.pop("tags", {})
    transform = options.pop("transform", from_origin(500_000 + column * 640, 4_400_000 - row * 640, 10, 10))
    profile = {"driver": "GTiff", "width": SIZE, "height": SIZE, "count": count, "dtype": dtype, "crs": crs}
    with (
        warnings.catch_warnings(action="ignore"),
        rasterio.open(path, "w", transform=transform, **profile | options) as file,
    ):
        file.write(np.full((count, SIZE, SIZE), value, dtype=dtype))
        file.update_tags(**tags)
    return path


def raster_of(collection: Any) -> RasterSource:
    coverage = collection.representations[RepresentationKind.COVERAGE]
    return open_raster(collection.directory, coverage.path, coverage.properties)


def lattice(folder: Path, edge: int = 3) -> list[Path]:
    return [
        scene(folder / f"s{row}{column}.tif", 10 * row + column + 1, column, row, nodata=0)
        for row in range(edge)
        for column in range(edge)
    ]


def test_many_files_become_one_mosaic(publisher: Any, tmp_path: Path) -> None:
    result = publisher.publish(*lattice(tmp_path))
    collection = result.collection
    properties = collection.representations[RepresentationKind.COVERAGE].properties
    assert (properties["store"], properties["scenes"], properties["width"], properties["height"]) == (
        "mosaic",
        9,
        192,
        192,
    )
    assert "instants" not in properties
    (band,) = properties["bands"]
    assert (band["minimum"], band["maximum"], band["mean"], band["valid_share"]) == (1, 23, 12, 1)
    raster = raster_of(collection)
    box = raster.description.bounds
    full = raster.read(box, (192, 192), [1])
    assert full.valid.all()
    assert full.values[0, 32::64, 32::64].tolist() == [[1, 2, 3], [11, 12, 13], [21, 22, 23]]
    small = raster.read(box, (6, 6), [1])
    assert small.values[0, 1::2, ::2].tolist() == [[1, 2, 3], [11, 12, 13], [21, 22, 23]]
    assert list((collection.directory / "overview").glob("*.tif"))
    assert all(cog_validate(path, quiet=True)[0] for path in (collection.directory / "scenes").glob("*.tif"))
    warped = raster.warp(Bounds(13_024_000, 4_820_000, 13_026_000, 4_822_000), "EPSG:3857", (64, 64), [1])
    assert warped is None or warped.values.shape == (1, 64, 64)
    assert publisher.leftovers() == []


def test_a_folder_of_rasters(publisher: Any, tmp_path: Path) -> None:
    folder = tmp_path / "scenes"
    folder.mkdir()
    lattice(folder, 2)
    (folder / "readme.txt").write_text("not a raster", encoding="utf-8")
    result = publisher.publish(folder)
    assert result.collection.representations[RepresentationKind.COVERAGE].properties["scenes"] == 4


@pytest.mark.parametrize(
    ("option", "names", "tags"),
    [
        ("city_%Y%m%d", ("city_20240501", "city_20240503"), ()),
        ("%Y-%j", ("a_2024-122_x", "a_2024-124_x"), ()),
        ("tag", ("one", "two"), ("2024:05:01 00:00:00", "2024:05:03 00:00:00")),
    ],
)
def test_times_of_files(
    publisher: Any, tmp_path: Path, option: str, names: tuple[str, str], tags: tuple[str, ...]
) -> None:
    paths = []
    for number, name in enumerate(names):
        told = {"TIFFTAG_DATETIME": tags[number]} if tags else {}
        paths.append(scene(tmp_path / f"{name}.tif", number + 5, tags=told))
    result = publisher.publish(*paths, reading={"time": option})
    collection = result.collection
    assert collection.interval == Interval("2024-05-01T00:00:00Z", "2024-05-03T00:00:00Z")
    properties = collection.representations[RepresentationKind.COVERAGE].properties
    assert properties["instants"] == {
        "count": 2,
        "first": "2024-05-01T00:00:00Z",
        "last": "2024-05-03T00:00:00Z",
    }
    raster = raster_of(collection)
    box = raster.description.bounds
    for instant, value in ((None, 6), ("2024-05-01T00:00:00Z", 5), ("2024-05-03T00:00:00Z", 6)):
        assert np.unique(raster.read(box, (8, 8), [1], instant=instant).values).tolist() == [value]


@pytest.mark.parametrize(("on_top", "seen"), [(None, 7), ("newest", 7), ("last", 7), ("first", 3)])
def test_which_of_overlapping_scenes_is_seen(
    publisher: Any, tmp_path: Path, on_top: str | None, seen: int
) -> None:
    paths = [scene(tmp_path / "a.tif", 3), scene(tmp_path / "b.tif", 7)]
    raster = raster_of(publisher.publish(*paths, reading={"on_top": on_top}).collection)
    assert np.unique(raster.read(raster.description.bounds, (8, 8), [1]).values).tolist() == [seen]


def test_scenes_in_several_crs_lie_where_they_are(publisher: Any, tmp_path: Path) -> None:
    paths = [scene(tmp_path / f"{n}.tif", 1, n, 0, nodata=0) for n in range(2)]
    paths.append(
        scene(
            tmp_path / "deg.tif",
            9,
            nodata=0,
            crs="EPSG:4326",
            transform=from_origin(117.02, 39.75, 0.0001, 0.0001),
        )
    )
    raster = raster_of(publisher.publish(*paths).collection)
    assert raster.description.crs.to_epsg() == 32650
    degrees = raster.warp(
        Bounds(117.021, 39.7445, 117.025, 39.7495), "OGC:CRS84", (40, 40), [1], resampling="nearest"
    )
    assert degrees is not None
    assert degrees.valid.all()
    assert np.unique(degrees.values).tolist() == [9]


@pytest.mark.parametrize(
    ("changes", "reading", "error", "said"),
    [
        ({"dtype": "uint16"}, {}, SchemaMismatch, "1 of uint16.*1 of uint8"),
        ({"count": 3}, {}, SchemaMismatch, "3 of uint8"),
        ({"crs": None}, {}, CrsError, "b.tif"),
        ({}, {"time": "x_%Y%m%d"}, OptionError, "no time of the pattern"),
        ({}, {"time": "tag"}, OptionError, "TIFF tag DateTime"),
        ({}, {"time": "yesterday"}, OptionError, "is no time"),
        ({}, {"time": "%m%d"}, OptionError, "no year"),
        ({}, {"time": "%Y%q"}, OptionError, "%q"),
        ({}, {"on_top": "prettiest"}, OptionError, "prettiest"),
        ({}, {"nodata": 300.0}, OptionError, "no value of"),
        ({"nodata": 7}, {}, EmptyDataset, "every pixel is nodata"),
        ({"transform": from_origin(float("nan"), 0, 1, 1)}, {}, CrsError, "geotransform"),
    ],
)
def test_files_that_do_not_belong_together(
    publisher: Any,
    tmp_path: Path,
    changes: dict[str, Any],
    reading: dict[str, Any],
    error: type[Exception],
    said: str,
) -> None:
    paths = [scene(tmp_path / "a.tif", 3), scene(tmp_path / "b.tif", 7, **changes)]
    with pytest.raises(error, match=said):
        publisher.publish(*paths, reading=reading)
    assert publisher.collection() is None
    assert publisher.leftovers() == []


def test_nodata_by_option(publisher: Any, tmp_path: Path) -> None:
    path = scene(tmp_path / "a.tif", 7)
    with rasterio.open(path, "r+") as file:
        values = file.read()
        values[0, :16] = 3
        file.write(values)
    result = publisher.publish(path, reading={"nodata": 3})
    (band,) = result.collection.representations[RepresentationKind.COVERAGE].properties["bands"]
    assert (band["nodata"], band["minimum"], band["valid_share"]) == (3, 7, 0.75)


def test_a_huge_declared_size_is_refused(publisher: Any, tmp_path: Path) -> None:
    path = tmp_path / "bomb.tif"
    profile = {
        "driver": "GTiff",
        "width": 400_000,
        "height": 400_000,
        "count": 1,
        "dtype": "uint8",
        "crs": "EPSG:32650",
    }
    with rasterio.open(
        path,
        "w",
        transform=from_origin(5e5, 4.4e6, 1, 1),
        tiled=True,
        blockxsize=4096,
        blockysize=4096,
        SPARSE_OK=True,
        BIGTIFF="YES",
        **profile,
    ):
        pass
    with pytest.raises(DamagedFile, match="declares 160"):
        publisher.publish(path)


def test_stopping_leaves_nothing(publisher: Any, tmp_path: Path) -> None:
    asked = iter([False] * 6 + [True] * 100)
    with pytest.raises(Exception, match="stopped"):
        publisher.publish(*lattice(tmp_path), callbacks={"cancelled": lambda: next(asked)})
    assert publisher.leftovers() == []
    assert publisher.collection() is None
