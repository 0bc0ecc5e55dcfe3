"""A style of ours as a MapLibre style."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from tiles.errors import StyleError
from tiles.maps.images import parse_colour
from tiles.maps.maplibre.expressions import ZOOM_SHIFT
from tiles.maps.maplibre.filters import write_filter
from tiles.maps.maplibre.rasters import METADATA_RASTER
from tiles.maps.maplibre.reading import SPRITE_EDGE
from tiles.maps.style_branches import Notes
from tiles.maps.style_filters import NEVER, AnyOf, Filter, GeometryIs, Not, all_of
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
from tiles.maps.style_writing import style_keys
from tiles.maps.style_zooms import scale_range, scaled_value, without_labels, zoom_of

SOURCE = "collection"
"""The name of the one source of a style written here."""
FONT = "Chengtu Sans"
_LAST_ZOOM = 24.0


def write_maplibre(style: Style, layer: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The style with one source, SOURCE, that has no address yet; `layer` is the name of its layer.

    And notes on what MapLibre cannot say.
    """
    notes = Notes()
    titles = dict(style.title)
    content: dict[str, Any] = {
        "version": 8,
        "name": titles.get("en") or titles.get("zh") or layer,
        "metadata": {"chengtu:title": titles},
        "sources": {},
        "layers": [],
    }
    layers: list[dict[str, Any]] = content["layers"]
    if style.background is not None:
        layers.append(
            {"id": "background", "type": "background", "paint": {"background-color": css(style.background)}}
        )
    if style.raster is not None:
        keys = style_keys(style)["raster"]
        keys.pop("opacity", None)
        layers.append(
            {
                "id": "raster",
                "type": "raster",
                "source": SOURCE,
                "metadata": {METADATA_RASTER: _with_text_keys(keys)},
                "paint": {"raster-opacity": style.raster.opacity, "raster-fade-duration": 0},
            }
        )
        return content, notes.all()
    writer = _LayerWriter(layer, notes)
    for number, rules in enumerate(style.passes):
        for index, part in enumerate(without_labels(rules)):
            writer.add_pass(f"{number}{'-label' * index}", part)
    content["layers"] = [*layers, *writer.layers, *writer.labels]
    return content, notes.all()


def _with_text_keys(keys: dict[str, Any]) -> dict[str, Any]:
    """JSON has texts only for keys."""
    return {
        name: {str(one): other for one, other in value.items()} if isinstance(value, dict) else value
        for name, value in keys.items()
    }


def css(colour: str) -> str:
    """A colour as every CSS reader knows it."""
    red, green, blue, alpha = parse_colour(colour)
    if alpha == 255:
        return f"#{red:02x}{green:02x}{blue:02x}"
    return f"rgba({red},{green},{blue},{alpha / 255:.4g})"


def _scaled(value: Scaled, factor: float = 1.0, plus: float = 0.0) -> Any:
    if not isinstance(value, tuple):
        return value * factor + plus
    stops = [part for zoom, number in value for part in (zoom - ZOOM_SHIFT, number * factor + plus)]
    return ["interpolate", ["linear"], ["zoom"], *stops] if len(value) > 1 else stops[1]


def _middle(value: Scaled) -> float:
    return scaled_value(value, 15.0)


def expanded(rules: Sequence[Rule]) -> Iterator[Rule]:
    """The rules of a pass without `otherwise`: its filter says what the others leave over, at each scale where they differ."""
    for rule in rules:
        if not rule.otherwise:
            yield rule
            continue
        others = [other for other in rules if not other.otherwise]
        own = scale_range(rule)
        limits = {limit for other in others for limit in scale_range(other) if own.low < limit < own.high}
        edges = [own.low, *sorted(limits), own.high]
        for low, high in pairwise(edges):
            active = [one for one in others if scale_range(one).low < high and scale_range(one).high > low]
            if any(one.filter is None for one in active):
                continue
            taken = tuple(dict.fromkeys(one.filter for one in active if one.filter is not None))
            left: Filter | None = Not(taken[0] if len(taken) == 1 else AnyOf(taken)) if taken else None
            yield replace(
                rule,
                otherwise=False,
                filter=left,
                min_zoom=0,
                max_zoom=24,
                min_scale=low or None,
                max_scale=None if math.isinf(high) else high,
            )


type _Layer = tuple[str, dict[str, Any], dict[str, Any]]


class _LayerWriter:
    """Collects layers; labels apart, for they are drawn last."""

    def __init__(self, source_layer: str, notes: Notes) -> None:
        self._source_layer = source_layer
        self._notes = notes
        self.layers: list[dict[str, Any]] = []
        self.labels: list[dict[str, Any]] = []

    def add_pass(self, number: str, rules: Sequence[Rule]) -> None:
        for place, rule in enumerate(expanded(rules)):
            if rule.filter == NEVER:
                continue
            for index, symbol in enumerate(rule.symbols):
                try:
                    self._add(rule, symbol, f"{number}-{place}-{index}")
                except StyleError as error:
                    self._notes.add(f"rule {rule.name or place}: {error}; the rule is left out")

    def _add(self, rule: Rule, symbol: Symbol, id_: str) -> None:
        geometry: Filter | None = None
        if isinstance(symbol, PointSymbol) and symbol.shape == "circle":
            # MapLibre draws circles on every corner of lines and polygons; icons stand once in each.
            kind, layout, paint = _shape(symbol)
            self._append(rule, symbol, f"{id_}-inside", (kind, layout, paint), Not(GeometryIs("point")))
        if isinstance(symbol, PolygonSymbol):
            if symbol.pattern and not symbol.fill.endswith("00"):
                # A pattern takes the place of the colour in MapLibre: the colour gets a layer of its own below it.
                self._add(rule, replace(symbol, pattern=None), f"{id_}-colour")
            kind, layout, paint, geometry = *_polygon(symbol), GeometryIs("polygon")
        elif isinstance(symbol, LineSymbol):
            kind, layout, paint = _line(symbol, self._notes)
        elif isinstance(symbol, PointSymbol):
            kind, layout, paint = _point(symbol)
            geometry = GeometryIs("point") if kind == "circle" else None
        else:
            kind, layout, paint = _icon(symbol) if isinstance(symbol, IconSymbol) else _label(symbol)
        self._append(rule, symbol, id_, (kind, layout, paint), geometry)

    def _append(self, rule: Rule, symbol: Symbol, id_: str, made: _Layer, geometry: Filter | None) -> None:
        kind, layout, paint = made
        low, high = scale_range(rule)
        layer: dict[str, Any] = {
            "id": id_,
            "type": kind,
            "source": SOURCE,
            "source-layer": self._source_layer,
        }
        filter_ = all_of(geometry, rule.filter)
        if filter_ is not None:
            layer["filter"] = write_filter(filter_)
        if math.isfinite(high):
            layer["minzoom"] = min(_LAST_ZOOM, max(0.0, round(zoom_of(high) - ZOOM_SHIFT, 6)))
        if low > 0:
            layer["maxzoom"] = min(_LAST_ZOOM, max(0.0, round(zoom_of(low) - ZOOM_SHIFT, 6)))
        if rule.name:
            layer["metadata"] = {"chengtu:rule": rule.name}
        layer |= {"layout": layout, "paint": paint}
        (self.labels if isinstance(symbol, LabelSymbol) else self.layers).append(layer)


def _polygon(symbol: PolygonSymbol) -> _Layer:
    paint = {"fill-color": css(symbol.fill), "fill-opacity": _scaled(symbol.opacity)}
    if symbol.pattern:
        paint["fill-pattern"] = symbol.pattern
    return "fill", {}, paint


def _line(symbol: LineSymbol, notes: Notes) -> _Layer:
    paint = {
        "line-color": css(symbol.stroke),
        "line-width": _scaled(symbol.width),
        "line-opacity": _scaled(symbol.opacity),
    }
    if symbol.dash:
        width = _middle(symbol.width) or 1.0
        if isinstance(symbol.width, tuple):
            notes.add("dashes of a line whose width changes: MapLibre lets them change with it")
        dashes = symbol.dash if len(symbol.dash) % 2 == 0 else symbol.dash * 2
        paint["line-dasharray"] = [round(dash / width, 4) for dash in dashes]
    if symbol.offset:
        paint["line-offset"] = _scaled(symbol.offset)
    return "line", {"line-cap": symbol.cap, "line-join": symbol.join}, paint


def _point(symbol: PointSymbol) -> _Layer:
    if symbol.shape != "circle":
        return _shape(symbol)
    paint = {
        "circle-color": css(symbol.fill),
        # We draw the outline on the edge of the disc, MapLibre around it.
        "circle-radius": _scaled(symbol.size, 0.5, -symbol.stroke_width / 2),
        "circle-stroke-color": css(symbol.stroke),
        "circle-stroke-width": symbol.stroke_width,
        "circle-opacity": _scaled(symbol.opacity),
        "circle-stroke-opacity": _scaled(symbol.opacity),
    }
    return "circle", {}, paint


def _shape(symbol: PointSymbol) -> _Layer:
    layout = {
        "icon-image": f"shape-{symbol.shape}",
        "icon-size": _scaled(symbol.size, 1 / SPRITE_EDGE),
        "icon-rotate": symbol.rotation,
        "icon-allow-overlap": True,
        "icon-ignore-placement": True,
    }
    paint = {
        "icon-color": css(symbol.fill),
        "icon-halo-color": css(symbol.stroke),
        "icon-halo-width": symbol.stroke_width,
        "icon-opacity": _scaled(symbol.opacity),
    }
    return "symbol", layout, paint


def _icon(symbol: IconSymbol) -> _Layer:
    layout = {
        "icon-image": symbol.icon,
        "icon-size": _scaled(symbol.size, 1 / SPRITE_EDGE),
        "icon-rotate": symbol.rotation,
        "icon-anchor": symbol.anchor,
        "icon-allow-overlap": symbol.overlap,
        "icon-ignore-placement": symbol.overlap,
    }
    return "symbol", layout, {"icon-opacity": _scaled(symbol.opacity)}


def _label(symbol: LabelSymbol) -> _Layer:
    size = _middle(symbol.size)
    parts = [one if isinstance(one, str) else ["to-string", _value(one)] for one in symbol.parts]
    layout: dict[str, Any] = {
        "text-field": parts[0] if len(parts) == 1 else ["concat", *parts],
        "text-font": [FONT],
        "text-size": _scaled(symbol.size),
        "symbol-placement": symbol.placement,
        "text-offset": [round(symbol.offset_x / size, 4), round(symbol.offset / size, 4)],
        "text-anchor": symbol.anchor,
        "text-allow-overlap": symbol.overlap,
    }
    if symbol.placement == "line":
        layout["symbol-spacing"] = max(1.0, symbol.spacing)
    else:
        layout |= {"text-rotate": symbol.rotation, "text-max-width": round(symbol.wrap / size, 4)}
    paint = {
        "text-color": css(symbol.fill),
        "text-halo-color": css(symbol.halo),
        "text-halo-width": symbol.halo_width,
        "text-opacity": _scaled(symbol.opacity),
    }
    return "symbol", layout, paint


def _value(text: FieldText) -> list[Any]:
    values = [["get", field] for field in text.fields]
    return values[0] if len(values) == 1 else ["coalesce", *values]
