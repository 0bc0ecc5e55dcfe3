"""Reading the keys of a style: each value is converted and checked, and every mistake names its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from tiles.errors import StyleError
from tiles.maps.images import parse_colour
from tiles.maps.style_model import MAXIMUM_ZOOM, Scaled

_MISSING: Any = object()
type Converter = Callable[[Any, str], Any]


class KeyReader:
    """Takes the keys of one mapping, converts each, and refuses those that are left over."""

    def __init__(self, content: object, place: str) -> None:
        if not isinstance(content, Mapping):
            raise StyleError(f"{place} must be a mapping of keys, found {content!r:.80}")
        self._rest = dict(content)
        self._place = place
        self._known: list[str] = []

    def take(self, key: str, convert: Converter, default: Any = _MISSING) -> Any:
        """The converted value of a key; `default` where it is not there. Raises StyleError."""
        self._known.append(key)
        place = f"{self._place}.{key}"
        if key not in self._rest:
            if default is _MISSING:
                raise StyleError(f"{place} is missing")
            return default
        return convert(self._rest.pop(key), place)

    def finish(self) -> None:
        """Raise StyleError where keys are left."""
        if self._rest:
            extra = ", ".join(map(repr, self._rest))
            raise StyleError(f"{self._place} has unknown keys {extra}; allowed are {', '.join(self._known)}")


def number(low: float, high: float) -> Callable[[Any, str], float]:
    """A number within limits."""

    def convert(value: Any, place: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise StyleError(f"{place} must be a number from {low:g} to {high:g}, found {value!r:.80}")
        return float(value)

    return convert


def whole(low: int, high: int) -> Callable[[Any, str], int]:
    """A whole number within limits."""

    def convert(value: Any, place: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise StyleError(f"{place} must be a whole number from {low} to {high}, found {value!r:.80}")
        return value

    return convert


def choice(*allowed: str) -> Callable[[Any, str], str]:
    """One of some words."""

    def convert(value: Any, place: str) -> str:
        if value not in allowed:
            raise StyleError(f"{place} must be one of {', '.join(allowed)}, found {value!r:.80}")
        return str(value)

    return convert


def list_of[Item](
    convert: Callable[[Any, str], Item], low: int, high: int
) -> Callable[[Any, str], tuple[Item, ...]]:
    """A list of so many converted entries."""

    def convert_all(value: Any, place: str) -> tuple[Item, ...]:
        if isinstance(value, str) or not isinstance(value, Sequence) or not low <= len(value) <= high:
            raise StyleError(f"{place} must be a list of {low} to {high} entries, found {value!r:.80}")
        return tuple(convert(item, f"{place}[{index}]") for index, item in enumerate(value))

    return convert_all


def text(value: Any, place: str) -> str:
    """Text of 1 to 200 letters."""
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise StyleError(f"{place} must be text of 1 to 200 letters, found {value!r:.80}")
    return value


def flag(value: Any, place: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise StyleError(f"{place} must be true or false, found {value!r:.80}")
    return value


def colour(value: Any, place: str) -> str:
    """A colour with a hash sign."""
    try:
        parse_colour(value)
    except StyleError as error:
        raise StyleError(f"{place}: {error}") from error
    return str(value)


def numeric_key(key: Any) -> Any:
    """A key of a mapping as the number it stands for: JSON has texts only for keys."""
    if isinstance(key, str) and len(key) <= 32:
        try:
            return int(key)
        except ValueError:
            try:
                return float(key)
            except ValueError:
                return key
    return key


def scaled(low: float, high: float) -> Callable[[Any, str], Scaled]:
    """A number, or a mapping of zoom levels to numbers."""
    single = number(low, high)

    def convert(value: Any, place: str) -> Scaled:
        if not isinstance(value, Mapping):
            return single(value, place)
        zoom = number(0, MAXIMUM_ZOOM)
        stops = tuple(
            (zoom(numeric_key(key), place), single(size, f"{place}.{key}")) for key, size in value.items()
        )
        zooms = [stop[0] for stop in stops]
        if not stops or any(before >= after for before, after in pairwise(zooms)):
            raise StyleError(f"{place} must name zoom levels in rising order, found {value!r:.80}")
        return stops

    return convert


def titles(value: Any, place: str) -> tuple[tuple[str, str], ...]:
    """Titles by language, "en" first."""
    reader = KeyReader(value, place)
    found = tuple((language, reader.take(language, text, "")) for language in ("en", "zh"))
    reader.finish()
    return tuple(pair for pair in found if pair[1])
