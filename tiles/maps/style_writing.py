"""A style object as the keys it is read from, and its digest."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from functools import lru_cache
from typing import Any

from tiles.maps.icons import icon_file
from tiles.maps.style_filters import (
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    GeometryIs,
    Like,
    Not,
    OneOf,
    Present,
)
from tiles.maps.style_model import (
    FieldText,
    IconSymbol,
    LabelSymbol,
    LineSymbol,
    PointSymbol,
    PolygonSymbol,
    RasterStyle,
    Rule,
    Style,
    Symbol,
    TextPart,
)
from tiles.maps.style_reading import OPERATOR_KEYS

_DRAWING = 2
"""To be raised when the same style begins to be drawn in another way: kept tiles of before are then void."""

_KINDS: dict[type[Symbol], str] = {
    PolygonSymbol: "polygon",
    LineSymbol: "line",
    PointSymbol: "point",
    IconSymbol: "icon",
    LabelSymbol: "label",
}
_ALWAYS = {"fill", "stroke", "icon", "kind"}


def style_keys(style: Style) -> dict[str, Any]:
    """Keys that `parse_style` reads as the same style (without its folder of icons)."""
    content: dict[str, Any] = {}
    if style.title:
        content["title"] = dict(style.title)
    if style.background is not None:
        content["background"] = style.background
    if style.raster is not None:
        content["raster"] = _raster_keys(style.raster)
    elif len(style.passes) == 1:
        content["rules"] = [_rule_keys(rule) for rule in style.passes[0]]
    else:
        content["passes"] = [[_rule_keys(rule) for rule in rules] for rules in style.passes]
    return content


def style_digest(style: Style) -> str:
    """16 hex letters that differ where the pictures may: of everything in the style, and of the icons it draws."""
    return _digest(style)


@lru_cache(maxsize=512)
def _digest(style: Style) -> str:
    digest = hashlib.blake2s(digest_size=8)
    parts = (_DRAWING, style.passes, style.raster, style.background)
    digest.update(repr(parts).encode("utf-8", "surrogatepass"))
    for name in style_icons(style):
        file = icon_file(style.icon_folder, name)
        digest.update(b"\0" + name.encode() + b"\0" + (b"" if file is None else file.read_bytes()))
    return digest.hexdigest()


def style_icons(style: Style) -> tuple[str, ...]:
    """Names of the icons and patterns a style draws, each once."""
    found: dict[str, None] = {}
    for rules in style.passes:
        for rule in rules:
            for symbol in rule.symbols:
                if isinstance(symbol, IconSymbol):
                    found[symbol.icon] = None
                elif isinstance(symbol, PolygonSymbol) and symbol.pattern is not None:
                    found[symbol.pattern] = None
    return tuple(found)


def _plain(value: Any) -> Any:
    """Tuples as lists, whole numbers without a point."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _stops(value: Any) -> Any:
    """A size: a number, or a mapping of zoom levels."""
    if isinstance(value, tuple):
        return {_plain(zoom): _plain(size) for zoom, size in value}
    return _plain(value)


def _rule_keys(rule: Rule) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for field in fields(rule):
        value = getattr(rule, field.name)
        if field.name in ("symbols", "filter") or value == field.default:
            continue
        content[field.name] = dict(value) if field.name == "title" else _plain(value)
    if rule.filter is not None:
        content["filter"] = _filter_keys(rule.filter)
    content["symbols"] = [{_KINDS[type(symbol)]: _symbol_keys(symbol)} for symbol in rule.symbols]
    return content


def _symbol_keys(symbol: Symbol) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for field in fields(symbol):
        value = getattr(symbol, field.name)
        if value == field.default and field.name not in _ALWAYS:
            continue
        if field.name == "text":
            content["text"] = text_template(value)
        elif field.name in ("size", "width", "opacity", "offset"):
            content[field.name] = _stops(value)
        else:
            content[field.name] = _plain(value)
    return content


def text_template(parts: tuple[TextPart, ...]) -> str:
    """Text in which {field} stands for a field. Brackets of the text itself cannot be written and become round ones."""
    return "".join(
        "{" + "|".join(part.fields) + "}"
        if isinstance(part, FieldText)
        else part.replace("{", "(").replace("}", ")")
        for part in parts
    )


def _filter_keys(filter_: Filter) -> dict[str, Any]:
    match filter_:
        case Comparison(field, operator, value):
            return {"field": field, OPERATOR_KEYS[operator]: value}
        case OneOf(field, values):
            return {"field": field, "in": list(values)}
        case Present(field):
            return {"field": field, "exists": True}
        case Like(field, pattern):
            return {"field": field, "like": pattern}
        case GeometryIs(kind):
            return {"geometry": kind}
        case AllOf(parts):
            return {"all": [_filter_keys(part) for part in parts]}
        case AnyOf(parts):
            return {"any": [_filter_keys(part) for part in parts]}
        case Not(part):
            return {"not": _filter_keys(part)}


def _raster_keys(raster: RasterStyle) -> dict[str, Any]:
    content: dict[str, Any] = {"kind": raster.kind}
    for field in fields(raster):
        value = getattr(raster, field.name)
        if field.name in ("kind", "classes", "bands", "resampling", "hillshade") or value == field.default:
            continue
        content[field.name] = _plain(value)
    if raster.expression is None:
        content["bands"] = list(raster.bands)
    if raster.classes:
        content["classes"] = {_plain(code): colour for code, colour in raster.classes}
    return content | {"resampling": raster.resampling, "hillshade": _plain(raster.hillshade)}
