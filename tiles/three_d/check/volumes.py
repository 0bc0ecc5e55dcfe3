"""Bounding volumes of 3D Tiles, how implicit tiling divides them, and how far points lie outside."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from tiles.three_d.check.findings import FileFindings

_EARTH_RADIUS = 6_378_137.0
SIZES = {"region": 6, "box": 12, "sphere": 4}


@dataclass(frozen=True, slots=True)
class Volume:
    """A bounding volume. `kind` is "region" (6: west, south, east, north in radians, heights in metres), "box" (12) or
    "sphere" (4), `numbers` as the specification lists them."""

    kind: str
    numbers: NDArray[np.float64]


class Bound(NamedTuple):
    """A volume in the frame of the root (regions always are on the globe), and whose it is."""

    volume: Volume
    owner: str


class WorldPoints:
    """Points (n, 3) of a content in the root's frame, and how far (m) they may stand out because of their own rounding."""

    def __init__(self, points: NDArray[np.float64], slack: float) -> None:
        self.points = points
        self.slack = slack

    @cached_property
    def geodetic(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Longitudes, latitudes (radians) and ellipsoidal heights (m)."""
        east, north, up = self.points.T
        x, y, z = _to_geodetic().transform(east, north, up, radians=True)
        return np.asarray(x), np.asarray(y), np.asarray(z)


def read_volume(value: Any, where: str, findings: FileFindings) -> Volume | None:
    """The bounding volume in JSON; None, and a finding, where it is no valid one; None and a remark for one of an extension."""
    if isinstance(value, dict):
        for kind, size in SIZES.items():
            if kind in value:
                volume = volume_of(kind, value[kind], size)
                if volume is not None:
                    return volume
        if not SIZES.keys() & value.keys() and value.get("extensions"):
            findings.remark("volume-unread", f"{where} is bounded by {', '.join(value['extensions'])}")
            return None
    findings.add("tileset-volume", f"{where} has no valid region, box or sphere")
    return None


def volume_of(kind: str, value: Any, size: int) -> Volume | None:
    """A volume of these numbers, None where they are not valid."""
    try:
        numbers = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    if numbers.shape != (size,) or not np.isfinite(numbers).all():
        return None
    volume = Volume(kind, numbers)
    return volume if _sensible(volume) else None


def _sensible(volume: Volume) -> bool:
    n = volume.numbers
    if volume.kind == "region":
        latitudes = -np.pi / 2 <= n[1] <= n[3] <= np.pi / 2
        return bool(latitudes and np.abs(n[[0, 2]]).max() <= np.pi + 1e-12 and n[4] <= n[5])
    return bool(n[3] > 0.0) if volume.kind == "sphere" else True


def placed(volume: Volume, transform: NDArray[np.float64]) -> Volume:
    """The volume in the frame to which `transform` (4 x 4) leads. Regions are not transformed (OGC 22-025r4, 7.3.2)."""
    n = volume.numbers
    if volume.kind == "region":
        return volume
    center = transform[:3, :3] @ n[:3] + transform[:3, 3]
    if volume.kind == "sphere":
        scale = float(np.linalg.norm(transform[:3, :3], axis=0).max())
        return Volume("sphere", np.append(center, n[3] * scale))
    axes = n[3:].reshape(3, 3) @ transform[:3, :3].T
    return Volume("box", np.concatenate((center, axes.ravel())))


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


def with_heights(volume: Volume, lowest: float | None, highest: float | None) -> Volume:
    """A region with other heights (m); other volumes as they are."""
    if volume.kind != "region":
        return volume
    numbers = volume.numbers.copy()
    numbers[4] = numbers[4] if lowest is None else lowest
    numbers[5] = numbers[5] if highest is None else highest
    return Volume("region", numbers)


def _width(region: NDArray[np.float64]) -> float:
    width = float(region[2] - region[0])
    return width if width >= 0.0 else width + 2.0 * np.pi


def farthest_outside(volume: Volume, world: WorldPoints) -> float:
    """How far (m) the farthest point lies outside a volume of the root's frame; 0 where all are inside."""
    n, points = volume.numbers, world.points
    if volume.kind == "sphere":
        return float(np.maximum(np.linalg.norm(points - n[:3], axis=1) - n[3], 0.0).max())
    if volume.kind == "box":
        return _outside_box(n, points)
    longitude, latitude, height = world.geodetic
    west = (longitude - n[0] + np.pi) % (2.0 * np.pi) - np.pi
    width = _width(n)
    shrink = np.cos(latitude) * _EARTH_RADIUS
    east = (longitude - n[2] + np.pi) % (2.0 * np.pi) - np.pi
    beside = np.zeros(1) if width >= 2.0 * np.pi else _beside(west, east, width) * shrink
    gaps = (
        beside,
        (n[1] - latitude) * _EARTH_RADIUS,
        (latitude - n[3]) * _EARTH_RADIUS,
        n[4] - height,
        height - n[5],
    )
    return max(0.0, *(float(gap.max()) for gap in gaps))


def _beside(west: NDArray[np.float64], east: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Radians outside a range of longitudes, of points `west` and `east` radians east of its ends (-pi to pi each)."""
    turned = np.where(west < 0.0, west + 2.0 * np.pi, west)
    return np.where(turned <= width, 0.0, np.minimum(np.abs(west), np.abs(east)))


def _outside_box(n: NDArray[np.float64], points: NDArray[np.float64]) -> float:
    worst = 0.0
    offset = points - n[:3]
    for axis, direction in zip(n[3:].reshape(3, 3), _directions(n[3:].reshape(3, 3)), strict=True):
        along = np.abs(offset @ direction)
        worst = max(worst, float(along.max()) - float(np.linalg.norm(axis)))
    return worst


def _directions(axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors (3, 3) of a box's half axes; an axis of no length is across the others."""
    lengths = np.linalg.norm(axes, axis=1)
    directions = np.where(lengths[:, None] > 1e-9, axes / np.maximum(lengths, 1e-9)[:, None], 0.0)
    flat = np.flatnonzero(lengths <= 1e-9)
    if len(flat) == 1:
        one, other = directions[[number for number in range(3) if number != flat[0]]]
        across = np.cross(one, other)
        directions[flat[0]] = across / max(float(np.linalg.norm(across)), 1e-9)
    elif len(flat) > 1:
        # A line or a point: the missing directions are any that stand across the rest.
        _, _, rows = np.linalg.svd(directions)
        directions[flat] = rows[3 - len(flat) :]
    return directions


@lru_cache(maxsize=1)
def _to_geodetic() -> Transformer:
    return Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True)
