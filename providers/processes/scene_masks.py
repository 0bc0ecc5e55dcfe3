"""Cells of a grid as polygons on the map."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import Polygon, shape

from providers.analysis.height_grid import HeightGrid
from providers.errors import AnswerTooLarge

MAXIMUM_VERTICES = 200_000
_DECIMALS = 7


def mask_polygons(grid: HeightGrid, mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A GeoJSON MultiPolygon in CRS84 of the cells that are True, their edges as they are. Raises AnswerTooLarge."""
    from rasterio import Affine
    from rasterio.features import shapes

    transform = Affine(grid.size, 0.0, grid.west, 0.0, grid.size, grid.south)
    rings: list[list[NDArray[np.float64]]] = []
    count = 0
    for polygon, value in shapes(mask.astype(np.uint8), mask=mask, transform=transform):
        if not value:
            continue
        found = shape(polygon)
        if not isinstance(found, Polygon):
            continue
        parts = [np.asarray(found.exterior.coords), *(np.asarray(hole.coords) for hole in found.interiors)]
        count += sum(len(part) for part in parts)
        if count > MAXIMUM_VERTICES:
            raise AnswerTooLarge(
                f"The outline has more than {MAXIMUM_VERTICES} corners; ask for larger cells or a smaller area"
            )
        rings.append(parts)
    if not rings:
        return {"type": "MultiPolygon", "coordinates": []}
    flat = np.concatenate([part for parts in rings for part in parts])[:, :2]
    level = float(np.nanmean(grid.surface))
    placed = grid.place.to_geodetic(np.column_stack((flat, np.full(len(flat), level))))[:, :2].round(
        _DECIMALS
    )
    coordinates, start = [], 0
    for parts in rings:
        polygon_rings = []
        for number, part in enumerate(parts):
            ring = placed[start : start + len(part)]
            start += len(part)
            polygon_rings.append(_turned(ring, counter_clockwise=number == 0).tolist())
        coordinates.append(polygon_rings)
    return {"type": "MultiPolygon", "coordinates": coordinates}


def _turned(ring: NDArray[np.float64], *, counter_clockwise: bool) -> NDArray[np.float64]:
    """The ring in the direction that RFC 7946, 3.1.6 asks for."""
    x, y = ring[:, 0], ring[:, 1]
    area = float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum())
    return ring if (area > 0) == counter_clockwise else ring[::-1]
