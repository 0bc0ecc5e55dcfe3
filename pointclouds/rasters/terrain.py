"""Ground where there are no ground points: planes through the ground around, level by level of ever coarser cells.

A cell without ground is given the height of planes fitted to the ground in three by three cells of a grid four times as coarse; where these
hold none, of one four times as coarse again, up to a stated distance. What a cell is given depends on its own place alone.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from pointclouds.rasters.cells import CellWindow, Float
from pointclouds.rasters.points import CellPoints

MOMENTS: Final = 9
PLANE_LAYERS: Final = 4
"""Of a plane: height at the centre of the cell, slopes, and the mean height of the ground, which is there without a plane too."""
_FEWEST: Final = 6
"""Points that a slope is taken from."""
_SPREAD: Final = 0.15
"""The least variance (square cells) of the points' places along any direction: a strip of one cell has 0.08, of two 0.33. A plane of less
would be carried on beyond its ground."""
ALL: Final = 1 - 1e-9
"""All four planes around a place: a blend of some of them ends in a step."""
_SOME: Final = 1e-6
_STEEPEST: Final = 1.0
"""Units of height a unit of length: steeper fits are of walls, not of ground."""


def add_moments(sums: Float, points: CellPoints) -> None:
    """Add ground points to `sums` (9, cells): n, u, v, z, uu, uv, vv, uz, vz with u, v in cells from the cell's centre."""
    u, v, z = points.across, points.down, points.z
    terms = (None, u, v, z, u * u, u * v, v * v, u * z, v * z)
    for number, weights in enumerate(terms):
        sums[number] += np.bincount(points.place, weights, sums.shape[1])


def planes_of(sums: Float, cell: float) -> Float:
    """Planes (4, rows, columns): height at the centre of each cell, its slope to the east and south a cell, NaN where the ground around
    says too little; and the mean height of that ground, NaN where there is none.

    `sums` are (9, rows + 2, columns + 2): a cell more on each side. `cell` is the edge of a cell.
    """
    rows, columns = sums.shape[1] - 2, sums.shape[2] - 2
    total = np.zeros((MOMENTS, rows, columns))
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            part = sums[:, 1 + down : 1 + down + rows, 1 + across : 1 + across + columns]
            _add_shifted(total, part, float(across), float(down))
    with np.errstate(invalid="ignore", divide="ignore"):
        return _fitted(total, cell)


def _add_shifted(total: Float, part: Float, a: float, b: float) -> None:
    """Add moments about a centre that lies `a` cells east and `b` south of this one's."""
    n, u, v, z, uu, uv, vv, uz, vz = part
    total[0] += n
    total[1] += u + a * n
    total[2] += v + b * n
    total[3] += z
    total[4] += uu + 2 * a * u + a * a * n
    total[5] += uv + a * v + b * u + a * b * n
    total[6] += vv + 2 * b * v + b * b * n
    total[7] += uz + a * z
    total[8] += vz + b * z


def _fitted(moments: Float, cell: float) -> Float:
    u, v, z, uu, uv, vv, uz, vz = moments[1:] / moments[0]
    variance_u, variance_v, covariance = uu - u * u, vv - v * v, uv - u * v
    with_u, with_v = uz - u * z, vz - v * z
    determinant = variance_u * variance_v - covariance * covariance
    # The smaller eigenvalue of the covariance: how far the points are from lying on one line.
    middle = (variance_u + variance_v) / 2
    spread = middle - np.sqrt(np.maximum(middle * middle - determinant, 0))
    slope_u = (with_u * variance_v - with_v * covariance) / determinant
    slope_v = (with_v * variance_u - with_u * covariance) / determinant
    steep = np.hypot(slope_u, slope_v) / cell
    sound = (moments[0] >= _FEWEST) & (spread >= _SPREAD) & (steep <= _STEEPEST)
    plane = np.where(sound, np.stack([z - slope_u * u - slope_v * v, slope_u, slope_v]), np.nan)
    return np.concatenate([plane, np.where(moments[0] > 0, z, np.nan)[None]])


def heights_on(planes: Float, window: CellWindow, x: Float, y: Float, least: float = _SOME) -> Float:
    """Heights of planes (3 or more, rows, columns: height, slope to the east, to the south) at positions (n,).

    x and y are in cells of the planes' grid, east and south of the origin of the CRS. The four planes whose centres lie around are
    blended; NaN where those that are known weigh less than `least` of 1.
    """
    column, row = np.floor(x - 0.5), np.floor(y - 0.5)
    east, south = x - 0.5 - column, y - 0.5 - row
    total, whole = np.zeros(len(x)), np.zeros(len(x))
    left = column.astype(np.intp) - window.column
    top = row.astype(np.intp) - window.row
    for down in (0, 1):
        for across in (0, 1):
            weight = (south if down else 1 - south) * (east if across else 1 - east)
            found = planes[:, top + down, left + across]
            height = found[0] + found[1] * (east - across) + found[2] * (south - down)
            known = np.isfinite(height)
            total += np.where(known, height * weight, 0)
            whole += np.where(known, weight, 0)
    with np.errstate(invalid="ignore"):
        return np.where(whole >= least, total / np.maximum(whole, _SOME), np.nan)


def missing_places(window: CellWindow, missing: npt.NDArray[np.bool_], factor: int) -> tuple[Float, Float]:
    """Centres (x, y) of the missing cells in cells of a grid `factor` times as coarse."""
    rows, columns = np.nonzero(missing)
    return (columns + window.column + 0.5) / factor, (rows + window.row + 0.5) / factor
