"""Random parts, sizes and bands of rasters against the same by numpy slicing: every pixel, every edge."""

from __future__ import annotations

import io
import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from providers.coverages.errors import OutsideCoverage
from providers.coverages.opening import source_at

WEST, NORTH, SIZE = 500_000.0, 4_000_000.0, 2.5
ROWS, COLUMNS = 61, 83


@pytest.fixture(scope="module")
def codes() -> np.ndarray:
    """Integers without meaning between them: they must never be mixed."""
    return np.random.default_rng(4).integers(0, 60_000, (3, ROWS, COLUMNS)).astype(np.uint16)


@pytest.fixture(scope="module")
def file(codes: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("random") / "codes.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=COLUMNS,
        height=ROWS,
        count=3,
        dtype="uint16",
        crs="EPSG:32650",
        transform=from_origin(WEST, NORTH, SIZE, SIZE),
        tiled=True,
        blockxsize=32,
        blockysize=32,
    ) as out:
        out.write(codes)
        for number, name in enumerate(("one", "two", "three"), 1):
            out.set_band_description(number, name)
    return path


def _window(low: float, high: float, size: float, count: int) -> tuple[int, int]:
    """Cells that an interval from the first cell's edge meets with their inside."""
    first = int(np.floor(low / size + 1e-3))
    last = int(np.ceil(high / size - 1e-3))
    return max(first, 0), min(last, count)


def _met(count: int, wanted: int) -> list[slice]:
    """The cells that each of `wanted` cells meets: its value is one of theirs. Where cells do not shrink it is exactly one's."""
    if wanted >= count:
        own = np.floor((np.arange(wanted) + 0.5) * count / wanted).astype(int).tolist()
        return [slice(cell, cell + 1) for cell in own]
    edges = np.arange(wanted + 1) * count / wanted
    return [
        slice(int(np.floor(low + 1e-9)), int(np.ceil(high - 1e-9)))
        for low, high in itertools.pairwise(edges.tolist())
    ]


def _assert_of_these(found: np.ndarray, cells: np.ndarray) -> None:
    """Every value is one of the cells it stands for; all bands are of the same one."""
    for row, down in enumerate(_met(cells.shape[1], found.shape[1])):
        for column, across in enumerate(_met(cells.shape[2], found.shape[2])):
            block = cells[:, down, across]
            same = (block == found[:, row, column][:, None, None]).all(axis=0)
            assert same.any(), (row, column)


@pytest.mark.parametrize("seed", range(60))
def test_random_parts(file: Path, codes: np.ndarray, made: Any, seed: int) -> None:
    rng = random.Random(seed)
    # On edges of cells, on their middles, a hair beside, anywhere.
    step = rng.choice([SIZE, SIZE / 2, SIZE / 10, 0.37])
    west, east = sorted(rng.sample(range(-20, int(COLUMNS * SIZE / step) + 20), 2))
    top, bottom = sorted(rng.sample(range(-20, int(ROWS * SIZE / step) + 20), 2))
    left, right = _window(west * step, east * step, SIZE, COLUMNS)
    upper, lower = _window(top * step, bottom * step, SIZE, ROWS)
    bands = rng.sample([1, 2, 3], rng.randint(1, 3))
    names = rng.choice([",".join(map(str, bands)), ",".join(("one", "two", "three")[b - 1] for b in bands)])
    edges = f"E({WEST + west * step!r}:{WEST + east * step!r}),N({NORTH - bottom * step!r}:{NORTH - top * step!r})"
    query = f"subset={edges}&subset-crs=EPSG:32650&properties={names}"
    if left >= right or upper >= lower:
        with pytest.raises(OutsideCoverage):
            made(source_at(file), query, "gtiff")
        return
    expected = codes[[band - 1 for band in bands], upper:lower, left:right]
    if rng.random() < 0.5:
        x, y = rng.choice([1, 2, 3, 0.5, 1.7]), rng.choice([1, 2, 4, 0.25, 2.3])
        query += f"&scale-axes=E({x}),N({y})"
        rows, columns = max(round(expected.shape[1] / y), 1), max(round(expected.shape[2] / x), 1)
    else:
        rows, columns = expected.shape[1:]
    with rasterio.open(io.BytesIO(made(source_at(file), query, "gtiff"))) as part:
        assert part.bounds == pytest.approx(
            (WEST + left * SIZE, NORTH - lower * SIZE, WEST + right * SIZE, NORTH - upper * SIZE)
        )
        found = part.read()
        assert found.shape == (len(bands), rows, columns)
        if (rows, columns) == expected.shape[1:]:
            np.testing.assert_array_equal(found, expected)
        else:
            _assert_of_these(found, expected)
        assert part.crs.to_epsg() == 32650


def test_slabs_are_seamless(codes: np.ndarray, array_source: Any, made: Any, monkeypatch: Any) -> None:
    source = array_source(codes[None], "EPSG:32650", (WEST, NORTH), SIZE)
    whole = made(source, "scale-factor=1.3", "gtiff")
    monkeypatch.setattr("providers.coverages.reading._SLAB_VALUES", 400)
    before = source.reads
    parts = made(source, "scale-factor=1.3", "gtiff")
    assert source.reads - before > 10
    with rasterio.open(io.BytesIO(whole)) as one, rasterio.open(io.BytesIO(parts)) as other:
        np.testing.assert_array_equal(one.read(), other.read())


@pytest.mark.parametrize("seed", range(25))
def test_random_boxes_across_the_antimeridian(array_source: Any, made: Any, seed: int) -> None:
    """A raster of the whole globe in cells of a degree: a box that crosses its seam is one picture."""
    rng = random.Random(seed)
    world = np.arange(180 * 360, dtype=np.int32).reshape(1, 1, 180, 360)
    source = array_source(world, "OGC:CRS84", (-180.0, 90.0), 1.0)
    west, width = rng.randint(100, 179), rng.randint(1, 200)
    east = west + width
    south, north = sorted(rng.sample(range(-90, 91), 2))
    shown = east - 360 if east > 180 else east
    with rasterio.open(io.BytesIO(made(source, f"bbox={west},{south},{shown},{north}", "gtiff"))) as part:
        columns = (np.arange(west, east) + 180) % 360
        np.testing.assert_array_equal(part.read(1), world[0, 0, 90 - north : 90 - south][:, columns])
        assert part.bounds == (west, south, east, north)
