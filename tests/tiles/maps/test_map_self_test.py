"""The self-test of maps: a good source passes, and each way of being wrong fails the class it belongs to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tiles.crs import transformer
from tiles.errors import MapSourceError, UnknownInstant
from tiles.maps.self_test import CHECKS, class_of, map_self_test
from tiles.maps.source import Box, Pixels

EXTENT = (113.0, 22.0, 114.0, 23.0)
FIRST, LAST = "2024-01-01T00:00:00Z", "2024-06-01T00:00:00Z"


class Square:
    """Draws the western third of the extent, right in every CRS; `instants` are the only ones it has."""

    instants: tuple[str, ...] = ()

    def render(self, bbox: Box, crs: str, width: int, height: int, *, instant: str | None = None) -> Pixels:
        if self.instants and instant is not None and instant not in self.instants:
            raise UnknownInstant(instant)
        minx, miny, maxx, maxy = bbox
        xs = minx + (np.arange(width) + 0.5) * (maxx - minx) / width
        ys = maxy - (np.arange(height) + 0.5) * (maxy - miny) / height
        x, y = np.meshgrid(xs, ys)
        longitude, latitude = transformer("OGC:CRS84", crs).transform(x, y, direction="INVERSE")
        pixels = np.zeros((height, width, 4), dtype=np.uint8)
        inside = (longitude >= 113) & (longitude <= 113.33) & (latitude >= 22) & (latitude <= 23)
        pixels[inside] = 255
        return pixels


class Timed(Square):
    instants = (FIRST, LAST)


class Features(Square):
    def render(self, bbox: Box, crs: str, width: int, height: int, *, instant: str | None = None) -> Pixels:
        pixels = super().render(bbox, crs, width, height)
        return pixels * 0 if instant is not None and instant < FIRST else pixels


class AnyPixelSize(Square):
    def render(  # a source that follows the size of pixels takes one parameter more
        self,
        bbox: Box,
        crs: str,
        width: int,
        height: int,
        *,
        instant: str | None = None,
        mm_per_pixel: float = 0.28,
    ) -> Pixels:
        return super().render(bbox, crs, width, height, instant=instant)


def names(uris: object) -> set[str]:
    return {str(uri).rpartition("/")[2] for uri in uris}  # type: ignore[attr-defined]  # lists and dicts of URIs


def test_a_good_source_passes() -> None:
    tested = map_self_test(Square(), EXTENT, "EPSG:4547")
    assert not tested.failed
    assert names(tested.passed) == {"core", "scaling", "spatial-subsetting", "crs"}
    assert all(uri == class_of(uri.rpartition("/")[2]) for uri in tested.passed)


def test_time_and_pixel_size_are_passed_where_the_source_offers_them() -> None:
    assert "datetime" in names(map_self_test(Timed(), EXTENT, "EPSG:4326", instants=(FIRST, LAST)).passed)
    assert "datetime" in names(map_self_test(Features(), EXTENT, "EPSG:4326", timed=True).passed)
    assert "display-resolution" in names(map_self_test(AnyPixelSize(), EXTENT, "EPSG:4326").passed)


def test_every_class_of_the_server_has_a_check() -> None:
    from server.http.ogc.conformance_maps import MAP_CHECKED

    assert [class_of(name) for name in CHECKS] == list(MAP_CHECKED)


def _wrong(change: Callable[[Pixels, Box, str, int], Pixels]) -> type[Square]:
    class Wrong(Square):
        def render(
            self, bbox: Box, crs: str, width: int, height: int, *, instant: str | None = None
        ) -> Pixels:
            return change(super().render(bbox, crs, width, height, instant=instant), bbox, crs, width)

    return Wrong


@pytest.mark.parametrize(
    ("source", "failed"),
    [
        (_wrong(lambda pixels, box, crs, width: pixels * 0), {"core", "crs"}),
        (
            _wrong(lambda pixels, box, crs, width: pixels[:, :-1]),
            {"core", "scaling", "spatial-subsetting", "crs"},
        ),
        (
            _wrong(lambda pixels, box, crs, width: pixels[:, ::-1] if width == 128 else pixels),
            {"scaling", "spatial-subsetting"},
        ),
        (_wrong(lambda pixels, box, crs, width: pixels | 255), {"spatial-subsetting"}),
        (_wrong(lambda pixels, box, crs, width: pixels[:, ::-1] if crs == "EPSG:3857" else pixels), {"crs"}),
        (_wrong(lambda pixels, box, crs, width: pixels * 0 if crs == "EPSG:4547" else pixels), {"crs"}),
    ],
    ids=[
        "empty",
        "narrow",
        "mirrored when wide",
        "full everywhere",
        "mirrored in mercator",
        "empty in storage",
    ],
)
def test_a_source_that_is_wrong_fails_its_class(source: type[Square], failed: set[str]) -> None:
    assert names(map_self_test(source(), EXTENT, "EPSG:4547").failed) == failed


def test_a_source_that_ignores_time_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(map_self_test(Square(), EXTENT, "EPSG:4326", instants=(FIRST,)).failed) == {"datetime"}
    assert names(map_self_test(Square(), EXTENT, "EPSG:4326", timed=True).failed) == {"datetime"}


def test_a_source_that_is_gone_passes_nothing_and_raises_nothing() -> None:
    class Gone(Square):
        def render(
            self, bbox: Box, crs: str, width: int, height: int, *, instant: str | None = None
        ) -> Pixels:
            raise MapSourceError("gone")

    tested = map_self_test(Gone(), EXTENT, "EPSG:4326")
    assert not tested.passed
    assert all("gone" in why for why in tested.failed.values())


@pytest.mark.parametrize("south", [-90.001, -89.9])
def test_features_at_a_pole_are_no_failure_of_the_test(south: float) -> None:
    class Full(Square):
        def render(
            self, bbox: Box, crs: str, width: int, height: int, *, instant: str | None = None
        ) -> Pixels:
            return np.full((height, width, 4), 255, dtype=np.uint8)

    for crs in ("EPSG:4326", "EPSG:3031", "EPSG:3995"):
        assert "core" in names(map_self_test(Full(), (9.0, south, 11.0, south + 0.001), crs).passed)
