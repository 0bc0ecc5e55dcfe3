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
"""log2 of the 128 cells along a node's edge; a 64-cell grid gives a thin root and a smaller file (decision 28)."""
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


def flip_of(depth: int) -> np.uint64:
    """What codes of that depth are XORed with before they are sorted."""
    return np.uint64(_FLIP & ((1 << 3 * depth) - 1))


def first_difference(changes: npt.NDArray[np.uint64], depth: int) -> npt.NDArray[np.int64]:
    """The depth (1 to `depth`) of the coarsest cell that two codes do not share, from their XOR; depth + 1 where they are equal."""
    # Keep the highest bit and drop its neighbour, so that rounding to float64 cannot carry into a new bit.
    lone = changes & ~(changes >> np.uint64(1))
    _, highest = np.frexp(lone.astype(np.float64))
    return np.asarray(depth - (highest.astype(np.int64) - 1) // 3)


def _levels(
    codes: npt.NDArray[np.uint64], depth: int, grid_depth: int, before: np.uint64 | None
) -> npt.NDArray[np.int8]:
    """The coarsest level at which each point of a sorted list is the first of its cell."""
    levels = np.zeros(codes.size, np.int8)
    if before is not None:
        change = np.array([codes[0] ^ before], np.uint64)
        levels[0] = max(int(first_difference(change, depth)[0]) - grid_depth, 0)
    for first in range(1, codes.size, _BLOCK):
        last = min(first + _BLOCK, codes.size)
        change = codes[first:last] ^ codes[first - 1 : last - 1]
        levels[first:last] = np.maximum(first_difference(change, depth) - grid_depth, 0)
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


@dataclass(frozen=True)
class OctreeRules:
    """How points are shared out: a node of at most `leaf_points` keeps all of them, children of fewer than `smallest_child` stay with
    their parent, and a divided node shows one point a cell of a grid of 2 ** `grid_depth` cells along its edge."""

    leaf_points: int = LEAF_POINTS
    smallest_child: int = SMALLEST_CHILD
    grid_depth: int = GRID_DEPTH

    def deepest(self, depth: int) -> int:
        """The last level: a node there keeps whatever it is given."""
        return max(depth - self.grid_depth, 0)


@dataclass(frozen=True)
class Cells:
    """Disjoint cells of the octree below which points are shared out, in the order of flipped codes.

    `lows` (n,) uint64: the lowest flipped code of each. `levels` (n,) int8. `before`: any flipped code of the nearest cell before the
    first that holds a point, None if none does.
    """

    lows: npt.NDArray[np.uint64]
    levels: npt.NDArray[np.int8]
    before: np.uint64 | None = None


@dataclass(frozen=True)
class Branches:
    """The octree below some cells: the nodes in them, and the points that go up to nodes above.

    `promoted` holds indices of points, `promoted_keys` (n, 4) int32 the node of each; sorted by node, ascending inside one.
    """

    tree: Octree
    promoted: npt.NDArray[np.int64]
    promoted_keys: npt.NDArray[np.int32]


def build_octree(
    codes: npt.NDArray[np.uint64],
    depth: int,
    *,
    leaf_points: int = LEAF_POINTS,
    smallest_child: int = SMALLEST_CHILD,
    grid_depth: int = GRID_DEPTH,
) -> Octree:
    """Distribute points over the nodes of an octree.

    Args:
        codes: Morton codes of at least one point, `depth` bits per axis.
        leaf_points: a node of no more points is not divided.
        smallest_child: children with fewer points are merged into their parent.
        grid_depth: log2 of the cells along a node's edge.
    """
    rules = OctreeRules(leaf_points, smallest_child, grid_depth)
    whole = Cells(np.zeros(1, np.uint64), np.zeros(1, np.int8))
    return build_branches(codes, depth, rules, whole).tree


def build_branches(codes: npt.NDArray[np.uint64], depth: int, rules: OctreeRules, cells: Cells) -> Branches:
    """Distribute the points of some cells over the nodes in them and above them, as `build_octree` of all points does.

    Every cell above those given has to hold more than 2 ** (3 * (grid_depth - 1)) + leaf_points points, so that it is divided
    whatever its ancestors take. The nodes then are exactly those that one sort of all points gives.

    Args:
        codes: Morton codes of at least one point, all in `cells`, `depth` bits per axis.
    """
    flip = flip_of(depth)
    flipped = codes ^ flip
    by_code = np.argsort(flipped)
    ordered = flipped[by_code]
    _sort_ties(by_code, ordered)
    levels = _levels(ordered, depth, rules.grid_depth, cells.before)
    bounds = np.append(np.searchsorted(ordered, cells.lows), ordered.size)
    bases = np.repeat(cells.levels, np.diff(bounds))
    ordered ^= flip
    up = levels < bases
    if cells.levels.max() > 0:
        _promote_small_cells(levels, up, bounds, bases, rules.smallest_child)
    keys, node_of = _nodes_below(ordered, levels, bases, up, depth, rules)
    promoted, promoted_keys = _promoted(ordered, levels, up, by_code, depth)
    return Branches(_grouped(keys, node_of, by_code), promoted, promoted_keys)


def _sort_ties(by_code: npt.NDArray[np.int64], ordered: npt.NDArray[np.uint64]) -> None:
    """Bring points of one code into the order of recording: which of them is shown above must not depend on how they were sorted."""
    same = ordered[1:] == ordered[:-1]
    if same.any():
        tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
        by_code[tied] = by_code[tied[np.lexsort((by_code[tied], ordered[tied]))]]


def _promote_small_cells(
    levels: npt.NDArray[np.int8],
    up: npt.NDArray[np.bool_],
    bounds: npt.NDArray[np.int64],
    bases: npt.NDArray[np.int8],
    smallest_child: int,
) -> None:
    """What is left of a cell and is too little for a node goes to the parent."""
    counts = np.diff(bounds)
    left = np.diff(np.concatenate(([0], np.cumsum(~up)))[bounds])
    small = np.repeat((left < smallest_child), counts) & ~up & (bases > 0)
    levels[small] = bases[small] - 1
    up |= small


def _nodes_below(
    ordered: npt.NDArray[np.uint64],
    levels: npt.NDArray[np.int8],
    bases: npt.NDArray[np.int8],
    up: npt.NDArray[np.bool_],
    depth: int,
    rules: OctreeRules,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Keys of the nodes, and the node of every point in sorted order (-1: none of these)."""
    deepest = rules.deepest(depth)
    waiting = np.flatnonzero(~up)
    node_of = np.full(ordered.size, -1, np.int32)
    keys: list[npt.NDArray[np.int32]] = [np.empty((0, 4), np.int32)]
    nodes = 0
    for level in range(int(bases.min()), deepest + 1):
        begun = bases[waiting] <= level
        alive = waiting if begun.all() else waiting[begun]
        if alive.size == 0:
            continue
        prefix = ordered[alive] >> np.uint64(3 * (depth - level))
        starts, counts = _runs(prefix)
        whole = (counts <= rules.leaf_points) | (level == deepest)
        taken = (levels[alive] <= level) | np.repeat(whole, counts)
        _take_small_children(ordered[alive], taken, depth - level - 1, rules.smallest_child)
        axes = _unmorton(prefix[starts], level)
        keys.append(np.concatenate((np.full((starts.size, 1), level, np.int32), axes), axis=1))
        numbers = np.repeat(np.arange(nodes, nodes + starts.size, dtype=np.int32), counts)
        node_of[alive[taken]] = numbers[taken]
        nodes += starts.size
        waiting = waiting[node_of[waiting] < 0]
        if waiting.size == 0:
            break
    return np.concatenate(keys), node_of


def _promoted(
    ordered: npt.NDArray[np.uint64],
    levels: npt.NDArray[np.int8],
    up: npt.NDArray[np.bool_],
    by_code: npt.NDArray[np.int64],
    depth: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Points that go up, sorted by node, ascending inside one; and their nodes' keys."""
    parts: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
    keys: list[npt.NDArray[np.int32]] = [np.empty((0, 4), np.int32)]
    places = np.flatnonzero(up)
    for level in np.unique(levels[places]).tolist():
        here = places[levels[places] == level]
        prefix = ordered[here] >> np.uint64(3 * (depth - level))
        # Stable by run, then by index: runs of one node stand together in sorted order already.
        _, counts = _runs(prefix)
        run = np.repeat(np.arange(counts.size), counts)
        own = by_code[here]
        order = np.lexsort((own, run))
        parts.append(own[order])
        axes = _unmorton(prefix[order], level)
        keys.append(np.concatenate((np.full((here.size, 1), level, np.int32), axes), axis=1))
    return np.concatenate(parts), np.concatenate(keys)


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
    """Point indices node by node, ascending inside a node; points of no node (-1) are left out."""
    of_point = np.empty(by_code.size, np.uint16 if len(keys) < 0xFFFF else np.uint32)
    # -1 becomes the highest number, so these points come last.
    of_point[by_code] = node_of.astype(of_point.dtype)
    # Stable, and a radix sort for 16 bits: indices stay ascending inside a node.
    order = np.argsort(of_point, kind="stable")
    counts = np.bincount(node_of[node_of >= 0], minlength=len(keys))
    starts = np.concatenate(([0], np.cumsum(counts)))
    return Octree(keys, starts, order[: starts[-1]])
