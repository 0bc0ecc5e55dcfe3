"""Symbolizers of SLD as symbols of ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from xml.etree.ElementTree import Element

from tiles.errors import StyleError
from tiles.maps.icons import is_icon_name
from tiles.maps.sld.elements import child, children, local, number, text
from tiles.maps.sld.filters import field_name, scalar
from tiles.maps.style_branches import Branch, Notes, decided, graduated, mixed, stepped
from tiles.maps.style_filters import OneOf
from tiles.maps.style_model import (
    Anchor,
    FieldText,
    IconSymbol,
    LabelSymbol,
    LineSymbol,
    PointSymbol,
    PolygonSymbol,
    Symbol,
    TextPart,
    drawable_dashes,
)

_SHAPES = {"circle", "square", "triangle", "star", "cross", "x"}
_FIELDS = ("PropertyName", "ValueReference")
_HEX = re.compile(r"#[0-9a-fA-F]{6}")
XLINK = "{http://www.w3.org/1999/xlink}href"
type Properties = dict[str, list[Branch]]
type Build = Callable[[Mapping[str, Any]], list[Symbol]]


class SymbolizerReader:
    """Reads symbolizers; what is not understood is noted, the rest is drawn."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    def read(self, element: Element) -> tuple[Properties, Build] | None:
        """The properties of a symbolizer as branches, and what makes its symbols of one value each; None where it is unknown."""
        kind = local(element)
        if element.get("uom", "").rpartition("/")[2] not in ("", "pixel"):
            self._notes.add(f"{kind}: sizes in {element.get('uom')} are taken as pixels")
        for one in children(element, "VendorOption"):
            self._notes.add(f"{kind}: vendor option {one.get('name')!r} is not known here")
        geometry = child(element, "Geometry")
        if geometry is not None and any(local(one) not in _FIELDS for one in children(geometry)):
            self._notes.add(f"{kind}: a computed geometry is not drawn; the feature's own is")
        methods = {
            "PolygonSymbolizer": self._polygon,
            "LineSymbolizer": self._line,
            "PointSymbolizer": self._point,
            "TextSymbolizer": self._text,
        }
        method = methods.get(kind)
        return None if method is None else method(element)

    # --- values ---

    def _parameters(self, element: Element | None) -> dict[str, Element]:
        return {one.get("name", ""): one for one in children(element, "CssParameter", "SvgParameter")}

    def _value(
        self, element: Element | None, convert: Callable[[str], Any], default: Any, what: str
    ) -> list[Branch]:
        """The value of an element: its text, a literal, or a function of a field."""
        if element is None:
            return [Branch(default)]
        inner = next(children(element), None)
        try:
            if inner is None:
                return [Branch(convert(text(element)))]
            if local(inner) == "Literal":
                return [Branch(convert(text(inner)))]
            return self._function(inner, convert)
        except StyleError as error:
            self._notes.add(f"{what}: {error}; drawn as {default!r}")
            return [Branch(default)]

    def _function(self, element: Element, convert: Callable[[str], Any]) -> list[Branch]:
        """Recode, Categorize and Interpolate of Symbology Encoding (05-077r4, 11.6)."""
        kind = local(element)
        field = field_name(
            text(element, "LookupValue", "PropertyName") or text(element, "LookupValue", "ValueReference")
        )
        if kind == "Recode":
            items = list(children(element, "MapItem"))
            cases = [
                (_is(field, text(item, "Data")), [Branch(convert(_plain(child(item, "Value"))))])
                for item in items
            ]
            return decided(cases, [])
        if kind == "Categorize":
            values = [convert(_plain(one)) for one in children(element, "Value")]
            limits = [number(_plain(one), "Threshold") for one in children(element, "Threshold")]
            if len(values) != len(limits) + 1:
                raise StyleError("Categorize has one Value more than Thresholds")
            return stepped(field, values[0], list(zip(limits, values[1:], strict=True)))
        if kind == "Interpolate":
            self._notes.add(f"values that change steadily with {field!r} are drawn in steps")
            points = list(children(element, "InterpolationPoint"))
            stops = [
                (number(text(one, "Data"), "Data"), convert(_plain(child(one, "Value")))) for one in points
            ]
            return graduated(field, stops, mixed)
        raise StyleError(f"{kind} is not known here as a value")

    # --- symbolizers ---

    def _polygon(self, element: Element) -> tuple[Properties, Build]:
        fill, stroke = child(element, "Fill"), child(element, "Stroke")
        css = self._parameters(fill)
        properties: Properties = {
            "fill": self._value(css.get("fill"), _colour, "#808080", "fill"),
            "opacity": self._value(css.get("fill-opacity"), _share, 1.0, "fill-opacity"),
        } | (self._stroke(stroke, "stroke.") if stroke is not None else {})
        pattern = self._graphic_name(child(fill, "GraphicFill", "Graphic"))
        if child(element, "Displacement") is not None or child(element, "PerpendicularOffset") is not None:
            self._notes.add("PolygonSymbolizer: displacements are not drawn")

        def build(values: Mapping[str, Any]) -> list[Symbol]:
            symbols: list[Symbol] = []
            if fill is not None:
                colour = values["fill"] if "fill" in css or pattern is None else "#00000000"
                symbols.append(PolygonSymbol(colour, values["opacity"], pattern))
            if stroke is not None:
                symbols.append(_line_of(values, "stroke.", 0.0))
            return symbols

        return properties, build

    def _stroke(self, stroke: Element | None, prefix: str) -> Properties:
        css = self._parameters(stroke)
        if child(stroke, "GraphicStroke") is not None or child(stroke, "GraphicFill") is not None:
            self._notes.add("Stroke: graphics along lines are not drawn; the line is")
        known = (
            "stroke",
            "stroke-width",
            "stroke-opacity",
            "stroke-dasharray",
            "stroke-linecap",
            "stroke-linejoin",
        )
        for name in css:
            if name not in known:
                self._notes.add(f"Stroke: {name[:40]} is not drawn")
        return {
            f"{prefix}stroke": self._value(css.get("stroke"), _colour, "#000000", "stroke"),
            f"{prefix}width": self._value(css.get("stroke-width"), _size(0, 100), 1.0, "stroke-width"),
            f"{prefix}opacity": self._value(css.get("stroke-opacity"), _share, 1.0, "stroke-opacity"),
            f"{prefix}dash": self._value(css.get("stroke-dasharray"), _dashes, (), "stroke-dasharray"),
            f"{prefix}cap": self._value(css.get("stroke-linecap"), _cap, "butt", "stroke-linecap"),
            f"{prefix}join": self._value(css.get("stroke-linejoin"), _join, "miter", "stroke-linejoin"),
        }

    def _line(self, element: Element) -> tuple[Properties, Build]:
        properties = self._stroke(child(element, "Stroke"), "")
        # Positive is to the left in Symbology Encoding (05-077r4, 11.1.4).
        properties["offset"] = self._value(
            child(element, "PerpendicularOffset"), _size(-100, 100), 0.0, "offset"
        )
        return properties, lambda values: [_line_of(values, "", -values["offset"])]

    def _graphic_name(self, graphic: Element | None) -> str | None:
        """The icon of ours an ExternalGraphic names; nothing is ever fetched."""
        if graphic is None:
            return None
        for external in children(graphic, "ExternalGraphic"):
            resource = child(external, "OnlineResource")
            href = "" if resource is None else resource.get(XLINK, resource.get("href", ""))
            name = href.rpartition("/")[2].rpartition("#")[2].removesuffix(".svg").removesuffix(".png")
            if is_icon_name(name):
                return name
            self._notes.add(f"ExternalGraphic {href[:80]!r} is no icon of this server, and is not fetched")
        mark = child(graphic, "Mark")
        name = text(mark, "WellKnownName").rpartition("/")[2]
        known = {
            "slash": "pattern-slash",
            "backslash": "pattern-backslash",
            "times": "pattern-cross",
            "dot": "pattern-dots",
        }
        if name in known:
            return known[name]
        return None

    def _point(self, element: Element) -> tuple[Properties, Build]:
        graphic = child(element, "Graphic")
        mark = child(graphic, "Mark")
        icon = self._graphic_name(graphic) if child(graphic, "ExternalGraphic") is not None else None
        shape = self._shape(text(mark, "WellKnownName") or "square")
        fill, stroke = child(mark, "Fill"), child(mark, "Stroke")
        css, lines = self._parameters(fill), self._parameters(stroke)
        properties: Properties = {
            "size": self._value(child(graphic, "Size"), _size(0, 200), 20.0 if icon else 6.0, "Size"),
            "rotation": self._value(child(graphic, "Rotation"), _size(-360, 360), 0.0, "Rotation"),
            "opacity": self._value(child(graphic, "Opacity"), _share, 1.0, "Opacity"),
            "fill": self._value(
                css.get("fill"),
                _colour,
                "#808080" if fill is not None or mark is None else "#00000000",
                "fill",
            ),
            "fill_opacity": self._value(css.get("fill-opacity"), _share, 1.0, "fill-opacity"),
            "stroke": self._value(lines.get("stroke"), _colour, "#000000", "stroke"),
            "stroke_width": self._value(lines.get("stroke-width"), _size(0, 20), 1.0, "stroke-width"),
        }
        for name in ("AnchorPoint", "Displacement"):
            if child(graphic, name) is not None:
                self._notes.add(f"PointSymbolizer: {name} is not drawn")

        def build(values: Mapping[str, Any]) -> list[Symbol]:
            if icon is not None:
                return [IconSymbol(icon, max(1.0, values["size"]), values["opacity"], values["rotation"])]
            width = values["stroke_width"] if stroke is not None else 0.0
            opacity = values["opacity"] * values["fill_opacity"]
            return [
                PointSymbol(
                    values["fill"],
                    values["size"],
                    values["stroke"],
                    width,
                    opacity,
                    shape,
                    values["rotation"],
                )
            ]

        return properties, build

    def _shape(self, name: str) -> Any:
        name = name.rpartition("/")[2].lower()
        if name in _SHAPES:
            return name
        self._notes.add(f"the mark {name[:40]!r} is not known; drawn as a square")
        return "square"

    def _text(self, element: Element) -> tuple[Properties, Build] | None:
        try:
            parts = _label(child(element, "Label"))
        except StyleError as error:
            self._notes.add(f"Label: {error}; the label is not drawn")
            return None
        font, halo = self._parameters(child(element, "Font")), child(element, "Halo")
        line = child(element, "LabelPlacement", "LinePlacement")
        point = child(element, "LabelPlacement", "PointPlacement")
        halo_css = self._parameters(child(halo, "Fill"))
        fill = self._parameters(child(element, "Fill"))
        nothing = [Branch(0.0)]
        properties: Properties = {
            "size": self._value(font.get("font-size"), _size(4, 72), 10.0, "font-size"),
            "fill": self._value(fill.get("fill"), _colour, "#000000", "fill"),
            "opacity": self._value(fill.get("fill-opacity"), _share, 1.0, "fill-opacity"),
            "halo": self._value(halo_css.get("fill"), _colour, "#ffffff", "Halo"),
            "halo_width": self._value(child(halo, "Radius"), _size(0, 10), 1.0, "Radius")
            if halo is not None
            else nothing,
            "offset": self._value(
                child(line, "PerpendicularOffset"), _size(-100, 100), 0.0, "PerpendicularOffset"
            ),
            "spacing": self._value(child(line, "Gap"), _size(0, 5000), 300.0, "Gap"),
            "rotation": self._value(child(point, "Rotation"), _size(-360, 360), 0.0, "Rotation"),
            "x": self._value(
                child(point, "Displacement", "DisplacementX"), _size(-100, 100), 0.0, "DisplacementX"
            ),
            "y": self._value(
                child(point, "Displacement", "DisplacementY"), _size(-100, 100), 0.0, "DisplacementY"
            ),
        }
        if any(name in font for name in ("font-weight", "font-style")) and any(
            text(font[name]) not in ("normal", "") for name in ("font-weight", "font-style") if name in font
        ):
            self._notes.add("Font: labels are drawn in one upright, regular font")
        anchor = _anchor(point)

        def build(values: Mapping[str, Any]) -> list[Symbol]:
            on_line = line is not None
            return [
                LabelSymbol(
                    text=parts,
                    fill=values["fill"],
                    size=values["size"],
                    halo=values["halo"],
                    halo_width=values["halo_width"],
                    placement="line" if on_line else "point",
                    spacing=values["spacing"],
                    offset=-values["offset"] if on_line else -values["y"],
                    offset_x=0.0 if on_line else values["x"],
                    anchor="center" if on_line else anchor,
                    rotation=values["rotation"],
                    opacity=values["opacity"],
                )
            ]

        return properties, build


def _line_of(values: Mapping[str, Any], prefix: str, offset: float) -> LineSymbol:
    names = ("stroke", "width", "opacity", "dash", "cap", "join")
    return LineSymbol(**{name: values[prefix + name] for name in names}, offset=offset)


def _is(field: str, data: str) -> OneOf:
    found = scalar(data)
    return OneOf(field, (data,) if found == data else (data, found))


def _plain(element: Element | None) -> str:
    inner = next(children(element), None)
    return text(inner) if inner is not None and local(inner) == "Literal" else text(element)


def _colour(value: str) -> str:
    if _HEX.fullmatch(value):
        return value.lower()
    from tiles.maps.maplibre.expressions import css_colour

    return css_colour(value)


def _share(value: str) -> float:
    return min(1.0, max(0.0, number(value, "an opacity")))


def _size(low: float, high: float) -> Callable[[str], float]:
    return lambda value: min(high, max(low, number(value.removesuffix("px"), "a size")))


def _dashes(value: str) -> tuple[float, ...]:
    parts = [part for part in re.split(r"[\s,]+", value.strip()) if part]
    return drawable_dashes([number(part, "a dash") for part in parts[:16]])


def _cap(value: str) -> str:
    return value if value in ("butt", "round", "square") else "butt"


def _join(value: str) -> str:
    return {"mitre": "miter", "miter": "miter", "round": "round", "bevel": "bevel"}.get(value, "miter")


def _anchor(point: Element | None) -> Anchor:
    """AnchorPoint, from 0 to 1 from the left and from the bottom of the text; 0, 0.5 where there is none (05-077r4, 11.4.4)."""
    anchor = child(point, "AnchorPoint")
    if anchor is None:
        return "left"
    x = number(
        text(anchor, "AnchorPointX") or text(child(anchor, "AnchorPointX"), "Literal") or "0", "AnchorPointX"
    )
    y = number(
        text(anchor, "AnchorPointY") or text(child(anchor, "AnchorPointY"), "Literal") or "0.5",
        "AnchorPointY",
    )
    horizontal = "left" if x < 0.25 else "right" if x > 0.75 else ""
    vertical = "bottom" if y < 0.25 else "top" if y > 0.75 else ""
    name = "-".join(part for part in (vertical, horizontal) if part)
    return name or "center"  # type: ignore[return-value]  # one of the nine


def _label(element: Element | None) -> tuple[TextPart, ...]:
    """Mixed content: text, literals, properties, and concatenations of them."""
    if element is None:
        raise StyleError("there is none")
    parts: list[TextPart] = [element.text] if element.text and element.text.strip() else []
    for one in children(element):
        parts += _label_part(one)
        if one.tail and one.tail.strip():
            parts.append(one.tail)
    if not parts:
        raise StyleError("it is empty")
    return tuple(parts)


def _label_part(element: Element) -> list[TextPart]:
    kind = local(element)
    if kind in _FIELDS:
        return [FieldText((field_name(text(element)),))]
    if kind == "Literal":
        return [element.text or ""] if element.text else []
    name = element.get("name", "").lower()
    if kind == "Function" and name in ("concatenate", "strconcat"):
        return [part for one in children(element) for part in _label_part(one)]
    if kind == "Function" and name == "coalesce":
        fields = [part for one in children(element) for part in _label_part(one)]
        return [
            FieldText(tuple(name for part in fields if isinstance(part, FieldText) for name in part.fields))
        ]
    if kind in ("StringValue", "Concatenate"):
        return [part for one in children(element) for part in _label_part(one)]
    raise StyleError(f"{kind} {element.get('name', '')[:40]} is not known in a label")
