"""The octree of one COPC as a tileset sees it: which tiles there are, and the true box of each in the tileset's frame.

The box of a tile holds its own points and all below it. It comes from the native boxes of the nodes' points (cloud.nodes), taken
into the frame, so that no point has to be read before a tile is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pointclouds.cloud.nodes import NodeTable
from pointclouds.copc.reader import CopcFile
from pointclouds.errors import InvalidCopcError, PlacementError
from pointclouds.tilesets.local_frame import LocalFrame

Mask = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.uint64]
Corners = npt.NDArray[np.float64]

MOST_LEVELS: Final = 21
"""Three times so many bits fit into a Morton code of 64."""


class Address(NamedTuple):
    """A tile: its level, and its cell along x, y and z."""

    level: int
    x: int
    y: int
    z: int


@dataclass(frozen=True)
class Level:
    """The tiles of one level in Morton order. `codes` (n,). `nodes` (n,): row of the tile's own node in the table, -1 where it has
    no points of its own. `low`, `high` (n, 3): box of the tile and all below it, metres in the frame."""

    codes: Codes
    nodes: npt.NDArray[np.int64]
    low: Corners
    high: Corners


@dataclass(frozen=True)
class Octree:
    """All levels of one COPC; `cube` is lowest and highest corner of the octree itself in the frame, the tiles' boxes included."""

    levels: tuple[Level, ...]
    cube: tuple[Corners, Corners]
    spacing: float
    edge: float

    @property
    def box(self) -> tuple[Corners, Corners]:
        """The box of all points."""
        return self.levels[0].low[0], self.levels[0].high[0]

    def find(self, address: Address) -> int | None:
        """The row of a tile's own node in the table; None where there is no such tile, or it has no points."""
        if not 0 <= address.level < len(self.levels):
            return None
        cells = np.array([address[1:]], np.int64)
        if (cells < 0).any() or (cells >= 1 << address.level).any():
            return None
        level = self.levels[address.level]
        code = morton(cells)[0]
        place = int(np.searchsorted(level.codes, code))
        if place == len(level.codes) or level.codes[place] != code or level.nodes[place] < 0:
            return None
        return int(level.nodes[place])

    def shown(self, nodes: Mask | None) -> tuple[tuple[Mask, Mask], ...]:
        """For each level: (n,) which tiles are available, (n,) which have a content, if only these nodes (by row) have points to
        show; None for all."""
        found: list[tuple[Mask, Mask]] = []
        below: tuple[Level, Mask] | None = None
        for level in reversed(self.levels):
            content = level.nodes >= 0
            if nodes is not None:
                content = content & nodes[level.nodes]
            tiles = content.copy()
            if below is not None:
                parents = below[0].codes[below[1]] >> np.uint64(3)
                tiles[np.searchsorted(level.codes, parents)] = True
            found.append((tiles, content))
            below = (level, tiles)
        return tuple(reversed(found))


def morton(cells: npt.NDArray[np.int64]) -> Codes:
    """(n,) codes of cells (n, 3): bits of x, y and z in turn, x lowest (3D Tiles 1.1, clause on implicit tiling)."""
    codes = np.zeros(len(cells), np.uint64)
    for axis in range(3):
        codes |= _spread(cells[:, axis].astype(np.uint64)) << np.uint64(axis)
    return codes


_SPREADS: Final = (
    (32, 0x1F00000000FFFF),
    (16, 0x1F0000FF0000FF),
    (8, 0x100F00F00F00F00F),
    (4, 0x10C30C30C30C30C3),
    (2, 0x1249249249249249),
)


def _spread(bits: Codes) -> Codes:
    """Two zero bits before every bit of a number of 21."""
    for shift, mask in _SPREADS:
        bits = (bits | (bits << np.uint64(shift))) & np.uint64(mask)
    return bits


def cells_of(codes: Codes) -> npt.NDArray[np.int64]:
    """(n, 3) cells of codes (n,)."""
    return np.stack([_gather(codes >> np.uint64(axis)) for axis in range(3)], axis=1)


_GATHERS: Final = (
    (2, 0x10C30C30C30C30C3),
    (4, 0x100F00F00F00F00F),
    (8, 0x1F0000FF0000FF),
    (16, 0x1F00000000FFFF),
    (32, 0x1FFFFF),
)


def _gather(bits: Codes) -> npt.NDArray[np.int64]:
    bits = bits & np.uint64(0x1249249249249249)
    for shift, mask in _GATHERS:
        bits = (bits | (bits >> np.uint64(shift))) & np.uint64(mask)
    return bits.astype(np.int64)


def octree_of(file: CopcFile, table: NodeTable, frame: LocalFrame) -> Octree:
    """The octree of a COPC in a frame.

    Raises:
        InvalidCopcError: cells outside their level, or more levels than addresses can name.
        PlacementError: points that cannot be placed on the globe.
    """
    entries = table.entries
    cells = np.stack([entries[axis] for axis in "xyz"], axis=1).astype(np.int64)
    depths = entries["level"].astype(np.int64)
    bad = (depths < 0) | (depths >= MOST_LEVELS) | (cells < 0).any(axis=1)
    if bad.any() or (cells >= (np.int64(1) << depths)[:, None]).any():
        raise InvalidCopcError(
            f"{file.path.name}: a node lies outside the octree, or deeper than {MOST_LEVELS} levels"
        )
    filled = np.flatnonzero(entries["point_count"] > 0)
    if not len(filled):
        raise InvalidCopcError(f"{file.path.name}: no node of the octree has a point")
    low, high = frame.boxes(np.asarray(table.lowest[filled, :3]), np.asarray(table.highest[filled, :3]))
    if not np.isfinite(low).all() or not np.isfinite(high).all():
        raise PlacementError(
            f"{file.path.name}: points of a node cannot be placed on the globe; they lie outside the area of the CRS or of its grid"
        )
    levels = _levels(depths[filled], morton(cells[filled]), filled, low, high)
    return Octree(levels, _cube(file, frame, levels[0]), file.info.spacing, 2 * file.info.halfsize)


def _levels(
    depths: npt.NDArray[np.int64], codes: Codes, rows: npt.NDArray[np.int64], low: Corners, high: Corners
) -> tuple[Level, ...]:
    """From the deepest level up: the tiles with points, and those above them."""
    found: list[Level] = []
    for depth in range(int(depths.max()), -1, -1):
        here = np.flatnonzero(depths == depth)
        parents = found[-1].codes >> np.uint64(3) if found else np.empty(0, np.uint64)
        every = np.unique(np.concatenate((codes[here], parents)))
        nodes = np.full(len(every), -1, np.int64)
        lowest, highest = np.full((len(every), 3), np.inf), np.full((len(every), 3), -np.inf)
        places = np.searchsorted(every, codes[here])
        nodes[places] = rows[here]
        lowest[places], highest[places] = low[here], high[here]
        if found:
            above = np.searchsorted(every, parents)
            np.minimum.at(lowest, above, found[-1].low)
            np.maximum.at(highest, above, found[-1].high)
        found.append(Level(every, nodes, lowest, highest))
    return tuple(reversed(found))


def _cube(file: CopcFile, frame: LocalFrame, root: Level) -> tuple[Corners, Corners]:
    """The octree's cube as a box along the axes of the frame, for viewers that do not read tile metadata.

    The projection bends the cube's faces by some centimetres in the frame: the box of the points lies in it too.
    """
    low, high = frame.box_of_cube(file.corner, 2 * file.info.halfsize)
    return np.minimum(low, root.low[0]), np.maximum(high, root.high[0])
