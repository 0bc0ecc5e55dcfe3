"""A raster in CGCS2000 degrees is told as what it is, and drawn where it lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from providers.coverages.references import own_reference
from tiles.rasters import Bounds
from tiles.rasters.cog import CogSource


def written(path: Path, crs: str) -> Path:
    values = np.arange(64 * 64, dtype=np.float32).reshape(64, 64)
    profile = {"driver": "GTiff", "width": 64, "height": 64, "count": 1, "dtype": "float32", "crs": crs}
    with rasterio.open(path, "w", transform=from_origin(114.0, 22.6, 0.001, 0.001), **profile) as file:
        file.write(values, 1)
    return path


def test_the_description_names_cgcs2000_and_its_axes(tmp_path: Path) -> None:
    about = CogSource(written(tmp_path / "a.tif", "EPSG:4490")).description
    assert about.crs.to_epsg() == 4490
    assert about.footprint == pytest.approx((114.0, 22.536, 114.064, 22.6))
    reference = own_reference(about)
    assert reference.uri == "http://www.opengis.net/def/crs/EPSG/0/4490"
    assert reference.swap


def test_it_is_drawn_as_the_same_numbers_in_wgs84_are(tmp_path: Path) -> None:
    box = Bounds(12_690_500.0, 2_576_000.0, 12_697_000.0, 2_582_500.0)
    blocks = [
        CogSource(written(tmp_path / name, crs)).warp(box, "EPSG:3857", (50, 50), (1,))
        for name, crs in (("a.tif", "EPSG:4490"), ("b.tif", "EPSG:4326"))
    ]
    assert blocks[0] is not None
    assert blocks[1] is not None
    assert blocks[0].valid.any()
    np.testing.assert_array_equal(blocks[0].values, blocks[1].values)
