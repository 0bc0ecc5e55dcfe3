"""How a tileset differs from the one that was published: which objects lie elsewhere now, and what the tiles they touch hold.

A plan places every object by itself, so an edit concerns the tiles in which its objects were and those in which they are, and no
others. An overlay keeps the places of all objects that were ever edited; all others are where the plan has them. It is a value:
`extended` gives another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.facts import TILE_FACTS, TileFacts, facts_row
from tiles.three_d.objects import Detail, Keys, Outlines, TileAddress
from tiles.three_d.plan import OUTSIDE, Members, Placements, TilePlan
from tiles.three_d.quadtree import Region, tile_code, tile_codes_to_index

OUTSIDE_CODE = -1
"""The code of the tile that holds what lies outside the plan's region."""
_NO_FACTS = np.empty(0, dtype=TILE_FACTS)
_LOW, _HIGH = ("west", "south", "bottom"), ("east", "north", "top", "largest", "shown_error")


class Entries(NamedTuple):
    """Tiles that show objects: arrays (m,) int64, an object once for each tile."""

    codes: NDArray[np.int64]
    keys: Keys
    details: NDArray[np.int64]


class Step(NamedTuple):
    """What one catching up changed: the overlay after it, and what has to be written down of it.

    `keys` were looked at, `entries` say where they are now; `touched` are the tiles that have to be made again, ascending.
    """

    overlay: Overlay
    keys: Keys
    entries: Entries
    touched: NDArray[np.int64]


@dataclass(frozen=True)
class Overlay:
    """`moved` (n,) ascending: keys whose places are no longer those of the plan. `entries` sorted by code: where they are now, if
    anywhere. `facts` of all tiles with content but the one outside, whose own is `outside` (None: nothing lies there).
    `revisions`: of each touched tile, a number that rises when it is touched again.
    """

    plan: TilePlan
    facts: TileFacts
    moved: Keys
    entries: Entries
    outside: NDArray[np.void] | None
    revisions: Mapping[int, int]

    @classmethod
    def published(cls, plan: TilePlan, facts: TileFacts) -> Overlay:
        """Nothing differs."""
        none = np.empty(0, dtype=np.int64)
        return cls(plan, facts, none, Entries(none, none, none), None, {})

    def revision(self, code: int) -> int:
        """Of a tile; 0 as published."""
        return self.revisions.get(code, 0)

    def has(self, code: int) -> bool:
        """Whether the tile of a code has content."""
        if code == OUTSIDE_CODE:
            return self.outside is not None
        return _place_of(self.facts.rows["code"], code) is not None

    def members(self, code: int) -> Members:
        """The objects of a tile, those that came by edits last."""
        arrived = self._arrived(code)
        if code == OUTSIDE_CODE:
            return Members(arrived, self.plan.details[-1])
        published = self.plan.members(address_of(code))
        kept = published.keys[~_is_among(self.moved, published.keys)]
        return Members(np.concatenate([kept, arrived]), Detail(published.detail))

    def extended(self, keys: Keys, outlines: Outlines, revision: int) -> Step:
        """With the objects of `keys` (n,) where they are now: `outlines` of those that are still there and can be drawn."""
        keys = np.unique(keys)
        old_codes = np.concatenate([self._codes_of(keys), self._published_codes(keys)])
        placed = self.plan.placements(outlines)
        is_outside = placed.level == OUTSIDE
        codes = np.where(is_outside, OUTSIDE_CODE, tile_code(np.maximum(placed.level, 0), placed.x, placed.y))
        new = Entries(codes, outlines.keys[placed.rows], placed.detail)
        stays = ~_is_among(keys, self.entries.keys)
        joined = Entries(
            *(np.concatenate([old[stays], now]) for old, now in zip(self.entries, new, strict=True))
        )
        order = np.lexsort((joined.keys, joined.codes))
        touched = np.unique(np.concatenate([old_codes, codes]))
        bare = Overlay(
            self.plan,
            self.facts,
            np.union1d(self.moved, keys),
            Entries(*(column[order] for column in joined)),
            self.outside,
            {**self.revisions, **dict.fromkeys(touched.tolist(), revision)},
        )
        return Step(bare._with_facts(touched, codes, outlines, placed), keys, new, touched)

    def _with_facts(
        self, touched: NDArray[np.int64], codes: NDArray[np.int64], outlines: Outlines, placed: Placements
    ) -> Overlay:
        """The facts of touched tiles: a box that holds what was and what came; it may be wider than it need be, never smaller."""
        grown, removed, outside = [_NO_FACTS], [], self.outside
        order = np.argsort(codes, kind="stable")
        first, last = (np.searchsorted(codes[order], touched, side) for side in ("left", "right"))
        for code, start, stop in zip(touched.tolist(), first.tolist(), last.tolist(), strict=True):
            count = len(self.members(code).keys)
            row = self._grown(code, outlines, placed, order[start:stop]) if count else None
            if row is not None:
                row["count"] = count
            if code == OUTSIDE_CODE:
                outside = row
            elif row is None:
                removed.append(code)
            else:
                grown.append(row)
        facts = self.facts.replaced(np.concatenate(grown), removed)
        return replace(self, facts=facts, outside=outside)

    def _grown(
        self, code: int, outlines: Outlines, placed: Placements, entries: NDArray[np.int64]
    ) -> NDArray[np.void] | None:
        """The facts (1,) of a tile after the objects of some entries have come into it, None where it has nothing to show."""
        old = self._fact(code)
        if not len(entries):
            return None if old is None else old.copy()
        chosen = _taken(outlines, placed.rows[entries], self.plan.region)
        detail, finest = Detail(int(placed.detail[entries[0]])), self.plan.details[-1]
        row = facts_row(code, chosen, detail, finest, None)
        if old is not None:
            for name in _LOW:
                row[name] = np.minimum(row[name], old[name])
            for name in _HIGH:
                row[name] = np.maximum(row[name], old[name])
        return row

    def _fact(self, code: int) -> NDArray[np.void] | None:
        if code == OUTSIDE_CODE:
            return self.outside
        place = _place_of(self.facts.rows["code"], code)
        return None if place is None else self.facts.rows[place : place + 1]

    def _arrived(self, code: int) -> Keys:
        first, last = np.searchsorted(self.entries.codes, [code, code + 1])
        return self.entries.keys[first:last]

    def _codes_of(self, keys: Keys) -> NDArray[np.int64]:
        """Codes of the tiles in which edited objects are now."""
        return self.entries.codes[_is_among(keys, self.entries.keys)]

    def _published_codes(self, keys: Keys) -> NDArray[np.int64]:
        """Codes of the tiles in which the plan has those that no edit has touched before."""
        fresh = keys[~_is_among(self.moved, keys)]
        found = self.plan.addresses_of(fresh)
        return tile_code(found.level, found.x, found.y)


def address_of(code: int) -> TileAddress:
    """The tile of a code."""
    level, x, y = tile_codes_to_index(np.array([code]))
    return TileAddress(int(level[0]), int(x[0]), int(y[0]))


def code_of(tile: TileAddress) -> int:
    """The code of a tile."""
    return int(tile_code(np.array([tile.level]), np.array([tile.x]), np.array([tile.y]))[0])


def _taken(outlines: Outlines, rows: NDArray[np.int64], region: Region) -> Outlines:
    """Some of the outlines, in the turn of longitude that the region is in."""
    boxes = outlines.boxes[rows]
    boxes[(boxes[:, 0] < region.west) & (boxes[:, 2] + 360.0 <= region.east), 0::2] += 360.0
    return Outlines(
        outlines.keys[rows],
        boxes,
        outlines.bottoms[rows],
        outlines.tops[rows],
        outlines.sizes[rows],
        outlines.weights[rows],
    )


def _is_among(sorted_keys: Keys, keys: Keys) -> NDArray[np.bool_]:
    """Which of `keys` are among `sorted_keys`."""
    if not len(sorted_keys) or not len(keys):
        return np.zeros(len(keys), dtype=np.bool_)
    at = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    return np.asarray(sorted_keys[at] == keys)


def _place_of(codes: NDArray[np.int64], code: int) -> int | None:
    at = int(np.searchsorted(codes, code))
    return at if at < len(codes) and int(codes[at]) == code else None
