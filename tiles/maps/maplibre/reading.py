"""A MapLibre style as a style of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tiles.errors import StyleError
from tiles.maps.icons import is_icon_name
from tiles.maps.maplibre.expressions import ZOOM_SHIFT, css_colour, read_text
from tiles.maps.maplibre.filters import read_filter
from tiles.maps.maplibre.properties import LayerProperties, number, word
from tiles.maps.maplibre.rasters import read_raster_layer
from tiles.maps.style_branches import Branch, Combination, Notes, combinations
from tiles.maps.style_filters import all_of
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
    drawable_dashes,
)
from tiles.maps.style_zooms import denominator_of, scaled_value

_MOST_LAYERS = 500
SPRITE_EDGE = 24.0
"""Height of our icons in a sprite, in pixels."""
_ANCHORS = (
    "center",
    "left",
    "right",
    "top",
    "bottom",
    "top-left",
    "top-right",
    "bottom-left",
    "bottom-right",
)


def read_maplibre(content: object) -> tuple[Style, tuple[str, ...]]:
    """The style, and notes on all that is not drawn as it says. Raises StyleError."""
    if not isinstance(content, Mapping) or not isinstance(content.get("layers"), list):
        raise StyleError("a MapLibre style is an object with the members version and layers")
    if content.get("version") != 8:
        raise StyleError(f"a MapLibre style has version 8, found {str(content.get('version'))[:20]}")
    if len(content["layers"]) > _MOST_LAYERS:
        raise StyleError(f"the style has {len(content['layers'])} layers; allowed are {_MOST_LAYERS}")
    reader = _LayersReader(Notes())
    for member in ("light", "sky", "terrain", "projection", "fog"):
        if member in content:
            reader.notes.add(f"{member} is not drawn")
    for index, layer in enumerate(content["layers"]):
        if not isinstance(layer, Mapping):
            raise StyleError(f"layers[{index}] is not an object")
        reader.read(layer, str(layer.get("id", index))[:80])
    title = _title(content)
    if reader.raster is not None and reader.passes:
        reader.notes.add("layers of features beside a raster are not drawn")
        reader.passes = []
    if reader.raster is None and not reader.passes:
        raise StyleError(
            "the style draws nothing that can be drawn here: " + ("; ".join(reader.notes.all()) or "no layer")
        )
    style = Style(title, tuple(reader.passes), reader.raster, reader.background)
    return style, reader.notes.all()


def _title(content: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    metadata = content.get("metadata")
    titles = metadata.get("chengtu:title") if isinstance(metadata, Mapping) else None
    if isinstance(titles, Mapping):
        return tuple((one, str(titles[one])[:200]) for one in ("en", "zh") if titles.get(one))
    name = content.get("name")
    return (("en", name[:200]),) if isinstance(name, str) and name else ()


def _numbers(value: Any) -> tuple[float, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) > 16:
        raise StyleError("not a list of numbers")
    return tuple(number(-1e6, 1e6)(one) for one in value)


def _icon(value: Any) -> str:
    if not isinstance(value, str) or not is_icon_name(value):
        raise StyleError(f"{value!r:.40} is not the name of an icon of ours")
    return value


def _flag(value: Any) -> bool:
    return bool(value)


def _times(value: Scaled, factor: float, plus: float = 0.0) -> Scaled:
    if isinstance(value, tuple):
        return tuple((zoom, number * factor + plus) for zoom, number in value)
    return value * factor + plus


def _typical(value: Scaled) -> float:
    return scaled_value(value, 15.0)


class _LayersReader:
    """Collects the passes of a style, one a layer."""

    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self.passes: list[tuple[Rule, ...]] = []
        self.raster: RasterStyle | None = None
        self.background: str | None = None

    def read(self, layer: Mapping[str, Any], place: str) -> None:
        kind = str(layer.get("type"))
        layout = layer.get("layout")
        if isinstance(layout, Mapping) and layout.get("visibility") == "none":
            return
        properties = LayerProperties(layer, place, self.notes)
        if kind == "background":
            self.background = properties.take("background-color", css_colour, "#000000")[0].value
        elif kind in ("raster", "hillshade", "color-relief"):
            if self.raster is not None and kind == "raster":
                self.notes.add(f"{place}: a second raster is not drawn")
            self.raster = read_raster_layer(kind, layer, properties, self.raster, self.notes, place)
        elif kind in ("fill", "line", "circle", "symbol", "fill-extrusion"):
            self._features(kind, layer, properties, place)
        else:
            self.notes.add(f"{place}: layers of type {kind[:40]!r} are not drawn")
            return
        properties.leave()

    def _features(self, kind: str, layer: Mapping[str, Any], properties: LayerProperties, place: str) -> None:
        try:
            filter_ = read_filter(layer.get("filter"))
        except StyleError as error:
            self.notes.add(f"{place}.filter: {error}; the layer is not drawn")
            return
        metadata = layer.get("metadata")
        name = metadata.get("chengtu:rule") if isinstance(metadata, Mapping) else None
        low, high = layer.get("minzoom"), layer.get("maxzoom")
        rules = []
        builder = {"fill": _fill, "line": _line, "circle": _circle, "symbol": _symbol}.get(kind, _extrusion)
        if kind == "fill-extrusion":
            self.notes.add(f"{place}: drawn flat")
        wanted, build = builder(properties)
        for one in combinations(wanted):
            symbols = build(one)
            if symbols:
                rules.append(
                    Rule(
                        symbols=tuple(symbols),
                        name=str(name or place),
                        filter=all_of(filter_, one.filter),
                        min_scale=_scale(min(_zoom(high, 25.0), one.high), 25.0),
                        max_scale=_scale(max(_zoom(low, 0.0), one.low), 0.0),
                        layer=str(layer.get("source-layer") or ""),
                    )
                )
        if rules:
            self.passes.append(tuple(rules))


def _zoom(value: Any, default: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return default
    return min(25.0, max(0.0, float(value) + ZOOM_SHIFT)) if value > 0 else 0.0


def _scale(zoom: float, none: float) -> float | None:
    return None if zoom == none else denominator_of(zoom)


type _Builder = tuple[dict[str, list[Branch]], Callable[[Combination], list[Symbol]]]


def _fill(properties: LayerProperties) -> _Builder:
    wanted = {
        "fill": properties.take("fill-color", css_colour, "#000000"),
        "opacity": properties.take("fill-opacity", number(0, 1), 1.0),
        "pattern": properties.take("fill-pattern", _icon, None),
        "outline": properties.take("fill-outline-color", css_colour, None),
    }
    properties.raw("fill-antialias")

    def build(one: Combination) -> list[Symbol]:
        values = one.values
        # A pattern takes the place of the colour in MapLibre.
        fill = "#00000000" if values["pattern"] else values["fill"]
        symbols: list[Symbol] = [PolygonSymbol(fill, values["opacity"], values["pattern"])]
        if values["outline"]:
            symbols.append(LineSymbol(values["outline"], 1.0, values["opacity"]))
        return symbols

    return wanted, build


def _extrusion(properties: LayerProperties) -> _Builder:
    wanted = {
        "fill": properties.take("fill-extrusion-color", css_colour, "#000000"),
        "opacity": properties.take("fill-extrusion-opacity", number(0, 1), 1.0),
    }
    for name in ("height", "base", "vertical-gradient"):
        properties.raw(f"fill-extrusion-{name}")
    return wanted, lambda one: [PolygonSymbol(one.values["fill"], one.values["opacity"])]


def _line(properties: LayerProperties) -> _Builder:
    wanted = {
        "stroke": properties.take("line-color", css_colour, "#000000"),
        "width": properties.take("line-width", number(0, 100), 1.0),
        "opacity": properties.take("line-opacity", number(0, 1), 1.0),
        "dash": properties.take("line-dasharray", _numbers, ()),
        "cap": properties.take("line-cap", word("butt", "round", "square"), "butt"),
        "join": properties.take("line-join", word("miter", "round", "bevel"), "miter"),
        "offset": properties.take("line-offset", number(-100, 100), 0.0),
    }
    for name in ("line-round-limit", "line-miter-limit"):
        properties.raw(name)

    def build(one: Combination) -> list[Symbol]:
        values = dict(one.values)
        width = _typical(values["width"])
        # MapLibre counts dashes in widths of the line.
        values["dash"] = drawable_dashes([part * width for part in values["dash"]])
        return [LineSymbol(**values)]

    return wanted, build


def _circle(properties: LayerProperties) -> _Builder:
    wanted = {
        "fill": properties.take("circle-color", css_colour, "#000000"),
        "radius": properties.take("circle-radius", number(0, 100), 5.0),
        "opacity": properties.take("circle-opacity", number(0, 1), 1.0),
        "stroke": properties.take("circle-stroke-color", css_colour, "#000000"),
        "stroke_width": properties.take("circle-stroke-width", number(0, 20), 0.0),
    }
    for name in ("circle-pitch-alignment", "circle-pitch-scale", "circle-stroke-opacity"):
        properties.raw(name)

    def build(one: Combination) -> list[Symbol]:
        values = one.values
        stroke_width = _typical(values["stroke_width"])
        # MapLibre draws the outline around the disc, we draw it on its edge.
        size = _times(values["radius"], 2.0, stroke_width)
        return [PointSymbol(values["fill"], size, values["stroke"], stroke_width, values["opacity"])]

    return wanted, build


def _symbol(properties: LayerProperties) -> _Builder:
    wanted = {
        "icon": properties.take("icon-image", _icon, None),
        "icon_size": properties.take("icon-size", number(0, 20), 1.0),
        "icon_opacity": properties.take("icon-opacity", number(0, 1), 1.0),
        "icon_rotate": properties.take("icon-rotate", number(-360, 360), 0.0),
        "icon_anchor": properties.take("icon-anchor", word(*_ANCHORS), "center"),
        "icon_overlap": properties.take("icon-allow-overlap", _flag, False),
        "icon_color": properties.take("icon-color", css_colour, "#000000"),
        "icon_halo_color": properties.take("icon-halo-color", css_colour, "#00000000"),
        "icon_halo": properties.take("icon-halo-width", number(0, 20), 0.0),
        "text": properties.take("text-field", read_text, ()),
        "size": properties.take("text-size", number(4, 72), 16.0),
        "fill": properties.take("text-color", css_colour, "#000000"),
        "halo": properties.take("text-halo-color", css_colour, "#00000000"),
        "halo_width": properties.take("text-halo-width", number(0, 10), 0.0),
        "placement": properties.take("symbol-placement", word("point", "line", "line-center"), "point"),
        "spacing": properties.take("symbol-spacing", number(1, 5000), 250.0),
        "anchor": properties.take("text-anchor", word(*_ANCHORS), "center"),
        "offset": properties.take("text-offset", _numbers, (0.0, 0.0)),
        "rotation": properties.take("text-rotate", number(-360, 360), 0.0),
        "opacity": properties.take("text-opacity", number(0, 1), 1.0),
        "wrap": properties.take("text-max-width", number(0, 100), 10.0),
        "overlap": properties.take("text-allow-overlap", _flag, False),
    }
    for name in _UNSEEN:
        properties.raw(name)

    def build(one: Combination) -> list[Symbol]:
        return _icon_symbols(one.values) + _label_symbols(one.values)

    return wanted, build


_UNSEEN = (
    "text-font",
    "text-letter-spacing",
    "text-padding",
    "icon-padding",
    "text-optional",
    "icon-optional",
    "symbol-avoid-edges",
    "text-pitch-alignment",
    "text-rotation-alignment",
    "icon-rotation-alignment",
    "text-max-angle",
    "icon-ignore-placement",
    "text-ignore-placement",
    "text-halo-blur",
    "text-line-height",
    "text-justify",
)
"""Properties that change little, or nothing on a map seen from above."""


def _icon_symbols(values: Mapping[str, Any]) -> list[Symbol]:
    icon = values["icon"]
    if not icon:
        return []
    size = _times(values["icon_size"], SPRITE_EDGE)
    if icon.startswith("shape-"):
        return [
            PointSymbol(
                values["icon_color"],
                size,
                values["icon_halo_color"],
                _typical(values["icon_halo"]),
                values["icon_opacity"],
                icon.removeprefix("shape-"),
                _typical(values["icon_rotate"]),
            )
        ]
    rotation = _typical(values["icon_rotate"])
    return [
        IconSymbol(
            icon, size, values["icon_opacity"], rotation, values["icon_anchor"], values["icon_overlap"]
        )
    ]


def _label_symbols(values: Mapping[str, Any]) -> list[Symbol]:
    if not values["text"]:
        return []
    size = _typical(values["size"])
    x, y = (*values["offset"], 0.0, 0.0)[:2]
    return [
        LabelSymbol(
            text=values["text"],
            fill=values["fill"],
            size=values["size"],
            halo=values["halo"],
            halo_width=_typical(values["halo_width"]),
            placement="point" if values["placement"] == "point" else "line",
            spacing=_typical(values["spacing"]),
            offset=y * size,
            offset_x=x * size,
            anchor=values["anchor"],
            rotation=_typical(values["rotation"]),
            opacity=values["opacity"],
            wrap=_typical(values["wrap"]) * size,
            overlap=values["overlap"],
        )
    ]
