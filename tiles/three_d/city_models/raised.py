"""Coarser shapes that stand for city objects: their plan raised, or a turned box around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.city_models.classes import PALETTE, ROOF_SURFACE, WALL_SURFACE
from tiles.three_d.city_models.soup import Numbers
from tiles.three_d.extrude import extrude
from tiles.three_d.footprints import RaggedPolygons
from tiles.three_d.mesh import Mesh
from tiles.three_d.placement import LocalFrame


def raised(
    plans: RaggedPolygons,
    bottoms: NDArray[np.float64],
    tops: NDArray[np.float64],
    rows: Numbers,
    classes: NDArray[np.uint8],
    frame: LocalFrame,
) -> Mesh:
    """Plans (n,) in longitude and latitude as blocks between ellipsoidal heights (n,), with feature ids `rows` (n,).

    `classes` (n,) colour each block; one of `ROOF_SURFACE` gets walls of their own class.
    """
    mesh = extrude(plans, 0, len(plans.features) - 1, frame, bottom=bottoms, top=tops)
    of_vertex = classes[mesh.feature_ids]
    walls = np.arange(len(of_vertex)) < 4 * len(plans.xy)
    of_vertex = np.where(walls & (of_vertex == ROOF_SURFACE), WALL_SURFACE, of_vertex).astype(np.uint8)
    return Mesh(mesh.positions, mesh.normals, rows[mesh.feature_ids], mesh.triangles, of_vertex, PALETTE)
