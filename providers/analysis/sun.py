"""Where the sun stands: after the low-precision formulas of J. Meeus, Astronomical Algorithms, chapters 25 and 13.

Good to about 0.01 degrees between 1950 and 2050. Refraction is added for a sun above the horizon (Saemundsson's formula).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

_J2000 = datetime(2000, 1, 1, 12, tzinfo=UTC)
_TERRESTRIAL_AHEAD = 69.0 / 86400.0


class SunPosition(NamedTuple):
    """Degrees: `azimuth` clockwise from north, `altitude` above the horizon with refraction."""

    azimuth: float
    altitude: float


def sun_position(instant: datetime, longitude: float, latitude: float) -> SunPosition:
    """The sun at an instant (with its zone) over a place in degrees."""
    days = (instant - _J2000).total_seconds() / 86400.0
    century = (days + _TERRESTRIAL_AHEAD) / 36525.0
    mean_longitude = 280.46646 + century * (36000.76983 + century * 0.0003032)
    anomaly = np.radians(357.52911 + century * (35999.05029 - century * 0.0001537))
    centre = (
        (1.914602 - century * (0.004817 + century * 0.000014)) * np.sin(anomaly)
        + (0.019993 - century * 0.000101) * np.sin(2.0 * anomaly)
        + 0.000289 * np.sin(3.0 * anomaly)
    )
    node = np.radians(125.04 - 1934.136 * century)
    apparent = np.radians(mean_longitude + centre - 0.00569 - 0.00478 * np.sin(node))
    obliquity = np.radians(23.4392911 - century * (0.0130042 + century * 1.64e-7) + 0.00256 * np.cos(node))
    ascension = np.arctan2(np.cos(obliquity) * np.sin(apparent), np.cos(apparent))
    declination = np.arcsin(np.sin(obliquity) * np.sin(apparent))
    sidereal = 280.46061837 + 360.98564736629 * days + 0.000387933 * century**2
    hour_angle = np.radians(sidereal + longitude) - ascension
    phi = np.radians(latitude)
    sine = np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(hour_angle)
    altitude = float(np.degrees(np.arcsin(np.clip(sine, -1.0, 1.0))))
    azimuth = np.arctan2(
        np.sin(hour_angle), np.cos(hour_angle) * np.sin(phi) - np.tan(declination) * np.cos(phi)
    )
    if altitude > -1.0:
        altitude += 1.02 / np.tan(np.radians(altitude + 10.3 / (altitude + 5.11))) / 60.0
    return SunPosition(float(np.degrees(azimuth) + 180.0) % 360.0, float(altitude))
