"""A cloud cut into squares that one pipeline can take, with the points around each that its steps look at.

A point belongs to one block: lower borders are inside, upper ones are not, except the last ones of the cloud.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pointclouds.cloud.cloud import Box3, Cloud
from pointclouds.cloud.query import PointQuery, plan

BYTES_A_POINT: Final = 600
"""Memory that PDAL takes for a point with the index of its neighbours, and what a filter holds beside; measured on SMRF and outlier."""
_DEEPEST: Final = 14


@dataclass(frozen=True)
class Block:
    """A rectangle: native x and y. `last_x`, `last_y`: whether its upper border is the cloud's."""

    minx: float
    miny: float
    maxx: float
    maxy: float
    last_x: bool
    last_y: bool

    def owns(self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """(n,) bool: which positions are this block's."""
        in_x = (x >= self.minx) & ((x <= self.maxx) if self.last_x else (x < self.maxx))
        in_y = (y >= self.miny) & ((y <= self.maxy) if self.last_y else (y < self.maxy))
        return np.asarray(in_x & in_y)

    def around(self, reach: float) -> Box3:
        """The box of the block, wider by `reach`, without floor and ceiling."""
        return (
            *(self.minx - reach, self.miny - reach, -np.inf),
            *(self.maxx + reach, self.maxy + reach, np.inf),
        )


def points_for(memory: int) -> int:
    """How many points a pipeline with so much memory can take."""
    return max(1_000, min(20_000_000, memory // BYTES_A_POINT))


def blocks_of(cloud: Cloud, most: int, reach: float = 0.0) -> Iterator[Block]:
    """Blocks that hold points, each of at most `most` with those around it (as far as halving it helps)."""
    minx, miny, _, maxx, maxy, _ = cloud.box
    # A border a hair outside: the box is computed from integers, and so are the points, but not by the same steps.
    hair = max(cloud.scale[:2])
    yield from _divided(
        cloud, Block(minx - hair, miny - hair, maxx + hair, maxy + hair, True, True), most, reach, 0
    )


def _estimate(cloud: Cloud, box: Box3) -> float:
    """About how many points lie in a box: of a node that it cuts, the share of the node's area. Nothing is read."""
    found = plan(cloud, PointQuery(box=box))
    total = float(found.counts[found.inside].sum())
    for place, tile in enumerate(found.tiles):
        rows = found.row[~found.inside & (found.tile == place)]
        if not len(rows):
            continue
        table = cloud.nodes(tile)
        low, high = np.asarray(table.lowest)[rows, :2], np.asarray(table.highest)[rows, :2]
        sides = np.maximum(high - low, cloud.scale[0])
        common = np.clip(np.minimum(high, box[3:5]) - np.maximum(low, box[:2]), cloud.scale[0], None)
        shares = np.minimum(1.0, (common / sides).prod(axis=1))
        total += float((table.entries["point_count"][rows] * shares).sum())
    return total


def _divided(cloud: Cloud, block: Block, most: int, reach: float, depth: int) -> Iterator[Block]:
    if plan(cloud, PointQuery(box=block.around(0.0))).points == 0:
        return
    wide, high = block.maxx - block.minx, block.maxy - block.miny
    count = _estimate(cloud, block.around(reach))
    if count <= most or depth == _DEEPEST or max(wide, high) <= reach:
        yield block
        return
    if wide >= high:
        middle = block.minx + wide / 2
        halves = (
            Block(block.minx, block.miny, middle, block.maxy, False, block.last_y),
            Block(middle, block.miny, block.maxx, block.maxy, block.last_x, block.last_y),
        )
    else:
        middle = block.miny + high / 2
        halves = (
            Block(block.minx, block.miny, block.maxx, middle, block.last_x, False),
            Block(block.minx, middle, block.maxx, block.maxy, block.last_x, block.last_y),
        )
    for half in halves:
        yield from _divided(cloud, half, most, reach, depth + 1)
