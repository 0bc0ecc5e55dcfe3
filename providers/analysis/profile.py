"""What is at a place, from the sky to the bedrock."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from providers.analysis.place import Place
from providers.analysis.point_columns import PointColumn, column_at, column_document
from providers.analysis.rays import PlumbHits, plumb_line
from providers.analysis.scene import Box3, Scene, SceneObject, Triangles, triangles_in

_SAME = 1e-3
"""Metres: two faces at one height are one crossing of their common edge."""


class ProfileLayer(NamedTuple):
    """An object that the plumb line passes: from `top` down to `bottom`, metres above the ellipsoid."""

    object: SceneObject
    top: float
    bottom: float


class VerticalProfile(NamedTuple):
    """`layers` from the top down; `ground` is the terrain's height above the ellipsoid, None where there is no terrain; `columns` are of
    the point clouds that have points there."""

    longitude: float
    latitude: float
    ground: float | None
    layers: tuple[ProfileLayer, ...]
    columns: tuple[PointColumn, ...] = ()


def vertical_profile(scene: Scene, longitude: float, latitude: float) -> VerticalProfile:
    """All objects above, at and under a place (degrees). Raises AnswerTooLarge, ThreeDError, PointCloudError.

    A hollow object (a tunnel, a courtyard's arcade) is listed once for each of its solid parts. A body without a floor, as an
    extruded building is drawn, reaches down to its lowest corner.
    """
    place = Place.at(longitude, latitude)
    triangles = triangles_in(scene.tilesets, place, Box3(longitude, latitude, longitude, latitude))
    hits = plumb_line(triangles.corners, 0.0, 0.0)
    layers = [
        ProfileLayer(triangles.object(owner), top, bottom)
        for owner in np.unique(triangles.owner[hits.triangle]).tolist()
        for top, bottom in _solid_parts(triangles, hits, owner)
    ]
    layers.sort(key=lambda layer: (-layer.top, -layer.bottom))
    found = (column_at(cloud, longitude, latitude) for cloud in scene.clouds)
    columns = tuple(column for column in found if column is not None)
    return VerticalProfile(longitude, latitude, ground_at(scene, longitude, latitude), tuple(layers), columns)


def ground_at(scene: Scene, longitude: float, latitude: float) -> float | None:
    """The height of the terrain above the ellipsoid, None where there is none."""
    if scene.ground is None:
        return None
    height = float(scene.ground.heights(np.array([[longitude, latitude]]))[0])
    return height if np.isfinite(height) else None


def _solid_parts(triangles: Triangles, hits: PlumbHits, owner: int) -> list[tuple[float, float]]:
    """(top, bottom) of the parts of one object, downwards: a face that looks up begins one, a face that looks down ends it."""
    mine = np.flatnonzero(triangles.owner[hits.triangle] == owner)
    order = mine[np.argsort(-hits.height[mine], kind="stable")]
    crossings: list[tuple[float, bool]] = []
    for height, upward in zip(hits.height[order].tolist(), hits.upward[order].tolist(), strict=True):
        if not crossings or crossings[-1][1] != upward or crossings[-1][0] - height > _SAME:
            crossings.append((height, upward))
    parts: list[tuple[float, float]] = []
    top: float | None = None
    for height, upward in crossings:
        if upward and top is None:
            top = height
        elif not upward:
            # A face that looks down with none above it: a surface seen from below, as thin as it is drawn.
            parts.append((height if top is None else top, height))
            top = None
    if top is not None:
        parts.append((top, min(top, _lowest(triangles, owner))))
    return parts


def _lowest(triangles: Triangles, owner: int) -> float:
    return float(triangles.corners[triangles.owner == owner, :, 2].min())


def profile_document(profile: VerticalProfile) -> dict[str, Any]:
    """The profile as JSON: layers from the top down, with the ground among them where it lies."""
    return {
        "longitude": profile.longitude,
        "latitude": profile.latitude,
        "heights": "metres above the WGS 84 ellipsoid",
        "ground": None if profile.ground is None else round(profile.ground, 2),
        "layers": [
            object_document(layer.object)
            | {
                "top": round(layer.top, 2),
                "bottom": round(layer.bottom, 2),
                "depth": None if profile.ground is None else round(profile.ground - layer.top, 2),
            }
            for layer in profile.layers
        ],
        "pointClouds": [column_document(column) for column in profile.columns],
    }


def object_document(item: SceneObject) -> dict[str, Any]:
    """An object as JSON."""
    return {
        "collection": item.collection,
        "title": item.title,
        "content": item.content,
        "id": item.id,
        "properties": dict(item.properties),
    }
