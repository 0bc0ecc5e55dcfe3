"""Shaded relief ends at the border of the data without a line along it, and one tile beside another shows no seam."""

from __future__ import annotations

import numpy as np
import pytest

from tiles.maps.raster_colours import hillshade
from tiles.maps.style_model import RasterStyle

STYLE = RasterStyle("ramp", (1,), hillshade=0.6)


def slope(rows: int, columns: int) -> np.ndarray:
    """Ground that rises evenly to the north-east, far above zero."""
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    return 500 + x * 0.5 - y * 0.25


@pytest.mark.parametrize("multidirectional", [False, True])
def test_an_even_slope_is_lit_alike_up_to_its_ragged_border(multidirectional: bool) -> None:
    style = RasterStyle("ramp", (1,), hillshade=0.6, multidirectional=multidirectional)
    heights = slope(40, 50)
    whole = hillshade(heights, (1, 1), style)
    y, x = np.mgrid[0:40, 0:50]
    missing = x + y < 30
    ragged = np.where(missing, np.nan, heights)
    lit = hillshade(ragged, (1, 1), style)
    assert np.allclose(whole, whole[0, 0], atol=1e-5)
    # The tip where the border leaves one pixel alone has no neighbour to tell its slope.
    assert np.allclose(lit[~missing], whole[~missing], atol=1e-4)


def test_light_does_not_depend_on_what_else_a_tile_holds() -> None:
    heights = slope(20, 40)
    heights[:, 0:5] = np.nan
    heights[:, 30:] += 4000  # a mountain that only the wider picture sees
    wide, narrow = hillshade(heights, (1, 1), STYLE), hillshade(heights[:, :25], (1, 1), STYLE)
    assert np.allclose(wide[:, 5:24], narrow[:, 5:24])


def test_a_lone_pixel_is_flat() -> None:
    heights = np.full((3, 3), np.nan, np.float32)
    heights[1, 1] = 70
    assert hillshade(heights, (1, 1), STYLE)[1, 1] == pytest.approx(1)
