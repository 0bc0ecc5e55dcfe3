"""The textures of a tile on few sheets: many small images would each cost a request to the graphics card."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.city_models.images import encoded, has_alpha
from tiles.three_d.city_models.soup import Numbers
from tiles.three_d.city_models.store import ModelStore
from tiles.three_d.objects import Texture
from tiles.three_d.placement import Positions

SHEET_SIDE = 2048
# Pixels around each image that repeat its edge: smoothing and smaller versions reach over it.
_BORDER = 4
# An image that is used beyond its edge by more than this is laid side by side.
_BEYOND = 1e-3


@dataclass(frozen=True, slots=True)
class Sheet:
    """One texture: `corners` (c,) marks the corners drawn with it, `coordinates` (c', 2) are theirs."""

    texture: Texture
    corners: NDArray[np.bool_]
    coordinates: Positions


@dataclass(frozen=True, slots=True)
class Atlas:
    """All sheets of a tile."""

    sheets: tuple[Sheet, ...]

    @classmethod
    def of(cls, store: ModelStore, images: Numbers, coordinates: Positions) -> Atlas:
        """Sheets for corners with these images (c,) and texture coordinates (c, 2), origin at the upper left.

        An image that is alone, large, or repeated keeps a texture of its own; the others share sheets of 2048 pixels, scaled down
        until all fit on one.
        """
        used = np.unique(images).tolist()
        low, high = _used_ranges(images, coordinates, used)
        shared: list[int] = []
        single: list[int] = []
        for place, number in enumerate(used):
            repeats = low[place].min() < -_BEYOND or high[place].max() > 1.0 + _BEYOND
            (single if repeats or len(used) == 1 else shared).append(number)
        sheets = []
        for number in single:
            mine = images == number
            texture, _ = store.texture(number)
            sheets.append(Sheet(texture, mine, coordinates[mine]))
        if len(shared) == 1:
            mine = images == shared[0]
            sheets.append(Sheet(store.texture(shared[0])[0], mine, coordinates[mine]))
        elif shared:
            sheets += _packed(store, shared, images, coordinates)
        return cls(tuple(sheets))


def _used_ranges(images: Numbers, coordinates: Positions, used: list[int]) -> tuple[Positions, Positions]:
    order = np.argsort(images, kind="stable")
    starts = np.searchsorted(images[order], used)
    return np.minimum.reduceat(coordinates[order], starts), np.maximum.reduceat(coordinates[order], starts)


def _packed(store: ModelStore, numbers: list[int], images: Numbers, coordinates: Positions) -> list[Sheet]:
    """The images on one sheet; those with transparent parts on another, for PNG is large."""
    from PIL import Image

    opaque: list[tuple[int, Any]] = []
    clear: list[tuple[int, Any]] = []
    for number in numbers:
        with Image.open(io.BytesIO(store.texture(number)[0].content)) as opened:
            see_through = has_alpha(opened)
            (clear if see_through else opaque).append(
                (number, opened.convert("RGBA" if see_through else "RGB"))
            )
    return [
        _sheet(group, mode, images, coordinates)
        for group, mode in ((opaque, "RGB"), (clear, "RGBA"))
        if group
    ]


def _sheet(group: list[tuple[int, Any]], mode: str, images: Numbers, coordinates: Positions) -> Sheet:
    from PIL import Image

    scale = 1.0
    sizes = np.array([image.size for _, image in group], dtype=np.float64)
    while True:
        fitted = np.maximum(np.floor(sizes * scale), 1.0).astype(np.int64)
        placed = shelves(fitted + 2 * _BORDER, SHEET_SIDE)
        if placed is not None:
            break
        scale *= 0.84
    places, (width, height) = placed
    sheet = Image.new(mode, (width, height))
    mine = np.zeros(len(images), dtype=np.bool_)
    result = np.empty_like(coordinates)
    for (number, image), place, size in zip(group, places.tolist(), fitted.tolist(), strict=True):
        small = image if tuple(size) == image.size else image.resize(size)
        _paste(sheet, small, place)
        here = images == number
        mine |= here
        inner = np.clip(coordinates[here], 0.0, 1.0) * size + np.array(place) + _BORDER
        result[here] = inner / (width, height)
    return Sheet(encoded(sheet), mine, result[mine])


def _paste(sheet: Any, image: Any, place: list[int]) -> None:
    """The image inside a border that repeats its edges."""
    pixels = np.asarray(image)
    wide = np.pad(pixels, ((_BORDER, _BORDER), (_BORDER, _BORDER), (0, 0)), mode="edge")
    from PIL import Image

    sheet.paste(Image.fromarray(wide), tuple(place))


def shelves(sizes: Numbers, side: int) -> tuple[Numbers, tuple[int, int]] | None:
    """Places (n, 2) for boxes of `sizes` (n, 2) on one sheet, in rows of falling height, and the sheet's size; None where they do not
    fit on `side` by `side`. The sheet's sides are powers of two, as smaller versions of a texture want them."""
    order = np.lexsort((-sizes[:, 0], -sizes[:, 1]))
    for width in (2**power for power in range(6, side.bit_length())):
        if sizes[:, 0].max() > width:
            continue
        places = np.empty_like(sizes)
        x = y = tallest = 0
        for row in order.tolist():
            wide, tall = int(sizes[row, 0]), int(sizes[row, 1])
            if x + wide > width:
                x, y, tallest = 0, y + tallest, 0
            places[row] = (x, y)
            x, tallest = x + wide, max(tallest, tall)
        height = 1 << max(6, (y + tallest - 1).bit_length())
        if height <= min(side, 2 * width) or (width == side and height <= side):
            return places, (width, height)
    return None
