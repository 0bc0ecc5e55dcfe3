"""Sun and sky: shadows at an instant, hours of sunshine at a place, and how much of the sky is seen."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from providers.analysis.height_grid import MAXIMUM_CELLS, HeightGrid, height_grid
from providers.analysis.place import Numbers, Place
from providers.analysis.scene import Scene
from providers.analysis.sun import SunPosition, sun_position
from providers.errors import AnswerTooLarge, InvalidParameter

LONGEST_SHADOW = 2_000.0
"""Metres: shadows of a sun near the horizon are followed no further."""
MAXIMUM_WORK = 2_000_000_000
"""Cells times steps of one answer."""
_ON_ITSELF = 0.05
DIRECTIONS = 72


class Shadows(NamedTuple):
    """`shaded` (rows, columns) on `grid`; all where the sun is down. Roofs are part of the surface."""

    grid: HeightGrid
    sun: SunPosition
    shaded: NDArray[np.bool_]


def shadow_grid(
    scene: Scene,
    place: Place,
    box: tuple[float, float, float, float],
    size: float,
    instants: Sequence[datetime],
    maximum: int = MAXIMUM_CELLS,
) -> HeightGrid:
    """The grid over `box` (west, south, east, north in metres of the frame), and over what can throw a shadow into it."""
    suns = [sun_position(instant, place.longitude, place.latitude) for instant in instants]
    up = [sun.altitude for sun in suns if sun.altitude > 0.0]
    margin = 0.0
    if up:
        margin = min(_tallest(scene, place, box) / float(np.tan(np.radians(min(up)))), LONGEST_SHADOW)
    west, south, east, north = box
    return height_grid(
        scene, place, west - margin, south - margin, east + margin, north + margin, size, maximum
    )


def _tallest(scene: Scene, place: Place, box: tuple[float, float, float, float]) -> float:
    """The difference of heights in and about a box, from a coarse grid; at least 10 m."""
    west, south, east, north = box
    size = max((east - west), (north - south)) / 200.0 + 2.0
    reach = 500.0
    coarse = height_grid(scene, place, west - reach, south - reach, east + reach, north + reach, size)
    known = coarse.surface[np.isfinite(coarse.surface)]
    return max(float(known.max() - known.min()), 10.0)


def shadows(grid: HeightGrid, instant: datetime) -> Shadows:
    """Where the sun does not shine on the surface. Raises AnswerTooLarge."""
    sun = sun_position(instant, grid.place.longitude, grid.place.latitude)
    known = np.isfinite(grid.surface)
    if sun.altitude <= 0.0:
        return Shadows(grid, sun, known)
    surface = np.where(known, grid.surface, -np.inf)
    rise = np.tan(np.radians(sun.altitude))
    highest, lowest = float(surface[known].max()), float(surface[known].min())
    reach = min((highest - lowest) / rise, LONGEST_SHADOW)
    steps = int(np.ceil(reach / grid.size))
    if steps * surface.size > MAXIMUM_WORK:
        raise AnswerTooLarge(
            f"Shadows of {reach:.0f} m on {surface.size} cells are too much; ask for a smaller area, larger cells or a higher sun"
        )
    east, north = np.sin(np.radians(sun.azimuth)), np.cos(np.radians(sun.azimuth))
    shaded = np.zeros(surface.shape, dtype=np.bool_)
    for step in range(1, steps + 1):
        distance = step * grid.size
        column, row = round(east * step), round(north * step)
        target, source = _shifted(surface.shape, row, column)
        # Whatever stands on the way to the sun reaches over the ray that leaves this cell.
        shaded[target] |= surface[source] - distance * rise > surface[target] + _ON_ITSELF
    return Shadows(grid, sun, shaded & known)


def _shifted(
    shape: tuple[int, int], row: int, column: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The cells that have a neighbour `row`, `column` cells away, and those neighbours."""

    def pair(count: int, by: int) -> tuple[slice, slice]:
        by = max(-count, min(count, by))
        return (
            (slice(0, count - by), slice(by, count)) if by >= 0 else (slice(-by, count), slice(0, count + by))
        )

    rows, columns = pair(shape[0], row), pair(shape[1], column)
    return (rows[0], columns[0]), (rows[1], columns[1])


class Sunshine(NamedTuple):
    """`lit` (n,) whether the sun shines at each of the instants, `minutes` of sunshine in all."""

    lit: tuple[bool, ...]
    minutes: float


def sunshine(horizon: Horizon, instants: Sequence[datetime], step_minutes: float) -> Sunshine:
    """At which of the instants, `step_minutes` apart, the sun stands above the horizon of a place."""
    lit = []
    for instant in instants:
        sun = sun_position(instant, horizon.place.longitude, horizon.place.latitude)
        lit.append(sun.altitude > 0.0 and sun.altitude > horizon.altitude_at(sun.azimuth))
    return Sunshine(tuple(lit), sum(lit) * step_minutes)


class Horizon(NamedTuple):
    """The skyline of a place: `altitudes` (d,) degrees above the horizontal, d directions clockwise from north."""

    place: Place
    height: float
    altitudes: Numbers

    def altitude_at(self, azimuth: float) -> float:
        """The skyline in a direction (degrees), between its two neighbours the higher."""
        share = azimuth % 360.0 / 360.0 * len(self.altitudes)
        first = int(share) % len(self.altitudes)
        return float(max(self.altitudes[first], self.altitudes[(first + 1) % len(self.altitudes)]))

    @property
    def sky_view_factor(self) -> float:
        """The share of the sky's light that reaches a horizontal surface: the mean of cos^2 of the skyline."""
        return float(np.mean(np.cos(np.radians(self.altitudes)) ** 2))

    @property
    def open_sky(self) -> float:
        """The share of the half sphere above that is sky: the mean of 1 - sin of the skyline."""
        return float(np.mean(1.0 - np.sin(np.radians(self.altitudes))))


def horizon(
    scene: Scene,
    longitude: float,
    latitude: float,
    *,
    height: float = 0.0,
    radius: float = 500.0,
    size: float = 1.0,
    directions: int = DIRECTIONS,
    maximum: int = MAXIMUM_CELLS,
) -> Horizon:
    """The skyline of a point `height` metres above the surface there, of what stands within `radius` metres.

    Raises AnswerTooLarge, InvalidParameter where there is no surface at the place, ThreeDError.
    """
    place = Place.at(longitude, latitude)
    grid = height_grid(scene, place, -radius, -radius, radius, radius, size, maximum)
    zero = np.zeros(1)
    stand = float(grid.at(zero, zero, grid.surface)[0])
    if not np.isfinite(stand):
        raise InvalidParameter(
            "point", f"{longitude:g},{latitude:g}", "a place on the terrain or on an object"
        )
    azimuth = np.radians(np.arange(directions) / directions * 360.0)
    distance = (np.arange(int(radius / size)) + 1.0) * size
    x, y = np.sin(azimuth)[:, None] * distance, np.cos(azimuth)[:, None] * distance
    above = grid.at(x, y, grid.surface) - (stand + height)
    slope = np.where(np.isfinite(above), above / distance, 0.0).max(axis=1, initial=0.0)
    return Horizon(place, stand + height, np.degrees(np.arctan(slope)))
