"""What can be drawn on a map: the protocol of map sources, and the checks that every map request passes."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tiles.crs import metres_per_unit, parse_crs
from tiles.errors import MapAreaError, MapSizeError

type Pixels = NDArray[np.uint8]
"""An image: array (height, width, 4) of red, green, blue and alpha, not premultiplied; row 0 is the top."""

type Box = tuple[float, float, float, float]
"""minx, miny, maxx, maxy; easting or longitude first whatever the CRS says."""

MAXIMUM_EDGE = 8192
MAXIMUM_PIXELS = 4096 * 4096


class MapRequest(NamedTuple):
    """A checked request for one image."""

    bbox: Box
    crs: str
    width: int
    height: int

    @property
    def resolution(self) -> float:
        """Units of the CRS a pixel, the larger of both directions."""
        minx, miny, maxx, maxy = self.bbox
        return max((maxx - minx) / self.width, (maxy - miny) / self.height)

    @property
    def zoom(self) -> float:
        """The zoom level of the web map grid of that resolution (fractional; metres are counted on the equator)."""
        metres = self.resolution * metres_per_unit(self.crs)
        return math.log2(156543.03392804097 / metres)


class MapSource(Protocol):
    """One layer that can draw itself."""

    def render(self, bbox: Box, crs: str, width: int, height: int, *, instant: str | None = None) -> Pixels:
        """Draw `bbox` of `crs` on width x height pixels, transparent where there is nothing.

        `instant` (RFC 3339, UTC, or an interval A/B of two) chooses the time of data that has one; None the latest of a
        raster, everything of features. Raises MapAreaError, MapSizeError, UnsupportedCrs, UnknownInstant or MapSourceError.
        """
        ...


def check_request(bbox: Box, crs: str, width: int, height: int) -> MapRequest:
    """The request, once its size, box and CRS are fit to be drawn. Raises MapSizeError, MapAreaError, UnsupportedCrs."""
    if not (1 <= width <= MAXIMUM_EDGE and 1 <= height <= MAXIMUM_EDGE and width * height <= MAXIMUM_PIXELS):
        raise MapSizeError(
            f"a map of {width} x {height} pixels was asked; each edge may be 1 to {MAXIMUM_EDGE} pixels, and the whole at"
            f" most {MAXIMUM_PIXELS} pixels"
        )
    parse_crs(crs)
    minx, miny, maxx, maxy = (float(value) for value in bbox)
    if not all(map(math.isfinite, (minx, miny, maxx, maxy))) or minx >= maxx or miny >= maxy:
        raise MapAreaError(
            f"bounding box {minx}, {miny}, {maxx}, {maxy} has no area; give minimum x, minimum y, maximum x, maximum y"
        )
    if max(abs(minx), abs(miny), abs(maxx), abs(maxy)) > 1e9:
        raise MapAreaError(f"bounding box {minx}, {miny}, {maxx}, {maxy} reaches beyond anything on Earth")
    return MapRequest((minx, miny, maxx, maxy), crs, width, height)


def empty_image(width: int, height: int) -> Pixels:
    """A transparent image."""
    return np.zeros((height, width, 4), dtype=np.uint8)
