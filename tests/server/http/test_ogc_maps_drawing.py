"""Drawing in strips: the same picture, within memory and time; a broken layer of many is left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from server.http.errors import Overloaded
from server.http.ogc.map_background import parse_background
from server.http.ogc.map_drawing import MapLayer, draw_map
from server.http.ogc.map_query import MapQuery, parse_map_query
from tiles.errors import MapSourceError
from tiles.maps.source import Box, Pixels

EXTENT = (0.0, 0.0, 10.0, 10.0)
CLEAR = parse_background({}, can_be_transparent=True, style_background=None)


class Chequers:
    """Fields of a tenth of a degree, drawn from where they are: every strip has to know its place."""

    def __init__(self) -> None:
        self.largest = 0
        self.drawn = 0

    def render(self, bbox: Box, crs: str, width: int, height: int, *, instant: str | None = None) -> Pixels:
        self.largest = max(self.largest, width * height)
        self.drawn += 1
        minx, miny, maxx, maxy = bbox
        xs = minx + (np.arange(width) + 0.5) * (maxx - minx) / width
        ys = maxy - (np.arange(height) + 0.5) * (maxy - miny) / height
        pixels = np.zeros((height, width, 4), dtype=np.uint8)
        field = (np.floor(xs * 10)[None, :] + np.floor(ys * 10)[:, None]) % 2 == 0
        pixels[field] = (10, 200, 30, 255)
        return pixels


class Broken(Chequers):
    def render(self, bbox: Box, crs: str, width: int, height: int, *, instant: str | None = None) -> Pixels:
        raise MapSourceError("the data are gone")


def query(width: int, height: int) -> MapQuery:
    given = {"width": str(width), "height": str(height), "bbox": "0,0,10,10", "crs": "OGC:CRS84"}
    return parse_map_query(given, EXTENT, 4096 * 4096)


def test_strips_make_the_picture_that_one_piece_makes() -> None:
    strips, whole = Chequers(), Chequers()
    asked = query(4096, 600)
    first = draw_map([MapLayer(strips)], asked, CLEAR)
    second = draw_map([MapLayer(whole, whole=True)], asked, CLEAR)
    assert (strips.drawn, whole.drawn) == (3, 1)
    assert strips.largest <= 1_048_576 < whole.largest
    assert (first != second).mean() < 0.001  # a field's edge may round otherwise


def test_a_map_that_takes_too_long_is_given_up_with_a_time_to_come_back() -> None:
    ticks = iter(range(0, 1000, 10))
    with pytest.raises(Overloaded) as refused:
        draw_map([MapLayer(Chequers())], query(4096, 4096), CLEAR, seconds=25, clock=lambda: next(ticks))
    assert ("Retry-After", "30") in refused.value.headers


def test_one_broken_layer_of_several_is_left_out_only_where_nobody_named_it() -> None:
    told: list[tuple[str, Exception]] = []
    layers = [MapLayer(Broken(), name="broken"), MapLayer(Chequers())]
    shown = draw_map(layers, query(64, 64), CLEAR, left_out=lambda name, error: told.append((name, error)))
    assert shown[..., 3].any()
    assert [name for name, _ in told] == ["broken"]
    with pytest.raises(MapSourceError):
        draw_map(layers, query(64, 64), CLEAR)


def test_large_maps_wait_for_a_place_and_are_refused_when_too_many_wait(city: Any, wsgi_client: Any) -> None:
    from server.http.app import create_flask, make_services
    from server.http.places import Places

    services = make_services(city.settings)
    services.heavy = Places(1, seconds=0.05)
    server = wsgi_client(create_flask(services))
    url = "/t/demo/ogc/collections/boxes/map?width=1400&height=1400"
    with services.heavy.taken():
        refused = server.get(url)
        assert refused.status == 503
        assert int(refused.headers["Retry-After"]) >= 1
        assert server.get("/t/demo/ogc/collections/boxes/map?width=256").status == 200
    assert server.get(url).status == 200
