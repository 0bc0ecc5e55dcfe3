"""Bytes are gathered in whole numbers, several bands at once: within two of what floating point says, wherever they lie."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tiles.rasters.resampling import Coordinates, Sampled, gather

SHAPE = (170, 590)


def _expected(values: NDArray[np.uint8], x: NDArray[np.float64], y: NDArray[np.float64]) -> Sampled:
    """The definition: between the four nearest centres, the outermost ones repeated."""
    _, height, width = values.shape
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    column, row = np.clip(x - 0.5, 0, width - 1), np.clip(y - 0.5, 0, height - 1)
    left, top = np.floor(column).astype(int), np.floor(row).astype(int)
    right, below = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    fx, fy = column - left, row - top
    upper = values[:, top, left] * (1 - fx) + values[:, top, right] * fx
    lower = values[:, below, left] * (1 - fx) + values[:, below, right] * fx
    return Sampled(upper * (1 - fy) + lower * fy, np.broadcast_to(inside, (len(values), *x.shape)))


def _centres(low: float, high: float, count: int) -> NDArray[np.float64]:
    return np.linspace(low, high, 2 * count + 1)[1::2]


def _upright(left: float, right: float, top: float, bottom: float) -> Coordinates:
    x, y = np.meshgrid([left, right], [top, bottom])
    return Coordinates(x, y)


def _turned(size: tuple[int, int]) -> Coordinates:
    """A lattice turned by some degrees about the middle of an image, a little larger than it."""
    across, down = np.meshgrid(np.linspace(-0.6, 0.6, 9), np.linspace(-0.6, 0.6, 9))
    angle = 0.3
    x = (across * np.cos(angle) - down * np.sin(angle)) * size[1] + size[1] / 2
    y = (across * np.sin(angle) + down * np.cos(angle)) * size[0] + size[0] / 2
    return Coordinates(x, y)


def _check(found: Sampled, expected: Sampled) -> None:
    assert found.values.dtype == np.uint8
    np.testing.assert_array_equal(found.valid, expected.valid)
    shown = expected.valid
    assert shown.any()
    assert np.abs(found.values.astype(float) - expected.values)[shown].max() <= 2.5


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (2, 2), (130, 97)])
def test_upright_images(bands: int, size: tuple[int, int]) -> None:
    values = np.random.default_rng(bands).integers(0, 256, (bands, *size), dtype=np.uint8)
    reach = (-0.2 * size[1], 1.1 * size[1], -0.15 * size[0], 1.3 * size[0])
    x, y = np.meshgrid(_centres(*reach[:2], SHAPE[1]), _centres(*reach[2:], SHAPE[0]))
    _check(gather(values, None, _upright(*reach), SHAPE, "bilinear"), _expected(values, x, y))


@pytest.mark.parametrize("bands", [1, 3, 4, 5])
@pytest.mark.parametrize("masked", [True, False])
def test_turned_images(bands: int, masked: bool) -> None:
    size = (130, 97)
    values = np.random.default_rng(bands).integers(0, 256, (bands, *size), dtype=np.uint8)
    lattice = _turned(size)
    rows, columns = (np.arange(count) + 0.5 for count in SHAPE)
    # The lattice is a plane, so that two of its corners say where every pixel lies.
    x0, y0 = lattice.x[0, 0], lattice.y[0, 0]
    x = x0 + (lattice.x[0, -1] - x0) * columns / SHAPE[1] + (lattice.x[-1, 0] - x0) * rows[:, None] / SHAPE[0]
    y = y0 + (lattice.y[0, -1] - y0) * columns / SHAPE[1] + (lattice.y[-1, 0] - y0) * rows[:, None] / SHAPE[0]
    mask = np.ones((1, *size), dtype=np.bool_) if masked else None
    _check(gather(values, mask, lattice, SHAPE, "bilinear"), _expected(values, x, y))


def test_white_stays_white_and_black_black() -> None:
    """No rounding adds up: an even image is the same wherever it is read, also beside a band of the other extreme."""
    values = np.zeros((4, 50, 50), dtype=np.uint8)
    values[1::2] = 255
    for pixels in (_upright(3.1, 44.7, 2.3, 40.9), _turned((40, 40))):
        found = gather(values, None, pixels, SHAPE, "bilinear")
        for band in range(4):
            assert set(np.unique(found.values[band][found.valid[band]])) == {255 if band % 2 else 0}


def test_pixels_without_data_are_left_out() -> None:
    values = np.full((3, 60, 60), 200, dtype=np.uint8)
    values[:, :30] = 7
    valid = np.ones((1, 60, 60), dtype=np.bool_)
    valid[:, :30] = False
    found = gather(values, valid, _upright(0, 60, 0, 60), (120, 120), "bilinear")
    np.testing.assert_array_equal(found.valid[0].any(axis=1), np.arange(120) >= 60)
    assert set(np.unique(found.values[found.valid])) == {200}
