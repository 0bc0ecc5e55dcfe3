"""The points that a window of cells is made of: which files, which nodes, down to which level of the octree."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pointclouds.cloud.cloud import Cloud, CloudTile
from pointclouds.cloud.node_cache import NODE_CACHE
from pointclouds.cloud.nodes import NodeTable
from pointclouds.copc.reader import CopcFile, selection_of
from pointclouds.las.layout import Records, dimension
from pointclouds.rasters.cells import CellWindow, Float

Codes = npt.NDArray[np.uint8]

NOISE: Final = (7, 18)
"""Low and high noise (LAS 1.4 R15, table 17)."""
_BATCH_POINTS: Final = 1 << 20
_WITHHELD: Final = 4
_UNLIMITED: Final = 1_000


@dataclass(frozen=True)
class CellPoints:
    """Points of one batch that lie in a window and count: withheld ones are left out.

    `place` (n,) int64 is the number of the cell in the window; z in CRS units; `across`, `down` (n,) are -0.5 to 0.5, the place within
    the cell to the east and south; `columns` further dimensions as stored, by LAS name.
    """

    place: npt.NDArray[np.int64]
    z: Float
    across: Float
    down: Float
    codes: Codes
    returns: Codes
    columns: dict[str, npt.NDArray[Any]]

    def of(self, chosen: npt.NDArray[np.bool_]) -> CellPoints:
        """Some of them."""
        return CellPoints(
            self.place[chosen],
            self.z[chosen],
            self.across[chosen],
            self.down[chosen],
            self.codes[chosen],
            self.returns[chosen],
            {name: values[chosen] for name, values in self.columns.items()},
        )


class _Part(NamedTuple):
    """Nodes of one file that are read, and their number in the table."""

    file: CopcFile
    table: NodeTable
    nodes: npt.NDArray[np.intp]
    flagged: bool


class PointWindow:
    """The points of a window of cells of edge `cell`, from octree levels down to that whose points are `spacing` apart.

    `spacing` None: all levels. `codes`: only nodes that hold points of these classes; None for all.
    """

    def __init__(
        self,
        cloud: Cloud,
        window: CellWindow,
        cell: float,
        spacing: float | None,
        codes: Iterable[int] | None = None,
    ) -> None:
        self.cloud, self.window, self.cell = cloud, window, cell
        self._wanted = None if codes is None else frozenset(codes)
        self._parts = [
            part for tile in self._tiles(spacing) if (part := self._part(tile, spacing)) is not None
        ]

    def _tiles(self, spacing: float | None) -> list[CloudTile]:
        if self.cloud.overview is not None and overview_fits(self.cloud, spacing):
            return [self.cloud.overview]
        west, south, east, north = self.window.bounds(self.cell)
        return self.cloud.meeting(np.array([west, south, -np.inf]), np.array([east, north, np.inf]))

    def _part(self, tile: CloudTile, spacing: float | None) -> _Part | None:
        table = self.cloud.nodes(tile)
        meets = nodes_meeting(table, self.window.bounds(self.cell))
        meets &= table.entries["level"] <= finest_level(self.cloud.spacing(tile), spacing)
        if self._wanted is not None:
            columns = [index for index, code in enumerate(table.classes) if code in self._wanted]
            meets &= table.class_counts[:, columns].any(axis=1)
        nodes = np.flatnonzero(meets)
        if not nodes.size:
            return None
        flagged = "Withheld" in table.dimensions and bool(
            np.nanmax(table.highest[nodes, table.column("Withheld")], initial=0) > 0
        )
        return _Part(self.cloud.file(tile), table, nodes, flagged)

    @property
    def count(self) -> int:
        """Points that have to be read."""
        return sum(
            int(part.table.entries["point_count"][part.nodes].sum(dtype=np.int64)) for part in self._parts
        )

    def batches(self, dimensions: Iterable[str] = ()) -> Iterator[CellPoints]:
        """The points, about a million at a time, with further dimensions by LAS name."""
        names = tuple(dimensions)
        held: list[CellPoints] = []
        count = 0
        for part in self._parts:
            fields = [*names, "Classification", *(["Flags"] if part.flagged else [])]
            selection = selection_of(fields)
            for node in part.nodes:
                points = self._points(part, _records(part, int(node), selection), names)
                held.append(points)
                count += len(points.place)
                if count >= _BATCH_POINTS:
                    yield joined(held)
                    held, count = [], 0
        if held:
            yield joined(held)

    def _points(self, part: _Part, records: Records, names: tuple[str, ...]) -> CellPoints:
        scale, offset = part.file.header.scale, part.file.header.offset
        x = records["X"] * scale[0] + offset[0]
        y = records["Y"] * scale[1] + offset[1]
        place = self.window.places(self.cell, x, y)
        keep = place >= 0
        if part.flagged:
            keep &= (records["Flags"] & _WITHHELD) == 0
        kept = np.flatnonzero(keep)
        records, x, y = records[kept], x[kept] / self.cell, y[kept] / self.cell
        return CellPoints(
            place[kept],
            records["Z"] * scale[2] + offset[2],
            x - np.floor(x) - 0.5,
            -y - np.floor(-y) - 0.5,
            np.ascontiguousarray(records["Classification"]),
            records["Returns"] & np.uint8(0x0F),
            {name: dimension(records, name) for name in names},
        )


def _records(part: _Part, node: int, selection: int) -> Records:
    """The points of a node, shared with all questions to the cloud: not to be changed."""
    path = str(part.file.path)
    records = NODE_CACHE.get(path, node, selection)
    if records is None:
        records = part.file.read_node(part.table.entries[node], selection)
        NODE_CACHE.put(path, node, selection, records)
    return records


def overview_fits(cloud: Cloud, spacing: float | None) -> bool:
    """Whether the overview of a mosaic has points as close as `spacing`, within half a level of the octree; None: never."""
    overview = cloud.overview
    if overview is None or spacing is None:
        return False
    file = cloud.file(overview)
    finest = file.info.spacing / 2.0 ** int(file.entries["level"].max())
    return spacing * math.sqrt(2) >= float(overview.facts.get("spacing", finest))


def joined(parts: list[CellPoints]) -> CellPoints:
    """Several batches as one."""
    if len(parts) == 1:
        return parts[0]
    return CellPoints(
        np.concatenate([part.place for part in parts]),
        np.concatenate([part.z for part in parts]),
        np.concatenate([part.across for part in parts]),
        np.concatenate([part.down for part in parts]),
        np.concatenate([part.codes for part in parts]),
        np.concatenate([part.returns for part in parts]),
        {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns},
    )


def finest_level(root: float, spacing: float | None) -> int:
    """The octree level whose points are nearest to `spacing` apart, in factors: 0.7 to 1.4 of it; all levels for None.

    `root`: how far apart the points of the octree's root are.
    """
    if spacing is None:
        return _UNLIMITED
    return max(0, round(math.log2(root / spacing)))


def finest_levels(roots: Float, spacing: float) -> npt.NDArray[np.int64]:
    """`finest_level` for many octrees."""
    return np.maximum(np.round(np.log2(roots / spacing)), 0).astype(np.int64)


def nodes_meeting(table: NodeTable, bounds: tuple[float, float, float, float]) -> npt.NDArray[np.bool_]:
    """Which nodes (n,) have points whose true box meets west, south, east, north; borders included."""
    west, south, east, north = bounds
    x, y = table.column("X"), table.column("Y")
    low, high = table.lowest, table.highest
    # Comparisons with the NaN of a node without points are false.
    return np.asarray(
        (low[:, x] <= east) & (high[:, x] >= west) & (low[:, y] <= north) & (high[:, y] >= south)
    )
