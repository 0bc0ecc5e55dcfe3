"""Geometries as texts of coordinates, taken from WKT, which GEOS writes fast; for the formats that are XML."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import shapely

type Kind = Literal[
    "Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon", "Collection"
]

_KINDS: dict[str, Kind] = {
    "POINT": "Point",
    "LINESTRING": "LineString",
    "LINEARRING": "LineString",
    "POLYGON": "Polygon",
    "MULTIPOINT": "MultiPoint",
    "MULTILINESTRING": "MultiLineString",
    "MULTIPOLYGON": "MultiPolygon",
    "GEOMETRYCOLLECTION": "Collection",
}


class Shape(NamedTuple):
    """A geometry: its kind, whether it has heights, and its parts.

    A part is a list of coordinate texts `x y, x y`: one for a point or line, the rings of a polygon. Collections have shapes.
    """

    kind: Kind
    has_z: bool
    parts: list[list[str]]
    members: list[Shape]


def shapes_of_geometries(geometries: Any) -> Iterable[Shape | None]:
    """Each geometry as a `Shape`; None where there is none, or an empty one. Numbers have all the digits they need."""
    texts = shapely.to_wkt(geometries, rounding_precision=-1, output_dimension=3)
    for text, geometry in zip(texts, geometries, strict=True):
        yield None if text is None or text.endswith("EMPTY") else _shape(text, geometry)


def _shape(text: str, geometry: Any) -> Shape | None:
    head, _, body = text.partition("(")
    words = head.split()
    kind, has_z = _KINDS[words[0]], len(words) > 1
    body = body[:-1]
    match kind:
        case "Point" | "LineString":
            return Shape(kind, has_z, [[body]], [])
        case "Polygon":
            return Shape(kind, has_z, [body[1:-1].split("), (")], [])
        case "MultiPoint":
            points = body.replace("(", "").replace(")", "").split(", ")
            return Shape(kind, has_z, [[point] for point in points if point != "EMPTY"], [])
        case "MultiLineString":
            return Shape(kind, has_z, [[line] for line in body[1:-1].split("), (")], [])
        case "MultiPolygon":
            return Shape(kind, has_z, [part.split("), (") for part in body[2:-2].split(")), ((")], [])
    members = [shape for shape in shapes_of_geometries(shapely.get_parts(geometry)) if shape is not None]
    return Shape(kind, has_z, [], members) if members else None
