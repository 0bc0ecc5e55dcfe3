"""MapLibre's expressions as branches, filters and text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from PIL import ImageColor

from tiles.errors import StyleError
from tiles.maps.maplibre.filters import read_condition
from tiles.maps.style_branches import (
    MAXIMUM_BRANCHES,
    Branch,
    Notes,
    decided,
    graduated,
    hex_colour,
    mixed,
    stepped,
)
from tiles.maps.style_filters import OneOf, within_bounds
from tiles.maps.style_model import MAXIMUM_ZOOM, FieldText, TextPart

ZOOM_SHIFT = 1
"""MapLibre's level 0 shows the world on 512 pixels, ours on 256."""

_NUMBERS = re.compile(r"(rgba?)\(\s*([\d.]+%?)[\s,]+([\d.]+%?)[\s,]+([\d.]+%?)(?:[\s,/]+([\d.]+%?))?\s*\)")
_DEPTH = 12
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def css_colour(value: Any) -> str:
    """#rrggbb[aa] of a colour of CSS. Raises StyleError."""
    if not isinstance(value, str) or len(value) > 100:
        raise StyleError(f"{value!r:.80} is not a colour")
    match = _NUMBERS.fullmatch(value.strip().lower())
    try:
        if match:
            parts = [
                float(one[:-1]) * 2.55 if one.endswith("%") else float(one) for one in match.group(2, 3, 4)
            ]
            alpha = match[5] or "1"
            opacity = float(alpha[:-1]) / 100 if alpha.endswith("%") else float(alpha)
            return hex_colour(parts[0], parts[1], parts[2], opacity * 255)
        if value.strip().lower() == "transparent":
            return "#00000000"
        text = re.sub(r"hsla\(([^,]+),([^,]+),([^,]+),[^)]*\)", r"hsl(\1,\2,\3)", value.strip().lower())
        found = ImageColor.getcolor(text.replace(" ", ""), "RGBA")
    except ValueError as error:
        raise StyleError(f"{value!r:.80} is not a colour") from error
    colour = found if isinstance(found, tuple) else (found,) * 4
    alpha_of_hsl = re.fullmatch(r"hsla\([^,]+,[^,]+,[^,]+,\s*([\d.]+)\s*\)", value.strip().lower())
    if alpha_of_hsl:
        colour = (*colour[:3], round(float(alpha_of_hsl[1]) * 255))
    return hex_colour(*colour)


class ValueReader:
    """Reads property values; what it does not understand it notes, and `default` takes its place."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    def branches(self, value: Any, place: str, convert: Callable[[Any], Any], default: Any) -> list[Branch]:
        """The value as branches; numbers that follow the zoom level become one Scaled value."""
        if value is None:
            return [Branch(default)]
        try:
            return self._read(_modern(value), convert, 0)
        except (StyleError, TypeError, ValueError, LookupError, ArithmeticError) as error:
            self._notes.add(f"{place}: {_shown(value)} is not understood ({error}); drawn as {default!r}")
            return [Branch(default)]

    def _read(self, value: Any, convert: Callable[[Any], Any], depth: int) -> list[Branch]:
        _check_depth(depth)
        if not isinstance(value, list):
            return [Branch(convert(value))]
        if not value or not isinstance(value[0], str):
            return [Branch(convert(value))]
        method = getattr(self, "_" + value[0].replace("-", "_"), None)
        if method is None:
            raise StyleError(f"expression {value[0]!r:.40} is not known here")
        if len(value) > 2 * MAXIMUM_BRANCHES + 4:
            raise StyleError(f"{value[0]} has more than {MAXIMUM_BRANCHES} cases")
        found: list[Branch] = method(value[1:], convert, depth + 1)
        return found

    def _literal(self, rest: list[Any], convert: Callable[[Any], Any], _depth: int) -> list[Branch]:
        return [Branch(convert(rest[0]))]

    def _rgb(self, rest: list[Any], convert: Callable[[Any], Any], _depth: int) -> list[Branch]:
        return [Branch(convert(hex_colour(float(rest[0]), float(rest[1]), float(rest[2]))))]

    def _rgba(self, rest: list[Any], convert: Callable[[Any], Any], _depth: int) -> list[Branch]:
        return [
            Branch(convert(hex_colour(float(rest[0]), float(rest[1]), float(rest[2]), float(rest[3]) * 255)))
        ]

    def _to_color(self, rest: list[Any], convert: Callable[[Any], Any], depth: int) -> list[Branch]:
        return self._read(rest[0], convert, depth)

    _to_number = _number = _string = _to_string = _image = _to_color

    def _get(self, rest: list[Any], convert: Callable[[Any], Any], _depth: int) -> list[Branch]:
        return [Branch(convert(["get", *rest]))]

    def _concat(self, rest: list[Any], convert: Callable[[Any], Any], _depth: int) -> list[Branch]:
        return [Branch(convert(["concat", *rest]))]

    _format = _concat

    def _coalesce(self, rest: list[Any], convert: Callable[[Any], Any], _depth: int) -> list[Branch]:
        return [Branch(convert(["coalesce", *rest]))]

    def _case(self, rest: list[Any], convert: Callable[[Any], Any], depth: int) -> list[Branch]:
        cases = [
            (within_bounds(read_condition(test)), self._read(value, convert, depth))
            for test, value in zip(rest[:-1:2], rest[1:-1:2], strict=True)
        ]
        return decided(cases, self._read(rest[-1], convert, depth))

    def _match(self, rest: list[Any], convert: Callable[[Any], Any], depth: int) -> list[Branch]:
        field = field_of(rest[0])
        cases = []
        for labels, value in zip(rest[1:-1:2], rest[2:-1:2], strict=True):
            values = tuple(labels) if isinstance(labels, list) else (labels,)
            cases.append((within_bounds(OneOf(field, values)), self._read(value, convert, depth)))
        return decided(cases, self._read(rest[-1], convert, depth))

    def _step(self, rest: list[Any], convert: Callable[[Any], Any], depth: int) -> list[Branch]:
        numbers = [float(one) for one in rest[2::2]]
        if any(a >= b for a, b in pairwise(numbers)):
            raise StyleError("the numbers of a step must rise")
        values = [self._read(one, convert, depth) for one in rest[1::2]]
        if rest[0] == ["zoom"]:
            limits = [0.0, *(number + ZOOM_SHIFT for number in numbers), 25.0]
            return [
                one._replace(low=max(one.low, low), high=min(one.high, high))
                for (low, high), branches in zip(pairwise(limits), values, strict=True)
                for one in branches
            ]
        if any(len(branches) != 1 for branches in values):
            raise StyleError("a step of steps")
        plain = [branches[0].value for branches in values]
        return stepped(field_of(rest[0]), plain[0], list(zip(numbers, plain[1:], strict=True)))

    def _interpolate(self, rest: list[Any], convert: Callable[[Any], Any], depth: int) -> list[Branch]:
        numbers = [float(one) for one in rest[2::2]]
        if not numbers or any(a >= b for a, b in pairwise(numbers)):
            raise StyleError("the numbers of an interpolation must rise")
        values = [self._read(one, convert, depth) for one in rest[3::2]]
        base = _base(rest[0], self._notes)
        if rest[1] == ["zoom"]:
            return _over_zoom([number + ZOOM_SHIFT for number in numbers], values, base)
        if any(len(branches) != 1 for branches in values):
            raise StyleError("an interpolation of branches")
        field = field_of(rest[1])
        self._notes.add(f"values that change steadily with {field!r} are drawn in steps")
        stops = list(zip(numbers, (branches[0].value for branches in values), strict=True))
        return graduated(field, stops, mixed)


def _base(kind: Any, notes: Notes) -> float:
    if isinstance(kind, list) and kind[:1] == ["exponential"]:
        return float(kind[1])
    if kind != ["linear"]:
        notes.add(f"interpolation {_shown(kind)} is drawn as linear")
    return 1.0


def _over_zoom(zooms: list[float], values: list[list[Branch]], base: float) -> list[Branch]:
    """Branches whose values follow the zoom level; all stops must distinguish the same features."""
    filters = [branch.filter for branch in values[0]]
    if any([branch.filter for branch in branches] != filters for branches in values):
        raise StyleError("an interpolation whose stops distinguish different features")
    found: list[Branch] = []
    for index, filter_ in enumerate(filters):
        stops = list(zip(zooms, (branches[index].value for branches in values), strict=True))
        if len(stops) == 1:
            found.append(Branch(stops[0][1], filter_))
        elif isinstance(stops[0][1], int | float):
            found.append(Branch(tuple(_sampled(stops, base)), filter_))
        else:
            found += _by_level(stops, filter_, base)
    return found


def _share(low: float, high: float, zoom: float, base: float) -> float:
    if base == 1:
        return (zoom - low) / (high - low)
    return float((base ** (zoom - low) - 1) / (base ** (high - low) - 1))


def _sampled(stops: Sequence[tuple[float, float]], base: float) -> list[tuple[float, float]]:
    """The stops; where they are not joined by straight lines, every whole level between them too."""
    if base == 1:
        return [(zoom, float(value)) for zoom, value in stops]
    found = [(stops[0][0], float(stops[0][1]))]
    for (low, before), (high, after) in pairwise(stops):
        levels = [
            float(level)
            for level in range(max(0, int(low) + 1), min(int(high) + 1, MAXIMUM_ZOOM))
            if low < level < high
        ]
        found += [(level, mixed(before, after, _share(low, high, level, base))) for level in levels]
        found.append((high, float(after)))
    return found


def _by_level(stops: Sequence[tuple[float, Any]], filter_: Any, base: float) -> list[Branch]:
    """A colour for each level: levels lie half a level to both sides of their number."""
    first, last = max(0, int(stops[0][0])), min(MAXIMUM_ZOOM, int(stops[-1][0]) + 1)
    found = []
    for level in range(first, last + 1):
        value = stops[-1][1] if level >= stops[-1][0] else stops[0][1]
        for (low, before), (high, after) in pairwise(stops):
            if low <= level < high:
                value = mixed(before, after, _share(low, high, level, base))
        low_end = 0.0 if level == first else level - 0.5
        found.append(Branch(value, filter_, low_end, 25.0 if level == last else level + 0.5))
    return found


def field_of(value: Any, depth: int = 0) -> str:
    """The field of `["get", field]`, also within to-string and the like. Raises StyleError."""
    _check_depth(depth)
    if isinstance(value, list) and value:
        if value[0] == "get" and len(value) == 2 and isinstance(value[1], str):
            return value[1]
        if (
            value[0] in ("to-string", "to-number", "string", "number", "to-boolean", "boolean")
            and len(value) >= 2
        ):
            return field_of(value[1], depth + 1)
        if value[0] == "coalesce" and len(value) > 1:
            return field_of(value[1], depth + 1)
    raise StyleError(f"{_shown(value)} is not a field")


def _check_depth(depth: int) -> None:
    if depth > _DEPTH:
        raise StyleError(f"nested deeper than {_DEPTH} levels")


def _modern(value: Any) -> Any:
    """A function of the old form ({"stops": ...}) as an expression."""
    if not isinstance(value, dict):
        return value
    stops = value.get("stops")
    if not isinstance(stops, list) or not stops:
        raise StyleError("a function without stops")
    subject: list[Any] = ["get", value["property"]] if "property" in value else ["zoom"]
    flat = [part for stop in stops for part in stop]
    kind = value.get(
        "type",
        "exponential" if isinstance(stops[0][1], int | float) or _is_colour(stops[0][1]) else "interval",
    )
    if kind == "categorical":
        return ["match", subject, *flat, value.get("default", stops[0][1])]
    if kind == "interval":
        return ["step", subject, stops[0][1], *flat[2:]] if len(stops) > 1 else stops[0][1]
    return ["interpolate", ["exponential", value.get("base", 1)], subject, *flat]


def _is_colour(value: Any) -> bool:
    try:
        css_colour(value)
    except StyleError:
        return False
    return True


def read_text(value: Any, depth: int = 0) -> tuple[TextPart, ...]:
    """The parts of a text: an expression, or a template of the old form with {field}. Raises StyleError."""
    _check_depth(depth)
    if isinstance(value, str):
        parts: list[TextPart] = []
        position = 0
        for match in _PLACEHOLDER.finditer(value):
            parts += [value[position : match.start()], FieldText((match[1],))]
            position = match.end()
        return tuple(part for part in (*parts, value[position:]) if part != "")
    if isinstance(value, int | float):
        return (str(value),)
    if not isinstance(value, list) or not value:
        raise StyleError(f"{_shown(value)} is not a text")
    kind, rest = value[0], value[1:]
    if kind == "get":
        return (FieldText((field_of(value),)),)
    if kind == "coalesce":
        fields = tuple(field_of(one) for one in rest if isinstance(one, list))
        return (FieldText(fields),) if fields else read_text(rest[0], depth + 1)
    if kind in ("to-string", "string", "upcase", "downcase", "number-format", "literal"):
        if kind in ("upcase", "downcase", "number-format"):
            raise StyleError(f"expression {kind!r} in a text is not known here")
        return read_text(rest[0], depth + 1)
    if kind in ("concat", "format"):
        written = [one for one in rest if not isinstance(one, dict)]
        return tuple(part for one in written for part in read_text(one, depth + 1))
    raise StyleError(f"expression {kind!r:.40} in a text is not known here")


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
