"""Layers of rasters in a MapLibre style, from and to ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tiles.errors import StyleError
from tiles.maps.maplibre.expressions import css_colour
from tiles.maps.maplibre.properties import LayerProperties, number, word
from tiles.maps.style_branches import Branch, Notes
from tiles.maps.style_model import RasterStyle
from tiles.maps.style_raster_keys import ramp_of_values, read_raster
from tiles.maps.style_zooms import scaled_value

METADATA_RASTER = "chengtu:raster"
"""Member of a layer's metadata with our own keys: what MapLibre cannot say of a raster."""


def read_raster_layer(
    kind: str,
    layer: Mapping[str, Any],
    properties: LayerProperties,
    before: RasterStyle | None,
    notes: Notes,
    place: str,
) -> RasterStyle | None:
    """The raster that a layer adds to what earlier layers made of it. Raises StyleError."""
    metadata = layer.get("metadata")
    own = metadata.get(METADATA_RASTER) if isinstance(metadata, Mapping) else None
    if kind == "raster":
        found = read_raster(own, f"{place}.metadata") if own is not None else RasterStyle("rgb", (1, 2, 3))
        opacity = _plain(properties.take("raster-opacity", number(0, 1), 1.0), notes, place)
        resampling = properties.take("raster-resampling", word("linear", "nearest"), None)[0].value
        properties.raw("raster-fade-duration")
        if resampling and own is None:
            found = replace(found, resampling="nearest" if resampling == "nearest" else "bilinear")
        return replace(found, opacity=opacity)
    if kind == "hillshade":
        return _hillshade(properties, before, notes, place)
    return _relief(properties, before, notes, place)


def _plain(branches: list[Branch], notes: Notes, place: str) -> float:
    if len(branches) > 1 or isinstance(branches[0].value, tuple):
        notes.add(f"{place}: a raster is drawn alike at all zoom levels")
    return scaled_value(branches[0].value, 15.0)


def _hillshade(
    properties: LayerProperties, before: RasterStyle | None, notes: Notes, place: str
) -> RasterStyle:
    azimuth = _plain(properties.take("hillshade-illumination-direction", number(0, 360), 335.0), notes, place)
    altitude = _plain(properties.take("hillshade-illumination-altitude", number(1, 90), 45.0), notes, place)
    strength = _plain(properties.take("hillshade-exaggeration", number(0, 1), 0.5), notes, place)
    method = properties.raw("hillshade-method", "standard")
    properties.raw("hillshade-illumination-anchor")
    shading = {
        "hillshade": min(1.0, strength * 2),
        "azimuth": azimuth,
        "altitude": altitude,
        "multidirectional": method == "multidirectional",
    }
    if before is not None:
        return replace(before, **shading)
    return RasterStyle("hillshade", (1,), **shading)


def _relief(
    properties: LayerProperties, before: RasterStyle | None, notes: Notes, place: str
) -> RasterStyle | None:
    value = properties.raw("color-relief-color")
    opacity = _plain(properties.take("color-relief-opacity", number(0, 1), 1.0), notes, place)
    if (
        not isinstance(value, list)
        or value[2:3] != [["elevation"]]
        or len(value) < 7
        or value[0] != "interpolate"
    ):
        notes.add(
            f"{place}.color-relief-color is not an interpolation of the elevation; the layer is not drawn"
        )
        return before
    stops = tuple(
        (number(-1e9, 1e9)(height), css_colour(colour))
        for height, colour in zip(value[3::2], value[4::2], strict=True)
    )
    span, ramp = ramp_of_values(stops, place)
    made = RasterStyle("ramp", (1,), span=span, ramp=ramp, opacity=opacity)
    if before is not None and before.hillshade:
        keep = ("hillshade", "azimuth", "altitude", "exaggeration", "multidirectional")
        made = replace(made, **{name: getattr(before, name) for name in keep})
    return made


def raster_stops(style: RasterStyle) -> list[tuple[float, str]]:
    """Value and colour of each stop of a ramp that has its own span. Raises StyleError for others."""
    if style.kind != "ramp" or style.span is None:
        raise StyleError("a ramp without a span of its own has no values")
    low, high = style.span
    return [(low + (high - low) * position, colour) for position, colour in style.ramp]
