"""Tilesets of ours as questions read them: the tiles of a moment, edits and all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from providers.analysis.scene import Box3
from tiles.three_d.live_moment import TilesetMoment


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
        rows = overlay.facts.rows
        near = _meets(rows, box)
        finest = overlay.plan.details[-1]
        for code in rows["code"][near].tolist():
            if len(overlay.plan.details) == 1 or overlay.members(code).detail == finest:
                yield self._glb(code)
        if overlay.outside is not None and _meets(overlay.outside, box).any():
            from tiles.three_d.live_overlay import OUTSIDE_CODE

            yield self._glb(OUTSIDE_CODE)

    def _glb(self, code: int) -> bytes:
        import zlib

        if not self.moment.overlay.revision(code):
            level, x, y = _address(code)
            return (self.moment.files / f"content/{level}/{x}/{y}.glb").read_bytes()
        return zlib.decompress(self.moment.content(code), wbits=31)


def _address(code: int) -> tuple[int, int, int]:
    from tiles.three_d.live_overlay import address_of

    tile = address_of(code)
    return tile.level, tile.x, tile.y


def _meets(rows: NDArray[np.void], box: Box3) -> NDArray[np.bool_]:
    rows = np.atleast_1d(rows)
    meets: NDArray[np.bool_] = (rows["bottom"] <= box.top) & (rows["top"] >= box.bottom)
    meets &= (rows["south"] <= box.north) & (rows["north"] >= box.south)
    beside = np.zeros(len(rows), dtype=np.bool_)
    # Tiles beyond 180 degrees count on; a box may be given on either side.
    for turn in (-360.0, 0.0, 360.0):
        beside |= (rows["west"] <= box.east + turn) & (rows["east"] >= box.west + turn)
    return meets & beside
