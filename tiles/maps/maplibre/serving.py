"""A MapLibre style with the addresses of a server: its tiles, glyphs and sprites."""

from __future__ import annotations

from typing import Any, NamedTuple

from tiles.maps.maplibre.writing import SOURCE, write_maplibre
from tiles.maps.style_model import Style


class Addresses(NamedTuple):
    """Absolute URLs. `tiles` is a template with {z}, {y} and {x}; `bounds` is west, south, east, north."""

    tiles: str
    glyphs: str
    sprite: str
    bounds: tuple[float, float, float, float]
    min_zoom: int = 0
    max_zoom: int = 22
    attribution: str = ""


def served_style(style: Style, layer: str, addresses: Addresses) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The style as MapLibre draws it from that server, and notes on what MapLibre cannot say."""
    content, notes = write_maplibre(style, layer)
    raster = style.raster is not None
    source: dict[str, Any] = {
        "type": "raster" if raster else "vector",
        "tiles": [addresses.tiles],
        "bounds": list(addresses.bounds),
        "minzoom": addresses.min_zoom,
        "maxzoom": addresses.max_zoom,
    }
    if raster:
        source["tileSize"] = 256
        # The tiles are drawn with the style's own opacity already.
        for one in content["layers"]:
            if one["type"] == "raster":
                one["paint"].pop("raster-opacity", None)
    if addresses.attribution:
        source["attribution"] = addresses.attribution
    content["sources"] = {SOURCE: source}
    return content | with_resources(addresses.glyphs, addresses.sprite), notes


def with_resources(glyphs: str, sprite: str) -> dict[str, Any]:
    """The members of a style that name fonts and icons."""
    return {"glyphs": glyphs, "sprite": sprite}
