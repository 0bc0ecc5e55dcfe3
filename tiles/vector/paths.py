"""From tile coordinates to drawing commands: points, lines and rings as flat arrays of cells.

Vector Tile Specification 2.1 clause 4.3. Each vertex carries the number of the path (line or ring) it belongs to; no Python
code runs per feature.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiles.vector.message import Commands
from tiles.vector.varint import Numbers, zigzag

type Indexes = NDArray[np.intp]
type Flags = NDArray[np.bool_]
type Cells = NDArray[np.int32]

POINT, LINESTRING, POLYGON = 1, 2, 3
_MOVE_TO, _LINE_TO, _CLOSE_PATH = 1, 2, 15
_MARK = np.array([[0, 0], [2, 0], [2, 2], [0, 2]], dtype=np.int32)
MARK_AREA = 8
"""Twice the area of the square that stands for a polygon too small to be drawn, in square cells."""


class Detail(NamedTuple):
    """How much is left out: rings of less than `area` (twice the square cells) and, where `marks`, a square for a polygon
    of which nothing would be left."""

    area: int = 1
    marks: bool = False


FULL = Detail()
"""Only rings without any area are left out, which no tile may hold."""


def joined(encoded: list[Commands]) -> Commands:
    """Commands of several geometry types in one, in the order of the features."""
    encoded = [commands for commands in encoded if commands.features.size]
    if len(encoded) == 1:
        return encoded[0]
    if not encoded:
        empty = np.empty(0, np.int64)
        return Commands(empty, np.empty(0, np.uint8), np.empty(0, np.uint32), empty)
    features = np.concatenate([commands.features for commands in encoded])
    types = np.concatenate([commands.types for commands in encoded])
    counts = np.concatenate([commands.counts for commands in encoded])
    numbers = np.concatenate([commands.numbers for commands in encoded])
    order = np.argsort(features)
    return Commands(
        features[order],
        types[order],
        numbers[spread((np.cumsum(counts) - counts)[order], counts[order])],
        counts[order],
    )


def spread(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions start, start + 1, ... of consecutive groups of `counts` entries each."""
    group_ends = np.cumsum(counts)
    positions: NDArray[np.int64] = np.arange(int(group_ends[-1]) if group_ends.size else 0)
    positions += np.repeat(starts - (group_ends - counts), counts)
    return positions


def point_commands(cells: Cells, owners: Indexes) -> Commands:
    """One MoveTo a feature over all of its points; `owners` (rising) has one entry a point."""
    features, first, lengths = runs(owners)
    counts = 1 + 2 * lengths
    numbers = np.empty(int(counts.sum()), dtype=np.uint32)
    heads = np.cumsum(counts) - counts
    numbers[heads] = lengths << 3 | _MOVE_TO
    body = np.ones(numbers.size, dtype=np.bool_)
    body[heads] = False
    numbers[body] = _deltas(cells, first).reshape(-1)
    return Commands(features, np.full(features.size, POINT, np.uint8), numbers, counts)


def line_commands(cells: Cells, line: Indexes, owners: Indexes) -> Commands:
    """Lines without repeated vertices; one of a single vertex is left out. `line` rises; `owners` has one entry a line."""
    kept = _without_repeats(cells, line)
    if not kept.all():
        cells, line = cells[kept], line[kept]
    long_enough = np.bincount(line, minlength=len(owners)) > 1
    if not long_enough.all():
        kept = long_enough[line]
        cells, line = cells[kept], line[kept]
    return _paths(cells, line, owners, LINESTRING)


def ring_commands(
    cells: Cells, ring: Indexes, holes: Flags, owners: Indexes, detail: Detail = FULL
) -> Commands:
    """Polygons: exterior rings clockwise on the screen, holes the other way; each ring's polygon is the exterior before it.

    `ring` rises, with one entry a vertex; whether rings repeat their first vertex at the end does not matter. `holes` and
    `owners` have one entry a ring.
    """
    cells, ring = _open_rings(cells, ring)
    areas = _signed_areas(cells, ring, len(holes))
    solid = np.abs(areas) >= detail.area
    # A hole needs its polygon.
    solid &= solid[~holes][np.cumsum(~holes) - 1]
    marks = _marks(cells, ring, solid, owners) if detail.marks and not solid.all() else joined([])
    if not solid.all():
        kept = solid[ring]
        cells, ring = cells[kept], ring[kept]
    wrong = (areas > 0) == holes
    if (wrong & solid).any():
        cells = _turned(cells, ring, wrong)
    return joined([_paths(cells, ring, owners, POLYGON), marks])


def _marks(cells: Cells, ring: Indexes, solid: Flags, owners: Indexes) -> Commands:
    """A small square for each polygon of which no ring is left, one for all that lie at the same place."""
    features = np.unique(owners)
    lost = np.setdiff1d(features, owners[solid])
    present, first, _ = runs(ring)
    having, first_ring = np.unique(owners[present], return_index=True)
    chosen = np.isin(having, lost)
    corners = cells[first[first_ring[chosen]]] & ~1  # on the grid of the squares, so that neighbours meet
    _, single = np.unique(corners, axis=0, return_index=True)
    single.sort()
    squares = (corners[single][:, None, :] + _MARK).reshape(-1, 2)
    ring_of = np.repeat(np.arange(single.size), len(_MARK))
    return _paths(squares, ring_of, having[chosen][single], POLYGON)


def _open_rings(cells: Cells, ring: Indexes) -> tuple[Cells, Indexes]:
    """The rings without repeated vertices and without the one that closes them (ClosePath says it)."""
    kept = _without_repeats(cells, ring)
    if not kept.all():
        cells, ring = cells[kept], ring[kept]
    if ring.size == 0:
        return cells, ring
    _, first, lengths = runs(ring)
    last = first + lengths - 1
    closing = (cells[last] == cells[first]).all(axis=1) & (lengths > 1)
    if closing.any():
        kept = np.ones(ring.size, dtype=np.bool_)
        kept[last[closing]] = False
        cells, ring = cells[kept], ring[kept]
    return cells, ring


def _without_repeats(cells: Cells, path: Indexes) -> Flags:
    """True where a vertex differs from the one before it on the same path."""
    kept = np.ones(path.size, dtype=np.bool_)
    # Two 32-bit numbers looked at as one of 64.
    pairs = np.ascontiguousarray(cells).view(np.int64)[:, 0]
    kept[1:] = (pairs[1:] != pairs[:-1]) | (path[1:] != path[:-1])
    return kept


def _signed_areas(cells: Cells, ring: Indexes, count: int) -> NDArray[np.int64]:
    """Twice the area of each ring, positive where it runs clockwise on the screen (y down); 0 for rings without vertices."""
    areas = np.zeros(count, dtype=np.int64)
    if ring.size == 0:
        return areas
    present, first, lengths = runs(ring)
    x, y = cells[:, 0].astype(np.int64), cells[:, 1].astype(np.int64)
    last = first + lengths - 1
    products = np.empty(ring.size, dtype=np.int64)
    products[:-1] = x[:-1] * y[1:] - x[1:] * y[:-1]
    products[last] = x[last] * y[first] - x[first] * y[last]
    areas[present] = np.add.reduceat(products, first)
    return areas


def _turned(cells: Cells, ring: Indexes, wrong: Flags) -> Cells:
    """The vertices, with the rings flagged in `wrong` (one flag a ring) run through backwards."""
    present, first, lengths = runs(ring)
    turn = np.repeat(wrong[present], lengths)
    mirrored = np.repeat(2 * first + lengths - 1, lengths)
    positions = np.arange(ring.size)
    return cells[np.where(turn, mirrored - positions, positions)]


def _paths(cells: Cells, path: Indexes, owners: Indexes, kind: int) -> Commands:
    """MoveTo, LineTo and (for polygons) ClosePath of paths of at least two vertices; `owners` has one entry a path."""
    if path.size == 0:
        return joined([])
    present, first, lengths = runs(path)
    closed = kind == POLYGON
    sizes = 2 * lengths + (3 if closed else 2)
    heads = np.cumsum(sizes) - sizes
    numbers = np.empty(int(sizes.sum()), dtype=np.uint32)
    body = np.ones(numbers.size, dtype=np.bool_)
    numbers[heads] = 1 << 3 | _MOVE_TO
    numbers[heads + 3] = (lengths - 1) << 3 | _LINE_TO
    body[heads] = body[heads + 3] = False
    if closed:
        numbers[heads + sizes - 1] = _CLOSE_PATH
        body[heads + sizes - 1] = False
    features, first_path, _ = runs(owners[present])
    numbers[np.flatnonzero(body)] = _deltas(cells, first[first_path]).reshape(-1)
    return Commands(
        features, np.full(features.size, kind, np.uint8), numbers, np.add.reduceat(sizes, first_path)
    )


def _deltas(cells: Cells, first: Indexes) -> Numbers:
    """Zigzag steps from vertex to vertex; the cursor stands at 0,0 before each feature (`first`: its first vertex)."""
    steps = np.empty_like(cells)
    steps[1:] = cells[1:] - cells[:-1]
    steps[first] = cells[first]
    return zigzag(steps)


def runs(values: Indexes) -> tuple[Indexes, Indexes, NDArray[np.int64]]:
    """(value, first position, length) of each run of equal neighbours."""
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    lengths = np.diff(np.concatenate([starts, [values.size]]))
    return values[starts], starts, lengths
