"""Terrain-RGB tiles carry heights to a decimetre, without loss, in both formats."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin

from tiles.terrain import TerrainError, terrain_rgb_tile


@pytest.fixture(scope="module")
def dem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plane that rises by 1 m a pixel to the east, from -40 m, in Web Mercator; 19.1 m pixels (level 13)."""
    path = tmp_path_factory.mktemp("rgb") / "dem.tif"
    profile = {
        "driver": "GTiff",
        "width": 512,
        "height": 512,
        "count": 1,
        "dtype": "float32",
        "nodata": -9999.0,
    }
    width = 2 * 20037508.342789244 / 2**13 / 256
    values = np.tile(np.arange(512, dtype="float32") - 40.0, (512, 1))
    values[:, 500:] = -9999.0
    with rasterio.open(
        path, "w", crs="EPSG:3857", transform=from_origin(0, 512 * width, width, width), **profile
    ) as out:
        out.write(values, 1)
    return path


def decode(content: bytes) -> Any:
    red, green, blue = (
        np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(np.float64).transpose(2, 0, 1)
    )
    return -10_000.0 + (red * 65536 + green * 256 + blue) * 0.1


@pytest.mark.parametrize("form", ["webp", "png"])
def test_heights_come_back(form: Any, dem: Path) -> None:
    heights = decode(terrain_rgb_tile(dem, 13, 4096, 4095, format=form))
    assert heights.shape == (256, 256)
    assert heights == pytest.approx(np.tile(np.arange(256) - 40.0, (256, 1)), abs=0.051)


def test_gaps_and_places_outside_are_zero(dem: Path) -> None:
    beside = decode(terrain_rgb_tile(dem, 13, 4097, 4095))
    assert (beside[:, 246:] == 0.0).all()
    assert beside[0, 100] == pytest.approx(256 + 100 - 40, abs=0.06)
    assert (decode(terrain_rgb_tile(dem, 5, 3, 3)) == 0.0).all()


def test_coarse_tiles_hold_means(dem: Path) -> None:
    """Two levels up a pixel is the mean of four by four."""
    heights = decode(terrain_rgb_tile(dem, 11, 1024, 1023))
    assert heights[200, :100] == pytest.approx(np.arange(100) * 4 + 1.5 - 40.0, abs=0.06)


def test_large_tiles(dem: Path) -> None:
    assert decode(terrain_rgb_tile(dem, 12, 2048, 2047, size=512)).shape == (512, 512)


@pytest.mark.parametrize(("z", "x", "y"), [(-1, 0, 0), (25, 0, 0), (2, 4, 0), (2, 0, 4), (2, -1, 0)])
def test_tiles_outside_the_set(z: int, x: int, y: int, dem: Path) -> None:
    with pytest.raises(TerrainError, match="does not exist"):
        terrain_rgb_tile(dem, z, x, y)


@pytest.mark.parametrize("more", [{"size": 100}, {"format": "jpeg"}])
def test_sizes_and_formats(more: Any, dem: Path) -> None:
    with pytest.raises(TerrainError, match="allowed are"):
        terrain_rgb_tile(dem, 0, 0, 0, **more)
