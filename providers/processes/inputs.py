"""Inputs of an execution, checked: each fault is one InvalidParameter that names the input.

OGC 18-062r2 clause 7.11: an input is a value or an object with a member `value`; by reference (`href`) is not offered.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import shapely
from shapely.geometry import MultiPolygon, Polygon, shape
from shapely.geometry.base import BaseGeometry

from providers.errors import AnswerTooLarge, InvalidParameter

MAXIMUM_VERTICES = 20_000
_POLYGON = "a GeoJSON Polygon or MultiPolygon in CRS84 (longitude, latitude)"


class Inputs:
    """The inputs of one execution. Raises InvalidParameter for one that the process does not have."""

    def __init__(self, data: object, allowed: Mapping[str, Any]) -> None:
        if not isinstance(data, Mapping):
            raise InvalidParameter("inputs", str(data)[:80], "a JSON object of inputs")
        unknown = sorted(set(data) - set(allowed))
        if unknown:
            raise InvalidParameter(
                unknown[0], str(data[unknown[0]])[:80], "only the inputs " + ", ".join(allowed)
            )
        self._data = {name: self._unwrapped(name, value) for name, value in data.items()}

    @staticmethod
    def _unwrapped(name: str, value: Any) -> Any:
        if isinstance(value, Mapping) and "href" in value and "type" not in value:
            raise InvalidParameter(
                name, str(value["href"])[:80], "the value itself; inputs by reference are not offered"
            )
        if isinstance(value, Mapping) and "value" in value:
            return value["value"]
        return value

    def text(self, name: str) -> str:
        """A required text."""
        return self.long_text(name, 200)

    def long_text(self, name: str, most: int) -> str:
        """A required text of at most so many characters."""
        value = self._data.get(name)
        if not isinstance(value, str) or not value or len(value) > most:
            raise InvalidParameter(name, str(value)[:80], f"a text of 1 to {most} characters")
        return value

    def whole_numbers(self, name: str, maximum: int, lowest: int, highest: int) -> tuple[int, ...]:
        """A required list of different whole numbers within closed limits."""
        value = self._data.get(name)
        items = value if isinstance(value, list) else []
        good = all(
            isinstance(item, int) and not isinstance(item, bool) and lowest <= item <= highest
            for item in items
        )
        if not items or not good or len(items) > maximum or len(set(items)) != len(items):
            raise InvalidParameter(
                name,
                str(value)[:80],
                f"a list of 1 to {maximum} different whole numbers from {lowest} to {highest}",
            )
        return tuple(items)

    def texts(self, name: str, maximum: int) -> tuple[str, ...]:
        """An optional list of different texts; one text alone counts as a list of one."""
        value = self._data.get(name, [])
        items = [value] if isinstance(value, str) else value
        good = isinstance(items, list) and all(isinstance(one, str) for one in items)
        if not good or len(items) > maximum or len(set(items)) != len(items):
            raise InvalidParameter(name, str(value)[:80], f"a list of at most {maximum} different texts")
        return tuple(items)

    def number(self, name: str, lowest: float, highest: float) -> float:
        """A required number within closed limits."""
        value = self._data.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InvalidParameter(name, str(value)[:80], f"a number from {lowest:g} to {highest:g}")
        if not lowest <= value <= highest:
            raise InvalidParameter(name, f"{value:g}", f"a number from {lowest:g} to {highest:g}")
        return float(value)

    def truth(self, name: str) -> bool:
        """An optional boolean, False when absent."""
        value = self._data.get(name, False)
        if not isinstance(value, bool):
            raise InvalidParameter(name, str(value)[:80], "true or false")
        return value

    def polygon(self, name: str) -> BaseGeometry:
        """A required valid polygon in CRS84. Raises AnswerTooLarge beyond `MAXIMUM_VERTICES`."""
        return read_polygon(name, self._data.get(name))


def read_polygon(name: str, value: Any) -> BaseGeometry:
    """A GeoJSON polygon (or a Feature with one) as a valid geometry; raises what `Inputs.polygon` raises."""
    if isinstance(value, Mapping) and value.get("type") == "Feature":
        value = value.get("geometry")
    if not isinstance(value, Mapping) or value.get("type") not in ("Polygon", "MultiPolygon"):
        found = value.get("type") if isinstance(value, Mapping) else value
        raise InvalidParameter(name, str(found)[:80], _POLYGON)
    coordinates = value.get("coordinates")
    if _count(coordinates) > MAXIMUM_VERTICES:
        raise AnswerTooLarge(
            f"Input {name!r} has more than {MAXIMUM_VERTICES} vertices; simplify the polygon"
        )
    try:
        geometry = shapely.force_2d(shape({"type": value["type"], "coordinates": coordinates}))
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        OverflowError,
        shapely.errors.ShapelyError,
    ) as error:
        raise InvalidParameter(name, str(coordinates)[:80], f"{_POLYGON}; {error}") from error
    return _checked(name, geometry)


def _checked(name: str, geometry: BaseGeometry) -> BaseGeometry:
    corners = shapely.get_coordinates(geometry)
    on_earth = abs(corners[:, 0]).max(initial=0) <= 180 and abs(corners[:, 1]).max(initial=0) <= 90
    if geometry.is_empty or not on_earth:  # also where a coordinate is NaN
        raise InvalidParameter(name, geometry.wkt[:80], _POLYGON)
    if not geometry.is_valid:
        raise InvalidParameter(
            name, shapely.is_valid_reason(geometry)[:80], f"{_POLYGON} without self-intersections"
        )
    if not isinstance(geometry, Polygon | MultiPolygon) or geometry.area <= 0:
        raise InvalidParameter(name, geometry.wkt[:80], f"{_POLYGON} with an area")
    return geometry


def _count(coordinates: Any) -> int:
    """How many positions nested lists hold, without trusting their depth."""
    waiting, positions = [coordinates], 0
    while waiting:
        item = waiting.pop()
        if isinstance(item, list | tuple):
            if item and not isinstance(item[0], list | tuple):
                positions += 1
            else:
                waiting.extend(item)
        if positions > MAXIMUM_VERTICES:
            break
    return positions
