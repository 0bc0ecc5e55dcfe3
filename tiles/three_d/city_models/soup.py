"""Surfaces of many objects while they are cleaned: arrays that keep together when surfaces, rings or corners go."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.city_models.model import CityBatch
from tiles.three_d.placement import Positions
from tiles.three_d.ragged import limits, spans
from tiles.three_d.surfaces import PolygonSoup

type Flags = NDArray[np.bool_]
type Numbers = NDArray[np.int64]


@dataclass(slots=True)
class Soup:
    """Arrays as in `CityBatch`, but corners are rows of `vertices` (v, 3), which are distinct places in the file's CRS; `level` (s,) is
    the level of every surface, rising; `fans` (s,) are known to have one ring, whose first corner sees all others."""

    vertices: Positions
    corners: Numbers
    rings: Numbers
    surfaces: Numbers
    level: Numbers
    classes: NDArray[np.uint8]
    shells: Numbers
    images: Numbers
    colours: Numbers
    coordinates: NDArray[np.float32] | None
    fans: Flags

    @classmethod
    def of(cls, batch: CityBatch) -> Soup:
        """The surfaces of a batch; equal corners become one vertex."""
        vertices, corners = distinct_places(batch.corners)
        return cls(
            vertices,
            corners,
            batch.rings,
            batch.surfaces,
            batch.surface_owner(),
            batch.classes,
            batch.shells,
            batch.images,
            batch.colours,
            batch.coordinates,
            np.zeros(len(batch.classes), dtype=np.bool_),
        )

    def __len__(self) -> int:
        return len(self.level)

    def corner_limits(self) -> Numbers:
        """Limits in `corners` of every surface, (s + 1,)."""
        return self.rings[self.surfaces]

    def corner_surface(self) -> Numbers:
        """The surface of every corner, (c,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.corner_limits()))

    def ring_surface(self) -> Numbers:
        """The surface of every ring, (r,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.surfaces))

    def polygons(self, vertices: Positions) -> PolygonSoup:
        """The surfaces with the corners at `vertices` (v, 3)."""
        return PolygonSoup(vertices[self.corners], self.rings, self.surfaces)

    def keep_corners(self, keep: Flags) -> None:
        """Leave out corners. Rings may become short or empty."""
        if keep.all():
            return
        self.rings = np.concatenate(([0], np.cumsum(keep)))[self.rings]
        self.corners = self.corners[keep]
        if self.coordinates is not None:
            self.coordinates = self.coordinates[keep]

    def keep_rings(self, keep: Flags) -> None:
        """Leave out rings with their corners. Surfaces may become empty."""
        if keep.all():
            return
        begin, end = self.rings[:-1][keep], self.rings[1:][keep]
        self._take_corners(spans(begin, end))
        self.surfaces = np.concatenate(([0], np.cumsum(keep)))[self.surfaces]
        self.rings = limits(end - begin)

    def take(self, rows: Numbers) -> None:
        """The surfaces `rows`, in this order."""
        begin, end = self.surfaces[rows], self.surfaces[rows + 1]
        ring_rows = spans(begin, end)
        first, last = self.rings[ring_rows], self.rings[ring_rows + 1]
        self._take_corners(spans(first, last))
        self.rings = limits(last - first)
        self.surfaces = limits(end - begin)
        for name in ("level", "classes", "shells", "images", "colours", "fans"):
            setattr(self, name, getattr(self, name)[rows])

    def keep(self, which: Flags) -> None:
        """Leave out surfaces."""
        if not which.all():
            self.take(np.flatnonzero(which))

    def turn(self, which: Flags) -> None:
        """Turn surfaces around: their rings run the other way, from the same corner."""
        turned = which[self.ring_surface()]
        if not turned.any():
            return
        order = np.arange(len(self.corners))
        sizes = np.diff(self.rings)
        first = np.repeat(self.rings[:-1], sizes)
        mirrored = np.where(order > first, np.repeat(self.rings[1:], sizes) - (order - first), order)
        self._take_corners(np.where(np.repeat(turned, sizes), mirrored, order))

    def begin_with(self, rows: Numbers, corner: Numbers) -> Numbers:
        """Let the outer rings of the surfaces `rows` begin with another of their corners, counted from their first;
        gives the former place (c,) of every corner."""
        starts = self.corner_limits()[rows]
        sizes = np.diff(self.rings)[self.surfaces[rows]]
        owner = np.repeat(np.arange(len(rows)), sizes)
        within = np.arange(len(owner)) - np.repeat(limits(sizes)[:-1], sizes)
        order = np.arange(len(self.corners))
        order[starts[owner] + within] = starts[owner] + (within + corner[owner]) % sizes[owner]
        self._take_corners(order)
        return order

    def _take_corners(self, rows: Numbers) -> None:
        self.corners = self.corners[rows]
        if self.coordinates is not None:
            self.coordinates = self.coordinates[rows]


def distinct_places(corners: Positions) -> tuple[Positions, Numbers]:
    """Distinct rows (v, 3) of `corners` (c, 3) and the row (c,) of each; equal means equal to the last bit."""
    # Adding zero makes one zero of two; a hash of 64 bits tells places apart as well as comparing does, and sorts much faster.
    bits = (corners + 0.0).view(np.uint64)
    mixed = bits[:, 0] * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= (bits[:, 1] ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= (bits[:, 2] ^ (mixed >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)
    _, first, number = np.unique(mixed, return_index=True, return_inverse=True)
    return corners[first], number.astype(np.int64)
