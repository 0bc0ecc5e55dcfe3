"""A style of ours as an SLD document of version 1.0.0 or 1.1.0."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, register_namespace, tostring

from tiles.maps.images import parse_colour
from tiles.maps.maplibre.rasters import raster_stops
from tiles.maps.sld.filters import FilterWriter, written
from tiles.maps.sld.symbolizers import XLINK
from tiles.maps.style_branches import Notes
from tiles.maps.style_model import (
    IconSymbol,
    LabelSymbol,
    LineSymbol,
    PointSymbol,
    PolygonSymbol,
    RasterStyle,
    Rule,
    Scaled,
    Style,
    Symbol,
)
from tiles.maps.style_zooms import fixed_rules, scale_range, without_labels

_SLD = "http://www.opengis.net/sld"
_SE = "http://www.opengis.net/se"
_OGC = "http://www.opengis.net/ogc"
_STANDARD_RELIEF = 55.0

for _prefix, _namespace in (
    ("sld", _SLD),
    ("se", _SE),
    ("ogc", _OGC),
    ("xlink", "http://www.w3.org/1999/xlink"),
):
    register_namespace(_prefix, _namespace)


def write_sld(style: Style, layer: str, version: str) -> tuple[str, tuple[str, ...]]:
    """The document for a layer of that name, and notes on what SLD cannot say."""
    return _Writer(version).write(style, layer)


class _Writer:
    """Writes with the names of one version."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._new = version == "1.1.0"
        self._symbols = _SE if self._new else _SLD
        self._filters = FilterWriter(_OGC)
        self._notes = Notes()

    def write(self, style: Style, layer: str) -> tuple[str, tuple[str, ...]]:
        root = Element(f"{{{_SLD}}}StyledLayerDescriptor", {"version": self._version})
        named = SubElement(root, f"{{{_SLD}}}NamedLayer")
        self._add(named, "Name").text = layer
        user = SubElement(named, f"{{{_SLD}}}UserStyle")
        self._add(user, "Name").text = layer
        titles = dict(style.title)
        if titles:
            self._title(user, titles.get("en") or titles["zh"])
        if len(titles) > 1:
            self._notes.add("SLD has one title; the Chinese one is left out")
        if style.background is not None:
            self._notes.add("SLD has no background")
        if style.raster is not None:
            rule = self._add(self._add(user, "FeatureTypeStyle"), "Rule")
            self._raster(rule, style.raster)
        for rules in (part for each in style.passes for part in _parts(each)):
            drawn = self._add(user, "FeatureTypeStyle")
            for rule_ in rules:
                for fixed in fixed_rules(rule_):
                    self._rule(drawn, fixed)
        indent(root)
        return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(
            root, encoding="unicode"
        ), self._notes.all()

    def _add(self, parent: Element, name: str, /, **attributes: str) -> Element:
        return SubElement(parent, f"{{{self._symbols}}}{name}", attributes)

    def _title(self, parent: Element, title: str) -> None:
        target = self._add(parent, "Description") if self._new else parent
        self._add(target, "Title").text = title

    def _parameter(self, parent: Element, name: str, value: str) -> None:
        self._add(parent, "SvgParameter" if self._new else "CssParameter", name=name).text = value

    def _rule(self, parent: Element, rule: Rule) -> None:
        element = self._add(parent, "Rule")
        if rule.name:
            self._add(element, "Name").text = rule.name
        if rule.title:
            self._title(element, rule.title[0][1])
        if rule.otherwise:
            self._add(element, "ElseFilter")
        elif rule.filter is not None:
            self._filters.add(SubElement(element, f"{{{_OGC}}}Filter"), rule.filter)
        low, high = scale_range(rule)
        if low > 0:
            self._add(element, "MinScaleDenominator").text = repr(low)
        if math.isfinite(high):
            self._add(element, "MaxScaleDenominator").text = repr(high)
        for symbol in rule.symbols:
            self._symbol(element, symbol)

    def _symbol(self, parent: Element, symbol: Symbol) -> None:
        if isinstance(symbol, PolygonSymbol):
            self._polygon(parent, symbol)
        elif isinstance(symbol, LineSymbol):
            self._line(parent, symbol)
        elif isinstance(symbol, PointSymbol):
            self._point(parent, symbol)
        elif isinstance(symbol, IconSymbol):
            self._icon(parent, symbol)
        else:
            self._label(parent, symbol)

    def _fill(self, parent: Element, colour: str, opacity: Scaled = 1.0) -> Element:
        fill = self._add(parent, "Fill")
        red, green, blue, alpha = parse_colour(colour)
        self._parameter(fill, "fill", f"#{red:02x}{green:02x}{blue:02x}")
        self._parameter(fill, "fill-opacity", _text(_plain(opacity) * alpha / 255))
        return fill

    def _polygon(self, parent: Element, symbol: PolygonSymbol) -> None:
        self._fill(self._add(parent, "PolygonSymbolizer"), symbol.fill, symbol.opacity)
        if symbol.pattern:
            second = self._add(self._add(parent, "PolygonSymbolizer"), "Fill")
            self._external(self._add(self._add(second, "GraphicFill"), "Graphic"), symbol.pattern)

    def _line(self, parent: Element, symbol: LineSymbol) -> None:
        element = self._add(parent, "LineSymbolizer")
        red, green, blue, alpha = parse_colour(symbol.stroke)
        stroke = self._add(element, "Stroke")
        self._parameter(stroke, "stroke", f"#{red:02x}{green:02x}{blue:02x}")
        self._parameter(stroke, "stroke-opacity", _text(_plain(symbol.opacity) * alpha / 255))
        self._parameter(stroke, "stroke-width", _text(_plain(symbol.width)))
        self._parameter(stroke, "stroke-linejoin", "mitre" if symbol.join == "miter" else symbol.join)
        self._parameter(stroke, "stroke-linecap", symbol.cap)
        if symbol.dash:
            self._parameter(stroke, "stroke-dasharray", " ".join(map(_text, symbol.dash)))
        if symbol.offset:
            if not self._new:
                self._notes.add(
                    "SLD 1.0 has no PerpendicularOffset; ours is read by many servers nevertheless"
                )
            self._add(element, "PerpendicularOffset").text = _text(-_plain(symbol.offset))

    def _graphic(self, parent: Element) -> Element:
        return self._add(self._add(parent, "PointSymbolizer"), "Graphic")

    def _point(self, parent: Element, symbol: PointSymbol) -> None:
        graphic = self._graphic(parent)
        mark = self._add(graphic, "Mark")
        self._add(mark, "WellKnownName").text = symbol.shape
        self._fill(mark, symbol.fill)
        if symbol.stroke_width > 0:
            red, green, blue, alpha = parse_colour(symbol.stroke)
            stroke = self._add(mark, "Stroke")
            self._parameter(stroke, "stroke", f"#{red:02x}{green:02x}{blue:02x}")
            self._parameter(stroke, "stroke-opacity", _text(alpha / 255))
            self._parameter(stroke, "stroke-width", _text(symbol.stroke_width))
        self._size(graphic, symbol.opacity, symbol.size, symbol.rotation)

    def _size(self, graphic: Element, opacity: Scaled, size: Scaled, rotation: float) -> None:
        self._add(graphic, "Opacity").text = _text(_plain(opacity))
        self._add(graphic, "Size").text = _text(_plain(size))
        if rotation:
            self._add(graphic, "Rotation").text = _text(rotation)

    def _icon(self, parent: Element, symbol: IconSymbol) -> None:
        graphic = self._graphic(parent)
        self._external(graphic, symbol.icon)
        self._size(graphic, symbol.opacity, symbol.size, symbol.rotation)
        if symbol.anchor != "center":
            self._notes.add("the anchor of icons is not written")

    def _external(self, graphic: Element, icon: str) -> None:
        external = self._add(graphic, "ExternalGraphic")
        resource = self._add(external, "OnlineResource")
        resource.set(XLINK, f"icons/{icon}.svg")
        resource.set("{http://www.w3.org/1999/xlink}type", "simple")
        self._add(external, "Format").text = "image/svg+xml"

    def _label(self, parent: Element, symbol: LabelSymbol) -> None:
        element = self._add(parent, "TextSymbolizer")
        self._label_text(self._add(element, "Label"), symbol)
        self._parameter(self._add(element, "Font"), "font-size", _text(_plain(symbol.size)))
        placement = self._add(element, "LabelPlacement")
        if symbol.placement == "line":
            line = self._add(placement, "LinePlacement")
            self._add(line, "PerpendicularOffset").text = _text(-symbol.offset)
            if self._new:
                self._add(line, "IsRepeated").text = "true"
                self._add(line, "Gap").text = _text(symbol.spacing)
            elif symbol.spacing != 300.0:
                self._notes.add("SLD 1.0 cannot say how far labels along a line are apart")
        else:
            self._point_placement(placement, symbol)
        if symbol.halo_width > 0:
            halo = self._add(element, "Halo")
            self._add(halo, "Radius").text = _text(symbol.halo_width)
            self._fill(halo, symbol.halo)
        self._fill(element, symbol.fill, symbol.opacity)

    def _point_placement(self, placement: Element, symbol: LabelSymbol) -> None:
        point = self._add(placement, "PointPlacement")
        anchor = self._add(point, "AnchorPoint")
        x = 0.0 if symbol.anchor.endswith("left") else 1.0 if symbol.anchor.endswith("right") else 0.5
        y = 0.0 if symbol.anchor.startswith("bottom") else 1.0 if symbol.anchor.startswith("top") else 0.5
        self._add(anchor, "AnchorPointX").text = _text(x)
        self._add(anchor, "AnchorPointY").text = _text(y)
        moved = self._add(point, "Displacement")
        self._add(moved, "DisplacementX").text = _text(symbol.offset_x)
        self._add(moved, "DisplacementY").text = _text(-symbol.offset)
        if symbol.rotation:
            self._add(point, "Rotation").text = _text(symbol.rotation)

    def _label_text(self, parent: Element, symbol: LabelSymbol) -> None:
        parts = symbol.parts
        if len(parts) > 1:
            parent = SubElement(parent, f"{{{_OGC}}}Function", {"name": "Concatenate"})
        for part in parts:
            if isinstance(part, str):
                SubElement(parent, f"{{{_OGC}}}Literal").text = part
                continue
            target = parent
            if len(part.fields) > 1:
                target = SubElement(parent, f"{{{_OGC}}}Function", {"name": "Coalesce"})
            for field in part.fields:
                SubElement(target, f"{{{_OGC}}}PropertyName").text = field

    # --- rasters ---

    def _raster(self, rule: Element, style: RasterStyle) -> None:
        element = self._add(rule, "RasterSymbolizer")
        if style.opacity != 1:
            self._add(element, "Opacity").text = _text(style.opacity)
        self._channels(element, style)
        if style.kind in ("ramp", "intervals", "classes"):
            self._colour_map(element, style)
        if style.gamma != 1 or (style.span is not None and style.kind == "rgb"):
            self._contrast(element, style.gamma, style.span if style.kind == "rgb" else None)
        if style.hillshade:
            relief = self._add(element, "ShadedRelief")
            self._add(relief, "ReliefFactor").text = _text(style.exaggeration * _STANDARD_RELIEF)
            plain = replace(style, hillshade=1.0, azimuth=315.0, altitude=45.0, multidirectional=False)
            if plain != style:
                self._notes.add("SLD cannot say strength and direction of a shaded relief")
        if style.expression is not None:
            self._notes.add(f"the band expression {style.expression!r} cannot be said in SLD")

    def _channels(self, element: Element, style: RasterStyle) -> None:
        selection = self._add(element, "ChannelSelection")
        names = ("RedChannel", "GreenChannel", "BlueChannel") if len(style.bands) == 3 else ("GrayChannel",)
        for index, (name, band) in enumerate(zip(names, style.bands, strict=True)):
            channel = self._add(selection, name)
            self._add(channel, "SourceChannelName").text = str(band)
            if style.spans:
                self._contrast(channel, 1.0, style.spans[index])

    def _contrast(self, parent: Element, gamma: float, span: tuple[float, float] | None) -> None:
        contrast = self._add(parent, "ContrastEnhancement")
        if span is not None:
            normalize = self._add(contrast, "Normalize")
            self._add(normalize, "VendorOption", name="algorithm").text = "StretchToMinimumMaximum"
            self._add(normalize, "VendorOption", name="minValue").text = _text(span[0])
            self._add(normalize, "VendorOption", name="maxValue").text = _text(span[1])
        self._add(contrast, "GammaValue").text = _text(gamma)

    def _colour_map(self, element: Element, style: RasterStyle) -> None:
        entries: list[tuple[float, str]]
        if style.kind == "ramp":
            if style.span is None:
                self._notes.add("a ramp over the range of the data is written from 0 to 1: SLD needs values")
                style = replace(style, span=(0.0, 1.0))
            entries, kind = raster_stops(style), "ramp"
        elif style.kind == "classes":
            entries, kind = list(style.classes), "values"
        else:
            entries = [(1e15 if upper is None else upper, colour) for upper, colour in style.intervals]
            kind = "intervals"
        colour_map = self._add(element, "ColorMap", type=kind)
        for index, (value, colour) in enumerate(entries):
            red, green, blue, alpha = parse_colour(colour)
            attributes: dict[str, Any] = {
                "color": f"#{red:02x}{green:02x}{blue:02x}",
                "quantity": _text(value),
            }
            if alpha < 255:
                attributes["opacity"] = _text(alpha / 255)
            if index < len(style.labels):
                attributes["label"] = style.labels[index]
            self._add(colour_map, "ColorMapEntry", **attributes)


def _parts(rules: tuple[Rule, ...]) -> tuple[tuple[Rule, ...], ...]:
    """The pass; labels apart where there is an `otherwise`, which is about what is drawn, not about what is labelled."""
    if not any(rule.otherwise for rule in rules):
        return (rules,)
    return tuple(part for part in without_labels(rules) if part)


def _plain(value: Scaled) -> float:
    return value[0][1] if isinstance(value, tuple) else value


def _text(value: float) -> str:
    return written(round(float(value), 10))
