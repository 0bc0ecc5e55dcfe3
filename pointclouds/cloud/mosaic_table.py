"""What all tiles of a mosaic hold, in two files beside them: a question to thousands of tiles opens none that it need not read.

    points/tiles.nodes      a NodeTable with one row a tile: classes, returns, spans and sums of all its points
    points/tiles.boxes      every node of every tile: level, points, box

Both are in the order of the tiles' names. An edit copies the rows of the tiles that stay and makes those of the others. Where the
files are missing (an earlier release wrote none) they are made of the tiles' own tables, in memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pointclouds.cloud.nodes import NodeTable, leaf_nodes, load_nodes
from pointclouds.errors import InvalidCopcError
from pointclouds.las.structures import HIERARCHY_ENTRY

TILES_FILE: Final = "tiles.nodes"
BOXES_FILE: Final = "tiles.boxes"
_MOST_OF_A_TILE: Final = 2**31 - 1
"""Points that an entry can count."""

NODE_BOX: Final = np.dtype(
    [
        ("tile", "<u4"),
        ("level", "<i4"),
        ("count", "<i4"),
        ("leaf", "?"),
        ("beyond", "?"),
        ("low", "<f8", (3,)),
        ("high", "<f8", (3,)),
    ]
)
"""A node: number of its tile, level, points, whether no node with points lies below, whether a return number exceeds the number of
returns in it, and the box of its points (NaN where there are none)."""


@dataclass(frozen=True)
class MosaicTable:
    """All n tiles and m nodes of a mosaic.

    tiles: one row a tile. nodes: (m,) NODE_BOX, tile after tile, within a tile in the order of its own table. starts: (n + 1,) where the
    nodes of each tile begin.
    """

    tiles: NodeTable
    nodes: npt.NDArray[np.void]
    starts: npt.NDArray[np.int64]

    def rows_of(self, tiles: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Rows in `nodes` of these tiles (by number), tile after tile."""
        first = self.starts[tiles]
        sizes = self.starts[tiles + 1] - first
        ends = np.cumsum(sizes)
        rows: npt.NDArray[np.int64] = np.repeat(first - (ends - sizes), sizes) + np.arange(
            int(ends[-1]) if len(ends) else 0
        )
        return rows

    def taken(self, tiles: npt.NDArray[np.int64]) -> MosaicTable:
        """The same of these tiles (by number), in this order."""
        nodes = self.nodes[self.rows_of(tiles)].copy()
        sizes = np.diff(self.starts)[tiles]
        nodes["tile"] = np.repeat(np.arange(len(tiles)), sizes)
        table = self.tiles
        counts = np.asarray(table.class_counts[tiles])
        some = np.flatnonzero(counts.any(axis=0))
        chosen = NodeTable(
            table.entries[tiles],
            tuple(table.classes[column] for column in some),
            table.dimensions,
            counts[:, some],
            *(np.asarray(getattr(table, name)[tiles]) for name in _SPANS),
        )
        return MosaicTable(chosen, nodes, np.concatenate(([0], np.cumsum(sizes))))

    def save(self, folder: Path) -> None:
        """Write both files into the folder of the tiles. Raises OSError."""
        self.tiles.save(folder / TILES_FILE)
        part = folder / f"{BOXES_FILE}.part"
        with part.open("wb") as stream:
            np.save(stream, np.asarray(self.nodes), allow_pickle=False)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(folder / BOXES_FILE)


_SPANS: Final = ("return_counts", "lowest", "highest", "sums", "squares")


def table_of(tables: Sequence[NodeTable]) -> MosaicTable | None:
    """Of the tiles' own tables, in the tiles' order; None where a tile has too many points to be counted in a row, or the tiles
    have different dimensions."""
    return _joined([found for table in tables if (found := _one(table)) is not None], len(tables))


def _one(table: NodeTable) -> MosaicTable | None:
    if table.count > _MOST_OF_A_TILE:
        return None
    nodes = boxes_of(table)
    entry = np.zeros(1, HIERARCHY_ENTRY)
    entry["point_count"] = table.count
    row = NodeTable(
        entry,
        table.classes,
        table.dimensions,
        _total(table.class_counts).astype(np.uint32),
        _total(table.return_counts).astype(np.uint32),
        np.fmin.reduce(np.asarray(table.lowest), axis=0)[None],
        np.fmax.reduce(np.asarray(table.highest), axis=0)[None],
        _total(table.sums),
        _total(table.squares),
    )
    return MosaicTable(row, nodes, np.array([0, len(nodes)], np.int64))


def boxes_of(table: NodeTable) -> npt.NDArray[np.void]:
    """(n,) NODE_BOX of the nodes of one COPC; the number of its tile is 0."""
    nodes = np.zeros(len(table.entries), NODE_BOX)
    nodes["level"], nodes["count"] = table.entries["level"], table.entries["point_count"]
    nodes["leaf"], nodes["beyond"] = leaf_nodes(table.entries), _beyond(table)
    nodes["low"], nodes["high"] = table.lowest[:, :3], table.highest[:, :3]
    return nodes


def _total(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    total: npt.NDArray[Any] = np.asarray(values).sum(axis=0, keepdims=True)
    return total


def _beyond(table: NodeTable) -> npt.NDArray[np.bool_]:
    """(n,) In which nodes the highest return number is above the highest number of returns."""
    if not {"ReturnNumber", "NumberOfReturns"} <= set(table.dimensions):
        return np.zeros(len(table.entries), bool)
    number = table.highest[:, table.column("ReturnNumber")]
    return np.asarray(number > table.highest[:, table.column("NumberOfReturns")])


def _joined(parts: Sequence[MosaicTable], wanted: int) -> MosaicTable | None:
    """One after the other; None where there are not as many tiles as wanted, or their dimensions differ."""
    names = {part.tiles.dimensions for part in parts}
    if len(names) != 1 or sum(len(part.tiles.entries) for part in parts) != wanted:
        return None
    classes = sorted({code for part in parts for code in part.tiles.classes})
    nodes = np.concatenate([part.nodes for part in parts])
    sizes = np.concatenate([np.diff(part.starts) for part in parts])
    nodes["tile"] = np.repeat(np.arange(wanted), sizes)
    tiles = NodeTable(
        np.concatenate([part.tiles.entries for part in parts]),
        tuple(classes),
        names.pop(),
        _class_columns(parts, classes, wanted),
        *(np.concatenate([getattr(part.tiles, name) for part in parts]) for name in _SPANS),
    )
    return MosaicTable(tiles, nodes, np.concatenate(([0], np.cumsum(sizes))))


def _class_columns(
    parts: Sequence[MosaicTable], classes: Sequence[int], tiles: int
) -> npt.NDArray[np.uint32]:
    counts, at = np.zeros((tiles, len(classes)), np.uint32), 0
    for part in parts:
        columns = np.searchsorted(classes, part.tiles.classes)
        counts[at : at + len(part.tiles.entries), columns] = part.tiles.class_counts
        at += len(part.tiles.entries)
    return counts


def changed_table(
    before: MosaicTable, staying: Mapping[str, int], added: Mapping[str, NodeTable], names: Sequence[str]
) -> MosaicTable | None:
    """After an edit.

    Args:
        staying: name -> number in `before` of each tile that is as it was.
        added: the table of each other tile by its name.
        names: of all tiles, in the order that is wanted.
    """
    old = list(staying)
    new = list(added)
    parts = [before.taken(np.array([staying[name] for name in old], np.int64))] if old else []
    parts += [found for name in new if (found := _one(added[name])) is not None]
    joined = _joined(parts, len(names))
    places = {name: number for number, name in enumerate([*old, *new])}
    return None if joined is None else joined.taken(np.array([places[name] for name in names], np.int64))


def load_table(folder: Path, counts: Iterable[int]) -> MosaicTable | None:
    """The table beside the tiles; None where there is none, or it is not of tiles with so many points each."""
    try:
        tiles = load_nodes(folder / TILES_FILE)
        nodes: npt.NDArray[np.void] = np.load(folder / BOXES_FILE, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError, InvalidCopcError):
        return None
    known = tiles.entries["point_count"].tolist()
    if nodes.dtype != NODE_BOX or nodes.ndim != 1 or known != list(counts):
        return None
    numbers = np.asarray(nodes["tile"], np.int64)
    if (numbers >= len(known)).any() or (np.diff(numbers) < 0).any():
        return None
    sizes = np.bincount(numbers, minlength=len(known))
    return MosaicTable(_in_memory(tiles), nodes, np.concatenate(([0], np.cumsum(sizes))))


def _in_memory(table: NodeTable) -> NodeTable:
    """Rows of tiles are few and looked at by every question."""
    spans = [np.array(getattr(table, name)) for name in _SPANS]
    return NodeTable(table.entries, table.classes, table.dimensions, np.array(table.class_counts), *spans)
