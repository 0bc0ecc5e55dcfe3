"""Geometries of CityJSON as shells of surfaces: boundaries, semantics, textures, materials, templates.

CityJSON 2.0: clause 3 (geometry objects), 3.3 (semantics), 3.4 (templates), 6 (appearance).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tiles.three_d.city_models.classes import class_of
from tiles.three_d.city_models.model import NO_COLOUR, NO_IMAGE, Collector, Look, TextureImage
from tiles.three_d.placement import Positions

BROKEN = (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError)
_DEPTH_OF = {"MultiSurface": 0, "CompositeSurface": 0, "Solid": 1, "MultiSolid": 2, "CompositeSolid": 2}


class Shell(NamedTuple):
    """Surfaces with what belongs to each; None where nothing is said. `closed`: the outer shell of a solid."""

    surfaces: list[Any]
    semantics: list[Any] | None
    textures: list[Any] | None
    materials: Any
    closed: bool


def shells_of(geometry: dict[str, Any], texture: Any, material: Any) -> Iterator[Shell]:
    """The shells of a geometry; of a solid only the outer one, for the inner ones are never seen.

    `texture` and `material` are the values of one theme, nested as the boundaries are.
    """
    depth = _DEPTH_OF.get(geometry["type"])
    if depth is None:
        return
    semantics = (geometry.get("semantics") or {}).get("values")
    boundaries = geometry["boundaries"]
    if depth == 2:
        for number, solid in enumerate(boundaries):
            if solid:
                said, drawn, made = (_first(_at(item, number)) for item in (semantics, texture, material))
                yield Shell(solid[0], said, drawn, made, closed=True)
    elif depth == 1:
        if boundaries:
            yield Shell(boundaries[0], _first(semantics), _first(texture), _first(material), closed=True)
    else:
        yield Shell(boundaries, _listed(semantics), _listed(texture), material, closed=False)


def _listed(values: Any) -> list[Any] | None:
    return values if isinstance(values, list) else None


def _at(values: Any, number: int) -> Any:
    # A material's "value" is one number for the whole geometry.
    if isinstance(values, list):
        return values[number] if number < len(values) else None
    return values


def _first(values: Any) -> Any:
    return _at(values, 0)


class AppearanceReader:
    """Textures and materials of one document. Images lie beside the file, in `folder`."""

    def __init__(self, appearance: Any, folder: Path, sink: Collector) -> None:
        known = appearance if isinstance(appearance, dict) else {}
        self._sink = sink
        self._textures = [_image(entry, folder) for entry in _listed(known.get("textures")) or ()]
        self._places = known.get("vertices-texture") or []
        self._shades = [_shade(entry) for entry in _listed(known.get("materials")) or ()]
        self._texture_theme = known.get("default-theme-texture")
        self._material_theme = known.get("default-theme-material")

    def values(self, geometry: Mapping[str, Any]) -> tuple[Any, Any]:
        """(texture values, material values) of a geometry in the default theme, else in its first."""
        texture = _theme(geometry.get("texture"), self._texture_theme) if self._textures else None
        material = _theme(geometry.get("material"), self._material_theme) if self._shades else None
        values = texture.get("values") if isinstance(texture, dict) else None
        if not isinstance(material, dict):
            return values, None
        return values, material.get("values", material.get("value"))

    def look(self, shell: Shell) -> Look | None:
        """How a shell's surfaces look, None where nothing is said. A texture that does not fit its surface is left out."""
        if shell.textures is None and shell.materials is None:
            return None
        count = len(shell.surfaces)
        colours = [NO_COLOUR] * count
        for number in range(count if shell.materials is not None else 0):
            value = _at(shell.materials, number)
            if isinstance(value, int) and 0 <= value < len(self._shades):
                shade = self._shades[value]
                if shade is not None:
                    colours[number] = self._sink.shade(shade)
        if shell.textures is None:
            return Look([NO_IMAGE] * count, colours)
        images, coordinates = [], []
        for number, rings in enumerate(shell.surfaces):
            image, places = self._textured(rings, _at(shell.textures, number))
            images.append(image)
            coordinates.append(places)
        return Look(images, colours, list(chain.from_iterable(coordinates)))

    def _textured(self, rings: Sequence[Sequence[int]], values: Any) -> tuple[int, list[float]]:
        none = [0.0] * (2 * sum(map(len, rings)))
        try:
            number = values[0][0]
            image = self._textures[number] if type(number) is int and number >= 0 else None
            if image is None:
                return NO_IMAGE, none
            places: list[float] = []
            for ring, listed in zip(rings, values, strict=True):
                # Writers close texture rings or not, as they do with rings of vertices.
                if len(listed) != len(ring) + 1 or min(listed) < 0:
                    return NO_IMAGE, none
                for place in listed[1:]:
                    u, v = self._places[place]
                    places += (float(u), 1.0 - float(v))
            return self._sink.texture(image), places
        except BROKEN:
            return NO_IMAGE, none


def _theme(themes: Any, wanted: Any) -> Any:
    if not isinstance(themes, dict) or not themes:
        return None
    return themes.get(wanted) if wanted in themes else next(iter(themes.values()))


def _image(entry: Any, folder: Path) -> TextureImage | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
        return None
    return TextureImage(
        folder / entry["image"].replace("\\", "/"), entry.get("wrapMode") in ("wrap", "mirror")
    )


def _shade(entry: Any) -> tuple[float, float, float, float] | None:
    if not isinstance(entry, dict):
        return None
    return shade_of(entry.get("diffuseColor"), entry.get("transparency"))


def shade_of(diffuse: Any, transparency: Any) -> tuple[float, float, float, float] | None:
    """An X3D material's colour (sRGB, 0-1) and transparency as linear red, green, blue and alpha; None for no colour."""
    try:
        red, green, blue = (_linear(float(part)) for part in diffuse)
        alpha = 1.0 - min(1.0, max(0.0, float(transparency or 0.0)))
    except BROKEN:
        return None
    return red, green, blue, round(alpha, 4)


def _linear(value: float) -> float:
    value = min(1.0, max(0.0, value))
    return round(value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4, 4)


class Templates:
    """`geometry-templates` of a document."""

    def __init__(self, templates: Any, vertices_of: Callable[[Any, str], Positions]) -> None:
        known = templates if isinstance(templates, dict) else {}
        self.geometries: list[Any] = known.get("templates") or []
        self.vertices = vertices_of(known.get("vertices-templates") or [], "vertices-templates")

    def geometry(self, instance: dict[str, Any]) -> dict[str, Any]:
        """The geometry that an instance places. Raises one of `BROKEN`."""
        number = instance["template"]
        if type(number) is not int or not 0 <= number < len(self.geometries):
            raise IndexError(f"there is no geometry template {number!r}")
        found = self.geometries[number]
        if not isinstance(found, dict):
            raise TypeError("a geometry template is not an object")
        return found

    def placed(self, instance: dict[str, Any], reference: Positions) -> Positions:
        """The template vertices at an instance's place: matrix (row-major 4 x 4) times vertex, plus the reference point (3,)."""
        matrix = np.array(instance["transformationMatrix"], dtype=np.float64).reshape(4, 4)
        return self.vertices @ matrix[:3, :3].T + matrix[:3, 3] + reference


def lod_of(geometry: dict[str, Any], templates: Templates) -> float:
    """The level of detail of a geometry. Raises one of `BROKEN`."""
    source = templates.geometry(geometry) if geometry["type"] == "GeometryInstance" else geometry
    return float(source.get("lod", 0))


def classes_of(shell: Shell, kinds: dict[Any, int], fallback: int) -> list[int]:
    """The class of every surface of a shell; `kinds` has the class of each entry of `semantics.surfaces`."""
    count = len(shell.surfaces)
    if shell.semantics is None:
        return [fallback] * count
    found = [kinds.get(value, fallback) for value in shell.semantics[:count]]
    return found + [fallback] * (count - len(found))


def kinds_of(geometry: dict[str, Any], fallback: int) -> dict[Any, int]:
    """Index in `semantics.surfaces` -> class."""
    semantics = geometry.get("semantics") or {}
    return {
        number: class_of(entry.get("type"), fallback)
        for number, entry in enumerate(semantics.get("surfaces") or ())
    }
