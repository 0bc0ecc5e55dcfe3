"""A mosaic seen from afar: its tiles in groups of groups, each drawn by points of the overview until its parts are near enough.

    group ""  --- overview of everything
      |-- group "0", "1", ...      finer points of the overview, only those in the group's own tiles
      |     `-- tiles              each an octree of its own

A group REPLACEs: as soon as all its visible parts have points of their own its thinner ones go. Inside an octree refinement ADDs.
Groups follow from the tiles alone, so every process finds the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pointclouds.cloud.cloud import CloudTile

PARTS: Final = 4
LEVELS_OF_A_DOCUMENT: Final = 3
"""Levels of groups in one document: at most 64 of the next level are named in it."""


@dataclass(frozen=True)
class Group:
    """Some tiles near each other. `number`: "" of all, else a digit for each choice from there down. Has `parts`, or, of few tiles,
    none."""

    number: str
    tiles: tuple[CloudTile, ...]
    parts: tuple[Group, ...]

    @property
    def box(self) -> npt.NDArray[np.float64]:
        """(6,) The native box of the tiles."""
        boxes = np.array([tile.box for tile in self.tiles])
        return np.concatenate((boxes[:, :3].min(axis=0), boxes[:, 3:].max(axis=0)))

    def walk(self) -> Iterator[Group]:
        """This group and all below it."""
        yield self
        for part in self.parts:
            yield from part.walk()


def group_tiles(tiles: Sequence[CloudTile], number: str = "") -> Group:
    """Halve the tiles across their longer side, twice, until few are left."""
    if len(tiles) <= PARTS:
        return Group(number, tuple(tiles), ())
    halves = [quarter for half in _halved(tiles) for quarter in _halved(half)]
    parts = tuple(group_tiles(part, f"{number}{place}") for place, part in enumerate(halves) if part)
    return Group(number, tuple(tiles), parts)


def _halved(tiles: Sequence[CloudTile]) -> tuple[Sequence[CloudTile], Sequence[CloudTile]]:
    if len(tiles) < 2:
        return tiles, ()
    boxes = np.array([tile.box for tile in tiles])
    centres = (boxes[:, :2] + boxes[:, 3:5]) / 2
    axis = int(np.argmax(np.ptp(centres, axis=0)))
    order = np.argsort(centres[:, axis], kind="stable")
    middle = (len(tiles) + 1) // 2
    return [tiles[i] for i in order[:middle]], [tiles[i] for i in order[middle:]]
