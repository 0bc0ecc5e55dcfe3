"""What a finished point cloud holds, for the registry, the records and the pages."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyproj

from pointclouds.copc.reader import CopcFile, selection_of
from pointclouds.crs import crs_identifier, horizontal_part, require_usable, vertical_name, vertical_unit
from pointclouds.errors import UnusableCrsError
from pointclouds.las.layout import dimension_names
from pointclouds.las.point_set import Triple

Box3 = tuple[float, float, float, float, float, float]
_EDGE_SAMPLES: Final = 21
_AREA_MARGIN: Final = 2.0
"""Degrees a point cloud may lie outside the area of use of its CRS: authorities draw them tightly."""


@dataclass(frozen=True)
class PointCloudSummary:
    """Counts, boxes and names of one point cloud.

    `bbox` is minx, miny, minz, maxx, maxy, maxz in `crs`. `bbox84` is west, south, bottom, east, north, top:
    CRS84 degrees, and z in metres above whatever `vertical_reference` names. `classes` maps classification
    codes to counts. `dropped` names what the source held and COPC cannot.
    """

    count: int
    bbox84: Box3
    bbox: Box3
    classes: Mapping[int, int]
    dimensions: tuple[str, ...]
    point_format: int
    scale: Triple
    offset: Triple
    crs: pyproj.CRS
    crs_identifier: str
    vertical_reference: str
    gps_range: tuple[float, float]
    nodes: int
    depth: int
    bytes: int
    dropped: tuple[str, ...] = ()

    def properties(self) -> dict[str, object]:
        """The JSON values a POINT_CLOUD representation keeps in the registry."""
        return {
            "count": self.count,
            "point_format": self.point_format,
            "dimensions": list(self.dimensions),
            "classes": {str(code): count for code, count in sorted(self.classes.items())},
            "scale": list(self.scale),
            "offset": list(self.offset),
            "crs": self.crs_identifier,
            "vertical_reference": self.vertical_reference,
        }


def box84(bbox: Box3, crs: pyproj.CRS) -> Box3:
    """A native box as west, south, bottom (m), east, north, top (m).

    Raises:
        UnusableCrsError: the box lies where the CRS has no meaning.
    """
    transformer = pyproj.Transformer.from_crs(horizontal_part(crs), "OGC:CRS84", always_xy=True)
    west, south, east, north = transformer.transform_bounds(
        bbox[0], bbox[1], bbox[3], bbox[4], densify_pts=_EDGE_SAMPLES
    )
    if not np.isfinite([west, south, east, north]).all() or abs(south) > 90 or abs(north) > 90:
        raise UnusableCrsError(
            f"x {bbox[0]:.2f} to {bbox[3]:.2f} and y {bbox[1]:.2f} to {bbox[4]:.2f} lie outside {crs.name}; "
            "check --crs against the coordinates"
        )
    _check_area(crs, (west, south, east, north))
    unit = vertical_unit(crs)
    return west, south, bbox[2] * unit, east, north, bbox[5] * unit


def _check_area(crs: pyproj.CRS, bounds: tuple[float, float, float, float]) -> None:
    """Coordinates far from where an authority says a CRS is used: the CRS is the wrong one."""
    area = crs.area_of_use
    if area is None or area.west > area.east:
        return
    west, south, east, north = bounds
    far = _AREA_MARGIN
    if (
        west > area.east + far
        or east < area.west - far
        or south > area.north + far
        or north < area.south - far
    ):
        raise UnusableCrsError(
            f"in {crs.name} these points lie at longitude {west:.2f} to {east:.2f}, latitude {south:.2f} to "
            f"{north:.2f}, outside {area.name}; check --crs against the coordinates"
        )


def summarize(copc: Path) -> PointCloudSummary:
    """The summary of a finished COPC file; decodes its classification and positions.

    Raises:
        UnreadablePointCloudError, InvalidCopcError, CrsError: see pointclouds.errors.
    """
    with CopcFile(copc) as source:
        crs = require_usable(source.crs, copc.name)
        classes = np.zeros(256, np.int64)
        selection = selection_of(["Classification"])
        for entry in source.entries:
            classes += np.bincount(source.read_node(entry, selection)["Classification"], minlength=256)
        header = source.header
        return PointCloudSummary(
            count=header.count,
            bbox84=box84(header.bbox, crs),
            bbox=header.bbox,
            classes={int(code): int(classes[code]) for code in np.flatnonzero(classes)},
            dimensions=dimension_names(source.dtype),
            point_format=header.point_format,
            scale=header.scale,
            offset=header.offset,
            crs=crs,
            crs_identifier=crs_identifier(crs),
            vertical_reference=vertical_name(crs),
            gps_range=(source.info.gps_minimum, source.info.gps_maximum),
            nodes=len(source.entries),
            depth=int(source.entries["level"].max()),
            bytes=copc.stat().st_size,
        )
