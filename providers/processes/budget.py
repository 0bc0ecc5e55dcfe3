"""What one execution may cost: time, and vertices of its answer.

A clip polygon of 20,000 corners shaped like a comb makes every feature it cuts as complex as itself: minutes and gigabytes.
So geometry is worked on in small batches, and both are looked at after each.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from providers.errors import AnswerTooLarge

MAXIMUM_SECONDS = 5.0
MAXIMUM_OUTPUT_VERTICES = 1_000_000
_BATCH = 16

type Geometries = NDArray[np.object_]


class Budget:
    """Counts from when it is made. `now` tells seconds."""

    def __init__(
        self,
        seconds: float = MAXIMUM_SECONDS,
        vertices: int = MAXIMUM_OUTPUT_VERTICES,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._vertices = vertices
        self._now = now
        self._end = now() + seconds

    def in_batches(self, work: Callable[[Geometries], Geometries], geometries: Geometries) -> Geometries:
        """`work` done on all, some at a time. Raises AnswerTooLarge beyond either limit."""
        done: list[Geometries] = []
        vertices = 0
        for first in range(0, len(geometries), _BATCH):
            result = work(geometries[first : first + _BATCH])
            vertices += int(shapely.get_num_coordinates(result).sum())
            if vertices > self._vertices:
                raise AnswerTooLarge(
                    f"The result would have more than {self._vertices} vertices; ask for a smaller or simpler polygon"
                )
            if self._now() > self._end:
                raise AnswerTooLarge(
                    f"This takes more than {self._seconds:g} seconds; ask for a smaller or simpler polygon"
                )
            done.append(result)
        return np.concatenate(done) if done else geometries

    def clipped(self, geometries: Geometries, window: BaseGeometry) -> Geometries:
        """What of each geometry lies inside; those wholly inside are not cut, which is most of them."""
        shapely.prepare(window)

        def cut(batch: Geometries) -> Geometries:
            whole = shapely.covers(window, batch)
            result = batch.copy()
            result[~whole] = shapely.intersection(batch[~whole], window)
            return result

        return self.in_batches(cut, geometries)

    def united(self, geometries: Geometries) -> BaseGeometry:
        """All of them as one."""

        def unite(batch: Geometries) -> Geometries:
            return np.array([shapely.union_all(batch)], dtype=object)

        while len(geometries) > _BATCH:
            geometries = self.in_batches(unite, geometries)
        joined: BaseGeometry = shapely.union_all(geometries)
        return joined
