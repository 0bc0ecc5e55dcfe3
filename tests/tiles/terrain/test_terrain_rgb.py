"""Tiles of heights as colours carry them without loss, in both encodings and formats."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin

from tiles.terrain import ElevationModel, TerrainError, decode_heights, encode_heights, rgb_tile
from tiles.terrain.surface import Surface
from tiles.terrain.terrain_rgb import deepest_rgb_level
from tiles.three_d import VerticalReference

LOWEST = -40.0


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surface]:
    """A plane that rises by 1 m a pixel to the east, from -40 m, in Web Mercator; 19.1 m pixels (level 13)."""
    path = tmp_path_factory.mktemp("rgb") / "dem.tif"
    width = 2 * 20037508.342789244 / 2**13 / 256
    values = np.tile(np.arange(512, dtype="float32") + LOWEST, (512, 1))
    values[:, 500:] = -9999.0
    with rasterio.open(
        path, "w", driver="GTiff", width=512, height=512, count=1, dtype="float32", nodata=-9999.0,
        crs="EPSG:3857", transform=from_origin(0, 512 * width, width, width),
    ) as out:  # fmt: skip
        out.write(values, 1)
    with ElevationModel(path) as model:
        yield Surface(model, VerticalReference.offset(30.0))


def mapbox(content: bytes) -> Any:
    """Read by the formula of Mapbox's documentation."""
    red, green, blue = (
        np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(np.float64).transpose(2, 0, 1)
    )
    return -10_000.0 + (red * 256 * 256 + green * 256 + blue) * 0.1


@pytest.mark.parametrize("form", ["webp", "png"])
def test_heights_come_back(form: Any, ground: Surface) -> None:
    """In the model's own reference, whatever lifts them to the ellipsoid."""
    heights = mapbox(rgb_tile(ground, 13, 4096, 4095, form=form))
    assert heights.shape == (256, 256)
    # Of whole arrays `pytest.approx` takes seconds, for it looks at their values one by one.
    assert np.abs(heights - (np.arange(256) + LOWEST)).max() < 0.051


def test_terrarium_is_finer(ground: Surface) -> None:
    content = rgb_tile(ground, 13, 4096, 4095, encoding="terrarium", form="png")
    heights = decode_heights(content, "terrarium")
    assert np.abs(heights - (np.arange(256) + LOWEST)).max() < 1 / 512 + 1e-3


def test_gaps_lie_at_the_lowest_height(ground: Surface) -> None:
    beside = mapbox(rgb_tile(ground, 13, 4097, 4095))
    assert np.abs(beside[:, 246:] - LOWEST).max() <= 3
    assert beside[0, 100] == pytest.approx(256 + 100 + LOWEST, abs=0.06)
    assert np.abs(mapbox(rgb_tile(ground, 5, 3, 3)) - LOWEST).max() <= 3


def test_coarse_tiles_hold_means(ground: Surface) -> None:
    """Two levels up a pixel is the mean of four by four."""
    heights = mapbox(rgb_tile(ground, 11, 1024, 1023))
    assert heights[200, :100] == pytest.approx(np.arange(100) * 4 + 1.5 + LOWEST, abs=0.06)


def test_large_tiles(ground: Surface) -> None:
    large = mapbox(rgb_tile(ground, 12, 2048, 2047, size=512))
    assert large.shape == (512, 512)
    assert np.abs(large[:256, :256] - mapbox(rgb_tile(ground, 13, 4096, 4094))).max() < 0.11


@pytest.mark.parametrize(("z", "x", "y"), [(-1, 0, 0), (25, 0, 0), (2, 4, 0), (2, 0, 4), (2, -1, 0)])
def test_tiles_outside_the_set(z: int, x: int, y: int, ground: Surface) -> None:
    with pytest.raises(TerrainError, match="does not exist"):
        rgb_tile(ground, z, x, y)


@pytest.mark.parametrize("more", [{"size": 100}, {"form": "jpeg"}, {"encoding": "grey"}])
def test_sizes_and_formats(more: Any, ground: Surface) -> None:
    with pytest.raises(TerrainError, match="allowed are"):
        rgb_tile(ground, 0, 0, 0, **more)


@pytest.mark.parametrize("encoding", ["mapbox", "terrarium"])
def test_heights_beyond_what_can_be_said_are_held(encoding: Any) -> None:
    low, high = decode_heights(encode_heights(np.array([[-1e6, 2e6]]), encoding, "png"), encoding)[0]
    assert low <= -10_000.0
    assert high > 30_000.0


def test_the_level_follows_the_pixels() -> None:
    assert deepest_rgb_level(19.1, 0.0) == 13
    assert deepest_rgb_level(9.55, 60.0) == 13
    assert deepest_rgb_level(1e-9, 0.0) == 22
