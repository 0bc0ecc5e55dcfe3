"""Buildings as blocks: polygons raised from their ground to their height."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from tiles.three_d.attributes import PropertyTable
from tiles.three_d.extrude import VERTICES_PER_CORNER, extrude
from tiles.three_d.footprints import to_ragged
from tiles.three_d.objects import Detail, Keys, Material, MeshPart, Outlines, Part
from tiles.three_d.placement import LocalFrame, Positions

BUILDING_MATERIAL = Material(colour=(0.72, 0.70, 0.66, 1.0))
_METRES_PER_DEGREE = 111_320.0


@dataclass(frozen=True, slots=True)
class LoadedBuildings:
    """n buildings in memory. `geometries` (n,) polygons in longitude and latitude; `bottoms`, `tops` (n,) ellipsoidal heights.

    `lifted` (n,): which stand above a passage and have a floor; None where none does.
    """

    keys: Keys
    geometries: NDArray[np.object_]
    bottoms: NDArray[np.float64]
    tops: NDArray[np.float64]
    table: PropertyTable
    material: Material = BUILDING_MATERIAL
    lifted: NDArray[np.bool_] | None = None

    def outlines(self) -> Outlines:
        """Where they are."""
        return building_outlines(self.keys, self.geometries, self.bottoms, self.tops)

    def parts(self, frame: LocalFrame, detail: Detail) -> Sequence[Part]:
        """Their walls and roofs, in any detail the same."""
        if not len(self.geometries):
            return ()
        mesh = extrude(
            to_ragged(self.geometries), 0, len(self.geometries), frame,
            bottom=self.bottoms, top=self.tops, lifted=self.lifted,
        )  # fmt: skip
        return (MeshPart(mesh, self.material),)


def building_outlines(
    keys: Keys,
    geometries: NDArray[np.object_],
    bottoms: NDArray[np.float64],
    tops: NDArray[np.float64],
) -> Outlines:
    """Outlines of polygons (n,) in longitude and latitude that are raised from `bottoms` to `tops` (m, (n,))."""
    boxes = shapely.bounds(geometries).reshape(-1, 4)
    corners = shapely.get_num_coordinates(geometries).astype(np.int64)
    return Outlines(
        keys, boxes, bottoms, tops, sizes_of(boxes, tops - bottoms), corners * VERTICES_PER_CORNER
    )


def sizes_of(boxes: Positions, rise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Diagonals (m, (n,)) of boxes (n, 4) in degrees that are `rise` (n,) m high."""
    shrink = np.cos(np.radians((boxes[:, 1] + boxes[:, 3]) / 2.0))
    east = (boxes[:, 2] - boxes[:, 0]) * shrink * _METRES_PER_DEGREE
    north = (boxes[:, 3] - boxes[:, 1]) * _METRES_PER_DEGREE
    return np.asarray(np.sqrt(east**2 + north**2 + rise**2))
