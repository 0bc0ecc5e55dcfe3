"""Geometries in the JSON of ArcGIS REST services (x = east), both ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import shapely

from providers.features.remote.values import Misfit


def geometry_of(value: Mapping[str, Any] | None, has_z: bool) -> shapely.Geometry | None:
    """A geometry; None for null and for an empty one. Raises Misfit for curves and for what is no geometry."""
    if value is None:
        return None
    try:
        return _geometry(value, 3 if has_z else 2)
    except (TypeError, ValueError, IndexError, KeyError, shapely.errors.GEOSException):
        raise Misfit("a geometry that is not of the service's own form") from None


def _geometry(value: Mapping[str, Any], dimension: int) -> shapely.Geometry | None:
    if "x" in value:
        if value["x"] in (None, "NaN"):
            return None
        numbers = [value["x"], value["y"]] + (
            [value["z"]] if dimension == 3 and value.get("z") is not None else []
        )
        return shapely.Point([float(number) for number in numbers])
    if "points" in value:
        points = [point[:dimension] for point in value["points"]]
        return shapely.MultiPoint(points) if points else None
    if "paths" in value:
        lines = [shapely.LineString([point[:dimension] for point in path]) for path in value["paths"] if path]
        return _one_or_many(lines, shapely.MultiLineString)
    if "rings" in value:
        return _polygons(
            [np.array([point[:dimension] for point in ring], float) for ring in value["rings"] if ring]
        )
    raise ValueError("curves, or no geometry at all")


def _one_or_many(parts: list[Any], many: Any) -> shapely.Geometry | None:
    if not parts:
        return None
    found: shapely.Geometry = parts[0] if len(parts) == 1 else many(parts)
    return found


def _polygons(rings: Sequence[Any]) -> shapely.Geometry | None:
    """Clockwise rings are shells; each other ring is a hole of the smallest shell around it, or a shell where there is none."""
    made = [shapely.LinearRing(ring) for ring in rings]
    shells = [ring for ring in made if not ring.is_ccw]
    holes: list[list[Any]] = [[] for _ in shells]
    faces = [shapely.Polygon(shell) for shell in shells]
    for hole in (ring for ring in made if ring.is_ccw):
        point = shapely.Point(hole.coords[0])
        around = [
            i
            for i, face in enumerate(faces)
            if face.intersects(point) and face.contains(shapely.Polygon(hole).representative_point())
        ]
        if around:
            holes[min(around, key=lambda i: faces[i].area)].append(hole)
        else:
            shells.append(hole)
            holes.append([])
            faces.append(shapely.Polygon(hole))
    polygons = [shapely.Polygon(shell, inner) for shell, inner in zip(shells, holes, strict=True)]
    return _one_or_many(polygons, shapely.MultiPolygon)


def to_esri(geometry: Any) -> tuple[str, dict[str, Any]]:
    """The service's name for the type of a two-dimensional shapely geometry in CRS84, and its JSON. Raises ValueError for collections."""
    reference = {"spatialReference": {"wkid": 4326}}
    kind = geometry.geom_type
    if kind == "Point":
        return "esriGeometryPoint", {"x": geometry.x, "y": geometry.y, **reference}
    if kind == "MultiPoint":
        return "esriGeometryMultipoint", {"points": shapely.get_coordinates(geometry).tolist(), **reference}
    parts = list(getattr(geometry, "geoms", [geometry]))
    if kind in ("LineString", "LinearRing", "MultiLineString"):
        return "esriGeometryPolyline", {"paths": [_pairs(part) for part in parts], **reference}
    if kind in ("Polygon", "MultiPolygon"):
        turned = [shapely.geometry.polygon.orient(part, -1.0) for part in parts]
        rings = [_pairs(ring) for part in turned for ring in (part.exterior, *part.interiors)]
        return "esriGeometryPolygon", {"rings": rings, **reference}
    raise ValueError(f"{kind} has no form in the service's language")


def _pairs(line: shapely.Geometry) -> list[list[float]]:
    pairs: list[list[float]] = shapely.get_coordinates(line).tolist()
    return pairs
