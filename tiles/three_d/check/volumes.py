"""Bounding volumes of 3D Tiles, how implicit tiling divides them, and how far points lie outside."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from tiles.three_d.check.findings import FileFindings

_EARTH_RADIUS = 6_378_137.0


@dataclass(frozen=True, slots=True)
class Volume:
    """A bounding volume. `kind` is "region" (6: west, south, east, north in radians, heights in metres), "box" (12) or
    "sphere" (4), `numbers` as the specification lists them."""

    kind: str
    numbers: NDArray[np.float64]


def read_volume(value: Any, where: str, findings: FileFindings) -> Volume | None:
    """The bounding volume in JSON; None, and a finding, where it is no valid one."""
    sizes = {"region": 6, "box": 12, "sphere": 4}
    if isinstance(value, dict):
        for kind, size in sizes.items():
            if kind in value:
                numbers = np.asarray(value[kind], dtype=np.float64)
                volume = Volume(kind, numbers)
                if numbers.shape == (size,) and np.isfinite(numbers).all() and _sensible(volume):
                    return volume
    findings.add("tileset-volume", f"{where} has no valid region, box or sphere")
    return None


def _sensible(volume: Volume) -> bool:
    n = volume.numbers
    if volume.kind == "region":
        latitudes = -np.pi / 2 <= n[1] <= n[3] <= np.pi / 2
        return bool(latitudes and np.abs(n[[0, 2]]).max() <= np.pi and n[4] <= n[5])
    return bool(n[3] > 0.0) if volume.kind == "sphere" else True


def implicit_volume(root: Volume, level: int, place: tuple[int, ...]) -> Volume | None:
    """The volume of a tile at (x, y) of an implicit quadtree, (x, y, z) of an octree; None for spheres, not divisible."""
    count = 2**level
    n = root.numbers
    x, y = place[:2]
    if root.kind == "region":
        width, height = _width(n) / count, (n[3] - n[1]) / count
        west, south = n[0] + x * width, n[1] + y * height
        bottom, top = n[4], n[5]
        if len(place) == 3:
            step = (n[5] - n[4]) / count
            bottom, top = n[4] + place[2] * step, n[4] + (place[2] + 1) * step
        return Volume("region", np.array([west, south, west + width, south + height, bottom, top]))
    if root.kind == "box":
        halves = [n[3:6], n[6:9], n[9:12]]
        center = n[0:3].copy()
        for axis, index in enumerate(place):
            center += halves[axis] * ((2 * index + 1) / count - 1)
            halves[axis] = halves[axis] / count
        return Volume("box", np.concatenate((center, *halves)))
    return None


def _width(region: NDArray[np.float64]) -> float:
    width = float(region[2] - region[0])
    return width if width >= 0.0 else width + 2.0 * np.pi


def farthest_outside(volume: Volume, points: NDArray[np.float64]) -> float:
    """How far (m) the farthest of `points` (n, 3; ECEF for a region) lies outside; 0 where all are inside."""
    n = volume.numbers
    if volume.kind == "sphere":
        return float(np.maximum(np.linalg.norm(points - n[:3], axis=1) - n[3], 0.0).max())
    if volume.kind == "box":
        return _outside_box(n, points)
    longitude, latitude, height = _to_geodetic().transform(
        points[:, 0], points[:, 1], points[:, 2], radians=True
    )
    east = (longitude - n[0] + np.pi) % (2.0 * np.pi) - np.pi
    shrink = np.cos(latitude) * _EARTH_RADIUS
    gaps = (
        -east * shrink,
        (east - _width(n)) * shrink,
        (n[1] - latitude) * _EARTH_RADIUS,
        (latitude - n[3]) * _EARTH_RADIUS,
        n[4] - height,
        height - n[5],
    )
    return max(0.0, *(float(gap.max()) for gap in gaps))


def _outside_box(n: NDArray[np.float64], points: NDArray[np.float64]) -> float:
    worst = 0.0
    for axis in (n[3:6], n[6:9], n[9:12]):
        length = float(np.linalg.norm(axis))
        along = np.abs((points - n[:3]) @ (axis / length)) if length > 0.0 else np.zeros(len(points))
        worst = max(worst, float((along - length).max()))
    return worst


@lru_cache(maxsize=1)
def _to_geodetic() -> Transformer:
    return Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True)
