"""Volumes between a surface and a base within a polygon: stockpiles, pits, earth works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import shapely

from pointclouds.rasters.cells import centres_of
from pointclouds.rasters.raster import PointRaster
from providers.errors import InvalidParameter
from providers.points.areas import AreaCells, Float, heights_in
from providers.points.change import Surface
from providers.points.coverage import raster_errors

_BORDER_STEPS: Final = 400


@dataclass(frozen=True)
class Volume:
    """Above and below the base, in units of the cloud cubed; `area` where both are known, `missing` where they are not, squared.

    `base` is the base's mean height, `highest` and `lowest` the surface's distance from it.
    """

    above: float
    below: float
    area: float
    missing: float
    base: float | None
    highest: float | None
    lowest: float | None

    @property
    def net(self) -> float:
        """Above less below."""
        return self.above - self.below


def volume_between(surface: Float, base: Float, cells: AreaCells) -> Volume:
    """The volume between two surfaces (rows, columns) on an area's cells; a cell counts by how much of it lies in the area."""
    weight = cells.share * cells.cell**2
    difference = surface - base
    known = np.isfinite(difference) & (cells.share > 0)
    part = difference[known] * weight[known]
    area = float(weight[known].sum())
    return Volume(
        above=float(part[part > 0].sum()),
        below=float(-part[part < 0].sum()),
        area=area,
        missing=float(weight.sum()) - area,
        base=float((base[known] * weight[known]).sum() / area) if area else None,
        highest=float(difference[known].max()) if area else None,
        lowest=float(difference[known].min()) if area else None,
    )


def surface_in(raster: PointRaster, cells: AreaCells, surface: Surface) -> Float:
    """A surface (rows, columns) on an area's cells. Raises AnswerTooLarge, RasterError, InvalidParameter."""
    return heights_in(raster, cells, [surface])[surface]


def plane_of_border(raster: PointRaster, cells: AreaCells, surface: Surface) -> Float:
    """The plane (rows, columns) that fits the heights along the area's border best: the base of a heap on uneven ground.

    Raises InvalidParameter where too few heights are known there, AnswerTooLarge, RasterError.
    """
    border = shapely.boundary(cells.area)
    lines = (
        shapely.line_merge(border)
        if shapely.get_type_id(border) != shapely.GeometryType.LINESTRING
        else border
    )
    parts = shapely.get_parts(lines)
    longest = parts[int(np.argmax(shapely.length(parts)))]
    distance = np.linspace(0.0, float(shapely.length(longest)), _BORDER_STEPS, endpoint=False)
    x, y = shapely.get_coordinates(shapely.line_interpolate_point(longest, distance)).T
    with raster_errors():
        heights = raster.sample(0, x, y, [surface])[surface].astype(np.float64)
    known = np.isfinite(heights)
    centre_x, centre_y = float(x.mean()), float(y.mean())
    terms = np.stack([np.ones(known.sum()), x[known] - centre_x, y[known] - centre_y], axis=1)
    if len(terms) < _BORDER_STEPS // 4 or np.linalg.matrix_rank(terms) < 3:
        raise InvalidParameter(
            "base", "border", "a polygon whose border lies on points of the cloud, or another base"
        )
    (height, east, north), *_ = np.linalg.lstsq(terms, heights[known], rcond=None)
    across, down = centres_of(cells.window, cells.cell)
    return np.asarray(height + east * (across[None, :] - centre_x) + north * (down[:, None] - centre_y))
