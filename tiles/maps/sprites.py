"""Sprites for MapLibre: all icons of a folder on one picture, and where each lies on it. Drawn by Mapnik, as on our maps."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
from PIL import Image

from tiles.maps.distance_fields import BUFFER, SUPERSAMPLING, distance_fields
from tiles.maps.icons import icon_names
from tiles.maps.images import encode_image
from tiles.maps.mapnik_drawing import draw_geometry, point_wkt
from tiles.maps.source import Pixels
from tiles.maps.style_model import IconSymbol, PointSymbol, Rule, Shape, Style

EDGE = 24
"""Height of an icon in pixels, at ratio 1."""

_COLUMNS = 8


class Sprite(NamedTuple):
    """Where each icon lies, by name, and the PNG."""

    places: dict[str, dict[str, Any]]
    image: bytes


def sprite(folder: Path, ratio: int) -> Sprite:
    """All icons of a folder, and our shapes of points, for screens with `ratio` (1 or 2) pixels a pixel."""
    state = tuple((name, (folder / f"{name}.svg").stat().st_mtime_ns) for name in icon_names(folder))
    return _sprite(folder, ratio, state)


@lru_cache(maxsize=8)
def _sprite(folder: Path, ratio: int, state: tuple[tuple[str, int], ...]) -> Sprite:
    pictures: list[tuple[str, Pixels, bool]] = [
        (name, _icon(folder, name, EDGE * ratio), False) for name, _ in state
    ]
    shapes = [str(one) for one in get_args(Shape.__value__)]
    pictures += [(f"shape-{shape}", _shape(shape, ratio), True) for shape in shapes]
    cell = (EDGE + 2 * BUFFER) * ratio
    rows = math.ceil(len(pictures) / _COLUMNS)
    sheet = Image.new("RGBA", (_COLUMNS * cell, rows * cell))
    index: dict[str, dict[str, Any]] = {}
    for number, (name, picture, is_field) in enumerate(pictures):
        x, y = number % _COLUMNS * cell, number // _COLUMNS * cell
        sheet.paste(Image.fromarray(np.ascontiguousarray(picture)), (x, y))
        height, width = picture.shape[:2]
        index[name] = {"x": x, "y": y, "width": width, "height": height, "pixelRatio": ratio}
        if is_field:
            index[name]["sdf"] = True
    return Sprite(index, encode_image(np.asarray(sheet), "image/png"))


def _icon(folder: Path, name: str, edge: int) -> Pixels:
    style = Style(passes=((Rule((IconSymbol(name, float(edge)),)),),), icon_folder=str(folder))
    return draw_geometry(style, point_wkt(edge, edge), edge, edge, fields={})


def _shape(shape: str, ratio: int) -> Pixels:
    """The distance field of a shape in the alpha of a picture."""
    edge = (EDGE + 2 * BUFFER) * ratio
    large = edge * SUPERSAMPLING
    symbol = PointSymbol("#000000", float(EDGE * ratio * SUPERSAMPLING), "#000000", 0.0, shape=shape)  # type: ignore[arg-type]  # one of Shape
    drawn = draw_geometry(
        Style(passes=((Rule((symbol,)),),)), point_wkt(large, large), large, large, fields={}
    )
    field = distance_fields((drawn[..., 3] >= 128)[None])[0]
    picture: Pixels = np.zeros((edge, edge, 4), dtype=np.uint8)
    picture[..., 3] = field
    return picture
