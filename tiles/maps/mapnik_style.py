"""A style of ours as a Mapnik map: one Mapnik style a pass, labels last, a rule for each zoom level where sizes change.

Fields get short names (f0, f1, ...) in the SQL that reads them, so that no name of a user's field ever stands inside a
Mapnik expression.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

from tiles.maps.style_model import (
    MAXIMUM_ZOOM,
    Condition,
    LabelSymbol,
    LineSymbol,
    PointSymbol,
    PolygonSymbol,
    Rule,
    Scalar,
    Scaled,
    Style,
    Symbol,
)

_DENOMINATOR_AT_ZOOM_0 = 559082264.0287178
_HALF_ZOOM = 2**0.5
_FONT_SET = "labels"


class MapnikStyle(NamedTuple):
    """`xml` of a Map without layers; `styles` the names of its styles, lowest first."""

    xml: str
    styles: tuple[str, ...]


def style_fields(style: Style) -> tuple[str, ...]:
    """Names of the fields a style looks at, in the order of appearance."""
    found: dict[str, None] = {}
    for rules in style.passes:
        for rule in rules:
            found.update((condition.field, None) for condition in rule.conditions)
            found.update((symbol.field, None) for symbol in rule.symbols if isinstance(symbol, LabelSymbol))
    return tuple(found)


def build_mapnik_style(style: Style, aliases: Mapping[str, str], faces: tuple[str, ...]) -> MapnikStyle:
    """Mapnik's XML for a vector style.

    `aliases` maps the fields the data has to their names in the SQL; a label of another field is not drawn, a rule that
    asks for one never applies. `faces` are font faces in the order of search; without any, no label is drawn.
    """
    root = Element("Map", {"background-color": "transparent"})
    if faces:
        font_set = SubElement(root, "FontSet", name=_FONT_SET)
        for face in faces:
            SubElement(font_set, "Font", {"face-name": face})
    names = []
    label_rules: list[Rule] = []
    for number, rules in enumerate(style.passes):
        drawn = [_only(rule, labels=False) for rule in rules]
        if any(rule.symbols for rule in drawn):
            names.append(f"pass{number}")
            _add_style(root, names[-1], drawn, aliases)
        # A rule without labels stays: what it takes, a later "otherwise" must not label.
        labels = [_only(rule, labels=True) for rule in rules]
        if any(rule.symbols for rule in labels):
            label_rules += labels
    if label_rules and faces:
        names.append("labels")
        _add_style(root, "labels", label_rules, aliases)
    return MapnikStyle(tostring(root, encoding="unicode"), tuple(names))


def _only(rule: Rule, *, labels: bool) -> Rule:
    """The rule with its labels alone, or without them."""
    symbols = tuple(symbol for symbol in rule.symbols if isinstance(symbol, LabelSymbol) == labels)
    return Rule(symbols, rule.name, rule.conditions, rule.otherwise, rule.min_zoom, rule.max_zoom)


def _add_style(root: Element, name: str, rules: list[Rule], aliases: Mapping[str, str]) -> None:
    element = SubElement(root, "Style", {"name": name, "filter-mode": "all"})
    for rule in rules:
        if any(condition.field not in aliases for condition in rule.conditions):
            continue
        for low, high in _zoom_ranges(rule):
            _add_rule(element, rule, aliases, low, high)


def _add_rule(style: Element, rule: Rule, aliases: Mapping[str, str], low: int, high: int) -> None:
    element = SubElement(style, "Rule")
    if high < MAXIMUM_ZOOM:
        SubElement(element, "MinScaleDenominator").text = repr(_DENOMINATOR_AT_ZOOM_0 / 2**high / _HALF_ZOOM)
    if low > 0:
        SubElement(element, "MaxScaleDenominator").text = repr(_DENOMINATOR_AT_ZOOM_0 / 2**low * _HALF_ZOOM)
    if rule.otherwise:
        SubElement(element, "ElseFilter")
    elif rule.conditions:
        SubElement(element, "Filter").text = " and ".join(
            _expression(condition, aliases[condition.field]) for condition in rule.conditions
        )
    for symbol in rule.symbols:
        _add_symbol(element, symbol, aliases, low)


def _zoom_ranges(rule: Rule) -> Iterator[tuple[int, int]]:
    """Inclusive zoom ranges of the rule within which every size is constant."""
    zooms = [zoom for symbol in rule.symbols for zoom, _ in _stops(symbol)]
    if not zooms:
        yield rule.min_zoom, rule.max_zoom
        return
    first, last = min(zooms), max(zooms)
    low = rule.min_zoom
    for high in [*range(first, last), rule.max_zoom]:
        if low <= high <= rule.max_zoom:
            yield low, high
            low = high + 1


def _stops(symbol: Symbol) -> tuple[tuple[int, float], ...]:
    size: Scaled = 0.0
    if isinstance(symbol, LineSymbol):
        size = symbol.width
    elif isinstance(symbol, PointSymbol | LabelSymbol):
        size = symbol.size
    return size if isinstance(size, tuple) else ()


def scaled_value(size: Scaled, zoom: float) -> float:
    """The number at a zoom level: interpolated between the stops, constant outside them."""
    if not isinstance(size, tuple):
        return size
    if zoom <= size[0][0]:
        return size[0][1]
    for (low, before), (high, after) in pairwise(size):
        if zoom <= high:
            return before + (after - before) * (zoom - low) / (high - low)
    return size[-1][1]


def _expression(condition: Condition, alias: str) -> str:
    """A Mapnik filter. Field names are aliases of ours, text is quoted."""
    field = f"[{alias}]"
    if condition.values:
        return "(" + " or ".join(f"{field} = {_literal(value)}" for value in condition.values) + ")"
    parts = [f"{field} != null"]
    if condition.minimum is not None:
        parts.append(f"{field} >= {condition.minimum!r}")
    if condition.maximum is not None:
        parts.append(f"{field} < {condition.maximum!r}")
    return "(" + " and ".join(parts) + ")"


def _literal(value: Scalar) -> str:
    if isinstance(value, bool):
        # GeoPackage keeps booleans as 0 and 1.
        return "1" if value else "0"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    return repr(value)


def _add_symbol(rule: Element, symbol: Symbol, aliases: Mapping[str, str], zoom: int) -> None:
    if isinstance(symbol, PolygonSymbol):
        SubElement(rule, "PolygonSymbolizer", {"fill": symbol.fill, "fill-opacity": repr(symbol.opacity)})
    elif isinstance(symbol, LineSymbol):
        attributes = {
            "stroke": symbol.stroke,
            "stroke-width": repr(scaled_value(symbol.width, zoom)),
            "stroke-opacity": repr(symbol.opacity),
            "stroke-linecap": symbol.cap,
            "stroke-linejoin": symbol.join,
        }
        if symbol.dash:
            dashes = symbol.dash if len(symbol.dash) % 2 == 0 else symbol.dash * 2
            attributes["stroke-dasharray"] = ", ".join(map(repr, dashes))
        SubElement(rule, "LineSymbolizer", attributes)
    elif isinstance(symbol, PointSymbol):
        size = repr(scaled_value(symbol.size, zoom))
        attributes = {
            "file": "shape://ellipse",
            "width": size,
            "height": size,
            "fill": symbol.fill,
            "stroke": symbol.stroke,
            "stroke-width": repr(symbol.stroke_width),
            "opacity": repr(symbol.opacity),
            "multi-policy": "each",
            "allow-overlap": "true",
            "ignore-placement": "true",
        }
        SubElement(rule, "MarkersSymbolizer", attributes)
    elif symbol.field in aliases:
        _add_label(rule, symbol, aliases[symbol.field], zoom)


def _add_label(rule: Element, symbol: LabelSymbol, alias: str, zoom: int) -> None:
    attributes = {
        "fontset-name": _FONT_SET,
        "size": repr(scaled_value(symbol.size, zoom)),
        "fill": symbol.fill,
        "halo-fill": symbol.halo,
        "halo-radius": repr(symbol.halo_width),
        "dy": repr(symbol.offset),
    }
    if symbol.placement == "line":
        attributes |= {"placement": "line", "spacing": repr(symbol.spacing), "max-char-angle-delta": "30"}
    else:
        attributes |= {"placement": "interior", "wrap-width": "90"}
    SubElement(rule, "TextSymbolizer", attributes).text = f"[{alias}]"
