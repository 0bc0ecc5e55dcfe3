"""Inputs that the processes on the city in three dimensions share: their descriptions, and reading them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from providers.analysis.profile import ground_at
from providers.analysis.scene import Scene
from providers.errors import InvalidParameter
from providers.processes.inputs import Inputs

MAXIMUM_COLLECTIONS = 50
MAXIMUM_LINE_POINTS = 1_000
HEIGHT_LIMIT = 20_000.0

_POINT = "a GeoJSON Point in CRS84: longitude, latitude, and maybe a height above the ellipsoid"
_LINE = "a GeoJSON LineString in CRS84 of 2 to 1,000 different places"


def one(title: str, description: str, schema: Mapping[str, Any], *, required: bool = True) -> dict[str, Any]:
    """The description of an input that is given once at most."""
    return {
        "title": title,
        "description": description,
        "schema": schema,
        "minOccurs": int(required),
        "maxOccurs": 1,
    }


def number(
    title: str, description: str, low: float, high: float, default: float | None = None
) -> dict[str, Any]:
    """The description of a number; optional where it has a default."""
    schema: dict[str, Any] = {"type": "number", "minimum": low, "maximum": high}
    if default is not None:
        schema["default"] = default
    return one(title, description, schema, required=default is None)


def geometry(kind: str) -> dict[str, Any]:
    """The schema of a GeoJSON geometry of one type."""
    return {
        "type": "object",
        "required": ["type", "coordinates"],
        "properties": {"type": {"type": "string", "enum": [kind]}, "coordinates": {"type": "array"}},
        "contentMediaType": "application/geo+json",
    }


COLLECTIONS = one(
    "Collections",
    "Ids of collections with a 3D tileset that count (default: all of this view)",
    {"type": "array", "maxItems": MAXIMUM_COLLECTIONS, "items": {"type": "string"}},
    required=False,
)
GROUND = one(
    "Ground",
    "Id of the collection whose terrain is the ground (default: the first of this view)",
    {"type": "string", "minLength": 1, "maxLength": 200},
    required=False,
)


class SceneInputs(Inputs):
    """Inputs with places and times."""

    def chosen(self) -> tuple[tuple[str, ...], str | None]:
        """Ids of `collections` and `ground`, as `find_scene` takes them."""
        return self.texts("collections", MAXIMUM_COLLECTIONS), self.maybe_text("ground")

    def maybe_text(self, name: str) -> str | None:
        """An optional text."""
        return self.text(name) if self.given(name) else None

    def given(self, name: str) -> bool:
        """Whether the input is there."""
        return self._data.get(name) is not None

    def number_or(self, name: str, low: float, high: float, default: float) -> float:
        """An optional number within closed limits."""
        return self.number(name, low, high) if self.given(name) else default

    def point(self, name: str) -> tuple[float, float, float | None]:
        """Longitude, latitude and, where given, height of a required point."""
        value = self._data.get(name)
        if not isinstance(value, Mapping) or value.get("type") != "Point":
            raise InvalidParameter(name, str(value)[:80], _POINT)
        found = _position(name, value.get("coordinates"), _POINT)
        return found[0], found[1], found[2]

    def line(self, name: str) -> NDArray[np.float64]:
        """A required line (n, 3): longitude, latitude, height; NaN where no height is given."""
        value = self._data.get(name)
        if not isinstance(value, Mapping) or value.get("type") != "LineString":
            raise InvalidParameter(name, str(value)[:80], _LINE)
        coordinates = value.get("coordinates")
        if not isinstance(coordinates, list) or not 2 <= len(coordinates) <= MAXIMUM_LINE_POINTS:
            raise InvalidParameter(name, str(coordinates)[:80], _LINE)
        found = [_position(name, each, _LINE) for each in coordinates]
        line = np.array([[x, y, math.nan if z is None else z] for x, y, z in found])
        if (line[1:, :2] == line[:-1, :2]).all(axis=1).any() and np.isnan(line[:, 2]).any():
            raise InvalidParameter(
                name, str(coordinates)[:80], f"{_LINE}; two that follow each other are one"
            )
        return line

    def instants(self, name: str, maximum: int) -> list[datetime]:
        """One to `maximum` instants with their zone (RFC 3339)."""
        value = self._data.get(name)
        texts = [value] if isinstance(value, str) else value
        allowed = f"1 to {maximum} instants with their zone, such as 2026-06-21T10:00:00+08:00"
        if not isinstance(texts, list) or not 1 <= len(texts) <= maximum:
            raise InvalidParameter(name, str(value)[:80], allowed)
        return [_instant(name, text, allowed) for text in texts]


def _position(name: str, value: Any, allowed: str) -> tuple[float, float, float | None]:
    good = isinstance(value, list) and len(value) in (2, 3)
    good = good and all(
        isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n) for n in value
    )
    if (
        not good
        or abs(value[0]) > 180
        or abs(value[1]) > 89
        or (len(value) == 3 and abs(value[2]) > HEIGHT_LIMIT)
    ):
        raise InvalidParameter(name, str(value)[:80], f"{allowed}; at most 89 degrees north or south")
    return float(value[0]), float(value[1]), float(value[2]) if len(value) == 3 else None


def _instant(name: str, text: Any, allowed: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise InvalidParameter(name, str(text)[:80], allowed) from error
    if found.tzinfo is None or not 1950 <= found.year <= 2050:
        raise InvalidParameter(name, str(text)[:80], f"{allowed}, from 1950 to 2050")
    return found


def absolute_height(
    scene: Scene, name: str, place: tuple[float, float, float | None], above_ground: float
) -> float:
    """The ellipsoidal height of a point: its own, else `above_ground` metres above the terrain. Raises InvalidParameter."""
    longitude, latitude, height = place
    if height is not None:
        return height
    ground = ground_at(scene, longitude, latitude)
    if ground is None:
        raise InvalidParameter(
            name,
            f"{longitude:g},{latitude:g}",
            "a point with a height, since there is no terrain at this place",
        )
    return ground + above_ground
