"""What is the same for all points of a file in the making: record layout, cube and rules of the octree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pointclouds.copc.octree import Cube, OctreeRules, cube_around, morton_codes, useful_depth
from pointclouds.las.dimensions import EXTRA_BYTES_RECORD, Dimension, Triple, dimensions_of
from pointclouds.las.layout import Records
from pointclouds.las.structures import Vlr

Progress = Callable[[str, float], None]
Cancelled = Callable[[], bool]
Corner = npt.NDArray[np.int64]

_NO_POINTS: Final = np.iinfo(np.int64)


def quiet(stage: str, fraction: float) -> None:
    """Report nothing."""


def never() -> bool:
    """Not cancelled."""
    return False


@dataclass(frozen=True)
class Frame:
    """Small, pickles: processes are told it. `dtype` is the packed record, `extra_structs` 192 bytes an extra dimension."""

    point_format: int
    dtype: np.dtype[Any]
    scale: Triple
    offset: Triple
    extra_structs: bytes
    rules: OctreeRules

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """The dimensions of the record."""
        extra = [Vlr(*EXTRA_BYTES_RECORD, self.extra_structs)] if self.extra_structs else []
        return dimensions_of(self.dtype, self.scale, self.offset, extra)

    def cube(self, low: Corner, high: Corner) -> Cube:
        """The cube around points whose lowest and highest stored x, y, z (3,) are these."""
        factor, shift = np.array(self.scale), np.array(self.offset)
        return cube_around(low * factor + shift, high * factor + shift, max(self.scale))

    def depth(self, cube: Cube) -> int:
        """Bits an axis of the codes in a cube."""
        return useful_depth(cube, min(self.scale))

    def codes(self, records: Records, cube: Cube) -> npt.NDArray[np.uint64]:
        """The Morton codes (n,) of points."""
        axes = tuple(np.ascontiguousarray(records[name]) for name in "XYZ")
        return morton_codes(axes, self.scale, self.offset, cube, self.depth(cube))


def stored_box(records: Records) -> tuple[Corner, Corner]:
    """Lowest and highest stored x, y, z (3,); of no points the largest and the smallest number, which change no box they are joined to."""
    if not len(records):
        return np.full(3, _NO_POINTS.max), np.full(3, _NO_POINTS.min)
    low = np.array([int(records[name].min()) for name in "XYZ"], np.int64)
    high = np.array([int(records[name].max()) for name in "XYZ"], np.int64)
    return low, high
