"""PNG written by us is what every reader expects: the same values, whatever the size, layout and transparency."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from tiles.maps import encode_image
from tiles.maps.png import encode_png, encode_png_palette

type Image8 = NDArray[np.uint8]


def _noise(height: int, width: int, *, opaque: bool) -> Image8:
    pixels = np.random.default_rng(height * 7919 + width).integers(0, 256, (height, width, 4), dtype=np.uint8)
    if opaque:
        pixels[..., 3] = 255
    return pixels


def _areas(height: int, width: int) -> Image8:
    pixels = np.zeros((height, width, 4), dtype=np.uint8)
    pixels[height // 3 :, width // 4 :] = (200, 30, 60, 255)
    return pixels


def _read(body: bytes) -> tuple[str, Image8]:
    """Mode of the file, and its RGBA; `verify` tells wrong checksums, which loading alone forgives."""
    with Image.open(io.BytesIO(body)) as image:
        image.verify()
    with Image.open(io.BytesIO(body)) as image:
        return image.mode, np.asarray(image.convert("RGBA"))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (300, 1), (256, 256), (700, 901)])
@pytest.mark.parametrize("opaque", [True, False])
@pytest.mark.parametrize("drawing", [True, False])
def test_every_value_is_kept(height: int, width: int, opaque: bool, drawing: bool) -> None:
    pixels = _areas(height, width) if drawing else _noise(height, width, opaque=opaque)
    if opaque:
        pixels[..., 3] = 255
    elif not drawing:
        pixels[0, 0, 3] = 254
    mode, found = _read(encode_png(pixels))
    assert mode == ("RGB" if (pixels[..., 3] == 255).all() else "RGBA")
    np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize(
    "part",
    [
        lambda pixels: pixels[10:266, 5:261],
        lambda pixels: pixels[::2, ::3],
        np.asfortranarray,
        lambda pixels: pixels[:, ::-1],
    ],
)
def test_parts_of_a_larger_image(part: Callable[[Image8], Image8]) -> None:
    pixels = part(_noise(400, 500, opaque=False))
    np.testing.assert_array_equal(_read(encode_png(pixels))[1], pixels)


def test_lines_go_on_across_strips() -> None:
    """A map of several strips, the last one short: a line is filtered against the one above, also in the strip before."""
    pixels = _noise(1500, 1024, opaque=True)
    np.testing.assert_array_equal(_read(encode_png(pixels))[1], pixels)


def test_gdal_reads_the_same() -> None:
    pixels = _noise(256, 256, opaque=True)
    with rasterio.MemoryFile(encode_png(pixels)) as file:
        with pytest.warns(NotGeoreferencedWarning):
            dataset = file.open(driver="PNG")
        with dataset:
            np.testing.assert_array_equal(np.moveaxis(dataset.read(), 0, -1), pixels[..., :3])


@pytest.mark.parametrize("count", [1, 2, 255, 256])
@pytest.mark.parametrize("see_through", [0, 1, "all"])
def test_a_palette_is_kept(count: int, see_through: int | str) -> None:
    colours = np.random.default_rng(count).integers(0, 256, (count, 4), dtype=np.uint8)
    colours[:, 3] = 255
    if see_through:
        colours[: count if see_through == "all" else 1, 3] = 7
    places = np.random.default_rng(3).integers(0, count, (64, 200), dtype=np.uint8)
    mode, found = _read(encode_png_palette(places, colours))
    assert mode == "P"
    np.testing.assert_array_equal(found, colours[places])


def test_few_colours_stay_as_they_are_in_eight_bits() -> None:
    pixels = _areas(256, 256)
    mode, found = _read(encode_image(pixels, "image/png; mode=8bit"))
    assert mode == "P"
    np.testing.assert_array_equal(found[..., 3], pixels[..., 3])
    assert np.abs(found.astype(int) - pixels)[pixels[..., 3] > 0].max() <= 8


def test_a_photograph_is_smaller_than_its_values_and_a_drawing_far_smaller() -> None:
    slope = np.indices((256, 256)).sum(axis=0) // 3
    photograph = np.full((256, 256, 4), 255, dtype=np.uint8)
    photograph[..., :3] = (slope[..., None] + np.random.default_rng(1).integers(0, 8, (256, 256, 3))) % 256
    assert len(encode_png(photograph)) < 0.6 * photograph[..., :3].size
    assert len(encode_png(_areas(256, 256))) < 3_000
