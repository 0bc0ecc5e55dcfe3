"""A virtual point cloud (VPC): the files of a cloud as one JSON document, in the form of a STAC FeatureCollection.

The form is that of PDAL Wrench and of QGIS from 3.32 on: STAC 1.0.0 items with the point cloud extension 1.0 and the projection
extension 1.1, whose first asset is a COPC.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyproj

from pointclouds.cloud.cloud import Cloud, CloudTile
from pointclouds.las.dimensions import Dimension

COPC: Final = "application/vnd.laszip+copc"
EXTENSIONS: Final = (
    "https://stac-extensions.github.io/pointcloud/v1.0.0/schema.json",
    "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
)
_TYPES: Final = {"u": "unsigned", "i": "signed", "f": "floating"}
_PACKED_NAMES: Final = {"ScanAngle": "ScanAngleRank"}
"""Dimensions that PDAL and QGIS call by another name than LAS 1.4 does."""


def virtual_point_cloud(
    cloud: Cloud,
    boxes: npt.NDArray[np.float64],
    address: Callable[[CloudTile], str],
    overview: str | None,
    updated: str,
) -> dict[str, Any]:
    """The document.

    Args:
        boxes: of the tiles, CRS84 (n, 6), see boxes.boxes_in_crs84.
        address: the absolute URL of a tile's COPC; it has to end with ".copc.laz".
        overview: that of the overview, if there is one. Every item names it, because readers look for it in any.
        updated: RFC 3339, for tiles of which nobody knows when they were flown (STAC asks for a time).
    """
    shared = _shared(cloud)
    items = [
        _item(one, box, shared, address(one), overview, updated)
        for one, box in zip(cloud.tiles, boxes, strict=True)
    ]
    return {"type": "FeatureCollection", "features": items}


def _shared(cloud: Cloud) -> dict[str, Any]:
    """Properties that all items have."""
    shared: dict[str, Any] = {
        "pc:type": "lidar",
        "pc:encoding": COPC,
        "pc:schemas": [_schema(one) for one in cloud.dimensions if one.members == 1],
        "proj:wkt2": cloud.crs.to_wkt("WKT2_2019"),
    }
    code = _epsg(cloud.crs)
    if code is not None:
        shared["proj:epsg"] = code
    return shared


def _epsg(crs: pyproj.CRS) -> int | None:
    """The EPSG code of a CRS that is one of EPSG's as a whole."""
    authority = crs.to_authority(min_confidence=100)
    return int(authority[1]) if authority is not None and authority[0] == "EPSG" else None


def _schema(one: Dimension) -> dict[str, Any]:
    """A dimension as values are handed out: coordinates and other scaled ones as doubles."""
    kind = np.dtype("<f8") if one.is_scaled else np.dtype(one.dtype)
    name = _PACKED_NAMES.get(one.name, one.name)
    return {"name": name, "size": kind.itemsize, "type": _TYPES.get(kind.kind, "unsigned")}


def _item(
    one: CloudTile,
    box: npt.NDArray[np.float64],
    shared: dict[str, Any],
    href: str,
    overview: str | None,
    updated: str,
) -> dict[str, Any]:
    west, south, bottom, east, north, top = (round(float(value), 9) for value in box)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    minx, miny, _, maxx, maxy, _ = one.box
    corners = [[minx, miny], [maxx, miny], [maxx, maxy], [minx, maxy], [minx, miny]]
    assets = {"data": {"href": href, "type": COPC, "roles": ["data"]}}
    if overview is not None:
        assets["overview"] = {"href": overview, "type": COPC, "roles": ["overview"]}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": list(EXTENSIONS),
        "id": one.name,
        "bbox": [west, south, bottom, east, north, top],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            **_times(one, updated),
            "pc:count": one.count,
            **shared,
            "proj:bbox": list(one.box),
            "proj:geometry": {"type": "Polygon", "coordinates": [corners]},
        },
        "links": [],
        "assets": assets,
    }


def _times(one: CloudTile, updated: str) -> dict[str, Any]:
    if one.start is None or one.end is None:
        return {"datetime": updated}
    if one.start == one.end:
        return {"datetime": one.start}
    return {"datetime": None, "start_datetime": one.start, "end_datetime": one.end}
