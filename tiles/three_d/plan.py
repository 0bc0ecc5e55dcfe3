"""Which tile of an implicit quadtree holds which object: one rule for every object, at publish and ever after.

The plan is a root region and, for each tile that could not hold everything, a threshold. ADD (sources with one level of
detail): an object goes down from the root while a child wholly contains it and it is smaller than the tile's threshold; so
the large objects of an area are seen from far, and nothing is drawn twice. REPLACE (sources with several): an object goes
down by its centre to a leaf, where it is shown in full; the tiles above show it in a coarser detail if it is not smaller
than their threshold. Neither looks at other objects, so one that was edited is placed without touching the others' tiles.

Sizes are compared with a jitter of up to 2 % that depends on the key alone: where a thousand lamps are equally large, a
threshold still parts them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from tiles.three_d.errors import NothingToBuildError, ThreeDError
from tiles.three_d.objects import Detail, Keys, Outlines, TileAddress
from tiles.three_d.plan_splits import add_splits, descend, replace_splits
from tiles.three_d.quadtree import (
    VERTICES_PER_TILE,
    Region,
    cells,
    morton,
    root_region,
    tile_code,
    tile_codes_to_index,
)
from tiles.three_d.ragged import limits
from tiles.three_d.subtree import TileIndex

_WHOLE_TURN = 360.0 - 1e-9
"""Degrees; a region so wide has every longitude, and what crosses its seam too."""
OUTSIDE = -1
"""The level of an object that does not lie in the root's region: only a new plan can place it."""
FORMAT = 1
_JITTER = 0.02
# Room around the objects for those that are added later.
_MARGIN = 1.1
_ARRAYS = ("keys", "by_key", "codes", "starts", "split_codes", "split_thresholds", "split_details")


class Refinement(StrEnum):
    """What children do to their parent (3D Tiles 1.1, clause "Refinement")."""

    ADD = "ADD"
    REPLACE = "REPLACE"


class Placements(NamedTuple):
    """Which tiles show which objects: arrays (m,) int64. `rows` index the objects asked about; `detail` are values of `Detail`.

    ADD gives every object one entry, REPLACE one for each tile that shows it. `level` is `OUTSIDE` where none can.
    """

    rows: NDArray[np.int64]
    level: NDArray[np.int64]
    x: NDArray[np.int64]
    y: NDArray[np.int64]
    detail: NDArray[np.int64]


class Members(NamedTuple):
    """The objects of one tile, neighbours together, and how they are shown."""

    keys: Keys
    detail: Detail


@dataclass(frozen=True)
class TilePlan:
    """A plan and what it placed when it was made.

    `keys` (m,) sorted by tile, tile t has keys[starts[t]:starts[t + 1]]; `codes` (t,) ascending, of tiles with content;
    `by_key` (m,) uint32 sorts `keys`. `split_codes` (s,) ascending, of tiles that pass objects down, with their thresholds
    (m, float64; infinite: everything goes down that can) and, in REPLACE, the detail they show. Arrays may be memory-mapped.
    """

    region: Region
    levels: int
    details: tuple[Detail, ...]
    keys: Keys
    by_key: NDArray[np.uint32]
    codes: NDArray[np.int64]
    starts: NDArray[np.int64]
    split_codes: NDArray[np.int64]
    split_thresholds: NDArray[np.float64]
    split_details: NDArray[np.int8]

    @property
    def refinement(self) -> Refinement:
        """ADD for one level of detail, REPLACE for several."""
        return Refinement.ADD if len(self.details) == 1 else Refinement.REPLACE

    @classmethod
    def make(
        cls, outlines: Outlines, details: Sequence[Detail], capacity: int = VERTICES_PER_TILE
    ) -> TilePlan:
        """Plan the tiles of all objects. `capacity`: vertices that a tile holds before others go down.

        Raises NothingToBuildError where there are no objects.
        """
        if len(outlines) == 0:
            raise NothingToBuildError("no object is left that could be drawn")
        region = root_region(unwrapped(outlines.boxes), _MARGIN)
        placed = replace(
            outlines,
            boxes=_turned(outlines.boxes, region),
            sizes=jittered(outlines.sizes, outlines.keys),
        )
        make = add_splits if len(details) == 1 else replace_splits
        splits = make(region, placed, tuple(sorted(details)), capacity)
        empty = np.empty(0, dtype=np.int64)
        bare = cls(
            region, splits.levels, tuple(sorted(details)), empty, empty.astype(np.uint32), empty, empty,
            splits.codes, splits.thresholds, splits.details,
        )  # fmt: skip
        return bare._filled(outlines)

    def placements(self, outlines: Outlines) -> Placements:
        """Where objects belong by the rule of this plan, whether or not it has seen them before."""
        boxes = _turned(outlines.boxes, self.region)
        sizes = jittered(outlines.sizes, outlines.keys)
        if self.refinement is Refinement.ADD:
            return self._placed_by_adding(boxes, sizes)
        return self._placed_by_replacing(boxes, sizes)

    def members(self, tile: TileAddress) -> Members:
        """The objects of a tile as they were placed when the plan was made; no keys where there is no such tile."""
        number = self.number_of(tile)
        if number is None:
            return Members(np.empty(0, dtype=np.int64), self.detail_of(tile))
        return Members(self.keys_of(number), self.detail_of(tile))

    def keys_of(self, number: int) -> Keys:
        """The keys of the tile that is `number` in `codes`."""
        return np.asarray(self.keys[int(self.starts[number]) : int(self.starts[number + 1])])

    def number_of(self, tile: TileAddress) -> int | None:
        """The index of a tile in `codes`, None where it had no content."""
        code = int(tile_code(*_as_arrays(tile))[0])
        number = int(np.searchsorted(self.codes, code))
        return number if number < len(self.codes) and int(self.codes[number]) == code else None

    def addresses_of(self, keys: Keys) -> Placements:
        """The tiles in which these keys were placed when the plan was made; keys it did not know have no entry."""
        first = np.searchsorted(self.keys, keys, side="left", sorter=self.by_key)
        last = np.searchsorted(self.keys, keys, side="right", sorter=self.by_key)
        rows = np.repeat(np.arange(len(keys)), last - first)
        within = np.arange(len(rows)) - np.repeat(limits(last - first)[:-1], last - first)
        entries = np.asarray(self.by_key[first[rows] + within], dtype=np.int64)
        tiles = np.searchsorted(self.starts, entries, side="right") - 1
        codes = np.asarray(self.codes[tiles])
        level, x, y = tile_codes_to_index(codes)
        return Placements(rows, level, x, y, self.details_at(codes))

    def detail_of(self, tile: TileAddress) -> Detail:
        """How a tile shows its objects: the finest detail, unless its children take over from it."""
        return Detail(int(self.details_at(tile_code(*_as_arrays(tile)))[0]))

    def missing_sizes(self, codes: NDArray[np.int64]) -> NDArray[np.float64]:
        """The size (m, (n,)) below which tiles leave objects to their children, 0 for leaves."""
        found, at = _find(self.split_codes, codes)
        if not len(self.split_codes):
            return np.zeros(len(codes))
        return np.where(found, self.split_thresholds[at], 0.0)

    def tiles(self) -> TileIndex:
        """The tiles with content when the plan was made, in the order of `codes`."""
        return TileIndex(*tile_codes_to_index(np.asarray(self.codes)))

    # --- on disk -------------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write the plan into `folder` (about 12 bytes a placed object); `plan.json` last, so that it is whole if it is there."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in _ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name))
        document = {
            "format": FORMAT,
            "region": list(self.region),
            "levels": self.levels,
            "details": [int(detail) for detail in self.details],
        }
        (folder / "plan.json").write_bytes(orjson.dumps(document))

    @classmethod
    def open(cls, folder: Path) -> TilePlan:
        """The plan in `folder`, its arrays memory-mapped. Raises ThreeDError where there is none, or one of another format."""
        try:
            document = orjson.loads((folder / "plan.json").read_bytes())
            if document["format"] != FORMAT:
                raise ThreeDError(
                    f"the tile plan has format {document['format']}, this release reads {FORMAT}; build the 3D tileset again"
                )
            arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
        except (OSError, ValueError, KeyError) as error:
            raise ThreeDError(
                f"the tile plan cannot be read ({error}); build the 3D tileset again"
            ) from error
        details = tuple(Detail(value) for value in document["details"])
        return cls(Region(*document["region"]), document["levels"], details, **arrays)

    # --- inside --------------------------------------------------------------------------------------------------------

    @cached_property
    def _finest(self) -> int:
        return int(self.details[-1])

    def _filled(self, outlines: Outlines) -> TilePlan:
        """This plan with what it places of `outlines`, neighbours together inside each tile."""
        placed = self.placements(outlines)
        codes = tile_code(placed.level, placed.x, placed.y)
        corners = _turned(outlines.boxes, self.region)[placed.rows, :2]
        low, high = np.array(self.region[:2]), np.array(self.region[2:])
        steps = np.clip((corners - low) / (high - low), 0.0, 1.0) * (2**20 - 1)
        order = np.lexsort((morton(steps[:, 0].astype(np.int64), steps[:, 1].astype(np.int64)), codes))
        codes, keys = codes[order], outlines.keys[placed.rows[order]]
        first = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
        starts = np.r_[first, len(codes)].astype(np.int64)
        by_key = np.argsort(keys, kind="stable").astype(np.uint32)
        return TilePlan(
            self.region, self.levels, self.details, keys, by_key, codes[first], starts,
            self.split_codes, self.split_thresholds, self.split_details,
        )  # fmt: skip

    def _placed_by_adding(self, boxes: NDArray[np.float64], sizes: NDArray[np.float64]) -> Placements:
        count = len(boxes)
        level, x, y = (np.zeros(count, dtype=np.int64) for _ in range(3))
        outside = _outside(boxes, self.region)
        level[outside] = OUTSIDE
        rest = np.flatnonzero(~outside)
        for depth in range(self.levels - 1):
            step = descend(self.region, depth, boxes[rest], x[rest], y[rest])
            found, at = _find(self.split_codes, tile_code(np.full(len(rest), depth), x[rest], y[rest]))
            goes = found & step.fits
            goes[goes] = sizes[rest[goes]] < self.split_thresholds[at[goes]]
            rest = rest[goes]
            if not len(rest):
                break
            level[rest], x[rest], y[rest] = depth + 1, step.x[goes], step.y[goes]
        return Placements(np.arange(count), level, x, y, np.full(count, self._finest))

    def _placed_by_replacing(self, boxes: NDArray[np.float64], sizes: NDArray[np.float64]) -> Placements:
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2.0
        outside = _outside(boxes, self.region)
        lost = np.flatnonzero(outside)
        nowhere = np.zeros(len(lost), dtype=np.int64)
        found_entries = [
            Placements(lost, np.full(len(lost), OUTSIDE), nowhere, nowhere, np.full(len(lost), self._finest))
        ]
        rest = np.flatnonzero(~outside)
        for depth in range(self.levels):
            x, y = cells(self.region, depth, centres[rest, 0], centres[rest, 1])
            level = np.full(len(rest), depth)
            found, at = _find(self.split_codes, tile_code(level, x, y))
            shown = ~found
            detail = np.full(len(rest), self._finest)
            if found.any():
                shown[found] = sizes[rest[found]] >= self.split_thresholds[at[found]]
                detail[found] = self.split_details[at[found]]
            found_entries.append(Placements(rest[shown], level[shown], x[shown], y[shown], detail[shown]))
            rest = rest[found]
            if not len(rest):
                break
        return Placements(*(np.concatenate(column) for column in zip(*found_entries, strict=True)))

    def details_at(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """The values of `Detail` that tiles show, (n,)."""
        result = np.full(len(codes), self._finest)
        if self.refinement is Refinement.REPLACE:
            found, at = _find(self.split_codes, codes)
            result[found] = self.split_details[at[found]]
        return result


def join_outlines(parts: Iterable[Outlines]) -> Outlines:
    """Outlines read in parts as one."""
    kept = list(parts)
    if len(kept) == 1:
        return kept[0]
    if not kept:
        none = np.empty(0)
        whole = none.astype(np.int64)
        return Outlines(whole, np.empty((0, 4)), none, none, none, whole)
    names = Outlines.__dataclass_fields__
    return Outlines(**{name: np.concatenate([getattr(part, name) for part in kept]) for name in names})


def jittered(sizes: NDArray[np.float64], keys: Keys) -> NDArray[np.float64]:
    """Sizes (n,) up to 2 % larger, by a number that depends on the key alone (SplitMix64)."""
    mixed = keys.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    share = ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return np.asarray(sizes * (1.0 + _JITTER * share))


def unwrapped(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Boxes (n, 4) in continuous longitudes: where they reach around more than half the globe, the western half gains 360."""
    if len(boxes) == 0 or boxes[:, 2].max() - boxes[:, 0].min() <= 180.0:
        return boxes
    turned = boxes.copy()
    turned[boxes[:, 0] < 0.0, 0::2] += 360.0
    # A data set that really spans the globe is not made smaller by turning.
    width, before = turned[:, 2].max() - turned[:, 0].min(), boxes[:, 2].max() - boxes[:, 0].min()
    return turned if width < before else boxes


def _find(
    sorted_codes: NDArray[np.int64], codes: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Which `codes` are among `sorted_codes`, and where."""
    if not len(sorted_codes):
        return np.zeros(len(codes), dtype=np.bool_), np.zeros(len(codes), dtype=np.intp)
    at = np.minimum(np.searchsorted(sorted_codes, codes), len(sorted_codes) - 1)
    return np.asarray(sorted_codes[at] == codes), at


def _turned(boxes: NDArray[np.float64], region: Region) -> NDArray[np.float64]:
    """Boxes in the turn of longitude that the region is in."""
    turns = np.where(
        (boxes[:, 0] < region.west) & (boxes[:, 2] + 360.0 <= region.east),
        360.0,
        np.where((boxes[:, 2] > region.east) & (boxes[:, 0] - 360.0 >= region.west), -360.0, 0.0),
    )
    if not turns.any():
        return boxes
    moved = boxes.copy()
    moved[:, 0::2] += turns[:, None]
    return moved


def _outside(boxes: NDArray[np.float64], region: Region) -> NDArray[np.bool_]:
    outside = (boxes[:, 1] < region.south) | (boxes[:, 3] > region.north)
    if region.east - region.west < _WHOLE_TURN:
        outside |= (boxes[:, 0] < region.west) | (boxes[:, 2] > region.east)
    return np.asarray(outside)


def _as_arrays(tile: TileAddress) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    return np.array([tile.level]), np.array([tile.x]), np.array([tile.y])
