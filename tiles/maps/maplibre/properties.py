"""Paint and layout of a layer, taken by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tiles.errors import StyleError
from tiles.maps.maplibre.expressions import ValueReader
from tiles.maps.style_branches import Branch, Notes


class LayerProperties:
    """Paint and layout of one layer, read by name; what was not asked for is left."""

    def __init__(self, layer: Mapping[str, Any], place: str, notes: Notes) -> None:
        self._found: dict[str, Any] = {}
        for part in ("layout", "paint"):
            members = layer.get(part)
            if isinstance(members, Mapping):
                self._found.update(members)
        self._reader = ValueReader(notes)
        self._place = place
        self._notes = notes

    def take(self, name: str, convert: Callable[[Any], Any], default: Any) -> list[Branch]:
        return self._reader.branches(self._found.pop(name, None), f"{self._place}.{name}", convert, default)

    def raw(self, name: str, default: Any = None) -> Any:
        return self._found.pop(name, default)

    def leave(self) -> None:
        """Note what nobody asked for."""
        self._found.pop("visibility", None)
        for name in self._found:
            if not name.endswith("-transition"):
                self._notes.add(f"{self._place}.{name} is not drawn")


def number(low: float, high: float) -> Callable[[Any], float]:
    def convert(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not -1e9 < value < 1e9:
            raise StyleError(f"{value!r:.40} is not a number")
        return min(high, max(low, float(value)))

    return convert


def word(*allowed: str) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        if value not in allowed:
            raise StyleError(f"{value!r:.40} is none of {', '.join(allowed)}")
        return str(value)

    return convert
