"""Where a model stands that was drawn in coordinates of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pyproj import CRS

from tiles.three_d.errors import PlacementError
from tiles.three_d.placement import Positions

FARTHEST = 20_000.0
"""Metres from its place that a model may reach: the plane it lies in is true to a few centimetres up to there."""


@dataclass(frozen=True, slots=True)
class ModelPlacement:
    """A model's origin stands at `longitude`, `latitude` (degrees) and `height` (m); its y axis points `heading` degrees clockwise from
    north; its units are `scale` metres."""

    longitude: float
    latitude: float
    height: float = 0.0
    heading: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        numbers = (self.longitude, self.latitude, self.height, self.heading, self.scale)
        good = bool(np.isfinite(numbers).all()) and abs(self.longitude) <= 180 and abs(self.latitude) <= 89
        if not good or not 1e-6 <= self.scale <= 1e6:
            raise PlacementError(
                f"a model cannot be placed at longitude {self.longitude:g}, latitude {self.latitude:g} with the scale {self.scale:g}; "
                "allowed are -180 to 180, -89 to 89, and a scale from 0.000001 to 1,000,000"
            )

    def crs(self) -> CRS:
        """The plane around the place: metres east and north of it on WGS 84."""
        return CRS.from_proj4(
            f"+proj=aeqd +lat_0={self.latitude!r} +lon_0={self.longitude!r} +datum=WGS84 +units=m +no_defs"
        )

    def placed(self, points: Positions) -> Positions:
        """Points (n, 3) of the model, x right, y forward, z up in its units, in the plane: east, north, height (m).

        Raises PlacementError where they reach farther than 20 km.
        """
        angle = np.radians(self.heading)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        result = np.asarray(points, dtype=np.float64) * self.scale
        # Clockwise from north: forward goes to (sin, cos).
        result[:, :2] = result[:, :2] @ turn
        result[:, 2] += self.height
        reach = np.abs(result[:, :2][np.isfinite(result[:, :2]).all(axis=1)])
        if reach.size and reach.max() > FARTHEST:
            raise PlacementError(
                f"the model reaches {reach.max():,.0f} m from its origin; at most {FARTHEST:,.0f} m are placed by one coordinate. "
                "Is its unit another (scale 0.001 for millimetres), or does it hold coordinates of a CRS already?"
            )
        return result
