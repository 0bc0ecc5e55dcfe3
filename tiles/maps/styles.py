"""Map styles: a small model of our own, read from YAML or JSON, checked once, drawn by Mapnik or by the raster renderer.

The keys are described in docs/reference/styles.md. Every mistake is a StyleError that names the place in the style.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml

from tiles.errors import StyleError, UnknownStyle
from tiles.maps.images import parse_colour
from tiles.maps.style_model import (
    MAXIMUM_ZOOM,
    Condition,
    LabelSymbol,
    LineSymbol,
    PointSymbol,
    PolygonSymbol,
    RasterKind,
    RasterStyle,
    Rule,
    Scaled,
    Style,
    Symbol,
)

_DEFAULTS = {
    "point": "point",
    "multipoint": "point",
    "linestring": "line",
    "multilinestring": "line",
    "polygon": "polygon",
    "multipolygon": "polygon",
    "geometry": "any",
    "geometrycollection": "any",
    "dem": "dem",
    "image": "ortho",
    "raster": "grey",
}


def default_style_name(what: str) -> str:
    """Name of the style for a geometry type ("Point" ... "MultiPolygon", "Geometry"), or for "dem", "image", "raster"."""
    found = _DEFAULTS.get(what.removesuffix("Z").removesuffix("M").strip().lower())
    if found is None:
        raise UnknownStyle(f"no default style for {what!r}; there is one for {', '.join(_DEFAULTS)}")
    return found


def style_names(directory: Path) -> tuple[str, ...]:
    """Names of the styles of a folder."""
    return tuple(sorted(path.stem for path in directory.glob("*.yml")))


def load_style(style: str | Mapping[str, Any], directory: Path) -> Style:
    """The style of that name in `directory` (without .yml), or the given keys themselves. Raises UnknownStyle, StyleError."""
    if not isinstance(style, str):
        return parse_style(style)
    names = style_names(directory)
    if style not in names:
        raise UnknownStyle(
            f"style {style!r} is not in {directory.name}; there are {', '.join(names) or 'none'}"
        )
    try:
        content = yaml.safe_load((directory / f"{style}.yml").read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise StyleError(f"style {style!r} is not YAML: {error}") from error
    try:
        return parse_style(content)
    except StyleError as error:
        raise StyleError(f"style {style!r}: {error}") from error


def parse_style(content: object) -> Style:
    """Check the keys of a style and give it as an object. Raises StyleError."""
    reader = _Reader(content, "style")
    title = reader.take("title", _read_title, ())
    raster = reader.take("raster", _read_raster, None)
    passes = reader.take("passes", _read_passes, ())
    rules = reader.take("rules", _read_rules, ())
    reader.finish()
    if rules:
        passes = (rules, *passes)
    if bool(passes) == (raster is not None):
        raise StyleError("a style has either rules (or passes of rules) for features, or raster")
    return Style(title, passes, raster)


_MISSING: Any = object()


class _Reader:
    """Takes the keys of one mapping, converts each, and refuses those that are left over."""

    def __init__(self, content: object, place: str) -> None:
        if not isinstance(content, Mapping):
            raise StyleError(f"{place} must be a mapping of keys, found {content!r:.80}")
        self._rest = dict(content)
        self._place = place
        self._known: list[str] = []

    def take(self, key: str, convert: Callable[[Any, str], Any], default: Any = _MISSING) -> Any:
        self._known.append(key)
        place = f"{self._place}.{key}"
        if key not in self._rest:
            if default is _MISSING:
                raise StyleError(f"{place} is missing")
            return default
        return convert(self._rest.pop(key), place)

    def finish(self) -> None:
        if self._rest:
            extra = ", ".join(map(repr, self._rest))
            raise StyleError(f"{self._place} has unknown keys {extra}; allowed are {', '.join(self._known)}")


def _number(low: float, high: float) -> Callable[[Any, str], float]:
    def convert(value: Any, place: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise StyleError(f"{place} must be a number from {low:g} to {high:g}, found {value!r:.80}")
        return float(value)

    return convert


def _whole(low: int, high: int) -> Callable[[Any, str], int]:
    def convert(value: Any, place: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise StyleError(f"{place} must be a whole number from {low} to {high}, found {value!r:.80}")
        return value

    return convert


def _choice(*allowed: str) -> Callable[[Any, str], str]:
    def convert(value: Any, place: str) -> str:
        if value not in allowed:
            raise StyleError(f"{place} must be one of {', '.join(allowed)}, found {value!r:.80}")
        return str(value)

    return convert


def _list_of[Item](
    convert: Callable[[Any, str], Item], low: int, high: int
) -> Callable[[Any, str], tuple[Item, ...]]:
    def convert_all(value: Any, place: str) -> tuple[Item, ...]:
        if isinstance(value, str) or not isinstance(value, Sequence) or not low <= len(value) <= high:
            raise StyleError(f"{place} must be a list of {low} to {high} entries, found {value!r:.80}")
        return tuple(convert(item, f"{place}[{index}]") for index, item in enumerate(value))

    return convert_all


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise StyleError(f"{place} must be text of 1 to 200 letters, found {value!r:.80}")
    return value


def _flag(value: Any, place: str) -> bool:
    if not isinstance(value, bool):
        raise StyleError(f"{place} must be true or false, found {value!r:.80}")
    return value


def _colour(value: Any, place: str) -> str:
    try:
        parse_colour(value)
    except StyleError as error:
        raise StyleError(f"{place}: {error}") from error
    return str(value)


def _scaled(low: float, high: float) -> Callable[[Any, str], Scaled]:
    number = _number(low, high)

    def convert(value: Any, place: str) -> Scaled:
        if not isinstance(value, Mapping):
            return number(value, place)
        zoom = _whole(0, MAXIMUM_ZOOM)
        stops = tuple((zoom(key, place), number(size, f"{place}.{key}")) for key, size in value.items())
        if not stops or list(stops) != sorted(set(stops)):
            raise StyleError(f"{place} must name zoom levels in rising order, found {value!r:.80}")
        return stops

    return convert


def _read_title(value: Any, place: str) -> tuple[tuple[str, str], ...]:
    reader = _Reader(value, place)
    titles = tuple((language, reader.take(language, _text, "")) for language in ("en", "zh"))
    reader.finish()
    return tuple(pair for pair in titles if pair[1])


def _read_passes(value: Any, place: str) -> tuple[tuple[Rule, ...], ...]:
    return _list_of(_read_rules, 1, 8)(value, place)


def _read_rules(value: Any, place: str) -> tuple[Rule, ...]:
    return _list_of(_read_rule, 1, 64)(value, place)


def _read_rule(value: Any, place: str) -> Rule:
    reader = _Reader(value, place)
    rule = Rule(
        symbols=reader.take("symbols", _list_of(_read_symbol, 1, 8)),
        name=reader.take("name", _text, ""),
        conditions=reader.take("where", _read_conditions, ()),
        otherwise=reader.take("otherwise", _flag, False),
        min_zoom=reader.take("min_zoom", _whole(0, MAXIMUM_ZOOM), 0),
        max_zoom=reader.take("max_zoom", _whole(0, MAXIMUM_ZOOM), MAXIMUM_ZOOM),
    )
    reader.finish()
    if rule.otherwise and rule.conditions:
        raise StyleError(f"{place} has both where and otherwise: give one of them")
    if rule.min_zoom > rule.max_zoom:
        raise StyleError(f"{place}: min_zoom {rule.min_zoom} lies above max_zoom {rule.max_zoom}")
    return rule


def _read_conditions(value: Any, place: str) -> tuple[Condition, ...]:
    if not isinstance(value, Mapping) or not value:
        raise StyleError(f"{place} must map fields to what they must be, found {value!r:.80}")
    return tuple(
        _read_condition(_text(field, place), wanted, f"{place}.{field}") for field, wanted in value.items()
    )


def _read_condition(field: str, wanted: Any, place: str) -> Condition:
    if isinstance(wanted, Mapping):
        reader = _Reader(wanted, place)
        exists = reader.take("exists", _flag, True)
        minimum = reader.take("min", _number(-1e15, 1e15), None)
        maximum = reader.take("max", _number(-1e15, 1e15), None)
        reader.finish()
        if not exists:
            raise StyleError(
                f"{place}.exists can only be true; features without the field come to the rule otherwise"
            )
        return Condition(field, minimum=minimum, maximum=maximum)
    values = wanted if isinstance(wanted, list | tuple) else [wanted]
    if not 0 < len(values) <= 200 or not all(isinstance(item, str | int | float | bool) for item in values):
        raise StyleError(
            f"{place} must be a value, a list of 1 to 200 values, or min and max; found {wanted!r:.80}"
        )
    return Condition(field, tuple(values))


def _read_symbol(value: Any, place: str) -> Symbol:
    if not isinstance(value, Mapping) or len(value) != 1:
        raise StyleError(f"{place} must be one of {', '.join(_SYMBOLS)} with its keys, found {value!r:.80}")
    [(kind, keys)] = value.items()
    if kind not in _SYMBOLS:
        raise StyleError(f"{place}: symbol {kind!r} is unknown; allowed are {', '.join(_SYMBOLS)}")
    build, required, optional = _SYMBOLS[kind]
    reader = _Reader(keys, f"{place}.{kind}")
    arguments = {key: reader.take(key, convert) for key, convert in required.items()}
    missing = object()
    for key, convert in optional.items():
        found = reader.take(key, convert, missing)
        if found is not missing:
            arguments[key] = found
    reader.finish()
    return build(**arguments)


type _Converters = dict[str, Callable[[Any, str], Any]]
_opacity = _number(0, 1)
_SYMBOLS: dict[str, tuple[Callable[..., Symbol], _Converters, _Converters]] = {
    "polygon": (PolygonSymbol, {"fill": _colour}, {"opacity": _opacity}),
    "line": (
        LineSymbol,
        {"stroke": _colour},
        {
            "width": _scaled(0, 100),
            "opacity": _opacity,
            "dash": _list_of(_number(0, 100), 2, 8),
            "cap": _choice("butt", "round", "square"),
            "join": _choice("miter", "round", "bevel"),
        },
    ),
    "point": (
        PointSymbol,
        {"fill": _colour},
        {
            "size": _scaled(0, 200),
            "stroke": _colour,
            "stroke_width": _number(0, 20),
            "opacity": _opacity,
        },
    ),
    "label": (
        LabelSymbol,
        {"field": _text},
        {
            "fill": _colour,
            "size": _scaled(4, 72),
            "halo": _colour,
            "halo_width": _number(0, 10),
            "placement": _choice("point", "line"),
            "spacing": _number(0, 5000),
            "offset": _number(-100, 100),
        },
    ),
}


def _read_stop(value: Any, place: str) -> tuple[float, str]:
    position, colour = _list_of(lambda item, _place: item, 2, 2)(value, place)
    return _number(0, 1)(position, place), _colour(colour, place)


def _read_classes(value: Any, place: str) -> tuple[tuple[int, str], ...]:
    if not isinstance(value, Mapping) or not 0 < len(value) <= 256:
        raise StyleError(f"{place} must map 1 to 256 whole numbers to colours, found {value!r:.80}")
    code = _whole(-(2**31), 2**31 - 1)
    return tuple((code(key, place), _colour(colour, f"{place}.{key}")) for key, colour in value.items())


def _read_raster(value: Any, place: str) -> RasterStyle:
    reader = _Reader(value, place)
    kind = reader.take("kind", _choice(*get_args(RasterKind.__value__)))
    default_bands = (1, 2, 3) if kind == "rgb" else (1,)
    style = RasterStyle(
        kind=kind,
        bands=reader.take(
            "bands", _list_of(_whole(1, 10_000), len(default_bands), len(default_bands)), default_bands
        ),
        span=reader.take("span", _list_of(_number(-1e15, 1e15), 2, 2), None),
        ramp=reader.take("ramp", _list_of(_read_stop, 2, 64), ()),
        classes=reader.take("classes", _read_classes, ()),
        hillshade=reader.take("hillshade", _opacity, 1.0 if kind == "hillshade" else 0.0),
        azimuth=reader.take("azimuth", _number(0, 360), 315.0),
        altitude=reader.take("altitude", _number(1, 90), 45.0),
        exaggeration=reader.take("exaggeration", _number(0.01, 100), 1.0),
        resampling=reader.take(
            "resampling",
            _choice("nearest", "bilinear", "cubic"),
            "nearest" if kind == "classes" else "bilinear",
        ),
    )
    reader.finish()
    if (kind == "ramp") != bool(style.ramp) or (kind == "classes") != bool(style.classes):
        raise StyleError(
            f"{place}: kind ramp needs the key ramp, kind classes the key classes, and no other kind has them"
        )
    if style.span is not None and style.span[0] >= style.span[1]:
        raise StyleError(f"{place}.span must rise, found {list(style.span)}")
    if list(style.ramp) != sorted(style.ramp, key=lambda stop: stop[0]):
        raise StyleError(f"{place}.ramp must have rising positions")
    return style
