"""Materials, textures and images inside a glb."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.errors import GlbError
from tiles.three_d.glb_buffer import ARRAY_BUFFER, FLOAT, UNSIGNED_SHORT, GlbBuffer, limits_of
from tiles.three_d.objects import Material, Texture

# Texture coordinates in 1/65535 of their range: a pixel of a texture of 4,096, repeated this often, is still four steps wide.
WIDEST_QUANTISED_RANGE = 4.0
_PNG, _JPEG, _WEBP = "image/png", "image/jpeg", "image/webp"
_PNG_ALPHA_TYPES = (4, 6)


class TextureTransform(NamedTuple):
    """KHR_texture_transform: stored coordinates times `scale`, plus `offset`, are the real ones."""

    offset: tuple[float, float]
    scale: tuple[float, float]


@dataclass(slots=True)
class GlbMaterials:
    """The materials of a glb, each written once."""

    buffer: GlbBuffer
    materials: list[dict[str, Any]] = field(default_factory=list)
    textures: list[dict[str, Any]] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    extensions: set[str] = field(default_factory=set)
    required: set[str] = field(default_factory=set)
    _known: dict[tuple[Material, bool, TextureTransform | None], int] = field(default_factory=dict)
    _known_textures: dict[Texture, int] = field(default_factory=dict)

    def number(
        self, material: Material, *, coloured: bool = False, transform: TextureTransform | None = None
    ) -> int:
        """The number of a material. `coloured`: its vertices have colours of their own, so its own colour is left out."""
        key = (material, coloured, transform)
        if key not in self._known:
            self.materials.append(self._describe(material, coloured, transform))
            self._known[key] = len(self.materials) - 1
        return self._known[key]

    def described(self) -> dict[str, Any]:
        """The top-level arrays of the glTF."""
        found: dict[str, Any] = {"materials": self.materials}
        if self.textures:
            # Without a filter named, clients take their own; a city's walls repeat their texture.
            found |= {"textures": self.textures, "images": self.images, "samplers": [{}]}
        return found

    def _describe(
        self, material: Material, coloured: bool, transform: TextureTransform | None
    ) -> dict[str, Any]:
        red, green, blue, alpha = material.colour
        base = (1.0, 1.0, 1.0) if coloured else (red, green, blue)
        surface: dict[str, Any] = {
            "baseColorFactor": [*base, alpha],
            "metallicFactor": material.metallic,
            "roughnessFactor": material.roughness,
        }
        described: dict[str, Any] = {"pbrMetallicRoughness": surface, "doubleSided": material.double_sided}
        if material.texture is not None:
            surface["baseColorTexture"] = self._texture_info(material.texture, transform)
        if alpha < 1.0:
            described["alphaMode"] = "BLEND"
        elif material.texture is not None and has_alpha(material.texture):
            described["alphaMode"] = "MASK"
        return described

    def _texture_info(self, texture: Texture, transform: TextureTransform | None) -> dict[str, Any]:
        info: dict[str, Any] = {"index": self._texture(texture)}
        if transform is not None:
            self.extensions.add("KHR_texture_transform")
            self.required.add("KHR_texture_transform")
            info["extensions"] = {
                "KHR_texture_transform": {"offset": [*transform.offset], "scale": [*transform.scale]}
            }
        return info

    def _texture(self, texture: Texture) -> int:
        if texture in self._known_textures:
            return self._known_textures[texture]
        if texture.media_type not in (_PNG, _JPEG, _WEBP):
            raise GlbError(
                f"a texture is {texture.media_type!r}; glTF holds {_PNG}, {_JPEG} and {_WEBP}: convert it"
            )
        self.images.append({"bufferView": self.buffer.view(texture.content), "mimeType": texture.media_type})
        image = len(self.images) - 1
        described: dict[str, Any] = {"sampler": 0, "source": image}
        if texture.media_type == _WEBP:
            described = {"sampler": 0, "extensions": {"EXT_texture_webp": {"source": image}}}
            self.extensions.add("EXT_texture_webp")
            self.required.add("EXT_texture_webp")
        self.textures.append(described)
        self._known_textures[texture] = len(self.textures) - 1
        return len(self.textures) - 1


def has_alpha(texture: Texture) -> bool:
    """Whether an image has an alpha channel, as far as its header says (PNG colour type and tRNS, WebP's flag)."""
    content = texture.content
    if texture.media_type == _PNG:
        return len(content) > 25 and (content[25] in _PNG_ALPHA_TYPES or b"tRNS" in content[:1024])
    if texture.media_type == _WEBP:
        if content[12:16] == b"VP8X":
            return bool(content[20] & 0x10)
        return content[12:16] == b"VP8L" and len(content) > 24 and bool(content[24] & 0x10)
    return False


def write_texture_coordinates(
    buffer: GlbBuffer, coordinates: NDArray[np.float64]
) -> tuple[int, TextureTransform | None]:
    """The accessor of texture coordinates (v, 2) in 16 bits, and the transform that undoes it where they leave 0 to 1."""
    limits = limits_of(coordinates)
    low, high = np.array(limits["min"]), np.array(limits["max"])
    count = len(coordinates)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise GlbError("a texture coordinate is not a number; leave the texture of that surface out")
    transform = None
    if low.min() < 0.0 or high.max() > 1.0:
        extent = np.maximum(high - low, 1e-9)
        if extent.max() > WIDEST_QUANTISED_RANGE:
            floats = coordinates.astype("<f4")
            view = buffer.view(floats.tobytes(), target=ARRAY_BUFFER, stride=8)
            return buffer.accessor(view, FLOAT, count, "VEC2"), None
        transform = TextureTransform((float(low[0]), float(low[1])), (float(extent[0]), float(extent[1])))
        coordinates = (coordinates - low) / extent
    packed = np.rint(coordinates * 65535.0).astype("<u2")
    view = buffer.view(packed.tobytes(), target=ARRAY_BUFFER, stride=4)
    return buffer.accessor(view, UNSIGNED_SHORT, count, "VEC2", normalized=True), transform
