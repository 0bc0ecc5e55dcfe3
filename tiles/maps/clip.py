"""A map that shows nothing outside of an area: the right to see part of a city, or a tenant's own ground."""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import lru_cache
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj.exceptions import ProjError

from tiles.crs import transformer
from tiles.errors import MapSourceError
from tiles.maps.source import Box, MapSource, Pixels, check_request, empty_image

_LONGEST_EDGE = 0.02
"""Degrees after which an edge gets another vertex: a straight line of CRS84 is then straight to 6 cm in any city's CRS."""
_MOST_VERTICES_AN_EDGE = 2000
_KEPT = 64


def parse_area(text: str) -> Any:
    """The shapely (multi)polygon of a WKT in CRS84. Raises MapSourceError: what cannot be read must hide, not show."""
    return _parsed(text)


@lru_cache(maxsize=128)
def _parsed(text: str) -> Any:
    try:
        area = shapely.from_wkt(text)
    except shapely.errors.GEOSException as error:
        raise MapSourceError(f"the area {text[:60]!r} is no WKT: {error}") from error
    if area.geom_type not in ("Polygon", "MultiPolygon") or area.is_empty:
        raise MapSourceError(f"the area {text[:60]!r} is no polygon or multipolygon with something inside")
    west, south, east, north = area.bounds
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise MapSourceError(f"the area {text[:60]!r} is not in degrees of CRS84, longitude first")
    area = area if area.is_valid else shapely.make_valid(area)
    shapely.prepare(area)
    return area


class ClippedMapSource:
    """Another source, transparent outside of an area. A pixel shows where its middle lies inside.

    `area` is a polygon or multipolygon as WKT in CRS84. Outside of it the other source is not even asked.
    Raises MapSourceError for an area that is none.
    """

    def __init__(self, source: MapSource, area: str) -> None:
        self._source = source
        self._area = parse_area(area)
        self._shapes: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()

    def render(self, bbox: Box, crs: str, width: int, height: int, *, instant: str | None = None) -> Pixels:
        """Draw what lies inside (see MapSource)."""
        request = check_request(bbox, crs, width, height)
        shape = self._shape(crs)
        if shape is None:
            shape = self._near(request.bbox, crs)
        box = shapely.box(*request.bbox)
        if shape is None or not shapely.intersects(shape, box):
            return empty_image(width, height)
        pixels = self._source.render(bbox, crs, width, height, instant=instant)
        if shapely.contains_properly(shape, box):
            return pixels
        inside = _mask(shape, request.bbox, width, height)
        return np.where(inside[..., None], pixels, np.uint8(0))

    def _shape(self, crs: str) -> Any:
        """The area in a CRS; None where that CRS cannot express all of it."""
        with self._lock:
            if crs in self._shapes:
                self._shapes.move_to_end(crs)
                return self._shapes[crs]
        shape = _projected(self._area, crs)
        with self._lock:
            self._shapes[crs] = shape
            while len(self._shapes) > _KEPT:
                self._shapes.popitem(last=False)
        return shape

    def _near(self, bbox: Box, crs: str) -> Any:
        """The part of the area around a box, in the CRS of the box; None where there is none, or it has no place."""
        try:
            west, south, east, north = transformer(crs, "OGC:CRS84").transform_bounds(*bbox)
        except ProjError:
            return None
        if not np.isfinite((west, south, east, north)).all() or west > east:
            return None
        margin = 0.01 * max(east - west, north - south)
        near = shapely.intersection(
            self._area, shapely.box(west - margin, south - margin, east + margin, north + margin)
        )
        return None if near.is_empty else _projected(near, crs)


def _projected(area: Any, crs: str) -> Any:
    """The area in a CRS, easting first and prepared; None where a vertex has no place in it."""
    step = max(_LONGEST_EDGE, shapely.length(area) / _MOST_VERTICES_AN_EDGE)
    dense = shapely.segmentize(area, step)
    coordinates = shapely.get_coordinates(dense)
    x, y = transformer("OGC:CRS84", crs).transform(coordinates[:, 0], coordinates[:, 1])
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    shape = shapely.set_coordinates(dense, np.column_stack((x, y)))
    if not shape.is_valid:
        shape = shapely.make_valid(shape)
    shapely.prepare(shape)
    return shape


def _mask(shape: Any, bbox: Box, width: int, height: int) -> NDArray[np.bool_]:
    """Array (height, width): which pixels have their middle inside of the shape."""
    # GDAL is loaded with it; most maps have no area.
    from rasterio.features import rasterize
    from rasterio.transform import from_bounds

    near = shapely.clip_by_rect(shape, *_widened(bbox))
    if near.is_empty:
        return np.zeros((height, width), dtype=np.bool_)
    burnt = rasterize(
        [(near, 1)],
        out_shape=(height, width),
        fill=0,
        transform=from_bounds(*bbox, width, height),
        dtype="uint8",
    )
    return np.asarray(burnt, dtype=np.bool_)


def _widened(bbox: Box) -> Box:
    minx, miny, maxx, maxy = bbox
    across, down = maxx - minx, maxy - miny
    return minx - across, miny - down, maxx + across, maxy + down
