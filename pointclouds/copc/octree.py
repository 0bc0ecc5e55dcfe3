"""The octree of a COPC file, built by one sort.

Every point gets a Morton code (the interleaved bits of its cell in a fine cubic grid). A node of level L shows
one point per cell of its 128-cell grid, that is per cell of depth L + 7; what it does not show goes down to its
children. After sorting by code, the first point of a cell of depth d is the one whose code differs from its
predecessor's within the first d levels of bits: the level of a point follows from one XOR with its neighbour,
without visiting a tree. Nodes with few points keep all of them, and children too small to be worth a request
stay with their parent.

The choice within a cell is the first in Morton order. Taken plainly that is the corner of lowest x, y and z in
every cell, so overviews would sink to the ground; flipping fixed bits of the code (a XOR, which keeps the
hierarchy) makes it the point nearest to one irregular place inside the cell, the same in all cells: evenly spaced.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

GRID_DEPTH: Final = 7
"""log2 of the 128 cells along a node's edge; a 64-cell grid gives a thin root."""
LEAF_POINTS: Final = 50_000
"""A node with no more points than this keeps them all."""
SMALLEST_CHILD: Final = 1_000
"""A child of fewer points is kept by its parent: a chunk has a cost of its own in bytes and requests."""
MAXIMUM_DEPTH: Final = 21
_BLOCK: Final = 1 << 16
_FLIP: Final = 0x2E5A_94D3_7B61_C8D6
_LOW_BITS: Final = 11


def _spread_table() -> npt.NDArray[np.uint64]:
    values = np.arange(1 << _LOW_BITS, dtype=np.uint64)
    spread = np.zeros_like(values)
    for bit in range(_LOW_BITS):
        spread |= ((values >> np.uint64(bit)) & np.uint64(1)) << np.uint64(3 * bit)
    return spread


_SPREAD: Final = _spread_table()


@dataclass(frozen=True)
class Cube:
    """The cube an octree divides: lowest corner and edge length, in CRS units."""

    corner: tuple[float, float, float]
    edge: float

    @property
    def centre(self) -> tuple[float, float, float]:
        """The middle of the cube."""
        half = self.edge / 2
        return (self.corner[0] + half, self.corner[1] + half, self.corner[2] + half)


@dataclass(frozen=True)
class Octree:
    """Which point belongs to which node, nodes in the order of the file: by level, then along the Morton curve.

    `keys` is (nodes, 4) int32: level, x, y, z. `starts` (nodes + 1) cuts `order`, which holds the indices of the
    points, ascending inside a node (the order they were recorded in compresses best).
    """

    keys: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    order: npt.NDArray[np.int64]


def cube_around(minimum: npt.NDArray[np.float64], maximum: npt.NDArray[np.float64], scale: float) -> Cube:
    """The smallest cube on the lowest corner of a box that holds the box; never smaller than a few scale steps."""
    edge = float((maximum - minimum).max())
    # A little larger than the box: a point on the upper face must fall inside the last cell in float arithmetic.
    edge = max(edge * (1 + 1e-9), edge + scale, 2 * scale)
    return Cube((float(minimum[0]), float(minimum[1]), float(minimum[2])), edge)


def useful_depth(cube: Cube, scale: float) -> int:
    """Bits per axis that can tell two points of that scale apart, at most 21 (three times that fit in 64 bits)."""
    return int(np.clip(np.ceil(np.log2(cube.edge / scale)), 1, MAXIMUM_DEPTH))


def morton_codes(
    axes: tuple[npt.NDArray[np.int32], ...],
    scale: tuple[float, float, float],
    offset: tuple[float, float, float],
    cube: Cube,
    depth: int,
) -> npt.NDArray[np.uint64]:
    """Morton codes (x lowest bit) of integer LAS coordinates: `depth` bits per axis."""
    codes = np.zeros(axes[0].size, np.uint64)
    cells = float(1 << depth)
    low = np.uint32((1 << _LOW_BITS) - 1)
    for first in range(0, codes.size, _BLOCK):
        block = slice(first, first + _BLOCK)
        for axis in range(3):
            factor = scale[axis] / cube.edge * cells
            shift = (offset[axis] - cube.corner[axis]) / cube.edge * cells
            cell = np.clip(axes[axis][block] * factor + shift, 0, cells - 1).astype(np.uint32)
            spread = _SPREAD[cell & low]
            if depth > _LOW_BITS:
                spread |= _SPREAD[cell >> np.uint32(_LOW_BITS)] << np.uint64(3 * _LOW_BITS)
            codes[block] |= spread << np.uint64(axis)
    return codes


def _levels(codes: npt.NDArray[np.uint64], depth: int) -> npt.NDArray[np.int8]:
    """The coarsest level at which each point of a sorted list is the first of its cell."""
    levels = np.zeros(codes.size, np.int8)
    for first in range(1, codes.size, _BLOCK):
        last = min(first + _BLOCK, codes.size)
        change = codes[first:last] ^ codes[first - 1 : last - 1]
        # Keep the highest bit and drop its neighbour, so that rounding to float64 cannot carry into a new bit.
        change &= ~(change >> np.uint64(1))
        _, highest = np.frexp(change.astype(np.float64))
        differs_at = depth - (highest - 1) // 3
        levels[first:last] = np.maximum(differs_at - GRID_DEPTH, 0)
    return levels


def _unmorton(prefix: npt.NDArray[np.uint64], level: int) -> npt.NDArray[np.int32]:
    axes = np.zeros((prefix.size, 3), np.int32)
    for bit in range(level):
        for axis in range(3):
            axes[:, axis] |= (
                ((prefix >> np.uint64(3 * bit + axis)) & np.uint64(1)) << np.uint64(bit)
            ).astype(np.int32)
    return axes


def _runs(values: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Starts and lengths of runs of equal values."""
    starts = np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1])))
    return starts, np.diff(starts, append=values.size)


def build_octree(
    codes: npt.NDArray[np.uint64],
    depth: int,
    *,
    leaf_points: int = LEAF_POINTS,
    smallest_child: int = SMALLEST_CHILD,
) -> Octree:
    """Distribute points over the nodes of an octree.

    Args:
        codes: Morton codes of at least one point, `depth` bits per axis.
        leaf_points: a node of no more points is not divided.
        smallest_child: children with fewer points are merged into their parent.
    """
    flip = np.uint64(_FLIP & ((1 << 3 * depth) - 1))
    flipped = codes ^ flip
    by_code = np.argsort(flipped)
    ordered = flipped[by_code]
    levels = _levels(ordered, depth)
    ordered ^= flip
    deepest = max(depth - GRID_DEPTH, 0)

    alive = np.arange(codes.size)
    node_of = np.empty(codes.size, np.int32)
    keys: list[npt.NDArray[np.int32]] = []
    nodes = 0
    for level in range(deepest + 1):
        prefix = ordered[alive] >> np.uint64(3 * (depth - level))
        starts, counts = _runs(prefix)
        whole = (counts <= leaf_points) | (level == deepest)
        taken = (levels[alive] <= level) | np.repeat(whole, counts)
        _take_small_children(ordered[alive], taken, depth - level - 1, smallest_child)
        axes = _unmorton(prefix[starts], level)
        keys.append(np.concatenate((np.full((starts.size, 1), level, np.int32), axes), axis=1))
        numbers = np.repeat(np.arange(nodes, nodes + starts.size, dtype=np.int32), counts)
        node_of[alive[taken]] = numbers[taken]
        nodes += starts.size
        alive = alive[~taken]
        if alive.size == 0:
            break
    return _grouped(np.concatenate(keys), node_of, by_code)


def _take_small_children(
    codes: npt.NDArray[np.uint64], taken: npt.NDArray[np.bool_], shift: int, smallest_child: int
) -> None:
    """Mark the points of children below `smallest_child` as taken by their parent."""
    rest = np.flatnonzero(~taken)
    if rest.size == 0:
        return
    _, counts = _runs(codes[rest] >> np.uint64(3 * shift))
    taken[rest[np.repeat(counts < smallest_child, counts)]] = True


def _grouped(
    keys: npt.NDArray[np.int32], node_of: npt.NDArray[np.int32], by_code: npt.NDArray[np.int64]
) -> Octree:
    """Point indices node by node, ascending inside a node."""
    of_point = np.empty(by_code.size, np.uint16 if len(keys) <= 0xFFFF else np.int32)
    of_point[by_code] = node_of
    # Stable, and a radix sort for 16 bits: indices stay ascending inside a node.
    order = np.argsort(of_point, kind="stable")
    counts = np.bincount(node_of, minlength=len(keys))
    return Octree(keys, np.concatenate(([0], np.cumsum(counts))), order)
