"""Where tiles of a new plan split: the thresholds of those that cannot hold everything.

`outlines` have their boxes in the turn of longitude of the region, and sizes with their jitter.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.objects import Detail, Outlines
from tiles.three_d.quadtree import MAX_LEVEL, Region, cells, tile_code

# Vertices by which coarser details are counted before they are made: a box, and a raised plan.
_BLOCK_WEIGHT = 20
_LOD1_SHARE = 4
# Of a tile's capacity, what a tile of boxes takes: each level of them repeats the one below, and what it leaves out is as
# small on the screen as its error says.
_BLOCK_CAPACITY_SHARE = 4


class Step(NamedTuple):
    """One level down: the child's column and row, and whether it wholly contains the object."""

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    fits: NDArray[np.bool_]


def descend(
    region: Region, depth: int, boxes: NDArray[np.float64], x: NDArray[np.int64], y: NDArray[np.int64]
) -> Step:
    """The children of tiles (x, y) of level `depth` in which boxes (n, 4) lie."""
    low_x, low_y = cells(region, depth + 1, boxes[:, 0], boxes[:, 1])
    high_x, high_y = cells(region, depth + 1, boxes[:, 2], boxes[:, 3])
    # Rounding may put a corner a cell away from its parent; such an object counts as crossing.
    fits = (low_x == high_x) & (low_y == high_y) & (low_x >> 1 == x) & (low_y >> 1 == y)
    return Step(low_x, low_y, fits)


class Splits(NamedTuple):
    """The tiles that pass objects down, ascending by `codes` (s,); see `TilePlan`."""

    levels: int
    codes: NDArray[np.int64]
    thresholds: NDArray[np.float64]
    details: NDArray[np.int8]


def _joined(
    levels: int, found: list[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int8]]]
) -> Splits:
    if not found:
        none = np.empty(0)
        return Splits(levels, none.astype(np.int64), none, none.astype(np.int8))
    codes, thresholds, details = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(codes)
    return Splits(levels, codes[order], thresholds[order], details[order])


def add_splits(region: Region, outlines: Outlines, details: tuple[Detail, ...], capacity: int) -> Splits:
    """The thresholds of adding tiles: those that cross children first, then the largest, until the tile is full."""
    boxes = outlines.boxes
    sizes = outlines.sizes
    weights = outlines.weights
    rest = np.arange(len(boxes))
    x, y = np.zeros(len(boxes), dtype=np.int64), np.zeros(len(boxes), dtype=np.int64)
    found: list[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int8]]] = []
    for depth in range(MAX_LEVEL):
        step = descend(region, depth, boxes[rest], x, y)
        codes = tile_code(np.full(len(rest), depth), x, y)
        order = np.lexsort((-sizes[rest], step.fits, codes))
        running, starts, group = _running(codes[order], weights[rest][order])
        stays = (running <= capacity) | ~step.fits[order]
        full = np.flatnonzero(np.bincount(group, ~stays) > 0)
        if not len(full):
            return _joined(depth + 1, found)
        kept_sizes = np.where(stays & step.fits[order], sizes[rest][order], np.inf)
        thresholds = np.minimum.reduceat(kept_sizes, starts)[full]
        found.append((codes[order][starts[full]], thresholds, np.zeros(len(full), dtype=np.int8)))
        limit = np.zeros(len(starts))
        limit[full] = thresholds
        below = np.empty(len(rest))
        below[order] = limit[group]
        goes = step.fits & (sizes[rest] < below)
        rest, x, y = rest[goes], step.x[goes], step.y[goes]
        if not len(rest):
            return _joined(depth + 1, found)
    return _joined(MAX_LEVEL + 1, found)


def replace_splits(region: Region, outlines: Outlines, details: tuple[Detail, ...], capacity: int) -> Splits:
    """The tiles above the leaves: LoD1 of everything in those right above them, else the largest objects in the coarsest detail."""
    boxes = outlines.boxes
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2.0
    sizes = outlines.sizes
    plain = np.minimum(outlines.weights, np.maximum(outlines.weights // _LOD1_SHARE, _BLOCK_WEIGHT))
    # Of a source without boxes the coarsest detail costs what it weighs, and has the room of any tile.
    boxed = details[0] is Detail.BLOCK
    room = capacity // _BLOCK_CAPACITY_SHARE if boxed else capacity
    middle = Detail.LOD1 if Detail.LOD1 in details else details[0]
    rest = np.arange(len(boxes))
    found: list[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int8]]] = []
    here = _level_sums(region, 0, centres, outlines.weights, capacity)
    for depth in range(MAX_LEVEL):
        codes, full = here
        if not full.any():
            return _joined(depth + 1, found)
        rest, codes = rest[full], codes[full]
        below = _level_sums(region, depth + 1, centres[rest], outlines.weights[rest], capacity)
        order = np.lexsort((-sizes[rest], codes))
        rows = rest[order]
        lod1, starts, _ = _running(codes[order], plain[rows])
        # What lies above tiles of LoD1 would repeat them.
        last = ~np.logical_or.reduceat(below[1][order], starts)
        fits = last & (np.maximum.reduceat(lod1, starts) <= capacity)
        shown = np.where(fits, middle, details[0]).astype(np.int8)
        # LoD1 of all, or boxes (where the source has them) of as many as there is room for, the largest first.
        cost = np.full(len(order), _BLOCK_WEIGHT) if boxed else plain[rows]
        blocks, _, _ = _running(codes[order], cost)
        kept = np.where(blocks <= room, sizes[rows], np.inf)
        kept[starts] = sizes[rows[starts]]
        found.append((codes[order][starts], np.where(fits, 0.0, np.minimum.reduceat(kept, starts)), shown))
        here = below
    return _joined(MAX_LEVEL + 1, found)


def _level_sums(
    region: Region,
    depth: int,
    centres: NDArray[np.float64],
    weights: NDArray[np.int64],
    capacity: int,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The tile (n,) of level `depth` that each object is in, and whether (n,) that tile passes its objects down."""
    x, y = cells(region, depth, centres[:, 0], centres[:, 1])
    codes = tile_code(np.full(len(centres), depth), x, y)
    _, tile, count = np.unique(codes, return_inverse=True, return_counts=True)
    # A tile with a single object stays a leaf, however heavy: its children could only repeat it.
    full = (np.bincount(tile, weights) > capacity) & (count > 1)
    return codes, np.asarray(full[tile])


def _running(
    codes: NDArray[np.int64], weights: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.intp], NDArray[np.int64]]:
    """Sums of `weights` from the start of each run of equal `codes`; where the runs start; the run of each entry."""
    starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
    group = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(codes)]))
    total = np.cumsum(weights)
    before = total[starts] - weights[starts]
    return total - before[group], starts, group
