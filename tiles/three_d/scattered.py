"""Models at many places on the globe: how each stands, how large it is, and the instances of a tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.models.registry import extent_of
from tiles.three_d.objects import InstancePart, Keys, MeshPart, Outlines
from tiles.three_d.placement import LocalFrame, to_ecef, up_vectors

Numbers = NDArray[np.float64]
_METRES_PER_DEGREE = 111_320.0
# Instances share their vertices, so a tile holds more of them than of buildings; but each is still drawn.
_VERTICES_PER_WEIGHT = 8
_LEAST_WEIGHT = 12


@dataclass(frozen=True, slots=True)
class Shape:
    """A model as it is scattered: `height` above its origin and `width` (m) as made; `reach` is its farthest vertex from its axis.

    `low` is its lowest vertex. `round`: it looks alike from all sides, so that without a heading any will do.
    """

    parts: tuple[MeshPart, ...]
    height: float
    width: float
    reach: float
    low: float
    vertices: int
    round: bool = False

    @classmethod
    def of(cls, parts: tuple[MeshPart, ...], *, round_: bool = False) -> Shape:
        """The shape of a model."""
        width, height = extent_of(parts)
        points = np.concatenate([part.mesh.positions for part in parts])
        reach = float(np.hypot(points[:, 0], points[:, 1]).max())
        return cls(parts, height, width, reach, float(points[:, 2].min()), len(points), round_)


@dataclass(frozen=True, slots=True)
class Scattered:
    """m instances of n objects: `owner` (m,) row of the object, ascending; `shape` (m,) number of the shape; `lonlat` (m, 2) degrees;
    `bottoms` (m,) ellipsoidal heights of their origins; `scales` (m, 3); `headings` (m,) degrees clockwise from north.
    """

    shapes: Sequence[Shape]
    owner: NDArray[np.intp]
    shape: NDArray[np.intp]
    lonlat: Numbers
    bottoms: Numbers
    scales: Numbers
    headings: Numbers

    def outlines(self, keys: Keys) -> Outlines:
        """Where the objects are. `keys` (n,)."""
        reach = np.array([shape.reach for shape in self.shapes])[self.shape] * self.scales[:, :2].max(axis=1)
        rise = self.scales[:, 2]
        low = self.bottoms + np.array([shape.low for shape in self.shapes])[self.shape] * rise
        high = self.bottoms + np.array([shape.height for shape in self.shapes])[self.shape] * rise
        up = reach / _METRES_PER_DEGREE
        across = up / np.maximum(np.cos(np.radians(self.lonlat[:, 1])), 0.01)
        first = (
            np.flatnonzero(np.r_[True, self.owner[1:] != self.owner[:-1]])
            if len(self.owner)
            else np.empty(0, int)
        )
        weights = np.array(
            [max(shape.vertices // _VERTICES_PER_WEIGHT, _LEAST_WEIGHT) for shape in self.shapes]
        )
        boxes = np.column_stack(
            (
                _reduced(np.minimum, self.lonlat[:, 0] - across, first),
                _reduced(np.minimum, self.lonlat[:, 1] - up, first),
                _reduced(np.maximum, self.lonlat[:, 0] + across, first),
                _reduced(np.maximum, self.lonlat[:, 1] + up, first),
            )
        )
        sizes = np.sqrt(8.0 * reach**2 + (high - low) ** 2)
        return Outlines(
            keys,
            boxes,
            _reduced(np.minimum, low, first),
            _reduced(np.maximum, high, first),
            _reduced(np.maximum, sizes, first),
            _reduced(np.add, weights[self.shape], first),
        )

    def parts(self, frame: LocalFrame) -> list[InstancePart]:
        """The instances in a tile's frame, each upright where it stands; feature ids are rows of the objects."""
        longitude, latitude = self.lonlat[:, 0], self.lonlat[:, 1]
        positions = frame.to_local(to_ecef(longitude, latitude, self.bottoms))
        rotations = self._rotations(frame)
        found = []
        for number, shape in enumerate(self.shapes):
            chosen = np.flatnonzero(self.shape == number)
            if len(chosen):
                found.append(
                    InstancePart(
                        shape.parts,
                        positions[chosen],
                        rotations[chosen],
                        self.scales[chosen],
                        self.owner[chosen].astype(np.int64),
                    )
                )
        return found

    def _rotations(self, frame: LocalFrame) -> Numbers:
        """Quaternions (m, 4): the heading from true north, then the lean of the place's vertical against the frame's."""
        longitude = np.radians(self.lonlat[:, 0])
        up = frame.rotate(up_vectors(self.lonlat[:, 0], self.lonlat[:, 1]))
        east = frame.rotate(
            np.column_stack((-np.sin(longitude), np.cos(longitude), np.zeros(len(longitude))))
        )
        # How far the place's east is turned against the frame's (meridians converge), counter-clockwise.
        turn = (np.arctan2(east[:, 1], east[:, 0]) - np.radians(self.headings)) / 2.0
        lean = np.column_stack((-up[:, 1], up[:, 0], np.zeros(len(up)), 1.0 + up[:, 2]))
        lean /= np.linalg.norm(lean, axis=1, keepdims=True)
        sin, cos = np.sin(turn), np.cos(turn)
        x, y, w = lean[:, 0], lean[:, 1], lean[:, 3]
        return np.column_stack((x * cos + y * sin, y * cos - x * sin, w * sin, w * cos))


def _reduced[Kind: np.generic](by: np.ufunc, values: NDArray[Kind], first: NDArray[np.intp]) -> NDArray[Kind]:
    """One value an object, of those of its instances."""
    return np.asarray(by.reduceat(values, first), dtype=values.dtype) if len(first) else values[:0]
