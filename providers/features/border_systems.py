"""GCJ-02 and BD-09: the shifted coordinates that maps sold in mainland China have to use, as named transforms.

Neither has a published definition or a code in any registry; what is here is the well-known public reconstruction, by
formula, of what map services answer. Coordinates are degrees, longitude first. Inside the rectangle around China that the
reconstruction knows, both are shifted by 100 to 1,200 m; outside they equal WGS 84. The inverse is found by iteration: there and
back agrees to 1e-9 degrees (0.1 mm). At the rectangle's own edge, far out of China, the shift ends in a step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

type Degrees = NDArray[np.float64]
type Shift = Callable[[Degrees, Degrees], tuple[Degrees, Degrees]]

GCJ02: Final = "GCJ02"
BD09: Final = "BD09"

_WEST, _SOUTH, _EAST, _NORTH = 72.004, 0.8293, 137.8347, 55.8271
_SEMI_MAJOR: Final = 6378245.0  # Krasovsky 1940, metres
_ECCENTRICITY_SQUARED: Final = 0.00669342162296594323
_BAIDU_FREQUENCY: Final = math.pi * 3000 / 180
_BAIDU_OFFSET: Final = (0.0065, 0.006)
_CLOSE: Final = 1e-11  # degrees
_ROUNDS: Final = 30


def _inside(longitude: Degrees, latitude: Degrees) -> NDArray[np.bool_]:
    return (longitude >= _WEST) & (longitude <= _EAST) & (latitude >= _SOUTH) & (latitude <= _NORTH)


def _gcj_shift(longitude: Degrees, latitude: Degrees) -> tuple[Degrees, Degrees]:
    """The shift in degrees that GCJ-02 adds to WGS 84."""
    pi = math.pi
    x, y = longitude - 105.0, latitude - 35.0
    common = (20 * np.sin(6 * x * pi) + 20 * np.sin(2 * x * pi)) * 2 / 3
    root = np.sqrt(np.abs(x))
    north = -100 + 2 * x + 3 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * root + common
    north += (20 * np.sin(y * pi) + 40 * np.sin(y / 3 * pi)) * 2 / 3
    north += (160 * np.sin(y / 12 * pi) + 320 * np.sin(y / 30 * pi)) * 2 / 3
    east = 300 + x + 2 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * root + common
    east += (20 * np.sin(x * pi) + 40 * np.sin(x / 3 * pi)) * 2 / 3
    east += (150 * np.sin(x / 12 * pi) + 300 * np.sin(x / 30 * pi)) * 2 / 3
    angle = np.radians(latitude)
    curve = 1 - _ECCENTRICITY_SQUARED * np.sin(angle) ** 2
    meridian = _SEMI_MAJOR * (1 - _ECCENTRICITY_SQUARED) / (curve * np.sqrt(curve))
    parallel = _SEMI_MAJOR / np.sqrt(curve) * np.cos(angle)
    return np.degrees(east / parallel), np.degrees(north / meridian)


def _to_gcj(longitude: Degrees, latitude: Degrees) -> tuple[Degrees, Degrees]:
    east, north = _gcj_shift(longitude, latitude)
    return longitude + east, latitude + north


def _gcj_to_baidu(longitude: Degrees, latitude: Degrees) -> tuple[Degrees, Degrees]:
    radius = np.hypot(longitude, latitude) + 0.00002 * np.sin(latitude * _BAIDU_FREQUENCY)
    angle = np.arctan2(latitude, longitude) + 0.000003 * np.cos(longitude * _BAIDU_FREQUENCY)
    return radius * np.cos(angle) + _BAIDU_OFFSET[0], radius * np.sin(angle) + _BAIDU_OFFSET[1]


def _to_baidu(longitude: Degrees, latitude: Degrees) -> tuple[Degrees, Degrees]:
    return _gcj_to_baidu(*_to_gcj(longitude, latitude))


_FORWARD: Final[dict[str, Shift]] = {GCJ02: _to_gcj, BD09: _to_baidu}


def from_wgs84(system: str, longitude: Degrees, latitude: Degrees) -> tuple[Degrees, Degrees]:
    """WGS 84 degrees as GCJ02 or BD09 has them; unchanged outside the rectangle around China."""
    inside = _inside(longitude, latitude)
    x, y = np.array(longitude, np.float64), np.array(latitude, np.float64)
    if inside.any():
        x[inside], y[inside] = _FORWARD[system](x[inside], y[inside])
    return x, y


def to_wgs84(system: str, longitude: Degrees, latitude: Degrees) -> tuple[Degrees, Degrees]:
    """GCJ02 or BD09 degrees as WGS 84 has them."""
    x, y = np.array(longitude, np.float64), np.array(latitude, np.float64)
    # nothing is shifted by more than 0.02 degrees: what lies further out has not been moved
    near = (x > _WEST - 1) & (x < _EAST + 1) & (y > _SOUTH - 1) & (y < _NORTH + 1)
    if near.any():
        found_x, found_y = _unshifted(_FORWARD[system], x[near], y[near])
        moved = _inside(found_x, found_y) | _inside(x[near], y[near])
        x[near], y[near] = np.where(moved, found_x, x[near]), np.where(moved, found_y, y[near])
    return x, y


def _unshifted(forward: Shift, x: Degrees, y: Degrees) -> tuple[Degrees, Degrees]:
    """Where `forward` leads to (x, y): the shift changes slowly, so each round leaves a hundredth of the error or less."""
    found_x, found_y = x.copy(), y.copy()
    for _ in range(_ROUNDS):
        reached_x, reached_y = forward(found_x, found_y)
        error_x, error_y = x - reached_x, y - reached_y
        found_x += error_x
        found_y += error_y
        if max(np.abs(error_x).max(initial=0), np.abs(error_y).max(initial=0)) < _CLOSE:
            break
    return found_x, found_y
