"""How much earth lies between the ground and a design: what is to be dug away, and what is to be filled up."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from providers.analysis.height_grid import MAXIMUM_CELLS, height_grid
from providers.analysis.place import Place
from providers.analysis.scene import Ground, Scene
from providers.errors import InvalidParameter


class CutFill(NamedTuple):
    """Cubic metres `cut` and `fill`, square metres `area` that was compared and `unknown` where a surface has no height;
    `lowest` and `highest` are the differences (m, design less ground)."""

    cut: float
    fill: float
    area: float
    unknown: float
    lowest: float
    highest: float


def cut_and_fill(
    ground: Ground, area: BaseGeometry, design: float | Ground, size: float, maximum: int = MAXIMUM_CELLS
) -> CutFill:
    """Volumes between `ground` and `design` (a height above the ellipsoid, or another ground) inside a polygon of CRS84.

    By cells of `size` metres whose centres lie in the polygon. Raises AnswerTooLarge beyond `maximum` cells, InvalidParameter where
    the two have no place in common.
    """
    centre = area.centroid
    place = Place.at(centre.x, centre.y)

    def flat(
        coordinates: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    ) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        moved: np.ndarray[tuple[int, int], np.dtype[np.float64]] = place.from_geodetic(
            coordinates, np.zeros(len(coordinates))
        )[:, :2]
        return moved

    polygon = shapely.transform(shapely.segmentize(area, 0.005), flat)
    west, south, east, north = polygon.bounds
    grid = height_grid(Scene((), ground), place, west, south, east, north, size, maximum)
    x, y = grid.centres()
    across, up = (part.ravel() for part in np.meshgrid(x, y))
    inside = shapely.contains_xy(polygon, across, up)
    heights = grid.ground.ravel()[inside]
    if isinstance(design, float | int):
        wanted = np.full(len(heights), float(design))
    else:
        points = np.column_stack((across[inside], up[inside], np.zeros(len(heights))))
        wanted = design.heights(place.to_geodetic(points)[:, :2]) if len(points) else np.empty(0)
    difference = wanted - heights
    known = np.isfinite(difference)
    if not known.any():
        raise InvalidParameter(
            "area", area.wkt[:80], "an area of at least one cell where both surfaces have heights"
        )
    cell = size * size
    return CutFill(
        float(-difference[known & (difference < 0)].sum() * cell),
        float(difference[known & (difference > 0)].sum() * cell),
        float(known.sum() * cell),
        float((~known).sum() * cell),
        float(difference[known].min()),
        float(difference[known].max()),
    )
