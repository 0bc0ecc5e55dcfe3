"""A style of ours as a Mapnik map: one Mapnik style a pass, labels last, a rule for each zoom level where sizes change.

Fields get short names (f0, f1, ...) in the SQL that reads them, so that no name of a user's field ever stands inside a
Mapnik expression.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

from tiles.maps.icons import icon_file, icon_size
from tiles.maps.mapnik_filters import literal, mapnik_expression
from tiles.maps.style_filters import (
    NEVER,
    Filter,
    Not,
    Present,
    all_of,
    filter_fields,
    of_known_fields,
)
from tiles.maps.style_model import (
    FieldText,
    IconSymbol,
    LabelSymbol,
    LineSymbol,
    PointSymbol,
    PolygonSymbol,
    Rule,
    Scaled,
    Style,
    Symbol,
)
from tiles.maps.style_zooms import fixed_rules, scale_range, scaled_value

__all__ = ["MapnikStyle", "build_mapnik_style", "scaled_value", "style_fields"]

_FONT_SET = "labels"
_SHAPES = Path(__file__).parent / "shapes"
SHAPE_EDGE = 24.0
"""The shapes of points lie within a square of that size around their middle."""


class MapnikStyle(NamedTuple):
    """`xml` of a Map without layers; `styles` the names of its styles, lowest first."""

    xml: str
    styles: tuple[str, ...]


def style_fields(style: Style) -> tuple[str, ...]:
    """Names of the fields a style looks at, in the order of appearance."""
    found: dict[str, None] = {}
    for rules in style.passes:
        for rule in rules:
            found.update(dict.fromkeys(filter_fields(rule.filter)))
            for symbol in rule.symbols:
                if isinstance(symbol, LabelSymbol):
                    found.update(dict.fromkeys(symbol.fields))
    return tuple(found)


def shape_file(shape: str) -> Path:
    """The outline of a shape of points that is no circle, as SVG, SHAPE_EDGE wide."""
    return _SHAPES / f"{shape}.svg"


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
    builder = _Builder(root, aliases, style.icon_folder)
    names = []
    label_rules: list[Rule] = []
    for number, rules in enumerate(style.passes):
        drawn = [_only(rule, labels=False) for rule in rules]
        if any(rule.symbols for rule in drawn):
            names.append(f"pass{number}")
            builder.add_style(names[-1], drawn)
        # A rule without labels stays: what it takes, a later "otherwise" must not label.
        labels = [_only(rule, labels=True) for rule in rules]
        if any(rule.symbols for rule in labels):
            label_rules += labels
    if label_rules and faces:
        names.append("labels")
        builder.add_style("labels", label_rules)
    return MapnikStyle(tostring(root, encoding="unicode"), tuple(names))


def _only(rule: Rule, *, labels: bool) -> Rule:
    """The rule with its labels alone, or without them."""
    symbols = tuple(symbol for symbol in rule.symbols if isinstance(symbol, LabelSymbol) == labels)
    return replace(rule, symbols=symbols)


class _Builder:
    """Adds Mapnik styles to a map."""

    def __init__(self, root: Element, aliases: Mapping[str, str], icon_folder: str | None) -> None:
        self._root = root
        self._aliases = aliases
        self._icon_folder = icon_folder

    def add_style(self, name: str, rules: list[Rule]) -> None:
        element = SubElement(self._root, "Style", {"name": name, "filter-mode": "all"})
        for rule in rules:
            filter_ = None if rule.filter is None else of_known_fields(rule.filter, self._aliases)
            if filter_ == NEVER:
                continue
            for fixed in fixed_rules(replace(rule, filter=filter_)):
                for chosen in self._with_chosen_fields(fixed):
                    self._add_rule(element, chosen)

    def _with_chosen_fields(self, rule: Rule) -> Iterator[Rule]:
        """The rule once for each choice of the fields its labels are written from: Mapnik has no "first of these"."""
        parts = {
            part.fields: tuple(field for field in part.fields if field in self._aliases)
            for symbol in rule.symbols
            if isinstance(symbol, LabelSymbol)
            for part in symbol.parts
            if isinstance(part, FieldText)
        }
        if rule.otherwise or all(len(present) < 2 for present in parts.values()):
            yield rule
            return
        for chosen in product(*(present or ("",) for present in parts.values())):
            conditions: list[Filter] = []
            for present, field in zip(parts.values(), chosen, strict=True):
                earlier = present[: present.index(field)] if field else ()
                conditions += [Not(Present(one)) for one in earlier]
                if field and field != present[-1]:
                    conditions.append(Present(field))
            choice = dict(zip(parts, chosen, strict=True))
            symbols = tuple(
                _choosing(symbol, choice) if isinstance(symbol, LabelSymbol) else symbol
                for symbol in rule.symbols
            )
            yield replace(rule, symbols=symbols, filter=all_of(rule.filter, *conditions))

    def _add_rule(self, style: Element, rule: Rule) -> None:
        element = SubElement(style, "Rule")
        low, high = scale_range(rule)
        if low > 0:
            SubElement(element, "MinScaleDenominator").text = repr(low)
        if math.isfinite(high):
            SubElement(element, "MaxScaleDenominator").text = repr(high)
        if rule.otherwise:
            SubElement(element, "ElseFilter")
        elif rule.filter is not None:
            SubElement(element, "Filter").text = mapnik_expression(rule.filter, self._aliases)
        for symbol in rule.symbols:
            self._add_symbol(element, symbol)

    def _add_symbol(self, rule: Element, symbol: Symbol) -> None:
        if isinstance(symbol, PolygonSymbol):
            self._add_polygon(rule, symbol)
        elif isinstance(symbol, LineSymbol):
            _add_line(rule, symbol)
        elif isinstance(symbol, PointSymbol):
            _add_point(rule, symbol)
        elif isinstance(symbol, IconSymbol):
            self._add_icon(rule, symbol)
        elif any(field in self._aliases for field in symbol.fields) or not symbol.fields:
            self._add_label(rule, symbol)

    def _add_polygon(self, rule: Element, symbol: PolygonSymbol) -> None:
        SubElement(rule, "PolygonSymbolizer", {"fill": symbol.fill, "fill-opacity": _number(symbol.opacity)})
        file = icon_file(self._icon_folder, symbol.pattern) if symbol.pattern else None
        if file is not None:
            attributes = {"file": str(file), "opacity": _number(symbol.opacity), "alignment": "global"}
            SubElement(rule, "PolygonPatternSymbolizer", attributes)

    def _add_icon(self, rule: Element, symbol: IconSymbol) -> None:
        file = icon_file(self._icon_folder, symbol.icon)
        if file is None:
            return
        width, height = icon_size(file)
        scale = _plain(symbol.size) / height
        x, y = _anchor_shift(symbol.anchor)
        transform = f"scale({scale!r}) translate({x * width!r}, {y * height!r})"
        if symbol.rotation:
            transform = f"rotate({symbol.rotation!r}) {transform}"
        attributes = {
            "file": str(file),
            "transform": transform,
            "opacity": _number(symbol.opacity),
            "multi-policy": "each",
            "allow-overlap": "true" if symbol.overlap else "false",
            "ignore-placement": "true" if symbol.overlap else "false",
        }
        SubElement(rule, "MarkersSymbolizer", attributes)

    def _add_label(self, rule: Element, symbol: LabelSymbol) -> None:
        horizontal, vertical = _alignment(symbol.anchor)
        attributes = {
            "fontset-name": _FONT_SET,
            "size": _number(symbol.size),
            "fill": symbol.fill,
            "halo-fill": symbol.halo,
            "halo-radius": repr(symbol.halo_width),
            "dy": repr(symbol.offset),
        }
        if symbol.offset_x:
            attributes["dx"] = repr(symbol.offset_x)
        if symbol.opacity != 1.0:
            attributes |= {"opacity": _number(symbol.opacity), "halo-opacity": _number(symbol.opacity)}
        if symbol.overlap:
            attributes["allow-overlap"] = "true"
        if symbol.placement == "line":
            attributes |= {"placement": "line", "spacing": repr(symbol.spacing), "max-char-angle-delta": "30"}
        else:
            attributes |= {"placement": "interior", "wrap-width": repr(symbol.wrap)}
            # Always said: Mapnik's own choice follows the offset.
            attributes |= {"horizontal-alignment": horizontal, "vertical-alignment": vertical}
            if symbol.rotation:
                attributes["orientation"] = repr(symbol.rotation)
        SubElement(rule, "TextSymbolizer", attributes).text = self._text(symbol)

    def _text(self, symbol: LabelSymbol) -> str:
        written = []
        for part in symbol.parts:
            if isinstance(part, str):
                written.append(literal(part))
            else:
                present = [field for field in part.fields if field in self._aliases]
                written += [f"[{self._aliases[field]}]" for field in present[:1]]
        return " + ".join(written)


def _choosing(symbol: LabelSymbol, choice: Mapping[tuple[str, ...], str]) -> LabelSymbol:
    """The label with one field in the place of each list of fields."""
    text = tuple(
        FieldText((choice[part.fields],)) if isinstance(part, FieldText) else part for part in symbol.parts
    )
    return replace(symbol, text=text, field="")


def _plain(value: Scaled) -> float:
    """A size of a rule whose sizes were fixed."""
    return value[0][1] if isinstance(value, tuple) else value


def _number(value: Scaled) -> str:
    return repr(float(_plain(value)))


def _anchor_shift(anchor: str) -> tuple[float, float]:
    """How far an icon is moved so that its anchor stands on the point, in parts of its width and height."""
    x = 0.5 if anchor.endswith("left") else -0.5 if anchor.endswith("right") else 0.0
    y = 0.5 if anchor.startswith("top") else -0.5 if anchor.startswith("bottom") else 0.0
    return x, y


def _alignment(anchor: str) -> tuple[str, str]:
    """Mapnik says on which side of the point a text lies; the anchor is the side of the text that is on the point."""
    horizontal = "right" if anchor.endswith("left") else "left" if anchor.endswith("right") else "middle"
    vertical = "bottom" if anchor.startswith("top") else "top" if anchor.startswith("bottom") else "middle"
    return horizontal, vertical


_THIN = 1.5


def _add_line(rule: Element, symbol: LineSymbol) -> None:
    # Nobody sees how a line of a pixel ends and turns; to round it costs as much again as to draw it.
    thin = isinstance(symbol.width, int | float) and symbol.width <= _THIN
    attributes = {
        "stroke": symbol.stroke,
        "stroke-width": _number(symbol.width),
        "stroke-opacity": _number(symbol.opacity),
        "stroke-linecap": "butt" if thin and symbol.cap == "round" else symbol.cap,
        "stroke-linejoin": "miter" if thin and symbol.join == "round" else symbol.join,
    }
    if symbol.offset:
        # Mapnik counts to the left of the direction.
        attributes["offset"] = repr(-_plain(symbol.offset))
    if symbol.dash:
        dashes = symbol.dash if len(symbol.dash) % 2 == 0 else symbol.dash * 2
        attributes["stroke-dasharray"] = ", ".join(map(repr, dashes))
    SubElement(rule, "LineSymbolizer", attributes)


def _add_point(rule: Element, symbol: PointSymbol) -> None:
    size = _plain(symbol.size)
    attributes = {
        "fill": symbol.fill,
        "stroke": symbol.stroke,
        "stroke-width": repr(symbol.stroke_width),
        "opacity": _number(symbol.opacity),
        "multi-policy": "each",
        "allow-overlap": "true",
        "ignore-placement": "true",
    }
    if symbol.shape == "circle":
        attributes |= {"file": "shape://ellipse", "width": repr(size), "height": repr(size)}
    elif size > 0:
        scale = size / SHAPE_EDGE
        turn = f"rotate({symbol.rotation!r}) " if symbol.rotation else ""
        # The outline grows with the shape: its width is given before that.
        attributes |= {
            "file": str(shape_file(symbol.shape)),
            "transform": f"{turn}scale({scale!r})",
            "stroke-width": repr(symbol.stroke_width / scale),
        }
    else:
        return
    SubElement(rule, "MarkersSymbolizer", attributes)
