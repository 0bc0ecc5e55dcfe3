"""Small pictures of single symbols by Mapnik: legends and sprites look as maps do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tiles.maps.fonts import map_fonts
from tiles.maps.mapnik_library import mapnik
from tiles.maps.mapnik_style import build_mapnik_style
from tiles.maps.source import Pixels, empty_image
from tiles.maps.style_model import Style

SAMPLE_TEXT = {"en": "Ab 12", "zh": "城 Ab"}


def draw_geometry(
    style: Style, wkt: str, width: int, height: int, *, fields: Mapping[str, str], scale: float = 1.0
) -> Pixels:
    """One geometry in a style without filters, zoom ranges and `otherwise`, on width x height pixels.

    `wkt` is in pixels, y upwards from the bottom. `scale` makes widths and texts larger. Texts are those of `fields`.
    """
    aliases = {field: f"f{number}" for number, field in enumerate(fields)}
    built = build_mapnik_style(style, aliases, map_fonts().faces)
    handle: Any = mapnik.Map(width, height)
    mapnik.load_map_from_string(handle, built.xml)
    handle.resize(width, height)
    handle.aspect_fix_mode = mapnik.aspect_fix_mode.RESPECT
    context = mapnik.Context()
    for alias in aliases.values():
        context.push(alias)
    feature = mapnik.Feature(context, 1)
    for field, alias in aliases.items():
        feature[alias] = fields[field]
    feature.geometry = mapnik.Geometry.from_wkt(wkt)
    source = mapnik.MemoryDatasource()
    source.add_feature(feature)
    layer = mapnik.Layer("sample")
    layer.datasource = source
    for name in built.styles:
        layer.styles.append(name)
    handle.layers.append(layer)
    handle.zoom_to_box(mapnik.Box2d(0, 0, width, height))
    image = mapnik.Image(width, height)
    mapnik.render(handle, image, scale)
    handle.remove_all()
    if image.is_solid() and image.get_pixel(0, 0) == 0:
        return empty_image(width, height)
    pixels: Pixels = np.frombuffer(image.to_string(), dtype=np.uint8).reshape(height, width, 4)
    return pixels


def line_wkt(width: int, height: int) -> str:
    """A line across a picture of that size."""
    return f"LINESTRING(1 {height * 0.3!r}, {width * 0.4!r} {height * 0.6!r}, {width - 1} {height * 0.55!r})"


def box_wkt(width: int, height: int, margin: float) -> str:
    """A box within a picture of that size."""
    low, right, top = margin, width - margin, height - margin
    return f"POLYGON(({low} {low}, {right} {low}, {right} {top}, {low} {top}, {low} {low}))"


def point_wkt(width: int, height: int) -> str:
    """The middle of a picture of that size."""
    return f"POINT({math.floor(width / 2)} {math.floor(height / 2)})"
