"""The map plugin hands box, CRS and size to the source of its key, and encodes what that draws."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from providers.errors import InvalidParameter, StoreMissing
from providers.maps.provider import MAXIMUM_SIDE, ChengtuMapProvider
from providers.maps.sources import register_map_sources, unregister_map_sources


class _HalfRed:
    """A source that draws its left half red and leaves the right one transparent; remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def render(self, bbox: tuple[float, float, float, float], crs: str, width: int, height: int) -> Any:
        self.asked.append((bbox, crs, width, height))
        pixels = np.zeros((height, width, 4), dtype=np.uint8)
        pixels[:, : width // 2] = (255, 0, 0, 255)
        return pixels


@pytest.fixture
def source() -> Iterator[_HalfRed]:
    drawn = _HalfRed()
    sources = {"helsinki.buildings/1": drawn}
    register_map_sources(sources.get)
    finder = sources.get
    yield drawn
    unregister_map_sources(finder)


@pytest.fixture
def plugin(source: _HalfRed) -> ChengtuMapProvider:
    return ChengtuMapProvider({"name": "m", "type": "map", "data": "helsinki.buildings/1"})


BOX = (24.9, 60.1, 25.0, 60.2)


def _image(body: bytes) -> Image.Image:
    return Image.open(io.BytesIO(body))


def test_what_was_asked_reaches_the_source(plugin: ChengtuMapProvider, source: _HalfRed) -> None:
    image = _image(
        plugin.query(bbox=list(BOX), width=40, height=20, crs="http://www.opengis.net/def/crs/EPSG/0/3857")
    )
    assert (image.format, image.size) == ("PNG", (40, 20))
    assert source.asked == [(BOX, "http://www.opengis.net/def/crs/EPSG/0/3857", 40, 20)]
    rgba = image.convert("RGBA")
    assert (rgba.getpixel((5, 5)), rgba.getpixel((35, 5))[3]) == ((255, 0, 0, 255), 0)


@pytest.mark.parametrize(("format_", "name"), [("jpeg", "JPEG"), ("webp", "WEBP")])
def test_other_formats(plugin: ChengtuMapProvider, format_: str, name: str) -> None:
    image = _image(plugin.query(bbox=BOX, width=16, height=16, format_=format_))
    assert image.format == name
    red, green, blue = image.convert("RGB").getpixel((2, 8))
    assert red > 200
    assert max(green, blue) < 60


def test_an_opaque_map_is_white_where_nothing_is(plugin: ChengtuMapProvider) -> None:
    image = _image(plugin.query(bbox=BOX, width=16, height=16, transparent="false")).convert("RGBA")
    assert image.getpixel((12, 8)) == (255, 255, 255, 255)


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"width": 0}, "width"),
        ({"height": MAXIMUM_SIDE + 1}, "height"),
        ({"bbox": [1, 2, 3]}, "bbox"),
        ({"bbox": [3, 2, 1, 4]}, "bbox"),
        ({"bbox": [float("nan"), 2, 1, 4]}, "bbox"),
        ({"format_": "gif"}, "f"),
        ({"style": "night"}, "style"),
        ({"transparent": "maybe"}, "transparent"),
    ],
)
def test_bad_requests_are_named(plugin: ChengtuMapProvider, asked: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        plugin.query(**{"bbox": BOX, "width": 16, "height": 16, **asked})
    assert caught.value.name == name


def test_a_key_without_a_map(source: _HalfRed) -> None:
    plugin = ChengtuMapProvider({"name": "m", "type": "map", "data": "helsinki.lidar/1"})
    with pytest.raises(StoreMissing, match="lidar"):
        plugin.query(bbox=BOX, width=16, height=16)
    assert plugin.fields == {}
