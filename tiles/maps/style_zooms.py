"""Zoom levels and scales of a style: what a rule's range is as scale denominators, and where sizes change."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any, NamedTuple

from tiles.maps.style_model import (
    MAXIMUM_ZOOM,
    IconSymbol,
    LabelSymbol,
    LineSymbol,
    PointSymbol,
    Rule,
    Scaled,
    Style,
    Symbol,
)

DENOMINATOR_AT_ZOOM_0 = 559082264.0287178
"""Scale denominator of zoom level 0 of the web map grid, on the equator, at 0.28 mm a pixel (OGC 17-083r4, Annex D)."""

_HALF_ZOOM = 2**0.5
_LABEL_MARGIN = 128


class ScaleRange(NamedTuple):
    """From `low` up to, not including, `high`: scale denominators; 0 and infinity are no limit."""

    low: float
    high: float


def zoom_of(denominator: float) -> float:
    """The (fractional) zoom level of a scale denominator."""
    return math.log2(DENOMINATOR_AT_ZOOM_0 / denominator)


def denominator_of(zoom: float) -> float:
    """The scale denominator of a zoom level."""
    return float(DENOMINATOR_AT_ZOOM_0 / 2**zoom)


def scale_range(rule: Rule) -> ScaleRange:
    """Where a rule is drawn: between two levels the nearer one counts, and its scale denominators limit it further."""
    low, high = 0.0, math.inf
    if rule.max_zoom < MAXIMUM_ZOOM:
        low = DENOMINATOR_AT_ZOOM_0 / 2**rule.max_zoom / _HALF_ZOOM
    if rule.min_zoom > 0:
        high = DENOMINATOR_AT_ZOOM_0 / 2**rule.min_zoom * _HALF_ZOOM
    return ScaleRange(max(low, rule.min_scale or 0.0), min(high, rule.max_scale or math.inf))


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


def _scaled_values(symbol: Symbol) -> Iterator[tuple[str, tuple[tuple[float, float], ...]]]:
    for field in fields(symbol):
        if field.name in ("size", "width", "opacity", "offset"):
            value: Any = getattr(symbol, field.name)
            if isinstance(value, tuple):
                yield field.name, value


def fixed_symbol(symbol: Symbol, zoom: float) -> Symbol:
    """The symbol as it is at a zoom level, all sizes plain numbers."""
    changed: dict[str, Any] = {name: scaled_value(stops, zoom) for name, stops in _scaled_values(symbol)}
    return replace(symbol, **changed) if changed else symbol


def fixed_rules(rule: Rule) -> Iterator[Rule]:
    """The rule, once for each zoom level at which its sizes differ; together they cover its range, each scale once."""
    stops = [zoom for symbol in rule.symbols for _, values in _scaled_values(symbol) for zoom, _ in values]
    if not stops:
        yield rule
        return
    first, last = max(0, math.floor(min(stops))), min(MAXIMUM_ZOOM, math.ceil(max(stops)))
    low = rule.min_zoom
    for high in [*range(first, last), rule.max_zoom]:
        if not low <= high <= rule.max_zoom:
            continue
        made = replace(
            rule,
            min_zoom=low,
            max_zoom=high,
            symbols=tuple(fixed_symbol(symbol, low if low > first else first) for symbol in rule.symbols),
        )
        covered = scale_range(made)
        if covered.low < covered.high:
            yield made
        low = high + 1


def without_labels(rules: Sequence[Rule]) -> tuple[tuple[Rule, ...], tuple[Rule, ...]]:
    """The rules of a pass without their labels, and their labels alone; rules that are left with nothing are dropped.

    Each of both is a pass of its own for `otherwise`: a feature that is only labelled has not been drawn yet.
    """
    parts = []
    for labels in (False, True):
        kept = (
            replace(
                rule, symbols=tuple(one for one in rule.symbols if isinstance(one, LabelSymbol) == labels)
            )
            for rule in rules
        )
        parts.append(tuple(rule for rule in kept if rule.symbols))
    return parts[0], parts[1]


def _reach(symbol: Symbol) -> float:
    """How many pixels beyond its feature a symbol is drawn."""

    def most(value: Scaled) -> float:
        return max(abs(number) for _, number in value) if isinstance(value, tuple) else abs(value)

    if isinstance(symbol, LabelSymbol):
        return _LABEL_MARGIN
    if isinstance(symbol, LineSymbol):
        return most(symbol.width) / 2 + most(symbol.offset)
    if isinstance(symbol, PointSymbol):
        return most(symbol.size) / 2 + symbol.stroke_width
    return most(symbol.size) if isinstance(symbol, IconSymbol) else 0.0


def drawing_margin(style: Style) -> int:
    """Pixels around a feature within which the picture may change with it."""
    reaches = [_reach(symbol) for rules in style.passes for rule in rules for symbol in rule.symbols]
    return math.ceil(max(reaches, default=0.0)) + 2
