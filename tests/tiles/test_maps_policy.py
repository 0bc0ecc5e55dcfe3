"""Clips and watermarks: exact to the pixel, and the same on neighbouring tiles as on one map."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from tiles.crs import transformer
from tiles.errors import MapSourceError
from tiles.maps.clip import ClippedMapSource
from tiles.maps.source import Box, Pixels
from tiles.maps.watermark import WatermarkedMapSource


class Red:
    """Everything red; counts how often it was asked."""

    asked = 0

    def render(self, bbox: Box, crs: str, width: int, height: int, *, instant: str | None = None) -> Pixels:
        self.asked += 1
        pixels = np.zeros((height, width, 4), dtype=np.uint8)
        pixels[:] = (255, 0, 0, 255)
        return pixels


TRIANGLE = "POLYGON ((113.9 22.4, 114.3 22.45, 114.05 22.8, 113.9 22.4), (114.0 22.5, 114.1 22.5, 114.05 22.6, 114.0 22.5))"


@pytest.mark.parametrize("crs", ["CRS:84", "EPSG:3857", "EPSG:4547", "EPSG:4526"])
def test_a_pixel_shows_where_its_middle_lies_inside(crs: str) -> None:
    bbox = transformer("OGC:CRS84", crs).transform_bounds(113.85, 22.38, 114.32, 22.82)
    pixels = ClippedMapSource(Red(), TRIANGLE).render(bbox, crs, 120, 100)
    x = bbox[0] + (np.arange(120) + 0.5) * (bbox[2] - bbox[0]) / 120
    y = bbox[3] - (np.arange(100) + 0.5) * (bbox[3] - bbox[1]) / 100
    longitude, latitude = transformer(crs, "OGC:CRS84").transform(*np.meshgrid(x, y))
    inside = shapely.contains_xy(shapely.from_wkt(TRIANGLE), longitude, latitude)
    assert (inside != (pixels[..., 3] > 0)).sum() <= 2, "but for middles that lie on the border"
    assert 1000 < inside.sum() < 9000


def test_tiles_fit_together_as_one_map() -> None:
    source = WatermarkedMapSource(ClippedMapSource(Red(), TRIANGLE), "城市 City", shifted=True)
    box = (12_679_000.0, 2_562_000.0, 12_719_000.0, 2_602_000.0)
    whole = source.render(box, "EPSG:3857", 400, 400)
    middle_x, middle_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    upper = (
        source.render((box[0], middle_y, middle_x, box[3]), "EPSG:3857", 200, 200),
        source.render((middle_x, middle_y, box[2], box[3]), "EPSG:3857", 200, 200),
    )
    lower = (
        source.render((box[0], box[1], middle_x, middle_y), "EPSG:3857", 200, 200),
        source.render((middle_x, box[1], box[2], middle_y), "EPSG:3857", 200, 200),
    )
    joined = np.vstack((np.hstack(upper), np.hstack(lower)))
    assert (joined != whole).any(axis=-1).mean() < 0.002
    assert (whole[..., 1] > 0).any(), "the text is there"


def test_outside_nothing_is_drawn_and_inside_nothing_cut() -> None:
    red = Red()
    source = ClippedMapSource(red, TRIANGLE)
    assert not source.render((10.0, 10.0, 11.0, 11.0), "CRS:84", 20, 20).any()
    assert red.asked == 0
    inside = source.render((114.04, 22.62, 114.06, 22.64), "CRS:84", 20, 20)
    assert (inside[..., 3] == 255).all()


def test_an_area_that_a_crs_cannot_express_hides_what_is_outside() -> None:
    world = "POLYGON ((-180 -90, 180 -90, 180 90, 0 90, 0 0, -180 0, -180 -90))"
    for crs, box in (("EPSG:3857", (-2e7, -2e7, 2e7, 2e7)), ("EPSG:4547", (4e5, 2.4e6, 6e5, 2.6e6))):
        pixels = ClippedMapSource(Red(), world).render(box, crs, 40, 40)
        shown = pixels[..., 3] > 0
        if crs == "EPSG:4547":
            assert shown.all(), "China lies in the northern half east of Greenwich"
        else:
            assert not shown[:19, :19].any()
            assert shown[:, 21:].all()
            assert shown[21:, :].all()


@pytest.mark.parametrize(
    "area",
    [
        "",
        "nothing",
        "POINT (1 1)",
        "POLYGON EMPTY",
        "LINESTRING (0 0, 1 1)",
        "POLYGON ((0 0, 999 0, 999 1, 0 0))",
    ],
)
def test_what_is_no_area_hides(area: str) -> None:
    with pytest.raises(MapSourceError):
        ClippedMapSource(Red(), area)
