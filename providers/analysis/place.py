"""A flat frame around a place, in which all questions are answered.

x is east and y north of the origin in metres on the tangent plane, z the height above the WGS 84 ellipsoid in metres. Within
20 km of the origin the plane's distances are true to 3 parts in a million, and a height is bent back on the plane by
d^2 / 2R, which leaves less than a centimetre.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyproj
from numpy.typing import NDArray

from tiles.three_d.placement import LocalFrame, to_ecef

type Numbers = NDArray[np.float64]

MEAN_RADIUS = 6_371_000.0
REACH = 20_000.0
"""Metres from the origin up to which the frame is used."""

_GEOCENTRIC = "EPSG:4978"


@dataclass(frozen=True, slots=True)
class Place:
    """The frame whose origin is at longitude, latitude (degrees)."""

    longitude: float
    latitude: float
    frame: LocalFrame

    @classmethod
    def at(cls, longitude: float, latitude: float) -> Place:
        """The frame of a place; height 0 is the ellipsoid."""
        return cls(longitude, latitude, LocalFrame.at(longitude, latitude, 0.0))

    def from_ecef(self, positions: Numbers) -> Numbers:
        """x, y, z (..., 3) of ECEF positions (..., 3)."""
        flat = self.frame.to_local(positions.reshape(-1, 3))
        flat[:, 2] += (flat[:, 0] ** 2 + flat[:, 1] ** 2) / (2.0 * MEAN_RADIUS)
        return flat.reshape(positions.shape)

    def from_geodetic(self, lonlat: Numbers, height: Numbers) -> Numbers:
        """x, y, z (n, 3) of longitude, latitude (n, 2) in degrees and ellipsoidal height (n,)."""
        return self.from_ecef(to_ecef(lonlat[:, 0], lonlat[:, 1], height))

    def to_geodetic(self, positions: Numbers) -> Numbers:
        """Longitude, latitude (degrees), ellipsoidal height (m) (n, 3) of x, y, z (n, 3)."""
        local = positions.copy()
        local[:, 2] -= (local[:, 0] ** 2 + local[:, 1] ** 2) / (2.0 * MEAN_RADIUS)
        ecef = self.frame.to_ecef(local)
        transformer = pyproj.Transformer.from_crs(_GEOCENTRIC, "EPSG:4979", always_xy=True)
        longitude, latitude, height = transformer.transform(ecef[:, 0], ecef[:, 1], ecef[:, 2])
        return np.column_stack((longitude, latitude, height))

    def box_around(self, radius: float) -> tuple[float, float, float, float]:
        """West, south, east, north (degrees) of a square of `radius` metres to each side."""
        corners = self.to_geodetic(
            np.array([[x, y, 0.0] for x in (-radius, 0.0, radius) for y in (-radius, 0.0, radius)])
        )
        low, high = corners.min(axis=0), corners.max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])
