"""Which objects lie in a box."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from providers.analysis.place import Numbers, Place
from providers.analysis.scene import Box3, Scene, SceneObject, triangles_in
from providers.errors import AnswerTooLarge


class Found(NamedTuple):
    """An object in the box; `bottom` and `top` of it as a whole, metres above the ellipsoid."""

    object: SceneObject
    bottom: float
    top: float


def objects_in_box(scene: Scene, box: Box3, maximum: int = 1_000) -> list[Found]:
    """The objects of which a face meets the box, lowest first. Raises AnswerTooLarge beyond `maximum`, ThreeDError.

    An object that wholly surrounds the box (a box inside a solid) has no face in it and is not listed.
    """
    place = Place.at((box.west + box.east) / 2.0, (box.south + box.north) / 2.0)
    triangles = triangles_in(scene.tilesets, place, box)
    edges = place.from_geodetic(
        np.array(
            [[box.west, box.south], [box.east, box.south], [box.west, box.north], [box.east, box.north]]
        ),
        np.zeros(4),
    )
    low, high = edges.min(axis=0), edges.max(axis=0)
    low[2], high[2] = box.bottom, box.top
    # Infinite heights have no middle; a box as high as everything that is here does as well.
    if len(triangles):
        low[2] = max(low[2], float(triangles.corners[:, :, 2].min()) - 1.0)
        high[2] = min(high[2], float(triangles.corners[:, :, 2].max()) + 1.0)
    if not len(triangles) or low[2] > high[2]:
        return []
    inside = set(triangles.owner[meets_box(triangles.corners, low, high)].tolist())
    if len(inside) > maximum:
        raise AnswerTooLarge(
            f"{len(inside)} objects meet this box; at most {maximum} are listed: ask for a smaller one"
        )
    owners, lowest, highest = triangles.extents()
    found = [
        Found(triangles.object(owner), float(bottom), float(top))
        for owner, bottom, top in zip(owners.tolist(), lowest[:, 2], highest[:, 2], strict=True)
        if owner in inside
    ]
    return sorted(found, key=lambda one: one.bottom)


def meets_box(corners: Numbers, low: Numbers, high: Numbers) -> NDArray[np.bool_]:
    """Whether triangles (t, 3, 3) meet an upright box, exactly: no axis separates the two.

    The axes are the box's three, the triangle's normal, and the nine cross products of an edge with an axis.
    """
    middle, half = (low + high) / 2.0, (high - low) / 2.0
    moved = corners - middle
    result: NDArray[np.bool_] = (moved.min(axis=1) <= half).all(axis=1) & (moved.max(axis=1) >= -half).all(
        axis=1
    )
    rows = np.flatnonzero(result)
    moved = moved[rows]
    edges = np.roll(moved, -1, axis=1) - moved
    axes = [np.cross(edges[:, 0], edges[:, 1])]
    axes += [np.cross(edges[:, edge], unit) for edge in range(3) for unit in np.eye(3)]
    meets = np.ones(len(rows), dtype=np.bool_)
    for axis in axes:
        reach = np.abs(axis) @ half
        shadow = np.einsum("tcx,tx->tc", moved, axis)
        meets &= (shadow.min(axis=1) <= reach) & (shadow.max(axis=1) >= -reach)
    result[rows] = meets
    return result
