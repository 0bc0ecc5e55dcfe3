"""Layers of the ground as closed volumes: prisms between the surfaces of a grid, cut into blocks.

Each block of each layer is a body closed by itself, so that a section plane or a filter never opens one. Where a layer
pinches out its top and its bottom meet, and no wall stands there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.errors import ThreeDError
from tiles.three_d.mesh import Mesh, join_meshes
from tiles.three_d.objects import Keys, Material, MeshPart, Outlines
from tiles.three_d.placement import LocalFrame, Positions, to_ecef
from tiles.three_d.underground.axes import Numbers, outlines_around
from tiles.three_d.underground.kinds import Colour

BLOCK_CELLS = 32
# A layer thinner than this at all four corners of a cell is not there (m).
_THINNEST = 0.01
_LAYER, _ROW = 2**40, 2**20


@dataclass(frozen=True, slots=True)
class LayerGrid:
    """Surfaces of l layers on a grid of nodes, rows and columns in any direction.

    `longitude`, `latitude` (r, c) degrees; `surfaces` (l + 1, r, c) ellipsoidal heights (m), the top of the uppermost layer
    first, the bottom of the lowest one last, NaN where unknown, each at or below the one before; `names`, `lithologies` of
    the layers (l,).
    """

    longitude: Numbers
    latitude: Numbers
    surfaces: Numbers
    names: tuple[str, ...]
    lithologies: tuple[str, ...]

    def save(self, path: Path) -> None:
        """Write it as .npz."""
        with path.open("wb") as file:
            np.savez_compressed(
                file,
                longitude=self.longitude,
                latitude=self.latitude,
                surfaces=self.surfaces,
                names=np.array(self.names, dtype=np.str_),
                lithologies=np.array(self.lithologies, dtype=np.str_),
            )

    @classmethod
    def open(cls, path: Path) -> LayerGrid:
        """Read what `save` wrote. Raises ThreeDError."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                return cls(
                    stored["longitude"],
                    stored["latitude"],
                    stored["surfaces"],
                    tuple(stored["names"].tolist()),
                    tuple(stored["lithologies"].tolist()),
                )
        except (OSError, ValueError, KeyError) as error:
            raise ThreeDError(f"the layers at {path.name} cannot be read: {error}") from error


def layered(surfaces: Numbers) -> tuple[Numbers, int]:
    """Surfaces (l + 1, ...) made to lie one below the other: a lower one never rises through an upper one.

    An inner surface that is unknown at a node takes the next one above, so that its layer is not there. Returns them and at
    how many nodes something crossed.
    """
    result = np.array(surfaces, dtype=np.float64)
    crossed = 0
    for number in range(1, len(result)):
        above, here = result[number - 1], result[number]
        crossing = here > above + 1e-6
        crossed += int(crossing.sum())
        unknown = np.isnan(here) & (number < len(result) - 1)
        result[number] = np.where(crossing | unknown, above, here)
    return result, crossed


class _Block(NamedTuple):
    """A block of a layer: its key and its ranges of cells."""

    key: int
    layer: int
    rows: slice
    columns: slice


class LayerBlocks:
    """The blocks of a grid's layers that hold something.

    `keys` (b,) int64, ascending: layer * 2**40 + block row * 2**20 + block column.
    """

    def __init__(self, grid: LayerGrid, colours: tuple[Colour, ...]) -> None:
        """`colours` (l,) of the layers."""
        self._grid = grid
        self._colours = colours
        self._present = [_present(grid.surfaces[layer : layer + 2]) for layer in range(len(grid.names))]
        self.keys: Keys = np.array(
            [
                layer * _LAYER + int(row) * _ROW + int(column)
                for layer, cells in enumerate(self._present)
                for row, column in np.argwhere(_any_in_blocks(cells)).tolist()
            ],
            dtype=np.int64,
        )

    def _block(self, key: int) -> _Block:
        layer, rest = divmod(key, _LAYER)
        row, column = divmod(rest, _ROW)
        cells = self._present[layer].shape
        first, left = row * BLOCK_CELLS, column * BLOCK_CELLS
        return _Block(
            key,
            layer,
            slice(first, min(first + BLOCK_CELLS, cells[0])),
            slice(left, min(left + BLOCK_CELLS, cells[1])),
        )

    def layer_of(self, keys: Keys) -> NDArray[np.int64]:
        """The layer (b,) of each block."""
        return keys // _LAYER

    def thickness(self, keys: Keys) -> Numbers:
        """Mean, least and greatest thickness (b, 3) of blocks, m, over the cells that are there."""
        result = np.zeros((len(keys), 3))
        for number, key in enumerate(keys.tolist()):
            block = self._block(key)
            top, bottom = self._surfaces(block)
            thick = top - bottom
            cells = self._present[block.layer][block.rows, block.columns]
            corners = np.stack((thick[:-1, :-1], thick[:-1, 1:], thick[1:, 1:], thick[1:, :-1]))[:, cells]
            result[number] = corners.mean(), corners.min(), corners.max()
        return result

    def _nodes(self, block: _Block) -> tuple[slice, slice]:
        rows, columns = block.rows, block.columns
        return slice(rows.start, rows.stop + 1), slice(columns.start, columns.stop + 1)

    def _surfaces(self, block: _Block) -> tuple[Numbers, Numbers]:
        nodes = self._nodes(block)
        return self._grid.surfaces[block.layer][nodes], self._grid.surfaces[block.layer + 1][nodes]

    def outlines(self, keys: Keys) -> Outlines:
        """Outlines of these blocks."""
        low, high = np.empty((len(keys), 3)), np.empty((len(keys), 3))
        weights = np.zeros(len(keys), dtype=np.int64)
        for number, key in enumerate(keys.tolist()):
            block = self._block(key)
            nodes = self._nodes(block)
            cells = self._present[block.layer][block.rows, block.columns]
            used = _nodes_of(cells)
            top, bottom = self._surfaces(block)
            longitude, latitude = self._grid.longitude[nodes][used], self._grid.latitude[nodes][used]
            low[number] = longitude.min(), latitude.min(), bottom[used].min()
            high[number] = longitude.max(), latitude.max(), top[used].max()
            weights[number] = int(used.sum()) * 2 + 8 * (cells.shape[0] + cells.shape[1])
        return outlines_around(low, high, keys, np.zeros(len(keys)), weights)

    def parts(self, keys: Keys, frame: LocalFrame) -> list[MeshPart]:
        """These blocks in a tile's frame; feature ids count along `keys`. One part for each layer."""
        meshes: dict[int, list[Mesh]] = {}
        for number, key in enumerate(keys.tolist()):
            block = self._block(key)
            meshes.setdefault(block.layer, []).append(self._mesh(block, frame, number))
        return [
            MeshPart(join_meshes(some), Material(colour=(*self._colours[layer], 1.0)))
            for layer, some in meshes.items()
        ]

    def _mesh(self, block: _Block, frame: LocalFrame, feature: int) -> Mesh:
        nodes = self._nodes(block)
        cells = self._present[block.layer][block.rows, block.columns]
        longitude, latitude = self._grid.longitude[nodes], self._grid.latitude[nodes]
        top, bottom = (
            frame.to_local(
                to_ecef(longitude.ravel(), latitude.ravel(), np.nan_to_num(surface).ravel())
            ).reshape(*surface.shape, 3)
            for surface in self._surfaces(block)
        )
        thick = np.nan_to_num(np.subtract(*self._surfaces(block))) > 0.0
        # Which way round a cell lies depends on the grid: rasters count rows from the north.
        east, north = top[0, 1] - top[0, 0], top[1, 0] - top[0, 0]
        turns_left = bool(east[0] * north[1] - east[1] * north[0] > 0.0)
        made = [
            _surface(top, cells, upwards=True, turns_left=turns_left),
            _surface(bottom, cells, upwards=False, turns_left=turns_left),
            _walls(top, bottom, thick, cells, turns_left=turns_left),
        ]
        mesh = join_meshes(made)
        return Mesh(
            mesh.positions,
            mesh.normals,
            np.full(len(mesh.positions), feature, dtype=np.int64),
            mesh.triangles,
        )


def _present(pair: Numbers) -> NDArray[np.bool_]:
    """Cells (r - 1, c - 1) of a layer that are there: known at all corners, and thick enough at one."""
    thick = pair[0] - pair[1]
    corners = np.stack((thick[:-1, :-1], thick[:-1, 1:], thick[1:, 1:], thick[1:, :-1]))
    with np.errstate(invalid="ignore"):
        return np.asarray(np.isfinite(corners).all(axis=0) & (corners > _THINNEST).any(axis=0))


def _any_in_blocks(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which blocks hold a cell."""
    rows, columns = -(-cells.shape[0] // BLOCK_CELLS), -(-cells.shape[1] // BLOCK_CELLS)
    whole = np.zeros((rows * BLOCK_CELLS, columns * BLOCK_CELLS), dtype=np.bool_)
    whole[: cells.shape[0], : cells.shape[1]] = cells
    return np.asarray(whole.reshape(rows, BLOCK_CELLS, columns, BLOCK_CELLS).any(axis=(1, 3)))


def _nodes_of(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The nodes (r + 1, c + 1) at corners of these cells."""
    used = np.zeros((cells.shape[0] + 1, cells.shape[1] + 1), dtype=np.bool_)
    for down in (0, 1):
        for right in (0, 1):
            used[down : down + cells.shape[0], right : right + cells.shape[1]] |= cells
    return used


def _cell_normals(nodes: Positions) -> Positions:
    """Smooth upward normals (r, c, 3) of a surface, by the differences to the neighbouring nodes."""
    along = np.gradient(nodes, axis=1)
    across = np.gradient(nodes, axis=0)
    normals = np.cross(along, across)
    normals /= np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), 1e-12)
    return np.asarray(np.where(normals[..., 2:] < 0.0, -normals, normals))


def _surface(nodes: Positions, cells: NDArray[np.bool_], *, upwards: bool, turns_left: bool) -> Mesh:
    """The triangles of a surface over these cells."""
    used = _nodes_of(cells)
    number = np.cumsum(used.ravel()).reshape(used.shape) - 1
    corners = [number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]]
    a, b, c, d = (corner[cells] for corner in corners)
    triangles = np.stack((np.stack((a, b, c), axis=1), np.stack((a, c, d), axis=1)), axis=1).reshape(-1, 3)
    if upwards is not turns_left:
        triangles = triangles[:, ::-1]
    normals = _cell_normals(nodes)[used]
    return Mesh(
        nodes[used],
        normals if upwards else -normals,
        np.zeros(int(used.sum()), dtype=np.int64),
        triangles,
    )


def _walls(
    top: Positions,
    bottom: Positions,
    thick: NDArray[np.bool_],
    cells: NDArray[np.bool_],
    *,
    turns_left: bool,
) -> Mesh:
    """Walls where a cell that is there has no neighbour; none where the layer has no thickness at both ends."""
    start, end = _rim_edges(cells)
    if not turns_left:
        start, end = end, start
    open_edge = thick.ravel()[start] | thick.ravel()[end]
    start, end = start[open_edge], end[open_edge]
    upper, lower = top.reshape(-1, 3), bottom.reshape(-1, 3)
    corners = np.stack((lower[start], lower[end], upper[end], upper[start]), axis=1)
    level = corners[:, 1] - corners[:, 0] + corners[:, 2] - corners[:, 3]
    normals = np.column_stack((level[:, 1], -level[:, 0], np.zeros(len(level))))
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    base = np.arange(len(start))[:, None] * 4
    # The end without a thickness has one corner, not two: the other triangle would be a line.
    first = base[thick.ravel()[end]] + np.array([0, 1, 2])
    second = base[thick.ravel()[start]] + np.array([0, 2, 3])
    return Mesh(
        corners.reshape(-1, 3),
        np.repeat(normals, 4, axis=0),
        np.zeros(4 * len(start), dtype=np.int64),
        np.concatenate((first, second)),
    )


def _rim_edges(cells: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Nodes where edges of the rim start and end, counter-clockwise around the cells where columns and rows turn left."""
    rows, columns = cells.shape
    node = np.arange((rows + 1) * (columns + 1)).reshape(rows + 1, columns + 1)
    padded = np.zeros((rows + 2, columns + 2), dtype=np.bool_)
    padded[1:-1, 1:-1] = cells
    near = cells & ~padded[:-2, 1:-1]
    far = cells & ~padded[2:, 1:-1]
    left = cells & ~padded[1:-1, :-2]
    right = cells & ~padded[1:-1, 2:]
    a, b, c, d = node[:-1, :-1], node[:-1, 1:], node[1:, 1:], node[1:, :-1]
    start = np.concatenate((a[near], b[right], c[far], d[left]))
    end = np.concatenate((b[near], c[right], d[far], a[left]))
    return start, end
