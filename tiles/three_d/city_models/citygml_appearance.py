"""Textures and materials of CityGML: which image lies on which ring, which colour a surface has.

CityGML 2.0, clause 9; CityGML 3.0, clause 8.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from tiles.three_d.city_models.citygml_geometry import XLINK, local
from tiles.three_d.city_models.cityjson_geometry import shade_of
from tiles.three_d.city_models.model import TextureImage


class RingTexture(NamedTuple):
    """Where an image lies on a ring: u, v of each corner, origin at the lower left, the closing corner too."""

    image: TextureImage
    coordinates: list[float]


class Appearances:
    """What appearances say about ids. The first one to speak of a surface counts, whatever its theme."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.rings: dict[str, RingTexture] = {}
        self.shades: dict[str, tuple[float, float, float, float]] = {}

    def __bool__(self) -> bool:
        return bool(self.rings or self.shades)

    def read(self, element: Any) -> None:
        """Take all surface data in `element`. What is broken in them is left out: the surface is then drawn in its class's colour."""
        for data in element.iter("{*}ParameterizedTexture", "{*}X3DMaterial"):
            if local(data) == "X3DMaterial":
                self._material(data)
            else:
                self._texture(data)

    def _material(self, data: Any) -> None:
        shade = shade_of((_text(data, "diffuseColor") or "0.8 0.8 0.8").split(), _text(data, "transparency"))
        if shade is None:
            return
        for target in data.iter("{*}target"):
            name = (target.get("uri") or target.get(XLINK) or target.text or "").strip().removeprefix("#")
            if name:
                self.shades.setdefault(name, shade)

    def _texture(self, data: Any) -> None:
        uri = (_text(data, "imageURI") or "").strip()
        if not uri:
            return
        wrap = (_text(data, "wrapMode") or "").strip()
        image = TextureImage(self._folder / uri.replace("\\", "/"), wrap in ("wrap", "mirror"))
        for coordinates in data.iter("{*}TexCoordList"):
            rings = [(item.text or "").strip() for item in coordinates.iter("{*}ring")]
            listed = list(coordinates.iter("{*}textureCoordinates"))
            for place, item in enumerate(listed):
                name = (item.get("ring") or (rings[place] if place < len(rings) else "")).removeprefix("#")
                try:
                    values = list(map(float, (item.text or "").split()))
                except ValueError:
                    continue
                if name and values:
                    self.rings.setdefault(name, RingTexture(image, values))


def _text(element: Any, name: str) -> str | None:
    found = element.find(f"{{*}}{name}")
    return None if found is None else found.text
