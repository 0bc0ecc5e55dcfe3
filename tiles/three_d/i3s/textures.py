"""The one texture that an I3S mesh can have, made of those of a tile's parts.

Where every part has the same, it is that one. Else they lie on a sheet, one above the other, with a white patch below for the parts
without one, whose colours are then those of their corners.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tiles.three_d.objects import MeshPart, Texture

# Pixels around each image that repeat its edge, and the side of the white patch.
_BORDER = 4
_PATCH = 8
_MOST_SIDE = 4096
# An image used farther beyond its edge than this is laid side by side, which a sheet cannot do.
_BEYOND = 1e-3

type Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PartTexture:
    """How a part is drawn with the tile's texture: `coordinates` (v, 2), and `colour`, linear red, green and blue by which the texture is
    multiplied; None: the part's own."""

    coordinates: Floats
    colour: tuple[float, float, float] | None


def one_texture(parts: Sequence[MeshPart]) -> tuple[Texture | None, list[PartTexture]]:
    """The texture of a tile, JPEG or PNG, and what each part has of it; None where no part has one."""
    textures = list(dict.fromkeys(_of(part) for part in parts if _of(part) is not None))
    if not textures:
        return None, [PartTexture(_nowhere(part), None) for part in parts]
    first = textures[0]
    if len(textures) == 1 and first is not None and all(_of(part) is not None for part in parts):
        return _as_i3s(first), [_whole(part) for part in parts]
    return _sheet(parts, [texture for texture in textures if texture is not None])


def _of(part: MeshPart) -> Texture | None:
    return part.material.texture if part.texture_coordinates is not None else None


def _nowhere(part: MeshPart, place: tuple[float, float] = (0.0, 0.0)) -> Floats:
    return np.tile(np.array(place), (len(part.mesh.positions), 1))


def _whole(part: MeshPart) -> PartTexture:
    assert part.texture_coordinates is not None
    red, green, blue, _ = part.material.colour
    return PartTexture(part.texture_coordinates, (red, green, blue))


def _repeats(part: MeshPart) -> bool:
    coordinates = part.texture_coordinates
    return coordinates is not None and bool(
        (coordinates < -_BEYOND).any() or (coordinates > 1.0 + _BEYOND).any()
    )


@dataclass(frozen=True, slots=True)
class _Sheet:
    """Images one above the other: `places` has the left, top, width and height of each that is shown, in pixels."""

    pixels: NDArray[np.uint8]
    places: dict[Texture, tuple[int, int, int, int]]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def patch(self) -> tuple[float, float]:
        """The coordinates of white."""
        wide, high = self.size
        return _PATCH / 2 / wide, 1.0 - _PATCH / 2 / high

    def inside(self, texture: Texture, coordinates: Floats) -> Floats:
        """Coordinates of an image as those of the sheet."""
        left, top, wide, high = self.places[texture]
        placed: Floats = np.clip(coordinates, 0.0, 1.0) * (wide, high) + (left, top)
        return placed / self.size


def _sheet(parts: Sequence[MeshPart], textures: list[Texture]) -> tuple[Texture, list[PartTexture]]:
    images = {texture: _opened(texture) for texture in textures}
    shown = {_of(part) for part in parts if not _repeats(part)}
    sheet = _laid({texture: image for texture, image in images.items() if texture in shown})
    found = []
    for part in parts:
        texture = _of(part)
        red, green, blue, _ = part.material.colour
        if texture is None:
            found.append(PartTexture(_nowhere(part, sheet.patch), None))
        elif _repeats(part):
            red, green, blue = (np.array((red, green, blue)) * _mean(images[texture])).tolist()
            found.append(PartTexture(_nowhere(part, sheet.patch), (red, green, blue)))
        else:
            assert part.texture_coordinates is not None
            found.append(PartTexture(sheet.inside(texture, part.texture_coordinates), (red, green, blue)))
    return _packed(sheet.pixels), found


def _laid(images: dict[Texture, Image.Image]) -> _Sheet:
    high = sum(image.height + 2 * _BORDER for image in images.values()) + _PATCH
    wide = max((image.width for image in images.values()), default=_PATCH) + 2 * _BORDER
    scale = min(1.0, _MOST_SIDE / high, _MOST_SIDE / wide)
    pieces: list[NDArray[np.uint8]] = []
    places: dict[Texture, tuple[int, int, int, int]] = {}
    top = 0
    for texture, image in images.items():
        piece = _scaled(image, scale)
        places[texture] = (_BORDER, top + _BORDER, piece.shape[1], piece.shape[0])
        pieces.append(np.pad(piece, ((_BORDER, _BORDER), (_BORDER, _BORDER), (0, 0)), mode="edge"))
        top += len(pieces[-1])
    pixels = np.full(
        (top + _PATCH, max([_PATCH, *(piece.shape[1] for piece in pieces)]), 4), 255, dtype=np.uint8
    )
    for (_, below, _, _), piece in zip(places.values(), pieces, strict=True):
        pixels[below - _BORDER :][: len(piece), : piece.shape[1]] = piece
    return _Sheet(pixels, places)


def _opened(texture: Texture) -> Image.Image:
    with Image.open(io.BytesIO(texture.content)) as opened:
        return opened.convert("RGBA")


def _scaled(image: Image.Image, scale: float) -> NDArray[np.uint8]:
    if scale < 1.0:
        size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(image)


def _mean(image: Image.Image) -> Floats:
    """The mean colour, linear."""
    shown = np.asarray(image.resize((1, 1), Image.Resampling.BOX), dtype=np.float64)[0, 0, :3] / 255.0
    linear: Floats = np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)
    return linear


def _packed(sheet: NDArray[np.uint8]) -> Texture:
    """JPEG where nothing is transparent, else PNG."""
    packed = io.BytesIO()
    if sheet[..., 3].min() == 255:
        Image.fromarray(np.ascontiguousarray(sheet[..., :3])).save(packed, "JPEG", quality=88)
        return Texture("image/jpeg", packed.getvalue())
    Image.fromarray(sheet).save(packed, "PNG")
    return Texture("image/png", packed.getvalue())


def _as_i3s(texture: Texture) -> Texture:
    """WebP, which I3S does not know, as PNG."""
    if texture.media_type != "image/webp":
        return texture
    packed = io.BytesIO()
    _opened(texture).save(packed, "PNG")
    return Texture("image/png", packed.getvalue())
