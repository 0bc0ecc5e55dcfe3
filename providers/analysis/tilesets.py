"""Tilesets of ours as questions read them: the tiles of a moment with its edits, or those of a tileset that has none."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from providers.analysis.scene import Box3
from tiles.three_d.facts import TileFacts
from tiles.three_d.live_moment import TilesetMoment
from tiles.three_d.live_overlay import OUTSIDE_CODE, Overlay, address_of
from tiles.three_d.plan import TilePlan


@dataclass(frozen=True)
class MomentTileset:
    """The tileset of a collection at one moment."""

    id: str
    title: str
    content: str
    moment: TilesetMoment
    hidden: frozenset[str] = frozenset()

    def meeting(self, box: Box3) -> Iterator[bytes]:
        """The glbs of the tiles whose contents meet the box, those only that show the finest detail."""
        overlay = self.moment.overlay
        for code in _codes(overlay, box):
            if overlay.revision(code):
                yield zlib.decompress(self.moment.content(code), wbits=31)
            else:
                yield _published(self.moment.files, code)
        if overlay.outside is not None and _meets(overlay.outside, box).any():
            yield zlib.decompress(self.moment.content(OUTSIDE_CODE), wbits=31)


@dataclass(frozen=True)
class StoredTileset:
    """A tileset whose objects are no features, so that nothing of it is ever edited. `files` and `private` are its folders."""

    id: str
    title: str
    content: str
    files: Path
    private: Path
    hidden: frozenset[str] = frozenset()

    def meeting(self, box: Box3) -> Iterator[bytes]:
        """As `MomentTileset.meeting`."""
        for code in _codes(_opened(self.private), box):
            yield _published(self.files, code)


@lru_cache(maxsize=64)
def _opened(private: Path) -> Overlay:
    return Overlay.published(TilePlan.open(private / "plan"), TileFacts.open(private / "facts.npy"))


def _codes(overlay: Overlay, box: Box3) -> Iterator[int]:
    details = overlay.plan.details
    rows = overlay.facts.rows
    for code in rows["code"][_meets(rows, box)].tolist():
        if len(details) == 1 or overlay.members(code).detail == details[-1]:
            yield code


def _published(files: Path, code: int) -> bytes:
    tile = address_of(code)
    return (files / f"content/{tile.level}/{tile.x}/{tile.y}.glb").read_bytes()


def _meets(rows: NDArray[np.void], box: Box3) -> NDArray[np.bool_]:
    """Which tiles' own contents meet a box."""
    rows = np.atleast_1d(rows)
    meets: NDArray[np.bool_] = (rows["bottom"] <= box.top) & (rows["top"] >= box.bottom)
    meets &= (rows["south"] <= box.north) & (rows["north"] >= box.south)
    beside = np.zeros(len(rows), dtype=np.bool_)
    # Tiles beyond 180 degrees count on; a box may be given on either side.
    for turn in (-360.0, 0.0, 360.0):
        beside |= (rows["west"] <= box.east + turn) & (rows["east"] >= box.west + turn)
    return meets & beside
