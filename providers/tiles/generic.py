"""A vector tile of what `FeatureSource.read` gives, in any CRS: the way that every source can go."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from providers.features.crs import ReferenceSystem, bbox_to_crs84, transform_between
from providers.features.query import BBox
from providers.features.source import FeatureColumns, FeatureSource, TileWindow
from tiles.grids import EARTH_RADIUS
from tiles.vector.fixed_point import FULL_DETAIL, OVERVIEW_DETAIL
from tiles.vector.layer import encode_layer

MAXIMUM_FEATURES = 20_000
"""The most features of one tile."""
_MERCATOR = "http://www.opengis.net/def/crs/EPSG/0/3857"
_CGCS2000 = (
    "http://www.opengis.net/def/crs/EPSG/0/4490"  # its degrees are those of CRS84 to a few centimetres
)
_MERCATOR_LATITUDE = 89.0  # beyond every square world; keeps the projection finite


def generic_tile(
    source: FeatureSource, window: TileWindow, layer: str, fields: Sequence[str], full_zoom: int = 0
) -> bytes:
    """A tile with one layer; b"" where nothing lies in it. From `full_zoom` on it has every detail of its features."""
    box = window_box84(window)
    if box is None or not _meets(source.bbox, box):
        return b""
    found = source.read(box, fields, MAXIMUM_FEATURES, zoom=window.zoom)
    return tile_of_columns(found, source.storage, window, layer, full_zoom)


def tile_of_columns(
    found: FeatureColumns, storage: ReferenceSystem, window: TileWindow, layer: str, full_zoom: int = 0
) -> bytes:
    """A tile of these features. Ids are feature ids of the tile where all are integers, else an attribute."""
    if not len(found):
        return b""
    columns: dict[str, Any] = dict(found.columns)
    ids = _integers(found.ids)
    if ids is None:
        columns = {"_id" if "id" in columns else "id": found.ids, **columns}
    detail = FULL_DETAIL if window.zoom >= full_zoom else OVERVIEW_DETAIL
    return encode_layer(
        layer,
        _projected(storage, found.geometries, window.crs),
        ids,
        columns,
        window.bounds,
        extent=window.extent,
        buffer=window.buffer,
        tolerance=detail.tolerance,
        detail=detail.detail,
        most_bytes=detail.most_bytes,
    )


def _integers(ids: Sequence[str]) -> NDArray[np.int64] | None:
    if not all(text.isascii() and text.isdecimal() and len(text) < 19 for text in ids):
        return None
    return np.array([int(text) for text in ids], dtype=np.int64)


def window_box84(window: TileWindow) -> BBox | None:
    """The window with its margin in CRS84; None where its CRS cannot say where on Earth it lies."""
    minx, miny, maxx, maxy = window.bounds
    margin = (maxx - minx) * window.buffer / window.extent
    west, south, east, north = minx - margin, miny - margin, maxx + margin, maxy + margin
    system = window.crs
    if system.uri == _MERCATOR:
        west, east = math.degrees(west / EARTH_RADIUS), math.degrees(east / EARTH_RADIUS)
        return BBox(west, _latitude(south), east, _latitude(north))
    if system.crs.is_geographic:
        south, north = max(south, -90.0), min(north, 90.0)
        if system.is_wgs84 or system.uri == _CGCS2000:
            return BBox(west, south, east, north)
    try:
        return bbox_to_crs84(
            (south, west, north, east) if system.swap else (west, south, east, north), system
        )
    except ValueError:
        return None


def _latitude(y: float) -> float:
    return math.degrees(math.atan(math.sinh(y / EARTH_RADIUS)))


def _meets(extent: tuple[float, ...], box: BBox) -> bool:
    """Whether the collection's extent (4 or 6 numbers, CRS84) and the box have a point in common."""
    if not extent:
        return False
    west, south = extent[0], extent[1]
    east, north = extent[len(extent) // 2], extent[len(extent) // 2 + 1]
    if box.west > box.east:
        return (east >= box.west or west <= box.east) and south <= box.north and north >= box.south
    return west <= box.east and east >= box.west and south <= box.north and north >= box.south


def _projected(
    storage: ReferenceSystem, geometries: NDArray[np.object_], target: ReferenceSystem
) -> NDArray[np.object_]:
    """The geometries in the CRS of the tile, x = east."""
    if target.uri == _MERCATOR and storage.is_wgs84:
        return np.asarray(shapely.transform(geometries, _mercator), dtype=object)
    transform = transform_between(storage, target)
    if transform is None:
        return geometries
    coordinates = shapely.get_coordinates(geometries)
    x, y = transform(coordinates[:, 0], coordinates[:, 1])
    moved = shapely.set_coordinates(shapely.force_2d(geometries), np.column_stack([x, y]))
    return np.asarray(moved, dtype=object)


def _mercator(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Degrees to EPSG:3857 (spherical: PROJ gives the same, at three times the cost for the few points of a tile)."""
    latitude = np.clip(coordinates[:, 1], -_MERCATOR_LATITUDE, _MERCATOR_LATITUDE)
    x = np.radians(coordinates[:, 0]) * EARTH_RADIUS
    y = np.arctanh(np.sin(np.radians(latitude))) * EARTH_RADIUS
    return np.column_stack([x, y])
