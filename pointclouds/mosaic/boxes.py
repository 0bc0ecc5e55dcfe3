"""Boxes of many tiles on the globe, by one transformation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyproj

from pointclouds.crs import horizontal_part, vertical_unit
from pointclouds.sources import Box3

_ALONG_AN_EDGE: Final = np.linspace(0.0, 1.0, 6)


def boxes_in_crs84(boxes: Sequence[Box3], crs: pyproj.CRS) -> npt.NDArray[np.float64]:
    """West, south, bottom, east, north, top (n, 6) of native boxes: degrees, and z in metres above whatever it counts from.

    The edges of a native box are curves in degrees: six places along each are looked at, which for a tile of some kilometres is exact
    to less than a metre. NaN where the CRS has no meaning.
    """
    native = np.array(boxes, np.float64).reshape(-1, 6)
    low, high = native[:, :2], native[:, 3:5]
    steps = _ALONG_AN_EDGE
    ends = np.ones(len(steps))
    # Around the box: two edges along x, two along y; (edges * steps) fractions of its size.
    across = np.concatenate([steps, steps, 0 * ends, ends])
    up = np.concatenate([0 * ends, ends, steps, steps])
    x = low[:, :1] + (high[:, :1] - low[:, :1]) * across
    y = low[:, 1:] + (high[:, 1:] - low[:, 1:]) * up
    transformer = pyproj.Transformer.from_crs(horizontal_part(crs), "OGC:CRS84", always_xy=True)
    longitude, latitude = transformer.transform(x.ravel(), y.ravel())
    longitude, latitude = np.reshape(longitude, x.shape), np.reshape(latitude, y.shape)
    found = np.stack(
        [
            longitude.min(axis=1),
            latitude.min(axis=1),
            native[:, 2] * vertical_unit(crs),
            longitude.max(axis=1),
            latitude.max(axis=1),
            native[:, 5] * vertical_unit(crs),
        ],
        axis=1,
    )
    return np.where(np.isfinite(found), found, np.nan)
