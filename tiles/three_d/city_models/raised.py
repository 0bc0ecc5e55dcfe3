"""Coarser shapes that stand for city objects: their plan raised, or a turned box around it."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from tiles.three_d.city_models.classes import PALETTE, ROOF_SURFACE, WALL_SURFACE
from tiles.three_d.city_models.soup import Numbers
from tiles.three_d.extrude import extrude
from tiles.three_d.footprints import to_ragged
from tiles.three_d.mesh import Mesh
from tiles.three_d.placement import LocalFrame


def raised(
    plans: NDArray[np.object_],
    bottoms: NDArray[np.float64],
    tops: NDArray[np.float64],
    rows: Numbers,
    classes: NDArray[np.uint8],
    frame: LocalFrame,
) -> Mesh:
    """Polygons (n,) in longitude and latitude as blocks between ellipsoidal heights (n,), with feature ids `rows` (n,).

    `classes` (n,) colour each block; one of `ROOF_SURFACE` gets walls of their own class.
    """
    polygons = to_ragged(plans)
    mesh = extrude(polygons, 0, len(plans), frame, bottom=bottoms, top=tops)
    of_vertex = classes[mesh.feature_ids]
    walls = np.arange(len(of_vertex)) < 4 * len(polygons.xy)
    of_vertex = np.where(walls & (of_vertex == ROOF_SURFACE), WALL_SURFACE, of_vertex).astype(np.uint8)
    return Mesh(mesh.positions, mesh.normals, rows[mesh.feature_ids], mesh.triangles, of_vertex, PALETTE)


def turned_boxes(plans: NDArray[np.object_]) -> NDArray[np.object_]:
    """The smallest turned rectangle around each polygon (n,) in longitude and latitude, right-angled on the ground."""
    middles = shapely.get_coordinates(shapely.centroid(plans))
    shrink = np.cos(np.radians(middles[:, 1]))
    coordinates, owner = shapely.get_coordinates(plans, return_index=True)
    stretched = shapely.set_coordinates(
        plans.copy(), np.column_stack((coordinates[:, 0] * shrink[owner], coordinates[:, 1]))
    )
    boxes = np.asarray(shapely.oriented_envelope(stretched))
    # A plan without a width (it should not be) has a line around it.
    usable = shapely.get_type_id(boxes) == shapely.GeometryType.POLYGON
    boxes[~usable] = stretched[~usable]
    coordinates, owner = shapely.get_coordinates(boxes, return_index=True)
    result: NDArray[np.object_] = shapely.set_coordinates(
        boxes, np.column_stack((coordinates[:, 0] / shrink[owner], coordinates[:, 1]))
    )
    return result
