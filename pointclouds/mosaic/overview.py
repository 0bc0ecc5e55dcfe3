"""A thinned copy of all tiles of a mosaic, made from their coarse nodes: what views from afar read.

One point for each cube of the overview's spacing. The spacing is such that the points stay below a limit, whatever the size of the
mosaic: every tile's coarsest nodes suffice for that, so a thousand tiles cost a thousand small reads. After an edit only the points
inside the boxes of the tiles that came or went are chosen anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from pointclouds.build.build import build_copc
from pointclouds.cloud.cloud import OVERVIEW, CloudTile
from pointclouds.cloud.nodes import NodeTable, load_nodes, nodes_path
from pointclouds.copc.reader import CopcFile
from pointclouds.errors import EmptyPointCloudError
from pointclouds.las.layout import Records
from pointclouds.mosaic.records_source import RecordsSource
from pointclouds.mosaic.tiles import described_tile
from pointclouds.sources import Box3, LasSource

MOST_POINTS: Final = 3_000_000
FEWEST_POINTS: Final = 50_000
"""A mosaic of no more points than this is shown whole from afar too."""
_SHARE: Final = 8
"""The overview of a small mosaic holds at most one of so many points."""
_COARSER: Final = 2**0.5
_LARGE_CHANGE: Final = 0.25
"""Share of the tiles' area above which the overview is made anew as a whole, at the spacing that then fits."""

Told = Callable[[float], None]


def say_nothing(_fraction: float) -> None:
    """A `Told` for those who do not watch."""


@dataclass(frozen=True)
class Change:
    """What an edit did: the overview before, and the boxes of all tiles that came or went."""

    before: CloudTile
    boxes: tuple[Box3, ...]


def write_overview(
    tiles: Sequence[CloudTile],
    out: Path,
    workspace: Path,
    change: Change | None = None,
    told: Told = say_nothing,
    *,
    leaf_points: int = 50_000,
) -> CloudTile:
    """Write the overview of these tiles (all of one layout) and the table of its nodes. `facts["spacing"]` is its spacing, CRS units.

    Args:
        workspace: a folder for the points before they are sorted; at most 150 MB.
        change: after an edit, so that only the places that changed are read again.

    Raises:
        EmptyPointCloudError: no tile.
        UnreadablePointCloudError, InvalidCopcError, OutputError: a tile that does not decode; `out` cannot be written.
    """
    if not tiles:
        raise EmptyPointCloudError("a mosaic without tiles has no overview")
    collected = _collected(tiles, change, told)
    stored = workspace / "overview.npy"
    workspace.mkdir(parents=True, exist_ok=True)
    np.save(stored, collected.records())
    try:
        source = RecordsSource(stored, LasSource(tiles[0].path).description)
        build_copc([source], out, leaf_points=leaf_points, workspace=workspace / "overview")
    finally:
        stored.unlink(missing_ok=True)
    return described_tile(OVERVIEW, out, {"spacing": collected.spacing})


def _collected(tiles: Sequence[CloudTile], change: Change | None, told: Told) -> _Thinned:
    limit = limit_of(tiles)
    if change is None or not _is_small(change, tiles, limit):
        thinned = _Thinned(_first_spacing(tiles, limit), limit, tiles[0])
        boxes = None
        read: Sequence[CloudTile] = tiles
    else:
        thinned = _Thinned(float(change.before.facts["spacing"]), limit, tiles[0])
        boxes = np.array(change.boxes, np.float64).reshape(-1, 6)
        thinned.add_outside(change.before, boxes)
        read = [tile for tile in tiles if _meets(tile.box, boxes)]
    for number, tile in enumerate(read):
        thinned.add_tile(tile, boxes)
        told((number + 1) / len(read))
    return thinned


def limit_of(tiles: Iterable[CloudTile]) -> int:
    """How many points the overview of these tiles may have."""
    return min(max(sum(tile.count for tile in tiles) // _SHARE, FEWEST_POINTS), MOST_POINTS)


def _area(box: Box3) -> float:
    return (box[3] - box[0]) * (box[4] - box[1])


def _first_spacing(tiles: Sequence[CloudTile], limit: int) -> float:
    """The spacing at which a flat land of the tiles' size has as many points as are allowed."""
    with CopcFile(tiles[0].path) as copc:
        finest = max(copc.header.scale)
    return max(float(np.sqrt(sum(_area(tile.box) for tile in tiles) / limit)), finest)


def _is_small(change: Change, tiles: Sequence[CloudTile], limit: int) -> bool:
    """Whether most of the overview can stay: little changed, and its spacing still is about right."""
    changed = sum(_area(box) for box in change.boxes)
    whole = sum(_area(tile.box) for tile in tiles)
    return changed <= _LARGE_CHANGE * whole and change.before.count * 4 >= min(
        limit, sum(tile.count for tile in tiles)
    )


def _meets(box: Box3, boxes: npt.NDArray[np.float64]) -> bool:
    apart = (boxes[:, 0] > box[3]) | (boxes[:, 3] < box[0]) | (boxes[:, 1] > box[4]) | (boxes[:, 4] < box[1])
    return bool((~apart).any())


class _Thinned:
    """Points, one for each cube of the spacing; the spacing grows when there are too many."""

    def __init__(self, spacing: float, limit: int, one: CloudTile) -> None:
        self.spacing = spacing
        self._limit = limit
        self._parts: list[Records] = []
        self._count = 0
        with CopcFile(one.path) as copc:
            self._scale, self._offset = copc.header.scale, copc.header.offset

    def records(self) -> Records:
        """All points, thinned across the borders of tiles too."""
        self._gather()
        return self._parts[0]

    def add_outside(self, tile: CloudTile, boxes: npt.NDArray[np.float64]) -> None:
        """The points of an overview that lie in none of these boxes."""
        with CopcFile(tile.path) as copc:
            for entry in copc.entries[copc.entries["point_count"] > 0]:
                records = copc.read_node(entry)
                self._add(records[~self._inside(records, boxes)])

    def add_tile(self, tile: CloudTile, boxes: npt.NDArray[np.float64] | None) -> None:
        """The points of a tile's coarse nodes, thinned; only those inside one of the boxes where these are given."""
        with CopcFile(tile.path) as copc:
            table = load_nodes(nodes_path(tile.path))
            for number in self._coarse(copc, table, boxes):
                records = copc.read_node(copc.entries[number])
                self._add(records if boxes is None else records[self._inside(records, boxes)])
            self._thin_last()

    def _coarse(
        self, copc: CopcFile, table: NodeTable, boxes: npt.NDArray[np.float64] | None
    ) -> npt.NDArray[np.int64]:
        """Numbers of the nodes down to the first level that is as fine as the spacing, the coarsest first."""
        finest = max(0, int(np.ceil(np.log2(copc.info.spacing / self.spacing) - 1e-9)))
        wanted = (table.entries["level"] <= finest) & (table.entries["point_count"] > 0)
        numbers = np.flatnonzero(wanted)
        if boxes is None:
            return numbers
        spans = np.concatenate([table.lowest[numbers, :3], table.highest[numbers, :3]], axis=1)
        kept = np.array([_meets(tuple(span), boxes) for span in spans], bool)
        met: npt.NDArray[np.int64] = numbers[kept]
        return met

    def _inside(self, records: Records, boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        x = records["X"] * self._scale[0] + self._offset[0]
        y = records["Y"] * self._scale[1] + self._offset[1]
        inside = np.zeros(len(records), bool)
        for minx, miny, _, maxx, maxy, _ in boxes:
            inside |= (x >= minx) & (x <= maxx) & (y >= miny) & (y <= maxy)
        return inside

    def _add(self, records: Records) -> None:
        if not len(records):
            return
        kept = self._one_a_cube(records)
        self._parts.append(kept)
        self._count += len(kept)

    def _thin_last(self) -> None:
        """Coarser as often as is needed: what is kept never grows far above the limit."""
        if self._count <= self._limit:
            return
        self._gather()
        while self._count > self._limit:
            self.spacing *= _COARSER
            self._gather()

    def _gather(self) -> None:
        kept = self._one_a_cube(np.concatenate(self._parts))
        self._parts, self._count = [kept], len(kept)

    def _one_a_cube(self, records: Records) -> Records:
        """The first point of every cube, in the order that was."""
        cells = [
            records[name] // max(1, round(self.spacing / self._scale[axis]))
            for axis, name in enumerate("XYZ")
        ]
        key = np.zeros(len(records), np.int64)
        for cell in cells:
            low, high = int(cell.min()), int(cell.max())
            # A few hundred kilometres at a millimetre fit three times into 63 bits once divided by the spacing.
            key = key * (high - low + 1) + (cell.astype(np.int64) - low)
        _, first = np.unique(key, return_index=True)
        return records[np.sort(first)]
